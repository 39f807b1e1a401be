"""What one window costs: parameters and operations, backbone included, counted by XLA on the lowered program."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedn_jax.core.types import Task
from fedn_jax.models import resnet
from fedn_jax.ops import windows


class Cost(NamedTuple):
    """Of a forward pass."""

    parameters: int
    flops: float  # two per multiplication and addition; XLA leaves out products with padding


def _count(forward: Callable, variables: Any, *inputs: jax.ShapeDtypeStruct) -> Cost:
    lowered = jax.jit(forward).lower(variables, *inputs)
    return Cost(sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables)), lowered.cost_analysis()["flops"])


def network(task: Task, geometry: windows.Geometry, input_shape: tuple[int, ...]) -> Cost:
    """A network without its backbone, on one window.

    Args:
      task: the model.
      geometry: how windows are cut.
      input_shape: of a row of the data, such as (D,).

    Returns:
      The cost; nothing is compiled or run.
    """

    def forward(variables: Any, inputs: Any, valid: Any) -> Any:
        got = windows.Gathered(inputs, valid, jnp.ones((1, geometry.segments), bool))
        return task.apply(variables, got, jnp.ones(1), False, jax.random.key(0))[0]

    shape = (1, geometry.rows, *input_shape)
    inputs, valid = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(shape[:2], jnp.bool_)
    return _count(forward, jax.eval_shape(task.init, jax.random.key(0)), inputs, valid)


def backbone(widths: tuple[int, ...], size: int) -> Cost:
    """ResNet18 on one frame.

    Args:
      widths: channels of its four stages.
      size: side of the picture in pixels.

    Returns:
      The cost; nothing is compiled or run.
    """
    extractor = resnet.ResNet18(tuple(widths))
    picture = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(extractor.init, jax.random.key(0), picture)
    return _count(extractor.apply, variables, picture)
