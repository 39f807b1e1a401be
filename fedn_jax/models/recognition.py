"""Recognisers as tasks: one sample is one interval, which gets one emotion."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int, Key

from fedn_jax.core.keys import fold_name
from fedn_jax.core.types import Array, Context, Detections, Events, Hyper, Task, Tree
from fedn_jax.models import layers
from fedn_jax.ops import windows

GEOMETRY = windows.Geometry(1, 1, 1)  # a sample is a window of one row


class Probe(nn.Module):
    """A linear classifier of normalised features (Alain and Bengio 2016): what the features hold, and no more."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs: Float[Array, "B d"], train: bool, counted: Bool[Array, " B"]) -> Float[Array, "B C"]:
        """Classifies.

        Args:
          inputs: [B, d], features of an interval.
          train: unused.
          counted: unused.

        Returns:
          [B, C] float, logits.
        """
        del train, counted
        x = nn.LayerNorm(use_scale=False, use_bias=False, use_fast_variance=False)(inputs.astype(float))
        kernel, bias = layers.Affine(x.shape[-1], self.num_classes, name="output")()
        return x @ kernel + bias


def no_penalty(params: Tree) -> Float[Array, ""]:
    """Nothing is added to the loss.

    Args:
      params: unused.

    Returns:
      0.
    """
    del params
    return jnp.zeros(())


def make_task(
    network: nn.Module, sample_shape: tuple[int, ...], penalty: Callable[[Tree], Float[Array, ""]] = no_penalty
) -> Task:
    """A recogniser as a task; trained by softmax cross-entropy, without class weights.

    Args:
      network: (samples [B, ...], train, counted [B]) -> logits [B, C]; its random streams are "dropout" and "frames".
      sample_shape: of a sample.
      penalty: parameters -> what is added to the loss.

    Returns:
      The task; ``decode`` gives the emotion of each sample, in place of the interval its number.
    """

    def init(key: Array) -> Tree:
        return layers.init(network, key, jnp.zeros((1, *sample_shape)), False, jnp.ones(1, bool))

    def apply(
        variables: Tree, got: windows.Gathered, weight: Float[Array, " B"], train: bool, key: Key[Array, ""]
    ) -> tuple[dict, Tree]:
        streams = {name: fold_name(key, name) for name in ("dropout", "frames")}
        given = (variables, got.inputs[:, 0], train, weight > 0)
        logits, others = network.apply(*given, rngs=streams, mutable=["batch_stats"])
        return {"logits": logits, "penalty": penalty(variables["params"])}, dict(others)

    def targets(events: Events) -> Int[Array, ""]:
        return events.emotion[0]

    def loss(outputs: dict, targets: Int[Array, " B"], context: Context, hyper: Hyper) -> tuple[Array, dict]:
        del hyper
        cost = optax.softmax_cross_entropy_with_integer_labels(outputs["logits"], targets)
        right = outputs["logits"].argmax(-1) == targets
        mean = lambda values: (values * context.weight).sum() / jnp.maximum(context.weight.sum(), 1)
        return mean(cost) + outputs["penalty"], {"accuracy": mean(right)}

    def decode(
        outputs: dict, starts: Float[Array, " W"], valid: Bool[Array, " W"], num_frames: Float[Array, ""] | float
    ) -> Detections:
        del num_frames
        share = jax.nn.softmax(outputs["logits"])
        emotion = share.argmax(-1).astype(jnp.int32)
        return Detections(jnp.stack([starts, starts + 1], -1), share.max(-1), emotion, valid)

    return Task(init, apply, targets, lambda targets: {}, loss, decode, ("logits",))
