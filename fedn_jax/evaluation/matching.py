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

from fedn_jax.core import errors
from fedn_jax.core.types import Array, Detections, Events
from fedn_jax.ops import intervals


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
      detections: [V, N], or [N] of one video.
      threshold: float or [V'] float, one per video, V' <= V. It is compared in the precision of the scores.

    Returns:
      The same detections; only ``valid`` differs.
    """
    score = np.asarray(detections.score)
    limit = np.asarray(threshold, score.dtype)
    if limit.ndim:
        limit = np.pad(limit, (0, len(score) - limit.size))[:, None]  # [V, 1]
    return detections._replace(valid=np.asarray(detections.valid) & (score >= limit))


def ranking(score: Array) -> Array:
    """Indices by falling score, equal scores as they come.

    Args:
      score: [N] float.

    Returns:
      [N] int32.
    """
    if score.dtype != jnp.float32 or not jax.config.jax_enable_x64:
        return jnp.argsort(-score, stable=True).astype(jnp.int32)
    # Score and index in one integer, which a CPU sorts six times as fast. Both zeros are 0.
    bits = jax.lax.bitcast_convert_type(score, jnp.int32)
    falling = jnp.where(bits < 0, bits & 0x7FFFFFFF, -bits).astype(jnp.int64)
    return (jnp.sort(falling << 32 | jnp.arange(score.size)) & 0xFFFFFFFF).astype(jnp.int32)


def _alone(
    detected: Detections, truth: Events, rank: Array, thresholds: Array, same_emotion: Array
) -> tuple[Array, Array, Array]:
    """The part of one video's matching that needs no turns: takers [S, I, E]; a queue [N] for the rest, its length.

    Near is an IoU of the lowest threshold or more. A detection that is near one expression only leaves it taken,
    at every threshold that the IoU reaches. So an expression whose near detections are near it alone goes to the
    first that reaches the threshold; without overlapping annotations these are nearly all. The others are
    contested. For them queue, by rank, those that are near two or more, and the first ones of those near one only.
    """
    truths, never = len(truth.valid), np.int32(np.iinfo(np.int32).max)
    near = intervals.pairwise_iou(truth.interval, detected.interval) >= thresholds.min()  # [E, N]
    near &= truth.valid[:, None] & detected.valid
    # One sum says how many are near, and which if it is one: E + e. Several reductions would each take as long.
    code = jnp.where(near, truths + jnp.arange(truths)[:, None], 0).sum(0, dtype=jnp.int32)
    single, shared = (code >= truths) & (code < 2 * truths), code >= 2 * truths
    contested = (near & shared).any(1)
    nearest = jnp.where(single, code - truths, 0)
    level = (intervals.iou(detected.interval, truth.interval[nearest]) >= thresholds[:, None]).sum(0)  # reached
    group = nearest, (detected.emotion == truth.emotion[nearest]).astype(jnp.int32), level
    first = jnp.full((truths, 2, len(thresholds) + 1), never).at[group].min(jnp.where(single, rank, never))
    first = jax.lax.cummin(first, 2, reverse=True)
    by_emotion = first[:, :, (thresholds <= thresholds[:, None]).sum(1)]  # [E, 2, I]
    taker = jnp.where(same_emotion[:, None, None], by_emotion[:, 1].T, by_emotion.min(1).T)
    queued = shared | (contested[nearest] & (first[group] == rank))
    queue = jnp.sort(jnp.where(queued, rank, never))
    return jnp.where(contested | (taker == never), -1, taker), queue, queued.sum()


def _greedy(
    taker: Array,
    queue: Array,
    count: Array,
    detected: Detections,
    truth: Events,
    threshold: Array,
    same_emotion: Array,
) -> Array:
    """[E] which detection takes each expression of one video, -1 for none, after those queued [count] chose in turn.

    The state is one number per expression, so that mapping over videos, thresholds and emotions is one cheap loop.
    """
    truths = jnp.arange(len(taker))

    def choose(turn, taker):
        index = queue[turn]
        may = truth.valid & (taker < 0) & (~same_emotion | (detected.emotion[index] == truth.emotion))
        overlap = jnp.where(may, intervals.iou(detected.interval[index], truth.interval), -1)
        highest = overlap.max()
        found = jnp.where(overlap == highest, truths, -1).max()  # the last of equals, as in pycocotools
        hit = (highest >= threshold) & (highest >= 0)
        return jnp.where(hit & (truths == found), index, taker)

    return jax.lax.fori_loop(0, count, choose, taker)


def takers(
    detections: Detections, ground_truth: Events, iou_thresholds: Array, same_emotion: Array
) -> tuple[Array, Array]:
    """``match_all`` at several thresholds, with and without emotions, from the side of the expressions.

    Args:
      detections: [V, N].
      ground_truth: [V, E].
      iou_thresholds: [I] float.
      same_emotion: [S] bool, see ``match_all``.

    Returns:
      [V * N] int32, all detections by falling score, equal scores as they come; and [S, I, V, E] int32, the
      index in that order of the detection that takes the expression, -1 for none. Neither has a gradient.
    """
    detections, ground_truth = jax.lax.stop_gradient(jax.tree.map(jnp.asarray, (detections, ground_truth)))
    shape, (videos, truths) = detections.valid.shape, ground_truth.valid.shape
    order = ranking(detections.score.reshape(-1))
    if not order.size * truths:
        return order, jnp.full((len(same_emotion), len(iou_thresholds), videos, truths), -1, jnp.int32)
    iou_thresholds = iou_thresholds.astype(jnp.result_type(detections.interval, iou_thresholds))
    ranked = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[order], detections)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size, dtype=jnp.int32)).reshape(shape)
    same_emotion = jnp.asarray(same_emotion)
    alone = jax.vmap(_alone, (0, 0, 0, None, None))
    queues = alone(detections, ground_truth, rank, iou_thresholds, same_emotion)
    greedy = jax.vmap(_greedy, (0, None, None, None, None, 0, None))  # thresholds
    greedy = jax.vmap(greedy, (0, None, None, None, None, None, 0))  # any emotion, the same
    greedy = jax.vmap(greedy, (0, 0, 0, None, 0, None, None), out_axes=2)  # videos
    return order, greedy(*queues, ranked, ground_truth, iou_thresholds, same_emotion)


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
    errors.shape("det_interval", det_interval, (det_score.shape[0], 2))
    errors.shape("gt_interval", gt_interval, (gt_valid.shape[0], 2))
    nothing, unknown = np.zeros(det_score.shape, np.int32), np.zeros(gt_valid.shape, np.int32)
    detected = Detections(det_interval, det_score, nothing, det_valid)
    truth = Events(gt_interval, unknown, unknown, unknown, gt_valid)
    one_video = jax.tree.map(lambda x: jnp.asarray(x)[None], (detected, truth))
    return _match_all(*one_video, iou_threshold)[0]


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
    order, taker = takers(detections, ground_truth, jnp.asarray(iou_threshold)[None], np.array([same_emotion]))
    taker, truths = taker[0, 0], np.arange(taker.shape[-1], dtype=np.int32)  # [V, E], [E]
    index = jnp.append(order, order.size)[taker]  # taker -1 reads the last, which is dropped
    found = jnp.full(order.size, -1, jnp.int32).at[index].set(truths, mode="drop")
    return found.reshape(detections.valid.shape)


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


def precise(group: Detections | Events) -> Any:
    """What the float64 programs are given: intervals in float64; scores stay as they are (see ``ranking``).

    Args:
      group: detections or expressions.

    Returns:
      The same type.
    """
    return group._replace(interval=np.asarray(group.interval, np.float64))


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
        return np.asarray(_match_all(precise(detections), precise(ground_truth), iou_threshold))


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
        errors.shape(f"{name}.valid", valid, (videos, None))
        errors.shape(f"{name}.interval", group.interval, (*valid.shape, 2))
        emotion = np.asarray(group.emotion)[valid]
        if emotion.size and not 0 <= emotion.min() <= emotion.max() < num_classes:
            raise ValueError(f"{name}.emotion must be in 0..{num_classes - 1}; got {emotion.min()}..{emotion.max()}")
    if not np.isfinite(np.asarray(detections.score)[np.asarray(detections.valid)]).all():
        raise ValueError("detections.score must be finite; got NaN or infinity")
