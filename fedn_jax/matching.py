"""Which detection found which expression: the one matching that every number rests on.

Two containers go in, both padded over videos (see ``pad``): ``Detections`` and ``Events`` with a leading axis
V. Padding, un-thresholded candidates, expressions of another kind: all are left out through ``valid``.

At most one detection per expression (MEGC 2019, section 4.1), greedy by score as in COCO. The matching never looks
ahead, so raising the score threshold only cuts off its tail.

    >>> interval, score = np.array([[0.0, 10.0], [1.0, 10.0], [30.0, 40.0]]), np.array([0.6, 0.9, 0.8])
    >>> match(interval, score, np.ones(3, bool), np.array([[0.0, 10.0]]), np.ones(1, bool), 0.5).tolist()
    [-1, 0, -1]
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax import checks, intervals
from fedn_jax.types import Array, Detections, Events


def pad(videos: Sequence[Detections] | Sequence[Events]) -> Any:
    """Stacks the detections, or the expressions, of all videos.

    Both axes are rounded up to powers of two, so that data of about one size share one compiled program. The
    added videos are empty and change no number.

    Args:
      videos: V ``Detections`` [N] or ``Events`` [E] of one video each, of any N or E.

    Returns:
      The same type with a leading axis: fields [V', N', ...], V' >= V, ``valid`` False wherever something was added.

    Raises:
      ValueError: there are no videos.
    """
    if not videos:
        raise ValueError("pad needs at least one video; got none")
    rows = 1 << (len(videos) - 1).bit_length()
    longest = max(len(video.valid) for video in videos)
    size = 1 << max(longest - 1, 0).bit_length()
    fields = {}
    for name in videos[0]._fields:
        parts = [np.asarray(getattr(video, name)) for video in videos]
        field = np.full((rows, size, *parts[0].shape[1:]), -1 if name == "apex" else 0, parts[0].dtype)
        for row, part in enumerate(parts):
            field[row, : len(part)] = part
        fields[name] = field
    return type(videos[0])(**fields)


def above(detections: Detections, threshold: Array) -> Detections:
    """Leaves out the detections that score less than the threshold of their video.

    Args:
      detections: [V, N].
      threshold: float or [V'] float, one per video, V' <= V.

    Returns:
      [V, N] detections; only ``valid`` differs.
    """
    given = np.asarray(threshold, np.asarray(detections.score).dtype)
    per_video = np.zeros(len(detections.valid), given.dtype)
    per_video[: given.size if given.ndim else None] = given
    return detections._replace(valid=np.asarray(detections.valid) & (detections.score >= per_video[:, None]))


def _greedy(iou: Array, score: Array, threshold: Array) -> Array:
    """Matches one video by its IoUs [N, E], -1 for pairs that may not match; see ``match``."""
    if 0 in iou.shape:
        return jnp.full(iou.shape[0], -1, jnp.int32)
    truths = jnp.arange(iou.shape[1])
    order = jnp.argsort(-score, stable=True)

    def take(free, overlap):
        overlap = jnp.where(free, overlap, -1)
        highest = overlap.max()
        found = jnp.where(overlap == highest, truths, -1).max()  # the last of equals, as in pycocotools
        hit = (highest >= threshold) & (highest >= 0)
        return free & ~(hit & (truths == found)), jnp.where(hit, found, -1)

    _, matched = jax.lax.scan(take, jnp.ones(len(truths), bool), iou[order])
    return jnp.full(iou.shape[0], -1, jnp.int32).at[order].set(matched.astype(jnp.int32))


def match(
    det_interval: Array,
    det_score: Array,
    det_valid: Array,
    gt_interval: Array,
    gt_valid: Array,
    iou_threshold: Array,
) -> Array:
    """Pairs the detections of one video with its expressions, one-to-one.

    By falling score (equal scores: lower index first), each detection takes the free expression of highest
    IoU, if that is at least the threshold. Equal IoUs: the LATER expression of the list, as in pycocotools.

    Args:
      det_interval: [N, 2] float, frames, half-open [onset, offset).
      det_score: [N] float.
      det_valid: [N] bool.
      gt_interval: [E, 2] float, frames, half-open [onset, offset).
      gt_valid: [E] bool.
      iou_threshold: [] float, lowest IoU of a match (0.5 in MEGC 2019).

    Returns:
      [N] int32, index of the matched expression, -1 for none.
    """
    checks.shape("det_interval", det_interval, (det_score.shape[0], 2))
    checks.shape("gt_interval", gt_interval, (gt_valid.shape[0], 2))
    iou = intervals.pairwise_iou(jnp.asarray(det_interval), jnp.asarray(gt_interval))
    may = jnp.asarray(det_valid)[:, None] & jnp.asarray(gt_valid)[None, :]
    return _greedy(jnp.where(may, iou, -1), jnp.asarray(det_score), iou_threshold)


def match_all(detections: Detections, ground_truth: Events, iou_threshold: Array, same_emotion: bool = False) -> Array:
    """``match`` of all videos.

    Args:
      detections: [V, N].
      ground_truth: [V, E].
      iou_threshold: [] float.
      same_emotion: only pairs of one emotion may match. This is the matching of each emotion by itself, at
        once.

    Returns:
      [V, N] int32, index of the matched expression of the video, -1 for none.
    """

    def one(detected: Detections, truth: Events) -> Array:
        iou = intervals.pairwise_iou(detected.interval, truth.interval)
        may = detected.valid[:, None] & truth.valid[None, :]
        if same_emotion:
            may &= detected.emotion[:, None] == truth.emotion[None, :]
        return _greedy(jnp.where(may, iou, -1), detected.score, iou_threshold)

    return jax.vmap(one)(jax.tree.map(jnp.asarray, detections), jax.tree.map(jnp.asarray, ground_truth))


_match_all = jax.jit(match_all, static_argnames="same_emotion")


def exact(tree: Any) -> Any:
    """The float arrays of a tree in float64, for programs that run under ``jax.enable_x64``.

    Args:
      tree: a pytree of arrays.

    Returns:
      The same tree of NumPy arrays.
    """
    arrays = jax.tree.map(np.asarray, tree)
    return jax.tree.map(lambda x: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x, arrays)


def matched(detections: Detections, ground_truth: Events, iou_threshold: float = 0.5) -> np.ndarray:
    """``match_all`` with IoUs in float64: the matching behind every number that is reported.

    Args:
      detections: [V, N].
      ground_truth: [V, E].
      iou_threshold: lowest IoU of a match.

    Returns:
      [V, N] int32, index of the matched expression of the video, -1 for none.
    """
    with jax.enable_x64(True):
        return np.asarray(_match_all(exact(detections), exact(ground_truth), iou_threshold))


def check(detections: Detections, ground_truth: Events, num_classes: int) -> None:
    """Checks that detections and ground truth are what the metrics can count.

    Args:
      detections: [V, N].
      ground_truth: [V, E].
      num_classes: C.

    Raises:
      ValueError: shapes that do not fit, an emotion outside 0..C-1, or a score that is not finite.
    """
    videos = len(detections.valid)
    for name, group in (("detections", detections), ("ground_truth", ground_truth)):
        valid = np.asarray(group.valid)
        checks.shape(f"{name}.valid", valid, (videos, None))
        checks.shape(f"{name}.interval", group.interval, (*valid.shape, 2))
        emotion = np.asarray(group.emotion)[valid]
        if emotion.size and not 0 <= emotion.min() <= emotion.max() < num_classes:
            raise ValueError(f"{name}.emotion must be in 0..{num_classes - 1}; got {emotion.min()}..{emotion.max()}")
    if not np.isfinite(np.asarray(detections.score)[np.asarray(detections.valid)]).all():
        raise ValueError("detections.score must be finite; got NaN or infinity")
