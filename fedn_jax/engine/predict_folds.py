"""Prediction of the test videos of trained folds: parameters go to a device once, the devices work side by side."""

import collections
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config, Store, Tree
from fedn_jax.data import splits
from fedn_jax.data.problem import Problem
from fedn_jax.engine import candidates, decode, output_files, parameters, predict, run_dir
from fedn_jax.engine.trainer import Trainer, shape_of_variables

AHEAD = 3  # videos that a device is given before the first of them is fetched


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


Item = TypeVar("Item")


def spread(
    work: Sequence[Sequence[Item]], start: Callable[[Item, jax.Device], Any], finish: Callable[[Item, Any], None]
) -> Iterator[Item]:
    """Keeps several devices at work while the host fetches and saves.

    Args:
      work: of each group of items, which stay on one device; groups are dealt to the local devices in turn.
      start: (item, device) -> its result on that device, not waited for.
      finish: (item, result) -> what the host does with it.

    Yields:
      The items that are finished.
    """
    devices = jax.local_devices()
    queues = [collections.deque(itertools.chain(*work[index :: len(devices)])) for index in range(len(devices))]
    begun = [collections.deque() for _ in devices]
    while any(queues) or any(begun):
        for device, queue, waiting in zip(devices, queues, begun, strict=True):
            while queue and len(waiting) < AHEAD:
                item = queue.popleft()
                waiting.append((item, start(item, device)))
        for waiting in begun:
            if waiting:
                item, result = waiting.popleft()
                finish(item, result)
                yield item


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
    expected = shape_of_variables(problem.task)
    reduce = candidates.make_reducer(problem.task, decode.rule_of(config))
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
            networks[device] = path, jax.device_put(parameters.load(path, expected, group.fold)[0], device)
        predicted = trainer.predictor(networks[device][1], stores[device], problem.metas[video])
        inner = group.fold.endswith(splits.INNER)
        return reduce(predicted, problem.metas[video].num_frames) if inner else predicted

    def finish(item: tuple[Unpredicted, int], result: Any) -> None:
        group, video = item
        if not group.fold.endswith(splits.INNER):
            path = run_dir.outputs_path(group.run, group.fold, problem.metas[video])
            output_files.save(path, predict.fetch(result))
            return
        found = kept.setdefault(group, [])
        found.append(candidates.strongest(*result))
        if len(found) == len(group.videos):
            candidates.save(run_dir.candidates_path(group.run, group.fold), *zip(*kept.pop(group), strict=True))

    work = [[(group, video) for video in group.videos] for group in missing]
    total = sum(map(len, work))
    for _ in progress(spread(work, start, finish), total=total, desc="predict", unit="video"):
        pass
