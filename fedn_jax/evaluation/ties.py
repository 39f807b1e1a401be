"""Equal scores: average precision ranks detections by score, and of equal ones the order of the list decides.

``examine`` counts them and says between which numbers mAP lies whatever their order; where all scores are equal there
is nothing to rank by, and no mAP.

How the bounds come about. Detections and expressions that reach the IoU are a graph; what happens in one of its
components does not depend on the others. In most the number of true positives among the best k scores is known: there
is one expression, which goes to the first that reaches it, or all scores differ. In the others it is at most the
smaller side, and a matching that cannot be extended has at least as many pairs as the least connected one has
neighbours, or a whole side. Of equal scores the true positives then stand first, or last.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax.core.text import percent
from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import metrics, protocols


class _Edges(NamedTuple):
    """Pairs of a detection and an expression of its video whose IoU reaches the lowest threshold."""

    found: np.ndarray  # [P] int, index of the detection
    true: np.ndarray  # [P] int, index of the expression
    iou: np.ndarray  # [P] float64


def examine(
    detections: Detections, ground_truth: Events, num_classes: int, thresholds: Sequence[float] = metrics.IOU_THRESHOLDS
) -> dict[str, Any]:
    """Equal scores, and what they leave open.

    Args:
      detections: [V, N], all that average precision takes.
      ground_truth: [V, E].
      num_classes: C; 0: emotions are not judged.
      thresholds: I IoU thresholds of the mAP.

    Returns:
      "detections"; "tied", those that share their score with another; "values", different scores; "missing", why there
      is no mAP, or None; "range", definition -> {"spotting": [lowest, highest], "detection": [lowest, highest]} of the
      mAP over all orders of equal scores (bounds, which need not be reached), or None without equal scores.
    """
    score = np.asarray(detections.score)[np.asarray(detections.valid)]
    values, counts = np.unique(score, return_counts=True)
    found = {"detections": score.size, "tied": int(counts[counts > 1].sum()), "values": values.size}
    found |= {"missing": None, "range": None}
    if score.size > 1 and values.size == 1:
        found["missing"] = f"all {score.size} detections have the score {values[0]:g}, so there is nothing to rank by"
    elif found["tied"]:
        found["range"] = _range(detections, ground_truth, num_classes, thresholds)
    return found


def blank(tree: Any) -> Any:
    """Numbers that do not exist.

    Args:
      tree: what ``metrics.mean_average_precision`` gives.

    Returns:
      The same with NaN for every number.
    """
    if isinstance(tree, Mapping):
        return {key: blank(value) for key, value in tree.items()}
    return [blank(value) for value in tree] if isinstance(tree, list) else float("nan")


def sentence(found: Mapping[str, Any] | None, emotions: bool = True) -> str:
    """What a reader should know of equal scores.

    Args:
      found: of ``examine``; None: not known.
      emotions: detection mAP exists.

    Returns:
      A sentence; "" where all scores differ.
    """
    if not found or not found["tied"]:
        return ""
    if found["missing"]:
        return f"No mAP: {found['missing']}."
    text = f"{found['tied']} of {found['detections']} detections share their score with another one"
    spans = {name: found["range"]["coco"][name] for name in ("spotting", "detection")[: 1 + emotions]}
    spans = {name: [percent(x) for x in span] for name, span in spans.items() if None not in span}
    if all(low == high for low, high in spans.values()):
        return f"{text}; mAP does not depend on their order."
    parts = [f"{name} mAP lies between {low} and {high} %" for name, (low, high) in spans.items()]
    return f"{text}, and stand in the order of the list. Whatever their order, {', '.join(parts)}."


# ---- Bounds ----------------------------------------------------------------------------------------------------------


def _range(detections: Detections, ground_truth: Events, num_classes: int, thresholds: Sequence[float]) -> dict:
    valid, true = np.asarray(detections.valid), np.asarray(ground_truth.valid)
    index, target = (np.cumsum(mask).reshape(mask.shape) - 1 for mask in (valid, true))
    iou = protocols.overlaps(detections, ground_truth)
    video, row, column = np.nonzero(iou >= min(thresholds))
    edges = _Edges(index[video, row], target[video, column], iou[video, row, column])
    _, group = np.unique(-np.asarray(detections.score)[valid], return_inverse=True)  # 0: the highest score
    claimed, given = np.asarray(detections.emotion)[valid], np.asarray(ground_truth.emotion)[true]
    judged = [(np.ones(len(group), bool), np.ones(len(given), bool))]
    judged += [(claimed == c, given == c) for c in range(num_classes)]
    most = 1 << max(len(given) - 1, 0).bit_length()  # so that few sizes are compiled
    ranks = np.full((2, len(thresholds), len(judged), most), metrics.NEVER, np.int64)
    for c, (some, wanted) in enumerate(judged):
        sizes = np.bincount(group[some], minlength=group.max() + 1)
        for i, threshold in enumerate(thresholds):
            keep = (edges.iou >= threshold) & some[edges.found] & wanted[edges.true]
            bounds = _hits(_Edges(*(x[keep] for x in edges)), group, sizes)
            for side, hits in enumerate(bounds):
                found = _ranks(hits, sizes, first=bool(side))
                ranks[side, i, c, : len(found)] = found
    totals = np.array([wanted.sum() for _, wanted in judged])
    result = {}
    for definition in metrics.AP_DEFINITIONS:
        with jax.enable_x64(True):
            area = np.asarray(metrics.areas(ranks.reshape(-1, ranks.shape[-1]).astype(np.int32),
                                            np.tile(totals, 2 * len(thresholds)), definition))  # fmt: skip
        area = area.reshape(2, len(thresholds), -1)  # [low and high, I, 1 + C]
        result[definition] = {
            "spotting": [metrics.mean(side[:, 0]) for side in area],
            "detection": [metrics.mean(side[:, 1:]) for side in area],
        }
    return result


def _hits(edges: _Edges, group: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(fewest, most) true positives, [G] int each, among the detections of every score and above it."""
    from scipy import sparse
    from scipy.sparse import csgraph

    low = np.zeros(len(sizes), np.int64)
    high = low.copy()
    if len(edges.found):
        people, things = np.unique(edges.found, return_inverse=True), np.unique(edges.true, return_inverse=True)
        nodes = len(people[0]) + len(things[0])
        pairs = (people[1], len(people[0]) + things[1])
        graph = sparse.coo_array((np.ones(len(edges.found)), pairs), (nodes, nodes))
        _, part = csgraph.connected_components(graph, directed=False)
        expressions = np.bincount(part[len(people[0]) :], minlength=part.max() + 1)
        of_edge = part[people[1]]
        single = expressions[of_edge] == 1
        first = np.full(part.max() + 1, len(sizes))
        np.minimum.at(first, of_edge[single], group[edges.found[single]])
        alone = np.bincount(first[expressions == 1], minlength=len(sizes))[: len(sizes)]
        low += np.cumsum(alone)
        high += np.cumsum(alone)
        for number in np.flatnonzero(expressions > 1):
            few, most = _component(_Edges(*(x[of_edge == number] for x in edges)), group, len(sizes))
            low += few
            high += most
    for g in range(len(sizes) - 1, 0, -1):  # those of one score are no more than there are detections of it
        low[g - 1] = max(low[g - 1], low[g] - sizes[g])
    return low, high


def _component(edges: _Edges, group: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``_hits`` of detections and two or more expressions that hang together."""
    found, row = np.unique(edges.found, return_inverse=True)
    true, column = np.unique(edges.true, return_inverse=True)
    iou = np.full((len(found), len(true)), -1.0)
    iou[row, column] = edges.iou
    ranks = group[found]
    if len(set(ranks.tolist())) == len(found):
        hits = np.bincount(_greedy(iou, ranks), minlength=count)
        return np.cumsum(hits), np.cumsum(hits)
    low, high = np.zeros((2, count), np.int64)
    for g in sorted(set(ranks.tolist())):
        reach = iou[ranks <= g] >= 0
        sides = reach.sum(1), reach.sum(0)[reach.any(0)]  # neighbours of each detection, of each expression
        high[g:] = min(map(len, sides))
        low[g:] = max(low[g], *(min(len(side), side.min()) for side in sides))
    return low, high


def _greedy(iou: np.ndarray, ranks: np.ndarray) -> list[int]:
    """Scores of the true positives where all scores differ: the matching of ``matching``, in a loop."""
    iou, hits = iou.copy(), []
    for row in np.argsort(ranks):
        best = iou.shape[1] - 1 - iou[row, ::-1].argmax()  # the last of equals
        if iou[row, best] >= 0:
            iou[:, best] = -1
            hits.append(int(ranks[row]))
    return hits


def _ranks(hits: np.ndarray, sizes: np.ndarray, first: bool) -> np.ndarray:
    """Ranks of the true positives, from 1, if of equal scores they stand first, or last."""
    new = np.diff(hits, prepend=0)
    ends = np.cumsum(sizes)
    starts = ends - sizes if first else ends - new
    return np.concatenate([np.arange(a + 1, a + 1 + n) for a, n in zip(starts, new, strict=True)] or [[]]).astype(int)
