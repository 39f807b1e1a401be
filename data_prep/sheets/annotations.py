"""Annotations to expressions: a folder of videos (or features) and one table beside it (CSV or Excel).

The file speaks of inclusive frame numbers that start at ``first_frame``; everything else in the project counts from 0
and uses half-open intervals. Every mistake in the file is reported, all
at once, with its line.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.media import images
from data_prep.media.sources import Source
from data_prep.sheets import video_files
from fedn_jax.core import errors, schema
from fedn_jax.core.errors import UserError
from fedn_jax.formats import cells, table_files
from fedn_jax.formats.cells import shown

REQUIRED = ("subject", "video", "onset", "offset", "emotion")
OPTIONAL = ("apex", "kind")
_LARGEST = 2**30  # frame number; int32 must hold it, with --first-frame
BY_LENGTH = -1  # of the kind column: the sheet does not say, the length in seconds decides


class VideoItem(NamedTuple):
    """One video to prepare."""

    subject: str
    video: str  # as the sheet writes it
    source: Source
    events: np.ndarray  # [E, 5] int32, schema.EVENT_COLUMNS, source frames from 0, half-open; kind may be BY_LENGTH
    cut: np.ndarray  # [E] bool: what passes the video's end is cut there; elsewhere it is a mistake in the sheet


class Sheet(NamedTuple):
    """A checked annotation file."""

    items: list[VideoItem]  # in the order of first appearance
    classes: list[str]  # emotion -> index is the position here


class _Row(NamedTuple):
    where: str  # its line in the sheet, for messages
    subject: str
    video: str
    emotion: str
    event: tuple[int, int, int, int] | None  # onset, apex, offset, kind as in VideoItem.events


def read_folder(
    csv_path: str | Path,
    directory: str | Path,
    classes: Sequence[str] | None = None,
    first_frame: int = 1,
    suffixes: Sequence[str] = video_files.SUFFIXES,
    skip: Path | None = None,
    openface: bool = False,
    originals: Path | None = None,
    rate: float = 30.0,
    subject: str | None = None,
) -> Sheet:
    """Reads a sheet and finds the file of each of its videos.

    Args:
      csv_path: columns subject, video, onset, offset, emotion; optional apex and kind (macro, micro). ``video`` is a
        file name below ``directory``, with or without its extension (with it, if that is not one of ``suffixes``). A
        row without onset and offset lists a video in which nothing happens.
      directory: where the videos are; sub-folders are searched, through links too.
      classes: the emotions in order; None takes those of the file, sorted.
      first_frame: the number that the sheet gives to a video's first frame.
      suffixes: extensions of the files that belong to the data set.
      skip: a folder whose files are none of them, such as an output directory inside ``directory``.
      openface: the videos are folders that OpenFace wrote, NAME_aligned.
      originals: a folder with the pictures that OpenFace was given, one sub-folder NAME each.
      rate: frames per second of folders of pictures.
      subject: of rows that name none; None: every row must name one.

    Returns:
      Items and classes.

    Raises:
      UserError: all problems of the sheet and the folder, one per line.
    """
    csv_path, directory = Path(csv_path), Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder; expected the folder with the videos")
    problems: list[str] = []
    rows, named = _read_rows(csv_path, first_frame, subject, problems)
    sound = not problems
    names = list(classes) if classes else sorted({row.emotion for row in rows if row.event})
    if len(set(names)) != len(names) or not all(names):
        problems.append(f"classes: expected different names; got {', '.join(names)}")
    files = video_files.index(directory, suffixes, skip, openface)
    if not files.names:
        what = "folder that ends in _aligned" if openface else f"file that ends in {' '.join(suffixes)}"
        problems.append(f"{directory}: no {what}")
    items = _collect(rows, named, files, names, problems) if files.names else []
    items = [item._replace(source=_source(item, directory, openface, originals, rate, problems)) for item in items]
    if rows and not names and sound:
        problems.append("no row has an expression; expected at least one onset, offset and emotion")
    errors.report(f"{csv_path}", problems)
    return Sheet(items, names)


def table(events: Sequence[Sequence[int]]) -> np.ndarray:
    """Expressions in order.

    Args:
      events: onset, apex, offset, emotion, kind of each.

    Returns:
      [E, 5] int32, sorted.
    """
    return np.array(sorted(events), np.int32).reshape(-1, 5)


def beyond(item: VideoItem, num_frames: int, first_frame: int) -> list[str]:
    """Expressions that end after their video, where they may not be cut.

    Args:
      item: the video.
      num_frames: frames of its source.
      first_frame: number of the first frame.

    Returns:
      One line each.
    """
    last = num_frames - 1 + first_frame
    return [
        f"{item.source.path}: expression {onset + first_frame} to {offset - 1 + first_frame} ends after the last "
        f"frame, {last}; correct the sheet, or --first-frame"
        for (onset, _, offset, _, _), cut in zip(item.events.tolist(), item.cut, strict=True)
        if offset > num_frames and not cut
    ]


def resolve_kinds(events: np.ndarray, fps: float) -> np.ndarray:
    """Decides by length where the sheet does not name the kind.

    Args:
      events: [E, 5] int32.
      fps: frames per second.

    Returns:
      [E, 5] int32 in which every kind is an index into ``schema.KINDS``.
    """
    events = events.copy()
    frames = events[:, 2] - events[:, 0]
    micro = frames <= schema.MICRO_SECONDS * fps
    open_ = events[:, 4] == BY_LENGTH
    events[open_, 4] = np.where(micro, schema.KINDS.index("micro"), schema.KINDS.index("macro"))[open_]
    return events


def _read_rows(
    path: Path, first_frame: int, subject: str | None, problems: list[str]
) -> tuple[list[_Row], list[str] | None]:
    """(rows without a mistake, all that any row may name; None where a row does not say which video it is about)."""
    records, _, comma = table_files.columns(path, "a row per expression", REQUIRED, OPTIONAL)
    rows, seen, named = [], {}, []
    for where, fields, problem, line in records:
        # Of a row with too many or too few cells any may be the video's name.
        names = [word.strip() for cell in line for word in re.split("[,;\t]", cells.text(cell))] if problem else []
        video = fields.get("video", " ".join(names))
        named = [*named, *names, video] if named is not None and video and not cells.unusable(video) else None
        fields = fields | ({"subject": subject} if subject and not fields.get("subject") else {})
        row, found = (None, [problem]) if problem else _parse(where, fields, first_frame, comma)
        problems += found
        if row is None:
            continue
        key = row[1:]
        if key in seen:
            problems.append(f"{where}: repeats {seen[key]}; remove one of them")
        seen.setdefault(key, where)
        rows.append(row)
    if not rows and not problems:
        raise UserError(f"{path}: holds no rows; expected one per expression")
    return rows, named


def _parse(where: str, fields: dict[str, str], first_frame: int, comma: bool) -> tuple[_Row | None, list[str]]:
    """(the row, or None; what is wrong with it)."""
    found: list[str] = []
    numbers = {name: cells.whole(fields.get(name, ""), comma) for name in ("onset", "apex", "offset")}
    for name, number in numbers.items():
        if fields.get(name) and (number is None or abs(number) > _LARGEST):
            found.append(f"{name} must be a whole number up to {_LARGEST}; got {shown(fields[name])}")
    whys = {"subject": "is empty; write who is seen, or give --subject for rows without one", "video": "is empty"}
    found += [f"{name} {why}" for name, why in whys.items() if not fields[name]]
    event = None
    if fields["onset"] or fields["offset"]:
        found += [f"{name} is empty, but {other} is not" for name, other in (("onset", "offset"), ("offset", "onset"))
                  if not fields[name]]  # fmt: skip
        if not fields["emotion"]:
            found.append("emotion is empty; expected a name, or no onset and no offset")
        onset, apex, offset = numbers["onset"], numbers["apex"], numbers["offset"]
        if onset is not None and onset < first_frame:
            found.append(f"onset {onset} is before the first frame, {first_frame} (see --first-frame)")
        if onset is not None and offset is not None and offset < onset:
            found.append(f"offset {offset} is before onset {onset}")
        elif onset is not None and offset is not None and apex is not None and not onset <= apex <= offset:
            found.append(f"apex {apex} is outside of {onset} to {offset}")
        kind = fields.get("kind", "").lower().removesuffix("-expression")
        if kind and kind not in schema.KINDS:
            found.append(f"kind must be one of {', '.join(schema.KINDS)} or empty; got {shown(fields['kind'])}")
        if not found:
            # Inclusive numbers from first_frame become half-open ones from 0.
            begin, end = onset - first_frame, offset - first_frame + 1
            peak = -1 if apex is None else apex - first_frame
            event = (begin, peak, end, schema.KINDS.index(kind) if kind else BY_LENGTH)
    elif fields["emotion"] or fields.get("apex"):
        found.append("onset and offset are empty, but emotion or apex is not")
    row = None if found else _Row(where, fields["subject"], fields["video"], fields["emotion"], event)
    return row, [f"{where}: {text}" for text in found]


def _source(
    item: VideoItem, directory: Path, openface: bool, originals: Path | None, rate: float, problems: list[str]
) -> Source:
    path = item.source.path
    given = None
    if openface and originals is not None:
        given = originals / path.relative_to(directory).with_name(path.name.removesuffix("_aligned"))
        if not images.is_folder(given):
            problems.append(f"{given}: no folder of pictures; expected those that OpenFace was given for {path.name}")
    return Source(path, rate, openface, given)


def _collect(
    rows: list[_Row], named: list[str] | None, files: video_files.Index, classes: list[str], problems: list[str]
) -> list[VideoItem]:
    by_path: dict[Path, tuple[str, str, list[tuple[int, ...]]]] = {}
    ids: dict[tuple[str, str], Path] = {}
    for row in rows:
        path, why = video_files.find(row.video, files)
        if path is None:
            problems.append(f"{row.where}: video {shown(row.video)}: {why} below {files.directory}")
            continue
        if row.event and row.emotion not in classes:
            problems.append(f"{row.where}: emotion must be one of {', '.join(classes)}; got {shown(row.emotion)}")
            continue
        subject, video, events = by_path.setdefault(path, (row.subject, row.video, []))
        if subject != row.subject:
            problems.append(
                f"{row.where}: video {shown(row.video)} belongs to {shown(subject)} above; got {shown(row.subject)}"
            )
        elif ids.setdefault((subject, video), path) != path:
            problems.append(f"{row.where}: video {shown(row.video)} of {shown(subject)} names two files")
        if row.event:
            onset, apex, offset, kind = row.event
            events.append((onset, apex, offset, classes.index(row.emotion), kind))
    if named is not None:  # else a row that could not be read may be about any of them
        problems += _without_a_row(files, named)
    return [
        VideoItem(subject, video, Source(path), table(events), np.zeros(len(events), bool))
        for path, (subject, video, events) in by_path.items()
    ]


def _without_a_row(files: video_files.Index, named: list[str]) -> list[str]:
    """Videos that no row names, not even one with a mistake, and not even together with another file."""
    mentioned = {path for name in set(named) for path in video_files.meant(name, files)}
    return [
        f"{path.relative_to(files.directory)}: no row in the file; if nothing happens in it, add a row with only "
        "subject and video; else move it out of the folder"
        for path in files.videos
        if path not in mentioned
    ]
