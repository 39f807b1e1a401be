"""Annotations to expressions: a folder of videos (or features) and the file of their expressions.

The file is a table (CSV or Excel), or one that ``fedn_jax.formats.exchange`` reads, such as an ELAN document. It speaks
of inclusive frame numbers that start at ``first_frame``, or of times in seconds; everything else in the project counts
frames from 0 and uses half-open intervals. Which frame a time means is known once the video has been decoded
(``placed``). Every mistake in the file is reported, all at once, with its line.
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
from fedn_jax.formats import cells, exchange, table_files, times
from fedn_jax.formats.cells import shown
from fedn_jax.formats.clocks import Clock
from fedn_jax.formats.converters import Options
from fedn_jax.formats.times import Seconds
from fedn_jax.formats.video_names import Video

REQUIRED = ("subject", "video", "onset", "offset", "emotion")
OPTIONAL = ("apex", "kind")
_LARGEST = 2**30  # frame number; int32 must hold it, with --first-frame
NAMED = {  # where a format can say who is seen
    "elan": "name the participant of its tiers in ELAN, or ",
    "bids": "let its name begin with sub-WHO_, or ",
}
WHO = "--subject for rows without one, or --subject-folders: the name of the folder that the video lies in"
BY_LENGTH = -1  # of the kind column: the sheet does not say, the length in seconds decides


class VideoItem(NamedTuple):
    """One video to prepare."""

    subject: str
    video: str  # as the sheet writes it
    source: Source
    events: np.ndarray  # [E, 5] int32, schema.EVENT_COLUMNS, source frames from 0, half-open; kind may be BY_LENGTH
    cut: np.ndarray  # [E] bool: what passes the video's end is cut there; elsewhere it is a mistake in the sheet
    seconds: np.ndarray | None = None  # [E, 3] float64, onset, apex, end of events that are given as times; else NaN


class Sheet(NamedTuple):
    """A checked annotation file."""

    items: list[VideoItem]  # in the order of first appearance
    classes: list[str]  # emotion -> index is the position here


class _Row(NamedTuple):
    where: str  # its line in the sheet, for messages
    subject: str
    video: str
    emotion: str
    event: tuple[float, float, float, int] | None  # onset, apex, offset, kind as in VideoItem.events, or Seconds


def read_folder(
    csv_path: str | Path | Sequence[Path],
    directory: str | Path,
    classes: Sequence[str] | None = None,
    first_frame: int = 1,
    suffixes: Sequence[str] = video_files.SUFFIXES,
    skip: Path | None = None,
    openface: bool = False,
    originals: Path | None = None,
    rate: float = 30.0,
    subject: str | None = None,
    folders: bool = False,
    reading: Options = Options(),  # noqa: B008
) -> Sheet:
    """Reads a sheet and finds the file of each of its videos.

    Args:
      csv_path: a file, or several. Of a table: columns subject, video, onset, offset, emotion; optional apex and kind
        (macro, micro). ``video`` is a file name below ``directory``, with or without its extension (with it, if that
        is not one of ``suffixes``). A row without onset and offset lists a video in which nothing happens.
      directory: where the videos are; sub-folders are searched, through links too.
      classes: the emotions in order; None takes those of the file, sorted.
      first_frame: the number that the sheet gives to a video's first frame.
      suffixes: extensions of the files that belong to the data set.
      skip: a folder whose files are none of them, such as an output directory inside ``directory``.
      openface: the videos are folders that OpenFace wrote, NAME_aligned.
      originals: a folder with the pictures that OpenFace was given, one sub-folder NAME each.
      rate: frames per second of folders of pictures.
      subject: of rows that name none; None: every row must name one, unless ``folders``.
      folders: the subject of rows that name none is the name of the folder that their video lies in.
      reading: of ELAN documents.

    Returns:
      Items and classes.

    Raises:
      UserError: all problems of the sheet and the folder, one per line.
    """
    paths = [Path(csv_path)] if isinstance(csv_path, str | Path) else list(csv_path)
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder; expected the folder with the videos")
    problems: list[str] = []
    rows, named = _read_files(paths, first_frame, subject, folders, reading, problems)
    sound = not problems
    names = list(classes) if classes else sorted({row.emotion for row in rows if row.event})
    if len(set(names)) != len(names) or not all(names):
        problems.append(f"classes: expected different names; got {', '.join(names)}")
    files = video_files.index(directory, suffixes, skip, openface)
    if not files.names:
        what = "folder that ends in _aligned" if openface else f"file that ends in {' '.join(suffixes)}"
        problems.append(f"{directory}: no {what}")
    items = _collect(rows, files, names, problems) if files.names else []
    if named is not None:  # else a row that could not be read may be about any of them
        problems += _without_a_row(files, named, any(map(_is_table, paths)))
    items = [item._replace(source=_source(item, directory, openface, originals, rate, problems)) for item in items]
    if rows and not names and sound:
        problems.append("no row has an expression; expected at least one onset, offset and emotion")
    errors.report(", ".join(map(str, paths[:3])) + f" and {len(paths) - 3} more" * (len(paths) > 3), problems)
    return Sheet(items, names)


def table(events: Sequence[Sequence[int]]) -> np.ndarray:
    """Expressions in order.

    Args:
      events: onset, apex, offset, emotion, kind of each.

    Returns:
      [E, 5] int32, sorted.
    """
    return np.array(sorted(events), np.int32).reshape(-1, 5)


def placed(item: VideoItem, clock: Clock) -> VideoItem:
    """Events that are given as times, as frames.

    Args:
      item: the video.
      clock: of its frames, the first of which is 0.

    Returns:
      The item, all in frames.
    """
    if item.seconds is None:
        return item
    rows = []
    for (onset, apex, offset, *rest), time in zip(item.events.tolist(), item.seconds.tolist(), strict=True):
        if np.isfinite(time[0]):
            onset, last = clock.frames(time[0], time[2])
            apex = int(np.clip(clock.frames(time[1], time[1])[0], onset, last)) if np.isfinite(time[1]) else -1
            offset = last + 1
        rows.append((onset, apex, offset, *rest))
    return item._replace(events=table(rows), seconds=None)


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


def _is_table(path: Path) -> bool:
    return exchange.format_of(path) in ("csv", "excel")


def _read_files(
    paths: list[Path], first_frame: int, subject: str | None, folders: bool, reading: Options, problems: list[str]
) -> tuple[list[_Row], list[Video] | None]:
    """(rows without a mistake, all that any row may name; None where a row does not say which video it is about)."""
    rows, named, seen = [], [], {}
    for path in paths:
        found: list[str] = []
        if _is_table(path):
            of_file, names = _read_table(path, first_frame, subject, folders, found)
        else:
            of_file, names = _read_times(path, subject, folders, reading, found)
        named = None if named is None or names is None else named + names
        if len(paths) > 1:
            of_file, found = (
                [row._replace(where=f"{path.name}, {row.where}") for row in of_file],
                [f"{path.name}, {line}" for line in found],
            )
        problems += found
        for row in of_file:
            if (key := row[1:]) in seen and row.event:
                problems.append(f"{row.where}: repeats {seen[key]}; remove one of them")
            seen.setdefault(key, row.where)
        rows += of_file
    return rows, named


def _read_times(
    path: Path, subject: str | None, folders: bool, reading: Options, problems: list[str]
) -> tuple[list[_Row], list[Video] | None]:
    """The rows of a file that is no table, such as an ELAN document; see ``_read_files``."""
    found, rows = exchange.read(path, "ground truth", options=reading), []
    for who, video in found.videos:
        if not (who or subject or folders):
            problems.append(
                f"video {shown(video)}: the file does not say who is seen; "
                f"{NAMED.get(exchange.format_of(path), '')}give {WHO}"
            )
        rows.append(_Row(f"video {shown(video)}", who or subject or "", video, "", None))
    for row in found.rows:
        if not row.emotion:
            problems.append(f"{row.where}: has no emotion; expected a name")
        kind = schema.KINDS.index(row.kind) if row.kind else BY_LENGTH
        event = (row.onset, -1, row.offset, kind)
        rows.append(_Row(row.where, row.video[0] or subject or "", row.video[1], row.emotion, event))
    return rows, [(who or subject or "", video) for who, video in found.videos]


def _read_table(
    path: Path, first_frame: int, subject: str | None, folders: bool, problems: list[str]
) -> tuple[list[_Row], list[Video] | None]:
    """The rows of a table; see ``_read_files``."""
    records, _, comma = table_files.columns(
        path, "a row per expression", REQUIRED, (*OPTIONAL, *times.SECONDS.values(), "what")
    )
    rows, named = [], []
    for where, fields, problem, line in records:
        # Of a row with too many or too few cells any may be the video's name.
        names = [word.strip() for cell in line for word in re.split("[,;\t]", cells.text(cell))] if problem else []
        video = fields.get("video", " ".join(names))
        fields = fields | ({"subject": subject} if subject and not fields.get("subject") else {})
        any_of = [("", name) for name in names] + [("" if problem else fields["subject"], video)]
        named = [*named, *any_of] if named is not None and video and not cells.unusable(video) else None
        row, found = (None, [problem]) if problem else _parse(where, fields, first_frame, comma, folders)
        problems += found
        rows += [] if row is None else [row]
    if not rows and not problems:
        raise UserError(f"{path}: holds no rows; expected one per expression")
    return rows, named


def _parse(
    where: str, fields: dict[str, str], first_frame: int, comma: bool, folders: bool
) -> tuple[_Row | None, list[str]]:
    """(the row, or None; what is wrong with it)."""
    fields = times.only_expressions(fields)
    whys = {"video": "is empty"} | ({} if folders else {"subject": f"is empty; write who is seen, or give {WHO}"})
    found = [f"{name} {why}" for name, why in whys.items() if not fields[name]]
    onset, offset, wrong = times.ends(fields, {name: name for name in REQUIRED}, comma, _LARGEST)
    found += wrong
    event, given = None, fields.get("apex", "")
    if onset is not None or wrong:
        if not fields["emotion"]:
            found.append("emotion is empty; expected a name, or no onset and no offset")
        in_frames = not isinstance(onset, Seconds)
        if in_frames and onset is not None and onset < first_frame:
            found.append(f"onset {onset} is before the first frame, {first_frame} (see --first-frame)")
        apex = cells.whole(given, comma) if in_frames else times.parse(given, comma)
        if given and (apex is None or apex > _LARGEST):
            found.append(f"apex must be {'a frame' if in_frames else 'a time'}, as the onset is; got {shown(given)}")
        elif apex is not None and None not in (onset, offset) and onset <= offset and not onset <= apex <= offset:
            found.append(f"apex {given} is outside of {fields['onset'] or onset} to {fields['offset'] or offset}")
        kind = fields.get("kind", "").lower().removesuffix("-expression")
        if kind and kind not in schema.KINDS:
            found.append(f"kind must be one of {', '.join(schema.KINDS)} or empty; got {shown(fields['kind'])}")
        if not found:
            number = schema.KINDS.index(kind) if kind else BY_LENGTH
            # Inclusive numbers from first_frame become half-open ones from 0.
            peak = -1 if apex is None else apex - first_frame if in_frames else apex
            event = (onset - first_frame, peak, offset - first_frame + 1) if in_frames else (onset, peak, offset)
            event = (*event, number)
    elif fields["emotion"] or given:
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


def _collect(rows: list[_Row], files: video_files.Index, classes: list[str], problems: list[str]) -> list[VideoItem]:
    by_path: dict[Path, tuple[str, str, list[tuple]]] = {}
    ids: dict[tuple[str, str], Path] = {}
    for row in rows:
        path, why = video_files.find(row.video, files, row.subject)
        if path is None:
            problems.append(f"{row.where}: video {shown(row.video)}: {why} below {files.directory}")
            continue
        who = row.subject or path.resolve().parent.name
        if row.event and row.emotion not in classes:
            problems.append(f"{row.where}: emotion must be one of {', '.join(classes)}; got {shown(row.emotion)}")
            continue
        subject, video, events = by_path.setdefault(path, (who, row.video, []))
        if subject != who:
            problems.append(
                f"{row.where}: video {shown(row.video)} belongs to {shown(subject)} above; got {shown(who)}"
            )
        elif ids.setdefault((subject, video), path) != path:
            problems.append(f"{row.where}: video {shown(row.video)} of {shown(subject)} names two files")
        if row.event:
            onset, apex, offset, kind = row.event
            events.append((onset, apex, offset, classes.index(row.emotion), kind))
    return [_item(subject, video, Source(path), events) for path, (subject, video, events) in by_path.items()]


def _item(subject: str, video: str, source: Source, events: list[tuple]) -> VideoItem:
    """A video with its events, those that are given as times apart."""
    cut = np.zeros(len(events), bool)
    if not any(isinstance(event[0], Seconds) for event in events):
        return VideoItem(subject, video, source, table(events), cut)
    timed = [isinstance(event[0], Seconds) for event in events]
    known = [(0, -1, 1, *event[3:]) if late else event for event, late in zip(events, timed, strict=True)]
    seconds = [event[:3] if late else [np.nan] * 3 for event, late in zip(events, timed, strict=True)]
    seconds = np.array(seconds, np.float64)
    seconds[seconds[:, 1] < 0, 1] = np.nan  # no apex
    return VideoItem(subject, video, source, np.array(known, np.int32), cut, seconds)


def _without_a_row(files: video_files.Index, named: list[Video], tables: bool) -> list[str]:
    """Videos that no row names, not even one with a mistake, and not even together with another file."""
    mentioned = {path for subject, name in set(named) for path in video_files.meant(name, files, subject)}
    line = "no row in the file; if nothing happens in it, add a row with only subject and video"
    if not tables:
        line = "no file is about it; if nothing happens in it, give a document without annotations"
    return [
        f"{path.relative_to(files.directory)}: {line}; else move it out of the folder"
        for path in files.videos
        if path not in mentioned
    ]
