"""The flow baseline: expressions are where regions of the face leave their rest; nothing is learned.

It stands for the training-free spotters of the field, which measure optical flow in regions around landmarks, take the
nose as the reference, filter, and make intervals of peaks (such as He, ACM Multimedia 2021). Its settings and its score
threshold are tuned on the training videos of each fold. It cannot recognise: its emotion is the most frequent one of
the training videos.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedn_jax.core import errors
from fedn_jax.core.types import Array, Detections, Events
from fedn_jax.evaluation import matching, metrics, threshold_rules

MIN_SECONDS = 0.5  # shortest detection: macro-expressions last longer than this (MEGC 2019)
TREMOR = 0.02  # pixels that a still face moves after the registration (docs/benchmarks.md)
REST_RATE = 4  # samples per second of a region's rest, which moves slowly


class Setting(NamedTuple):
    """What is tuned beside the threshold."""

    rest: float  # seconds, width of the moving median that is a region's rest
    smoothing: float  # seconds, width of the moving average
    fraction: float  # an interval lasts while the signal exceeds this share of its peak


DEFAULT = Setting(8.0, 0.5, 0.35)
GRID = tuple(Setting(*values) for values in itertools.product((4.0, 8.0, 16.0), (0.25, 0.5, 1.0), (0.2, 0.35, 0.5)))


def strength(flow: Array, valid: Array, fps: float, rest: float, smoothing: float) -> np.ndarray:
    """How far the face is from its rest, as a smooth signal.

    The distance of each region from its own rest is counted in its own usual distances, so that lips, which move all
    the time, do not outweigh brows; their mean over regions in robust standard deviations above the video's median.

    Args:
      flow: [R, J, 2] float, displacement of J regions against the nose, pixels.
      valid: [R] bool, False where there is no face; such rows are interpolated.
      fps: rows per second.
      rest: see ``Setting``.
      smoothing: see ``Setting``.

    Returns:
      [R] float64; zeros if nothing moves or no row is valid.
    """
    from scipy import ndimage

    rows, good = np.arange(len(flow)), np.flatnonzero(valid)
    if not good.size:
        return np.zeros(len(flow))
    columns = np.asarray(flow, np.float64).reshape(len(flow), -1)[good]
    moved = np.stack([np.interp(rows, good, column) for column in columns.T], 1)  # [R, 2 J]
    moved = ndimage.uniform_filter1d(moved, max(round(smoothing * fps), 1), axis=0, mode="nearest")
    some = rows[:: max(round(fps / REST_RATE), 1)]
    width = min(round(rest * REST_RATE), len(some)) | 1
    still = ndimage.median_filter(moved[some], (width, 1), mode="nearest")
    moved -= np.stack([np.interp(rows, some, column) for column in still.T], 1)
    away = np.linalg.norm(moved.reshape(len(flow), -1, 2), axis=2)  # [R, J]
    signal = (away / (np.median(away, 0) + TREMOR)).mean(1)
    signal -= np.median(signal)
    spread = 1.4826 * np.median(abs(signal))  # the standard deviation, were the signal Gaussian
    spread = spread if spread > 1e-9 else signal.std()
    return signal / spread if spread > 1e-9 else np.zeros(len(flow))


def detect(signal: Array, fps: float, fraction: float) -> Detections:
    """Candidates of one video: the surroundings of each peak of the signal, best first.

    A peak inside the interval of a higher one belongs to it. Nothing is thresholded.

    Args:
      signal: [R] float, of ``strength``.
      fps: rows per second.
      fraction: see ``Setting``.

    Returns:
      [N] detections, N as many as there are: interval in rows, score the height of the peak, emotion 0, all valid.
    """
    from scipy.signal import find_peaks

    walled = np.pad(signal, 1, constant_values=signal.min(initial=0) - 1)  # so that a peak may lie at an end
    peaks = find_peaks(walled)[0] - 1
    peaks = peaks[signal[peaks] > 0]
    found: list[tuple[float, float]] = []
    scores: list[float] = []
    for peak in peaks[np.argsort(-signal[peaks], kind="stable")]:
        if any(onset <= peak < offset for onset, offset in found):
            continue
        low = np.flatnonzero(signal < fraction * signal[peak])
        after = np.searchsorted(low, peak)
        onset = low[after - 1] + 1 if after else 0
        offset = low[after] if after < len(low) else len(signal)
        missing = max(MIN_SECONDS * fps - (offset - onset), 0)
        found.append((max(onset - missing / 2, 0), min(offset + missing / 2, len(signal))))
        scores.append(signal[peak])
    count = len(found)
    interval = np.array(found, np.float32).reshape(count, 2)
    return Detections(interval, np.array(scores, np.float32), np.zeros(count, np.int32), np.ones(count, bool))


def detect_at_all(flow: Array, valid: Array, fps: float) -> list[Detections]:
    """Candidates of one video at every setting.

    Args:
      flow: [R, J, 2] float, pixels.
      valid: [R] bool, False where there is no face.
      fps: rows per second.

    Returns:
      One entry per setting of ``GRID``, see ``detect``.
    """
    errors.shape("valid", valid, np.shape(flow)[:1])
    strengths = {(rest, smoothing): strength(flow, valid, fps, rest, smoothing) for rest, smoothing, _ in GRID}
    return [detect(strengths[rest, smoothing], fps, fraction) for rest, smoothing, fraction in GRID]


def run(
    flows: Sequence[Array],
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
      flows: V times [R, J, 2] float, displacement of J regions against the nose, pixels.
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
    if not len(flows) == len(valids) == len(fps) == len(events):
        raise ValueError(f"needs one entry per video; got {len(flows)}, {len(valids)}, {len(fps)}, {len(events)}")
    check_folds(trains, tests)
    each = [detect_at_all(*video) for video in zip(flows, valids, fps, strict=True)]
    by_setting = [
        [found._replace(interval=found.interval * frames_per_row) for found in row] for row in zip(*each, strict=True)
    ]
    videos = len(flows)
    every = matching.pad([found for row in by_setting for found in row])  # together, so that all have one size
    padded = [Detections(*(x[i * videos : (i + 1) * videos] for x in every)) for i in range(len(GRID))]
    truth = matching.pad(list(events))
    truth = Events(*(x[:videos] for x in truth))
    found = [Detections(*(column[:0] for column in detections)) for detections in by_setting[0]]
    thresholds = np.zeros(videos)
    for train, test in zip(trains, tests, strict=True):
        best, threshold = _tune(padded, truth, train, iou_threshold)
        usual = usual_emotion([events[video] for video in train], num_classes)
        for video in test:
            detections = by_setting[best][video]
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
