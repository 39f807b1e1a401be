"""Numbers as text, columns of a terminal, progress bars."""

import functools
import sys
import unicodedata
from itertools import accumulate
from typing import Any, Protocol

DASH = "–"  # stands for a number that does not exist
COLUMNS = 80  # of a terminal


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


def cell(text: Any, width: int) -> str:
    """Text for a column of a terminal.

    Args:
      text: anything; control characters become question marks.
      width: columns of the terminal; wide letters take two.

    Returns:
      Text of exactly that width; what does not fit is cut, which an ellipsis shows.
    """
    letters = [letter if letter.isprintable() else "?" for letter in str(text)]
    sizes = [0 if unicodedata.combining(x) else 2 if unicodedata.east_asian_width(x) in "WF" else 1 for x in letters]
    if sum(sizes) > width:
        kept = sum(size <= width - 1 for size in accumulate(sizes))
        letters, sizes = [*letters[:kept], "…"], [*sizes[:kept], 1]
    return "".join(letters) + " " * (width - sum(sizes))


class Progress(Protocol):
    """Makes progress bars: tqdm, or a stand-in with its interface.

    Called with items it yields them and counts; called with ``total`` it returns a bar that is moved by hand
    (``update``, ``set_postfix_str``, ``close``). ``desc`` says what is done, ``unit`` to what.
    """

    def __call__(self, items: Any = None, **options: Any) -> Any: ...


def progress_bar() -> Progress:
    """Progress bars: on a terminal they move, in a log they say now and then how far it is.

    Returns:
      tqdm with settings.
    """
    from tqdm import tqdm

    return functools.partial(tqdm, mininterval=0.2 if sys.stderr.isatty() else 10, dynamic_ncols=True)
