"""Tables as rows of cells, from CSV files and Excel workbooks: the only reader of them in this project.

CSV: separated by commas, semicolons or tabs, whichever the first line has most of; UTF-8, with or without a byte order
mark, or UTF-16 with one. Where the comma does not separate cells it may be the decimal sign. Excel (.xlsx, .xls):
nothing in the file is run, and a formula gives the value that was saved with it. The content decides, not the name.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count

MOST_BYTES = 2**26
MOST_CELLS = 5_000_000  # of an Excel sheet; one that claims more is not a table of expressions
_EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # first bytes of .xlsx (a zip archive) and of .xls
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}(\.0*)?")  # spreadsheets write 12 as 12.0
_WHOLE_COMMA = re.compile(r"[+-]?[0-9]{1,30}(,0{0,2}|\.0*)?")  # 1,000 may be a thousand
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

Cell = Any  # str, float, int, bool or a date; "" is an empty one. A CSV file holds text only


class Line(NamedTuple):
    """The cells of one line."""

    where: str  # "line 12" of a CSV file, "row 12" of an Excel sheet
    cells: list[Cell]


class Book(NamedTuple):
    """A file of tables."""

    path: Path
    sheets: dict[str, list[Line]]  # by name; a CSV file has one, ""
    comma: bool  # the comma may be the decimal sign


class Record(NamedTuple):
    """One line below a header."""

    where: str
    cells: dict[str, str]  # lower-case name of the column -> text without blanks around it
    problem: str = ""  # says that the line has a wrong number of cells; ``cells`` is empty then


class Columns(NamedTuple):
    """A table whose header names its columns."""

    records: list[Record]
    ignored: list[str]  # columns that nobody asked for
    comma: bool  # the comma may be the decimal sign


# ---- Files -----------------------------------------------------------------------------------------------------------


def read_bytes(path: Path, what: str, most: int | None = None) -> bytes:
    """Reads a file of unknown origin.

    Args:
      path: the file.
      what: what it should hold, for messages.
      most: bytes that are accepted; None: ``MOST_BYTES``.

    Returns:
      Its content.

    Raises:
      UserError: no such file, not readable or too large.
    """
    most = MOST_BYTES if most is None else most
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a file with {what}")
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror}); expected a file with {what}") from None
    if len(data) > most:
        raise UserError(f"{path}: larger than {most >> 20} MiB; expected a file with {what}")
    return data


def read_text(path: Path, what: str, most: int | None = None) -> str:
    """Reads a text file of unknown origin.

    Args:
      path: the file.
      what: what it should hold, for messages.
      most: see ``read_bytes``.

    Returns:
      Its text, with the line ends of the file.

    Raises:
      UserError: see ``read_bytes``; neither UTF-8 nor UTF-16 with a byte order mark.
    """
    return _text(path, read_bytes(path, what, most))


def read(path: str | Path, what: str) -> Book:
    """Reads a CSV file or an Excel workbook.

    Args:
      path: the file.
      what: what it should hold, for messages.

    Returns:
      All its lines, empty ones too.

    Raises:
      UserError: no such file, another kind of file, a damaged or too large one.
    """
    path = Path(path)
    data = read_bytes(path, what)
    if data.startswith(_EXCEL):
        return Book(path, _excel(path, data), comma=False)
    text = _text(path, data)
    return Book(path, {"": list(split(path, text))}, comma=_delimiter(text) != ",")


def split(path: Path, text: str) -> Iterator[Line]:
    """The lines of a CSV file.

    Args:
      path: of the file, for messages.
      text: its content.

    Yields:
      The cells of each line.

    Raises:
      UserError: quotes that do not end, or a cell without end.
    """
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        for cells in lines:
            yield Line(f"line {lines.line_num}", cells)
    except csv.Error as error:
        raise UserError(f"{path}: line {lines.line_num}: not readable as CSV ({error}); save it again") from None


def _text(path: Path, data: bytes) -> str:
    name, codec = ("UTF-16", "utf-16") if data.startswith(_UTF16) else ("UTF-8", "utf-8-sig")
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not {name} text (byte {error.start}); save it as CSV UTF-8") from None


def _delimiter(text: str) -> str:
    """What the first line that holds any of the three has most of."""
    first = re.search("[,;\t]", text)
    start = max(text.rfind(end, 0, first.start()) for end in "\r\n") + 1 if first else 0
    line = re.compile(r"[^\r\n]*").match(text, start)[0]
    return max(",;\t", key=line.count)


def _excel(path: Path, data: bytes) -> dict[str, list[Line]]:
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheets = {}
        for name in book.sheet_names:
            sheet = book.get_sheet_by_name(name)
            if sheet.end and (sheet.end[0] + 1) * (sheet.end[1] + 1) > MOST_CELLS:
                raise UserError(
                    f"{path}: sheet {name!r} claims {sheet.end[0] + 1} rows and {sheet.end[1] + 1} columns; expected "
                    "a table of expressions: delete what lies outside of it"
                )
            rows = sheet.to_python(skip_empty_area=False)
            sheets[name] = [Line(f"row {number}", row) for number, row in enumerate(rows, 1)]
    except UserError:
        raise
    except Exception as error:  # whatever the library raises on a damaged file
        raise UserError(f"{path}: not readable as a spreadsheet ({error}); open it and save it again") from None
    return sheets


# ---- Columns ---------------------------------------------------------------------------------------------------------


def columns(path: str | Path, what: str, required: Sequence[str], optional: Sequence[str]) -> Columns:
    """Reads a table whose first line that is not empty names the columns.

    Args:
      path: a CSV file, or a workbook; of its sheets, the first that has the columns.
      what: what it should hold, for messages.
      required: lower-case names of columns that must be there; order, case and blanks do not matter in the file.
      optional: of columns that may be there.

    Returns:
      The lines that are not empty.

    Raises:
      UserError: see ``read``; a column is missing or appears twice.
    """
    book = read(path, what)
    tables = [_below_header(lines) for lines in book.sheets.values()] or [([], [])]
    lacking = [[name for name in required if name not in header] for header, _ in tables]
    header, lines = tables[lacking.index([])] if [] in lacking else tables[0]
    if missing := [name for name in required if name not in header]:
        known = ",".join(required) + "".join(f"[,{name}]" for name in optional)
        some = shown(",".join(header)) if any(header) else "an empty file"
        raise UserError(f"{path}: no column {', '.join(missing)}; expected {known}; got {some}")
    names = list(dict.fromkeys((*required, *optional)))
    if twice := [name for name in names if header.count(name) > 1]:
        raise UserError(f"{path}: column {', '.join(twice)} appears twice; expected it once")
    indices = {name: header.index(name) for name in names if name in header}
    records = []
    for where, line in lines:
        cells = [text(cell) for cell in line]
        if len(cells) < len(header) or any(cells[len(header) :]):
            problem = f"{where}: {count(len(cells), 'cell')}; expected {len(header)} as in the header"
            records.append(Record(where, {}, problem))
        else:
            records.append(Record(where, {name: cells[index] for name, index in indices.items()}))
    return Columns(records, [name for name in header if name and name not in names], book.comma)


def _below_header(lines: list[Line]) -> tuple[list[str], list[Line]]:
    """(names of the header, filled lines below it)."""
    filled = [line for line in lines if any(text(cell) for cell in line.cells)]
    return ["".join(text(cell).split()).lower() for cell in filled[0].cells] if filled else [], filled[1:]


# ---- Cells -----------------------------------------------------------------------------------------------------------


def text(cell: Cell) -> str:
    """A cell as text; whole numbers lose their ".0".

    Args:
      cell: the cell.

    Returns:
      The text, without blanks around it.

    >>> text(1.0), text(" a "), text("006")
    ('1', 'a', '006')
    """
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


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


# ---- Messages --------------------------------------------------------------------------------------------------------


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
