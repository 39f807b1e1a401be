"""What the readers of released data sets have in common: rows of expressions, their counts, and where videos lie."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.sheets import release_sheets
from fedn_jax.formats.cells import Cell, shown
from fedn_jax.formats.table_files import Book


class Row(NamedTuple):
    """One expression as the release numbers it: inclusive frame numbers."""

    where: str  # "row 12" of the sheet
    subject: str
    video: str  # unique within the subject
    onset: int
    apex: int  # -1: not annotated
    offset: int
    kind: str  # of schema.KINDS
    emotion: str  # "": not annotated
    derived: bool = False  # the offset comes from a rule, so it may pass the video's end, and is cut there


class Note(NamedTuple):
    """A quirk of a sheet, and what was made of it."""

    what: str
    count: int
    done: str


class Labels(NamedTuple):
    """What a sheet says."""

    rows: list[Row]
    classes: list[str]  # emotions; empty: spotting only
    notes: list[Note]
    unlabelled: frozenset[tuple[str, str]] | None = None  # videos that the sheet rightly leaves out; None: any may be
    dropped: frozenset[tuple[str, str]] = frozenset()  # videos of which a chosen option dropped rows
    refused: frozenset[tuple[str, str] | None] = frozenset()  # videos of rows with mistakes; None: of one not known


class Column(NamedTuple):
    """A column of Table 1 of the paper, or a total of the release: what the counts should be."""

    title: str
    kind: str
    counts: dict[str, int]  # emotion -> expressions; {"": n}: the total only


class DataSet(NamedTuple):
    """A released data set."""

    title: str
    # (sheet, sheets with emotions, chosen options, problems to add to) -> labels
    read: Callable[[Book, Sequence[Book], dict[str, str], list[str]], Labels]
    locate: Callable[[tuple[str, ...]], tuple[str, str] | None]  # parts of a path -> (subject, video), or None
    rate: float  # frames per second of its pictures
    fps: float | None  # rate that preparation resamples to unless told otherwise; None: as it is
    options: dict[str, tuple[str, ...]]  # choices where published code differs; the first is the default
    expected: Callable[[dict[str, str]], list[Column]]  # (options) -> what can be checked
    renumbered: bool = False  # numbers in file names are not positions, so OpenFace's numbers say nothing alone


def whole(problems: list[str], where: str, name: str, cell: Cell) -> int | None:
    """A cell that must be the number of a frame.

    Args:
      problems: what is wrong is added here.
      where: the row.
      name: the column.
      cell: its content.

    Returns:
      The number, or None.
    """
    value = release_sheets.number(cell)
    if value is None or value != int(value):
        problems.append(f"{where}: {name} must be a whole number; got {shown(str(cell))}")
        return None
    if value < 0:
        problems.append(f"{where}: {name} must be 0 or more; got {int(value)}")
        return None
    return int(value)


def unique(rows: Iterable[Row], problems: list[str]) -> list[Row]:
    """Refuses rows that say the same twice.

    Args:
      rows: the rows.
      problems: what is wrong is added here.

    Returns:
      The rows.
    """
    seen: dict[tuple, str] = {}
    kept = list(rows)
    for row in kept:
        first = seen.setdefault(row[1:], row.where)
        if first != row.where:
            problems.append(f"{row.where}: repeats {first}; remove one of them")
    return kept


def inside(row: Row, problems: list[str]) -> bool:
    """Checks the order of onset, apex and offset.

    Args:
      row: the row.
      problems: what is wrong is added here.

    Returns:
      Whether the row can be used.
    """
    found = []
    if row.onset < 1:
        found.append(f"onset {row.onset} is before the first frame, 1")
    if row.offset < row.onset:
        found.append(f"offset {row.offset} is before onset {row.onset}")
    elif row.apex != -1 and not row.onset <= row.apex <= row.offset:
        found.append(f"apex {row.apex} is outside of {row.onset} to {row.offset}")
    problems += [f"{row.where}: {text}" for text in found]
    return not found


def noted(counts: Counter, done: dict[str, str]) -> list[Note]:
    """Counts of quirks as notes.

    Args:
      counts: quirk -> how often.
      done: quirk -> what was done with it.

    Returns:
      A note per quirk that occurred, in the order of ``done``.
    """
    return [Note(what, counts[what], text) for what, text in done.items() if counts[what]]


def parts(path: Path, directory: Path) -> tuple[str, ...]:
    """A source's name, piece by piece, without what tools add to it.

    Args:
      path: a folder of pictures, a folder that ends in ``_aligned`` (OpenFace), or a video file.
      directory: the folder that was given.

    Returns:
      Parts below ``directory``, and its own name before them; the last without suffix or ``_aligned``.
    """
    stem = path.name.removesuffix("_aligned") if path.is_dir() else path.stem
    return (os.path.basename(os.path.realpath(directory)), *path.relative_to(directory).parts[:-1], stem)
