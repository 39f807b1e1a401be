"""Predictions and ground truth of any method: CSV files, made into what the metrics count.

A file has the columns subject, video, onset, offset, emotion and, if known, score and kind. Frame numbers are
inclusive and may begin anywhere, even below 0: only the two files have to agree. A row with only subject and video
lists a video in which nothing happens. Emotion, score and kind are filled in every row or in none.

All mistakes of a file are reported at once; ``pairing`` finds where two files do not fit.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError

REQUIRED = {name: name for name in ("subject", "video", "onset", "offset", "emotion")}  # ours -> the file's
OPTIONAL = {name: name for name in ("score", "kind")}
FILLED = ("emotion", "score", "kind")  # in every row or in none
KIND_WORDS = {"macro": "macro", "micro": "micro", "mae": "macro", "me": "micro"}
LARGEST_FRAME = 2**24 - 2  # float32 counts frames exactly up to here
MOST_BYTES = 2**26
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}(\.0*)?")  # spreadsheets write 12 as 12.0
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Row(NamedTuple):
    """One expression, or one detection."""

    where: str  # its place in the file, for messages
    video: tuple[str, str]  # subject, video
    onset: int  # first frame, as the file counts
    offset: int  # last frame, inclusive
    emotion: str = ""  # "": not said
    score: float | None = None  # None: not said
    kind: str = ""  # one of schema.KINDS; "": not said


class Table(NamedTuple):
    """A checked file."""

    path: Path
    what: str  # "predictions" or "ground truth", for messages
    videos: list[tuple[str, str]]  # (subject, video) in the order of first appearance
    rows: list[Row]  # in the order of the file
    classes: list[str]  # emotions, sorted; none if the file names none
    has_score: bool
    has_kind: bool
    notes: list[str]  # what somebody who reads the numbers should know


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


def first_of(names: Sequence[str]) -> str:
    """The first of many names, for a message.

    Args:
      names: what to list.

    Returns:
      Three of them, and how many more there are.

    >>> first_of(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


# ---- One file --------------------------------------------------------------------------------------------------------


def read_text(path: Path, what: str) -> str:
    """Reads a text file of unknown origin.

    Args:
      path: the file.
      what: what it should hold, for messages.

    Returns:
      Its text, with the line ends of the file.

    Raises:
      UserError: no such file, not readable, too large, or not UTF-8.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a file with {what}")
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UserError(f"{path}: larger than {MOST_BYTES >> 20} MiB; expected a file with {what}")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror}); expected a file with {what}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def read(
    path: str | Path, what: str, required: Mapping[str, str] = REQUIRED, optional: Mapping[str, str] = OPTIONAL
) -> Table:
    """Reads predictions or ground truth.

    Args:
      path: a CSV file with a header, separated by commas, semicolons or tabs. The order of the columns does not
        matter, nor do case and blanks in the header.
      what: "predictions" or "ground truth", for messages.
      required: our name -> the file's, of columns that must be there; one column may serve as two.
      optional: the same of columns that may be there.

    Returns:
      The table. Repeated rows are kept: ``join`` decides on them.

    Raises:
      UserError: all problems of the file, one per line.
    """
    path, names = Path(path), {**required, **optional}
    text = read_text(path, what)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=text.lstrip().partition("\n")[0].count))
    problems: list[str] = []
    rows, videos, notes = [], [], []
    try:
        header = ["".join(cell.split()).lower() for cell in next(filter(_filled, lines), [])]
        missing = [name for name in dict.fromkeys(required.values()) if name not in header]
        if missing:
            some = shown(",".join(header)) if any(header) else "an empty file"
            known = ",".join(dict.fromkeys(required.values())) + ("".join(f"[,{name}]" for name in optional.values()))
            raise UserError(f"{path}: no column {', '.join(missing)}; expected {known}; got {some}")
        twice = [name for name in dict.fromkeys(names.values()) if header.count(name) > 1]
        if twice:
            raise UserError(f"{path}: column {', '.join(twice)} appears twice; expected it once")
        ignored = [name for name in header if name and name not in names.values()]
        notes += [f"{what}: ignored columns {first_of([shown(name) for name in ignored])}"] if ignored else []
        place = {ours: header.index(name) for ours, name in names.items() if name in header}
        for cells in lines:
            cells, where = [cell.strip() for cell in cells], f"line {lines.line_num}"
            if not _filled(cells):
                continue
            if len(cells) < len(header) or any(cells[len(header) :]):
                problems.append(f"{where}: {len(cells)} cells; expected {len(header)} as in the header")
                continue
            row, found = _parse(where, {ours: cells[index] for ours, index in place.items()}, names)
            problems += found
            if not found:
                videos.append(row.video)
                rows += [row] if row.onset <= row.offset else []
    except csv.Error as error:
        raise UserError(f"{path}: line {lines.line_num}: not readable as CSV ({error}); save it again") from None
    return make(path, what, videos, rows, notes, problems)


def _filled(cells: list[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _parse(where: str, cells: Mapping[str, str], names: Mapping[str, str]) -> tuple[Row, list[str]]:
    """(row, problems); of a row that only lists a video the offset is before the onset."""
    found = [f"{name} is empty" for name in dict.fromkeys(names[x] for x in ("subject", "video") if not cells[x])]
    frames = {"onset": 0, "offset": -1}
    for name in frames:
        if cells[name] and _WHOLE.fullmatch(cells[name]):
            frames[name] = int(cells[name].partition(".")[0])
        elif cells[name]:
            found.append(f"{names[name]} must be a whole number; got {shown(cells[name])}")
        if abs(frames[name]) > LARGEST_FRAME:
            found.append(f"{names[name]} must be at most {LARGEST_FRAME} away from 0; got {shown(cells[name])}")
    empty = [name for name in frames if not cells[name]]
    if len(empty) == 2:
        given = [names[name] for name in FILLED if cells.get(name)]
        found += [f"{names['onset']} and {names['offset']} are empty, but {', '.join(given)} is not"] if given else []
    elif empty:
        found.append(f"{names[empty[0]]} is empty, but the other end is not")
    elif frames["offset"] < frames["onset"] and not found:
        found.append(f"{names['offset']} {frames['offset']} is before {names['onset']} {frames['onset']}")
    score, kind = cells.get("score", ""), cells.get("kind", "")
    value = float(score) if _REAL.fullmatch(score) else math.nan
    if score and not math.isfinite(value):
        found.append(f"{names['score']} must be a finite number, such as 0.5; got {shown(score)}")
    word = KIND_WORDS.get(kind.lower().removesuffix("-expression"), "")
    if kind and not word:
        found.append(f"{names['kind']} must be one of {', '.join(KIND_WORDS)}; got {shown(kind)}")
    video, emotion = (cells["subject"], cells["video"]), cells.get("emotion", "")
    row = Row(where, video, frames["onset"], frames["offset"], emotion, value if score else None, word)
    return row, [f"{where}: {text}" for text in found]


def make(
    path: Path,
    what: str,
    videos: Iterable[tuple[str, str]],
    rows: list[Row],
    notes: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> Table:
    """Rows from anywhere as a table.

    Args:
      path: where they come from.
      what: "predictions" or "ground truth".
      videos: subject and video of every video, those in which nothing happens among them; repeats do not matter.
      rows: rows that are right by themselves.
      notes: what was noted on the way.
      problems: what was found on the way.

    Returns:
      The table.

    Raises:
      UserError: the problems, and columns that are filled in some rows only.
    """
    problems, has = list(problems), {}
    for name in FILLED:
        empty = [row.where for row in rows if getattr(row, name) in ("", None)]
        has[name] = len(empty) < len(rows) or not rows
        if has[name] and empty:
            more = f", as in {len(empty) - 1} more rows" if empty[1:] else ""
            problems.append(f"{empty[0]}: {name} is empty{more}, but not in others; expected it in all rows or in none")
    errors.report(f"{path}", problems)
    classes = sorted({row.emotion for row in rows}) if has["emotion"] else []
    return Table(path, what, list(dict.fromkeys(videos)), rows, classes, has["score"], has["kind"], list(notes))
