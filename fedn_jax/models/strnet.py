"""STR's recogniser on optical flow between two frames (Liong et al., SPIC 110, 2023, and its code).

    u, v, strain of the flow [B, 42, 42, 3] -> a stream of one convolution each -> [B, 14, 14, 3 + 3 + 8]
                                            -> a convolution                    -> [B, 7, 7, 8] -> [B, outputs]

The streams first learn to spot, with one output; then they stay as they are, and a top of its own names the emotion.
Convolutions are products of shifted copies: they run in a loop over steps, mapped over folds, where XLA's own are slow.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Key

from fedn_jax.core.keys import fold_name
from fedn_jax.core.types import Array, Context, Detections, Events, Hyper, Task, Tree
from fedn_jax.models import layers
from fedn_jax.ops import windows

SAMPLE = (42, 42, 3)  # u, v and strain of a pair of frames
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


class Streams(nn.Module):
    """A convolution for each of u, v and strain."""

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "B 42 42 3"], train: bool, counted: Bool[Array, " B"]
    ) -> Float[Array, "B 14 14 14"]:
        """Filters.

        Args:
          inputs: [B, 42, 42, 3], channels in [0, 1].
          train: use the batch's statistics.
          counted: [B] bool, samples that are no padding.

        Returns:
          [B, 14, 14, 14], without dropout.
        """
        found = []
        for index, features in enumerate(STREAMS):
            x = nn.relu(_conv(inputs[..., index : index + 1].astype(float), features, f"stream_{index}"))
            norm = layers.BatchNorm(epsilon=1e-3, momentum=0.99, name=f"norm_{index}")  # after the ReLU, as published
            found.append(_pool(norm(x, counted[:, None, None], train), 3))
        return jnp.concatenate(found, -1)


class Top(nn.Module):
    """From what the streams see to outputs: emotions, or one that spots."""

    outputs: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "B 14 14 14"], train: bool, counted: Bool[Array, " B"]
    ) -> Float[Array, "B {self.outputs}"]:
        """Reads.

        Args:
          inputs: [B, 14, 14, 14], of the streams.
          train: apply dropout, with the random stream "dropout": to the inputs, too, since that of the streams stays
            active where they are frozen.
          counted: unused.

        Returns:
          [B, outputs] float.
        """
        del counted
        drop = lambda y, rate: nn.Dropout(rate)(y, deterministic=not train)
        x = _pool(nn.relu(_conv(drop(inputs.astype(float), 0.3), JOINT, "joint")), 2)  # [B, 7, 7, 8]
        x = drop(x.reshape(len(x), -1), 0.2)
        kernel, bias = layers.Affine(x.shape[-1], self.outputs, initial=nn.initializers.glorot_uniform(),
                                     name="output")()  # fmt: skip
        return x @ kernel + bias


class StrNet(nn.Module):
    """Streams and top in one, trained together."""

    outputs: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "B 42 42 3"], train: bool, counted: Bool[Array, " B"]
    ) -> Float[Array, "B {self.outputs}"]:
        """From flow to outputs.

        Args:
          inputs: [B, 42, 42, 3], channels in [0, 1].
          train: as of the parts.
          counted: [B] bool, samples that are no padding.

        Returns:
          [B, outputs] float.
        """
        seen = Streams(name="streams")(inputs, train, counted)
        return Top(self.outputs, name="top")(seen, train, counted)


def top_penalty(params: Tree) -> Float[Array, ""]:
    """What large kernels of the top cost.

    Args:
      params: of ``Top``.

    Returns:
      [] float, to be added to the loss.
    """
    return JOINT_PENALTY * (params["joint"]["kernel"] ** 2).sum()


def penalty(params: Tree) -> Float[Array, ""]:
    """What large kernels cost.

    Args:
      params: of ``StrNet``.

    Returns:
      [] float, to be added to the loss.
    """
    kernels = [params["streams"][f"stream_{index}"]["kernel"] for index in range(len(STREAMS))]
    return STREAM_PENALTY * sum((kernel**2).sum() for kernel in kernels) + top_penalty(params["top"])


def make_spotting_task() -> Task:
    """The first training of the streams: whether an expression is near a pair of frames, as a regression.

    A window is one pair. Its event is the expression that ends after the pair's first frame, the earliest one, in
    frames from there; ``Context.census`` holds how near an onset must be, which is a fold's own: half the mean length
    of its training expressions.

    Returns:
      The task; its output is "spotted" [B], about 1 near an expression and 0 elsewhere.
    """
    network = StrNet(1)

    def init(key: Array) -> Tree:
        return layers.init(network, key, jnp.zeros((1, *SAMPLE)), False, jnp.ones(1, bool))

    def apply(
        variables: Tree, got: windows.Gathered, weight: Float[Array, " B"], train: bool, key: Key[Array, ""]
    ) -> tuple[dict, Tree]:
        given = (variables, got.inputs[:, 0], train, weight > 0)
        found, others = network.apply(*given, rngs={"dropout": fold_name(key, "dropout")}, mutable=["batch_stats"])
        return {"spotted": found[:, 0], "penalty": penalty(variables["params"])}, dict(others)

    def targets(events: Events) -> Float[Array, ""]:
        return jnp.where(events.valid[0], events.interval[0, 0], jnp.inf)

    def loss(outputs: dict, targets: Float[Array, " B"], context: Context, hyper: Hyper) -> tuple[Array, dict]:
        del hyper
        wanted = (targets < context.census[0]).astype(float)
        squares = (outputs["spotted"] - wanted) ** 2 * context.weight
        return squares.sum() / jnp.maximum(context.weight.sum(), 1) + outputs["penalty"], {}

    def decode(
        outputs: dict, starts: Float[Array, " W"], valid: Bool[Array, " W"], num_frames: Float[Array, ""] | float
    ) -> Detections:
        del num_frames
        interval = jnp.stack([starts, starts + 1], -1)
        return Detections(interval, outputs["spotted"].clip(0, 1), jnp.zeros(len(starts), jnp.int32), valid)

    return Task(init, apply, targets, lambda targets: {}, loss, decode, ("spotted",))


def _conv(x: Float[Array, "B h w c"], features: int, name: str) -> Float[Array, "B h w {features}"]:
    """A convolution of the module that calls it, with zeros around."""
    height, width, channels = x.shape[1:]
    around = KERNEL // 2
    padded = jnp.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))
    taps = [padded[:, i : i + height, j : j + width] for i in range(KERNEL) for j in range(KERNEL)]
    kernel, bias = layers.Affine(KERNEL**2 * channels, features, initial=glorot, name=name)()
    return jnp.concatenate(taps, -1) @ kernel + bias


def _pool(x: Float[Array, "B h w c"], size: int) -> Float[Array, "B h//{size} w//{size} c"]:
    """Maximum over squares that do not overlap: XLA's own, or it would compute one again for every tap behind it."""
    return nn.max_pool(x, (size, size), (size, size))
