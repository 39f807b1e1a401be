"""Candidate intervals of a window: where they lie, and what the network makes of them.

A pyramid level of stride t has positions with centres ``t (i + 1/2)``. Each position has one anchor-free interval,
given by its distances to both ends, and one interval per anchor width, given relative to the anchor (FEDN section 3,
Head; encoding of its reference [24]). Slot 0 of the interval axis A is the anchor-free one.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array
from fedn_jax.ops import intervals

MAX_LOG_WIDTH = 4.0  # widths change by at most e^4: exp stays finite whatever the network says


class Grid(NamedTuple):
    """The positions of all pyramid levels of a window, in one list (NumPy)."""

    centre: Float[np.ndarray, " L"]  # float32, frames from the window's start
    stride: Float[np.ndarray, " L"]  # float32, frames between positions of the level
    reach: Float[np.ndarray, "L 2"]  # float32, frames: what the larger distance to onset or offset may be
    width: Float[np.ndarray, "L anchors"]  # float32, anchor widths in frames


def make_grid(window_frames: int, strides: list[int], widths: list[float], reaches: list[list[float]]) -> Grid:
    """Lays out the positions of every level.

    Args:
      window_frames: frames that a window owns.
      strides: frames between positions, one entry per level.
      widths: anchor widths in units of the level's stride.
      reaches: [low, high) of the larger distance from a position to onset or offset, frames, one pair per level.

    Returns:
      The grid, L = sum over levels of window_frames / stride.

    Raises:
      UserError: a stride does not divide the window, or the reaches do not fit the levels.
    """
    if len(reaches) != len(strides):
        raise UserError(f"anchors.reaches needs one [low, high] per level ({len(strides)}); got {len(reaches)}")
    for stride in strides:
        if window_frames % stride:
            raise UserError(f"a level's stride must divide the window's {window_frames} frames; got {stride}")
    counts = [window_frames // stride for stride in strides]
    stride = np.repeat(np.array(strides, np.float32), counts)
    index = np.concatenate([np.arange(count) for count in counts])
    return Grid(
        centre=(stride * (index + 0.5)).astype(np.float32),
        stride=stride,
        reach=np.repeat(np.array(reaches, np.float32), counts, axis=0),
        width=(stride[:, None] * np.array(widths, np.float32)).astype(np.float32),
    )


def decode(
    offsets: Float[Array, "*b L anchors 2"], grid: Grid, free: Float[Array, "*b L 2"]
) -> Float[Array, "*b L anchors+1 2"]:
    """Network outputs -> intervals.

    Args:
      offsets: [..., L, A - 1, 2] float, (centre shift in anchor widths, log width change) of each anchor.
      grid: the L positions.
      free: [..., L, 2] float, non-negative distances (to the onset, to the offset) in strides.

    Returns:
      [..., L, A, 2] float, frames of the window, [onset, offset); slot 0 is the anchor-free interval.
    """
    lead, (positions, anchors) = offsets.shape[:-3], grid.width.shape
    errors.shape("offsets", offsets, (*lead, positions, anchors, 2))
    errors.shape("free", free, (*lead, positions, 2))
    centre = offsets[..., 0] * grid.width + grid.centre[:, None]  # [..., L, A - 1]
    half = jnp.exp(jnp.clip(offsets[..., 1], -MAX_LOG_WIDTH, MAX_LOG_WIDTH)) * grid.width / 2
    anchored = jnp.stack([centre - half, centre + half], -1)  # [..., L, A - 1, 2]
    reach = free * grid.stride[:, None]
    unanchored = jnp.stack([grid.centre - reach[..., 0], grid.centre + reach[..., 1]], -1)  # [..., L, 2]
    return jnp.concatenate([unanchored[..., None, :], anchored], -2)


def encode(interval: Float[Array, "*b L A 2"], grid: Grid) -> tuple[Float[Array, "*b L A-1 2"], Float[Array, "*b L 2"]]:
    """The inverse of ``decode``: the outputs that would give these intervals.

    Args:
      interval: [..., L, A, 2] float, frames of the window; slot 0 is the anchor-free interval.
      grid: the L positions.

    Returns:
      (offsets [..., L, A - 1, 2], free [..., L, 2]) as in ``decode``.
    """
    free, anchored = interval[..., 0, :], interval[..., 1:, :]
    centre, width = anchored.mean(-1), intervals.length(anchored)
    offsets = jnp.stack([(centre - grid.centre[:, None]) / grid.width, jnp.log(width / grid.width)], -1)
    sides = jnp.stack([grid.centre - free[..., 0], free[..., 1] - grid.centre], -1)
    return offsets, sides / grid.stride[:, None]
