"""Layers of sequence models; Flax modules take a batch, ``[B, length, channels]``, and a mask of its positions."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Bool, Float

from fedn_jax.core.keys import fold_name
from fedn_jax.core.types import Array, Tree


def uniform_fan_in(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Initial kernel (open): PyTorch's default for linear and convolutional layers.

    Args:
      key: a PRNG key.
      shape: of the kernel; the last axis counts outputs, the others inputs.
      dtype: of the kernel.

    Returns:
      ``shape``, uniform in +-1 / sqrt(inputs).
    """
    return jax.random.uniform(key, shape, dtype, minval=-1) / math.sqrt(math.prod(shape[:-1]))


def init(network: nn.Module, key: Array, *args: Any) -> Tree:
    """``network.init``, with all kernels of ``uniform_fan_in`` from one draw.

    The distribution is that of the layers' own initialiser; a draw per kernel takes minutes to compile where folds are
    mapped. A layer marks such a kernel in the collection "uniform_fan_in"; everything else in a network keeps what its
    own initialiser gives.

    Args:
      network: a module.
      key: a PRNG key.
      *args: of its ``__call__``.

    Returns:
      Its variables.
    """
    variables = dict(network.init(key, *args))
    marked = sorted(flatten_dict(variables.pop("uniform_fan_in", {})))
    params = flatten_dict(variables["params"])
    drawn = uniform_fan_in(fold_name(key, "kernels"), (1, sum(params[name].size for name in marked)))[0]
    for name in marked:
        shape, size = params[name].shape, params[name].size
        params[name] = drawn[:size].reshape(shape) / math.sqrt(math.prod(shape[:-1]))
        drawn = drawn[size:]
    return {**variables, "params": unflatten_dict(params)}


class Affine(nn.Module):
    """The kernel and bias of a linear layer, for callers that apply them in a form of their own."""

    inputs: int
    outputs: int
    bias: float = 0.0  # initial value
    use_bias: bool = True
    initial: Any = uniform_fan_in  # of the kernel

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """Returns the parameters.

        Returns:
          (kernel [inputs, outputs], bias [outputs], or 0 without one).
        """
        kernel = self.param("kernel", self.initial, (self.inputs, self.outputs))
        if self.is_initializing() and self.initial is uniform_fan_in:
            self.variable("uniform_fan_in", "kernel", jnp.zeros, ())  # see init
        if not self.use_bias:
            return kernel, jnp.zeros((), kernel.dtype)
        return kernel, self.param("bias", nn.initializers.constant(self.bias), (self.outputs,))


class Conv(nn.Module):
    """1-D convolution as one matrix product over shifted copies: mapped over folds it becomes a batched GEMM.

    Padding is ``kernel // 2`` zeros on both sides, as PyTorch's ``padding=1`` for a kernel of 3; Flax's "SAME" differs
    from it at stride 2.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B length channels"]) -> Float[Array, "B count features"]:
        """Convolves.

        Args:
          x: [B, length, channels] float.

        Returns:
          [B, ceil(length / stride), features] float.
        """
        size, channels = x.shape[1], x.shape[2]
        count = -(-size // self.stride)
        padded = jnp.pad(x, ((0, 0), (self.kernel // 2, self.kernel // 2), (0, 0)))
        span = (count - 1) * self.stride + 1
        shifts = [padded[:, k : k + span : self.stride] for k in range(self.kernel)]
        stacked = jnp.concatenate(shifts, -1)  # [B, count, kernel * channels]
        kernel, bias = Affine(self.kernel * channels, self.features, use_bias=self.use_bias, name="taps")()
        return stacked @ kernel + bias


class ConvBlock(nn.Module):
    """Convolution, group normalisation (nothing depends on the batch), ReLU; padding stays zero."""

    features: int
    kernel: int = 3
    stride: int = 1
    groups: int = 32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B length channels"], valid: Bool[Array, "B length"]
    ) -> tuple[Float[Array, "B count features"], Bool[Array, "B count"]]:
        """Applies the block.

        Args:
          x: [B, length, channels] float.
          valid: [B, length] bool.

        Returns:
          (features [B, ceil(length / stride), features], valid of those positions).
        """
        x = Conv(self.features, self.kernel, self.stride)(x)
        valid = halve(valid) if self.stride == 2 else valid
        x = GroupNorm(self.groups)(x, valid)
        return nn.relu(x) * valid[..., None], valid


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018) over the valid positions; Flax's own gives NaN where none is valid."""

    groups: int
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "B length channels"], valid: Bool[Array, "B length"]
    ) -> Float[Array, "B length channels"]:
        """Normalises.

        Args:
          x: [B, length, channels] float.
          valid: [B, length] bool, positions that count.

        Returns:
          [B, length, channels] float.
        """
        channels = x.shape[-1]
        grouped = heads_of(x, self.groups)  # [B, length, groups, channels / groups]
        weight = valid[:, :, None, None] / jnp.maximum(valid.sum(1) * (channels // self.groups), 1)[:, None, None, None]
        mean = (grouped * weight).sum((1, 3), keepdims=True)
        variance = ((grouped - mean) ** 2 * weight).sum((1, 3), keepdims=True)
        grouped = (grouped - mean) / jnp.sqrt(variance + self.epsilon)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        return grouped.reshape(x.shape) * scale + self.param("bias", nn.initializers.zeros, (channels,))


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) over the positions that count; Flax's own divides by their number.

    Training normalises with the batch's own mean and (biased) variance and moves the running ones towards them by a
    tenth; without a position that counts they stay. Otherwise the running ones normalise.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "*n channels"], counted: Bool[Array, "*#n"], train: bool) -> Array:
        """Normalises.

        Args:
          x: [..., channels] float.
          counted: [...] bool, broadcast against the positions of ``x``.
          train: use the batch's statistics.

        Returns:
          [..., channels] float.
        """
        channels, axes = x.shape[-1], tuple(range(x.ndim - 1))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        variance = self.variable("batch_stats", "variance", jnp.ones, (channels,))
        now = (mean.value, variance.value)
        if train:
            weight = jnp.broadcast_to(counted, x.shape[:-1]).astype(x.dtype)[..., None]
            some = weight.sum() > 0
            weight = weight / jnp.maximum(weight.sum(), 1)
            middle = (x * weight).sum(axes)
            now = (middle, ((x - middle) ** 2 * weight).sum(axes))
            for kept, new in zip((mean, variance), now, strict=True):
                moved = self.momentum * kept.value + (1 - self.momentum) * new
                kept.value = jnp.where(some, moved, kept.value) if not self.is_initializing() else kept.value
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        return (x - now[0]) / jnp.sqrt(now[1] + self.epsilon) * scale + bias


def attention_parameters(width: int, initial: Any = uniform_fan_in) -> dict[str, tuple[Array, Array]]:
    """Parameters of self-attention; call inside a compact method.

    The softmax removes whatever the key's bias adds, so its exact gradient is 0. What differentiation gives is
    rounding noise, which Adam would scale up to full steps: it is stopped.

    Args:
      width: channels.
      initial: of the kernels.

    Returns:
      "query", "key", "value", "out" -> (kernel [width, width], bias [width]).
    """
    parameters = {name: Affine(width, width, initial=initial, name=name)() for name in ("query", "key", "value", "out")}
    kernel, bias = parameters["key"]
    return parameters | {"key": (kernel, jax.lax.stop_gradient(bias))}


class SelfAttention(nn.Module):
    """Multi-head self-attention over the positions of a sequence (Vaswani et al. 2017), masked."""

    heads: int
    dropout: float = 0.0  # of the weights
    initial: Any = uniform_fan_in  # of the kernels

    @nn.compact
    def __call__(
        self, x: Float[Array, "B length channels"], valid: Bool[Array, "B length"], train: bool = False
    ) -> Float[Array, "B length channels"]:
        """Attends.

        Args:
          x: [B, length, channels] float.
          valid: [B, length] bool, positions that may be attended to.
          train: apply dropout, with the random stream "dropout".

        Returns:
          [B, length, channels] float.
        """
        parameters = attention_parameters(x.shape[-1], self.initial)
        query, key, value = (
            heads_of(x @ parameters[name][0] + parameters[name][1], self.heads) for name in ("query", "key", "value")
        )  # [B, length, heads, channels / heads]
        scores = jnp.einsum("bqhc,bkhc->bhqk", query, key) / jnp.sqrt(query.shape[-1]).astype(x.dtype)
        weights = masked_softmax(scores, valid[:, None, None, :])
        weights = nn.Dropout(self.dropout)(weights, deterministic=not train)
        kernel, bias = parameters["out"]
        return jnp.einsum("bhqk,bkhc->bqhc", weights, value).reshape(x.shape) @ kernel + bias


def heads_of(x: Float[Array, "*n channels"], heads: int) -> Float[Array, "*n {heads} channels//{heads}"]:
    """Splits channels into heads.

    Args:
      x: [..., channels].
      heads: number of heads; must divide the channels.

    Returns:
      [..., heads, channels / heads].
    """
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def masked_softmax(scores: Float[Array, "*n"], valid: Bool[Array, "*#n"], axis: int = -1) -> Float[Array, "*n"]:
    """Softmax over the valid entries.

    Args:
      scores: [...] float.
      valid: bool, broadcast against ``scores``.
      axis: axis of the sum.

    Returns:
      [...] float, 0 for entries that are not valid, all 0 where none is.
    """
    lowest = jnp.finfo(scores.dtype).min
    scores = jnp.where(valid, scores, lowest)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis, keepdims=True))) * valid
    return weights / jnp.maximum(weights.sum(axis, keepdims=True), jnp.finfo(scores.dtype).tiny)


def maximum(x: Float[Array, "B n channels"]) -> Float[Array, "B channels"]:
    """Maximum over the middle axis; its gradient goes to the first of equals.

    That of ``max`` goes to all entries equal to the maximum, divided by their number: where XLA computes them twice,
    rounded differently, there is none, and the gradient is NaN.

    Args:
      x: [B, n, channels] float.

    Returns:
      [B, channels] float.
    """
    first = jax.nn.one_hot(x.argmax(1), x.shape[1], axis=1, dtype=x.dtype)  # [B, n, channels]
    return (x * first).sum(1)


def halve(valid: Bool[Array, "B length"]) -> Bool[Array, "B length//2"]:
    """Validity of positions after a stride of 2: a position is valid if one of the two it stands for is.

    Args:
      valid: [B, length] bool, even length.

    Returns:
      [B, length / 2] bool.
    """
    return valid.reshape(valid.shape[0], -1, 2).any(-1)  # [B, length / 2]
