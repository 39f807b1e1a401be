"""A batch of trials on the inner folds: trials x inner folds x seeds as one mapped program per structure.

An inner fold holds out some of the training subjects of its outer fold; trials are judged there. Outer folds are not
trained, and their test subjects are neither trained on nor scored in the inner fold of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Config, Detections, Events, TrainState
from fedn_jax.data import shards, splits
from fedn_jax.engine import fit, parallel, predict
from fedn_jax.evaluation import matching, metrics

SCORES: dict[str, Callable[[Detections, Events, int], float]] = {  # entries as of space.OBJECTIVES
    "detection": lambda found, true, classes: metrics.mean_average_precision(found, true, classes)["coco"]["detection"],
    "spotting": lambda found, true, classes: metrics.mean_average_precision(found, true, classes)["coco"]["spotting"],
}


class Plan(NamedTuple):
    """How every trial is trained and judged."""

    seeds: int
    objective: str  # entry of SCORES
    rungs: tuple[int, ...]  # epochs after which trials may leave
    folds: tuple[str, ...]  # outer folds whose inner folds judge; (): all


def inner_folds(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The inner folds that judge.

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
    return [place for place, name in enumerate(names) if name in chosen]


class _State(NamedTuple):
    """Trials that are still in, with the state of their entries (trial, seed, inner fold), in this order."""

    numbers: list[int]
    state: TrainState | None  # leaves [trials * seeds * inner folds, ...]


def run(
    trials: Mapping[int, Config],
    plan: Plan,
    dataset: shards.Dataset,
    trainers: dict[str, fit.Trainer],
    stay: Callable[[int, dict[int, float]], set[int]],
    progress: Callable[..., Any],
) -> dict[int, float]:
    """Trains trials of one structure, and judges them after every rung and at the end.

    Args:
      trials: number -> configuration; all of one structure.
      plan: how.
      dataset: loaded shards.
      trainers: structure -> what was compiled; one is added where it is missing.
      stay: (epochs done, number -> score) -> the trials that go on.
      progress: tqdm, or something with its interface.

    Returns:
      number -> last score; NaN where the loss was not finite.
    """
    config = next(iter(trials.values()))
    key = configs.structure(config)
    if key not in trainers:
        trainers[key] = fit.trainer(config, dataset, splits.INNER)
    trained = trainers[key]
    inner = inner_folds(trained.problem.folds.name, plan.folds)
    left, scores = _State(sorted(trials), None), {}
    stops = [*plan.rungs, config.train.epochs]
    for start, stop in zip([0, *plan.rungs], stops, strict=True):
        left, finite = _train(left, trials, plan.seeds, trained, inner, range(start, stop), progress)
        now = _judge(left, plan, trained, inner, config, finite, progress)
        scores |= now
        if stop == config.train.epochs:
            break
        going = stay(stop, now) - {number for number, score in now.items() if not np.isfinite(score)}
        if not going:
            break
        left = _keep(left, going, plan.seeds * len(inner))
    return scores


def _keep(left: _State, going: set[int], entries: int) -> _State:
    places = [place for place, number in enumerate(left.numbers) if number in going]
    index = np.concatenate([np.arange(place * entries, (place + 1) * entries) for place in places])
    return _State([left.numbers[p] for p in places], jax.tree.map(lambda leaf: leaf[index], left.state))


def _train(left, trials, seeds, trained, inner, epochs, progress) -> tuple[_State, np.ndarray]:
    """(states after the epochs, [entries] bool: the loss was finite all the time)."""
    several = []
    for number in left.numbers:
        for seed in range(seeds):
            config = trials[number].copy_and_resolve_references()
            config.seed = (config.seed + seed) % 2**32
            several.append(config)
    everything = [(run, [fold]) for run in range(len(several)) for fold in inner]
    devices = jax.local_devices()
    memory = parallel.memory_of(devices, several[0].folds.memory_gb)
    states, finite = [], np.ones(len(everything), bool)
    for group in parallel.group(len(everything), trained.state_bytes, memory, len(devices)):
        piece = slice(group.start, group.stop)
        chosen, hyper = fit.entries(trained.problem.folds, several, everything[piece])
        state = left.state and jax.tree.map(lambda leaf: leaf[piece], left.state)  # noqa: B023
        bar = progress(total=len(epochs), desc=f"train {len(left.numbers)} trials, {len(group)} folds", unit="epoch")
        stream = parallel.run(
            trained.init, trained.epoch, chosen, hyper, trained.problem.store, trained.problem.windows, epochs,
            devices, state,
        )  # fmt: skip
        for _, values, get_state in stream:  # noqa: B007
            finite[piece] &= np.isfinite(values["loss"])
            bar.update()
        states.append(get_state())
        bar.close()
    return _State(left.numbers, jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)), finite


def _judge(left, plan, trained, inner, config, finite, progress) -> dict[int, float]:
    """number -> mean score over seeds."""
    problem, post = trained.problem, config.predict
    decode = predict.make_decoder(problem.task, post.nms_iou, post.max_detections, post.per_class, post.chunk)
    store, entry, scores = jax.device_put(problem.store), 0, {}
    for number in progress(left.numbers, desc="judge", unit="trial"):
        values = []
        for _ in range(plan.seeds):
            found, true, usable = [], [], finite[entry : entry + len(inner)].all()
            for fold in inner:
                variables = fit.fold_variables(left.state, entry)
                for video in problem.folds.test[fold] if usable else ():
                    meta = problem.metas[video]
                    found.append(decode(trained.predictor(variables, store, meta), meta.num_frames))
                    true.append(problem.events[video])
                entry += 1
            score = (
                SCORES[plan.objective](matching.pad(found), matching.pad(true), len(problem.classes))
                if usable
                else np.nan
            )
            values.append(score)
        scores[number] = float(np.mean(values))
    return scores
