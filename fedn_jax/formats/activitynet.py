"""ActivityNet's JSON, as Evaluation/eval_detection.py of activitynet/ActivityNet on GitHub reads it.

"results" are predictions, "database" is ground truth. Half-open seconds. A video goes by its name or, as names of two
subjects may be the same, by "subject/video".
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count
from fedn_jax.formats import cells, predictions, table_files
from fedn_jax.formats.cells import shown, shown_video
from fedn_jax.formats.converters import HIGHEST_FPS, Options, frame_rate, left_out
from fedn_jax.formats.predictions import Row, Table
from fedn_jax.ops import intervals


def write(path: Path, table: Table, options: Options) -> list[str]:
    """Writes predictions, with score 1 if they have none, or ground truth.

    Args:
      path: the file.
      table: in frames.
      options: ``fps``, ``first_frame``, ``truth``, ``subset`` and ``duration``.

    Returns:
      What was left out, one sentence each.

    Raises:
      UserError: a video whose frame rate is not known, or a subject with a slash.
    """
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


def read(path: Path, what: str, options: Options) -> Table:
    """Reads predictions or ground truth, whichever the file holds; the nearest frames, at least one.

    Args:
      path: the file.
      what: "predictions" or "ground truth", for messages.
      options: ``fps``, ``first_frame``, ``subset`` and ``subjects``.

    Returns:
      The table.

    Raises:
      UserError: all that is wrong with the file.
    """
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
