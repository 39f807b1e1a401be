"""FESNet's three losses (eq. 3 to 5), on batches of intervals; B intervals of N frames, C labels."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from fedn_jax.core.types import Array

LARGEST = 16.0  # of a squared step between log-probabilities (MS-TCN's code)


def class_weights(census: Float[Array, " C"], power: Float[Array, ""] | float) -> Float[Array, " C"]:
    """The inverse of each label's share of the frames, to a power; 0 for a label that does not occur.

    Args:
      census: [C] frames of each label in the fold's training intervals.
      power: 1 as the paper says, 0 for equal weights.

    Returns:
      [C] float.
    """
    share = census / jnp.maximum(census.sum(), 1)
    return jnp.where(census > 0, jnp.where(census > 0, share, 1.0) ** -power, 0.0)


def label_loss(
    logits: Float[Array, "B N C"], label: Int[Array, "B N"], weights: Float[Array, " C"], counted: Float[Array, "B N"]
) -> Float[Array, ""]:
    """Cross-entropy, the mean weighted by class (eq. 4; the printed sum differs by a factor that Adam removes).

    Args:
      logits: [B, N, C] float.
      label: [B, N] int32.
      weights: [C] float, of ``class_weights``.
      counted: [B, N] float, 0 for frames that do not count.

    Returns:
      A scalar; 0 where nothing counts.
    """
    weight = counted * weights[label]
    cost = -jnp.take_along_axis(jax.nn.log_softmax(logits), label[..., None], -1)[..., 0]
    return (cost * weight).sum() / _positive(weight.sum())


# What the steps between frames are of, logits [..., N, C] -> cost of each step [..., N - 1] (eq. 4, its second term).
SMOOTHINGS: dict[str, Callable[[Array], Array]] = {
    "probabilities": lambda logits: ((_steps(jax.nn.softmax(logits))) ** 2).sum(-1),
    "log_probabilities": lambda logits: jnp.minimum(_steps(jax.nn.log_softmax(logits), True) ** 2, LARGEST).mean(-1),
}


def _steps(x: Array, one_way: bool = False) -> Array:
    """[..., N, C] -> [..., N - 1, C] differences; one way: no gradient into the earlier frame."""
    before = x[..., :-1, :]
    return x[..., 1:, :] - (jax.lax.stop_gradient(before) if one_way else before)


def smooth_loss(proposals: Float[Array, "B S layers N C"], counted: Float[Array, "B N"], form: str) -> Float[Array, ""]:
    """How much proposals change from frame to frame: mean over pairs of frames, sum over layers, mean over blocks.

    Args:
      proposals: [B, S, layers, N, C] float, logits.
      counted: [B, N] float.
      form: entry of ``SMOOTHINGS``.

    Returns:
      A scalar.
    """
    pairs = counted[:, 1:] * counted[:, :-1]  # [B, N - 1]
    cost = SMOOTHINGS[form](proposals).sum(2).mean(1)  # [B, N - 1]
    return (cost * pairs).sum() / _positive(pairs.sum())


def deviation(
    x: Float[Array, "B N h w c"], counted: Bool[Array, "B N"], mean: str
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Squared deviation of the maps of an interval from their mean.

    Args:
      x: [B, N, h, w, c] float, x'' of eq. 1.
      counted: [B, N] bool, frames with a face, of intervals that are no padding.
      mean: over what M is taken, an entry of ``MEANS``.

    Returns:
      (sum over frames, places and channels [B], number of what was added up [B], at least 1).
    """
    weight = counted.astype(x.dtype)[:, :, None, None, None]
    frames = _positive(weight.sum(1, keepdims=True))
    middle = MEANS[mean](x, weight / frames)
    squares = ((x - middle) ** 2 * weight).sum((1, 2, 3, 4))
    return squares, frames[:, 0, 0, 0, 0] * math.prod(x.shape[2:])


# M of eq. 3 (open): (x [B, N, h, w, c], weight of frames that adds up to 1 [B, N, 1, 1, 1]) -> what is subtracted.
MEANS: dict[str, Callable[[Array, Array], Array]] = {
    "time": lambda x, weight: (x * weight).sum(1, keepdims=True),
    "space": lambda x, weight: x.mean((2, 3), keepdims=True),
    "all": lambda x, weight: (x * weight).sum(1, keepdims=True).mean((2, 3), keepdims=True),
}

# Safe readings of eq. 3, which as printed, -1 / log of a sum of deviations from their mean, has no value: (sum of
# squares [B], their number [B]) -> (loss [B], deviation D [B]).
LSDM_FORMS: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "diverse": lambda squares, number: _of(lambda d: jnp.log1p(1 / d), jnp.sqrt(squares / number + 1e-8)),
    "compact": lambda squares, number: _of(lambda d: 1 / jnp.log1p(1 / d), jnp.sqrt(squares / number + 1e-8)),
    "norm": lambda squares, number: _of(lambda d: -1 / jnp.log(math.e + d), jnp.sqrt(squares + 1e-8)),
}


def _of(function: Callable[[Array], Array], d: Array) -> tuple[Array, Array]:
    return function(d), d


def lsdm_loss(
    x: Float[Array, "B N h w c"], counted: Bool[Array, "B N"], form: str, mean: str
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How much LSDM's maps vary within an interval (eq. 3), the mean over intervals with two frames or more.

    Args:
      x: [B, N, h, w, c] float, x'' of eq. 1.
      counted: [B, N] bool.
      form: entry of ``LSDM_FORMS``.
      mean: entry of ``MEANS``.

    Returns:
      (loss, mean deviation), scalars; 0 where no interval counts.
    """
    several = (counted.sum(1) > 1).astype(x.dtype)
    loss, d = LSDM_FORMS[form](*deviation(x, counted, mean))
    return tuple((part * several).sum() / _positive(several.sum()) for part in (loss, d))


def _positive(number: Array) -> Array:
    """A divisor that is no zero."""
    return jnp.where(number > 0, number, 1.0)
