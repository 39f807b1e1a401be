"""Tables in the formats of other tools, both ways.

csv          What ``fedn evaluate`` reads: subject,video,onset,offset,emotion and, where known, score and kind.
strs         CSV, exactly subject,video,onset,offset,emotion, inclusive frames: genbing99/STRS-Metric on GitHub. What is
             public of an entry to the spot-then-recognise track of MEGC 2024, hitheyuhong/MEGC2024-CODE, is so, too.
megc         CSV, exactly vid,pred_onset,pred_offset,type; type is me or mae, frames are taken as inclusive: two public
             entries to the spotting track of MEGC 2022, genbing99/MTSN-Spot-ME-MaE and
             CZP-1/Facial-Expression-Spotting-Based-on-Optical-Flow-Features-MindSpore. No other form was found.
activitynet  JSON, Evaluation/eval_detection.py of activitynet/ActivityNet: "results" are predictions, "database" is
             ground truth. Half-open seconds. A video goes by its name or, as names of two subjects may be the same,
             by "subject/video".

Frames come back as they were written. What a format has no place for is left out; ``write`` returns what that was.
"""

import csv
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core import files, schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count
from fedn_jax.formats import cells, predictions, table_files, times
from fedn_jax.formats.cells import shown, shown_video
from fedn_jax.formats.predictions import Row, Table
from fedn_jax.ops import intervals

MEGC = {"subject": "vid", "video": "vid", "onset": "pred_onset", "offset": "pred_offset", "kind": "type"}
MEGC_TYPES = {"macro": "mae", "micro": "me"}
HIGHEST_FPS = 1e5


class Options(NamedTuple):
    """What a format needs and a table lacks, or the other way round; each format uses its own."""

    fps: float | Mapping[tuple[str, str], float] | None = None  # of all videos, or of each; the file's own come first
    subjects: Mapping[str, str] = {}  # video -> subject, for names without one; others are their own subjects
    first_frame: int = 1  # number of the frame that begins at second 0
    truth: bool = False  # activitynet: write a "database" instead of "results"
    subset: str | None = None  # activitynet: of the database; None: all subsets, and "test" is written
    duration: Mapping[tuple[str, str], float] = {}  # activitynet: seconds of each (subject, video), where known
    tiers: tuple[str, ...] = ()  # elan: those that hold expressions; none: all that are below no other
    label: str = "value"  # elan: what the emotion is, the "value" of an annotation or the name of its "tier"
    media: Mapping[tuple[str, str], Path] = {}  # elan: the file of each (subject, video), where known


class Format(NamedTuple):
    """A file format."""

    write: Callable[[Path, Table, Options], list[str]]  # -> what was left out, one sentence each
    read: Callable[[Path, str, Options], Table]  # (path, "predictions" or "ground truth", options)


def frame_rate(options: Options, video: tuple[str, str]) -> float:
    """Frames per second of a video.

    Args:
      options: that say it.
      video: subject and video.

    Returns:
      The rate; NaN if it is not known.
    """
    fps = options.fps.get(video) if isinstance(options.fps, Mapping) else options.fps
    return float(fps) if fps is not None and 0 < fps <= HIGHEST_FPS else math.nan


def left_out(table: Table, *names: str) -> list[str]:
    """What a format has no place for.

    Args:
      table: what is written.
      *names: of "emotions", "scores", "kinds", "subjects".

    Returns:
      A sentence, or none where the table has nothing of it.
    """
    subjects = table.videos and predictions.has_subjects(table)
    has = {"emotions": table.classes, "scores": table.has_score, "kinds": table.has_kind, "subjects": subjects}
    gone = [name for name in names if has[name] and table.rows]
    return [f"{' and '.join(gone)} are left out: the format has no place for them"] if gone else []


def _silent(table: Table) -> list[str]:
    quiet = len(set(table.videos) - {row.video for row in table.rows})
    return [f"{count(quiet, 'video')} without a row left out: the format cannot list them"] if quiet else []


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    text = io.StringIO()
    # Python 3.11 does not see that a lone carriage return needs quotes.
    strange = any("\r" in str(cell) for row in rows for cell in row)
    quoting = csv.QUOTE_ALL if strange else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows([header, *rows])
    files.write_text(path, text.getvalue())


def own_rows(table: Table) -> list[tuple]:
    """What ``fedn evaluate`` reads; every video has a row.

    Args:
      table: any; times in seconds get columns of their own.

    Returns:
      The header, then the rows.
    """
    extra = [name for name in ("score", "kind") if getattr(table, f"has_{name}")]
    seconds = list(times.SECONDS.values()) if any(row.timed for row in table.rows) else []
    rows: list[tuple] = [(*predictions.REQUIRED, *seconds, *extra)]
    for row in table.rows:
        frames = ("", "") if row.timed else row.span
        late = [f"{time:.6f}" if row.timed else "" for time in row.span] if seconds else []
        rows.append((*row.video, *frames, row.emotion, *late, *(getattr(row, name) for name in extra)))
    busy = {row.video for row in table.rows}
    return rows + [(*video, *[""] * (len(rows[0]) - 2)) for video in table.videos if video not in busy]


def _write_own(path: Path, table: Table, options: Options) -> list[str]:
    """What ``fedn evaluate`` reads."""
    header, *rows = own_rows(table)
    _write_csv(path, header, rows)
    return []


def _read_own(path: Path, what: str, options: Options) -> Table:
    return predictions.read(path, what)


def _write_strs(path: Path, table: Table, options: Options) -> list[str]:
    """For STRS-Metric, which fails on rows without frames."""
    _write_csv(
        path, tuple(predictions.REQUIRED), [(*row.video, row.onset, row.offset, row.emotion) for row in table.rows]
    )
    return left_out(table, "scores", "kinds") + _silent(table)


def _read_strs(path: Path, what: str, options: Options) -> Table:
    """What STRS-Metric reads."""
    return predictions.read(path, what, optional={})


def _write_megc(path: Path, table: Table, options: Options) -> list[str]:
    """A submission: videos by their names alone, as the challenge gives them."""
    twice = [name for name, count in Counter(video for _, video in table.videos).items() if count > 1]
    if twice:
        raise UserError(
            f"{table.path}: video {shown(twice[0])} belongs to several subjects; the format has no subjects"
        )
    rows = []
    for row in table.rows:
        limit = schema.MICRO_SECONDS * frame_rate(options, row.video)
        if not row.kind and math.isnan(limit):
            raise UserError(
                f"{table.path}: video {shown_video(*row.video)} has rows without a kind; give --fps: what lasts half a "
                "second or less is micro"
            )
        kind = row.kind or ("micro" if row.offset - row.onset + 1 <= limit else "macro")
        rows.append((row.video[1], row.onset, row.offset, MEGC_TYPES[kind]))
    _write_csv(path, tuple(dict.fromkeys(MEGC.values())), rows)
    renamed = any(subject not in ("", video) for subject, video in table.videos)
    lost = ["subjects are left out: the format has no place for them"] if renamed else []
    return lost + left_out(table, "emotions", "scores") + _silent(table)


def _read_megc(path: Path, what: str, options: Options) -> Table:
    """A submission; it has no emotions."""
    table = predictions.read(path, what, MEGC, {})
    video = {one: (options.subjects.get(one[1], one[0]), one[1]) for one in table.videos}
    rows = [row._replace(video=video[row.video]) for row in table.rows]
    return table._replace(videos=list(video.values()), rows=rows)


# ---- ActivityNet -----------------------------------------------------------------------------------------------------


def _write_activitynet(path: Path, table: Table, options: Options) -> list[str]:
    """Predictions, with score 1 if they have none, or ground truth."""
    entries: dict[tuple[str, str], list[dict[str, Any]]] = {video: [] for video in table.videos}
    for subject, video in entries:
        if math.isnan(frame_rate(options, (subject, video))):
            raise UserError(
                f"{table.path}: video {shown_video(subject, video)}: expected --fps, above 0 and up to {HIGHEST_FPS}"
            )
        if "/" in subject:
            raise UserError(
                f"{table.path}: subject {shown(subject)} has a '/', which the format needs to part it from videos"
            )
    for row in table.rows:
        fps = frame_rate(options, row.video)
        segment = [(row.onset - options.first_frame) / fps, (row.offset + 1 - options.first_frame) / fps]
        entry: dict[str, Any] = {"label": row.emotion, "segment": segment}
        entries[row.video].append(
            entry if options.truth else entry | {"score": 1.0 if row.score is None else row.score}
        )
    content: dict[str, Any] = {"version": "VERSION 1.3"}
    keys = {one: one[1] if one[0] in ("", one[1]) else "/".join(one) for one in entries}
    missing = []
    if options.truth:
        database = {}
        for video, found in entries.items():
            known = {"duration": float(options.duration[video])} if video in options.duration else {}
            known |= {"fps": frame_rate(options, video)}
            database[keys[video]] = {"subset": options.subset or "test", **known, "annotations": found}
        content |= {"taxonomy": [], "database": database}
        unknown = sum(video not in options.duration for video in entries)
        missing = [f"the duration of {count(unknown, 'video')} left out: not known"] if unknown else []
    else:
        content |= {"results": {keys[video]: found for video, found in entries.items()}, "external_data": {}}
    files.write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return left_out(table, "kinds", *(["scores"] if options.truth else [])) + missing


def _load(path: Path, what: str) -> Any:
    """JSON without what Python adds to it: NaN, and names that are given twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
            raise ValueError(f"{shown(twice)} appears twice")
        return dict(pairs)

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no number")

    try:
        return json.loads(table_files.read_text(path, what), object_pairs_hook=unique, parse_constant=constant)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); expected {what} as ActivityNet has them") from None


def _read_activitynet(path: Path, what: str, options: Options) -> Table:
    """Predictions or ground truth, whichever the file holds; the nearest frames, at least one."""
    content, notes = _load(path, what), []
    given = [name for name in ("results", "database") if isinstance(content, dict) and name in content]
    if len(given) != 1 or not isinstance(content[given[0]], dict):
        raise UserError(f'{path}: expected {what} as ActivityNet has them: an object "results", or else "database"')
    problems, videos, rows, outside, used = [], {}, [], [], Counter()
    for key, entries in content[given[0]].items():
        subject, _, name = key.partition("/") if "/" in key else (options.subjects.get(key.strip(), key), "", key)
        video, where, about = (cells.text(subject), cells.text(name)), f"{given[0]} {shown(key)}", {}
        if given[0] == "database":
            if not isinstance(entries, dict) or not isinstance(entries.get("subset", ""), str):
                problems.append(f"{where}: expected an object with subset and annotations")
                continue
            if options.subset not in (None, entries.get("subset")):
                continue
            about, entries = entries, entries.get("annotations")
        if not isinstance(entries, list):
            problems.append(f"{where}: expected a list of segments; got {_described(entries)}")
        elif not all(video) or not _is_text(key):
            problems.append(f"{where}: expected the name of a video, or subject/video")
        elif video in videos:
            problems.append(f"{where}: names the video of {shown(videos[video])} again")
        elif math.isnan(rate := _own_rate(about, options, video)):
            problems.append(f"{where}: its fps are not known; expected a number above 0 and up to {HIGHEST_FPS}")
        else:
            videos[video] = key
            used[None if about.get("fps") is None else rate] += 1
            for number, entry in enumerate(entries, 1):
                row, found = _entry(f"{where}, entry {number}", video, entry, rate, given[0] == "results", options)
                problems += found
                rows += [] if found else [row]
                outside += [] if found else _outside(row.where, entry["segment"], about.get("duration"), rate)
    if outside:
        more = f", and {count(len(outside) - 1, 'more segment')}" if outside[1:] else ""
        notes.append(f"{outside[0]}{more}; kept as it is")
    if (own := sum(used.values()) - used[None]) and options.fps is not None:
        rates = ", ".join(f"{rate:g}" for rate in sorted(rate for rate in used if rate is not None))
        notes.insert(0, f"the file's own fps ({rates}) of {count(own, 'video')} are used; others are as given")
    return predictions.make(path, what, videos, rows, notes, problems)


def _own_rate(about: Mapping[str, Any], options: Options, video: tuple[str, str]) -> float:
    """What the file says of a video, as files for THUMOS14 do, else what the options say; NaN if it is not known."""
    if about.get("fps") is None:
        return frame_rate(options, video)
    return frame_rate(Options(about["fps"]), video) if _number(about["fps"]) else math.nan


def _outside(where: str, segment: list[float], duration: Any, rate: float) -> list[str]:
    """Says so where a segment is half a frame or more outside of its video."""
    last = float(duration) if _number(duration) else math.inf
    if segment[0] > -0.5 / rate and segment[1] < last + 0.5 / rate:
        return []
    return [f"{where}: {segment[0]:g} to {segment[1]:g} s is outside of its video, 0 to {last:g} s"]


def _is_text(text: Any) -> bool:
    """Whether it is text that a file can hold; JSON has letters that are none."""
    return isinstance(text, str) and not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)


def _described(value: Any) -> str:
    """A value for a message; what is nested may be of any size."""
    return {list: "a list", dict: "an object"}.get(type(value)) or shown(str(value))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _entry(
    where: str, video: tuple[str, str], entry: Any, rate: float, scored: bool, options: Options
) -> tuple[Row, list[str]]:
    """(row, problems) of one segment."""
    entry = entry if isinstance(entry, dict) else {}
    label, segment, score, found = entry.get("label"), entry.get("segment"), entry.get("score"), []
    if not _is_text(label):
        found.append(f"{where}: label must be text; got {_described(label)}")
    if scored and not _number(score):
        found.append(f"{where}: score must be a finite number; got {_described(score)}")
    edges = (0, 0)
    if not isinstance(segment, list) or len(segment) != 2 or not all(map(_number, segment)):
        found.append(f"{where}: segment must be two numbers, in seconds; got {_described(segment)}")
    elif segment[1] < segment[0]:
        found.append(f"{where}: segment ends before it begins; got {segment}")
    else:
        ends = np.clip([edge * rate for edge in segment], -(2.0**40), 2.0**40)
        edges = intervals.inclusive(ends, options.first_frame).tolist()
        if max(map(abs, edges)) > predictions.LARGEST_FRAME:
            found.append(f"{where}: segment must be within {predictions.LARGEST_FRAME} frames of 0; got {segment}")
    label = cells.text(label) if isinstance(label, str) else ""
    return Row(where, video, *edges, label, float(score) if scored and not found else None), found


FORMATS = {
    "csv": Format(_write_own, _read_own),
    "strs": Format(_write_strs, _read_strs),
    "megc": Format(_write_megc, _read_megc),
    "activitynet": Format(_write_activitynet, _read_activitynet),
}
