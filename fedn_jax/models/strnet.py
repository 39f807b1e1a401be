"""STR's recogniser on optical flow between onset and apex (Liong et al., SPIC 110, 2023, and its code).

    u, v, strain of the flow [B, 42, 42, 3] -> a stream of one convolution each -> [B, 14, 14, 3 + 3 + 8]
                                            -> a convolution                    -> [B, 7, 7, 8] -> [B, C]

Convolutions are products of shifted copies: they run in a loop over steps, mapped over folds, where XLA's own are slow.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from fedn_jax.core.types import Array, Tree
from fedn_jax.models import layers

KERNEL = 5
STREAMS = (3, 3, 8)  # channels that u, v and strain become
JOINT = 8
STREAM_PENALTY, JOINT_PENALTY = 1e-3, 0.1  # of the sum of squares of kernels, in the loss


def glorot(key: Array, shape: tuple[int, int], dtype: type = jnp.float32) -> Array:
    """Initial kernel as Keras draws that of a convolution: inputs and outputs count every tap.

    Args:
      key: a PRNG key.
      shape: (taps x inputs, outputs).
      dtype: of the kernel.

    Returns:
      ``shape``, uniform in +-sqrt(6 / (inputs + outputs)).
    """
    bound = math.sqrt(6 / (shape[0] + KERNEL**2 * shape[1]))
    return jax.random.uniform(key, shape, dtype, -bound, bound)


class StrNet(nn.Module):
    """From the flow between onset and apex to an emotion."""

    num_classes: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "B 42 42 3"], train: bool, counted: Bool[Array, " B"]
    ) -> Float[Array, "B C"]:
        """Classifies.

        Args:
          inputs: [B, 42, 42, 3], channels in [0, 1].
          train: apply dropout, with the random stream "dropout", and use the batch's statistics.
          counted: [B] bool, samples that are no padding.

        Returns:
          [B, C] float, logits.
        """
        drop = lambda y, rate: nn.Dropout(rate)(y, deterministic=not train)
        streams = []
        for index, features in enumerate(STREAMS):
            x = nn.relu(_conv(inputs[..., index : index + 1].astype(float), features, f"stream_{index}"))
            norm = layers.BatchNorm(epsilon=1e-3, momentum=0.99, name=f"norm_{index}")  # after the ReLU, as published
            streams.append(drop(_pool(norm(x, counted[:, None, None], train), 3), 0.3))
        x = _pool(nn.relu(_conv(jnp.concatenate(streams, -1), JOINT, "joint")), 2)  # [B, 7, 7, 8]
        x = drop(x.reshape(len(x), -1), 0.2)
        kernel, bias = layers.Affine(x.shape[-1], self.num_classes, initial=nn.initializers.glorot_uniform(),
                                     name="output")()  # fmt: skip
        return x @ kernel + bias


def penalty(params: Tree) -> Float[Array, ""]:
    """What large kernels cost.

    Args:
      params: of ``StrNet``.

    Returns:
      [] float, to be added to the loss.
    """
    streams = sum((params[f"stream_{index}"]["kernel"] ** 2).sum() for index in range(len(STREAMS)))
    return STREAM_PENALTY * streams + JOINT_PENALTY * (params["joint"]["kernel"] ** 2).sum()


def _conv(x: Float[Array, "B h w c"], features: int, name: str) -> Float[Array, "B h w features"]:
    """A convolution of the module that calls it, with zeros around."""
    height, width, channels = x.shape[1:]
    around = KERNEL // 2
    padded = jnp.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))
    taps = [padded[:, i : i + height, j : j + width] for i in range(KERNEL) for j in range(KERNEL)]
    kernel, bias = layers.Affine(KERNEL**2 * channels, features, initial=glorot, name=name)()
    return jnp.concatenate(taps, -1) @ kernel + bias


def _pool(x: Float[Array, "B h w c"], size: int) -> Float[Array, "B h//{size} w//{size} c"]:
    """Maximum over squares that do not overlap."""
    batch, height, width, channels = x.shape
    squares = x.reshape(batch, height // size, size, width // size, size, channels).swapaxes(2, 3)
    squares = squares.reshape(-1, size * size, channels)
    return layers.maximum(squares).reshape(batch, height // size, width // size, channels)
