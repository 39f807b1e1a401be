"""Tables as rows of cells, from CSV files and workbooks: the only reader of them in this project.

CSV: separated by commas, semicolons or tabs, whichever the first line has most of; UTF-8, with or without a byte order
mark, or UTF-16 with one. Where the comma does not separate cells it may be the decimal sign. Workbooks (.xlsx, .xlsm,
.xlsb, .xls, .ods): nothing in the file is run, a formula gives the value that was saved with it, and hidden sheets are
not read. The content decides, not the name. Names are Unicode NFC, in whichever form they are written.
"""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count
from fedn_jax.formats import workbooks
from fedn_jax.formats.cells import Cell, column_name, shown, text, unusable, written

MOST_BYTES = 2**26
TIMED = ("onset", "apex", "offset", "onset_seconds", "offset_seconds", "duration", "start", "end")  # may be times
HEADER_ROWS = 40  # in which a header is searched: some tables begin with notes
_MOST_LINE = 2**24  # letters of a line
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Line(NamedTuple):
    """The cells of one line."""

    where: str  # "line 12" of a CSV file, "row 12" of a workbook's sheet
    cells: list[Cell]


class Sheet(NamedTuple):
    """One table of a file."""

    name: str  # "" in a CSV file
    lines: list[Line]  # empty ones too
    hidden: bool = False


class Book(NamedTuple):
    """A file of tables."""

    path: Path
    sheets: list[Sheet]  # a CSV file has one
    comma: bool  # the comma may be the decimal sign


class Header(NamedTuple):
    """The line that names the columns."""

    names: list[str]  # of all columns, as ``column_name`` gives them; empty: the table has no line
    missing: list[str]  # columns that were wanted and are not there
    below: Iterable[Line]  # the lines after it
    written: Sequence[str] = ()  # the names as they are written, without blanks: some tools have x_0 and X_0


class Record(NamedTuple):
    """One line below a header."""

    where: str
    cells: dict[str, str]  # wanted column -> text without blanks around it; with a problem maybe not all
    problem: str = ""  # a wrong number of cells, or cells that cannot be used, with ``where``
    line: Sequence[Cell] = ()  # all cells, with or without a column


class Columns(NamedTuple):
    """A table whose header names its columns."""

    records: list[Record]
    ignored: list[str]  # columns that nobody asked for
    comma: bool  # the comma may be the decimal sign


# ---- Files -----------------------------------------------------------------------------------------------------------


def read_text(path: Path, what: str, most: int | None = None) -> str:
    """Reads a text file of unknown origin.

    Args:
      path: the file.
      what: what it should hold, for messages.
      most: bytes that are accepted; None: ``MOST_BYTES``.

    Returns:
      Its text, with the line ends of the file.

    Raises:
      UserError: see ``files.read_bytes``; neither UTF-8 nor UTF-16 with a byte order mark.
    """
    return _text(path, files.read_bytes(path, MOST_BYTES if most is None else most, what))


def read(path: str | Path, what: str) -> Book:
    """Reads a CSV file or a workbook.

    Args:
      path: the file.
      what: what it should hold, for messages.

    Returns:
      All its lines, empty ones too.

    Raises:
      UserError: no such file, another kind of file, a damaged or too large one.
    """
    path = Path(path)
    data = files.read_bytes(path, MOST_BYTES, what)
    if data.startswith(workbooks.MAGIC):
        sheets = [
            Sheet(name, [Line(f"row {number}", cells) for number, cells in enumerate(rows, 1)], hidden)
            for name, hidden, rows in workbooks.read(path, data)
        ]
        return Book(path, sheets, comma=False)
    comma, lines = _split(path, io.StringIO(_text(path, data), newline=""))
    return Book(path, [Sheet("", list(lines))], comma)


def _text(path: Path, data: bytes) -> str:
    name, codec = _encoding(data)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not {name} text (byte {error.start}); save it as CSV UTF-8") from None
    return text


def _encoding(data: bytes) -> tuple[str, str]:
    """(name, codec) by the first bytes."""
    return ("UTF-16", "utf-16") if data.startswith(_UTF16) else ("UTF-8", "utf-8-sig")


def _text_lines(path: Path, file: TextIO) -> Iterator[str]:
    while line := file.readline(_MOST_LINE):
        if len(line) == _MOST_LINE:
            raise UserError(f"{path}: has a line of {_MOST_LINE} letters or more; expected a row per line")
        yield line


def _split(path: Path, file: TextIO) -> tuple[bool, Iterator[Line]]:
    """(whether the comma may be the decimal sign, the lines of a CSV file)."""
    text = _text_lines(path, file)
    head = list(itertools.islice(text, HEADER_ROWS))
    if head and head[0][:4].count("\0") > 1:
        raise UserError(f"{path}: holds zero bytes, as UTF-16 without a byte order mark does; save it as CSV UTF-8")
    first = next((line for line in head if re.search("[,;\t]", line)), "")
    delimiter = max(",;\t", key=first.count)

    def lines() -> Iterator[Line]:
        reader = csv.reader(itertools.chain(head, text), delimiter=delimiter)
        try:
            for cells in reader:
                yield Line(f"line {reader.line_num}", cells)
        except csv.Error as error:
            raise UserError(f"{path}: line {reader.line_num}: not readable as CSV ({error}); save it again") from None

    return delimiter != ",", lines()


# ---- Columns ---------------------------------------------------------------------------------------------------------


def columns(path: str | Path, what: str, required: Sequence[str], optional: Sequence[str]) -> Columns:
    """Reads a table that has a header.

    Args:
      path: a CSV file, or a workbook, of whose visible sheets one has the columns.
      what: what it should hold, for messages.
      required: lower-case names of columns that must be there; order, case and blanks do not matter in the file.
      optional: of columns that may be there.

    Returns:
      The lines that are not empty.

    Raises:
      UserError: see ``read``; a column is missing or appears twice, or several sheets have the columns.
    """
    book = read(path, what)
    header = header_of(book, required)
    if header is None or header.missing:
        raise _no_columns(book.path, header, required, optional)
    names = _wanted(book.path, header, required, optional)
    records = list(_records(header, names))
    return Columns(records, [name for name in header.names if name and name not in names], book.comma)


def each_record(
    path: str | Path,
    what: str,
    required: Sequence[str],
    optional: Sequence[str],
    more: Callable[[list[str]], Sequence[str]] | None = None,
) -> Iterator[Record]:
    """The lines of a table, one at a time; a CSV file may be of any size.

    Args:
      path: the file.
      what: what it should hold, for messages.
      required: see ``columns``.
      optional: see ``columns``.
      more: chooses more columns of those that the header names; upper and lower case count in these.

    Yields:
      The lines that are not empty.

    Raises:
      UserError: no such file, not text, not CSV; a column is missing or appears twice.
    """
    path = Path(path)
    files.check_plain(path, what)

    def records(header: Header | None) -> Iterator[Record]:
        if header is None or header.missing:
            raise _no_columns(path, header, required, optional)
        if more is not None:
            known = (*required, *optional)
            both = zip(header.names, header.written, strict=True)
            header = header._replace(names=[name if name in known else written for name, written in both])
        chosen = [] if more is None else more(header.names)
        yield from _records(header, _wanted(path, header, [*required, *chosen], optional))

    try:
        with path.open("rb") as raw:
            start = raw.read(max(4, len(workbooks.MAGIC[0])))
        if start.startswith(workbooks.MAGIC):
            yield from records(header_of(read(path, what), required))
            return
        name, codec = _encoding(start)
        with path.open(encoding=codec, newline="") as file:
            yield from records(find_header(_split(path, file)[1], required))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not {name} text; save it as CSV UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror}); expected a file with {what}") from None


def find_header(lines: Iterable[Line], wanted: Sequence[str]) -> Header:
    """Searches the line that names the columns among the first of a table.

    Args:
      lines: of the table.
      wanted: names of columns, as ``column_name`` gives them.

    Returns:
      The first line that has most of them.
    """
    lines = iter(lines)
    head = list(itertools.islice(lines, HEADER_ROWS))
    best = Header([], list(wanted), [])
    for number, line in enumerate(head, 1):
        names = [column_name(cell) for cell in line.cells]
        missing = [name for name in wanted if name not in names]
        if any(names) and (not best.names or len(missing) < len(best.missing)):
            best = Header(names, missing, head[number:], ["".join(text(cell).split()) for cell in line.cells])
    return best._replace(below=itertools.chain(best.below, lines))


def header_of(book: Book, wanted: Sequence[str]) -> Header | None:
    """The header of the one visible sheet that has the columns.

    Args:
      book: the file.
      wanted: see ``find_header``.

    Returns:
      Its header, or the best of others with what that one lacks; None for a file without a sheet.

    Raises:
      UserError: several sheets have the columns, or a hidden one alone.
    """
    headers = {sheet.name: find_header(sheet.lines, wanted) for sheet in book.sheets}
    name = one_sheet(book, [name for name, header in headers.items() if not header.missing], "the columns")
    if name is not None:
        return headers[name]
    visible = [headers[sheet.name] for sheet in book.sheets if not sheet.hidden]
    return min(visible, key=lambda header: len(header.missing), default=None)


def one_sheet(book: Book, fitting: Sequence[str], what: str) -> str | None:
    """Chooses a sheet, without a guess.

    Args:
      book: the file.
      fitting: names of the sheets that could be meant.
      what: what they have, for messages.

    Returns:
      The visible one; None if there is none.

    Raises:
      UserError: several are visible, or none of them is.
    """
    visible = [sheet.name for sheet in book.sheets if sheet.name in fitting and not sheet.hidden]
    if len(visible) > 1:
        named = " and ".join(shown(name) for name in visible)
        raise UserError(
            f"{book.path}: sheets {named} all have {what}; expected one: hide the others, or save each as a file"
        )
    if fitting and not visible:
        named = " and ".join(shown(name) for name in fitting)
        raise UserError(
            f"{book.path}: of its sheets only {named} has {what}, which is hidden; unhide it, if it is meant"
        )
    return visible[0] if visible else None


def twice(path: Path, names: Sequence[str], wanted: Iterable[str]) -> None:
    """Refuses a header that names a column twice.

    Args:
      path: of the file, for the message.
      names: of the header.
      wanted: the columns that matter.

    Raises:
      UserError: names the columns.
    """
    if again := [name for name in wanted if names.count(name) > 1]:
        raise UserError(f"{path}: column {', '.join(again)} appears twice; expected it once")


def _wanted(path: Path, header: Header, required: Sequence[str], optional: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys((*required, *optional)))
    twice(path, header.names, names)
    return names


def _no_columns(path: Path, header: Header | None, required: Sequence[str], optional: Sequence[str]) -> UserError:
    known = ",".join(required) + "".join(f"[,{name}]" for name in optional)
    some = shown(",".join(header.names)) if header and header.names else "an empty file"
    missing = header.missing if header else required
    return UserError(f"{path}: no column {', '.join(missing)}; expected {known}; got {some}")


def _records(header: Header, wanted: Sequence[str]) -> Iterator[Record]:
    """The lines below a header that are not empty."""
    width = len(header.names)
    indices = {name: header.names.index(name) for name in wanted if name in header.names}
    for where, line in header.below:
        if not any(text(cell) for cell in line):
            continue
        cells = {name: written(line[i]) for name, i in indices.items() if i < len(line)}
        found = [
            f"{name} {why}"
            for name, i in indices.items()
            if (why := i < len(line) and unusable(line[i], name in TIMED))
        ]
        if len(line) < width or any(text(cell) for cell in line[width:]):
            found = [f"{count(len(line), 'cell')}; expected {width} as in the header"]
        yield Record(where, cells, f"{where}: {'; '.join(found)}" if found else "", line)
