"""The motion baseline: expressions are where the face moves most; nothing is learned.

A network that does not beat it has learned nothing about expressions. Its settings and its score threshold are tuned
on the training videos of each fold. It cannot recognise: its emotion is the most frequent one of the training videos.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedn_jax.core import errors
from fedn_jax.core.types import Array, Detections, Events
from fedn_jax.evaluation import matching, metrics, threshold_rules

MIN_SECONDS = 0.5  # shortest detection: macro-expressions last longer than this (MEGC 2019)


class Setting(NamedTuple):
    """What is tuned beside the threshold."""

    smoothing: float  # seconds, width of the moving average
    fraction: float  # an interval lasts while the signal exceeds this share of its peak


DEFAULT = Setting(0.5, 0.5)
# An expression moves at its onset and its offset, and rests at its apex: the wide averages join the two.
GRID = tuple(Setting(*values) for values in itertools.product((0.25, 0.5, 1.0, 2.0), (0.3, 0.5, 0.7)))


def normalise(motion: Array, valid: Array, width: int) -> np.ndarray:
    """Motion as a smooth signal in robust standard deviations above the video's median.

    Args:
      motion: [R] float, mean absolute difference of consecutive aligned faces, grey levels.
      valid: [R] bool, False where there is no face; such rows are interpolated.
      width: rows that the moving average spans.

    Returns:
      [R] float64; zeros if nothing moves or no row is valid.
    """
    rows, good = np.arange(len(motion)), np.flatnonzero(valid)
    if not good.size:
        return np.zeros(len(motion))
    signal = np.interp(rows, good, np.asarray(motion, np.float64)[good])
    kernel = np.ones(int(np.clip(width, 1, len(signal))))
    signal = np.convolve(signal, kernel, "same") / np.convolve(np.ones_like(signal), kernel, "same")
    signal -= np.median(signal)
    spread = 1.4826 * np.median(abs(signal))  # the standard deviation, were the motion Gaussian
    spread = spread if spread > 1e-9 else signal.std()
    return signal / spread if spread > 1e-9 else np.zeros(len(motion))


def detect(motion: Array, valid: Array, fps: float, setting: Setting = DEFAULT) -> Detections:
    """Candidates of one video: the surroundings of each peak of the motion, best first.

    A peak inside the interval of a higher one belongs to it. Nothing is thresholded.

    Args:
      motion: [R] float, mean absolute difference of consecutive aligned faces, grey levels.
      valid: [R] bool, False where there is no face.
      fps: rows per second.
      setting: smoothing and fraction.

    Returns:
      [N] detections, N as many as there are: interval in rows, score the height of the peak in robust standard
      deviations, emotion 0, all valid.
    """
    from scipy.signal import find_peaks

    errors.shape("valid", valid, np.shape(motion))
    signal = normalise(motion, valid, round(setting.smoothing * fps))
    walled = np.pad(signal, 1, constant_values=signal.min(initial=0) - 1)  # so that a peak may lie at an end
    peaks = find_peaks(walled)[0] - 1
    peaks = peaks[signal[peaks] > 0]
    found: list[tuple[float, float]] = []
    scores: list[float] = []
    for peak in peaks[np.argsort(-signal[peaks], kind="stable")]:
        if any(onset <= peak < offset for onset, offset in found):
            continue
        low = np.flatnonzero(signal < setting.fraction * signal[peak])
        after = np.searchsorted(low, peak)
        onset = low[after - 1] + 1 if after else 0
        offset = low[after] if after < len(low) else len(signal)
        missing = max(MIN_SECONDS * fps - (offset - onset), 0)
        found.append((max(onset - missing / 2, 0), min(offset + missing / 2, len(signal))))
        scores.append(signal[peak])
    count = len(found)
    interval = np.array(found, np.float32).reshape(count, 2)
    return Detections(interval, np.array(scores, np.float32), np.zeros(count, np.int32), np.ones(count, bool))


def run(
    motions: Sequence[Array],
    valids: Sequence[Array],
    fps: Sequence[float],
    events: Sequence[Events],
    trains: Sequence[Sequence[int]],
    tests: Sequence[Sequence[int]],
    num_classes: int,
    frames_per_row: int = 1,
    iou_threshold: float = 0.5,
) -> tuple[list[Detections], np.ndarray]:
    """Cross-validation: each fold tunes on its training videos and detects in its test videos.

    Args:
      motions: V times [R] float, grey levels.
      valids: V times [R] bool.
      fps: V numbers, rows per second.
      events: V times [E] expressions, frames.
      trains: K lists of training videos.
      tests: K lists of test videos; no video is in two.
      num_classes: C.
      frames_per_row: frames that one row stands for.
      iou_threshold: lowest IoU of a match.

    Returns:
      (V detections, frames, not thresholded; [V] float64 score threshold of each video's fold). A threshold of 0, which
      every detection exceeds, says that the training videos gave nothing to tune by. A video outside all test lists has
      no detections.

    Raises:
      ValueError: a fold tests a video that it trains on, or the lists differ in length.
    """
    if not len(motions) == len(valids) == len(fps) == len(events):
        raise ValueError(f"needs one entry per video; got {len(motions)}, {len(valids)}, {len(fps)}, {len(events)}")
    check_folds(trains, tests)
    candidates = [[detect(*video, setting) for video in zip(motions, valids, fps, strict=True)] for setting in GRID]
    candidates = [[found._replace(interval=found.interval * frames_per_row) for found in row] for row in candidates]
    videos = len(motions)
    every = matching.pad([found for row in candidates for found in row])  # together, so that all have one size
    padded = [Detections(*(x[i * videos : (i + 1) * videos] for x in every)) for i in range(len(GRID))]
    truth = matching.pad(list(events))
    truth = Events(*(x[:videos] for x in truth))
    found = [Detections(*(column[:0] for column in detections)) for detections in candidates[0]]
    thresholds = np.zeros(videos)
    for train, test in zip(trains, tests, strict=True):
        best, threshold = _tune(padded, truth, train, iou_threshold)
        usual = usual_emotion([events[video] for video in train], num_classes)
        for video in test:
            detections = candidates[best][video]
            found[video] = detections._replace(emotion=np.full_like(detections.emotion, usual))
            thresholds[video] = threshold
    return found, thresholds


def usual_emotion(events: Sequence[Events], num_classes: int) -> int:
    """The most frequent emotion: all that a method says that looks at no emotion.

    Args:
      events: of the training videos, [E] each.
      num_classes: C.

    Returns:
      Its index; of equally frequent ones, and without any, the first.
    """
    emotion = np.concatenate([np.zeros(0, np.int64), *(one.emotion[one.valid] for one in events)])
    return int(np.bincount(emotion.astype(np.int64), minlength=num_classes).argmax())


def check_folds(trains: Sequence[Sequence[int]], tests: Sequence[Sequence[int]]) -> None:
    """Refuses leaks.

    Args:
      trains: K lists of training videos.
      tests: K lists of test videos.

    Raises:
      ValueError: a fold tests a video that it trains on, or the lists differ in length.
    """
    for train, test in zip(trains, tests, strict=True):
        if both := set(train) & set(test):
            raise ValueError(f"a fold must not test what it trains on; got videos {sorted(both)}")


def _tune(
    candidates: Sequence[Detections], truth: Events, train: Sequence[int], iou_threshold: float
) -> tuple[int, float]:
    """(index of the setting, threshold) of highest pooled F1 on the training videos; of equals the first setting.

    ``DEFAULT`` and 0 where no setting finds an expression.
    """
    mask = np.zeros((len(truth.valid), 1), bool)
    mask[list(train)] = True
    truth = truth._replace(valid=truth.valid & mask)
    results = []
    for detections in candidates:
        detections = detections._replace(valid=detections.valid & mask)
        threshold = threshold_rules.best(threshold_rules.rank(detections, truth, iou_threshold)) or 0.0
        counts = metrics.spotting(matching.above(detections, threshold), truth, iou_threshold)
        results.append((metrics.f1(counts), threshold))
    best = max(range(len(results)), key=lambda i: results[i][0])
    return (best, results[best][1]) if results[best][0] else (GRID.index(DEFAULT), 0.0)
