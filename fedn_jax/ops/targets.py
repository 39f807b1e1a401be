"""What the candidates of a window should become: expressions to targets (FEDN section 3, Head; values of its [24])."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from fedn_jax.core.types import Array, Events
from fedn_jax.ops import anchors, intervals


class Targets(NamedTuple):
    """What FEDN should say about one window; M = L positions x A intervals."""

    interval: Float[Array, "*B L A 2"]  # float32, frames in the window, [onset, offset) of the matched expression
    label: Float[Array, "*B L A C"]  # float32, one-hot emotion of positives, zeros elsewhere
    positive: Bool[Array, "*B L A"]  # matched to an expression
    counted: Bool[Array, "*B L A"]  # positive or negative; False: ignored
    missed: Int[Array, "*B"]  # int32, expressions of the window that no interval was matched to


def assign(events: Events, grid: anchors.Grid, num_classes: int, positive_iou: float, negative_iou: float) -> Targets:
    """Matches the candidates of one window to its expressions.

    An anchor takes the expression of highest IoU (the first of equals): positive above ``positive_iou``, negative
    below ``negative_iou``, ignored between. A free interval is positive if its position lies inside an expression and
    the larger of its distances to onset and offset is within the level's reach, [low, high); of several such
    expressions it takes the shortest. It is never ignored.

    Args:
      events: [E] expressions of one window, frames relative to its start, clipped to it.
      grid: the L positions.
      num_classes: C.
      positive_iou: an anchor above it is positive.
      negative_iou: an anchor below it is negative.

    Returns:
      Targets of the window.
    """
    anchor = jnp.stack([grid.centre[:, None] - grid.width / 2, grid.centre[:, None] + grid.width / 2], -1)
    overlap = intervals.iou(anchor[:, :, None], events.interval) * events.valid  # [L, A - 1, E]
    best, best_iou = overlap.argmax(-1), overlap.max(-1)  # [L, A - 1]

    before = grid.centre[:, None] - events.interval[:, 0]  # [L, E]
    after = events.interval[:, 1] - grid.centre[:, None]
    longer = jnp.maximum(before, after)
    fits = (before >= 0) & (after > 0) & (grid.reach[:, :1] <= longer) & (longer < grid.reach[:, 1:]) & events.valid
    shortest = jnp.where(fits, intervals.length(events.interval), jnp.inf).argmin(-1)  # [L]

    chosen = jnp.concatenate([shortest[:, None], best], -1)  # [L, A]
    positive = jnp.concatenate([fits.any(-1)[:, None], best_iou > positive_iou], -1)
    counted = positive | jnp.concatenate([jnp.ones_like(fits[:, :1]), best_iou < negative_iou], -1)
    label = (events.emotion[chosen][..., None] == jnp.arange(num_classes)) & positive[..., None]
    hit = ((chosen[..., None] == jnp.arange(events.valid.shape[0])) & positive[..., None]).any((0, 1))  # [E]
    return Targets(
        interval=events.interval[chosen],
        label=label.astype(jnp.float32),
        positive=positive,
        counted=counted,
        missed=(events.valid & ~hit).sum().astype(jnp.int32),
    )
