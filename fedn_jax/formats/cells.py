"""The cells of tables: what they mean as text and as numbers, and which of them cannot be used."""

import datetime
import math
import re
import unicodedata
from typing import Any

from fedn_jax.core.text import FORMULA

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}(\.0*)?")  # spreadsheets write 12 as 12.0
_WHOLE_COMMA = re.compile(r"[+-]?[0-9]{1,30}(,0{0,2}|\.0*)?")  # 1,000 may be a thousand
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ERROR = re.compile(r"#(REF|VALUE|NAME|NUM|NULL|DIV/0|SPILL|CALC)[!?]|#N/A|Err:[0-9]+")  # as spreadsheets show them
_NO_FORMULA = re.compile(rf"'(?='*\s*[{re.escape(FORMULA)}])")  # the apostrophe of ``core.text.no_formula``
_INVISIBLE = "\ufeff\u200b"  # byte order mark, space without width


class SeenTime(str):
    """Stands in a cell of a workbook in which a time is seen with its seconds: that time as text."""


Cell = Any  # str, float, bool, a date, a time or a Flaw; "" is an empty one. A CSV file holds text only


class Flaw(str):
    """Stands in a cell that has no value: its text is what is seen there, ``why`` the reason."""

    why: str

    def __new__(cls, text: str, why: str) -> "Flaw":
        """Makes one.

        Args:
          text: what a person sees in the cell.
          why: the reason, as the end of a sentence that begins with the name of a column.
        """
        made = super().__new__(cls, text)
        made.why = why
        return made


def error(text: str) -> Flaw:
    """A cell that shows an error.

    Args:
      text: such as #REF!.

    Returns:
      The cell.
    """
    return Flaw(text, f"holds the error {text}; correct its formula")


def text(cell: Cell) -> str:
    """A cell as text; whole numbers lose their ".0".

    Args:
      cell: the cell.

    Returns:
      The text in Unicode NFC, without blanks around it.

    >>> text(1.0), text(" a "), text("006")
    ('1', 'a', '006')
    """
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return unicodedata.normalize("NFC", str(cell).strip().strip(_INVISIBLE).strip())


def written(cell: Cell) -> str:
    """A cell as the name that was written: without the apostrophe that keeps it from being a formula.

    Args:
      cell: the cell.

    Returns:
      The text.

    >>> written("'-5"), written("it's")
    ('-5', "it's")
    """
    return _NO_FORMULA.sub("", text(cell), 1)


def column_name(cell: Cell) -> str:
    """A cell of a header as the name of a column.

    Args:
      cell: the cell.

    Returns:
      In lower case, without any blanks.

    >>> column_name(" Expression  Type")
    'expressiontype'
    """
    return "".join(text(cell).split()).lower()


def whole(text: str, comma: bool = False) -> int | None:
    """A cell as a whole number.

    Args:
      text: of the cell.
      comma: the comma may be the decimal sign.

    Returns:
      The number; None where it is not one.

    >>> whole("12"), whole("12.0"), whole("12.5"), whole("12,0", comma=True), whole("1,000", comma=True)
    (12, 12, None, 12, None)
    """
    rule = _WHOLE_COMMA if comma else _WHOLE
    return int(re.split("[.,]", text)[0]) if rule.fullmatch(text) else None


def real(text: str, comma: bool = False) -> float | None:
    """A cell as a number.

    Args:
      text: of the cell.
      comma: the comma may be the decimal sign.

    Returns:
      The number; None where it is not one, or not finite.

    >>> real("0.5"), real("5e-1"), real("0,5"), real("0,5", comma=True), real("nan")
    (0.5, 0.5, None, 0.5, None)
    """
    text = text.replace(",", ".", 1) if comma and "." not in text else text
    value = float(text) if _REAL.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def number_or_nan(text: str) -> float | None:
    """A cell of a table that a program wrote: not-a-number counts, in whichever way its compiler writes it.

    Args:
      text: of the cell; the comma may be the decimal sign.

    Returns:
      The number or NaN; None where it is neither.

    >>> number_or_nan("0,5"), number_or_nan("-nan(ind)"), number_or_nan("x")
    (0.5, nan, None)
    """
    if text.lower().lstrip("+-").startswith(("nan", "1.#ind", "1.#qnan")):
        return math.nan
    return real(text, comma=True)


def unusable(cell: Any, timed: bool = False) -> str:
    """Why a cell of any table cannot be used as it is.

    Args:
      cell: of a workbook or a CSV file.
      timed: its column may hold times.

    Returns:
      The end of a sentence that begins with the name of the column; "" if nothing is wrong with it.

    >>> unusable("006_1"), unusable("#REF!")
    ('', 'holds the error #REF!; correct its formula')
    """
    if isinstance(cell, Flaw):
        return cell.why
    if isinstance(cell, datetime.time | datetime.timedelta) or (isinstance(cell, SeenTime) and not timed):
        advice = "give it a format that shows seconds (.xlsx), or " if timed else ""
        return f"holds a time of day ({cell}); {advice}type it again in a cell of text"
    if isinstance(cell, datetime.date):
        return f"holds a date ({cell}), as spreadsheets make of 1-2 or 3/4; type it again in a cell of text"
    if isinstance(cell, bool):
        return f"holds the truth value {str(cell).upper()}; type it again in a cell of text"
    if isinstance(cell, str) and _ERROR.fullmatch(cell.strip()):
        return error(cell.strip()).why
    return ""


def shown(*names: str) -> str:
    """Names for a message.

    Args:
      *names: whatever a file holds, such as subject and video.

    Returns:
      Each in quotes, on one line, cut if it is long.

    >>> shown("s15", "a" * 50)
    "'s15' / 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'..."
    """
    return " / ".join(repr(name[:40]) + "..." * (len(name) > 40) for name in names)


def shown_video(subject: str, video: str) -> str:
    """A video for a message.

    Args:
      subject: "" where nobody says who is seen.
      video: its name.

    Returns:
      Subject and video, or the video alone.

    >>> shown_video("", "anna"), shown_video("s15", "anna")
    ("'anna'", "'s15' / 'anna'")
    """
    return shown(subject, video) if subject else shown(video)
