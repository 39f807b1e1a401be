"""The sheets of released data sets: several sheets in a file, headers below notes and found by their names."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fedn_jax.core.errors import UserError
from fedn_jax.formats import table_files
from fedn_jax.formats.table_files import Cell

_HEADER_ROWS = 40  # rows in which a header is searched: releases begin with notes
_COMMA = re.compile(r"[+-]?[0-9]+,([0-9]{1,2}|[0-9]{4,})")  # 566,4; with three digits it may be thousands


class Workbook(NamedTuple):
    """A spreadsheet file."""

    path: Path
    sheets: dict[str, list[list[Cell]]]  # name -> rows; a CSV file has one sheet, ""


class Record(NamedTuple):
    """One row under a header."""

    where: str  # "row 12", as a spreadsheet numbers it
    cells: dict[str, Cell]  # lower-case name of the column -> cell


def read(path: str | Path) -> Workbook:
    """Reads a spreadsheet: Excel or CSV.

    Args:
      path: the file; see ``table_files.read``.

    Returns:
      All sheets with their cells; leading empty rows are kept, so that row numbers are those of the file.

    Raises:
      UserError: no such file, another kind of file, damaged.
    """
    book = table_files.read(path, "an annotation sheet (.xlsx, .xls or .csv)")
    point = lambda cell: cell.replace(",", ".") if book.comma and _COMMA.fullmatch(cell) else cell
    sheets = {name: [[point(cell) for cell in line.cells] for line in lines] for name, lines in book.sheets.items()}
    return Workbook(book.path, sheets)


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
