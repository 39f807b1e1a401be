"""One label per frame: of expressions, of windows laid over a video, and back to intervals.

Label 0 is neutral, 1 + c is class c.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from fedn_jax.core.types import Array, Detections, Events


def of_events(events: Events, num_frames: int) -> Int[Array, " T"]:
    """Expressions -> one label per frame; of several on one frame the latest onset wins, of these the last of the list.

    Args:
      events: [E] expressions, frames.
      num_frames: T.

    Returns:
      [T] int32. The same rule as ``segmental.to_labels``; an expression has at least one frame.
    """
    if events.valid.shape[0] == 0:
        return jnp.zeros(num_frames, jnp.int32)
    edges = jnp.floor(events.interval + 0.5)
    onset, offset = edges[:, 0], jnp.maximum(edges[:, 1], edges[:, 0] + 1)
    frame = jnp.arange(num_frames)
    covered = (onset[:, None] <= frame) & (frame < offset[:, None]) & events.valid[:, None]  # [E, T]
    order = jnp.argsort(events.interval[:, 0], stable=True)
    label = jnp.where(covered, 1 + events.emotion[:, None], 0)[order]
    last = jnp.where(covered[order], 1 + jnp.arange(len(order))[:, None], 0).argmax(0)  # [T], in that order
    return label[last, frame].astype(jnp.int32)


def stitch(
    probabilities: Float[Array, "W N C"], starts: Int[Array, " W"], seen: Bool[Array, "W N"], num_frames: int
) -> Float[Array, "T C"]:
    """Windows -> one distribution per frame: the mean over the windows that see it.

    Args:
      probabilities: [W, N, C], of each window's frames.
      starts: [W] int32, first frame of each window.
      seen: [W, N] bool, False where a window's frame says nothing.
      num_frames: T.

    Returns:
      [T, C] float; neutral with certainty where no window sees a frame.
    """
    frame = (starts[:, None] + jnp.arange(probabilities.shape[1])).reshape(-1)  # [W * N]
    frame = jnp.where(seen.reshape(-1), frame, num_frames)  # out of bounds: dropped
    flat = probabilities.reshape(-1, probabilities.shape[-1])
    total = jnp.zeros((num_frames, flat.shape[1]), flat.dtype).at[frame].add(flat, mode="drop")
    count = jnp.zeros(num_frames, flat.dtype).at[frame].add(1.0, mode="drop")
    neutral = jax.nn.one_hot(0, flat.shape[1], dtype=flat.dtype)
    return jnp.where(count[:, None] > 0, total / jnp.maximum(count, 1)[:, None], neutral)


def _numbered(label: Int[Array, " T"]) -> Int[Array, " T"]:
    """The number of each frame's run of equal labels."""
    return jnp.cumsum(jnp.concatenate([jnp.zeros(1, bool), label[1:] != label[:-1]])).astype(jnp.int32)


def fill_gaps(label: Int[Array, " T"], longest: int) -> Int[Array, " T"]:
    """Gives short neutral runs between two runs of one label that label.

    Args:
      label: [T] int32.
      longest: frames of a gap that is filled.

    Returns:
      [T] int32.
    """
    size = label.shape[0]
    run = _numbered(label)
    length = jnp.zeros(size, jnp.int32).at[run].add(1)
    of_run = jnp.zeros(size, jnp.int32).at[run].set(label)
    before = jnp.concatenate([jnp.zeros(1, jnp.int32), of_run[:-1]])
    after = jnp.concatenate([of_run[1:], jnp.zeros(1, jnp.int32)])
    filled = (of_run == 0) & (length <= longest) & (before == after)
    return jnp.where(filled, before, of_run)[run]


def runs(probabilities: Float[Array, "T C"], min_frames: int = 1, max_gap: int = 0) -> Detections:
    """One distribution per frame -> an expression for each longest run of one label that is not neutral.

    Args:
      probabilities: [T, C + 1]; of equal ones the lower label wins, neutral first.
      min_frames: shorter runs are dropped, after gaps are filled.
      max_gap: neutral runs of up to so many frames between two runs of one label are filled.

    Returns:
      [T] detections in the order of time, few of them valid; the score is the mean probability of the label over the
      run.
    """
    size = probabilities.shape[0]
    label = probabilities.argmax(-1).astype(jnp.int32)
    label = fill_gaps(label, max_gap) if max_gap else label
    run, frame = _numbered(label), jnp.arange(size)
    start = jnp.full(size, size).at[run].min(frame)
    length = jnp.zeros(size, jnp.int32).at[run].add(1)
    score = jnp.zeros(size, probabilities.dtype).at[run].add(probabilities[frame, label])
    of_run = jnp.zeros(size, jnp.int32).at[run].set(label)
    return Detections(
        interval=jnp.stack([start, start + length], -1).astype(probabilities.dtype),
        score=score / jnp.maximum(length, 1),
        emotion=jnp.maximum(of_run - 1, 0),
        valid=(of_run > 0) & (length >= min_frames),
    )
