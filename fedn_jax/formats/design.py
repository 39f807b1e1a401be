"""What people collect for an analysis: tables of detections of many videos, and the design of their study."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.formats import exchange, predictions, table_files, times, video_names
from fedn_jax.formats.cells import shown, shown_video, whole
from fedn_jax.formats.video_names import Video

SPAN = tuple(times.SECONDS.values())
FRAMES = "timestamp"  # a column of tables with a row per frame, which say nothing more
DESIGN = ("video", "condition")
PARTS = ("subject", "start", "end")
COLUMNS = ("video", "subject", "what", *SPAN, "emotion", FRAMES, *times.SECONDS)
SAME = 0.01  # seconds: as far apart as two decimals are, to which a spreadsheet may round


class Expression(NamedTuple):
    """One expression, in seconds of its video."""

    begin: float
    end: float
    emotion: str


class Observed(NamedTuple):
    """What is known of a video."""

    subject: str  # "": not said
    seconds: float  # length
    gaps: list[tuple[float, float]]  # stretches without a face
    expressions: list[Expression]


class Mark(NamedTuple):
    """A frame and the second at which it is shown, as a row of a table says."""

    edge: int  # the frame that begins then: the onset, or the one after the offset
    second: float
    where: str
    frame: int  # as the row has it


class Part(NamedTuple):
    """A line of a design: a video, or a stretch of one, belongs to a condition."""

    where: str
    video: Video
    subject: str
    condition: str
    start: float  # seconds
    end: float | None  # None: to the end


def read(paths: Sequence[Path]) -> dict[Video, Observed]:
    """Reads tables of detections.

    Args:
      paths: ``detections.csv`` of `fedn detect`, which knows how long videos are; beside it tables of single videos,
        or files in seconds such as ELAN documents, whose expressions count in place of those in it. Tables of frames
        are passed over.

    Returns:
      (subject, video) -> what is known of it.

    Raises:
      UserError: all that is wrong with the tables; videos whose length is not known; two tables that disagree; a
        frame of a video that is shown later than a later one.
    """
    known: dict[Video, Observed] = {}
    single: list[tuple[Video, Path, list[Expression]]] = []
    marks: list[tuple[Video, Mark]] = []
    problems: list[str] = []
    for path in paths:
        if exchange.FORMATS[exchange.format_of(path)].unit == "seconds":
            single += [(video, path, expressions) for video, expressions in _of_file(path).items()]
            continue
        found = table_files.columns(path, "detections", (), COLUMNS)
        names = {name for record in found.records for name in record.cells}
        if FRAMES in names:
            continue
        if "video" not in names:
            problems.append(f"{path}: no column video; expected a table of `fedn detect`")
            continue
        table: dict[Video, Observed] = {}
        for record in found.records:
            problems += _add(table, record, found.comma, path)
            marks += [(_video(record), mark) for mark in _marks(record, found.comma, path)]
        if "what" in names:
            problems += [f"{path}: video {shown_video(*one)} is in another table, too" for one in table if one in known]
            known |= table
            continue
        single += [(video, path, one.expressions) for video, one in table.items()]
    problems += _correct(known, single)
    problems += _contradictions(known, marks)
    problems += [
        f"video {shown_video(*video)}: no row says how long it is" for video, one in known.items() if not one.seconds
    ]
    errors.report("detections", problems)
    if not known:
        raise UserError("detections: no video; expected detections.csv of `fedn detect`")
    return known


def _video(record: table_files.Record) -> Video:
    return record.cells.get("subject", ""), record.cells.get("video", "")


def _of_file(path: Path) -> dict[Video, list[Expression]]:
    """Expressions of a file in seconds, by video."""
    table = exchange.read(path, "detections")
    found: dict[Video, list[Expression]] = {video: [] for video in table.videos}
    for row in table.rows:
        found[row.video].append(Expression(*map(float, row.span), row.emotion))
    return {video: sorted(expressions) for video, expressions in found.items()}


def _correct(known: dict[Video, Observed], single: Sequence[tuple[Video, Path, list[Expression]]]) -> list[str]:
    """Puts what files of single videos say in place of what is known of these; returns what is wrong."""
    first: dict[Video, tuple[Path, list[Expression]]] = {}
    problems = []
    for name, path, expressions in single:
        found = video_names.meant(name, known)
        if len(found) != 1:
            why = f"may be that of {_people(found)}; its file must say who is seen"
            why = why if found else "is not known; give detections.csv, too"
            problems.append(f"{path}: how long video {shown_video(*name)} is, {why}")
            continue
        before = first.setdefault(found[0], (path, expressions))
        if before[1] != expressions:
            problems.append(f"{path}: differs from {before[0]} in the expressions of video {shown(name[1])}; give one")
        known[found[0]] = known[found[0]]._replace(expressions=expressions)
    return problems


def _people(videos: Sequence[Video]) -> str:
    return predictions.first_of([shown(subject) for subject, _ in videos])


def _marks(record: table_files.Record, comma: bool, path: Path) -> list[Mark]:
    """What a row says of the clock of its video, where it has frames and seconds."""
    ends = {name: record.cells.get(name, "") for name in (*times.SECONDS, *SPAN)}
    frames = [whole(ends[name], comma) for name in times.SECONDS]
    seconds = [times.number(ends[name], comma) for name in SPAN]
    if record.problem or None in frames or None in seconds:
        return []
    where, (onset, offset), (begin, end) = f"{path}, {record.where}", frames, seconds
    return [
        Mark(onset, float(begin), f"{where}: onset", onset),
        Mark(offset + 1, float(end), f"{where}: offset", offset),
    ]


def _contradictions(known: dict[Video, Observed], marks: Sequence[tuple[Video, Mark]]) -> list[str]:
    """Where the rows of a video cannot all be true; a line per video."""
    by_video: dict[Video, list[Mark]] = {}
    for name, mark in marks:
        found = video_names.meant(name, known)
        by_video.setdefault(found[0] if len(found) == 1 else name, []).append(mark)
    return [line for of_video in by_video.values() for line in _contradiction(of_video)]


def _contradiction(marks: list[Mark]) -> list[str]:
    """The first two marks of a video that cannot both be true: later frames are shown later, the same frame once."""
    for one, other in itertools.pairwise(sorted(set(marks))):
        if other.second - one.second > SAME if one.edge == other.edge else other.second <= one.second:
            return [
                f"{one.where} {one.frame} is at {one.second:g} s, but {other.where} {other.frame} at "
                f"{other.second:g} s; where frames were changed, change the seconds, too, or leave the frames empty"
            ]
    return []


def _add(table: dict[Video, Observed], record: table_files.Record, comma: bool, path: Path) -> list[str]:
    """Adds a row to a table; returns what is wrong with it."""
    where, cells = f"{path}, {record.where}", record.cells
    if record.problem:
        return [f"{path}, {record.problem}"]
    video = _video(record)
    one = table.setdefault(video, Observed(video[0], 0.0, [], []))
    texts = [cells.get(name, "") for name in SPAN]
    begin, end = (times.number(text, comma) for text in texts)
    if not any(texts) and not cells.get("onset"):
        return []
    if begin is None or end is None or end < begin:
        advice = "of frames, `fedn convert TABLE.csv NEW.eaf --videos VIDEO` makes times"
        return [f"{where}: expected times in onset_seconds and offset_seconds; got {shown(*texts)}; {advice}"]
    what = cells.get("what", "") or "expression"
    if what == "video" and not one.seconds:
        table[video] = one._replace(seconds=float(end))
    elif what == "video":
        return [f"{where}: a second row says how long video {shown_video(*video)} is; are these two videos?"]
    elif what == "no face":
        one.gaps.append((float(begin), float(end)))
    elif what == "expression" and cells.get("emotion"):
        one.expressions.append(Expression(float(begin), float(end), cells["emotion"]))
        one.expressions.sort()
    else:
        got = shown(what, cells.get("emotion", ""))
        return [f"{where}: expected video, no face, or expression with an emotion; got {got}"]
    return []


def _time(text: str, comma: bool) -> float | None:
    seconds = times.parse(text, comma)
    return times.number(text, comma) if seconds is None else seconds


def read_design(path: Path, videos: dict[Video, Observed]) -> list[Part]:
    """Reads a design.

    Args:
      path: a table with the columns video and condition; subject, where the detections name nobody or have several
        videos of that name; start and end, in seconds or as 0:12.5, where a condition is a stretch of a video.
      videos: of ``read``; a name may have an ending that it lacks there.

    Returns:
      Its lines.

    Raises:
      UserError: all that is wrong with it.
    """
    found = table_files.columns(path, "a design", DESIGN, PARTS)
    parts, problems = [], []
    for record in found.records:
        part, wrong = (None, []) if record.problem else _part(record, found.comma, videos)
        problems += [record.problem] if record.problem else [f"{record.where}: {text}" for text in wrong]
        parts += [part] if part else []
    for one, other in itertools.pairwise(sorted(parts, key=lambda part: (part.video, part.start))):
        if one.video == other.video and other.start < one.end:
            problems.append(f"{other.where}: overlaps {one.where}, which is a part of video {shown(one.video)}, too")
    errors.report(f"{path}", problems)
    if not parts:
        raise UserError(f"{path}: holds no rows; expected one per video, or per stretch of a video")
    return parts


def _part(record: table_files.Record, comma: bool, videos: dict[Video, Observed]) -> tuple[Part | None, list[str]]:
    """(the line of a design, or None; what is wrong with it)."""
    cells = {name: record.cells.get(name, "") for name in (*DESIGN, *PARTS)}
    ways = (video_names.meant((cells["subject"], one), videos) for one in (cells["video"], Path(cells["video"]).stem))
    found = next(filter(None, ways), [])
    if len(found) != 1:
        why = f"is of {_people(found)}; write the column subject" if found else "is not among the detections"
        return None, [f"video {shown_video(cells['subject'], cells['video'])} {why}"]
    (name,) = found
    wrong = [] if cells["condition"] else ["condition is empty"]
    edges = {key: _time(cells[key], comma) for key in ("start", "end")}
    for key, edge in edges.items():
        if cells[key] and edge is None:
            wrong.append(f"{key} must be a time, such as 12.5 or 0:12.5; got {shown(cells[key])}")
    subject = cells["subject"] or videos[name].subject
    wrong += [] if subject else ["subject is empty, and the detections do not say who is seen"]
    start, length = float(edges["start"] or 0.0), videos[name].seconds
    end = length if edges["end"] is None else min(float(edges["end"]), length)
    if not wrong and start >= end:
        wrong.append(f"start {start:g} is not before end {end:g}")
    return None if wrong else Part(record.where, name, subject, cells["condition"], start, end), wrong


def left_out(parts: Sequence[Part], videos: dict[Video, Observed]) -> list[str]:
    """Videos that a design does not name.

    Args:
      parts: of ``read_design``.
      videos: of ``read``.

    Returns:
      A sentence, or none.
    """
    named = {part.video for part in parts}
    rest = [shown_video(*video) for video in videos if video not in named]
    return [f"not in the design, left out: {predictions.first_of(rest)}"] if rest else []
