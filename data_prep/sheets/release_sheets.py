"""The sheets of released data sets: several sheets in a file, headers below notes and found by their names."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fedn_jax.core.errors import UserError
from fedn_jax.formats import cells, table_files
from fedn_jax.formats.cells import Cell
from fedn_jax.formats.table_files import Book

_COMMA = re.compile(r"[+-]?[0-9]+,([0-9]{1,2}|[0-9]{4,})")  # 566,4; with three digits it may be thousands


class Record(NamedTuple):
    """One row under a header."""

    where: str  # "row 12", as a spreadsheet numbers it; "line 12" of a CSV file
    cells: dict[str, Cell]  # wanted column -> cell


def read(path: str | Path) -> Book:
    """Reads a spreadsheet: a workbook or CSV.

    Args:
      path: the file; see ``table_files.read``.

    Returns:
      All sheets with their cells, decimal commas turned into points; leading empty rows are kept.

    Raises:
      UserError: no such file, another kind of file, damaged.
    """
    book = table_files.read(path, "an annotation sheet (.xlsx, .xls, .ods or .csv)")
    if not book.comma:
        return book
    point = lambda cell: cell.replace(",", ".") if _COMMA.fullmatch(cell) else cell
    sheets = [
        sheet._replace(lines=[line._replace(cells=list(map(point, line.cells))) for line in sheet.lines])
        for sheet in book.sheets
    ]
    return book._replace(sheets=sheets)


def records(book: Book, columns: Sequence[str], what: str, problems: list[str]) -> Iterator[Record]:
    """The rows of the one visible sheet that has a header with the wanted columns.

    Args:
      book: the spreadsheet.
      columns: names that the header must hold, as ``cells.column_name`` gives them.
      what: the release whose sheet is expected, for the message.
      problems: rows with an empty cell in one of these columns, or with one that cannot be used, are added here.

    Yields:
      The other rows below the header that are not empty.

    Raises:
      UserError: no sheet has such a header (says which columns the best one lacks), several have, only a hidden one
        has, or a column is there twice.
    """
    header = table_files.header_of(book, columns)
    if header is None or header.missing:
        missing = header.missing if header else columns
        lacking = "no header with" if len(missing) == len(columns) else "its header has no column"
        expected = f"expected {', '.join(columns)}"
        raise UserError(f"{book.path}: not the sheet of {what}: {lacking} {', '.join(missing)}; {expected}")
    table_files.twice(book.path, header.names, columns)
    indices = {name: header.names.index(name) for name in columns}
    for where, line in header.below:
        if any(cells.text(cell) for cell in line):
            row = {name: line[index] if index < len(line) else "" for name, index in indices.items()}
            found = faults(row)
            problems += [f"{where}: {fault}" for fault in found]
            if not found:
                yield Record(where, row)


def faults(row: dict[str, Cell]) -> list[str]:
    """What is wrong with the cells of a row, whatever they should hold.

    Args:
      row: name of a column -> cell.

    Returns:
      One clause each: the name, and why the cell cannot be used.
    """
    empty = "is empty (of merged cells only the first has the value)"
    whys = {name: cells.unusable(cell) or ("" if cells.text(cell) else empty) for name, cell in row.items()}
    return [f"{name} {why}" for name, why in whys.items() if why]


def number(cell: Cell) -> float | None:
    """A cell as a number.

    Args:
      cell: the cell.

    Returns:
      The number; None where it is not one (or not finite).

    >>> number("37"), number(566.4), number("x"), number("")
    (37.0, 566.4, None, None)
    """
    value = cells.real(cells.text(cell))
    return value if value is not None and abs(value) < 1e15 else None
