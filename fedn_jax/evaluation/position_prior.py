"""The position prior: expressions lie where they lay in the training videos; the picture is not looked at.

Where videos are cut around an expression, as many are, this alone spots most of them, and a network that does not beat
it has learned where videos are cut. It cannot recognise: its emotion is the most frequent one of the training videos.
"""

from collections.abc import Sequence

import numpy as np

from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import flow_baseline


def positions(lengths: Sequence[int], events: Sequence[Events]) -> np.ndarray:
    """Where expressions usually lie: one place for each that a video has on average, and at least one.

    The expressions of all videos, in the order of their middles, are cut into as many equal groups; a place is the
    median onset and the median offset of a group.

    Args:
      lengths: V lengths of videos, frames.
      events: V times [E] expressions, frames.

    Returns:
      [k, 2] float64, onset and offset as shares of a video's length; k is 0 without an expression.
    """
    shares = [
        np.asarray(one.interval, np.float64)[np.asarray(one.valid)] / length
        for one, length in zip(events, lengths, strict=True)
    ]
    found = np.concatenate([np.zeros((0, 2)), *shares])
    if not len(found):
        return found
    ordered = found[np.argsort(found.sum(1), kind="stable")]
    groups = np.array_split(ordered, max(1, round(len(found) / len(lengths))))
    return np.stack([np.median(group, 0) for group in groups])


def run(
    lengths: Sequence[int],
    events: Sequence[Events],
    trains: Sequence[Sequence[int]],
    tests: Sequence[Sequence[int]],
    num_classes: int,
) -> list[Detections]:
    """Cross-validation: the positions of each fold come from its training videos.

    Args:
      lengths: V lengths of videos, frames.
      events: V times [E] expressions, frames.
      trains: K lists of training videos.
      tests: K lists of test videos; no video is in two.
      num_classes: C.

    Returns:
      V times [k] detections, frames, all of score 1. A video outside all test lists has none.

    Raises:
      ValueError: a fold tests a video that it trains on, or the lists differ in length.
    """
    flow_baseline.check_folds(trains, tests)
    found = [_detections(np.zeros((0, 2)), 0) for _ in lengths]
    for train, test in zip(trains, tests, strict=True):
        usual = flow_baseline.usual_emotion([events[video] for video in train], num_classes)
        places = positions([lengths[video] for video in train], [events[video] for video in train])
        for video in test:
            found[video] = _detections(places * lengths[video], usual)
    return found


def _detections(interval: np.ndarray, emotion: int) -> Detections:
    count = len(interval)
    columns = (np.ones(count, np.float32), np.full(count, emotion, np.int32), np.ones(count, bool))
    return Detections(interval.astype(np.float32), *columns)
