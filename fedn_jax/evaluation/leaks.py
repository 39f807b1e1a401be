"""What choices on test labels, and lenient counting, are worth: the same detections, judged as published code does.

None of it is a result. Each entry stands beside the spotting F1 of a run, so that a paper's number can be read: how
much of it may come from what was chosen or left out, not from the network.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core.types import Array, Detections, Events
from fedn_jax.evaluation import all_metrics, matching, threshold_rules
from fedn_jax.evaluation.metrics import Counts, f1, spotting

_STEPS = sorted(range(-12, 13), key=abs)  # of two equally good ones the first is taken, which changes less
FACTORS = tuple(2 ** (step / 12) for step in _STEPS)


class Leak(NamedTuple):
    """A practice."""

    title: str
    definition: str
    source: str  # whose published code does it; "" where none is known


LEAKS = {
    "threshold": Leak(
        "One threshold, on test labels",
        "the one score threshold of all folds that gives the best F1 on the test labels (the oracle F1)",
        "LGSNet, which also chooses the epoch so",
    ),
    "subject_threshold": Leak(
        "One per subject, on test labels",
        "for each test subject the score threshold that gives the best F1 on its own labels",
        "AUW-GCN chooses the epoch of each subject so",
    ),
    "annotated_videos": Leak(
        "Annotated videos only",
        "videos without an expression are left out, and with them their false detections",
        "SoftNet, MEAN, MTSN, SFAMNet",
    ),
    "second_hits": Leak(
        "Second hits count again",
        "every pair of a detection and an expression that reach the IoU is a true positive (protocol pairs), so F1 may "
        "exceed 100 %",
        "MEGC 2020 baseline, AUW-GCN",
    ),
    "length": Leak(
        "Lengths scaled, on test labels",
        "all detections are stretched around their middle by the one factor from 0.5 to 2, in steps of 6 %, that gives "
        "the best F1 on the test labels",
        "",
    ),
}


def measure(
    result: Mapping[str, Any],
    detections: Detections,
    ground_truth: Events,
    subjects: Sequence[str],
    thresholds: Array,
) -> dict[str, dict[str, Any]]:
    """Spotting under each practice, everything else as in the evaluation.

    Args:
      result: of ``all_metrics.evaluate_detections`` for what follows.
      detections: [V', N], the survivors of NMS, not thresholded.
      ground_truth: [V', E], the expressions that count.
      subjects: V subject names.
      thresholds: [V] float, or one float for all: score threshold of each video.

    Returns:
      An entry for each of ``LEAKS``: what ``all_metrics.summary`` gives, "gain" (its F1 less that of the evaluation;
      None where one does not exist), "definition", "source", and what was chosen: "threshold", "thresholds" (subject ->
      threshold; None: nothing of it counts, since nothing finds an expression), "videos" or "factor".
    """
    iou = result["iou"]
    kept = matching.above(detections, thresholds)
    annotated = np.asarray(ground_truth.valid).any(1)
    named = kept._replace(valid=np.asarray(kept.valid) & annotated[:, None])
    limits, by_subject = _of_each_subject(detections, ground_truth, subjects, iou)
    factor, scaled = _best_length(kept, ground_truth, iou)
    found = {
        "threshold": result["oracle"]["spotting"] | {"threshold": result["oracle"]["threshold"]},
        "subject_threshold": all_metrics.summary(by_subject) | {"thresholds": limits},
        "annotated_videos": all_metrics.summary(spotting(named, ground_truth, iou)) | {"videos": int(annotated.sum())},
        "second_hits": {name: x for name, x in result["protocols"]["pairs"].items() if name != "definition"},
        "length": all_metrics.summary(scaled) | {"factor": factor},
    }
    clean = result["spotting"]["f1"]
    for name, row in found.items():
        row["gain"] = None if clean is None or row["f1"] is None else row["f1"] - clean
        row["definition"], row["source"] = LEAKS[name].definition, LEAKS[name].source
    return found


def _of_each_subject(
    detections: Detections, ground_truth: Events, subjects: Sequence[str], iou: float
) -> tuple[dict[str, float | None], Counts]:
    """Each subject's threshold of highest F1 on its own labels, of equals the highest; and the counts of all."""
    ranked = threshold_rules.rank(detections, ground_truth, iou)
    names = list(dict.fromkeys(subjects))
    group = np.full(len(detections.valid), -1)
    group[: len(subjects)] = [names.index(subject) for subject in subjects]
    own = group[threshold_rules.used(detections, ground_truth)] == np.arange(len(names))[:, None]  # [G, V]
    counts = threshold_rules.count(ranked, own)  # [G, K]
    none = np.zeros((len(names), 1), np.int64)  # above all scores nothing counts
    counts = Counts(*(np.hstack([none, x]) for x in counts[:2]), (own @ ranked.expressions)[:, None])
    best = f1(counts).argmax(1)
    limits = np.append(np.nan, threshold_rules.cuts(ranked))[best]
    tp, n = (int(x[np.arange(len(names)), best].sum()) for x in counts[:2])
    chosen = {name: None if np.isnan(x) else float(x) for name, x in zip(names, limits, strict=True)}
    return chosen, Counts(tp, n, int(counts.gt.sum()))


def _best_length(kept: Detections, ground_truth: Events, iou: float) -> tuple[float, Counts]:
    """The factor of highest F1, of equals the nearest to 1; and the counts that it gives."""
    interval = matching.exact(kept.interval)
    middle, half = interval.mean(-1, keepdims=True), (interval[..., 1:] - interval[..., :1]) / 2
    sides = half * np.array([-1.0, 1.0])
    counts = [spotting(kept._replace(interval=middle + factor * sides), ground_truth, iou) for factor in FACTORS]
    best = int(np.argmax([f1(one) for one in counts]))
    return FACTORS[best], counts[best]
