"""Exact greedy non-maximum suppression of intervals, in fixed sizes, under jit (FEDN section 3, Post-processing)."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Num

from fedn_jax.core.types import Array, Detections
from fedn_jax.ops import intervals


@functools.partial(jax.jit, static_argnames=("max_detections",))
def nms(
    interval: Float[Array, "N 2"],
    score: Float[Array, " N"],
    valid: Bool[Array, " N"],
    iou_threshold: Num[Array, ""] | float,
    max_detections: int,
    group: Int[Array, " N"] | None = None,
) -> tuple[Int[Array, " kept"], Bool[Array, " kept"]]:
    """Keeps the best interval, drops all that overlap it, and so on.

    A candidate is dropped if its IoU with a kept one exceeds ``iou_threshold``. Equal scores are taken in the order
    of the list. NaN scores count as invalid. Empty intervals have IoU 0 with everything, so they all survive.

    Args:
      interval: [N, 2] float, frames.
      score: [N] float.
      valid: [N] bool, False for padding.
      iou_threshold: float in [0, 1].
      max_detections: size of the result, at most N are filled.
      group: [N] int; candidates drop only those of their own group. None: one group.

    Returns:
      (index [max_detections] int32 into the list, by falling score; keep [max_detections] bool, False for padding,
      where the index is 0).

    >>> import numpy as np
    >>> interval = np.array([[0.0, 10.0], [1.0, 10.0], [20.0, 30.0]])
    >>> index, keep = nms(interval, np.array([0.5, 0.9, 0.1]), np.ones(3, bool), 0.5, 3)
    >>> index[keep].tolist()
    [1, 2]
    """
    count = score.shape[0]
    left = jnp.where(valid & ~jnp.isnan(score), score, -jnp.inf)
    index = jnp.arange(count, dtype=jnp.int32)

    def pick(state):
        step, left, highest, picked = state
        best = jnp.where(left == highest, index, count - 1).min()  # the first: cheaper than argmax, or than sorting
        drops = intervals.iou(interval[best], interval) > iou_threshold
        if group is not None:
            drops &= group == group[best]
        left = jnp.where(drops | (index == best), -jnp.inf, left)
        return step + 1, left, left.max(), picked.at[step].set(best)

    start = (0, left, left.max(), jnp.full(max_detections, -1, jnp.int32))
    _, _, _, picked = jax.lax.while_loop(lambda state: (state[0] < max_detections) & (state[2] > -jnp.inf), pick, start)
    keep = picked >= 0
    return jnp.maximum(picked, 0), keep


def suppress(
    candidates: Detections, iou_threshold: Num[Array, ""] | float, max_detections: int, per_class: bool = False
) -> Detections:
    """NMS of one video's candidates.

    Args:
      candidates: [N] detections of one video.
      iou_threshold: candidates that overlap a better one by more are dropped.
      max_detections: size of the result.
      per_class: let candidates drop only those of their own emotion; by default one moment has one label.

    Returns:
      [max_detections] detections by falling score.
    """
    group = candidates.emotion if per_class else None
    index, keep = nms(candidates.interval, candidates.score, candidates.valid, iou_threshold, max_detections, group)
    return Detections(candidates.interval[index], candidates.score[index], candidates.emotion[index], keep)
