"""ResNet18 that turns a face into a vector (He et al. 2016, basic blocks 2-2-2-2; torchvision's strides and paddings).

Inference needs no normalisation layers: a batch normalisation with fixed statistics is a scale and a shift of the
convolution before it, so :func:`fold` moves it into kernel and bias once, and what is stored and run is convolutions
only. ``norm=True`` is the network to train; folding its variables gives the one to keep.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fedn_jax.core.types import Array, Tree

FULL = (64, 128, 256, 512)  # channels of the four stages of ResNet18
SLIM = (16, 32, 64, 128)  # a sixteenth of the multiplications
EPSILON = 1e-5  # of the batch normalisations, as in torchvision
# Winograd's F(2 x 2, 3 x 3) (Lavin and Gray 2016, section 4.1): four outputs of a 2x2 square take 16 products, not 36.
# It pays on a CPU, where XLA convolves 64 channels at half the rate of a matrix product.
# Of a row of the input, of the kernel, and of the products: y = _OUTPUT @ ((_KERNEL @ k) * (_INPUT @ x)).
_INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)


class Conv(nn.Module):
    """A convolution, followed by batch normalisation in the network to train."""

    features: int
    size: int  # of the kernel
    stride: int = 1
    norm: bool = False
    winograd: bool = False  # a 3x3 convolution with stride 1 in fewer multiplications

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Convolves; the padding is explicit because SAME differs from torchvision's at stride 2.

        Args:
          x: [B, H, W, c] float32.
          train: normalise with the batch's statistics (``norm`` only).

        Returns:
          [B, H / stride, W / stride, features] float32.
        """
        x = nn.Conv(
            self.features,
            (self.size, self.size),
            strides=self.stride,
            padding=self.size // 2,
            use_bias=not self.norm,
            kernel_init=nn.initializers.he_normal(),
            name="conv",
            conv_general_dilated=(lambda x, kernel, *_, **__: winograd_convolve(x, kernel)) if self.winograd else None,
        )(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=EPSILON, name="norm")(x)
        return x


class Block(nn.Module):
    """The basic block: two 3x3 convolutions beside a shortcut."""

    features: int
    stride: int = 1
    norm: bool = False
    winograd: bool = False  # of stride 1 only

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Applies the block.

        Args:
          x: [B, H, W, c] float32.
          train: see :class:`Conv`.

        Returns:
          [B, H / stride, W / stride, features] float32.
        """
        y = nn.relu(Conv(self.features, 3, self.stride, self.norm, self.winograd, name="conv1")(x, train))
        y = Conv(self.features, 3, 1, self.norm, self.winograd, name="conv2")(y, train)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = Conv(self.features, 1, self.stride, self.norm, name="shortcut")(x, train)
        return nn.relu(x + y)


class ResNet18(nn.Module):
    """The feature extractor: everything up to the global average, without a classifier."""

    widths: tuple[int, int, int, int] = FULL
    norm: bool = False  # batch normalisations as layers of their own, for training
    winograd: bool = False  # stage 1 in fewer multiplications: pays on a CPU, at the full widths

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """Embeds images.

        Args:
          images: [B, H, W, 3] float32, RGB, already normalised; any size from 32 on.
          train: normalise with the batch's statistics (``norm`` only; needs ``mutable=["batch_stats"]``).

        Returns:
          [B, widths[-1]] float32, the global average of the last stage.
        """
        x = nn.relu(Conv(self.widths[0], 7, 2, self.norm, name="stem")(images, train))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # [B, H / 4, W / 4, widths[0]]
        for stage, width in enumerate(self.widths):
            few = self.winograd and stage == 0
            x = Block(width, 1 if stage == 0 else 2, self.norm, few, name=f"stage{stage + 1}_block1")(x, train)
            x = Block(width, 1, self.norm, few, name=f"stage{stage + 1}_block2")(x, train)
        return x.mean((1, 2))  # [B, H / 32, W / 32, widths[3]] -> [B, widths[3]]


def fold_batchnorm(
    kernel: Array, scale: Array, bias: Array, mean: Array, var: Array, epsilon: float = EPSILON
) -> dict[str, np.ndarray]:
    """Moves a batch normalisation with fixed statistics into the convolution before it.

    ``(conv(x) - mean) / sqrt(var + epsilon) * scale + bias`` is a convolution with another kernel and a bias.

    Args:
      kernel: [h, w, in, out] float32, of a convolution without bias.
      scale: [out] float32, gamma.
      bias: [out] float32, beta.
      mean: [out] float32, running mean.
      var: [out] float32, running variance.
      epsilon: added to the variance.

    Returns:
      {"kernel": [h, w, in, out] float32, "bias": [out] float32}.
    """
    gain = np.asarray(scale, np.float64) / np.sqrt(np.asarray(var, np.float64) + epsilon)
    return {
        "kernel": (np.asarray(kernel, np.float64) * gain).astype(np.float32),
        "bias": (np.asarray(bias, np.float64) - np.asarray(mean, np.float64) * gain).astype(np.float32),
    }


def fold(variables: Tree) -> dict[str, Any]:
    """Folds all batch normalisations of a trained ``ResNet18(norm=True)``.

    Args:
      variables: {"params": ..., "batch_stats": ...} of ``ResNet18(widths, norm=True)``.

    Returns:
      {"params": ...} of ``ResNet18(widths)``, NumPy float32: equal outputs with ``train=False``.
    """

    def walk(params: Tree, stats: Tree) -> dict[str, Any]:
        if "conv" in params:
            norm, seen = params["norm"], stats["norm"]
            kernel = params["conv"]["kernel"]
            return {"conv": fold_batchnorm(kernel, norm["scale"], norm["bias"], seen["mean"], seen["var"])}
        return {name: walk(child, stats[name]) for name, child in params.items()}

    return {"params": walk(variables["params"], variables["batch_stats"])}


def winograd_convolve(x: Array, kernel: Array) -> Array:
    """A 3x3 convolution with stride 1 and padding 1, in fewer multiplications.

    Args:
      x: [B, H, W, in] float32.
      kernel: [3, 3, in, out] float32.

    Returns:
      [B, H, W, out] float32; equal to the direct form but for rounding.

    >>> ones = np.ones((1, 3, 3, 1), np.float32)
    >>> winograd_convolve(ones, np.ones((3, 3, 1, 1), np.float32))[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    batch, height, width, channels = x.shape
    rows, columns = -(-height // 2), -(-width // 2)  # squares
    x = jnp.pad(x, ((0, 0), (1, 2 * rows - height + 1), (1, 2 * columns - width + 1), (0, 0)))
    x = x.reshape(batch, rows + 1, 2, columns + 1, 2, channels)
    patch = [  # [4][4] of [B, rows, columns, in]: the pixels that a square of the output sees
        [x[:, i // 2 : i // 2 + rows, i % 2, j // 2 : j // 2 + columns, j % 2] for j in range(4)] for i in range(4)
    ]
    kernel = jnp.einsum("ai,bj,ijcd->abcd", _KERNEL, _KERNEL, kernel)
    product = [
        [(value.reshape(-1, channels) @ kernel[i, j]).reshape(batch, rows, columns, -1) for j, value in enumerate(row)]
        for i, row in enumerate(_transform(_INPUT, patch))
    ]
    y = jnp.stack([jnp.stack(row, 3) for row in _transform(_OUTPUT, product)], 2)  # [B, rows, 2, columns, 2, out]
    return y.reshape(batch, 2 * rows, 2 * columns, -1)[:, :height, :width]


def _transform(matrix: np.ndarray, grid: list[list[Array]]) -> list[list[Array]]:
    """``matrix @ grid @ matrix.T``, by additions of arrays."""
    half = [[_combine(weights, column) for column in zip(*grid, strict=True)] for weights in matrix]
    return [[_combine(weights, row) for weights in matrix] for row in half]


def _combine(weights: np.ndarray, arrays: tuple[Array, ...] | list[Array]) -> Array:
    return sum(array if weight == 1 else -array for weight, array in zip(weights, arrays, strict=True) if weight)
