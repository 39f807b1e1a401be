"""Trains runs: the folds of all runs of one structure are trained together, as one program where memory allows.

Runs may differ in the numbers of ``Hyper`` only. Each ends as a directory of its own, as if it had been trained alone.
"""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core import errors, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress, count
from fedn_jax.core.types import Array, Config, Folds, Hyper, Store, Task, TrainState, Tree, VideoMeta
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import checkpoint, parallel, parameters, predict, programs, run_dir, train_step
from fedn_jax.engine.programs import Share

log = logging.getLogger(__name__)

POLL = 2.0  # seconds between two looks at the programs of other processes


class Run(NamedTuple):
    """One training."""

    directory: Path
    config: Config


class Trainer(NamedTuple):
    """What all runs of one structure have in common."""

    problem: Problem
    init: Callable[[train_step.Fold, Hyper], TrainState]  # of one fold
    epoch: Callable[..., tuple[TrainState, dict[str, Array]]]  # of one fold
    predictor: Callable[[Tree, Store, VideoMeta], predict.Predicted]  # of one video
    state_bytes: int  # of one fold


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


def _shape_of_state(task: Task, config: Config) -> TrainState:
    """Shapes and dtypes of the training state of one fold."""
    none = np.zeros(1, np.int32)
    fold = train_step.Fold(np.uint32(0), none, none)
    init = lambda fold, hyper: train_step.init_state(task, fold, hyper)
    return jax.eval_shape(init, fold, configs.to_hyper(config))


def empty_state(task: Task, config: Config, num_folds: int) -> TrainState:
    """Zeros of the shapes and dtypes of a training state, for checkpoints to be read into.

    Args:
      task: the model.
      config: of the run.
      num_folds: K.

    Returns:
      Leaves [K, ...], NumPy.
    """
    shapes = _shape_of_state(task, config)
    return jax.tree.map(lambda leaf: np.zeros((num_folds, *leaf.shape), leaf.dtype), shapes)


def shape_of_variables(task: Task, config: Config) -> Tree:
    """Shapes and dtypes of what the network of one fold needs, for parameters to be compared with.

    Args:
      task: the model.
      config: of the run.

    Returns:
      {"params": ..., others}, leaves ``jax.ShapeDtypeStruct``.
    """
    state = _shape_of_state(task, config)
    return {"params": state.params, **state.extra}


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


# ---- Training --------------------------------------------------------------------------------------------------------


def fit(
    runs: Sequence[Run],
    dataset: shards.Dataset,
    progress: Progress,
    only: Sequence[str] = (),
    profile: Path | None = None,
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

    Raises:
      UserError: configurations of different structure, no such fold, or a run that cannot go on as it was begun.
    """
    if len({configs.structure(run.config) for run in runs}) != 1:
        raise UserError(f"runs that are trained together may differ in {', '.join(configs.HYPER.values())} only")
    for run in runs:
        configs.validate(run.config)
    trainer = make_trainer(runs[0].config, dataset)
    problem, directories = trainer.problem, [run.directory for run in runs]
    wanted = _chosen(problem.folds.name, only)
    facts = {
        "data": dataset.metadata["signature"], "folds": list(problem.folds.name), "classes": problem.classes,
        "input_width": int(dataset.store.inputs.shape[1]), "metadata": dataset.metadata,
        "fps": float(np.median([meta.fps for meta in dataset.metas])),
    }  # fmt: skip
    with contextlib.ExitStack() as turns:
        for directory in sorted(set(directories)):
            directory.mkdir(parents=True, exist_ok=True)
            turns.enter_context(files.wait_for_lock(directory))
        recorded = [run_dir.open_run(run.directory, run.config, facts) for run in runs]
        agreed = programs.agree(directories, recorded, wanted, lambda fresh: _split(runs, trainer, fresh))
    log.info(_describe(len(runs), agreed, trainer))
    waiting = False
    while agreed:
        held = []
        for shares in agreed:
            with programs.claim(directories, shares) as here:
                if here and _finish(runs, shares, trainer, progress, profile):
                    profile = None
                if not here:
                    held.append(shares)
        if held and not waiting:
            log.info(
                f"{count(len(held), 'program')} left, at which other processes work; waiting, to take over if one dies"
            )
        agreed, waiting = held, True
        time.sleep(POLL if held else 0)


def _chosen(names: Sequence[str], only: Sequence[str]) -> list[int]:
    """Indices of the folds to train."""
    outer = [name for name in names if not name.endswith(splits.INNER)]
    for name in only:
        errors.one_of("--folds", name, outer)
    wanted = {name + ending for name in only or outer for ending in ("", splits.INNER)}
    return [index for index, name in enumerate(names) if name in wanted]


def _split(runs: Sequence[Run], trainer: Trainer, axis: Sequence[tuple[int, int]]) -> list[range]:
    """Ranges of (run, fold) pairs, one per program: as few as fit the memory."""
    config = runs[0].config
    return split(trainer, [run.config for run in runs], axis, config.folds.memory_gb, config.folds.programs)


def split(
    trainer: Trainer, run_configs: Sequence[Config], axis: Sequence[tuple[int, int]], memory_gb: float, number: int = 1
) -> list[range]:
    """As few programs as fit the devices' memory.

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
    devices, problem = jax.local_devices(), trainer.problem

    def bytes_of(size: int) -> tuple[int, int]:
        chosen, hyper = program_axis(problem.folds, run_configs, [(run, [fold]) for run, fold in axis[:size]])
        return parallel.memory_needed(
            trainer.init, trainer.epoch, chosen, hyper, problem.store, problem.windows, devices
        )

    used = devices[: len(axis)]
    return parallel.split(len(axis), len(used), parallel.memory_of(used, memory_gb), bytes_of, number)


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
    )


def _finish(
    runs: Sequence[Run], shares: Sequence[Share], trainer: Trainer, progress: Progress, profile: Path | None
) -> bool:
    """Trains a program and predicts its test videos, or what of both is not done yet; says whether it trained."""
    problem = trainer.problem
    missing = [group for share in shares for group in _unpredicted(runs, share, problem)]
    if not missing:
        return False
    trained = all(parameters.path_of(group.run, group.fold).exists() for group in missing)
    if not trained:
        _train(runs, shares, trainer, progress, profile)
    _predict(missing, trainer, runs[shares[0].run].config, progress)
    for group in missing:  # what only picks a threshold has done so
        if group.fold.endswith(splits.INNER):
            parameters.path_of(group.run, group.fold).unlink(missing_ok=True)
    return not trained


def _train(
    runs: Sequence[Run], shares: Sequence[Share], trainer: Trainer, progress: Progress, profile: Path | None
) -> None:
    """Trains one program to the end, and writes the parameters of its folds."""
    problem, config = trainer.problem, runs[shares[0].run].config
    pairs = [(share.run, share.folds) for share in shares]
    chosen, hyper = program_axis(problem.folds, [run.config for run in runs], pairs)
    directories = [programs.checkpoints(runs[share.run].directory, share.number) for share in shares]
    templates = [empty_state(problem.task, config, len(share.folds)) for share in shares]
    done, states = checkpoint.restore_together(directories, templates) or (0, None)
    epochs = config.train.epochs
    edges = np.cumsum([0, *(len(share.folds) for share in shares)])
    slices = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    state = states and jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
    with contextlib.ExitStack() as open_files:
        logs = [run_dir.MetricsLog(runs[share.run].directory, share.number, done) for share in shares]
        for metrics_log in logs:
            open_files.callback(metrics_log.close)
        bar = progress(total=epochs, initial=done, desc=f"train {count(len(chosen.name), 'fold')}", unit="epoch")
        open_files.callback(bar.close)
        bar.set_postfix_str("compiling")
        writer = checkpoint.Writer(config.train.checkpoint_minutes)
        open_files.callback(writer.close)
        stream = parallel.run(
            trainer.init, trainer.epoch, chosen, hyper, problem.store, problem.windows, range(done, epochs),
            jax.local_devices(), state,
        )  # fmt: skip
        del state, states
        for index, values, get_state in _profiled(stream, profile):
            finished = index + 1
            _check_finite(runs, shares, chosen, finished, values)
            # Metrics before the checkpoint: a resumed run drops a line too many.
            for metrics_log, piece in zip(logs, slices, strict=True):
                metrics_log.write(finished, chosen.name[piece], {name: value[piece] for name, value in values.items()})
            bar.set_postfix_str(f"loss {values['loss'].mean():.3f}, {values['windows'].sum():.0f} windows")
            bar.update()
            if finished < epochs and writer.due():
                whole = get_state()
                parts = [jax.tree.map(lambda leaf: leaf[piece], whole) for piece in slices]  # noqa: B023
                writer.start(directories, finished, parts, [{"folds": list(chosen.name[piece])} for piece in slices])
        trained = get_state(lambda state: (state.params, state.extra))
        del stream, get_state  # and with them the state on the devices
    owners = [runs[share.run].directory for share in shares for _ in share.folds]
    for index, (owner, name) in enumerate(zip(owners, chosen.name, strict=True)):
        variables = parameters.variables_of(*trained, index)
        parameters.save(parameters.path_of(owner, name), variables, {"fold": name, "epochs": epochs})
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


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
    raise UserError(
        f"the loss is not a finite number in epoch {epoch} of fold {names} of {where}; lower train.learning_rate and "
        "start into another --out"
    )


# ---- Prediction ------------------------------------------------------------------------------------------------------


class Unpredicted(NamedTuple):
    """Test videos of a fold whose network outputs are not there yet."""

    run: Path
    fold: str
    videos: tuple[int, ...]


def _unpredicted(runs: Sequence[Run], share: Share, problem: Problem) -> list[Unpredicted]:
    directory, missing = runs[share.run].directory, []
    for fold in share.folds:
        name, tests = problem.folds.name[fold], problem.folds.test[fold]
        if name.endswith(splits.INNER):
            left = () if run_dir.candidates_path(directory, name).exists() else tests
        else:
            left = [i for i in tests if not run_dir.outputs_path(directory, name, problem.metas[i]).exists()]
        if left:
            missing.append(Unpredicted(directory, name, tuple(left)))
    return missing


def _predict(missing: Sequence[Unpredicted], trainer: Trainer, config: Config, progress: Progress) -> None:
    """Predicts test videos, fold by fold, spread over the devices.

    Of outer folds the network outputs are saved; of inner folds, which only pick thresholds, the candidates that can
    matter.
    """
    problem, post = trainer.problem, config.predict
    expected = shape_of_variables(problem.task, config)
    reduce = predict.make_reducer(problem.task, post.nms_iou, post.max_detections, post.per_class)
    on_device: dict[tuple[jax.Device, str], Any] = {}
    kept: dict[Unpredicted, list[tuple[Any, float]]] = {}

    def once(device: jax.Device, name: str, load: Callable[[], Any]) -> Any:
        """What this device holds under this name; of parameters the last fold's only."""
        if (device, name) not in on_device:
            for key in [key for key in on_device if key[0] == device and key[1] != "store" and name != "store"]:
                del on_device[key]
            on_device[device, name] = jax.device_put(load(), device)
        return on_device[device, name]

    def start(item: tuple[Unpredicted, int], device: jax.Device) -> Any:
        group, video = item
        store = once(device, "store", lambda: problem.store)
        path = parameters.path_of(group.run, group.fold)
        variables = once(device, str(path), lambda: parameters.load(path, expected)[0])
        predicted = trainer.predictor(variables, store, problem.metas[video])
        inner = group.fold.endswith(splits.INNER)
        return reduce(predicted, problem.metas[video].num_frames) if inner else predicted

    def finish(item: tuple[Unpredicted, int], result: Any) -> None:
        group, video = item
        if not group.fold.endswith(splits.INNER):
            path = run_dir.outputs_path(group.run, group.fold, problem.metas[video])
            predict.save_outputs(path, predict.fetch(result))
            return
        found = kept.setdefault(group, [])
        found.append(predict.strongest(*result))
        if len(found) == len(group.videos):
            predict.save_candidates(run_dir.candidates_path(group.run, group.fold), *zip(*kept.pop(group), strict=True))

    work = [[(group, video) for video in group.videos] for group in missing]
    total = sum(map(len, work))
    for _ in progress(predict.spread(work, start, finish), total=total, desc="predict", unit="video"):
        pass
