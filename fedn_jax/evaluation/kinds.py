"""Numbers of runs whose classes are kinds of expressions: macro, micro, both; and of their labels per frame."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedn_jax.core import schema
from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import all_metrics, protocols, segmental
from fedn_jax.evaluation.metrics import Counts, f1

DEFINITIONS = {
    "by_kind": "each kind by itself: a detection can match only expressions of its kind; all: their counts, summed",
    "all_neutral": "frame accuracy of an answer that finds nothing",
    "accuracy_eq6": "a / (2 - 2 a) of the frame accuracy a: FESNet's eq. 6 with sets of frames and labels; no upper "
    "bound",
    "edit_over_annotated": "100 (1 - Levenshtein distance / annotated segments), neutral ones count, mean over videos; "
    "may lie far below 0",
    "edit_frames": "100 (1 - Levenshtein distance of the labels of all frames / frames), mean over videos (FESNet's "
    "eq. 9 to 11, read literally)",
    "per_fold": "F1 of the test videos of each fold; mean and standard deviation over the folds where it exists",
}


def scores(
    kept: Detections, events: Events, frames: Sequence[int], folds: Mapping[str, Sequence[int]], iou: float
) -> dict[str, Any]:
    """What an evaluation adds where classes are kinds.

    Args:
      kept: [V', N], thresholded; their emotion is an index into schema.KINDS. V' >= V, the rest is padding.
      events: [V', E], of both kinds.
      frames: V lengths of videos.
      folds: name -> test videos.
      iou: lowest IoU of a match.

    Returns:
      "by_kind" (macro, micro, all: see ``all_metrics.summary``), "per_fold" ("folds": name -> kind -> F1, "mean" and
      "deviation": kind -> over folds), "labels" and "definition"; None for numbers that do not exist.
    """
    group = np.full(len(kept.valid), len(folds), np.int64)
    for number, videos in enumerate(folds.values()):
        group[list(videos)] = number
    kind = np.asarray(kept.emotion)
    counted = protocols.by_kind("megc", kept, kind, events, iou, group, len(folds) + 1)
    shares = {name: _shares(Counts(*(x[:-1] for x in counts))) for name, counts in counted.items()}
    each = {fold: {name: shares[name][number] for name in shares} for number, fold in enumerate(folds)}
    return all_metrics.plain(
        {
            "by_kind": {name: all_metrics.summary(Counts(*(x.sum() for x in one))) for name, one in counted.items()},
            "per_fold": {
                "folds": each,
                "mean": {name: _over(np.mean, values) for name, values in shares.items()},
                "deviation": {name: _over(np.std, values) for name, values in shares.items()},
            },
            "labels": labels(kept, events, frames),
            "definition": dict(DEFINITIONS),
        }
    )


def _shares(counts: Counts) -> list[float | None]:
    """F1 of each fold; None without anything to find or found."""
    exist = (counts.n + counts.gt) > 0
    return [float(value) if some else None for value, some in zip(f1(counts), exist, strict=True)]


def _over(statistic: Any, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistic(known)) if known else None


def labels(kept: Detections, events: Events, frames: Sequence[int]) -> dict[str, float]:
    """Measures of labels per frame in all readings of FESNet's text.

    Args:
      kept: [V', N], thresholded.
      events: [V', E].
      frames: V lengths of videos.

    Returns:
      "accuracy", "all_neutral", "accuracy_eq6" (NaN where every frame is right), "edit", "edit_over_annotated" and
      "edit_frames".
    """
    neutral, found, true = len(schema.KINDS), [], []
    for video, length in enumerate(frames):
        one, other = (_of_video(part, video) for part in (kept, events))
        found.append(segmental.to_labels(one.interval, one.emotion, one.valid, length, neutral, one.score))
        true.append(segmental.to_labels(other.interval, other.kind, other.valid, length, neutral))
    accuracy = segmental.frame_accuracy(found, true)
    return {
        "accuracy": accuracy,
        "all_neutral": segmental.frame_accuracy([np.full_like(one, neutral) for one in true], true),
        "accuracy_eq6": accuracy / (2 - 2 * accuracy) if accuracy < 1 else float("nan"),
        "edit": segmental.edit_score(found, true, neutral),
        "edit_over_annotated": segmental.edit_over_annotated(found, true),
        "edit_frames": segmental.edit_frames(found, true),
    }


def _of_video(part: Any, video: int) -> Any:
    """One video of padded detections or expressions, NumPy."""
    return type(part)(*(np.asarray(column)[video] for column in part))
