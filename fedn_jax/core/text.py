"""Numbers and names as text, and progress bars."""

import codecs
import contextlib
import io
import re
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TextIO

DASH = "–"  # stands for a number that does not exist
COLUMNS = 80  # of a terminal
ASCII = {DASH: "-", "−": "-", "±": "+/-", "×": "x", "²": "2", "³": "3", "≥": ">=", "…": "..."}  # where nothing else is
FORMULA = "=+-@＝＋－＠"  # a cell that begins with one of these is a formula for a spreadsheet


def percent(value: float | None) -> str:
    """A share as the papers print it.

    Args:
      value: share in [0, 1]; None: there is no such number.

    Returns:
      Percent with one decimal, without the sign.

    >>> percent(0.51089), percent(1), percent(None)
    ('51.1', '100.0', '–')
    """
    return DASH if value is None else f"{100 * value:.1f}"


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points, with its sign.

    Args:
      difference: in [-1, 1]; None: there is none.

    Returns:
      Points with one decimal.

    >>> points(0.012), points(-0.5), points(0.0004), points(None)
    ('+1.2', '−50.0', '0.0', '–')
    """
    if difference is None:
        return DASH
    text = f"{abs(100 * difference):.1f}"
    return text if text == "0.0" else ("+" if difference > 0 else "−") + text


def count(number: int, thing: str, things: str = "") -> str:
    """How many there are, in words.

    Args:
      number: at least 0.
      thing: what is counted, one of it.
      things: several of it; "": with an s at the end.

    Returns:
      The number and the form that belongs to it.

    >>> count(1, "video"), count(2, "video"), count(0, "class", "classes")
    ('1 video', '2 videos', '0 classes')
    """
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"


def plain(text: Any) -> str:
    """Text without control characters.

    Args:
      text: anything.

    Returns:
      One line of it, with question marks for what cannot be printed.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def no_formula(value: Any) -> Any:
    """What a CSV file may hold of a name that somebody else chose.

    Args:
      value: a name, or a number.

    Returns:
      The same, with an apostrophe in front of text that a spreadsheet would take for a formula.
    """
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(tuple(FORMULA)) else value


def printable(text: str) -> str:
    """A message that controls no terminal and has no more lines than it should, whatever names it holds.

    Args:
      text: one line, and perhaps lines of a list below it, which begin with two blanks.

    Returns:
      The same with escapes, such as ``\\x1b``, for control characters other than tabs and the line ends of the list.
    """
    escape = lambda found: "\\n" if found[0] == "\n" else f"\\x{ord(found[0]):02x}"
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|\n(?!  )", escape, text)


def excerpt(text: Any, letters: int = 120) -> str:
    """What a library says, or a name that a file holds, short enough for a message of one line.

    Args:
      text: anything.
      letters: at most so many are shown.

    Returns:
      One line; of a longer text beginning and end.

    >>> excerpt("first\\nsecond"), excerpt("abcdefghij", 7)
    ('first second', 'abc…hij')
    """
    line = " ".join(str(text).split())
    half = (letters - 1) // 2
    return line if len(line) <= letters else f"{line[:half]}…{line[-half:]}"


def print_anything(*streams: TextIO) -> None:
    """Lets streams print what their encoding does not have, instead of failing.

    Names of files need not be UTF-8, and terminals and logs may know ASCII only: a few signs become ASCII, other
    characters escapes such as ``\\xfc``.

    Args:
      *streams: such as ``sys.stdout``; those that cannot be set are left as they are.
    """
    codecs.register_error("fedn_jax", _in_ascii)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="fedn_jax")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """How characters are printed that an encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    same = "".join(ASCII.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return same, error.end


_BARS: weakref.WeakSet = weakref.WeakSet()  # of ``progress_bar``


class Progress(Protocol):
    """Makes progress bars: tqdm, or a stand-in with its interface.

    Called with items it yields them and counts; called with ``total`` it returns a bar that is moved by hand
    (``update``, ``set_postfix_str``, ``close``). ``desc`` says what is done, ``unit`` to what.
    """

    def __call__(self, items: Any = None, **options: Any) -> Any: ...


def progress_bar() -> Progress:
    """Progress bars: on a terminal they move, in a log a line says now and then how far it is.

    Returns:
      tqdm with settings.
    """
    from tqdm import tqdm

    from fedn_jax.core.log_lines import LogLines

    def make(items: Any = None, **options: Any) -> Any:
        if sys.stderr.isatty():
            bar = tqdm(items, mininterval=0.2, dynamic_ncols=True, **options)
        else:
            bar = LogLines(items, **options)
        _BARS.add(bar)
        return bar

    return make


class Whole:
    """One bar for several parts, each of which may ask for a bar of its own.

    Attributes:
      done: what the finished parts were expected to take.
    """

    def __init__(self, parts: Sequence[int], desc: str, unit: str):
        """Shows the bar.

        Args:
          parts: what each is expected to take, in order.
          desc: what is done.
          unit: of what the parts take.
        """
        self._parts, self.done = list(parts), 0
        self._bar = progress_bar()(total=sum(parts), desc=desc, unit=unit)

    def __call__(self, items: Any = None, **options: Any) -> "Whole":
        """A part's own bar, which moves this one; see ``Progress``.

        Args:
          items: must be None.
          **options: of a bar; all but desc are ignored.

        Returns:
          Itself.
        """
        self._bar.set_postfix_str(options.get("desc", ""))
        return self

    def __enter__(self) -> "Whole":
        return self

    def __exit__(self, *_: Any) -> None:
        """A part's own bar ends; ``next`` moves on."""

    def update(self, number: int = 1) -> None:
        """Moves the bar, within the part.

        Args:
          number: how far.
        """
        self._bar.update(max(min(number, self.done + self._parts[0] - self._bar.n), 0))

    def next(self) -> None:
        """The part is done, whatever it took."""
        self.done += self._parts.pop(0)
        self._bar.update(self.done - self._bar.n)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()


@contextlib.contextmanager
def beside_bars() -> Iterator[None]:
    """Lets text be printed while a bar is shown: the bar goes, and comes back below it.

    Yields:
      Nothing.
    """
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stdout):
        yield


def close_bars() -> None:
    """Ends the bars that an exception left open, so that what is printed next begins a line."""
    for bar in list(_BARS):
        bar.close()
