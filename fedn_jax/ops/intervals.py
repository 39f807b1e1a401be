"""Geometry of intervals in time: the one place that knows what an interval is.

An interval is ``[onset, offset)``, half-open, in frames, as floats. The field counts inclusive frame numbers, so
frames 10 to 19 are ``[10, 20)`` here and every IoU below equals the field's inclusive formula. An interval whose
offset does not exceed its onset is empty: its length is 0 and its IoU with anything is 0.

    >>> import numpy as np
    >>> a, b = np.array([10.0, 20.0]), np.array([15.0, 25.0])
    >>> round(float(iou(a, b)), 4)  # 5 shared frames of 15
    0.3333
    >>> inclusive(a)
    array([10, 19])
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Num

from fedn_jax.core.types import Array


def length(interval: Num[Array, "*n 2"]) -> Num[Array, "*n"]:
    """Length of intervals.

    Args:
      interval: [..., 2] float, frames.

    Returns:
      [...] float, frames, never negative.
    """
    return jnp.maximum(interval[..., 1] - interval[..., 0], 0)


def intersection(a: Num[Array, "*#n 2"], b: Num[Array, "*#n 2"]) -> Num[Array, "*n"]:
    """Length of the common part.

    Args:
      a: [..., 2] float, frames.
      b: [..., 2] float, frames, broadcast against ``a``.

    Returns:
      [...] float, frames.
    """
    return jnp.maximum(jnp.minimum(a[..., 1], b[..., 1]) - jnp.maximum(a[..., 0], b[..., 0]), 0)


def _ratio(numerator: Num[Array, "*n"], denominator: Num[Array, "*n"]) -> Float[Array, "*n"]:
    """A quotient that is 0, with gradient 0, where the denominator is not positive."""
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)


def iou(a: Num[Array, "*#n 2"], b: Num[Array, "*#n 2"]) -> Float[Array, "*n"]:
    """Temporal intersection over union (tIoU).

    Args:
      a: [..., 2] float, frames.
      b: [..., 2] float, frames, broadcast against ``a``.

    Returns:
      [...] float in [0, 1]; 0 if both are empty.
    """
    shared = intersection(a, b)
    return _ratio(shared, length(a) + length(b) - shared)


def pairwise_iou(a: Num[Array, "N 2"], b: Num[Array, "M 2"]) -> Float[Array, "N M"]:
    """IoU of every interval of one list with every interval of another.

    Args:
      a: [N, 2] float, frames.
      b: [M, 2] float, frames.

    Returns:
      [N, M] float in [0, 1].
    """
    return iou(a[:, None], b[None, :])


def hull(a: Num[Array, "*#n 2"], b: Num[Array, "*#n 2"]) -> Num[Array, "*n"]:
    """Length of the smallest interval that holds both.

    Args:
      a: [..., 2] float, frames.
      b: [..., 2] float, frames, broadcast against ``a``.

    Returns:
      [...] float, frames.
    """
    return jnp.maximum(jnp.maximum(a[..., 1], b[..., 1]) - jnp.minimum(a[..., 0], b[..., 0]), 0)


def giou(a: Num[Array, "*#n 2"], b: Num[Array, "*#n 2"]) -> Float[Array, "*n"]:
    """Generalised IoU in one dimension (Rezatofighi et al. 2019): IoU less the empty share of the hull.

    In one dimension it differs from IoU only where the intervals are disjoint: otherwise the hull is the union.

    Args:
      a: [..., 2] float, frames.
      b: [..., 2] float, frames, broadcast against ``a``.

    Returns:
      [...] float in (-1, 1].
    """
    shared = intersection(a, b)
    union, outer = length(a) + length(b) - shared, hull(a, b)
    return _ratio(shared, union) - _ratio(outer - union, outer)


def diou(a: Num[Array, "*#n 2"], b: Num[Array, "*#n 2"]) -> Float[Array, "*n"]:
    """Distance IoU in one dimension (Zheng et al. 2020): IoU less (centre distance / hull)^2.

    Args:
      a: [..., 2] float, frames.
      b: [..., 2] float, frames, broadcast against ``a``.

    Returns:
      [...] float in (-1, 1].
    """
    distance = (a[..., 0] + a[..., 1] - b[..., 0] - b[..., 1]) / 2
    return iou(a, b) - _ratio(distance, hull(a, b)) ** 2


def inclusive(interval: Num[Array, "*n 2"], first_frame: int = 0) -> Int[np.ndarray, "*n 2"]:
    """Intervals -> inclusive frame numbers, rounded to the nearest frame; at least one frame each.

    Args:
      interval: [..., 2] float, frames from 0, half-open.
      first_frame: number of frame 0.

    Returns:
      [..., 2] int, numbers of the first and the last frame.
    """
    edges = np.floor(np.asarray(interval, np.float64) + 0.5).astype(np.int64)
    onset = edges[..., 0]
    return np.stack([onset, np.maximum(edges[..., 1] - 1, onset)], -1) + first_frame
