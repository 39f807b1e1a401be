"""Every number of one set of detections, each with its definition.

``metrics`` has the formulas. ``run_evaluation`` adds to these numbers what belongs to a run, such as the baselines, and
``csv_evaluation`` has the numbers of CSV files.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fedn_jax.core.types import Array, Detections, Events
from fedn_jax.evaluation import bootstrap, protocols, segmental, threshold_rules, ties
from fedn_jax.evaluation.matching import above, check
from fedn_jax.evaluation.metrics import (
    Counts,
    accuracy,
    f1,
    macro_f1,
    mean_average_precision,
    precision,
    recall,
    recognition,
    spotting,
)

LEVEL = 0.95  # of confidence intervals
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
    "threshold": "score threshold of each video",
    "oracle": "F1 with the one threshold that is best on the test labels themselves: an upper bound, not a result",
    "per_class.tp": "expressions of this emotion that are spotted, whatever emotion was detected",
    "per_class.correct": "expressions of this emotion that are spotted and recognised",
    "per_class.ap50": "average precision of this emotion at IoU 0.50 (COCO definition)",
    "per_class.map": "average precision of this emotion, mean over IoU .50:.05:.95 (COCO definition)",
    "ties": "detections that share their score with another one; average precision takes them in the order of the list",
    "confidence": "percentile bootstrap over subjects: as many as there are, drawn with replacement "
    f"{bootstrap.SAMPLES:,} times",
    "frame_accuracy": "share of all frames whose label, an emotion or none, is right; the highest score wins a frame",
    "edit": "100 (1 - Levenshtein distance / longer list), mean over videos, of the emotions in their order (MS-TCN)",
    "f1.segments": "F1 of label segments at an IoU: each looks only at its best partner of its emotion (MS-TCN)",
    "strs.f1_spot": "spotting F1 under the protocol strs, whatever the protocol of the other numbers",
    "strs.f1_analysis": "harmonic mean of the precision and the recall of the emotions on the true positives of strs, "
    "each averaged over the emotions that are annotated",
    "strs": "spot-then-recognise score: f1_spot times f1_analysis (Liong et al. 2023)",
}


def summary(counts: Counts) -> dict[str, Any]:
    """Counts and what follows from them.

    Args:
      counts: [] counts.

    Returns:
      "tp", "n", "gt", "precision", "recall" and "f1", plain numbers; None for what would be 0 / 0: precision without
      detections, recall without expressions, F1 without both.
    """
    whole = {name: int(value) for name, value in counts._asdict().items()}
    shares = {
        "precision": (precision, whole["n"]),
        "recall": (recall, whole["gt"]),
        "f1": (f1, whole["n"] + whole["gt"]),
    }
    return whole | {name: float(share(counts)) if total else None for name, (share, total) in shares.items()}


def plain(tree: Any) -> Any:
    """Makes numbers that do not exist something that JSON can say.

    Args:
      tree: dicts, lists and plain values.

    Returns:
      The same with None for NaN.
    """
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    return None if isinstance(tree, float) and np.isnan(tree) else tree


def confidence(names: Sequence[str], counts: Counts, confusions: Array) -> dict[str, Any] | None:
    """Confidence intervals of the headline numbers, by a bootstrap over subjects.

    Args:
      names: G subjects.
      counts: [G] counts of each subject.
      confusions: [G, C, C] int of each subject; C may be 0.

    Returns:
      {"level": .95, "f1": [low, high], "accuracy": [low, high]}, None for a number that does not exist; None for a
      single subject.
    """
    if len(names) < 2:
        return None

    def interval(per_subject: Any, statistic: Any) -> list[float]:
        found = bootstrap.interval(bootstrap.by_subject(list(names), per_subject), statistic, level=LEVEL)
        return [found.low, found.high]

    spotted = interval(counts, f1) if counts.n.sum() + counts.gt.sum() else None
    return {"level": LEVEL, "f1": spotted, "accuracy": interval(confusions, accuracy) if confusions.any() else None}


def segmental_scores(
    detections: Detections, ground_truth: Events, num_frames: Sequence[int], num_classes: int
) -> dict[str, Any]:
    """MS-TCN's measures on one label per frame; a frame without expression has a label of its own, the background.

    Args:
      detections: [V', N], thresholded.
      ground_truth: [V', E].
      num_frames: V lengths.
      num_classes: C.

    Returns:
      "frame_accuracy" in [0, 1], "edit" in [0, 100], "f1" {"0.10": F1 in [0, 1], or None without a segment, ...}.
    """
    found, true = [], []
    for video, length in enumerate(num_frames):
        one, other = (type(group)(*(np.asarray(x)[video] for x in group)) for group in (detections, ground_truth))
        found.append(segmental.to_labels(one.interval, one.emotion, one.valid, length, num_classes, one.score))
        true.append(segmental.to_labels(other.interval, other.emotion, other.valid, length, num_classes))
    some = any((labels != num_classes).any() for labels in (*found, *true))
    at = segmental.f1_at(found, true, num_classes)
    return {
        "frame_accuracy": segmental.frame_accuracy(found, true),
        "edit": segmental.edit_score(found, true, num_classes),
        "f1": {f"{overlap:.2f}": value if some else None for overlap, value in at.items()},
    }


def tables(
    counts: Counts,
    confusions: Array,
    ground_truth: Events,
    names: Sequence[str],
    classes: Sequence[str],
    mean_ap: dict[str, Any] | None,
) -> dict[str, Any]:
    """Spotting and recognition of everything, of each subject and of each emotion.

    Args:
      counts: [G] counts of each subject.
      confusions: [G, C, C] int, true positives of each subject; rows: annotated emotion, columns: detected emotion.
      ground_truth: [V, E], the expressions that count.
      names: G subjects.
      classes: C emotions.
      mean_ap: of ``metrics.mean_average_precision``; None: there are no scores to rank by.

    Returns:
      "spotting", "recognition", "per_subject", "per_class" and "confidence", plain values; None for numbers that do not
      exist.
    """
    matrix = confusions.sum(0)
    emotion = np.asarray(ground_truth.emotion)[np.asarray(ground_truth.valid)]
    per_class = []
    for c, name in enumerate(classes):
        found, given = int(matrix[c].sum()), int((emotion == c).sum())
        row = {"class": name, "gt": given, "tp": found, "correct": int(matrix[c, c])}
        row |= {"recall": found / given if given else None, "ap50": None, "map": None}
        if mean_ap:
            ap = mean_ap["coco"]["per_class"][c]
            row |= {"ap50": ap["ap"]["0.50"], "map": ap["map"]}
        per_class.append(row)
    return {
        "spotting": summary(Counts(*(x.sum() for x in counts))),
        "recognition": {
            "accuracy": _share_of_hits(accuracy, matrix),
            "macro_f1": _share_of_hits(macro_f1, matrix),
            "confusion": matrix.tolist(),
        },
        "per_subject": [
            {
                "subject": name,
                **summary(Counts(*(x[g] for x in counts))),
                "accuracy": _share_of_hits(accuracy, confusions[g]),
            }
            for g, name in enumerate(names)
        ],
        "per_class": per_class,
        "confidence": confidence(names, counts, confusions),
    }


def _share_of_hits(share: Callable[[Array], Array], matrix: np.ndarray) -> float | None:
    """A number of a confusion matrix; None without a true positive."""
    return float(share(matrix)) if matrix.any() else None


def confusion(pairs: np.ndarray, detections: Detections, ground_truth: Events, num_classes: int) -> np.ndarray:
    """Confusion matrix of true positives.

    Args:
      pairs: [P, 3] int, of ``protocols.find``.
      detections: [V, N].
      ground_truth: [V, E].
      num_classes: C; 0: emotions are not judged.

    Returns:
      [C, C] int64, rows: annotated emotion, columns: detected emotion.
    """
    if not num_classes:
        return np.zeros((0, 0), np.int64)
    return protocols.recognition(pairs, detections, ground_truth, num_classes)


def spot_then_recognise(
    detections: Detections, ground_truth: Events, num_classes: int, iou_threshold: float
) -> dict[str, float | None]:
    """The spot-then-recognise score and its two factors, under the protocol strs.

    Args:
      detections: [V, N], thresholded.
      ground_truth: [V, E].
      num_classes: C; 0: emotions are not judged.
      iou_threshold: lowest IoU of a match.

    Returns:
      "f1_spot", "f1_analysis", "strs"; None for what needs emotions that are not there, or expressions or detections
      where there are none.
    """
    pairs = protocols.find("strs", detections, ground_truth, iou_threshold)
    matrix = confusion(pairs, detections, ground_truth, num_classes)
    emotion = np.asarray(ground_truth.emotion)[np.asarray(ground_truth.valid)]
    annotated = np.bincount(emotion, minlength=max(num_classes, 1))[:num_classes]
    counts = protocols.counts("strs", pairs, detections, ground_truth)
    values = {name: float(x) for name, x in protocols.strs(counts, matrix, annotated).items()}
    exist = {"f1_spot": counts.n + counts.gt > 0, "f1_analysis": annotated.any(), "strs": annotated.any()}
    return {name: x if exist[name] and (num_classes or name == "f1_spot") else None for name, x in values.items()}


def by_protocol(detections: Detections, ground_truth: Events, iou_threshold: float) -> dict[str, dict[str, Any]]:
    """Spotting under every rule of counting that the field uses, to compare with papers that count otherwise.

    Args:
      detections: [V, N], thresholded.
      ground_truth: [V, E].
      iou_threshold: lowest IoU of a match.

    Returns:
      protocol -> what ``summary`` gives, and "definition".
    """
    result = {}
    for name, rule in protocols.PROTOCOLS.items():
        pairs = protocols.find(name, detections, ground_truth, iou_threshold)
        counted = summary(protocols.counts(name, pairs, detections, ground_truth))
        result[name] = counted | {"definition": rule.definition}
    return result


def evaluate_detections(
    detections: Detections,
    ground_truth: Events,
    subjects: Sequence[str],
    classes: Sequence[str],
    thresholds: Array,
    iou_threshold: float = 0.5,
    num_frames: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Every number of one set of detections, pooled over all folds.

    Spotting and recognition count the detections that reach the threshold of their video; mAP counts all.

    Args:
      detections: [V', N], the survivors of NMS, not thresholded; V' >= V, the rest is padding.
      ground_truth: [V', E], the expressions that count (the others have ``valid`` False).
      subjects: V subject names.
      classes: C emotion names.
      thresholds: [V] float, or one float for all: score threshold of each video, that of its fold.
      iou_threshold: lowest IoU of a match.
      num_frames: V lengths of videos; None: no "segmental".

    Returns:
      "protocol", "iou", "spotting", "recognition", "map", "ties" (see ``ties.examine``), "per_subject", "per_class",
      "confidence", "segmental", "strs", "protocols" (spotting under every rule), "oracle" and "definition", a sentence
      per number. Plain Python values; None for numbers that do not exist. Nothing is rounded.
    """
    check(detections, ground_truth, len(classes))
    names = list(dict.fromkeys(subjects))
    group = np.zeros(len(detections.valid), np.int64)
    group[: len(subjects)] = [names.index(subject) for subject in subjects]
    kept = above(detections, thresholds)
    counts = spotting(kept, ground_truth, iou_threshold, group, len(names))
    confusions = recognition(kept, ground_truth, len(classes), iou_threshold, group, len(names))
    best = threshold_rules.best(threshold_rules.rank(detections, ground_truth, iou_threshold))
    ideal = spotting(above(detections, np.inf if best is None else best), ground_truth, iou_threshold)
    mean_ap = mean_average_precision(detections, ground_truth, len(classes))
    tied = ties.examine(detections, ground_truth, len(classes))
    mean_ap = ties.blank(mean_ap) if tied["missing"] else mean_ap
    found = tables(counts, confusions, ground_truth, names, classes, mean_ap)
    result = {
        "protocol": "megc",
        "iou": float(iou_threshold),
        "spotting": found["spotting"],
        "recognition": found["recognition"],
        "map": mean_ap,
        "ties": tied,
        "per_subject": found["per_subject"],
        "per_class": found["per_class"],
        "confidence": found["confidence"],
        "segmental": num_frames and segmental_scores(kept, ground_truth, num_frames, len(classes)),
        "strs": spot_then_recognise(kept, ground_truth, len(classes), iou_threshold),
        "protocols": by_protocol(kept, ground_truth, iou_threshold),
        "oracle": {"threshold": best, "spotting": summary(ideal)},
        "definition": {name: text.format(iou=iou_threshold) for name, text in DEFINITIONS.items()},
    }
    return plain(result)
