"""Non-maximum suppression of intervals, hard and soft, in fixed sizes, under jit (FEDN section 3, Post-processing)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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


class Rule(NamedTuple):
    """How candidates of a video that overlap one another are dealt with."""

    iou: float  # overlap above which a better one drops (hard) or weakens (linear) another
    max_detections: int  # of a video
    per_class: bool = False  # candidates meet only those of their own emotion; by default one moment has one label
    kind: str = "hard"  # entry of ``KINDS``
    sigma: float = 0.5  # of gaussian


FLOOR = 1e-3  # scores that soft suppression has brought below it are dropped, as in the code of Bodla et al.
# What is left of a score beside a better candidate: (IoU with it, rule) -> factor (Bodla et al. 2017, Soft-NMS).
KINDS: dict[str, Callable[[Array, Rule], Array] | None] = {
    "hard": None,  # nothing, above rule.iou
    "linear": lambda overlap, rule: jnp.where(overlap > rule.iou, 1 - overlap, 1.0),
    "gaussian": lambda overlap, rule: jnp.exp(-(overlap**2) / rule.sigma),
}


@functools.partial(jax.jit, static_argnames=("rule",))
def soft_nms(
    interval: Float[Array, "N 2"],
    score: Float[Array, " N"],
    valid: Bool[Array, " N"],
    rule: Rule,
    group: Int[Array, " N"] | None = None,
) -> tuple[Int[Array, " kept"], Bool[Array, " kept"], Float[Array, " kept"]]:
    """Takes the best interval, lowers the scores of all that overlap it, takes the best that is left, and so on.

    Equal scores are taken in the order of the list. Scores that are NaN or below ``FLOOR`` count as invalid.

    Args:
      interval: [N, 2] float, frames.
      score: [N] float, not negative.
      valid: [N] bool, False for padding.
      rule: linear or gaussian.
      group: [N] int; candidates lower only those of their own group. None: one group.

    Returns:
      (index [max_detections] int32 into the list, by falling lowered score; keep [max_detections] bool, False for
      padding, where the index is 0; lowered scores [max_detections] float).

    >>> import numpy as np
    >>> interval, rule = np.array([[0.0, 10.0], [0.0, 8.0], [20.0, 30.0]]), Rule(0.3, 3, kind="linear")
    >>> index, keep, lowered = soft_nms(interval, np.array([0.9, 0.8, 0.5]), np.ones(3, bool), rule)
    >>> index.tolist(), lowered.round(2).tolist()
    ([0, 2, 1], [0.8999999761581421, 0.5, 0.1599999964237213])
    """
    factor, count = KINDS[rule.kind], score.shape[0]
    left = jnp.where(valid & ~jnp.isnan(score), score, 0.0)
    index = jnp.arange(count, dtype=jnp.int32)

    def pick(state):
        step, left, highest, picked, lowered = state
        best = jnp.where(left == highest, index, count - 1).min()
        share = factor(intervals.iou(interval[best], interval), rule)
        if group is not None:
            share = jnp.where(group == group[best], share, 1.0)
        left = jnp.where(index == best, 0.0, left * share)
        return step + 1, left, left.max(), picked.at[step].set(best), lowered.at[step].set(highest)

    size = rule.max_detections
    start = (0, left, left.max(), jnp.full(size, -1, jnp.int32), jnp.zeros(size, left.dtype))
    unfinished = lambda state: (state[0] < size) & (state[2] >= FLOOR)
    _, _, _, picked, lowered = jax.lax.while_loop(unfinished, pick, start)
    return jnp.maximum(picked, 0), picked >= 0, lowered


def pad(candidates: Detections, size: int) -> Detections:
    """Candidates in a fixed size, so that few sizes of suppression compile.

    Args:
      candidates: [N] (NumPy).
      size: N or more.

    Returns:
      [size] (NumPy); what is added is not valid.
    """
    more = size - len(candidates.score)
    return Detections(*(np.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1)) for x in candidates))


def suppress(candidates: Detections, rule: Rule) -> Detections:
    """Suppression among one video's candidates.

    Args:
      candidates: [N] detections of one video.
      rule: how.

    Returns:
      [max_detections] detections by falling score, which soft suppression has lowered.
    """
    index, keep, score = survivors(candidates, rule)
    return Detections(candidates.interval[index], score, candidates.emotion[index], keep)


def survivors(
    candidates: Detections, rule: Rule
) -> tuple[Int[Array, " kept"], Bool[Array, " kept"], Float[Array, " kept"]]:
    """Which candidates of a video survive suppression.

    Args:
      candidates: [N] detections of one video.
      rule: how.

    Returns:
      (index [max_detections], keep [max_detections] bool, score [max_detections]), see ``soft_nms``.
    """
    group = candidates.emotion if rule.per_class else None
    given = (candidates.interval, candidates.score, candidates.valid)
    if KINDS[rule.kind] is not None:
        return soft_nms(*given, rule, group)
    index, keep = nms(*given, rule.iou, rule.max_detections, group)
    return index, keep, candidates.score[index]
