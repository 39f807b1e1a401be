"""What a training will take, before anything starts: memory as the compiler says, disk as shapes say."""

import time
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax.core.text import count
from fedn_jax.core.types import Config
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import memory, predict
from fedn_jax.engine.trainer import Trainer, make_program, make_trainer, shape_of_variables


class Plan(NamedTuple):
    """What a training will take."""

    folds: int
    inner: int  # of them
    videos: int
    predictions: int  # test videos of all folds
    windows: int  # for training
    positive: int  # of them
    steps: int  # of an epoch, of the largest fold
    epochs: int
    parameters: int  # numbers of one fold
    state_bytes: int  # of one fold
    programs: tuple[int, ...]  # folds of each
    devices: int
    memory: float  # bytes of a device that folds may fill
    needed: int  # bytes of a device for the largest program
    data_bytes: int  # of them, those that do not grow with the folds
    disk_training: int  # bytes at most, while it trains: two checkpoints, one half made
    disk_finished: int  # bytes of the finished run
    seconds: float | None  # of all epochs, from a measured one


def make_plan(
    config: Config, dataset: shards.Dataset, num_devices: int = 0, memory_gb: float = 0.0, measure: bool = False
) -> Plan:
    """Looks ahead.

    Args:
      config: of the run.
      dataset: loaded shards.
      num_devices: devices of the kind of the local ones; 0: those that are there.
      memory_gb: of a device that folds may fill; 0: as the configuration says.
      measure: train three epochs of the largest program, and time the faster of the last two.

    Returns:
      The plan.

    Raises:
      UserError: options that do not fit the data or one another, or not even one fold fits the memory.
    """
    problem, local = make_problem(config, dataset), jax.local_devices()
    trainer = make_trainer(config, problem)
    devices = num_devices or len(local)
    names = problem.folds.name
    allowed = memory.allowed(local, memory_gb or config.folds.memory_gb)

    def on_one_device(size: int) -> Any:
        """A program of so many folds as one of the devices sees it."""
        return make_program(trainer, [config], [(0, range(-(-size // min(devices, size))))], local[:1])[1]

    def bytes_of(size: int) -> tuple[int, int]:
        return trainer.driver.memory_needed(on_one_device(size))

    ranges = memory.pack(len(names), devices, allowed, bytes_of, config.folds.programs)
    sizes = tuple(len(part) for part in ranges)
    needed, data = bytes_of(max(sizes))
    parameters = jax.tree.leaves(shape_of_variables(problem.task))
    per_fold = sum(leaf.size * leaf.dtype.itemsize for leaf in parameters)
    inner = sum(name.endswith(splits.INNER) for name in names)
    outputs, state = _outputs_bytes(config, problem), trainer.state_bytes
    return Plan(
        folds=len(names), inner=inner, videos=len(problem.metas), predictions=sum(map(len, problem.folds.test)),
        windows=len(problem.windows.start), positive=int(problem.windows.events.valid.any(1).sum()),
        steps=splits.steps_per_epoch(problem.folds, config.train.batch_size, config.train.negatives),
        epochs=config.train.epochs, parameters=sum(leaf.size for leaf in parameters), state_bytes=state,
        programs=sizes, devices=devices, memory=allowed, needed=needed, data_bytes=data,
        disk_training=3 * max(sizes) * state + len(names) * per_fold,
        disk_finished=(len(names) - inner) * per_fold + outputs + config.train.keep_state * len(names) * state,
        seconds=_seconds(trainer, on_one_device(max(sizes))) * config.train.epochs * len(sizes) if measure else None,
    )  # fmt: skip


def _outputs_bytes(config: Config, problem: Problem) -> int:
    """Of the network outputs of all test videos of outer folds."""
    geometry, inputs = problem.geometry, problem.store.inputs
    row = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    saved = predict.shapes_of_outputs(problem.task, geometry, row).values()
    window = sum(leaf.size * leaf.dtype.itemsize for leaf in saved) + 4  # and its first frame
    return window * sum(len(predict.window_starts(meta, geometry, config.window.test_hop)) for meta in problem.metas)


def _seconds(trainer: Trainer, program: Any) -> float:
    """Of the faster of two warm epochs."""
    stamps = [time.perf_counter() for _ in trainer.driver.run(program, range(3))]
    return float(np.diff(stamps).min())


def lines(plan: Plan) -> list[tuple[str, str]]:
    """A plan in words.

    Args:
      plan: of ``make_plan``.

    Returns:
      (what, how much) each.
    """
    size = lambda number: f"{number / 1e9:.2f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
    groups = ", ".join(map(str, plan.programs)) if len(plan.programs) <= 8 else f"at most {max(plan.programs)} each"
    hours = (
        "not measured (--measure)"
        if plan.seconds is None
        else (f"{plan.seconds / 3600:.2f} h for all epochs, from one that was measured here, without prediction")
    )
    filled = (
        f"{size(plan.needed)} as compiled ({size(plan.data_bytes)} whatever the folds); {size(plan.memory)} allowed"
    )
    return [
        ("folds", f"{plan.folds}, {plan.inner} of them inner"),
        ("test videos", f"{plan.predictions} predictions of {plan.videos} videos"),
        ("training windows", f"{plan.windows}, {plan.positive} with an expression"),
        ("steps", f"{count(plan.epochs, 'epoch')} of {count(plan.steps, 'step')}"),
        ("network", f"{plan.parameters:,} parameters; {size(plan.state_bytes)} of training state per fold"),
        ("programs", f"{len(plan.programs)}, of {groups} folds, on {count(plan.devices, 'device')}"),
        ("memory of a device", filled),
        ("disk while training", f"at most {size(plan.disk_training)}"),
        ("disk when finished", size(plan.disk_finished)),
        ("time", hours),
    ]  # fmt: skip
