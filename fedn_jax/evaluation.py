"""Every number of one evaluation, each with its definition: the content of ``metrics.json``."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedn_jax.matching import above, check
from fedn_jax.metrics import (
    Counts,
    accuracy,
    best_threshold,
    f1,
    macro_f1,
    mean_average_precision,
    precision,
    recall,
    recognition,
    spotting,
)
from fedn_jax.types import Array, Detections, Events

DEFINITIONS = {
    "tp": "detections above the score threshold that match an annotated expression with IoU >= {iou}, one-to-one, "
    "taken greedily by falling score",
    "n": "detections above the score threshold (true and false positives)",
    "gt": "annotated expressions",
    "precision": "TP / N",
    "recall": "TP / GT",
    "f1": "2 TP / (N + GT), with TP, N and GT summed over all videos of all folds",
    "accuracy": "share of the true positives whose emotion is right; the paper's recognition column behaves like this",
    "macro_f1": "F1 of each emotion on the true positives, averaged over the emotions that occur there",
    "confusion": "true positives by annotated (row) and detected (column) emotion",
    "map": "mean over the IoU thresholds .50:.05:.95 of the average precision of all detections after NMS, "
    "un-thresholded, pooled over all folds",
    "map.spotting": "mAP of intervals, whatever their emotion",
    "map.detection": "mAP of intervals with the right emotion, averaged over the emotions that occur",
    "coco": "average precision is the mean precision at 101 recalls (COCO)",
    "all_point": "average precision is the whole area under the precision envelope (ActivityNet, VOC 2010)",
    "threshold": "score threshold of each fold, chosen on its training subjects only",
    "oracle": "F1 with the one threshold that is best on the test labels themselves: an upper bound, not a result",
    "per_class.tp": "expressions of this emotion that are spotted, whatever emotion was detected",
    "per_class.correct": "expressions of this emotion that are spotted and recognised",
    "per_class.ap50": "average precision of this emotion at IoU 0.50 (COCO definition)",
    "per_class.map": "average precision of this emotion, mean over IoU .50:.05:.95 (COCO definition)",
}


def _summary(counts: Counts) -> dict[str, Any]:
    """Counts and what follows from them, as plain numbers."""
    whole = {name: int(value) for name, value in counts._asdict().items()}
    return whole | {
        "precision": float(precision(counts)),
        "recall": float(recall(counts)),
        "f1": float(f1(counts)),
    }


def _plain(tree: Any) -> Any:
    """NaN -> None, which JSON can say."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    return None if isinstance(tree, float) and np.isnan(tree) else tree


def evaluate(
    detections: Detections,
    ground_truth: Events,
    subjects: Sequence[str],
    classes: Sequence[str],
    thresholds: Array,
    iou_threshold: float = 0.5,
) -> dict[str, Any]:
    """Every number of one evaluation, pooled over all folds: the content of ``metrics.json``.

    Spotting and recognition count the detections that reach the threshold of their video; mAP counts all.

    Args:
      detections: [V', N], the survivors of NMS, not thresholded; V' >= V, the rest is padding.
      ground_truth: [V', E], the expressions that count (the others have ``valid`` False).
      subjects: V subject names.
      classes: C emotion names.
      thresholds: [V] float or float, score threshold of each video: that of its fold.
      iou_threshold: lowest IoU of a match.

    Returns:
      "iou", "spotting", "recognition", "map", "per_subject", "per_class", "oracle" and "definition", a sentence per
      number. Plain Python values; None for numbers that do not exist. Nothing is rounded.
    """
    check(detections, ground_truth, len(classes))
    names = list(dict.fromkeys(subjects))
    group = np.zeros(len(detections.valid), np.int64)
    group[: len(subjects)] = [names.index(subject) for subject in subjects]
    kept = above(detections, thresholds)
    counts = spotting(kept, ground_truth, iou_threshold, group, len(names))
    confusions = recognition(kept, ground_truth, len(classes), iou_threshold, group, len(names))
    pooled, confusion = Counts(*(x.sum() for x in counts)), confusions.sum(0)
    best = best_threshold(detections, ground_truth, iou_threshold)
    ideal = spotting(above(detections, best), ground_truth, iou_threshold)
    mean_ap = mean_average_precision(detections, ground_truth, len(classes))
    emotion = np.asarray(ground_truth.emotion)[np.asarray(ground_truth.valid)]
    per_class = []
    for c, name in enumerate(classes):
        found, given, ap = int(confusion[c].sum()), int((emotion == c).sum()), mean_ap["coco"]["per_class"][c]
        row = {"class": name, "gt": given, "tp": found, "correct": int(confusion[c, c])}
        per_class.append(row | {"recall": found / max(given, 1), "ap50": ap["ap"]["0.50"], "map": ap["map"]})
    result = {
        "iou": float(iou_threshold),
        "spotting": _summary(pooled),
        "recognition": {
            "accuracy": float(accuracy(confusion)),
            "macro_f1": float(macro_f1(confusion)),
            "confusion": confusion.tolist(),
        },
        "map": mean_ap,
        "per_subject": [
            {
                "subject": name,
                **_summary(Counts(*(x[g] for x in counts))),
                "accuracy": float(accuracy(confusions[g])),
            }
            for g, name in enumerate(names)
        ],
        "per_class": per_class,
        "oracle": {"threshold": best, "spotting": _summary(ideal)},
        "definition": {name: text.format(iou=iou_threshold) for name, text in DEFINITIONS.items()},
    }
    return _plain(result)
