"""Prediction of the test videos of trained folds: parameters go to a device once, the devices work side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config, Store, Tree
from fedn_jax.data import splits
from fedn_jax.data.problem import Problem
from fedn_jax.engine import candidates, parameters, predict, run_dir
from fedn_jax.engine.trainer import Trainer, shape_of_variables


class Unpredicted(NamedTuple):
    """Test videos of a fold whose network outputs are not there yet."""

    run: Path
    fold: str
    videos: tuple[int, ...]


def find(run: Path, folds: Sequence[int], problem: Problem) -> list[Unpredicted]:
    """What is not predicted yet.

    Args:
      run: directory of the run.
      folds: indices.
      problem: of the run.

    Returns:
      Folds with the test videos that are left; of an inner fold all or none.
    """
    missing = []
    for fold in folds:
        name, tests = problem.folds.name[fold], problem.folds.test[fold]
        if name.endswith(splits.INNER):
            left = () if run_dir.candidates_path(run, name).is_file() else tests
        else:
            left = [i for i in tests if not run_dir.outputs_path(run, name, problem.metas[i]).is_file()]
        if left:
            missing.append(Unpredicted(run, name, tuple(left)))
    return missing


def run(missing: Sequence[Unpredicted], trainer: Trainer, config: Config, progress: Progress) -> None:
    """Predicts test videos, fold by fold, spread over the devices.

    Of outer folds the network outputs are saved; of inner folds, which only pick thresholds, the candidates that can
    matter.

    Args:
      missing: of ``find``.
      trainer: of their structure.
      config: of a run.
      progress: bars.
    """
    problem = trainer.problem
    expected = shape_of_variables(problem.task, config)
    reduce = candidates.make_reducer(problem.task, predict.rule_of(config))
    stores: dict[jax.Device, Store] = {}
    networks: dict[jax.Device, tuple[Path, Tree]] = {}  # of the fold that each device was given last
    kept: dict[Unpredicted, list[tuple[Any, float]]] = {}

    def start(item: tuple[Unpredicted, int], device: jax.Device) -> Any:
        group, video = item
        if device not in stores:
            stores[device] = predict.place(problem.task, problem.store, device)
        path = parameters.path_of(group.run, group.fold)
        if networks.get(device, (None,))[0] != path:
            networks.pop(device, None)  # freed before the next one comes
            networks[device] = path, jax.device_put(parameters.load(path, expected)[0], device)
        predicted = trainer.predictor(networks[device][1], stores[device], problem.metas[video])
        inner = group.fold.endswith(splits.INNER)
        return reduce(predicted, problem.metas[video].num_frames) if inner else predicted

    def finish(item: tuple[Unpredicted, int], result: Any) -> None:
        group, video = item
        if not group.fold.endswith(splits.INNER):
            path = run_dir.outputs_path(group.run, group.fold, problem.metas[video])
            predict.save_outputs(path, predict.fetch(result))
            return
        found = kept.setdefault(group, [])
        found.append(candidates.strongest(*result))
        if len(found) == len(group.videos):
            candidates.save(run_dir.candidates_path(group.run, group.fold), *zip(*kept.pop(group), strict=True))

    work = [[(group, video) for video in group.videos] for group in missing]
    total = sum(map(len, work))
    for _ in progress(predict.spread(work, start, finish), total=total, desc="predict", unit="video"):
        pass
