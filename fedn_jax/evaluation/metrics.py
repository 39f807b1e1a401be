"""How good the detected expressions are: counts, F1, recognition, average precision.

Detections and expressions come padded over videos, as made by ``matching.pad``.

    >>> f1(Counts(tp=129, n=205, gt=300))  # FEDN, Table 4
    0.5108910891089109
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core import errors
from fedn_jax.core.types import Array, Detections, Events
from fedn_jax.evaluation.matching import check, matched, precise, takers

# .50:.05:.95 to the last bit as pycocotools computes it, since an IoU may lie exactly on a threshold.
IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())


class Counts(NamedTuple):
    """What spotting F1 is made of."""

    tp: Array  # [...] int, detections that match an expression, one-to-one
    n: Array  # [...] int, detections (FEDN's Table 4 calls this column FP)
    gt: Array  # [...] int, annotated expressions


def precision(counts: Counts) -> Array:
    """Share of the detections that are right.

    Args:
      counts: [...] counts.

    Returns:
      [...] float, TP / N; 0 without detections.
    """
    return counts.tp / (counts.n + (counts.n == 0))


def recall(counts: Counts) -> Array:
    """Share of the expressions that are found.

    Args:
      counts: [...] counts.

    Returns:
      [...] float, TP / GT; 0 without expressions.
    """
    return counts.tp / (counts.gt + (counts.gt == 0))


def f1(counts: Counts) -> Array:
    """Spotting F1 (MEGC 2019: the whole data set is one long video; FEDN section 4.3).

    Args:
      counts: [...] counts.

    Returns:
      [...] float, 2 TP / (N + GT), the harmonic mean of precision and recall; 0 if N + GT is 0.
    """
    total = counts.n + counts.gt
    return 2 * counts.tp / (total + (total == 0))


def accuracy(confusion: Array) -> Array:
    """Recognition accuracy: share of the true positives with the right emotion (FEDN's "R", up to rounding).

    Args:
      confusion: [..., C, C] int, rows: annotated emotion, columns: detected emotion.

    Returns:
      [...] float; 0 without true positives.
    """
    total = confusion.sum((-2, -1))
    return confusion.diagonal(axis1=-2, axis2=-1).sum(-1) / (total + (total == 0))


def macro_f1(confusion: Array) -> Array:
    """Mean F1 of the emotions on the true positives.

    Args:
      confusion: [..., C, C] int, rows: annotated emotion, columns: detected emotion.

    Returns:
      [...] float, the mean over the emotions with a true positive in their row or column; 0 if there are none.
    """
    total = confusion.sum(-1) + confusion.sum(-2)  # [..., C] annotated + detected
    each = 2 * confusion.diagonal(axis1=-2, axis2=-1) / (total + (total == 0))
    present = (total > 0).sum(-1)
    return each.sum(-1) / (present + (present == 0))


def spotting(
    detections: Detections,
    ground_truth: Events,
    iou_threshold: float = 0.5,
    group: Array | None = None,
    num_groups: int | None = None,
) -> Counts:
    """Counts of a set of videos as one long video, or of each group of them (MEGC 2019; FEDN section 4.3).

    Args:
      detections: [V, N], thresholded (see ``above``).
      ground_truth: [V, E].
      iou_threshold: lowest IoU of a match.
      group: [V] int, group of each video, such as its subject; None: pool all videos.
      num_groups: number of groups, G.

    Returns:
      Counts of ints, [] or [G].
    """
    hits = matched(detections, ground_truth, iou_threshold) >= 0
    per_video = [x.sum(-1) for x in (hits, np.asarray(detections.valid), np.asarray(ground_truth.valid))]
    if group is None:
        return Counts(*(int(x.sum()) for x in per_video))
    return Counts(*(np.bincount(group, x, num_groups).astype(np.int64) for x in per_video))


def recognition(
    detections: Detections,
    ground_truth: Events,
    num_classes: int,
    iou_threshold: float = 0.5,
    group: Array | None = None,
    num_groups: int | None = None,
) -> np.ndarray:
    """Confusion matrix of the true positives (FEDN section 4.3: recognition is judged on spotted intervals only).

    Args:
      detections: [V, N], thresholded (see ``above``).
      ground_truth: [V, E].
      num_classes: C.
      iou_threshold: lowest IoU of a match.
      group: [V] int, group of each video; None: pool all videos.
      num_groups: number of groups, G.

    Returns:
      [C, C] or [G, C, C] int64, rows: annotated emotion, columns: detected emotion; see ``accuracy``,
      ``macro_f1``.
    """
    index = matched(detections, ground_truth, iou_threshold)
    video, detection = np.nonzero(index >= 0)
    true = np.asarray(ground_truth.emotion)[video, index[video, detection]]
    found = np.asarray(detections.emotion)[video, detection]
    groups = np.zeros(len(index), np.int64) if group is None else np.asarray(group)
    confusion = np.zeros((1 if group is None else num_groups, num_classes, num_classes), np.int64)
    np.add.at(confusion, (groups[video], true, found), 1)
    return confusion[0] if group is None else confusion


def _coco(envelope: Array, num_gt: Array) -> Array:
    """Mean precision at 101 recalls; 0 at recalls that are not reached (COCO detection challenge).

    The hits that a recall needs are counted in integers: XLA turns a division by one number into a product
    with its inverse, which can miss a recall by the last bit. pycocotools compares floats, and its j-th
    recall lies above j / 100 by the last bit for some j, so there a share of exactly j / 100 does not reach
    it.
    """
    percent = np.arange(101)
    needed = -((-percent * num_gt) // 100)  # [101] smallest k with k / GT >= j / 100
    exactly = (percent * num_gt) % 100 == 0
    needed += exactly & (np.linspace(0, 1, 101) > percent / 100)
    at = jnp.clip(needed - 1, 0, envelope.size)  # recall 0 is reached by the first hit, if there is one
    return jnp.append(envelope, 0)[at].mean()


def _all_point(envelope: Array, num_gt: Array) -> Array:
    """Area under the precision envelope: recall grows by 1 / GT at each hit (VOC 2010, ActivityNet)."""
    return envelope.sum() / jnp.maximum(num_gt, 1)


AP_DEFINITIONS = {"coco": _coco, "all_point": _all_point}
NEVER = np.iinfo(np.int32).max  # the rank of what is no hit


def _area(rank: Array, num_gt: Array, definition: str, dtype: Any) -> Array:
    """Average precision from the ranks of the hits among the detections, [H] int32: all that the curve depends on."""
    area = AP_DEFINITIONS[errors.one_of("definition", definition, AP_DEFINITIONS)]
    rank = jnp.sort(rank)
    precision = jnp.where(rank < NEVER, jnp.arange(1, rank.size + 1).astype(dtype) / rank.astype(dtype), 0)
    envelope = jax.lax.cummax(precision, reverse=True)
    return jnp.where(num_gt > 0, area(envelope, num_gt), jnp.nan).astype(dtype)


@functools.partial(jax.jit, static_argnames="definition")
def areas(rank: Array, num_gt: Array, definition: str) -> Array:
    """Average precisions from the ranks of their true positives.

    Args:
      rank: [B, H] int32, from 1, in any order; ``NEVER`` pads.
      num_gt: [B] int, number of expressions.
      definition: "coco" (101 recalls) or "all_point" (ActivityNet).

    Returns:
      [B] float; NaN without expressions.
    """
    return jax.vmap(functools.partial(_area, definition=definition, dtype=jnp.float_))(rank, num_gt)


def average_precision(tp: Array, score: Array, valid: Array, num_gt: Array, definition: str = "coco") -> Array:
    """Average precision of one list of detections.

    Detections are ranked by falling score; equal scores keep the order of the list, which for COCO is that of
    the videos. Precision at a recall is the highest precision at that recall or beyond.

    Args:
      tp: [N] bool, matched.
      score: [N] float.
      valid: [N] bool.
      num_gt: [] int, number of expressions.
      definition: "coco" (101 recalls) or "all_point" (ActivityNet).

    Returns:
      [] float in [0, 1], of the dtype of ``score``; NaN without expressions: nothing could have been found.

    >>> hits, scores = np.array([True, False, True]), np.array([0.9, 0.8, 0.7])
    >>> ap = average_precision(hits, scores, np.ones(3, bool), 4, "all_point")
    >>> round(float(ap), 4)  # 1/4 * 1 + 1/4 * 2/3
    0.4167
    """
    tp, score, valid, num_gt = (jnp.asarray(x) for x in (tp, score, valid, num_gt))
    order = jnp.argsort(-score, stable=True)
    rank = jnp.where((tp & valid)[order], jnp.cumsum(valid[order], dtype=jnp.int32), NEVER)
    return _area(rank, num_gt, definition, score.dtype)


@functools.partial(jax.jit, static_argnames="num_classes")
def average_precisions(
    detections: Detections, ground_truth: Events, iou_thresholds: Array, num_classes: int
) -> dict[str, Array]:
    """Average precisions for all definitions, IoU thresholds and classes in one program, of the intervals' dtype.

    Args:
      detections: [V, N], all that survive NMS.
      ground_truth: [V, E].
      iou_thresholds: [I] float.
      num_classes: C.

    Returns:
      definition -> [I, 1 + C] float, without gradient: spotting (any emotion), then detection per class; NaN for
      classes that do not occur in the ground truth.
    """
    detections, ground_truth = jax.tree.map(jnp.asarray, (detections, ground_truth))
    dtype, classes = detections.interval.dtype, jnp.arange(num_classes)[:, None, None]
    truths = (ground_truth.emotion == classes) & ground_truth.valid  # [C, V, E]
    num_gt = jnp.append(ground_truth.valid.sum(), truths.sum((1, 2)))  # [1 + C]
    thresholds = jnp.asarray(iou_thresholds, dtype)
    order, taker = takers(detections, ground_truth, thresholds, np.array([False, True]))  # [V * N], [2, I, V, E]

    # The rank of each detection among all and among those of each class; the last column is read by taker -1.
    valid, emotion = detections.valid.reshape(-1)[order], detections.emotion.reshape(-1)[order]
    counted = jnp.append(valid[None], valid & (emotion == classes[:, 0]), 0)
    rank = jnp.pad(jnp.cumsum(counted, 1, jnp.int32), ((0, 0), (0, 1)), constant_values=NEVER)  # [1 + C, V * N + 1]

    detected = jnp.where(truths[:, None], rank[1 + ground_truth.emotion, taker[1]], NEVER)  # [C, I, V, E]
    hits = jnp.append(rank[0, taker[:1]], detected, 0).reshape(1 + num_classes, len(thresholds), -1)

    def areas(definition: str) -> Array:
        area = functools.partial(_area, definition=definition, dtype=dtype)
        return jax.vmap(jax.vmap(area, (0, None)), out_axes=1)(hits, num_gt)  # [I, 1 + C]

    return {definition: areas(definition) for definition in AP_DEFINITIONS}


def mean(values: np.ndarray) -> float:
    """Mean over what exists.

    Args:
      values: [...] float.

    Returns:
      That of the entries that are not NaN; NaN if all are.
    """
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def mean_average_precision(
    detections: Detections,
    ground_truth: Events,
    num_classes: int,
    thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> dict[str, dict[str, Any]]:
    """mAP over IoU thresholds (FEDN section 4.3 cites COCO; "all_point" is ActivityNet's, shown beside it).

    Spotting ignores the emotions. Detection asks for the right one and is the mean over the classes that
    occur in the ground truth. All videos of all folds are pooled. Computed in float64; "coco" equals
    pycocotools.

    Args:
      detections: [V, N], all that survive NMS, not thresholded.
      ground_truth: [V, E].
      num_classes: C.
      thresholds: I IoU thresholds, .50:.05:.95 unless given.

    Returns:
      {"coco": {"spotting": mAP, "detection": mAP, "ap": {"0.50": {"spotting": AP, "detection": AP}, ...},
      "per_class": C times {"map": mAP, "ap": {"0.50": AP, ...}}}, "all_point": the same}. Plain floats, NaN
      where there is nothing to find.
    """
    check(detections, ground_truth, num_classes)
    with jax.enable_x64(True):
        curves = average_precisions(precise(detections), precise(ground_truth), np.asarray(thresholds), num_classes)
        curves = {name: np.asarray(curve) for name, curve in curves.items()}
    names = [f"{threshold:.2f}" for threshold in thresholds]
    return {
        definition: {
            "spotting": mean(curve[:, 0]),
            "detection": mean(curve[:, 1:]),
            "ap": {
                name: {"spotting": float(row[0]), "detection": mean(row[1:])}
                for name, row in zip(names, curve, strict=True)
            },
            "per_class": [
                {"map": mean(column), "ap": dict(zip(names, column.tolist(), strict=True))} for column in curve.T[1:]
            ],
        }
        for definition, curve in curves.items()
    }
