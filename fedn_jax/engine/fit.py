"""Trains runs: the folds of all runs of one structure are trained together, as one program where memory allows.

Runs may differ in the numbers of ``Hyper`` only. Each ends as a directory of its own, as if it had been trained alone.
"""

import contextlib
import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress, count
from fedn_jax.core.types import Array, Config, Folds, Hyper, Store, Task, TrainState, Tree, VideoMeta
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import checkpoint, parallel, predict, run_dir, train_step

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """One training."""

    directory: Path
    config: Config


class Trainer(NamedTuple):
    """What all runs of one structure have in common."""

    problem: Problem
    init: Callable[[train_step.Fold, Hyper], TrainState]  # of one fold
    epoch: Callable[..., tuple[TrainState, dict[str, Array]]]  # of one fold
    predictor: Callable[[Tree, Store, VideoMeta], dict[str, np.ndarray]]  # of one video
    state_bytes: int  # of one fold


class Share(NamedTuple):
    """The folds of one run that one program trains; their checkpoints lie together."""

    run: int  # index of the run
    number: int  # of the program among those of the run
    folds: range


def make_trainer(config: Config, dataset: shards.Dataset, ending: str = "") -> Trainer:
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

    chosen = [index for index, name in enumerate(problem.folds.name) if name.endswith(ending)]
    steps = splits.steps_per_epoch(splits.take(problem.folds, chosen), config.train.batch_size, config.train.negatives)
    epoch = train_step.make_train_epoch(
        problem.task, problem.geometry, config.train.batch_size, config.train.negatives, steps
    )
    predictor = predict.make_predictor(problem.task, problem.geometry, config.window.test_hop, config.predict.chunk)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(empty_state(problem.task, config, 1)))
    return Trainer(problem, init, epoch, predictor, size)


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
    fold = train_step.Fold(np.uint32(0), none, none)
    init = lambda fold, hyper: train_step.init_state(task, fold, hyper)
    shapes = jax.eval_shape(init, fold, configs.to_hyper(config))
    return jax.tree.map(lambda leaf: np.zeros((num_folds, *leaf.shape), leaf.dtype), shapes)


def program_axis(
    plan: Folds, run_configs: Sequence[Config], shares: Sequence[tuple[int, Sequence[int]]]
) -> tuple[Folds, Hyper]:
    """Folds of different runs as the axis that a program is mapped over.

    Args:
      plan: the K folds of each run.
      run_configs: one configuration per run.
      shares: (index of a run, indices of some of its folds) each.

    Returns:
      (folds, Hyper [N]): the N folds of all shares, one share after another.
    """
    chosen = splits.take(plan, [fold for _, folds in shares for fold in folds])
    numbers = [configs.to_hyper(run_configs[run]) for run, folds in shares for _ in folds]
    return chosen, Hyper(*(np.stack(column) for column in zip(*numbers, strict=True)))


# ---- Which folds are trained together -------------------------------------------------------------------------------


def make_shares(runs: Sequence[int], ranges: Sequence[range], num_folds: int) -> list[list[Share]]:
    """Turns ranges of the axis runs x folds into the shares of each program.

    Args:
      runs: indices of R runs.
      ranges: of the axis [R * K], one per program.
      num_folds: K, folds of each run.

    Returns:
      The shares of each program, in the order of the axis.
    """
    programs, numbers = [], dict.fromkeys(runs, 0)
    for whole in ranges:
        shares = []
        for position, run in enumerate(runs):
            first = position * num_folds
            inside = range(max(whole.start, first), min(whole.stop, first + num_folds))
            if len(inside):
                shares.append(Share(run, numbers[run], range(inside.start - first, inside.stop - first)))
                numbers[run] += 1
        programs.append(shares)
    return programs


def _plan(runs: Sequence[Run], recorded: Sequence[dict], trainer: Trainer) -> list[list[Share]]:
    """The shares of every program. What was begun keeps its programs on any devices, and so its bits."""
    begun = {facts["plan"] for facts, run in zip(recorded, runs, strict=True)
             if "plan" in facts and (run.directory / "checkpoints").exists()}  # fmt: skip
    kept: dict[tuple[str, int], list[Share]] = {}
    fresh = []
    for index, facts in enumerate(recorded):
        if facts.get("plan") not in begun:
            fresh.append(index)
            continue
        for number, program in enumerate(facts["programs"]):
            share = Share(index, number, range(*program["folds"]))
            kept.setdefault((facts["plan"], program["number"]), []).append(share)
    return list(kept.values()) + (_plan_fresh(runs, recorded, trainer, fresh) if fresh else [])


def _plan_fresh(
    runs: Sequence[Run], recorded: Sequence[dict], trainer: Trainer, fresh: Sequence[int]
) -> list[list[Share]]:
    """As few programs as fit the memory for the runs with these indices; each run's part is noted in its run.json."""
    devices, num_folds = jax.local_devices(), len(trainer.problem.folds.name)
    memory = parallel.memory_of(devices, runs[0].config.folds.memory_gb)
    ranges = parallel.split(len(fresh) * num_folds, trainer.state_bytes, memory, len(devices))
    programs = make_shares(fresh, ranges, num_folds)
    name = f"{zlib.crc32(chr(0).join(str(runs[index].directory) for index in fresh).encode()):08x}"
    for index in fresh:
        own = [
            {"number": number, "folds": [share.folds.start, share.folds.stop]}
            for number, shares in enumerate(programs) for share in shares if share.run == index
        ]  # fmt: skip
        run_dir.write_json(runs[index].directory / "run.json", recorded[index] | {"plan": name, "programs": own})
    return programs


# ---- Training --------------------------------------------------------------------------------------------------------


def fit(runs: Sequence[Run], dataset: shards.Dataset, progress: Progress) -> None:
    """Trains all folds of all runs, or goes on where an earlier start was stopped, then predicts their test videos.

    Args:
      runs: their configurations have one structure.
      dataset: loaded shards.
      progress: bars.

    Raises:
      UserError: configurations of different structure, or a run that cannot go on as it was begun.
    """
    if len({configs.structure(run.config) for run in runs}) != 1:
        raise UserError(f"runs that are trained together may differ in {', '.join(configs.HYPER.values())} only")
    with contextlib.ExitStack() as locks:
        for run in runs:
            configs.validate(run.config)
            locks.enter_context(files.lock(run.directory))
        _fit(runs, dataset, progress)


def _fit(runs: Sequence[Run], dataset: shards.Dataset, progress: Progress) -> None:
    trainer = make_trainer(runs[0].config, dataset)
    problem = trainer.problem
    facts = {
        "data": dataset.metadata["signature"], "folds": list(problem.folds.name), "classes": problem.classes,
        "input_width": int(dataset.store.inputs.shape[1]), "metadata": dataset.metadata,
        "fps": float(np.median([meta.fps for meta in dataset.metas])),
    }  # fmt: skip
    recorded = [run_dir.open_run(run.directory, run.config, facts) for run in runs]
    programs = _plan(runs, recorded, trainer)
    log.info(_describe(len(runs), programs, trainer))
    for shares in programs:
        missing = [share for share in shares if _unpredicted(runs, share, problem)]
        if missing:
            states = _train(runs, shares, trainer, progress)
            for share in missing:
                _predict(runs, share, trainer, states[shares.index(share)], progress)


def _describe(num_runs: int, programs: Sequence[Sequence[Share]], trainer: Trainer) -> str:
    """What will be trained, on what, in two lines."""
    problem, devices = trainer.problem, jax.local_devices()
    names = problem.folds.name
    inner = sum(name.endswith(splits.INNER) for name in names)
    positive = int(problem.windows.events.valid.any(1).sum())
    largest = max(sum(len(share.folds) for share in shares) for shares in programs)
    together = f"in {len(programs)} programs of at most {count(largest, 'fold')}, one after another"
    return (
        f"{f'{num_runs} runs of ' if num_runs > 1 else ''}{count(len(names), 'fold')} ({inner} of them inner) on "
        f"{len(devices)} x {devices[0].device_kind}, {'all in one program' if len(programs) == 1 else together}; "
        f"{trainer.state_bytes / 1e6:.1f} MB of training state per fold\n"
        f"{count(len(problem.windows.start), 'training window')}, {positive} with an expression"
    )


def _train(runs: Sequence[Run], shares: Sequence[Share], trainer: Trainer, progress: Progress) -> list[TrainState]:
    """Trains one program to the end; returns the state [folds, ...] of each share on the host."""
    problem, config = trainer.problem, runs[shares[0].run].config
    pairs = [(share.run, share.folds) for share in shares]
    chosen, hyper = program_axis(problem.folds, [run.config for run in runs], pairs)
    directories = [runs[share.run].directory / "checkpoints" / f"program{share.number}" for share in shares]
    templates = [empty_state(problem.task, config, len(share.folds)) for share in shares]
    done, states = checkpoint.restore_together(directories, templates) or (0, None)
    epochs = config.train.epochs
    if states and done >= epochs:
        log.info(f"all {done} epochs are done")
        return states
    edges = np.cumsum([0, *(len(share.folds) for share in shares)])
    slices = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    state = states and jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
    logs = [run_dir.MetricsLog(runs[share.run].directory, share.number, done) for share in shares]
    bar = progress(total=epochs, initial=done, desc=f"train {count(len(chosen.name), 'fold')}", unit="epoch")
    bar.set_postfix_str("compiling")
    stream = parallel.run(
        trainer.init, trainer.epoch, chosen, hyper, problem.store, problem.windows, range(done, epochs),
        jax.local_devices(), state,
    )  # fmt: skip
    for index, values, get_state in stream:
        finished = index + 1
        _check_finite(runs, shares, chosen, finished, values)
        # Metrics before the checkpoint: a resumed run drops a line too many.
        for metrics_log, piece in zip(logs, slices, strict=True):
            metrics_log.write(finished, chosen.name[piece], {name: value[piece] for name, value in values.items()})
        if finished % config.train.checkpoint_every == 0 or finished == epochs:
            state = get_state()
            states = [jax.tree.map(lambda leaf: leaf[piece], state) for piece in slices]  # noqa: B023
            for directory, share_state, piece in zip(directories, states, slices, strict=True):
                checkpoint.save(directory, finished, share_state, {"folds": list(chosen.name[piece])})
        bar.set_postfix_str(f"loss {values['loss'].mean():.3f}, {values['windows'].sum():.0f} windows")
        bar.update()
    bar.close()
    for metrics_log in logs:
        metrics_log.close()
    return states


def _check_finite(
    runs: Sequence[Run], shares: Sequence[Share], chosen: Folds, epoch: int, values: dict[str, np.ndarray]
) -> None:
    if all(np.isfinite(value).all() for value in values.values()):
        return
    directories = [runs[share.run].directory for share in shares for _ in share.folds]
    bad = [index for index, loss in enumerate(values["loss"]) if not np.isfinite(loss)] or range(len(chosen.name))
    names = ", ".join(dict.fromkeys(chosen.name[index] for index in bad))
    where = ", ".join(dict.fromkeys(str(directories[index]) for index in bad))
    raise UserError(
        f"the loss is not a finite number in epoch {epoch} of fold {names} of {where}; lower train.learning_rate and "
        "start into another --out"
    )


# ---- Prediction ------------------------------------------------------------------------------------------------------


def _unpredicted(runs: Sequence[Run], share: Share, problem: Problem) -> list[tuple[int, Path, VideoMeta]]:
    """(index of the fold in the share, file, video) of the network outputs that are not there yet."""
    directory = runs[share.run].directory
    wanted = [
        (index, run_dir.outputs_path(directory, problem.folds.name[fold], problem.metas[video]), problem.metas[video])
        for index, fold in enumerate(share.folds)
        for video in problem.folds.test[fold]
    ]
    return [(index, path, meta) for index, path, meta in wanted if not path.exists()]


def _predict(runs: Sequence[Run], share: Share, trainer: Trainer, state: TrainState, progress: Progress) -> None:
    """Saves the network outputs of the share's test videos; those that are there already are kept."""
    store = jax.device_put(trainer.problem.store)
    for index, path, meta in progress(_unpredicted(runs, share, trainer.problem), desc="predict", unit="video"):
        predict.save_outputs(path, trainer.predictor(fold_variables(state, index), store, meta))


def fold_variables(state: TrainState, index: int) -> Tree:
    """What the network of one fold needs.

    Args:
      state: leaves [K, ...].
      index: of the fold.

    Returns:
      {"params": ..., others}.
    """
    params, extra = jax.tree.map(lambda leaf: leaf[index], (state.params, state.extra))
    return {"params": params, **extra}
