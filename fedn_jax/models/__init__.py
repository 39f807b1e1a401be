"""Models as tasks: the trainer, the predictor and the folds know nothing else about them."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from fedn_jax.core import errors
from fedn_jax.core.types import Config, Task
from fedn_jax.models.fedn import task as fedn_task
from fedn_jax.ops import windows

# name -> (config, window geometry, number of classes, width of the inputs) -> Task
TASKS = {"fedn": fedn_task.make_task}
# name -> what JAX calls it; sums of products, parameters, losses and moments are float32 with every one. Convolutions
# have no bfloat16 of their own: there it is the fastest that the device has (on a GPU TF32, on a TPU bfloat16).
PRECISIONS = {"device": None, "float32": "float32", "tf32": "tensorfloat32", "bfloat16": "BF16_BF16_F32"}


def make_task(config: Config, geometry: windows.Geometry, num_classes: int, input_width: int) -> Task:
    """Builds the task that ``config.task`` names.

    Args:
      config: the whole configuration.
      geometry: how windows are cut.
      num_classes: C of the data.
      input_width: D of the data.

    Returns:
      The task.

    Raises:
      UserError: no such task, or options that do not fit.
    """
    name = errors.one_of("train.precision", config.train.precision, PRECISIONS)
    task = TASKS[errors.one_of("task", config.task, TASKS)](config, geometry, num_classes, input_width)
    if PRECISIONS[name] is None:
        return task
    return task._replace(features=_at(PRECISIONS[name], task.features), outputs=_at(PRECISIONS[name], task.outputs))


def _at(precision: str, function: Callable) -> Callable:
    """The same function with products of this precision; their derivatives inherit it."""

    @functools.wraps(function)
    def traced(*arguments: Any) -> Any:
        with jax.default_matmul_precision(precision):
            return function(*arguments)

    return traced
