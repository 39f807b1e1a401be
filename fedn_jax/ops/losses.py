"""What a candidate's interval and its class scores cost, and how its class scores become one confidence."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float

from fedn_jax.core.types import Array
from fedn_jax.ops import intervals

# Cost of a predicted interval [..., 2] against the true one [..., 2] (FEDN section 3; Table 4 compares them).
INTERVAL_LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "iou": lambda predicted, true: 1 - intervals.iou(predicted, true),
    "giou": lambda predicted, true: 1 - intervals.giou(predicted, true),
    "diou": lambda predicted, true: 1 - intervals.diou(predicted, true),
}


class Scoring(NamedTuple):
    """Choices about class scores that must agree with one another."""

    extra_channels: int  # outputs beside the C class logits
    cost: Callable[[Array, Array, Array], Array]  # (logits [..., C + extra], label [..., C], positive [...]) -> [...]
    scores: Callable[[Array], Array]  # logits [..., C + extra] -> [..., C]; highest: the confidence, argmax: the class


def binary_cost(
    logits: Float[Array, "*n C"], label: Float[Array, "*n C"], positive: Bool[Array, "*n"]
) -> Float[Array, "*n"]:
    """Binary cross-entropy summed over the classes; a negative has an all-zero label (FEDN section 3).

    Args:
      logits: [..., C] float.
      label: [..., C] float, one-hot or zeros.
      positive: [...] bool, unused: the label says it all.

    Returns:
      [...] float.
    """
    del positive
    return optax.sigmoid_binary_cross_entropy(logits, label).sum(-1)


def confidence_cost(
    logits: Float[Array, "*n channels"], label: Float[Array, "*n channels-1"], positive: Bool[Array, "*n"]
) -> Float[Array, "*n"]:
    """Binary cross-entropy of a confidence, and softmax cross-entropy of the class of positives (Table 4, "w/ conf.").

    Args:
      logits: [..., C + 1] float, the confidence first.
      label: [..., C] float, one-hot or zeros.
      positive: [...] bool.

    Returns:
      [...] float.
    """
    confidence = optax.sigmoid_binary_cross_entropy(logits[..., 0], positive.astype(logits.dtype))
    return confidence + optax.softmax_cross_entropy(logits[..., 1:], label)  # 0 where the label is all zero


def confidence_scores(logits: Float[Array, "*n channels"]) -> Float[Array, "*n channels-1"]:
    """The confidence, at the index of the likeliest class.

    Args:
      logits: [..., C + 1] float, the confidence first.

    Returns:
      [..., C] float in [0, 1]: the confidence times the class probability over the highest of them.
    """
    share = jax.nn.softmax(logits[..., 1:], -1)
    return jax.nn.sigmoid(logits[..., :1]) * share / share.max(-1, keepdims=True)


SCORINGS: dict[str, Scoring] = {
    "binary": Scoring(0, binary_cost, jax.nn.sigmoid),
    "confidence": Scoring(1, confidence_cost, confidence_scores),
}


def detection_loss(
    interval_cost: Float[Array, "B L A"],
    class_cost: Float[Array, "B L A"],
    positive: Bool[Array, "B L A"],
    counted: Bool[Array, "B L A"],
    weight: Float[Array, " B"],
    normalize: bool,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Adds up the costs of a batch, branch by branch (the anchor-free slot, the anchors).

    Args:
      interval_cost: [B, L, A] float.
      class_cost: [B, L, A] float.
      positive: [B, L, A] bool.
      counted: [B, L, A] bool, positive or negative.
      weight: [B] float, 0 for padding.
      normalize: divide each branch by its positives plus the windows; else plain sums, as written in FEDN eq. 3.

    Returns:
      (interval loss, class loss), scalars.
    """
    weight = weight[:, None, None]
    totals = []
    for branch in (slice(0, 1), slice(1, None)):
        taken = positive[..., branch] * weight
        scale = 1 / jnp.maximum(taken.sum() + weight.sum(), 1) if normalize else 1.0
        interval = jnp.where(taken > 0, interval_cost[..., branch], 0).sum() * scale
        label = jnp.where(counted[..., branch] * weight > 0, class_cost[..., branch], 0).sum() * scale
        totals.append(jnp.stack([interval, label]))
    total = sum(totals)
    return total[0], total[1]
