"""From a trained network and a video to network outputs, from which all that follows (``decode``) can be redone."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core.types import Array, Store, Task, Tree, VideoMeta, Windows
from fedn_jax.ops import windows


class Predicted(NamedTuple):
    """Network outputs of one video where they were made: on a device, maybe not finished yet."""

    outputs: list[dict[str, Array]]  # of each chunk of windows
    starts: np.ndarray  # [W] int32, first frames of the windows; the last chunk holds more


def make_predictor(
    task: Task, geometry: windows.Geometry, hop_frames: int, chunk: int
) -> Callable[[Tree, Store, VideoMeta], Predicted]:
    """Prediction of one video, in calls of fixed size, so that it is compiled once for videos of any length.

    Segments of windows that overlap are the same segments: what a model encodes of them (``Task.encoding``) is
    computed once per video, on windows laid end to end. With ``context="window"`` they differ, and are computed once
    per window.

    Args:
      task: the model.
      geometry: how windows are cut.
      hop_frames: frames between windows.
      chunk: windows per call.

    Returns:
      predict(variables, store, meta) -> Predicted. It runs on the device that holds the variables, and the store where
      ``place`` put it; it does not wait: ``fetch`` does.
    """

    def gather(store: Store, row: Array, num_rows: Array, starts: Array, segments: Array) -> windows.Gathered:
        over_windows = jax.vmap(windows.gather, in_axes=(None, None, None, 0, None, None))
        return over_windows(store, row, num_rows, starts, segments, geometry)

    @jax.jit
    def encode(variables: Tree, *where: Any):
        got = gather(*where)
        return task.encoding.encode(variables, got.inputs, got.valid), got.inside

    @jax.jit
    def read(variables: Tree, encoded: Array, inside: Array):
        return saved_of(task, task.encoding.read(variables, encoded, inside))

    @jax.jit
    def apply(variables: Tree, *where: Any):
        return outputs_of(task, variables, gather(*where))

    @jax.jit
    def apply_to(variables: Tree, got: windows.Gathered):
        return outputs_of(task, variables, got)

    @jax.jit
    def by_segment(parts: list[Array]) -> Array:  # of chunks, [chunk, S, ...] each -> [tiles * S, ...]
        return jnp.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])

    take = jax.jit(lambda column, index: column[index])

    def chunks(starts: np.ndarray) -> list[np.ndarray]:
        padding = -len(starts) % chunk
        return list(np.pad(starts, (0, padding)).reshape(-1, chunk))

    def from_host(variables: Tree, store: Store, meta: VideoMeta) -> Predicted:
        (device,) = jax.tree.leaves(variables)[0].devices()
        segments = windows.num_segments(meta.num_frames, geometry)
        starts, outputs = windows.starts(segments, geometry, hop_frames), []
        for tile in chunks(starts):
            row, num_rows, count = (np.full(chunk, x, np.int32) for x in (meta.row, meta.num_rows, segments))
            got = windows.gather_host(store, Windows(row, num_rows, tile, count, row, None), geometry)
            outputs.append(apply_to(variables, jax.device_put(got, device)))
        return Predicted(outputs, window_starts(meta, geometry, hop_frames))

    def predict(variables: Tree, store: Store, meta: VideoMeta) -> Predicted:
        (device,) = store.inputs.devices()
        segments = windows.num_segments(meta.num_frames, geometry)
        starts = windows.starts(segments, geometry, hop_frames)
        numbers = jax.device_put((np.int32(meta.row), np.int32(meta.num_rows), np.int32(segments)), device)

        def at(function: Callable, tiles: np.ndarray) -> list[Any]:
            row, num_rows, segments = numbers
            put = jax.device_put(chunks(tiles), device)
            return [function(variables, store, row, num_rows, tile, segments) for tile in put]

        first = window_starts(meta, geometry, hop_frames)
        if task.encoding is None:
            return Predicted(at(apply, starts), first)
        if geometry.context == "video":
            parts = at(encode, np.arange(0, segments, geometry.segments, dtype=np.int32))
            column, inside = (by_segment(list(parts)) for parts in zip(*parts, strict=True))
            index = starts[:, None] + np.arange(geometry.segments)  # [W, S]; a short video needs one tile only
            index = np.pad(index, ((0, -len(starts) % chunk), (0, 0))).reshape(-1, chunk, geometry.segments)
            wanted = [(take(column, rows), take(inside, rows)) for rows in jax.device_put(list(index), device)]
        else:
            wanted = at(encode, starts)
        return Predicted([read(variables, *pair) for pair in wanted], first)

    return from_host if task.driver == "steps" else predict


def place(task: Task, store: Store, device: jax.Device) -> Store:
    """Puts inputs where a predictor of the task wants them.

    Args:
      task: the model.
      store: all inputs, on the host.
      device: the device that predicts.

    Returns:
      The store, on the device; on the host for a task that trains by steps.
    """
    return store if task.driver == "steps" else jax.device_put(store, device)


def saved_of(task: Task, outputs: dict[str, Array]) -> dict[str, Array]:
    """What prediction keeps.

    Args:
      task: the model.
      outputs: of ``Task.apply``.

    Returns:
      Those of ``Task.saved``.
    """
    return {name: outputs[name] for name in task.saved}


def outputs_of(task: Task, variables: Tree, got: windows.Gathered) -> dict[str, Array]:
    """What prediction keeps of some windows.

    Args:
      task: the model.
      variables: of one fold.
      got: [B, ...] windows.

    Returns:
      name of ``Task.saved`` -> [B, ...].
    """
    weight = jnp.ones(got.inside.shape[:1])
    return saved_of(task, task.apply(variables, got, weight, False, jax.random.key(0))[0])


@functools.lru_cache(maxsize=8)
def shapes_of_outputs(
    task: Task, geometry: windows.Geometry, row: jax.ShapeDtypeStruct
) -> dict[str, jax.ShapeDtypeStruct]:
    """What is saved of each window of a video.

    Args:
      task: the model.
      geometry: how windows are cut.
      row: shape and dtype of a row of the inputs.

    Returns:
      name of ``Task.saved`` -> shape, without the axis of windows, and dtype; nothing is computed.
    """
    got = windows.Gathered(
        jax.ShapeDtypeStruct((1, geometry.rows, *row.shape), row.dtype),
        jax.ShapeDtypeStruct((1, geometry.rows), bool),
        jax.ShapeDtypeStruct((1, geometry.segments), bool),
    )
    variables = jax.eval_shape(task.init, jax.random.key(0))
    found = jax.eval_shape(functools.partial(outputs_of, task), variables, got)
    return {name: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for name, leaf in found.items()}


def fetch(predicted: Predicted) -> dict[str, np.ndarray]:
    """Network outputs of one video, on the host.

    Args:
      predicted: of a predictor.

    Returns:
      name of ``Task.saved`` -> [W, ...], and "starts" [W] int32: first frames of the windows.
    """
    parts, count = jax.device_get(predicted.outputs), len(predicted.starts)
    outputs = {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
    return outputs | {"starts": predicted.starts}


def window_starts(meta: VideoMeta, geometry: windows.Geometry, hop_frames: int) -> np.ndarray:
    """First frames of the windows of a video.

    Args:
      meta: the video.
      geometry: how windows are cut.
      hop_frames: frames between windows.

    Returns:
      [W] int32.
    """
    starts = windows.starts(windows.num_segments(meta.num_frames, geometry), geometry, hop_frames)
    return (starts * geometry.stride).astype(np.int32)
