"""What a recogniser is shown of an interval."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Config, Store, Task, Tree, VideoMeta, Windows
from fedn_jax.engine import parameters
from fedn_jax.engine.trainer import shape_of_variables
from fedn_jax.models.ceflnet import PLACES
from fedn_jax.ops import apex, windows

# (video, [N, 2] int frames [onset, offset), [N] int apex or -1) -> [N, ...] samples
Sampler = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
Flow = Callable[[np.ndarray], np.ndarray]  # [N, 2] int, rows of the data's frames -> [N, 42, 42, 3]


class Spotter(NamedTuple):
    """A trained run, and some videos: those of its data, or a new one."""

    run: Path
    config: Config
    task: Task
    geometry: windows.Geometry
    metas: list[VideoMeta]
    store: Store  # embeddings, as they are in the shards
    standardized: Store  # as its network reads them
    training: Path  # directory of the training of the recogniser behind it
    flow: Flow | None = None  # optical flow between frames


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
    store, per_row = spotter.store, spotter.geometry.frames_per_row

    def sample(video: int, interval: np.ndarray, apex: np.ndarray) -> np.ndarray:
        del apex
        meta = spotter.metas[video]
        valid = np.repeat(store.valid[meta.row : meta.row + meta.num_rows], per_row)
        rows = np.minimum(spread(valid, interval) // per_row, meta.num_rows - 1)
        return store.inputs[meta.row + rows]

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
    config, stride = spotter.config, spotter.geometry.stride
    if spotter.task.encoding is None:
        raise UserError(f"frozen-features reads the segment features of a spotter; task {config.task!r} has none")
    path = parameters.path_of(spotter.run, fold)
    variables = parameters.load(path, shape_of_variables(spotter.task), fold)[0]
    encode = make_encoder(spotter.task, spotter.geometry, config.predict.chunk)
    known: dict[int, np.ndarray] = {}

    def sample(video: int, interval: np.ndarray, apex: np.ndarray) -> np.ndarray:
        del apex
        if video not in known:
            known[video] = encode(variables, spotter.standardized, spotter.metas[video])
        first, end = interval[:, 0] // stride, -(-interval[:, 1] // stride)
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
    store, metas = spotter.store, spotter.metas

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


@functools.lru_cache(maxsize=2)  # all folds of a spotter share one
def make_encoder(task: Task, geometry: windows.Geometry, chunk: int) -> Callable[[Tree, Store, VideoMeta], np.ndarray]:
    """Segment features of a video, in calls of fixed size.

    Args:
      task: has an encoding.
      geometry: how windows are cut.
      chunk: windows per call.

    Returns:
      encode(variables, store, meta) -> [S, d] float32, of all segments of the video.
    """

    @jax.jit
    def program(variables: Tree, inputs: Array, valid: Array) -> Array:
        return task.encoding.encode(variables, inputs, valid)

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
