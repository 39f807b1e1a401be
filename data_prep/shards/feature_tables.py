"""Tables of other tools as features: a row per frame, such as OpenFace's CSV files or the Fex tables of py-feat.

Rows say which frame they are about, some tools also when it was shown, and whether a face was followed. Frames are
resampled by time to one rate; what the tool lost, left out or could not say is a gap.
"""

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.media.frames import RATES
from fedn_jax.core import errors, text
from fedn_jax.core.errors import UserError
from fedn_jax.formats import cells, table_files
from fedn_jax.formats.cells import shown

SUFFIXES = (".csv", ".tsv", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
FRAME, TIMES = "frame", "timestamp"
FOUND = "success"  # 1 where a face was followed
SURE = ("confidence", "facescore")  # of OpenFace, of py-feat; where nothing says whether a face was followed
FACES = ("face_id", "identity")  # of several faces in one table
_SURE = 0.5  # least confidence, then
_LISTED = 100  # problems of a file after which reading stops
_MOST_WIDTH = 4096  # columns
_MOST_FRAMES = 2**24


class Wanted(NamedTuple):
    """What is to be read of every table."""

    columns: tuple[str, ...]  # patterns, such as AU*_r
    fps: float  # frames per second that all are resampled to
    rate: float | None = None  # frames per second of tables without times


class Row(NamedTuple):
    """What a table says of one frame."""

    values: list[float]
    time: float | None  # seconds
    followed: bool  # a face, and no value is missing


class Features(NamedTuple):
    """One video, T frames after resampling."""

    names: tuple[str, ...]  # D, of the columns
    inputs: np.ndarray  # [T, D] float16, zeros in gaps
    valid: np.ndarray  # [T] uint8
    source: np.ndarray  # [T] int32, frame of the table, from 0
    num_source: int  # frames of the table
    seconds: np.ndarray  # [num_source] float64, rising: when each of them was shown


def read(path: Path, wanted: Wanted) -> Features:
    """Reads the chosen columns of a table.

    Args:
      path: a CSV file or workbook with a column frame, counted from 0 or from 1.
      wanted: columns and rates.

    Returns:
      The features.

    Raises:
      UserError: no such columns, bad cells (all, with their lines), several faces, or neither times nor a rate.
    """
    names: list[str] = []
    problems: list[str] = []
    rows: dict[int, Row] = {}
    lines: dict[int, str] = {}

    def more(header: list[str]) -> list[str]:
        names.extend(choose(path, header, wanted.columns))
        return names

    for record in table_files.each_record(path, "a row per frame", (FRAME,), (TIMES, FOUND, *SURE, *FACES), more):
        if len(problems) >= _LISTED:
            break
        if record.problem:
            problems.append(record.problem)
            continue
        number, row, wrong = _row(record.cells, names)
        if not wrong and number in lines:
            wrong = [f"frame {number} is in {lines[number]} already{_several(record.cells)}"]
        problems += [f"{record.where}: {one}" for one in wrong]
        if not wrong:
            rows[number], lines[number] = row, record.where
    if not problems and not rows:
        problems.append("holds no rows; expected one per frame")
    if not problems and max(rows) > 2 * len(rows) + 1000:
        problems.append(f"frame {max(rows)} in a table of {len(rows)} rows; expected a row for most frames")
    errors.report(str(path), problems)
    return _resampled(path, tuple(names), rows, wanted)


def choose(path: Path, header: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The columns that patterns mean, in their order in the table.

    Args:
      path: the table, for messages.
      header: names of its columns.
      patterns: such as "AU*_r"; case matters only where both cases are there (OpenFace has x_0 and X_0).

    Returns:
      The names.

    Raises:
      UserError: a pattern that fits no column, or too many columns.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        fitting = [name for name in header if name and fnmatch.fnmatchcase(name, pattern)]
        fitting = fitting or [name for name in header if name and fnmatch.fnmatchcase(name.lower(), pattern.lower())]
        if not fitting:
            raise UserError(
                f"{path}: no column fits {pattern}; its columns are {shown(', '.join(filter(None, header)))}"
            )
        chosen |= set(fitting)
    if not 0 < len(chosen) <= _MOST_WIDTH:
        raise UserError(f"{path}: --columns fits {len(chosen)} columns; expected 1 to {_MOST_WIDTH}")
    return tuple(name for name in header if name in chosen)


def _row(found: dict[str, str], names: Sequence[str]) -> tuple[int, Row, list[str]]:
    """Frame, what the table says of it, what is wrong."""
    wrong = []
    number = cells.whole(found[FRAME], True)
    if number is None or not 0 <= number < _MOST_FRAMES:
        wrong.append(f"frame must be a whole number from 0 on; got {shown(found[FRAME])}")
    values = [cells.number_or_nan(found[name] or "nan") for name in names]  # some programs leave lost values empty
    wrong += [
        f"{name} must be a number; got {shown(found[name])}"
        for name, value in zip(names, values, strict=True)
        if value is None
    ]
    large = [name for name, value in zip(names, values, strict=True) if value is not None and abs(value) > 65504]
    wrong += [f"{name} is beyond float16 (65504); got {shown(found[name])}" for name in large]
    said = {name: cells.number_or_nan(found[name]) for name in (TIMES, FOUND, *SURE) if found.get(name)}
    wrong += [f"{name} must be a number; got {shown(found[name])}" for name, value in said.items() if value is None]
    if wrong:
        return 0, Row([], None, False), wrong
    if FOUND in said:
        followed = said[FOUND] == 1 and not any(np.isnan(said[name]) for name in SURE if name in said)
    else:
        followed = all(said[name] >= _SURE for name in SURE if name in said)
    time = said.get(TIMES)
    time = None if time is None or np.isnan(time) else time
    return number, Row(values, time, bool(followed) and not np.isnan(values).any()), []


def _several(found: dict[str, str]) -> str:
    named = next((name for name in FACES if found.get(name)), None)
    if named is None:
        return ""
    return f"; this row is about {named} {shown(found[named])}: keep the rows of one face"


def _resampled(path: Path, names: tuple[str, ...], rows: dict[int, Row], wanted: Wanted) -> Features:
    first = 0 if 0 in rows else 1  # as the tool counts
    numbers = np.array(sorted(rows), np.int64) - first
    total = int(numbers[-1]) + 1
    seconds = _seconds(path, numbers, [rows[number + first].time for number in numbers.tolist()], total, wanted.rate)
    table, there = np.zeros((total, len(names)), np.float16), np.zeros(total, np.uint8)
    for number, row in rows.items():
        if row.followed:
            table[number - first], there[number - first] = row.values, 1
    if not there.any():
        raise UserError(f"{path}: a face was followed in none of its {text.count(total, 'frame')}")
    step = float(np.median(np.diff(seconds))) if total > 1 else 1 / wanted.fps
    count = max(1, int(np.floor((seconds[-1] - seconds[0] + step / 2) * wanted.fps + 1e-6)) + 1)
    times = seconds[0] + np.arange(count) / wanted.fps
    source = np.searchsorted((seconds[1:] + seconds[:-1]) / 2, times - 1e-6)  # the nearest; a tie goes to the earlier
    return Features(names, table[source], there[source], source.astype(np.int32), total, seconds)


def _seconds(path: Path, numbers: np.ndarray, times: list[float | None], total: int, rate: float | None) -> np.ndarray:
    """[total] float64, rising: when each frame was shown."""
    known = [(number, time) for number, time in zip(numbers.tolist(), times, strict=True) if time is not None]
    at, when = (np.array(column, float) for column in zip(*known, strict=True)) if len(known) > 1 else (None, None)
    if at is not None and (np.diff(when) > 0).all():
        usual = (when[-1] - when[0]) / (at[-1] - at[0])
        if RATES[0] <= 1 / usual < RATES[1] / 2:  # OpenFace gives a millisecond to every picture of a folder
            frames = np.arange(total)
            seconds = np.interp(frames, at, when)
            seconds = np.where(frames < at[0], when[0] - (at[0] - frames) * usual, seconds)
            return np.where(frames > at[-1], when[-1] + (frames - at[-1]) * usual, seconds)
    if rate is None:
        raise UserError(f"{path}: says of no frame when it was shown; give --rate, the frames per second of its video")
    return np.arange(total) / rate
