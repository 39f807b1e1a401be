"""Measures of temporal segmentation on one label per frame (MS-TCN, Abu Farha and Gall 2019; FESNet cites them).

Frame accuracy, edit score, and F1 of segments. They are shown beside the counts of ``metrics``, never instead: with
expressions rare, a network that says nothing is right on most frames.

Labels are [T] int, one per frame, with one number for the background. A segment is a longest run of one label that is
not the background, ``[start, end)`` in frames. Everything here is NumPy: each video has another length.

    >>> true, found = np.array([0, 1, 1, 1, 0, 2, 2, 0]), np.array([0, 0, 1, 1, 0, 1, 2, 2])
    >>> segments(found, background=0).label.tolist()
    [1, 1, 2]
    >>> frame_accuracy([found], [true]), round(edit_score([found], [true], background=0), 1)
    (0.625, 66.7)
    >>> f1_at([found], [true], background=0)  # 2 TP / (3 found + 2 annotated); IoU 2/3 and 1/3
    {0.1: 0.8, 0.25: 0.8, 0.5: 0.4}
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedn_jax.core import errors
from fedn_jax.core.types import Array
from fedn_jax.evaluation.metrics import Counts, f1
from fedn_jax.ops import intervals

OVERLAPS = (0.1, 0.25, 0.5)  # MS-TCN's F1@{10, 25, 50}


class Segments(NamedTuple):
    """The segments of one video, in order of time."""

    label: np.ndarray  # [S] int
    interval: np.ndarray  # [S, 2] int, frames, half-open [start, end)


def to_labels(
    interval: Array, emotion: Array, valid: Array, num_frames: int, background: int, score: Array | None = None
) -> np.ndarray:
    """Detections or expressions of one video -> one label per frame.

    Of several on one frame the highest score wins; of equal scores, or without scores, the latest onset; then the
    last of the list. An interval covers the frames that files give it: see ``intervals.inclusive``.

    Args:
      interval: [N, 2] float, frames, half-open [onset, offset).
      emotion: [N] int, class index.
      valid: [N] bool, False for padding.
      num_frames: T.
      background: label of the frames without expression, such as C.
      score: [N] float; None: all equal.

    Returns:
      [T] int64 labels.

    Raises:
      UserError: shapes that do not fit, or an expression whose emotion is the background.
    """
    interval, emotion, valid = np.asarray(interval), np.asarray(emotion), np.asarray(valid)
    score = np.zeros(len(valid)) if score is None else np.asarray(score)
    for name, array in (("emotion", emotion), ("valid", valid), ("score", score)):
        errors.shape(name, array, (len(interval),))
    if (emotion[valid] == background).any():
        raise errors.UserError(f"background must not be the emotion of an expression; got {background}")
    labels = np.full(num_frames, background, np.int64)
    edges = intervals.inclusive(interval).reshape(-1, 2)
    for i in np.lexsort((interval[:, 0], score)):  # by score, then onset; stable; the winner is written last
        if valid[i]:
            labels[max(edges[i, 0], 0) : max(edges[i, 1] + 1, 0)] = emotion[i]
    return labels


def segments(labels: Array, background: int) -> Segments:
    """The segments of one video.

    Args:
      labels: [T] int.
      background: label of frames that belong to no segment.

    Returns:
      Segments, S of them.
    """
    labels = np.asarray(labels)
    errors.shape("labels", labels, (None,))
    change = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    start, end = np.append(0, change), np.append(change, len(labels))
    keep = end > start  # a video of no frames has no segment
    keep[keep] = labels[start[keep]] != background
    return Segments(labels[start[keep]], np.stack([start, end], 1)[keep])


def _check(predicted: Sequence[Array], truth: Sequence[Array]) -> None:
    """Raises unless both are labels of the same frames."""
    got, expected = ([np.shape(labels) for labels in group] for group in (predicted, truth))
    if not expected or got != expected or any(len(shape) != 1 for shape in expected):
        raise errors.UserError(f"labels must be [T] for the same videos, at least one; got {got}, expected {expected}")


def frame_accuracy(predicted: Sequence[Array], truth: Sequence[Array]) -> float:
    """Share of the frames of all videos whose label is right; the background is a label.

    Args:
      predicted: V arrays [T] int.
      truth: V arrays [T] int.

    Returns:
      A number in [0, 1]; 0 without frames.

    Raises:
      UserError: videos that do not fit.
    """
    _check(predicted, truth)
    right = np.concatenate([np.asarray(a) == np.asarray(b) for a, b in zip(predicted, truth, strict=True)])
    return float(right.sum() / max(len(right), 1))


def _edits(a: Sequence[int], b: Sequence[int]) -> int:
    """Levenshtein distance: fewest insertions, deletions and substitutions."""
    b = np.asarray(b)
    ramp = np.arange(len(b) + 1)
    row = ramp
    for i, x in enumerate(a, 1):
        changed = np.minimum(row[1:] + 1, row[:-1] + (b != x))  # deleted from a, or replaced
        row = np.minimum.accumulate(np.append(i, changed) - ramp) + ramp  # or inserted, any number of times
    return int(row[-1])


def edit_scores(predicted: Sequence[Array], truth: Sequence[Array], background: int) -> np.ndarray:
    """Edit score of each video: 100 (1 - Levenshtein(P, Y) / max(|P|, |Y|)), P and Y the labels of its segments.

    Args:
      predicted: V arrays [T] int.
      truth: V arrays [T] int.
      background: label that is removed.

    Returns:
      [V] float in [0, 100]; 100 for a video without segments in both.

    Raises:
      UserError: videos that do not fit.
    """
    _check(predicted, truth)
    scores = []
    for pair in zip(predicted, truth, strict=True):
        p, y = (segments(labels, background).label.tolist() for labels in pair)
        scores.append(100 * (1 - _edits(p, y) / max(len(p), len(y), 1)))
    return np.array(scores)


def edit_score(predicted: Sequence[Array], truth: Sequence[Array], background: int) -> float:
    """Mean of ``edit_scores`` over the videos, which all weigh the same.

    Args:
      predicted: V arrays [T] int.
      truth: V arrays [T] int.
      background: label that is removed.

    Returns:
      A number in [0, 100].
    """
    return float(edit_scores(predicted, truth, background).mean())


def edit_over_annotated(predicted: Sequence[Array], truth: Sequence[Array]) -> float:
    """Mean over videos of 100 (1 - Levenshtein(P, Y) / |Y|), P and Y the labels of all segments, background included.

    Args:
      predicted: V arrays [T] int.
      truth: V arrays [T] int.

    Returns:
      A number of at most 100; far below 0 where there are many more segments than annotated.

    Raises:
      UserError: videos that do not fit.
    """
    _check(predicted, truth)
    scores = []
    for pair in zip(predicted, truth, strict=True):
        p, y = (segments(labels, min(0, *np.asarray(labels)) - 1).label.tolist() for labels in pair)
        scores.append(100 * (1 - _edits(p, y) / max(len(y), 1)))
    return float(np.mean(scores))


def edit_frames(predicted: Sequence[Array], truth: Sequence[Array]) -> float:
    """Mean over videos of 100 (1 - Levenshtein distance of the labels of all frames / frames).

    Args:
      predicted: V arrays [T] int.
      truth: V arrays [T] int.

    Returns:
      A number in [0, 100], never below the share of right frames.

    Raises:
      UserError: videos that do not fit.
    """
    _check(predicted, truth)
    pairs = [tuple(map(np.asarray, pair)) for pair in zip(predicted, truth, strict=True)]
    return float(np.mean([100 * (1 - _edits(*pair) / max(len(pair[0]), 1)) for pair in pairs]))


def counts_at(
    predicted: Sequence[Array], truth: Sequence[Array], background: int, overlaps: Sequence[float] = OVERLAPS
) -> Counts:
    """Counts of segments of each video.

    In order of time each predicted segment looks at the annotated segment of its label with the highest IoU (of equals
    the first): a true positive if IoU >= the overlap and no earlier segment has it. It gets no second choice.

    Args:
      predicted: V arrays [T] int.
      truth: V arrays [T] int.
      background: label that is removed.
      overlaps: I lowest IoUs, above 0 and at most 1.

    Returns:
      Counts [V, I] of int64: true positives, predicted and annotated segments.

    Raises:
      UserError: videos that do not fit, or an overlap outside (0, 1].
    """
    _check(predicted, truth)
    if wrong := [overlap for overlap in overlaps if not 0 < overlap <= 1]:
        raise errors.UserError(f"overlaps must be above 0 and at most 1; got {wrong[0]}")
    bounds, rows = np.asarray(overlaps, np.float64), []
    for pair in zip(predicted, truth, strict=True):
        found, true = (segments(labels, background) for labels in pair)
        free, tp = np.ones((len(true.label), len(bounds)), bool), np.zeros(len(bounds), np.int64)
        for label, (start, end) in zip(*found, strict=True):
            shared = np.minimum(true.interval[:, 1], end) - np.maximum(true.interval[:, 0], start)
            hull = np.maximum(true.interval[:, 1], end) - np.minimum(true.interval[:, 0], start)
            iou = np.where(true.label == label, np.maximum(shared, 0) / hull, 0)  # the hull is the union if they meet
            if iou.size:
                best = iou.argmax()
                hit = (iou[best] >= bounds) & free[best]
                free[best] &= ~hit
                tp += hit
        rows.append((tp, np.full_like(tp, len(found.label)), np.full_like(tp, len(true.label))))
    return Counts(*(np.stack(column) for column in zip(*rows, strict=True)))


def f1_at(
    predicted: Sequence[Array], truth: Sequence[Array], background: int, overlaps: Sequence[float] = OVERLAPS
) -> dict[float, float]:
    """F1 of segments at several overlaps: counts as of ``counts_at``, summed over the videos.

    Args:
      predicted: V arrays [T] int.
      truth: V arrays [T] int.
      background: label that is removed.
      overlaps: I lowest IoUs, above 0 and at most 1.

    Returns:
      overlap -> 2 TP / (N + GT) in [0, 1]; 0 without segments.
    """
    total = Counts(*(x.sum(0) for x in counts_at(predicted, truth, background, overlaps)))
    return dict(zip(overlaps, f1(total).tolist(), strict=True))
