"""Models as tasks: the trainer, the predictor and the folds know nothing else about them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fedn_jax.core import config as configs
from fedn_jax.core import errors
from fedn_jax.core.types import Config, Encoding, Task
from fedn_jax.models.fedn import task as fedn_task
from fedn_jax.models.fesnet import task as fesnet_task
from fedn_jax.ops import nms, windows


class Model(NamedTuple):
    """A model before its data are known."""

    make: Callable[..., Task]  # (config, window geometry, number of classes, shape of an input row) -> Task
    check: Callable[[Config], Config]  # raises UserError unless the options fit this model
    frames: bool = False  # reads pictures, not embeddings


TASKS = {
    "fedn": Model(fedn_task.make_task, fedn_task.check),
    "fesnet": Model(fesnet_task.make_task, fesnet_task.check, frames=True),
}
# name -> what JAX calls it; sums of products, parameters, losses and moments are float32 with every one. Convolutions
# have no bfloat16 of their own: there it is the fastest that the device has (on a GPU TF32, on a TPU bfloat16).
PRECISIONS = {"device": None, "float32": "float32", "tf32": "tensorfloat32", "bfloat16": "BF16_BF16_F32"}


def validate(config: Config) -> Config:
    """Checks all options, those of the model included.

    Args:
      config: a configuration made from ``config.default()``.

    Returns:
      ``config``.

    Raises:
      UserError: the first option that is out of its range, or does not fit others.
    """
    configs.validate(config)
    errors.one_of("predict.suppression", config.predict.suppression, nms.KINDS)
    return TASKS[errors.one_of("task", config.task, TASKS)].check(config)


def make_task(config: Config, geometry: windows.Geometry, num_classes: int, input_shape: tuple[int, ...]) -> Task:
    """Builds the task that ``config.task`` names.

    Args:
      config: the whole configuration.
      geometry: how windows are cut.
      num_classes: C of the data.
      input_shape: of a row of the data, such as (D,).

    Returns:
      The task.

    Raises:
      UserError: no such task, or options that do not fit.
    """
    model = TASKS[errors.one_of("task", config.task, TASKS)]
    return with_precision(model.make(config, geometry, num_classes, tuple(input_shape)), config.train.precision)


def with_precision(task: Task, name: str) -> Task:
    """The same task with products of some precision.

    Args:
      task: a task.
      name: entry of ``PRECISIONS``.

    Returns:
      The task.

    Raises:
      UserError: no such precision.
    """
    name = errors.one_of("train.precision", name, PRECISIONS)
    if PRECISIONS[name] is None:
        return task
    encoding = task.encoding and Encoding(*(_at(PRECISIONS[name], step) for step in task.encoding))
    return task._replace(apply=_at(PRECISIONS[name], task.apply), encoding=encoding)


def _at(precision: str, function: Callable) -> Callable:
    """The same function with products of this precision; their derivatives inherit it."""

    @functools.wraps(function)
    def traced(*arguments: Any) -> Any:
        with jax.default_matmul_precision(precision):
            return function(*arguments)

    return traced
