"""Windows over videos: planned once on the host, gathered from the store inside jit.

Segment j of a video covers frames ``[stride * j, stride * j + segment_frames)``, clamped at the video's ends; a window
is a run of consecutive segments (FEDN section 3; section 4.2 gives 64 segments of 8 frames with an overlap of 6).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fedn_jax.core import errors
from fedn_jax.core.types import Array, Events, Store, VideoMeta, Windows

CONTEXTS = ("video", "window")  # what a segment may see beyond the last frame that its window owns


class Geometry(NamedTuple):
    """How windows are cut out of videos (plain Python numbers)."""

    segments: int  # segments of a window, S
    segment_frames: int  # frames of a segment, F
    stride: int  # frames between segments
    frames_per_row: int = 1  # frames that one row of the store stands for: 1, or stride for clip features
    context: str = "video"  # "video": a segment reads real frames past its window; "window": the last frame again

    @property
    def frames(self) -> int:
        """Frames that a window owns."""
        return self.segments * self.stride

    @property
    def rows(self) -> int:
        """Rows of the store that a window reads."""
        if self.frames_per_row == self.stride and self.stride > 1:
            return self.segments
        return (self.segments - 1) * self.stride + self.segment_frames


class Gathered(NamedTuple):
    """The inputs of windows."""

    inputs: Float[Array, "*B rows D"]
    valid: Bool[Array, "*B rows"]  # False where the row shows no face
    inside: Bool[Array, "*B S"]  # False for segments past the end of the video, or without a face


def check(geometry: Geometry) -> Geometry:
    """Checks that windows can be cut this way.

    Args:
      geometry: the numbers.

    Returns:
      ``geometry``.

    Raises:
      UserError: says which number does not fit.
    """
    for name in ("segments", "segment_frames", "stride", "frames_per_row"):
        errors.at_least(f"window {name}", getattr(geometry, name), 1)
    errors.one_of("window.context", geometry.context, CONTEXTS)
    errors.one_of("frames per row of the data", geometry.frames_per_row, sorted({1, geometry.stride}))
    return geometry


def num_segments(num_frames: int, geometry: Geometry) -> int:
    """Segments of a video: enough that every frame is owned by one.

    Args:
      num_frames: T.
      geometry: how windows are cut.

    Returns:
      Segments, at least 1.
    """
    return max(1, -(-num_frames // geometry.stride))


def starts(segments: int, geometry: Geometry, hop_frames: int, ends: bool = True) -> Int[np.ndarray, " W"]:
    """First segments of the windows of one video: every hop, and a last window that ends with the video.

    Args:
      segments: segments of the video.
      geometry: how windows are cut.
      hop_frames: frames between windows.
      ends: False: without that last window.

    Returns:
      [W] int32, segments; a video shorter than a window has one window at 0.
    """
    hop = max(1, hop_frames // geometry.stride)
    last = max(0, segments - geometry.segments)
    grid = np.arange(0, last + 1, hop, dtype=np.int32)
    return grid if grid[-1] == last or not ends else np.append(grid, np.int32(last))


def pieces(num_frames: int, geometry: Geometry, hop_frames: int, per_piece: int) -> list[tuple[int, int]]:
    """Cuts a long video into pieces that have, together, exactly the windows of the whole.

    Args:
      num_frames: T.
      geometry: how windows are cut.
      hop_frames: frames between windows.
      per_piece: windows of a piece.

    Returns:
      (first frame, end) of each piece; neighbours overlap by what their windows share.
    """
    step, owned = per_piece * hop_frames, (per_piece - 1) * hop_frames + geometry.frames
    last = geometry.stride * max(0, num_segments(num_frames, geometry) - geometry.segments)  # start of the last window
    cut = [(start, start + owned) for start in range(0, last - step + 1, step)]
    return [*cut, (len(cut) * step, num_frames)]


def window_events(events: Events, start_frame: int, window_frames: int, inside: float, size: int) -> Events:
    """The expressions of one window: those with more than ``inside`` of their length in it.

    Args:
      events: [E] expressions of a video (NumPy).
      start_frame: first frame of the window.
      window_frames: frames that it owns.
      inside: share of an expression's length that must lie in the window.
      size: E of the result; must be enough.

    Returns:
      [size] expressions, frames relative to the window, clipped to it, padded.
    """
    interval = np.asarray(events.interval, np.float32).reshape(-1, 2) - start_frame
    clipped = np.clip(interval, 0, window_frames)
    share = (clipped[:, 1] - clipped[:, 0]) / np.maximum(interval[:, 1] - interval[:, 0], 1e-6)
    chosen = np.flatnonzero((share > inside) & events.valid)
    padding = size - len(chosen)
    errors.at_least("room for the expressions of a window", size, len(chosen))
    pad = lambda array, fill: np.concatenate([array[chosen], np.full((padding, *array.shape[1:]), fill, array.dtype)])  # noqa: E731
    return Events(
        interval=pad(clipped.astype(np.float32), 0),
        apex=pad(np.where(events.apex >= 0, events.apex - start_frame, -1).astype(np.float32), -1),
        emotion=pad(np.asarray(events.emotion, np.int32), 0),
        kind=pad(np.asarray(events.kind, np.int32), 0),
        valid=np.arange(size) < len(chosen),
    )


def plan(
    metas: Sequence[VideoMeta],
    events: Sequence[Events],
    geometry: Geometry,
    hop_frames: int,
    inside: float,
    shifts: int = 1,
) -> Windows:
    """All windows of a data set.

    Args:
      metas: V videos.
      events: V lists of expressions, already reduced to the kinds that are to be detected.
      geometry: how windows are cut.
      hop_frames: frames between windows.
      inside: an expression belongs to a window if more than this share of it lies inside.
      shifts: windows are planned to be ``shifted`` by 0 to ``shifts`` - 1 segments: they hold the expressions of all
        these places. Above 1 there is no last window beside the hops; a shift reaches the video's end.

    Returns:
      Windows (NumPy), video by video.
    """
    check(geometry)
    reach = geometry.frames + (shifts - 1) * geometry.stride
    size = max(1, max((len(found.valid) for found in events), default=1))
    fields: dict[str, list] = {name: [] for name in Windows._fields}
    for index, (meta, expressions) in enumerate(zip(metas, events, strict=True)):
        segments = num_segments(meta.num_frames, geometry)
        for start in starts(segments, geometry, hop_frames, ends=shifts == 1):
            fields["row"].append(meta.row)
            fields["num_rows"].append(meta.num_rows)
            fields["start"].append(start)
            fields["num_segments"].append(segments)
            fields["video"].append(index)
            frame = int(start) * geometry.stride
            fields["events"].append(window_events(expressions, frame, reach, inside, size))
    stacked = Events(*(np.stack(column) for column in zip(*fields.pop("events"), strict=True)))
    widest = max(1, int(stacked.valid.sum(1).max()))  # keep no more room than the fullest window needs
    stacked = Events(*(column[:, :widest] for column in stacked))
    return Windows(**{name: np.array(column, np.int32) for name, column in fields.items()}, events=stacked)


def shifted(chosen: Windows, shift: Int[Array, "*B"] | int, geometry: Geometry) -> Windows:
    """Windows that begin later, but end with their video; NumPy or JAX.

    Args:
      chosen: [*B] windows, of a plan for such shifts.
      shift: [*B] int32, segments.
      geometry: how windows are cut.

    Returns:
      [*B] windows, with the expressions of which some frame lies inside, clipped.
    """
    last = (chosen.num_segments - geometry.segments).clip(0)
    start = (chosen.start + shift).clip(max=last)
    frames = ((start - chosen.start) * geometry.stride)[..., None].astype(np.float32)
    interval = (chosen.events.interval - frames[..., None]).clip(0, geometry.frames)
    events = chosen.events._replace(
        interval=interval,
        apex=chosen.events.apex - frames,  # negative: not annotated, or before the window
        valid=chosen.events.valid & (interval[..., 1] > interval[..., 0]),
    )
    return chosen._replace(start=start, events=events)


def segment_rows(geometry: Geometry) -> Int[np.ndarray, "S F"]:
    """Which of a window's rows each segment holds.

    Args:
      geometry: how windows are cut.

    Returns:
      [S, F] int, indices into the window's rows; [S, 1] for clip features.
    """
    scale = geometry.stride // geometry.frames_per_row
    held = geometry.segment_frames if geometry.rows > geometry.segments else 1
    return np.arange(geometry.segments)[:, None] * scale + np.arange(held)


def gather(
    store: Store,
    row: Int[Array, ""] | int,
    num_rows: Int[Array, ""] | int,
    start: Int[Array, ""] | int,
    segments: Int[Array, ""] | int,
    geometry: Geometry,
) -> Gathered:
    """The inputs of one window, cut from the store (inside jit; batch with vmap).

    Args:
      store: all inputs.
      row: [] int32, first row of the video.
      num_rows: [] int32, rows of the video.
      start: [] int32, first segment of the window.
      segments: [] int32, segments of the video.
      geometry: how windows are cut.

    Returns:
      Gathered, without a batch axis.
    """
    index = row + jnp.clip(start * _rows_between(geometry) + _offsets(geometry), 0, num_rows - 1)
    valid = jnp.asarray(store.valid)[index]
    faces = valid[segment_rows(geometry)].any(-1)
    inside = (start + jnp.arange(geometry.segments) < segments) & faces
    return Gathered(jnp.asarray(store.inputs)[index], valid, inside)


def gather_host(store: Store, chosen: Windows, geometry: Geometry) -> Gathered:
    """The same for many windows, on the host, from a store that may be mapped from a file.

    Args:
      store: all inputs, NumPy.
      chosen: [...] windows, NumPy; their events are not looked at.
      geometry: how windows are cut.

    Returns:
      Gathered, NumPy, with the axes of ``chosen`` in front.
    """
    row, num_rows, start, segments = (
        np.asarray(column)[..., None] for column in (chosen.row, chosen.num_rows, chosen.start, chosen.num_segments)
    )
    index = row + np.clip(start * _rows_between(geometry) + _offsets(geometry), 0, num_rows - 1)  # [..., rows]
    valid = np.asarray(store.valid)[index]
    faces = valid[..., segment_rows(geometry)].any(-1)
    inside = (start + np.arange(geometry.segments) < segments) & faces
    return Gathered(np.take(store.inputs, index, axis=0), valid, inside)


def _rows_between(geometry: Geometry) -> int:
    """Rows between segments."""
    return geometry.stride // geometry.frames_per_row


def _offsets(geometry: Geometry) -> Int[np.ndarray, " rows"]:
    """Which rows a window reads, counted from its first."""
    offset = np.arange(geometry.rows)
    if geometry.context == "window":
        offset = np.minimum(offset, geometry.segments * _rows_between(geometry) - 1)
    return offset
