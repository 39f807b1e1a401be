"""Models as tasks: the trainer, the predictor and the folds know nothing else about them."""

from fedn_jax.core import errors
from fedn_jax.core.types import Config, Task
from fedn_jax.models.fedn import task as fedn_task
from fedn_jax.ops import windows

# name -> (config, window geometry, number of classes, width of the inputs) -> Task
TASKS = {"fedn": fedn_task.make_task}


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
    return TASKS[errors.one_of("task", config.task, TASKS)](config, geometry, num_classes, input_width)
