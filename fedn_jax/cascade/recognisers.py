"""The recognisers, and what each is shown of an interval."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from fedn_jax import models
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Config, Store, Task, Tree, VideoMeta, Windows
from fedn_jax.data import shards
from fedn_jax.data.problem import Problem
from fedn_jax.engine import parameters
from fedn_jax.engine.trainer import shape_of_variables
from fedn_jax.models import recognition, strnet
from fedn_jax.models.ceflnet import PLACES, CeflNet
from fedn_jax.ops import apex, windows

# (video, [N, 2] int frames [onset, offset), [N] int apex or -1) -> [N, ...] samples
Sampler = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
Flow = Callable[[np.ndarray], np.ndarray]  # [N, 2] int, rows of the data's frames -> [N, 42, 42, 3]


class Spotter(NamedTuple):
    """A trained run, and what it read."""

    run: Path
    config: Config
    dataset: shards.Dataset  # with its inputs, as they are in the shards
    problem: Problem  # as it was trained on
    flow: Flow | None = None  # optical flow between frames


class Recogniser(NamedTuple):
    """Something that names the emotion of an interval."""

    sampler: Callable[[Spotter, str], Sampler]  # what is shown of an interval, given the name of a fold
    of_fold: bool  # what is shown is different for every fold
    network: Callable[[int], nn.Module]  # number of classes -> (samples [B, ...], train, counted) -> logits [B, C]
    training: dict[str, Any]  # options of the section train
    penalty: Callable[[Tree], Array] = recognition.no_penalty  # parameters -> what is added to the loss
    frames: bool = False  # needs the aligned frames


# ---- What is shown --------------------------------------------------------------------------------------------------


def spread(valid: np.ndarray, interval: np.ndarray, places: int = PLACES) -> np.ndarray:
    """Frames at places that are spread evenly over intervals; one without a face is replaced by its nearest with one.

    Args:
      valid: [T] bool, False without a face.
      interval: [N, 2] int, [onset, offset), at least one frame long, inside the video.
      places: P of an interval.

    Returns:
      [N, P] int, onset + floor(p L / P) where L is the length: short intervals repeat frames, long ones skip some.

    >>> spread(np.ones(9, bool), np.array([[2, 4]]), 5).tolist()
    [[2, 2, 2, 3, 3]]
    """
    onset, length = interval[:, :1], interval[:, 1:] - interval[:, :1]
    frames = onset + np.arange(places) * length // places
    for row, (first, end) in zip(frames, interval, strict=True):
        seen = np.flatnonzero(valid[first:end]) + first
        if len(seen) and len(seen) < end - first:
            row[:] = seen[np.abs(row[:, None] - seen).argmin(1)]
    return frames


def embeddings(spotter: Spotter, fold: str) -> Sampler:
    """The embeddings of 75 frames from onset to offset, as the shards hold them (open: how they are spread).

    Args:
      spotter: the run that spotted.
      fold: unused.

    Returns:
      (video, intervals [N, 2]) -> [N, 75, D] float16.
    """
    del fold
    dataset, per_row = spotter.dataset, spotter.problem.geometry.frames_per_row

    def sample(video: int, interval: np.ndarray, apex: np.ndarray) -> np.ndarray:
        del apex
        meta = dataset.metas[video]
        valid = np.repeat(dataset.store.valid[meta.row : meta.row + meta.num_rows], per_row)
        rows = np.minimum(spread(valid, interval) // per_row, meta.num_rows - 1)
        return dataset.store.inputs[meta.row + rows]

    return sample


def segment_features(spotter: Spotter, fold: str) -> Sampler:
    """The mean, over an interval, of the segment features that the spotter's own fold computes at prediction.

    Args:
      spotter: the run that spotted.
      fold: its network.

    Returns:
      (video, intervals [N, 2]) -> [N, d] float32.

    Raises:
      UserError: a model without segment features, or a fold that is not trained.
    """
    config, problem = spotter.config, spotter.problem
    if problem.task.encoding is None:
        raise UserError(f"frozen-features reads the segment features of a spotter; task {config.task!r} has none")
    path = parameters.path_of(spotter.run, fold)
    variables = parameters.load(path, shape_of_variables(problem.task, config), fold)[0]
    encode = make_encoder(problem, config.predict.chunk)
    known: dict[int, np.ndarray] = {}

    def sample(video: int, interval: np.ndarray, apex: np.ndarray) -> np.ndarray:
        del apex
        if video not in known:
            known[video] = encode(variables, problem.store, problem.metas[video])
        first, end = interval[:, 0] // problem.geometry.stride, -(-interval[:, 1] // problem.geometry.stride)
        return np.stack([known[video][a:b].mean(0) for a, b in zip(first, end, strict=True)])

    return sample


def onset_to_apex(spotter: Spotter, fold: str) -> Sampler:
    """Optical flow from the onset to the apex (open: estimated where it is not annotated, as ``fedn detect`` does).

    Args:
      spotter: the run that spotted.
      fold: unused.

    Returns:
      (video, intervals [N, 2], apexes [N]) -> [N, 42, 42, 3] float16.
    """
    del fold
    store, metas = spotter.dataset.store, spotter.dataset.metas

    def sample(video: int, interval: np.ndarray, annotated: np.ndarray) -> np.ndarray:
        meta = metas[video]
        rows = slice(meta.row, meta.row + meta.num_rows)
        valid = store.valid[rows]
        estimated = apex.farthest(store.inputs[rows], valid, interval.astype(float))
        peak = np.where(annotated >= 0, annotated, estimated).clip(interval[:, 0], interval[:, 1] - 1)
        pairs = []
        for (first, end), at in zip(interval, peak, strict=True):
            seen = np.flatnonzero(valid[first:end]) + first
            seen = seen if len(seen) else np.array([first])
            pairs.append([seen[0], seen[np.abs(seen - at).argmin()]])
        return spotter.flow(meta.row + np.array(pairs))

    return sample


def make_encoder(problem: Problem, chunk: int) -> Callable[[Tree, Store, VideoMeta], np.ndarray]:
    """Segment features of a video, in calls of fixed size.

    Args:
      problem: its task has an encoding.
      chunk: windows per call.

    Returns:
      encode(variables, store, meta) -> [S, d] float32, of all segments of the video.
    """
    geometry = problem.geometry

    @jax.jit
    def program(variables: Tree, inputs: Array, valid: Array) -> Array:
        return problem.task.encoding.encode(variables, inputs, valid)

    def encode(variables: Tree, store: Store, meta: VideoMeta) -> np.ndarray:
        segments = windows.num_segments(meta.num_frames, geometry)
        tiles = np.arange(0, segments, geometry.segments)
        tiles = np.pad(tiles, (0, -len(tiles) % chunk))
        row, rows, count = (np.full(len(tiles), value) for value in (meta.row, meta.num_rows, segments))
        got = windows.gather_host(store, Windows(row, rows, tiles, count, row, None), geometry)
        parts = [program(variables, got.inputs[i : i + chunk], got.valid[i : i + chunk])
                 for i in range(0, len(tiles), chunk)]  # fmt: skip
        features = np.concatenate([np.asarray(part) for part in parts])
        return features.reshape(-1, features.shape[-1])[:segments]

    return encode


# ---- The table ------------------------------------------------------------------------------------------------------

RECOGNISERS = {
    # Batches, rate and epochs of its public code, which keeps the epoch that is best on its test set; here the last.
    "ceflnet": Recogniser(embeddings, False, CeflNet, {
        "train.epochs": 120, "train.batch_size": 8, "train.learning_rate": 1e-4, "train.weight_decay": 1e-4,
        "train.schedule": "warm_cosine",
    }),
    "frozen-features": Recogniser(segment_features, True, recognition.Probe, {
        "train.epochs": 60, "train.batch_size": 32, "train.learning_rate": 1e-2, "train.weight_decay": 1e-4,
        "train.schedule": "cosine",
    }),
    # Batches, rate, epochs, penalties of its public code, which first trains the streams on spotting: here all at once.
    "str": Recogniser(onset_to_apex, False, strnet.StrNet, {
        "train.epochs": 100, "train.batch_size": 32, "train.learning_rate": 5e-4, "train.weight_decay": 0.0,
        "train.schedule": "constant",
    }, strnet.penalty, frames=True),
}  # fmt: skip


def make_task(name: str, config: Config, num_classes: int, sample_shape: tuple[int, ...]) -> Task:
    """A recogniser as the trainer sees it.

    Args:
      name: entry of ``RECOGNISERS``.
      config: of its training.
      num_classes: C.
      sample_shape: of a sample.

    Returns:
      The task.
    """
    recogniser = RECOGNISERS[name]
    task = recognition.make_task(recogniser.network(num_classes), sample_shape, recogniser.penalty)
    return models.with_precision(task, config.train.precision)
