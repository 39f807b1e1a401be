"""Spreadsheets as rows of cells: .xlsx, .xls and .csv, without running anything that is in them."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fedn_jax.core.errors import UserError

Cell = str | float | int | bool  # what a cell may hold; "" is an empty one

_EXCEL = (".xlsx", ".xlsm", ".xls")
_CSV = (".csv", ".tsv", ".txt")
_MOST_CELLS = 5_000_000  # a sheet that claims more is not one of annotations
_HEADER_ROWS = 40  # rows in which a header is searched: releases begin with notes


class Workbook(NamedTuple):
    """A spreadsheet file."""

    path: Path
    sheets: dict[str, list[list[Cell]]]  # name -> rows; a CSV file has one sheet, ""


class Record(NamedTuple):
    """One row under a header."""

    where: str  # "row 12", as a spreadsheet numbers it
    cells: dict[str, Cell]  # lower-case name of the column -> cell


def read(path: str | Path) -> Workbook:
    """Reads a spreadsheet; formulas give the values that were saved with them.

    Args:
      path: .xlsx, .xls, or .csv (UTF-8; separated by commas, semicolons or tabs).

    Returns:
      All sheets with their cells; leading empty rows are kept, so that row numbers are those of the file.

    Raises:
      UserError: no such file, another kind of file, damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected an annotation sheet (.xlsx, .xls or .csv)")
    if path.suffix.lower() in _CSV:
        return Workbook(path, {"": _csv(path)})
    if path.suffix.lower() not in _EXCEL:
        raise UserError(f"{path}: not a spreadsheet by its name; expected .xlsx, .xls or .csv")
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_path(str(path))
        sheets = {}
        for name in book.sheet_names:
            sheet = book.get_sheet_by_name(name)
            if sheet.end and (sheet.end[0] + 1) * (sheet.end[1] + 1) > _MOST_CELLS:
                raise UserError(f"{path}: sheet {name!r} claims {sheet.end[0] + 1} rows and {sheet.end[1] + 1} columns")
            sheets[name] = sheet.to_python(skip_empty_area=False)
    except UserError:
        raise
    except Exception as error:  # whatever the reader raises on a damaged file
        raise UserError(f"{path}: not readable as a spreadsheet ({error}); open it and save it again") from None
    return Workbook(path, sheets)


def _csv(path: Path) -> list[list[Cell]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as CSV UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        return [list(row) for row in csv.reader(text.splitlines(), delimiter=delimiter)]
    except csv.Error as error:
        raise UserError(f"{path}: not readable as CSV ({error}); save it again") from None


def records(book: Workbook, columns: Sequence[str], what: str) -> Iterator[Record]:
    """The rows of the first sheet that has a header with the wanted columns.

    Args:
      book: the spreadsheet.
      columns: lower-case names that the header must hold; case and blanks do not matter there.
      what: the release whose sheet is expected, for the message.

    Returns:
      An iterator over the rows below the header that are not empty.

    Raises:
      UserError: no sheet has such a header; says which columns the best one lacks.
    """
    best: list[str] = list(columns)
    for rows in book.sheets.values():
        for number, row in enumerate(rows[:_HEADER_ROWS]):
            names = [str(cell).strip().lower() for cell in row]
            missing = [name for name in columns if name not in names]
            if not missing:
                return _below(rows, number, names)
            best = min(best, missing, key=len)
    lacking = "no header with" if len(best) == len(columns) else "its header has no column"
    raise UserError(f"{book.path}: not the sheet of {what}: {lacking} {', '.join(best)}; expected {', '.join(columns)}")


def _below(rows: list[list[Cell]], header: int, names: list[str]) -> Iterator[Record]:
    for number, row in enumerate(rows[header + 1 :], header + 2):
        if any(str(cell).strip() for cell in row):
            cells = dict(zip(names, [*row, *[""] * (len(names) - len(row))], strict=False))
            yield Record(f"row {number}", cells)


def number(cell: Cell) -> float | None:
    """A cell as a number.

    Args:
      cell: the cell.

    Returns:
      The number; None where it is not one (or not finite).

    >>> number("37"), number(566.4), number("x"), number("")
    (37.0, 566.4, None, None)
    """
    try:
        value = float(str(cell).strip())
    except ValueError:
        return None
    return value if abs(value) < 1e15 else None


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
