"""Predictions beside the ground truth of the same videos: what fits, and what is refused unless it is allowed."""

import difflib
import math
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from fedn_jax.core import errors, schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Detections, Events
from fedn_jax.formats.csv_files import Row, Table, first_of, shown

MOST_PAIRS = 2**27  # of a detection and an expression of one video, all videos padded to the longest: 1 GiB of IoUs
ALLOWANCES = {
    "unknown-emotions": "makes emotions that the ground truth does not have classes of their own",
    "duplicates": "drops rows that repeat another one",
    "unmatched-videos": "counts predictions for videos that the ground truth does not list as false positives",
}


class Scored(NamedTuple):
    """Predictions beside the ground truth of the same V videos; intervals in frames as the files count them."""

    detections: list[Detections]  # V; score float64 as in the file, 1 without scores; emotion 0 without emotions
    det_kind: list[np.ndarray]  # V arrays [N] int32, index into schema.KINDS; -1: not said
    events: list[Events]  # V; kind -1: not said; emotion 0 without emotions
    subjects: list[str]  # V
    videos: list[str]  # V
    classes: list[str]  # C emotions; none where one of the files names none
    has_score: bool
    notes: list[str]


def join(predictions: Table, truth: Table, allow: Collection[str] = ()) -> Scored:
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
    if absent := [shown(*video) for video in truth.videos if video not in with_some]:
        notes.append(f"{len(absent)} of {len(truth.videos)} videos have no predictions, and all their expressions "
                     f"count as missed: {first_of(absent)}")  # fmt: skip
    silent = [table.what for table in (predictions, truth) if table.rows and not table.classes]
    notes += [f"emotions are not judged: the {' and the '.join(silent)} name none"] if silent else []
    videos = list(dict.fromkeys([*truth.videos, *predictions.videos]))
    classes = [] if silent else [*truth.classes, *sorted(set(predictions.classes) - set(truth.classes))]
    detected, expressions = (_by_video(table, videos, classes) for table in (predictions, truth))
    most = [max(len(one.valid) for one, _ in each) for each in (detected, expressions)]
    size = math.prod(1 << max(count - 1, 0).bit_length() for count in (len(videos), *most))  # as matching.pad pads
    if size > MOST_PAIRS:
        raise UserError(f"{predictions.path}: {most[0]} detections in one video are too many beside {len(videos)} "
                        f"videos of up to {most[1]} expressions; keep the best of each video")  # fmt: skip
    return Scored(
        [Detections(one.interval, score, one.emotion, one.valid) for one, score in detected],
        [one.kind for one, _ in detected],
        [one for one, _ in expressions],
        [subject for subject, _ in videos],
        [video for _, video in videos],
        classes,
        predictions.has_score,
        notes,
    )


def _duplicates(table: Table) -> list[str]:
    first: dict[tuple, str] = {}
    again = [row for row in table.rows if first.setdefault(row[1:], row.where) != row.where]
    return [f"{table.what}, {row.where}: repeats {first[row[1:]]}" for row in again]


def _unknown(predictions: Table, truth: Table) -> list[str]:
    """Emotions of the predictions that the ground truth lacks; none where it names no emotions at all."""
    lines = []
    for name in [name for name in predictions.classes if truth.classes and name not in truth.classes]:
        places = [row.where for row in predictions.rows if row.emotion == name]
        near = difflib.get_close_matches(name, truth.classes, n=1)
        hint = f", did you mean {shown(near[0])}?" if near else ""
        known = first_of([shown(one) for one in truth.classes])
        lines.append(
            f"predictions, {first_of(places)}: emotion {shown(name)} is not in the ground truth ({known}){hint}"
        )
    return lines


def _unmatched(predictions: Table, truth: Table) -> list[str]:
    """Videos of the predictions that the ground truth lacks."""
    known, subjects = set(truth.videos), dict(map(reversed, truth.videos))
    counts, lines = Counter(row.video for row in predictions.rows), []
    for video in [video for video in predictions.videos if video not in known]:
        same = subjects.get(video[1])
        hint = f", which has that video of subject {shown(same)}" if same is not None else ""
        lines.append(f"predictions: video {shown(*video)} ({counts[video]} rows) is not in the ground truth{hint}")
    return lines


def _by_video(table: Table, videos: list[tuple[str, str]], classes: list[str]) -> list[tuple[Events, np.ndarray]]:
    """(expressions, scores) of each video, in the order of the file, without repeated rows."""
    rows: dict[tuple[str, str], list[Row]] = {video: [] for video in videos}
    for key in dict.fromkeys(row[1:] for row in table.rows):
        rows[key[0]].append(Row("", *key))
    index, kinds = {name: i for i, name in enumerate(classes)}, {name: i for i, name in enumerate(schema.KINDS)}
    found = []
    for one in rows.values():
        interval = np.array([(row.onset, row.offset + 1) for row in one], np.float32).reshape(-1, 2)
        emotion = np.array([index.get(row.emotion, 0) for row in one], np.int32)
        kind = np.array([kinds.get(row.kind, -1) for row in one], np.int32)
        score = np.array([1.0 if row.score is None else row.score for row in one])
        apex, valid = np.full(len(one), -1, np.float32), np.ones(len(one), bool)
        found.append((Events(interval, apex, emotion, kind, valid), score))
    return found
