"""Runs of one structure, trained as one program: the folds of all of them are entries of one mapped axis.

Runs may differ in the numbers of ``Hyper`` only. Each ends as a directory of its own, as if it had been alone; a single
run is a cohort of one.
"""

import contextlib
import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Config, Folds, Hyper, Store, TrainState, Tree, VideoMeta
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import checkpoint, parallel, predict, run_dir, train_step

log = logging.getLogger(__name__)


class Member(NamedTuple):
    """One run of a cohort."""

    run: Path  # its directory
    config: Config


class Trainer(NamedTuple):
    """What all runs of one structure share."""

    problem: Problem
    init: Callable[[train_step.Fold, Hyper], TrainState]  # of one fold
    epoch: Callable[..., tuple[TrainState, dict[str, Array]]]  # of one fold
    predictor: Callable[[Tree, Store, VideoMeta], dict[str, np.ndarray]]  # of one video
    state_bytes: int  # of one fold


class Part(NamedTuple):
    """The folds of one run that are trained in one program; its checkpoints lie together."""

    member: int
    number: int  # of the part among those of its run
    folds: range

    def directory(self, members: Sequence[Member]) -> Path:
        """Where its checkpoints lie.

        Args:
          members: of the cohort.

        Returns:
          A directory of the run.
        """
        return members[self.member].run / "checkpoints" / f"group{self.number}"


def trainer(config: Config, dataset: shards.Dataset, ending: str = "") -> Trainer:
    """Everything that is compiled once for all runs of one structure.

    Args:
      config: of any of the runs.
      dataset: loaded shards.
      ending: of the names of the folds that will be trained; the largest of them sets the steps of an epoch.

    Returns:
      The trainer.

    Raises:
      UserError: options that do not fit one another or the data.
    """
    problem = make_problem(config, dataset)

    def init(fold: train_step.Fold, hyper: Hyper) -> TrainState:
        return train_step.init_state(problem.task, fold, hyper)

    chosen = [place for place, name in enumerate(problem.folds.name) if name.endswith(ending)]
    steps = splits.steps_per_epoch(splits.take(problem.folds, chosen), config.train.batch_size, config.train.negatives)
    epoch = train_step.make_train_epoch(
        problem.task, problem.geometry, config.train.batch_size, config.train.negatives, steps
    )
    predictor = predict.make_predictor(problem.task, problem.geometry, config.window.test_hop, config.predict.chunk)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(_shapes(init, config)))
    return Trainer(problem, init, epoch, predictor, size)


def _shapes(init: Callable, config: Config) -> Tree:
    """Shapes of the state of one fold."""
    empty = np.zeros(1, np.int32)
    return jax.eval_shape(init, train_step.Fold(np.uint32(0), empty, empty), configs.to_hyper(config))


def entries(plan: Folds, several: Sequence[Config], parts: Sequence[tuple[int, Sequence[int]]]) -> tuple[Folds, Hyper]:
    """Folds of several runs as one axis.

    Args:
      plan: the K folds of each run.
      several: the configurations, one per run.
      parts: (run, some of its folds) each.

    Returns:
      (folds, Hyper [entries]): the folds of all parts, one after another.
    """
    chosen = splits.take(plan, [fold for _, part in parts for fold in part])
    numbers = [configs.to_hyper(several[run]) for run, part in parts for _ in part]
    return chosen, Hyper(*(np.stack(column) for column in zip(*numbers, strict=True)))


# ---- Which folds are trained together -------------------------------------------------------------------------------


def _split(members: Sequence[int], groups: Sequence[range], count: int) -> list[list[Part]]:
    """Groups of the entries members x folds -> the parts of every group."""
    programs, numbers = [], dict.fromkeys(members, 0)
    for group in groups:
        parts = []
        for place, member in enumerate(members):
            inside = range(max(group.start, place * count), min(group.stop, (place + 1) * count))
            if len(inside):
                chosen = range(inside.start - place * count, inside.stop - place * count)
                parts.append(Part(member, numbers[member], chosen))
                numbers[member] += 1
        programs.append(parts)
    return programs


def _plan(members: Sequence[Member], recorded: Sequence[dict], trained: Trainer, memory_gb: float) -> list[list[Part]]:
    """The programs, as lists of parts. What was begun keeps its programs on any devices, and so its bits."""
    devices, count = jax.local_devices(), len(trained.problem.folds.name)
    begun = {one["cohort"] for one, (run, _) in zip(recorded, members, strict=True)
             if "cohort" in one and (run / "checkpoints").exists()}  # fmt: skip
    kept: dict[tuple[str, int], list[Part]] = {}
    fresh = []
    for place, one in enumerate(recorded):
        if one.get("cohort") not in begun:
            fresh.append(place)
            continue
        for number, (edges, program) in enumerate(zip(one["groups"], one["programs"], strict=True)):
            kept.setdefault((one["cohort"], program), []).append(Part(place, number, range(*edges)))
    programs = list(kept.values())
    if fresh:
        memory = parallel.memory_of(devices, memory_gb)
        groups = parallel.group(len(fresh) * count, trained.state_bytes, memory, len(devices))
        new = _split(fresh, groups, count)
        name = f"{zlib.crc32(chr(0).join(str(members[place].run) for place in fresh).encode()):08x}"
        for place in fresh:
            mine = [(number, part) for number, parts in enumerate(new) for part in parts if part.member == place]
            facts = {
                "cohort": name,
                "groups": [[part.folds.start, part.folds.stop] for _, part in mine],
                "programs": [number for number, _ in mine],
            }
            run_dir.write_json(members[place].run / "run.json", recorded[place] | facts)
        programs += new
    return programs


# ---- Training --------------------------------------------------------------------------------------------------------


def fit(members: Sequence[Member], dataset: shards.Dataset, progress: Callable[..., Any]) -> None:
    """Trains all folds of all runs, or goes on where an earlier start was stopped, then predicts their test videos.

    Args:
      members: the runs; their configurations have one structure.
      dataset: loaded shards.
      progress: tqdm, or something with its interface.

    Raises:
      UserError: configurations of different structure, or a run that cannot go on as it was begun.
    """
    if len({configs.structure(member.config) for member in members}) != 1:
        raise UserError(f"the runs of a cohort may differ in {', '.join(configs.HYPER.values())} only")
    with contextlib.ExitStack() as locks:
        for member in members:
            configs.validate(member.config)
            locks.enter_context(files.alone(member.run))
        _fit(members, dataset, progress)


def _fit(members: Sequence[Member], dataset: shards.Dataset, progress: Callable[..., Any]) -> None:
    trained = trainer(members[0].config, dataset)
    problem = trained.problem
    facts = {
        "data": dataset.metadata["signature"], "folds": list(problem.folds.name), "classes": problem.classes,
        "input_width": int(dataset.store.inputs.shape[1]), "metadata": dataset.metadata,
        "fps": float(np.median([meta.fps for meta in dataset.metas])),
    }  # fmt: skip
    recorded = [run_dir.open_run(run, config, facts) for run, config in members]
    programs = _plan(members, recorded, trained, members[0].config.folds.memory_gb)
    _say(members, programs, trained)
    for parts in programs:
        missing = [part for part in parts if _unpredicted(members, part, problem)]
        if missing:
            states = _train(members, parts, trained, progress)
            for part in missing:
                _predict(members, part, trained, states[parts.index(part)], progress)


def _say(members: Sequence[Member], programs: Sequence[Sequence[Part]], trained: Trainer) -> None:
    problem, devices = trained.problem, jax.local_devices()
    inner = sum(name.endswith(splits.INNER) for name in problem.folds.name)
    positive = int(problem.windows.events.valid.any(1).sum())
    most = max(sum(len(part.folds) for part in parts) for parts in programs)
    several = f"{len(members)} runs of " if len(members) > 1 else ""
    log.info(
        f"{several}{len(problem.folds.name)} folds, {inner} of them inner; {len(problem.windows.start)} windows, "
        f"{positive} with an expression; {len(devices)} x {devices[0].device_kind}\n"
        f"a fold's state takes {trained.state_bytes / 1e6:.1f} MB: {len(programs)} group(s) of at most {most} folds"
    )


def _train(members, parts, trained, progress) -> list[TrainState]:
    """Trains the parts of one program to the end; returns their states [folds, ...] on the host."""
    problem, config = trained.problem, members[parts[0].member].config
    chosen, hyper = entries(problem.folds, [config for _, config in members], [(p.member, p.folds) for p in parts])
    shapes = _shapes(trained.init, config)
    templates = [jax.tree.map(lambda x: np.zeros((len(part.folds), *x.shape), x.dtype), shapes) for part in parts]  # noqa: B023
    directories = [part.directory(members) for part in parts]
    done, states = checkpoint.restore_together(directories, templates) or (0, None)
    epochs = config.train.epochs
    if states and done >= epochs:
        log.info(f"all {done} epochs are done")
        return states
    edges = np.cumsum([0, *(len(part.folds) for part in parts)])
    slices = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    state = states and jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
    logs = [run_dir.MetricsLog(members[part.member].run, part.number, done) for part in parts]
    bar = progress(total=epochs, initial=done, desc=f"train {len(chosen.name)} folds", unit="epoch")
    bar.set_postfix_str("compiling")
    stream = parallel.run(
        trained.init, trained.epoch, chosen, hyper, problem.store, problem.windows, range(done, epochs),
        jax.local_devices(), state,
    )  # fmt: skip
    for index, values, get_state in stream:
        finished = index + 1
        _refuse_nan(members, parts, chosen, finished, values)
        for lines, piece in zip(
            logs, slices, strict=True
        ):  # before the checkpoint: a resumed run drops a line too many
            lines.write(finished, chosen.name[piece], {name: value[piece] for name, value in values.items()})
        if finished % config.train.checkpoint_every == 0 or finished == epochs:
            state = get_state()
            states = [jax.tree.map(lambda leaf: leaf[piece], state) for piece in slices]  # noqa: B023
            for directory, one, piece in zip(directories, states, slices, strict=True):
                checkpoint.save(directory, finished, one, {"folds": list(chosen.name[piece])})
        bar.set_postfix_str(f"loss {values['loss'].mean():.3f}, {values['windows'].sum():.0f} windows")
        bar.update()
    bar.close()
    for lines in logs:
        lines.close()
    return states


def _refuse_nan(members, parts, chosen: Folds, epoch: int, values: dict[str, np.ndarray]) -> None:
    if all(np.isfinite(value).all() for value in values.values()):
        return
    runs_of = [members[part.member].run for part in parts for _ in part.folds]
    bad = [place for place, loss in enumerate(values["loss"]) if not np.isfinite(loss)] or range(len(chosen.name))
    named = ", ".join(dict.fromkeys(chosen.name[place] for place in bad))
    where = ", ".join(dict.fromkeys(str(runs_of[place]) for place in bad))
    raise UserError(
        f"the loss is not a finite number in epoch {epoch} of fold {named} of {where}; lower train.learning_rate and "
        "start into another --out"
    )


# ---- Prediction ------------------------------------------------------------------------------------------------------


def _unpredicted(members, part: Part, problem: Problem) -> list[tuple[int, str, VideoMeta]]:
    """(place in the part, fold, video) of the raw outputs that are not there yet."""
    return [
        (place, problem.folds.name[fold], problem.metas[video])
        for place, fold in enumerate(part.folds)
        for video in problem.folds.test[fold]
        if not run_dir.raw_path(members[part.member].run, problem.folds.name[fold], problem.metas[video]).exists()
    ]


def _predict(members, part: Part, trained: Trainer, state: TrainState, progress) -> None:
    """Saves the raw outputs of the part's test videos; those that are there already are kept."""
    run, problem = members[part.member].run, trained.problem
    store = jax.device_put(problem.store)
    for place, name, meta in progress(_unpredicted(members, part, problem), desc="predict", unit="video"):
        variables = fold_variables(state, place)
        predict.save_raw(run_dir.raw_path(run, name, meta), trained.predictor(variables, store, meta))


def fold_variables(state: TrainState, place: int) -> Tree:
    """What the network of one fold needs.

    Args:
      state: leaves [K, ...].
      place: the fold's.

    Returns:
      {"params": ..., others}.
    """
    params, extra = jax.tree.map(lambda leaf: leaf[place], (state.params, state.extra))
    return {"params": params, **extra}
