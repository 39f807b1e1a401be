"""Predictions and ground truth of any method, from files: checked one by one, then put side by side, video by video.

A file is a table (``table_files``) with the columns subject, video, onset, offset, emotion and, if known, score and
kind. Frame numbers are inclusive and may begin anywhere, even below 0: only the two files have to agree. Where onset
and offset are empty, times in seconds may stand in onset_seconds and offset_seconds; a cell such as 0:12.5 or 12.5 s is
a time, too (``times``). A row with only subject and video lists a video in which nothing happens. Subject, emotion,
score and kind are filled in every row or in none (in annotations a score may be missing: then none counts); without
subjects a video is known by its name alone, as in what ``fedn detect`` writes.

All mistakes of a file are reported at once; ``join`` says where two files do not fit.
"""

import difflib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedn_jax.core import errors, schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count
from fedn_jax.core.types import Detections, Events
from fedn_jax.formats import cells as values
from fedn_jax.formats import table_files, times, video_names
from fedn_jax.formats.cells import shown, shown_video
from fedn_jax.formats.times import Seconds

PREDICTIONS = "predictions"  # what a file is whose scores matter
REQUIRED = {name: name for name in ("subject", "video", "onset", "offset", "emotion")}  # ours -> the file's
OPTIONAL = {name: name for name in ("score", "kind", *times.SECONDS.values(), "what")}
FILLED = ("emotion", "score", "kind")  # in every row or in none
KIND_WORDS = {"macro": "macro", "micro": "micro", "mae": "macro", "me": "micro"}
LARGEST_FRAME = 2**24 - 2  # float32 counts frames exactly up to here
MOST_PAIRS = 2**27  # of a detection and an expression of one video, all videos padded to the longest: 1 GiB of IoUs
ALLOWANCES = {
    "unknown-emotions": "makes emotions that the ground truth does not have classes of their own",
    "duplicates": "drops rows that repeat another one",
    "unmatched-videos": "counts predictions for videos that the ground truth does not list as false positives",
}


class Row(NamedTuple):
    """One expression, or one detection; both ends are frames, or both are times."""

    where: str  # its place in the file, for messages
    video: tuple[str, str]  # subject, video
    onset: int | Seconds  # first frame, as the file counts; or when it appears
    offset: int | Seconds  # last frame, inclusive; or when it goes
    emotion: str = ""  # "": not said
    score: float | None = None  # None: not said
    kind: str = ""  # one of schema.KINDS; "": not said

    @property
    def timed(self) -> bool:
        """Whether its ends are times."""
        return isinstance(self.onset, Seconds)

    @property
    def span(self) -> tuple[int | Seconds, int | Seconds]:
        """Both ends."""
        return self.onset, self.offset


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
    vocabulary: tuple[str, ...] = ()  # emotions that the file allows, in its order, whether they occur or not


class Paired(NamedTuple):
    """Predictions and ground truth of the same V videos; intervals in frames as the files count them."""

    detections: list[Detections]  # V; score float64 as in the file, 1 without scores; emotion 0 without emotions
    det_kind: list[np.ndarray]  # V arrays [N] int32, index into schema.KINDS; -1: not said
    events: list[Events]  # V; kind -1: not said; emotion 0 without emotions
    subjects: list[str]  # V
    videos: list[str]  # V
    classes: list[str]  # C emotions; none where one of the files names none
    has_score: bool
    notes: list[str]


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


def read(
    path: str | Path, what: str, required: Mapping[str, str] = REQUIRED, optional: Mapping[str, str] = OPTIONAL
) -> Table:
    """Reads predictions or ground truth.

    Args:
      path: a CSV file or an Excel workbook; see ``table_files.columns``.
      what: "predictions" or "ground truth", for messages.
      required: our name -> the file's, of columns that must be there; one column may serve as two.
      optional: the same of columns that may be there.

    Returns:
      The table. Repeated rows are kept: ``join`` decides on them.

    Raises:
      UserError: all problems of the file, one per line.
    """
    path, names = Path(path), {**required, **optional}
    records, ignored, comma = table_files.columns(
        path, what, list(dict.fromkeys(required.values())), list(optional.values())
    )
    notes = [f"{what}: ignored columns {first_of([shown(name) for name in ignored])}"] if ignored else []
    rows, videos, problems, nameless = [], [], [], []
    for where, cells, problem, _ in records:
        if problem:
            problems.append(problem)
            continue
        row, found = _parse(where, {ours: cells[name] for ours, name in names.items() if name in cells}, names, comma)
        problems += found
        if not found:
            videos.append(row.video)
            nameless += [] if row.video[0] else [where]
            rows += [row] if row.onset <= row.offset else []
    if 0 < len(nameless) < len(videos):
        problems.append(_partly(required["subject"], nameless))
    return make(path, what, videos, rows, notes, problems)


def _parse(where: str, cells: Mapping[str, str], names: Mapping[str, str], comma: bool) -> tuple[Row, list[str]]:
    """(row, problems); of a row that only lists a video the offset is before the onset."""
    cells = times.only_expressions(cells)
    found = [] if cells["video"] else [f"{names['video']} is empty"]
    onset, offset, problems = times.ends(cells, names, comma, LARGEST_FRAME)
    found += problems
    given = [names[name] for name in FILLED if cells.get(name)]
    if onset is None and given and not found:
        found += [f"{names['onset']} and {names['offset']} are empty, but {', '.join(given)} is not"]
    if onset is None or offset is None:
        onset, offset = 0, -1
    score, kind = cells.get("score", ""), cells.get("kind", "")
    value = values.real(score, comma)
    if score and value is None:
        found.append(f"{names['score']} must be a finite number, such as 0.5; got {shown(score)}")
    word = KIND_WORDS.get(kind.lower().removesuffix("-expression"), "")
    if kind and not word:
        found.append(f"{names['kind']} must be one of {', '.join(KIND_WORDS)}; got {shown(kind)}")
    video, emotion = (cells["subject"], cells["video"]), cells.get("emotion", "")
    row = Row(where, video, onset, offset, emotion, value, word)
    return row, [f"{where}: {text}" for text in found]


def make(
    path: Path,
    what: str,
    videos: Iterable[tuple[str, str]],
    rows: list[Row],
    notes: Sequence[str] = (),
    problems: Sequence[str] = (),
    vocabulary: Sequence[str] = (),
) -> Table:
    """Rows from anywhere as a table.

    Args:
      path: where they come from.
      what: "predictions" or "ground truth".
      videos: subject and video of every video, those in which nothing happens among them; repeats do not matter.
      rows: rows that are right by themselves.
      notes: what was noted on the way.
      problems: what was found on the way.
      vocabulary: emotions that the file allows.

    Returns:
      The table.

    Raises:
      UserError: the problems, and columns that are filled in some rows only; but scores, which a person does not give
        to what is added, are left out then, unless these are predictions.
    """
    problems, notes, has = list(problems), list(notes), {}
    for name in FILLED:
        empty = [row.where for row in rows if getattr(row, name) in ("", None)]
        has[name] = len(empty) < len(rows) or not rows
        if has[name] and empty and name == "score" and what != PREDICTIONS:
            rows, has[name] = [row._replace(score=None) for row in rows], False
            notes.append(f"scores are left out: {count(len(empty), 'row')} of {len(rows)} without one")
        elif has[name] and empty:
            problems.append(_partly(name, empty))
    errors.report(f"{path}", problems)
    classes = sorted({row.emotion for row in rows}) if has["emotion"] else []
    videos = list(dict.fromkeys(videos))
    return Table(path, what, videos, rows, classes, has["score"], has["kind"], notes, tuple(vocabulary))


def _partly(name: str, empty: list[str]) -> str:
    more = f", as in {count(len(empty) - 1, 'more row')}" if empty[1:] else ""
    return f"{empty[0]}: {name} is empty{more}, but not in others; expected it in all rows or in none"


# ---- Two files -------------------------------------------------------------------------------------------------------


def join(predictions: Table, truth: Table, allow: Collection[str] = ()) -> Paired:
    """Puts predictions beside their ground truth, video by video.

    Args:
      predictions: the detections.
      truth: the expressions; scores mean nothing here.
      allow: names of ``ALLOWANCES``: done as said there and noted, instead of refused.

    Returns:
      The videos of the ground truth in its order, then those that only the predictions have.

    Raises:
      UserError: everything that does not fit and is not allowed, one per line; no video at all.
    """
    for name in allow:
        errors.one_of("allow", name, ALLOWANCES)
    if not truth.videos:
        raise UserError(f"{truth.path}: lists no video; expected the ground truth, a row per expression")
    for table in (predictions, truth):
        errors.report(f"{table.path}", _in_seconds(table))
    predictions, truth = _by_name(predictions, truth), _by_name(truth, predictions)
    notes = [*predictions.notes, *truth.notes]
    found = {
        "duplicates": [*_duplicates(predictions), *_duplicates(truth)],
        "unknown-emotions": _unknown(predictions, truth),
        "unmatched-videos": _unmatched(predictions, truth),
    }
    errors.report(
        f"{predictions.path} against {truth.path}",
        [f"{line}; --allow {name} {ALLOWANCES[name]}" for name in found for line in found[name] if name not in allow],
    )
    notes += [f"--allow {name} {ALLOWANCES[name]}: {first_of(found[name])}" for name in found if found[name]]
    with_some = set(predictions.videos)
    if absent := [shown_video(*video) for video in truth.videos if video not in with_some]:
        notes.append(f"no predictions for {len(absent)} of {count(len(truth.videos), 'video')}, where all expressions "
                     f"count as missed: {first_of(absent)}")  # fmt: skip
    silent = [table.what for table in (predictions, truth) if table.rows and not table.classes]
    notes += [f"emotions are not judged: the {' and the '.join(silent)} name none"] if silent else []
    videos = list(dict.fromkeys([*truth.videos, *predictions.videos]))
    classes = [] if silent else [*truth.classes, *sorted(set(predictions.classes) - set(truth.classes))]
    detections, expressions = (_by_video(table, videos, classes) for table in (predictions, truth))
    most = [max(len(events.valid) for events, _ in table) for table in (detections, expressions)]
    size = math.prod(1 << max(count - 1, 0).bit_length() for count in (len(videos), *most))  # as matching.pad pads
    if size > MOST_PAIRS:
        raise UserError(f"{predictions.path}: {count(most[0], 'detection')} in one video are too many beside "
                        f"{count(len(videos), 'video')} of up to {count(most[1], 'expression')}; keep the best of each "
                        "video")  # fmt: skip
    return Paired(
        [Detections(events.interval, score, events.emotion, events.valid) for events, score in detections],
        [events.kind for events, _ in detections],
        [events for events, _ in expressions],
        [subject for subject, _ in videos],
        [video for _, video in videos],
        classes,
        predictions.has_score,
        notes,
    )


def has_subjects(table: Table) -> bool:
    """Whether a table says who is seen in its videos.

    Args:
      table: of ``read``.

    Returns:
      False if it names no subject, or where every video is its own, as readers of formats without subjects make it;
      True of an empty table.
    """
    return not table.videos or any(subject not in ("", video) for subject, video in table.videos)


def renamed(table: Table, names: Mapping[tuple[str, str], tuple[str, str]]) -> Table:
    """Gives videos another subject, or another name.

    Args:
      table: of ``read``.
      names: (subject, video) -> (subject, video); others stay as they are.

    Returns:
      The table.
    """
    rows = [row._replace(video=names.get(row.video, row.video)) for row in table.rows]
    return table._replace(videos=list(dict.fromkeys(names.get(one, one) for one in table.videos)), rows=rows)


def _by_name(table: Table, other: Table) -> Table:
    """A table without subjects with those of the other, found by the names of the videos."""
    if has_subjects(table) or not has_subjects(other):
        return table
    found = {video: video_names.meant(("", video[1]), other.videos) for video in table.videos}
    advice = "fill the column subject, as `fedn convert --subject` does"
    errors.report(
        f"{table.path}",
        [
            f"names no subjects, and the {other.what} has video {shown(video[1])} of "
            f"{first_of([subject for subject, _ in several])}; {advice}"
            for video, several in found.items()
            if several[1:]
        ],
    )
    note = f"{table.what}: no subjects, so videos were found by their names"
    one = {video: known[0] for video, known in found.items() if known}
    return renamed(table, one)._replace(notes=[*table.notes, note])


def _in_seconds(table: Table) -> list[str]:
    timed = [row.where for row in table.rows if row.timed]
    advice = "give --fps, or make frames of them with `fedn convert --videos`"
    return [f"{first_of(timed)}: times in seconds; expected frames: {advice}"] if timed else []


def _duplicates(table: Table) -> list[str]:
    first: dict[tuple, str] = {}
    again = [row for row in table.rows if first.setdefault(row[1:], row.where) != row.where]
    return [f"{table.what}, {row.where}: repeats {first[row[1:]]}" for row in again]


def _unknown(predictions: Table, truth: Table) -> list[str]:
    """Emotions of the predictions that the ground truth lacks; none where it names no emotions at all."""
    lines = []
    for name in [name for name in predictions.classes if truth.classes and name not in truth.classes]:
        lines_of = [row.where for row in predictions.rows if row.emotion == name]
        near = difflib.get_close_matches(name, truth.classes, n=1)
        hint = f", did you mean {shown(near[0])}?" if near else ""
        known = first_of([shown(emotion) for emotion in truth.classes])
        lines.append(
            f"predictions, {first_of(lines_of)}: emotion {shown(name)} is not in the ground truth ({known}){hint}"
        )
    return lines


def _unmatched(predictions: Table, truth: Table) -> list[str]:
    """Videos of the predictions that the ground truth lacks."""
    known, subjects = set(truth.videos), dict(map(reversed, truth.videos))
    counts, lines = Counter(row.video for row in predictions.rows), []
    for video in [video for video in predictions.videos if video not in known]:
        same = subjects.get(video[1])
        hint = f", which has that video of subject {shown(same)}" if same is not None else ""
        lines.append(
            f"predictions: video {shown_video(*video)} ({count(counts[video], 'row')}) is not in the ground truth{hint}"
        )
    return lines


def _by_video(table: Table, videos: list[tuple[str, str]], classes: list[str]) -> list[tuple[Events, np.ndarray]]:
    """(expressions, scores) of each video, in the order of the file, without repeated rows."""
    rows: dict[tuple[str, str], list[Row]] = {video: [] for video in videos}
    for key in dict.fromkeys(row[1:] for row in table.rows):
        rows[key[0]].append(Row("", *key))
    index, kinds = {name: i for i, name in enumerate(classes)}, {name: i for i, name in enumerate(schema.KINDS)}
    found = []
    for of_video in rows.values():
        interval = np.array([(row.onset, row.offset + 1) for row in of_video], np.float32).reshape(-1, 2)
        emotion = np.array([index.get(row.emotion, 0) for row in of_video], np.int32)
        kind = np.array([kinds.get(row.kind, -1) for row in of_video], np.int32)
        score = np.array([1.0 if row.score is None else row.score for row in of_video])
        apex, valid = np.full(len(of_video), -1, np.float32), np.ones(len(of_video), bool)
        found.append((Events(interval, apex, emotion, kind, valid), score))
    return found
