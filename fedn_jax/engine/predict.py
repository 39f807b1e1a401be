"""From a trained network and a video to detections: network outputs first, so that all that follows can be redone."""

import collections
import csv
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core import arrays, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Config, Detections, Store, Task, Tree, VideoMeta, Windows
from fedn_jax.ops import intervals, nms, windows

CSV_COLUMNS = ("subject", "video", "onset", "offset", "score", "emotion")
AGAIN = "remove it and start `fedn train` again, which predicts it anew"
AHEAD = 3  # videos that a device is given before the first of them is fetched


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
        return Predicted(outputs, (starts * geometry.stride).astype(np.int32))

    def predict(variables: Tree, store: Store, meta: VideoMeta) -> Predicted:
        (device,) = store.inputs.devices()
        segments = windows.num_segments(meta.num_frames, geometry)
        starts = windows.starts(segments, geometry, hop_frames)
        numbers = jax.device_put((np.int32(meta.row), np.int32(meta.num_rows), np.int32(segments)), device)

        def at(function: Callable, tiles: np.ndarray) -> list[Any]:
            row, num_rows, segments = numbers
            put = jax.device_put(chunks(tiles), device)
            return [function(variables, store, row, num_rows, tile, segments) for tile in put]

        first = (starts * geometry.stride).astype(np.int32)
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


Item = TypeVar("Item")


def spread(
    work: Sequence[Sequence[Item]], start: Callable[[Item, jax.Device], Any], finish: Callable[[Item, Any], None]
) -> Iterator[Item]:
    """Keeps several devices at work while the host fetches and saves.

    Args:
      work: of each group of items, which stay on one device; groups are dealt to the local devices in turn.
      start: (item, device) -> its result on that device, not waited for.
      finish: (item, result) -> what the host does with it.

    Yields:
      The items that are finished.
    """
    devices = jax.local_devices()
    queues = [collections.deque(itertools.chain(*work[index :: len(devices)])) for index in range(len(devices))]
    begun = [collections.deque() for _ in devices]
    while any(queues) or any(begun):
        for device, queue, waiting in zip(devices, queues, begun, strict=True):
            while queue and len(waiting) < AHEAD:
                item = queue.popleft()
                waiting.append((item, start(item, device)))
        for waiting in begun:
            if waiting:
                item, result = waiting.popleft()
                finish(item, result)
                yield item


def _padded(outputs: dict[str, np.ndarray], chunk: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(outputs, starts [W], valid [W]) of one video, W padded to a multiple of ``chunk`` so that few sizes compile."""
    count = len(outputs["starts"])
    pad = lambda array: np.pad(array, [(0, -count % chunk)] + [(0, 0)] * (array.ndim - 1))
    padded = {name: pad(array) for name, array in outputs.items()}
    starts = padded.pop("starts").astype(np.float32)
    return padded, starts, np.arange(len(starts)) < count


def rule_of(config: Config) -> nms.Rule:
    """How a configuration suppresses candidates.

    Args:
      config: it was checked.

    Returns:
      The rule.
    """
    post = config.predict
    return nms.Rule(post.nms_iou, post.max_detections, post.per_class, post.suppression, post.sigma)


@functools.lru_cache(maxsize=8)
def make_decoder(task: Task, rule: nms.Rule, chunk: int) -> Callable[[dict[str, np.ndarray], int], Detections]:
    """Network outputs of one video -> detections; what was compiled for a task and options is kept.

    Args:
      task: the model.
      rule: of suppression.
      chunk: windows are padded to a multiple of it.

    Returns:
      decode(outputs, num_frames) -> Detections [max_detections] of the video (NumPy), by falling score.
    """

    @jax.jit
    def program(outputs: dict[str, Array], starts: Array, valid: Array, num_frames: Array) -> Detections:
        candidates = task.decode(outputs, starts, valid, num_frames)
        return nms.suppress(candidates, rule)

    return lambda outputs, num_frames: jax.device_get(program(*_padded(outputs, chunk), jnp.float32(num_frames)))


def make_candidates(task: Task, chunk: int) -> Callable[[dict[str, np.ndarray], int], Detections]:
    """Network outputs of one video, or of a piece of it -> candidates, before NMS.

    Args:
      task: the model.
      chunk: windows are padded to a multiple of it.

    Returns:
      candidates(outputs, num_frames) -> Detections [N] (NumPy).
    """
    program = jax.jit(task.decode)
    return lambda outputs, num_frames: jax.device_get(program(*_padded(outputs, chunk), jnp.float32(num_frames)))


def save_outputs(path: Path, outputs: dict[str, np.ndarray]) -> None:
    """Writes the network outputs of one video, whole or not at all.

    Args:
      path: an .npz file.
      outputs: as returned by a predictor.
    """
    with files.replacing(path) as part:
        np.savez(part, **outputs)


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


def load_outputs(path: Path, starts: np.ndarray, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    """Reads network outputs.

    Args:
      path: an .npz file written by ``save_outputs``.
      starts: [W] first frames of the windows of that video.
      shapes: of ``shapes_of_outputs``.

    Returns:
      Name -> array.

    Raises:
      UserError: the file is missing or damaged, or is not of that video.
    """
    expected = {name: ((len(starts), *leaf.shape), leaf.dtype.kind) for name, leaf in shapes.items()}
    expected["starts"] = (np.shape(starts), "i")
    outputs = arrays.load_npz(path, tuple(expected), remedy=AGAIN)
    for name, (shape, kind) in expected.items():
        if outputs[name].shape != shape or outputs[name].dtype.kind != kind:
            got = f"{outputs[name].dtype} {list(outputs[name].shape)}"
            raise UserError(f"{path}: {name} is {got}, expected {list(shape)}; {AGAIN}")
    if not np.array_equal(outputs["starts"], starts):
        raise UserError(f"{path}: is of another video, or of another version; {AGAIN}")
    return outputs


def write_csv(
    path: Path,
    metas: Sequence[VideoMeta],
    detections: Sequence[Detections],
    classes: Sequence[str],
    kinds: bool = False,
) -> None:
    """Writes detections with inclusive frame numbers, as the data set counts them.

    Args:
      path: the file; replaced whole.
      metas: V videos.
      detections: V detections, by falling score.
      classes: C names.
      kinds: the classes are kinds, of a column of their own; emotions are then not named.
    """
    with files.replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*CSV_COLUMNS, "kind"] if kinds else CSV_COLUMNS)
        for meta, found in zip(metas, detections, strict=True):
            edges = intervals.inclusive(found.interval, meta.first_frame, meta.source)
            for (onset, offset), score, emotion in zip(
                edges[found.valid], found.score[found.valid], found.emotion[found.valid], strict=True
            ):
                named = ["", classes[emotion]] if kinds else [classes[emotion]]
                writer.writerow([meta.subject, meta.video, onset, offset, f"{score:.6f}", *named])
