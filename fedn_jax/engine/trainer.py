"""What is compiled once for all runs of one structure, and how many of their folds fit one program."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core import errors
from fedn_jax.core.types import Config, Folds, Hyper, Store, Task, TrainState, Tree, VideoMeta
from fedn_jax.data import splits
from fedn_jax.data.problem import Problem
from fedn_jax.engine import memory, parallel, predict, steps, train_step


class Driver(NamedTuple):
    """A way to run epochs: functions that belong together, on programs of their own form."""

    make_epoch: Callable[..., Any]  # see train_step.make_train_epoch
    make_program: Callable[..., Any]  # (init, epoch, folds, hyper, store, windows, devices) -> program
    memory_needed: Callable[[Any], tuple[int, int]]  # (program) -> (bytes of a device, those that do not grow)
    run: Callable[..., Iterator]  # (program, epochs, state), see parallel.run


DRIVERS = {  # Task.driver -> how its epochs run
    "scan": Driver(train_step.make_train_epoch, parallel.make_program, parallel.memory_needed, parallel.run),
    "steps": Driver(steps.make_epoch, steps.make_program, steps.memory_needed, steps.run),
}


class Trainer(NamedTuple):
    """What all runs of one structure have in common."""

    problem: Problem
    driver: Driver
    init: Callable[[train_step.Fold, Hyper], TrainState]  # of one fold
    epoch: Any  # of one fold, of the driver
    predictor: Callable[[Tree, Store, VideoMeta], predict.Predicted]  # of one video
    state_bytes: int  # of one fold


def make_trainer(config: Config, problem: Problem, ending: str = "") -> Trainer:
    """Everything that is compiled once for all runs of one structure.

    Args:
      config: of any of the runs.
      problem: that they share, see ``data.problem.make_problem``.
      ending: of the names of the folds that will be trained; the largest of them sets the steps of an epoch.

    Returns:
      The trainer.

    Raises:
      UserError: no such schedule.
    """

    def init(fold: train_step.Fold, hyper: Hyper) -> TrainState:
        return train_step.init_state(problem.task, fold, hyper)

    chosen = [index for index, name in enumerate(problem.folds.name) if name.endswith(ending)]
    batch_size, negatives = config.train.batch_size, config.train.negatives
    number = splits.steps_per_epoch(splits.take(problem.folds, chosen), batch_size, negatives)
    driver = DRIVERS[problem.task.driver]
    schedule = errors.one_of("train.schedule", config.train.schedule, train_step.SCHEDULES)
    factor = train_step.make_factor(schedule, config.train.warmup_steps, config.train.epochs * number)
    epoch = driver.make_epoch(
        problem.task, problem.geometry, batch_size, negatives, number, factor, configs.shifts(config)
    )
    predictor = predict.make_predictor(problem.task, problem.geometry, config.window.test_hop, config.predict.chunk)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(empty_state(problem.task, config, 1)))
    return Trainer(problem, driver, init, epoch, predictor, size)


def empty_state(task: Task, config: Config, num_folds: int) -> TrainState:
    """Zeros of the shapes and dtypes of a training state, for checkpoints to be read into.

    Args:
      task: the model.
      config: of the run.
      num_folds: K.

    Returns:
      Leaves [K, ...], NumPy.
    """
    none = np.zeros(1, np.int32)
    fold = train_step.Fold(np.uint32(0), none, none, np.zeros(0, np.float32))
    init = lambda fold, hyper: train_step.init_state(task, fold, hyper)
    shapes = jax.eval_shape(init, fold, configs.to_hyper(config))
    return jax.tree.map(lambda leaf: np.zeros((num_folds, *leaf.shape), leaf.dtype), shapes)


def shape_of_variables(task: Task) -> Tree:
    """Shapes and dtypes of what the network of one fold needs, for parameters to be compared with.

    Args:
      task: the model; JAX keeps what it traced of it, so that asking again costs nothing.

    Returns:
      {"params": ..., others}, leaves ``jax.ShapeDtypeStruct``.
    """
    return jax.eval_shape(task.init, jax.random.key(0))


def make_program(
    trainer: Trainer,
    run_configs: Sequence[Config],
    shares: Sequence[tuple[int, Sequence[int]]],
    devices: Sequence[jax.Device],
) -> tuple[Folds, Any]:
    """The program that trains folds of different runs, one share after another.

    Args:
      trainer: of their structure.
      run_configs: one configuration per run.
      shares: (index of a run, indices of some of its folds) each.
      devices: the devices to use.

    Returns:
      (the N folds of all shares, the program of them, of the trainer's driver).
    """
    problem = trainer.problem
    folds = splits.take(problem.folds, [fold for _, folds in shares for fold in folds])
    numbers = [configs.to_hyper(run_configs[run]) for run, folds in shares for _ in folds]
    hyper = jax.tree.map(lambda *values: np.stack(values), *numbers)
    return folds, trainer.driver.make_program(
        trainer.init, trainer.epoch, folds, hyper, problem.store, problem.windows, devices
    )


def pack(
    trainer: Trainer, run_configs: Sequence[Config], axis: Sequence[tuple[int, int]], memory_gb: float, number: int = 1
) -> list[range]:
    """Packs folds of different runs into as few programs as fit the devices' memory.

    Args:
      trainer: of the structure.
      run_configs: one configuration per run.
      axis: (index of a run, index of a fold) of all that shall be trained.
      memory_gb: memory of a device that folds may fill; 0: asked of the device.
      number: of programs, at least.

    Returns:
      Ranges of the axis, one per program.

    Raises:
      UserError: not even one fold fits.
    """
    devices = jax.local_devices()[: len(axis)]

    def bytes_of(size: int) -> tuple[int, int]:
        shares = [(run, [fold]) for run, fold in axis[:size]]
        return trainer.driver.memory_needed(make_program(trainer, run_configs, shares, devices)[1])

    return memory.pack(len(axis), len(devices), memory.allowed(devices, memory_gb), bytes_of, number)
