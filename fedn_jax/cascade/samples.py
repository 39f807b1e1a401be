"""A recogniser's problem: annotated intervals to learn from, spotted ones to name, and the folds of the spotter."""

from collections.abc import Sequence

import numpy as np

from fedn_jax.cascade.recognisers import RECOGNISERS, make_task
from fedn_jax.cascade.samplers import Spotter
from fedn_jax.core.types import Config, Detections, Events, Folds, Store, VideoMeta, Windows
from fedn_jax.data import splits
from fedn_jax.data.problem import Problem
from fedn_jax.models.recognition import GEOMETRY


def make_problem(name: str, config: Config, spotter: Spotter, named: Problem, found: Sequence[Detections]) -> Problem:
    """What a recogniser learns and names, as the trainer and the predictor see any problem.

    A sample is a row of the store. Samples of annotated intervals are the training windows; the test "video" of a fold
    is the list of what was spotted in that video, so that its outputs are one row per spotted interval. Each list is
    padded to the most that may be spotted, so that behind every spotter of the same data one program is compiled.

    Args:
      name: entry of ``RECOGNISERS``.
      config: of the recogniser's training.
      spotter: the run that spotted.
      named: the data with their emotions.
      found: V, what was spotted, not thresholded.

    Returns:
      The problem.
    """
    metas, recogniser = named.metas, RECOGNISERS[name]
    tests = _tests(named.folds)
    samples, taught, spotted = [], [], {}  # rows of the store; (row, video, event, fold); video -> its rows

    def add(inputs: np.ndarray) -> list[int]:
        first = sum(map(len, samples))
        samples.append(inputs.astype(np.float16))
        return list(range(first, first + len(inputs)))

    for fold in tests if recogniser.of_fold else [""]:
        sampler = recogniser.sampler(spotter, fold)
        tested = tests[fold] if fold else range(len(metas))
        for video in [video for video in range(len(metas)) if not fold or video not in tested]:
            annotated = named.events[video]
            interval = whole_frames(annotated.interval, metas[video])
            seen = np.flatnonzero(_seen(spotter, video, interval) & (np.asarray(annotated.emotion) >= 0))
            if len(seen):
                rows = add(sampler(video, interval[seen], np.asarray(annotated.apex)[seen].astype(int)))
                taught += [(row, video, _event(annotated, index), fold) for row, index in zip(rows, seen, strict=True)]
        for video in tested:
            interval = whole_frames(found[video].interval[found[video].valid], metas[video])
            # Of a video in which nothing was spotted one sample is named, and not used: outputs have at least a row.
            interval = interval if len(interval) else np.array([[0, 1]])
            shown = sampler(video, interval, np.full(len(interval), -1))
            spotted[video] = add(shown)
            add(np.zeros((max(0, len(found[video].valid) - len(shown)), *shown.shape[1:])))
    store = Store(np.concatenate(samples), np.ones(sum(map(len, samples)), bool))
    plan = _windows(taught)
    scheme = splits.SCHEMES[config.folds.scheme]
    folds = _own(scheme(metas, plan, 0.0, config.folds.k), [fold for *_, fold in taught])
    lists = [
        meta._replace(row=spotted[video][0], num_rows=len(spotted[video]), num_frames=len(spotted[video]))
        for video, meta in enumerate(metas)
    ]
    task = make_task(name, config, len(named.classes), store.inputs.shape[1:])
    return Problem(store, lists, named.events, named.classes, named.label, GEOMETRY, plan, folds, task)


def whole_frames(interval: np.ndarray, meta: VideoMeta) -> np.ndarray:
    """Intervals in whole frames of their video, each at least one long.

    Args:
      interval: [N, 2] float, half-open [onset, offset).
      meta: the video.

    Returns:
      [N, 2] int.
    """
    onset, offset = np.floor(np.asarray(interval, float).reshape(-1, 2) + 0.5).astype(int).T
    onset = onset.clip(0, meta.num_frames - 1)
    return np.stack([onset, offset.clip(onset + 1, meta.num_frames)], -1)


def _tests(folds: Folds) -> dict[str, tuple[int, ...]]:
    """Name of each outer fold -> its test videos."""
    return {name: test for name, test in zip(folds.name, folds.test, strict=True) if not name.endswith(splits.INNER)}


def _seen(spotter: Spotter, video: int, interval: np.ndarray) -> np.ndarray:
    """[N] bool: intervals that show a face; others teach nothing."""
    meta, per_row = spotter.metas[video], spotter.geometry.frames_per_row
    valid = spotter.store.valid[meta.row : meta.row + meta.num_rows]
    return np.array([valid[a // per_row : -(-b // per_row)].any() for a, b in interval], bool)


def _event(events: Events, index: int) -> Events:
    """One expression, [1]."""
    return Events(*(np.asarray(column)[index : index + 1] for column in events))


def _windows(taught: Sequence[tuple]) -> Windows:
    """Each sample that teaches as a window of one row."""
    rows, videos, events, _ = zip(*taught, strict=True)
    ones = np.ones(len(rows), np.int32)
    stacked = Events(*(np.stack(column) for column in zip(*events, strict=True)))
    return Windows(np.array(rows, np.int32), ones, 0 * ones, ones, np.array(videos, np.int32), stacked)


def _own(folds: Folds, owners: Sequence[str]) -> Folds:
    """Folds that learn from samples made for them, and from those that were made for all ("")."""
    owners = np.array(owners)
    allowed = [np.isin(owners, ["", name]) for name in folds.name]
    lists = [row[(row >= 0) & own[row]] for row, own in zip(folds.positive, allowed, strict=True)]
    return folds._replace(positive=splits.padded(lists))
