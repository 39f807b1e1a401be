"""Trains runs: the folds of all runs of one structure are trained together, as one program where memory allows.

Runs may differ in the numbers of ``Hyper`` only. Each ends as a directory of its own, as if it had been trained alone.
"""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax import models
from fedn_jax.core import clock, errors, files
from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress, count
from fedn_jax.core.types import Config, Folds, Tree
from fedn_jax.data import likeness, shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import checkpoint, longer, parameters, predict_folds, programs, run_dir, tracking, train_step
from fedn_jax.engine.programs import Share
from fedn_jax.engine.trainer import Trainer, empty_state, make_program, make_trainer, pack

log = logging.getLogger(__name__)

LOWER = "lower train.learning_rate and start into another --out"  # after numbers that are not finite
POLL = 2.0  # seconds between two looks at the programs of other processes


class Run(NamedTuple):
    """One training."""

    directory: Path
    config: Config


# ---- Training --------------------------------------------------------------------------------------------------------


def fit(
    runs: Sequence[Run],
    dataset: shards.Dataset,
    progress: Progress,
    only: Sequence[str] = (),
    profile: Path | None = None,
    track: Sequence[str] = tracking.DEFAULT,
) -> None:
    """Trains all folds of all runs, or goes on where an earlier start was stopped, then predicts their test videos.

    Any number of processes may do so at once, on any machines that see the same directories: each takes programs
    that no other has, and takes over those of a process that died. It returns when all programs are done.

    Args:
      runs: their configurations have one structure.
      dataset: loaded shards.
      progress: bars.
      only: names of the folds to train, each with its inner one; empty: all.
      profile: directory for a profile of the second epoch that is trained here, for TensorBoard or Perfetto.
      track: entries of ``tracking.TRACKERS``, which get the metrics.

    Raises:
      UserError: configurations of different structure, no such fold, or a run that cannot go on as it was begun.
    """
    if len({configs.structure(run.config) for run in runs}) != 1:
        raise UserError(f"runs that are trained together may differ in {', '.join(configs.HYPER)} only")
    for run in runs:
        if run.config.cascade.recogniser:
            raise UserError(
                f"cascade.recogniser={run.config.cascade.recogniser} is trained on what a run has spotted: train "
                "without it, then `fedn recognise RUN --with NAME`"
            )
        models.validate(run.config)
    spent = clock.Spent()
    with spent.on("windows and folds"):
        trainer = make_trainer(runs[0].config, make_problem(runs[0].config, dataset))
    fit_problem(runs, trainer, facts_of(trainer.problem, dataset), progress, only, profile, spent, dataset, track)


def facts_of(problem: Problem, dataset: shards.Dataset) -> dict[str, Any]:
    """What run.json says of a problem: what must not change between two starts of a run.

    Args:
      problem: what is learned.
      dataset: from which it was made.

    Returns:
      What JSON can say.
    """
    return {
        "data": dataset.metadata["signature"], "folds": list(problem.folds.name), "classes": problem.classes,
        "input_shape": list(problem.store.inputs.shape[1:]), "metadata": dataset.metadata,
        "fps": float(np.median([meta.fps for meta in dataset.metas])),
    }  # fmt: skip


def fit_problem(
    runs: Sequence[Run],
    trainer: Trainer,
    facts: dict[str, Any],
    progress: Progress,
    only: Sequence[str] = (),
    profile: Path | None = None,
    spent: clock.Spent | None = None,
    dataset: shards.Dataset | None = None,
    track: Sequence[str] = tracking.DEFAULT,
) -> None:
    """Trains all folds of all runs with a trainer, then predicts their test videos; ``fit`` makes one of a data set.

    What an earlier start has finished is kept, and other processes may help, as ``fit`` says.

    Args:
      runs: their configurations have one structure, and were checked.
      trainer: of that structure, with what is to be learned.
      facts: of ``facts_of``, and whatever else must not change.
      progress: bars.
      only: see ``fit``.
      profile: see ``fit``.
      spent: seconds so far.
      dataset: of networks that will detect in new videos, for what these are compared with; None: of others.
      track: see ``fit``.

    Raises:
      UserError: no such fold, or a run that cannot go on as it was begun.
    """
    spent = spent or clock.Spent()
    problem, directories = trainer.problem, [run.directory for run in runs]
    wanted = _chosen(problem.folds.name, only)
    work = Work(runs, trainer, progress, spent, track)

    def pack_all(axis: Sequence[tuple[int, int]]) -> list[range]:
        log.info("compiling; what was compiled before on this machine comes from its cache")
        first = runs[0].config.folds
        return pack(trainer, [run.config for run in runs], axis, first.memory_gb, first.programs)

    with contextlib.ExitStack() as turns:
        for directory in sorted(set(directories)):
            directory.mkdir(parents=True, exist_ok=True)
            turns.enter_context(files.wait_for_lock(directory))
        for run in runs:
            longer.extend(
                run.directory, run.config, facts, lambda size: empty_state(problem.task, runs[0].config, size)
            )
        recorded = [run_dir.open_run(run.directory, run.config, facts) for run in runs]
        with spent.on("compile"):
            agreed = programs.agree(directories, recorded, wanted, pack_all)
        if dataset is not None:
            _write_likeness(directories, dataset)
    log.info("\n".join([_describe(len(runs), agreed, trainer), *problem.task.notes]))
    waiting = False
    while agreed:
        held = []
        for shares in agreed:
            with programs.claim(directories, shares) as here:
                if not here:
                    held.append(shares)
                elif _finish(work, shares, profile):
                    profile = None
        if held and not waiting:
            log.info(
                f"{count(len(held), 'program')} left, at which other processes work; waiting, to take over if one dies"
            )
        agreed, waiting = held, True
        if held:
            with spent.on("wait for others"):
                time.sleep(POLL)
    log.info(str(spent))


def _write_likeness(directories: Sequence[Path], dataset: shards.Dataset) -> None:
    """What the faces of the data look like, where a run does not say so yet; of pictures nothing is known."""
    missing = [path for path in map(run_dir.likeness_path, directories) if not path.exists()]
    known = likeness.learn(dataset.store, dataset.metas) if missing else None
    for path in missing if known else ():
        likeness.save(path, known)


def _chosen(names: Sequence[str], only: Sequence[str]) -> list[int]:
    """Indices of the folds to train."""
    outer = [name for name in names if not name.endswith(splits.INNER)]
    for name in only:
        errors.one_of("--folds", name, outer)
    wanted = {name + ending for name in only or outer for ending in ("", splits.INNER)}
    return [index for index, name in enumerate(names) if name in wanted]


def _describe(num_runs: int, agreed: Sequence[Sequence[Share]], trainer: Trainer) -> str:
    """What will be trained, on what, in two lines."""
    problem, devices = trainer.problem, jax.local_devices()
    names = [problem.folds.name[fold] for shares in agreed for share in shares for fold in share.folds]
    inner = sum(name.endswith(splits.INNER) for name in names)
    positive = int(problem.windows.events.valid.any(1).sum())
    largest = max(sum(len(share.folds) for share in shares) for shares in agreed)
    together = f"in {len(agreed)} programs of at most {count(largest, 'fold')}, one after another"
    return (
        f"{f'{num_runs} runs, ' if num_runs > 1 else ''}{count(len(names), 'fold')} ({inner} of them inner) on "
        f"{len(devices)} x {devices[0].device_kind}, {'all in one program' if len(agreed) == 1 else together}; "
        f"{trainer.state_bytes / 1e6:.1f} MB of training state per fold\n"
        f"{count(len(problem.windows.start), 'training window')}, {positive} with an expression"
        f"{f'; {problem.left_out}' if problem.left_out else ''}"
    )


class Work(NamedTuple):
    """What the programs of one call of ``fit`` have in common."""

    runs: Sequence[Run]
    trainer: Trainer
    progress: Progress
    spent: clock.Spent
    track: Sequence[str]


def _finish(work: Work, shares: Sequence[Share], profile: Path | None) -> bool:
    """Trains a program and predicts its test videos, or what of both is not done yet; says whether it trained."""
    problem, owned = work.trainer.problem, [(work.runs[share.run].directory, share) for share in shares]
    missing = [group for run, share in owned for group in predict_folds.find(run, share.folds, problem)]
    to_train = not all(parameters.path_of(group.run, group.fold).exists() for group in missing)
    if to_train:
        _train(work, shares, profile)
    if missing:
        with work.spent.on("predict"):
            predict_folds.run(missing, work.trainer, work.runs[shares[0].run].config, work.progress)
    config = work.runs[shares[0].run].config
    for run, share in owned:  # of a finished program; what a kill in between left, too
        states = programs.checkpoints(run, share.number)
        known = checkpoint.steps(states)
        keep_last = config.train.keep_state if to_train else config.train.epochs in known
        if keep_last:
            for step in set(known) - {config.train.epochs}:
                shutil.rmtree(states / str(step))
        else:
            shutil.rmtree(states, ignore_errors=True)
        for name in (problem.folds.name[fold] for fold in share.folds):
            if name.endswith(splits.INNER):  # it only picks a threshold, and its candidates are kept
                parameters.path_of(run, name).unlink(missing_ok=True)
    return to_train


def _train(work: Work, shares: Sequence[Share], profile: Path | None) -> None:
    """Trains one program to the end, and writes the parameters of its folds."""
    runs, problem, spent = work.runs, work.trainer.problem, work.spent
    config = runs[shares[0].run].config
    pairs = [(share.run, share.folds) for share in shares]
    chosen, program = make_program(work.trainer, [run.config for run in runs], pairs, jax.local_devices())
    directories = [programs.checkpoints(runs[share.run].directory, share.number) for share in shares]
    templates = [empty_state(problem.task, config, len(share.folds)) for share in shares]
    owned = [{"folds": [problem.folds.name[fold] for fold in share.folds]} for share in shares]
    done, states = checkpoint.restore_together(directories, templates, owned) or (0, None)
    epochs = config.train.epochs
    edges = np.cumsum([0, *(len(share.folds) for share in shares)])
    slices = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    state = states and jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
    if done == epochs:  # cut when the last state was kept and the parameters were not written yet
        _keep(runs, shares, chosen.name, train_step.trained(state), epochs)
        return
    with contextlib.ExitStack() as open_files:
        logs = []
        for share in shares:
            run = runs[share.run]
            logs.append(run_dir.MetricsLog(run.directory, share.number, done, work.track, run.config))
            open_files.callback(logs[-1].close)
        bar = work.progress(total=epochs, initial=done, desc=f"train {count(len(chosen.name), 'fold')}", unit="epoch")
        open_files.callback(bar.close)
        bar.set_postfix_str("first epoch")  # of a training that goes on, compilation too
        writer = checkpoint.Writer(config.train.checkpoint_minutes)
        open_files.callback(writer.close)
        stream = work.trainer.driver.run(program, range(done, epochs), state)
        del state, states
        for index, values, get_state in spent.each("epochs", _profiled(stream, profile)):
            finished = index + 1
            _check_finite(runs, shares, chosen, finished, values)
            # Metrics before the checkpoint: a resumed run drops a line too many.
            for metrics_log, piece in zip(logs, slices, strict=True):
                metrics_log.write(finished, chosen.name[piece], {name: value[piece] for name, value in values.items()})
            bar.set_postfix_str(f"loss {values['loss'].mean():.3f}, {values['windows'].sum():.0f} windows")
            bar.update()
            with spent.on("save"):
                if config.train.keep_every and finished % config.train.keep_every == 0:
                    _keep(runs, shares, chosen.name, get_state(train_step.trained), finished, True)
                if writer.due() if finished < epochs else config.train.keep_state:
                    whole = get_state()
                    parts = [jax.tree.map(lambda leaf: leaf[piece], whole) for piece in slices]  # noqa: B023
                    writer.start(directories, finished, parts, owned)
                    del whole, parts
        with spent.on("save"):
            if config.train.keep_state:
                writer.wait()
            trained = get_state(train_step.trained)
        del stream, get_state  # and with them the state on the devices
    with spent.on("save"):
        _keep(runs, shares, chosen.name, trained, epochs)


def _keep(
    runs: Sequence[Run], shares: Sequence[Share], names: Sequence[str], trained: tuple[Tree, Tree], epochs: int,
    beside: bool = False,
) -> None:  # fmt: skip
    """Writes the parameters of the folds of a program; beside: as those of an epoch."""
    owners = [runs[share.run].directory for share in shares for _ in share.folds]
    for index, (owner, name) in enumerate(zip(owners, names, strict=True)):
        variables = parameters.variables_of(*trained, index)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
            raise UserError(
                f"{owner}: the network of fold {name} is not finite after {count(epochs, 'epoch')}; {LOWER}"
            )
        path = parameters.path_of(owner, name, epochs if beside else None)
        parameters.save(path, variables, {"fold": name, "epochs": epochs})


def _profiled(stream: Iterable[Any], profile: Path | None) -> Iterator[Any]:
    """The same items; what happens between the first and the second is profiled."""
    started = False
    for index, item in enumerate(stream):
        if started and index == 1:
            jax.profiler.stop_trace()
            log.info(f"profile of one epoch: {profile}")
        yield item
        if profile and index == 0:
            jax.profiler.start_trace(str(profile))
            started = True
    if started and index == 0:
        jax.profiler.stop_trace()


def _check_finite(
    runs: Sequence[Run], shares: Sequence[Share], chosen: Folds, epoch: int, values: dict[str, np.ndarray]
) -> None:
    if all(np.isfinite(value).all() for value in values.values()):
        return
    directories = [runs[share.run].directory for share in shares for _ in share.folds]
    bad = [index for index, loss in enumerate(values["loss"]) if not np.isfinite(loss)] or range(len(chosen.name))
    names = ", ".join(dict.fromkeys(chosen.name[index] for index in bad))
    where = ", ".join(dict.fromkeys(str(directories[index]) for index in bad))
    raise UserError(f"the loss is not a finite number in epoch {epoch} of fold {names} of {where}; {LOWER}")
