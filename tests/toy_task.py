"""A model that is not FEDN's kin, in few lines: pictures, batch normalisation, one label per frame.

models.TASKS |= toy_task.MODELS
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from fedn_jax.core.types import Task
from fedn_jax.models import Model, layers
from fedn_jax.ops import frame_labels


class Toy(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, pictures, counted, train):
        x = pictures.reshape(*pictures.shape[:2], -1).astype(float) / 255
        x = layers.BatchNorm()(nn.Dense(8, use_bias=False)(x), counted, train)
        return nn.Dense(self.classes + 1)(nn.relu(x))


def make_task(config, geometry, num_classes, input_shape):
    network, size, hop = Toy(num_classes), geometry.segments, config.window.test_hop

    def init(key):
        return network.init(key, jnp.zeros((1, size, *input_shape)), jnp.ones((1, size), bool), False)

    def apply(variables, got, weight, train, key):
        counted = got.inside & (weight[:, None] > 0)
        logits, others = network.apply(variables, got.inputs, counted, train, mutable=["batch_stats"])
        return {"logits": logits, "inside": got.inside}, dict(others)

    def loss(outputs, targets, context, hyper):
        cost = optax.softmax_cross_entropy_with_integer_labels(outputs["logits"], targets)
        counted = context.inside * context.weight[:, None] / (context.census / context.census.sum())[targets]
        return (cost * counted).sum() / jnp.maximum(counted.sum(), 1), {}

    def decode(outputs, starts, valid, num_frames):
        frames = (len(starts) - 1) * hop + size
        seen = outputs["inside"] & valid[:, None]
        stitched = frame_labels.stitch(jax.nn.softmax(outputs["logits"]), starts.astype(int), seen, frames)
        return frame_labels.runs(stitched, min_frames=3)

    def census(targets, inside):
        return (jax.nn.one_hot(targets, num_classes + 1) * inside[:, None]).sum(0)

    def tally(targets):
        return {"labelled": (targets > 0).sum(1)}

    def targets(events):
        return frame_labels.of_events(events, size)

    saved = ("logits", "inside")
    return Task(init, apply, targets, tally, loss, decode, saved, census=census, whole=True)


def make_by_steps(*args):
    """The same, with the other driver."""
    return make_task(*args)._replace(driver="steps")


MODELS = {
    "toy": Model(make_task, lambda config: config),
    "toy_by_steps": Model(make_by_steps, lambda config: config),
}
