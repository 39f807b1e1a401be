"""How papers and public code count spotted expressions: one table, one signature.

The same detections give other numbers under another rule, so a number is comparable only with numbers of its own rule.
``find`` gives the true positives under a rule, ``counts`` what F1 is made of. ``megc`` is this package's own rule.

    >>> video = np.array([[[4, 24], [104, 112]]]), np.array([[[0, 20], [8, 28], [100, 108], [104, 112]]])
    >>> found, true = (x.astype(np.float32) for x in video)
    >>> found = Detections(found, np.ones((1, 2)), np.zeros((1, 2), int), np.ones((1, 2), bool))
    >>> true = Events(true, true[..., 0], *np.zeros((2, 1, 4), int), np.ones((1, 4), bool))
    >>> {name: counts(name, find(name, found, true), found, true).tp for name in PROTOCOLS}
    {'megc': 2, 'per_gt': 3, 'pairs': 3, 'strict': 2, 'strs': 3}
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from fedn_jax.core import errors, schema
from fedn_jax.core.types import Array, Detections, Events
from fedn_jax.evaluation import matching, metrics
from fedn_jax.evaluation.metrics import Counts
from fedn_jax.ops import intervals


class Protocol(NamedTuple):
    """A rule of counting; k is the bound on the IoU."""

    definition: str  # what is a true positive, ties, and where the rule comes from
    pairs: Callable[[Detections, Events, float], np.ndarray]  # ([V, N], [V, E], k) -> [P, 3], see ``find``
    again: bool = False  # N is TP + FP: a prediction counts once for each of its true positives


_iou = jax.jit(lambda a, b: intervals.iou(a[:, :, None], b[:, None]))


def overlaps(detections: Detections, events: Events) -> np.ndarray:
    """IoU of every detection and every expression of its video.

    Args:
      detections: [V, N].
      events: [V, E].

    Returns:
      [V, N, E] float64, -1 where the detection or the expression does not count.
    """
    with jax.enable_x64(True):
        iou = np.asarray(_iou(matching.exact(detections.interval), matching.exact(events.interval)))
    return np.where(np.asarray(detections.valid)[:, :, None] & np.asarray(events.valid)[:, None], iou, -1.0)


def _first(rank: np.ndarray) -> np.ndarray:
    """[V, N, E] bool: for each expression the first of the detections of highest rank."""
    if not rank.shape[1]:
        return rank > 0
    return np.arange(rank.shape[1])[:, None] == rank.argmax(1)[:, None]


def _megc(detections: Detections, events: Events, bound: float) -> np.ndarray:
    index = matching.matched(detections, events, bound)
    return np.argwhere(index[:, :, None] == np.arange(np.asarray(events.valid).shape[1]))


def _strict(detections: Detections, events: Events, bound: float) -> np.ndarray:
    # IoUs are compared in float64, where "above k" is "at least the number that follows k".
    return _megc(detections, events, float(np.nextafter(bound, np.inf)))


def _pairs(detections: Detections, events: Events, bound: float) -> np.ndarray:
    return np.argwhere(overlaps(detections, events) >= bound)


def _per_gt(detections: Detections, events: Events, bound: float) -> np.ndarray:
    iou = overlaps(detections, events)
    return np.argwhere((iou >= bound) & _first(iou))


def _strs(detections: Detections, events: Events, bound: float) -> np.ndarray:
    # A prediction may take any number of expressions, so each goes to the first prediction that reaches it.
    reached = overlaps(detections, events) >= bound
    return np.argwhere(reached & _first(reached))


PROTOCOLS = {
    "megc": Protocol(
        "One-to-one: by falling score (of equal scores the lower index first) each prediction takes the free "
        "expression of highest IoU (of equals the later one), if IoU >= k (MEGC 2019-2021; ties are ours).",
        _megc,
    ),
    "per_gt": Protocol(
        "Each expression takes the prediction of highest IoU (of equals the first), if IoU >= k, and one prediction "
        "may serve several expressions; a true positive is an expression that took one (LGSNet).",
        _per_gt,
    ),
    "pairs": Protocol(
        "Every pair of a prediction and an expression with IoU >= k is a true positive, so precision, recall and F1 "
        "may exceed 1 (correct clips in the code of the MEGC2020 baseline; its F1 counts a found expression once).",
        _pairs,
    ),
    "strict": Protocol(
        "As megc, but IoU > k (the bound of AUW-GCN, whose code also counts a second prediction of one expression).",
        _strict,
    ),
    "strs": Protocol(
        "In the order of the list, whatever the scores, each prediction takes every free expression with IoU >= k; a "
        "prediction that took none is a false positive, and N is TP + FP (STRS, Liong et al. 2023).",
        _strs,
        again=True,
    ),
}


def find(protocol: str, detections: Detections, events: Events, iou_threshold: float = 0.5) -> np.ndarray:
    """The true positives under a rule; IoUs are compared in float64.

    Args:
      protocol: name in ``PROTOCOLS``.
      detections: [V, N], thresholded (see ``matching.above``).
      events: [V, E], the expressions that count.
      iou_threshold: the bound k, above 0 and at most 1.

    Returns:
      [P, 3] int64: video, detection and expression of every true positive, in rising order.

    Raises:
      UserError: an unknown protocol, shapes that do not fit, or a bound outside (0, 1].
    """
    rule = PROTOCOLS[errors.one_of("protocol", protocol, PROTOCOLS)]
    if not 0 < iou_threshold <= 1:
        raise errors.UserError(f"iou_threshold must be above 0 and at most 1; got {iou_threshold}")
    for name, group in (("detections", detections), ("events", events)):
        valid = np.asarray(group.valid)
        errors.shape(f"{name}.valid", valid, (len(detections.valid), None))
        errors.shape(f"{name}.interval", group.interval, (*valid.shape, 2))
    return rule.pairs(detections, events, float(iou_threshold))


def counts(
    protocol: str,
    pairs: np.ndarray,
    detections: Detections,
    events: Events,
    group: Array | None = None,
    num_groups: int | None = None,
) -> Counts:
    """Counts under a rule, such that ``metrics.f1`` of them is the rule's F1.

    Args:
      protocol: name in ``PROTOCOLS``.
      pairs: [P, 3] int, what ``find`` gives for these detections and expressions.
      detections: [V, N], thresholded.
      events: [V, E].
      group: [V] int, group of each video, such as its subject; None: pool all videos.
      num_groups: number of groups, G.

    Returns:
      Counts of ints, [] or [G]: true positives; predictions (for "strs" TP + FP); expressions.
    """
    rule = PROTOCOLS[errors.one_of("protocol", protocol, PROTOCOLS)]
    valid = np.asarray(detections.valid)
    hits = np.bincount(pairs[:, 0], minlength=len(valid))
    repeated = hits - np.bincount(np.unique(pairs[:, :2], axis=0)[:, 0], minlength=len(valid))
    per_video = Counts(hits, valid.sum(1) + rule.again * repeated, np.asarray(events.valid).sum(1))
    if group is None:
        return Counts(*(int(x.sum()) for x in per_video))
    return Counts(*(np.bincount(group, x, num_groups).astype(np.int64) for x in per_video))


def kinds(detections: Detections | Events, fps: Array) -> np.ndarray:
    """Kinds by length, for methods and annotations that do not say one (MEGC 2019: at most 0.5 s is micro).

    Args:
      detections: [V, N], or expressions.
      fps: float or [V] float, frames per second.

    Returns:
      [V, N] int, index into schema.KINDS.
    """
    interval, rate = matching.exact(detections.interval), np.asarray(fps, np.float64)
    micro = interval[..., 1] - interval[..., 0] <= schema.MICRO_SECONDS * (rate[:, None] if rate.ndim else rate)
    return np.where(micro, schema.KINDS.index("micro"), schema.KINDS.index("macro"))


def by_kind(
    protocol: str,
    detections: Detections,
    det_kind: Array,
    events: Events,
    iou_threshold: float = 0.5,
    group: Array | None = None,
    num_groups: int | None = None,
) -> dict[str, Counts]:
    """Counts of macro- and micro-expressions, and of both together: their sums (MEGC: (A1 + A2) / (M1 + M2)).

    A detection can match only expressions of its own kind. (LGSNet's code does not ask that.)

    Args:
      protocol: name in ``PROTOCOLS``.
      detections: [V, N], thresholded.
      det_kind: [V, N] int, index into schema.KINDS: a method's own answer, or ``kinds``.
      events: [V, E], of both kinds.
      iou_threshold: the bound k.
      group: [V] int, group of each video; None: pool all videos.
      num_groups: number of groups, G.

    Returns:
      "macro", "micro" and "all", each counts [] or [G].

    Raises:
      UserError: as for ``find``, or kinds of detections that are no index.
    """
    det_kind, valid = np.asarray(det_kind), np.asarray(detections.valid)
    errors.shape("det_kind", det_kind, valid.shape)
    strange = det_kind[valid & ~np.isin(det_kind, range(len(schema.KINDS)))]
    if strange.size:
        raise errors.UserError(f"det_kind must be in 0..{len(schema.KINDS) - 1}; got {strange[0]}")
    true, result = np.asarray(events.valid), {}
    for index, kind in enumerate(schema.KINDS):
        chosen = (
            detections._replace(valid=valid & (det_kind == index)),
            events._replace(valid=true & (np.asarray(events.kind) == index)),
        )
        result[kind] = counts(protocol, find(protocol, *chosen, iou_threshold), *chosen, group, num_groups)
    return result | {"all": Counts(*(sum(parts) for parts in zip(*result.values(), strict=True)))}


def recognition(pairs: np.ndarray, detections: Detections, events: Events, num_classes: int) -> np.ndarray:
    """Confusion matrix of true positives.

    Args:
      pairs: [P, 3] int, what ``find`` gives.
      detections: [V, N].
      events: [V, E].
      num_classes: C.

    Returns:
      [C, C] int64, rows: annotated emotion, columns: detected emotion.

    Raises:
      ValueError: an emotion outside 0..C-1.
    """
    matching.check(detections, events, num_classes)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    true = np.asarray(events.emotion)[pairs[:, 0], pairs[:, 2]]
    np.add.at(confusion, (true, np.asarray(detections.emotion)[pairs[:, 0], pairs[:, 1]]), 1)
    return confusion


def strs(spotted: Counts, confusion: Array, annotated: Array) -> dict[str, Array]:
    """Spot-then-recognise score (Liong et al. 2023): F1 of spotting times F1 of analysis.

    F1 of analysis is the harmonic mean of macro-averaged precision and macro-averaged recall on the true positives.
    The averages are over the emotions that are annotated anywhere, spotted or not, as in the published code: one
    without a true positive counts 0. A detected emotion that is never annotated has no share of its own.

    Args:
      spotted: [...] counts, of the protocol "strs" for the published score.
      confusion: [..., C, C] int, rows: annotated emotion, columns: detected emotion; see ``recognition``.
      annotated: [..., C] int, expressions of each emotion; 0 leaves an emotion out, with its true positives.

    Returns:
      "f1_spot", "f1_analysis" and "strs", [...] float.
    """
    present = np.asarray(annotated) > 0
    confusion = np.asarray(confusion) * present[..., :, None]
    hits, found, given = confusion.diagonal(axis1=-2, axis2=-1), confusion.sum(-2), confusion.sum(-1)
    precision, recall = (
        (present * hits / np.maximum(total, 1)).sum(-1) / np.maximum(present.sum(-1), 1) for total in (found, given)
    )
    total = precision + recall
    analysis = 2 * precision * recall / (total + (total == 0))
    spot = metrics.f1(spotted)
    return {"f1_spot": spot, "f1_analysis": analysis, "strs": spot * analysis}
