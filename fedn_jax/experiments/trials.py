"""A batch of trials on the inner folds: trials x inner folds x seeds as one mapped program per structure.

An inner fold holds out some of the training subjects of its outer fold; trials are scored there. Outer folds are not
trained, and their test subjects are neither trained on nor scored in the inner fold of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress, count
from fedn_jax.core.types import Config, Detections, Events, TrainState
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import make_problem
from fedn_jax.engine import parameters, predict, train_step
from fedn_jax.engine.decode import make_decoder, rule_of
from fedn_jax.engine.trainer import Trainer, make_program, make_trainer, pack
from fedn_jax.evaluation import matching, metrics

SCORES: dict[str, Callable[[Detections, Events, int], float]] = {  # entries as of search_space.OBJECTIVES
    "detection": lambda found, true, classes: metrics.mean_average_precision(found, true, classes)["coco"]["detection"],
    "spotting": lambda found, true, classes: metrics.mean_average_precision(found, true, classes)["coco"]["spotting"],
}


class Plan(NamedTuple):
    """How every trial is trained and scored."""

    seeds: int
    objective: str  # entry of SCORES
    rungs: tuple[int, ...]  # epochs after which trials may leave
    folds: tuple[str, ...]  # outer folds whose inner folds are used; (): all


def inner_folds(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The inner folds that trials are scored on.

    Args:
      names: of all folds.
      wanted: outer folds; empty: all.

    Returns:
      Indices.

    Raises:
      UserError: no such outer fold.
    """
    outer = [name.removesuffix(splits.INNER) for name in names if name.endswith(splits.INNER)]
    unknown = [name for name in wanted if name not in outer]
    if unknown:
        raise UserError(f"no fold {unknown[0]!r}; the folds are {', '.join(outer)}")
    chosen = {name + splits.INNER for name in (wanted or outer)}
    return [index for index, name in enumerate(names) if name in chosen]


class Remaining(NamedTuple):
    """Trials that are still in, and their training state; None before the first epoch."""

    numbers: list[int]
    state: TrainState | None  # leaves [trials * seeds * inner folds, ...], the inner folds changing fastest


def run(
    trials: Mapping[int, Config],
    plan: Plan,
    dataset: shards.Dataset,
    trainers: dict[str, Trainer],
    survivors: Callable[[int, dict[int, float]], set[int]],
    progress: Progress,
) -> dict[int, float]:
    """Trains trials of one structure, and scores them after every rung and at the end.

    Args:
      trials: number -> configuration; all of one structure.
      plan: how.
      dataset: loaded shards.
      trainers: structure -> what was compiled, of the structure that was trained last; it is replaced by that of these
        trials, since each holds inputs of its own.
      survivors: (epochs done, number -> score) -> the trials that go on.
      progress: bars.

    Returns:
      number -> last score; NaN where the loss was not finite.
    """
    config = next(iter(trials.values()))
    key = configs.structure(config)
    if key not in trainers:
        trainers.clear()
        trainers[key] = make_trainer(config, make_problem(config, dataset), splits.INNER)
    trainer = trainers[key]
    inner = inner_folds(trainer.problem.folds.name, plan.folds)
    remaining, scores = Remaining(sorted(trials), None), {}
    stops = [*plan.rungs, config.train.epochs]
    for start, stop in zip([0, *plan.rungs], stops, strict=True):
        remaining, finite = train(remaining, trials, plan.seeds, trainer, inner, range(start, stop), progress)
        now = _score(remaining, plan, trainer, inner, config, finite, progress)
        scores |= now
        if stop == config.train.epochs:
            break
        kept = survivors(stop, now) - {number for number, score in now.items() if not np.isfinite(score)}
        if not kept:
            break
        remaining = select(remaining, kept)
    return scores


def select(remaining: Remaining, kept: set[int]) -> Remaining:
    """Some of the trials.

    Args:
      remaining: trials with their state.
      kept: numbers of some of them.

    Returns:
      Those trials.
    """
    chosen = np.isin(remaining.numbers, sorted(kept))

    def rows(leaf: np.ndarray) -> np.ndarray:
        return leaf[np.repeat(chosen, len(leaf) // len(chosen))]

    return Remaining([number for number in remaining.numbers if number in kept], jax.tree.map(rows, remaining.state))


def train(
    remaining: Remaining,
    trials: Mapping[int, Config],
    seeds: int,
    trainer: Trainer,
    inner: Sequence[int],
    epochs: range,
    progress: Progress,
) -> tuple[Remaining, np.ndarray]:
    """Trains trials on inner folds for some epochs.

    Args:
      remaining: the trials, with their state after the epochs before.
      trials: number -> configuration.
      seeds: of each trial.
      trainer: of their structure.
      inner: indices of the inner folds.
      epochs: numbers of the epochs.
      progress: bars.

    Returns:
      (the trials with their new state, [trials * seeds * inner folds] bool: the loss was finite all the time).
    """
    run_configs = []
    for number in remaining.numbers:
        for seed in range(seeds):
            config = trials[number].copy_and_resolve_references()
            config.seed = (config.seed + seed) % 2**32
            run_configs.append(config)
    shares = [(run, [fold]) for run in range(len(run_configs)) for fold in inner]
    axis = [(run, fold) for run, folds in shares for fold in folds]
    states, finite = [], np.ones(len(shares), bool)
    title = f"train {count(len(remaining.numbers), 'trial')}"
    for part in pack(trainer, run_configs, axis, run_configs[0].folds.memory_gb):
        piece = slice(part.start, part.stop)
        _, program = make_program(trainer, run_configs, shares[piece], jax.local_devices())
        state = remaining.state and jax.tree.map(lambda leaf: leaf[piece], remaining.state)  # noqa: B023
        bar = progress(total=len(epochs), desc=f"{title}, {count(len(part), 'fold')}", unit="epoch")
        for _, values, get_state in trainer.driver.run(program, epochs, state):  # noqa: B007
            finite[piece] &= np.isfinite(values["loss"])
            bar.update()
        states.append(get_state())
        bar.close()
    return Remaining(remaining.numbers, jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)), finite


def _score(remaining, plan, trainer, inner, config, finite, progress) -> dict[int, float]:
    """number -> mean score over seeds."""
    problem = trainer.problem
    if not any(problem.events[video].valid.any() for fold in inner for video in problem.folds.test[fold]):
        raise UserError("the videos that the inner folds hold out have no expression, so nothing scores a trial")
    decode = make_decoder(problem.task, rule_of(config), config.predict.chunk)
    store, row, scores = jax.device_put(problem.store), 0, {}
    for number in progress(remaining.numbers, desc="score", unit="trial"):
        values = []
        for _ in range(plan.seeds):
            found, true, usable = [], [], finite[row : row + len(inner)].all()
            for fold in inner:
                state = remaining.state
                variables = jax.device_put(parameters.variables_of(*train_step.trained(state), row))
                for video in problem.folds.test[fold] if usable else ():
                    meta = problem.metas[video]
                    found.append(decode(predict.fetch(trainer.predictor(variables, store, meta)), meta.num_frames))
                    true.append(problem.events[video])
                row += 1
            score = (
                SCORES[plan.objective](matching.pad(found), matching.pad(true), len(problem.classes))
                if usable
                else np.nan
            )
            values.append(score)
        scores[number] = float(np.mean(values))
    return scores
