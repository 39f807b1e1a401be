"""Every number of an evaluation of CSV files.

The numbers of a run (``run_evaluation``) rest on one rule of counting. Here the rule is a choice, since predictions of
other methods come with the rule of their paper; each number carries its definition.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedn_jax.core import errors, schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import all_metrics, matching, metrics, protocols, ties
from fedn_jax.formats.cells import shown_video
from fedn_jax.formats.predictions import Paired

KINDS = ("all", *schema.KINDS)
NO_SCORES = "average precision ranks detections by their score; the predictions have no column score"
DEFINITIONS = {  # beside those of all_metrics.DEFINITIONS that hold here, too
    "tp": "true positives under the protocol, of the detections that count",
    "n": "detections that count: of the chosen kind and of at least the threshold; under strs TP + false positives",
    "gt": "annotated expressions of the chosen kind",
    "f1": "2 TP / (N + GT), with TP, N and GT summed over all videos",
    "threshold": "score from which a detection counts, given by the user; null: all count",
    "kind": "macro, micro or all: the expressions that count, and the detections if they say their kind",
    "by_kind": "each kind by itself: a detection can match only expressions of its kind; all: their counts, summed",
    "accuracy": "share of the true positives whose emotion is right",
    "map": "mean over the IoU thresholds .50:.05:.95 of the average precision of all detections, un-thresholded, "
    "pooled over all videos; one-to-one matching by falling score, whatever the protocol",
}
SHARED = ("precision", "recall", "macro_f1", "confusion", "map.spotting", "map.detection", "coco", "all_point",
          "per_class.tp", "per_class.correct", "per_class.ap50", "per_class.map",
          "strs.f1_spot", "strs.f1_analysis", "strs", "confidence", "ties")  # fmt: skip


def score(
    scored: Paired,
    protocol: str = "megc",
    iou: float = 0.5,
    threshold: float | None = None,
    kind: str = "all",
    fps: float | Mapping[tuple[str, str], float] | None = None,
) -> dict[str, Any]:
    """Every number of one evaluation.

    Args:
      scored: of ``predictions.join``.
      protocol: rule of counting, a name in ``protocols.PROTOCOLS``.
      iou: lowest IoU of a match, above 0 and at most 1.
      threshold: score from which a detection counts; None: all count. Average precision always takes all.
      kind: "macro", "micro" or "all". Detections of a method that does not name kinds all count.
      fps: frames per second, of all videos or of each (subject, video): where a file names no kinds, expressions of at
        most 0.5 s are micro; None: they stay unknown.

    Returns:
      "protocol", "definition" (a sentence per number), "iou", "kind", "threshold", "notes", "spotting", "by_kind" (None
      unless all kinds are known), "recognition", "map" (None without scores to rank by, and why in "map_missing"),
      "ties" (see ``ties.examine``; None without scores), "strs", "per_subject", "per_class" and "confidence". Plain
      values; None for numbers that do not exist. Nothing is rounded.

    Raises:
      UserError: an unknown protocol or kind, a bound or threshold that is no use, kinds or fps that are not known.
    """
    errors.one_of("kind", kind, KINDS)
    if threshold is not None and not (scored.has_score and np.isfinite(threshold)):
        raise UserError(f"threshold must be a finite number, and needs predictions with scores; got {threshold}")
    notes, classes = list(scored.notes), scored.classes
    found, true, det_kind = _padded(scored, fps, notes)
    known = [bool((each >= 0)[group.valid].all()) for each, group in ((det_kind, found), (true.kind, true))]
    kept, by_kind = found if threshold is None else matching.above(found, threshold), None
    if all(known):
        each = protocols.by_kind(protocol, kept, det_kind, true, iou)
        by_kind = {name: all_metrics.summary(counts) for name, counts in each.items()}
    if kind != "all":
        if not known[1]:
            raise UserError(f"kind {kind} needs ground truth of known kinds; add a column kind, or give the fps")
        index = schema.KINDS.index(kind)
        true = true._replace(valid=true.valid & (true.kind == index))
        of_kind = (det_kind == index) | (det_kind < 0)
        found, kept = (group._replace(valid=group.valid & of_kind) for group in (found, kept))
        notes += [] if known[0] else [f"the predictions name no kinds: all of them count as {kind}"]
    names = list(dict.fromkeys(scored.subjects))
    group = np.zeros(len(found.valid), np.int64)
    group[: len(scored.subjects)] = [names.index(subject) for subject in scored.subjects]
    pairs = protocols.find(protocol, kept, true, iou)
    counts = protocols.counts(protocol, pairs, kept, true, group, len(names))
    confusions = np.stack(
        [all_metrics.confusion(pairs[group[pairs[:, 0]] == g], kept, true, len(classes)) for g in range(len(names))]
    )
    mean_ap, tied = None, ties.examine(found, true, len(classes)) if scored.has_score else None
    if tied and not tied["missing"]:
        mean_ap = metrics.mean_average_precision(found, true, max(len(classes), 1))
    tables = all_metrics.tables(counts, confusions, true, names, classes, mean_ap)
    if not classes:
        tables["recognition"] = dict.fromkeys(tables["recognition"])
        tables["per_subject"] = [row | {"accuracy": None} for row in tables["per_subject"]]
    result = {
        "protocol": protocol,
        "definition": _definition(protocol, iou),
        "iou": float(iou),
        "kind": kind,
        "threshold": None if threshold is None else float(threshold),
        "notes": notes,
        "spotting": tables["spotting"],
        "by_kind": by_kind,
        "recognition": tables["recognition"] | {"classes": list(classes)},
        "map": mean_ap and {name: _average(part, bool(classes)) for name, part in mean_ap.items()},
        "map_missing": tied["missing"] if tied else NO_SCORES,
        "ties": tied,
        "strs": all_metrics.spot_then_recognise(kept, true, len(classes), iou),
        "per_subject": tables["per_subject"],
        "per_class": tables["per_class"],
        "confidence": tables["confidence"],
    }
    return all_metrics.plain(result)


def _padded(scored: Paired, fps: Any, notes: list[str]) -> tuple[Detections, Events, np.ndarray]:
    """(detections [V', N], expressions [V', E], kinds of the detections [V', N]); what is not known is -1."""
    found, true = matching.pad(scored.detections), matching.pad(scored.events)
    det_kind = np.full(found.valid.shape, -1)
    for row, kinds in enumerate(scored.det_kind):
        det_kind[row, : len(kinds)] = kinds
    if fps is None:
        return found, true, det_kind
    rates, problems = np.ones(len(found.valid)), []
    for row, video in enumerate(zip(scored.subjects, scored.videos, strict=True)):
        rate = fps.get(video, 0) if isinstance(fps, Mapping) else fps
        rates[row] = rate
        if not 0 < rate < np.inf:
            problems.append(f"video {shown_video(*video)}: expected frames per second above 0; got {rate or 'none'}")
    errors.report("fps", problems)
    for name, kind, group in (("predictions", det_kind, found), ("ground truth", true.kind, true)):
        if (kind < 0)[group.valid].any():
            notes.append(f"the {name} name no kinds: what lasts at most {schema.MICRO_SECONDS} s counts as micro")
    det_kind = np.where(det_kind < 0, protocols.kinds(found, rates), det_kind)
    return found, true._replace(kind=np.where(true.kind < 0, protocols.kinds(true, rates), true.kind)), det_kind


def _average(part: dict[str, Any], named: bool) -> dict[str, Any]:
    """Average precision without that of each emotion, which stands with the emotion; detection needs emotions."""
    rows = {"": part, **part["ap"]}
    rows = {
        key: {"spotting": row["spotting"], "detection": row["detection"] if named else None}
        for key, row in rows.items()
    }
    return rows.pop("") | {"ap": rows}


def _definition(protocol: str, iou: float) -> dict[str, str]:
    rule = protocols.PROTOCOLS[protocol].definition
    shared = {name: all_metrics.DEFINITIONS[name] for name in SHARED}
    return {"protocol": f"{rule} Here k = {iou:g}."} | DEFINITIONS | shared
