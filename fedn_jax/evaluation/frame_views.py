"""What a model that labels frames says of each frame of the test videos, and what its features look like there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config, Task, VideoMeta
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import output_files, parameters, predict, run_dir, trainer
from fedn_jax.engine.decode import make_decoder, rule_of
from fedn_jax.evaluation import kinds, matching
from fedn_jax.ops import frame_labels

FRAMES = 1500  # that an embedding shows, at most


class Labelled(NamedTuple):
    """One test video, one label per frame: 0 neutral, 1 + kind."""

    meta: VideoMeta
    labels: dict[str, np.ndarray]  # "annotated", and the outputs that were asked for -> [T] int32


class Features(NamedTuple):
    """Frames of the test videos of one fold."""

    fold: str
    label: np.ndarray  # [M] int32
    subject: np.ndarray  # [M] text
    features: dict[str, np.ndarray]  # output of the network -> [M, c] float32


def labelled(run: Path, config: Config, dataset: shards.Dataset, names: tuple[str, ...]) -> Iterator[Labelled]:
    """Labels of frames by saved outputs of the networks, before ``predict.min_frames`` and ``predict.max_gap``.

    Args:
      run: directory of a finished run.
      config: of the run.
      dataset: that it was trained on; its inputs are not looked at.
      names: of saved logits [W, N, C].

    Yields:
      The test videos, fold by fold.

    Raises:
      UserError: outputs are missing or damaged.
    """
    problem = make_problem(config, dataset)
    row = jax.ShapeDtypeStruct(dataset.store.inputs.shape[1:], dataset.store.inputs.dtype)
    shapes = predict.shapes_of_outputs(problem.task, problem.geometry, row)
    for fold, tests in _outer(problem).items():
        for video in tests:
            meta = problem.metas[video]
            starts = predict.window_starts(meta, problem.geometry, config.window.test_hop)
            outputs = output_files.load(run_dir.outputs_path(run, fold, meta), starts, shapes)
            found = {"annotated": _annotated(problem, video)}
            for name in names:
                share = jax.nn.softmax(outputs[name])
                stitched = frame_labels.stitch(share, outputs["starts"], outputs["inside"], meta.num_frames)
                found[name] = np.asarray(stitched.argmax(-1), np.int32)
            yield Labelled(meta, found)


def _outer(problem: Problem) -> dict[str, tuple[int, ...]]:
    """Fold -> its test videos, without inner folds."""
    pairs = zip(problem.folds.name, problem.folds.test, strict=True)
    return {name: tests for name, tests in pairs if not name.endswith(splits.INNER)}


def _annotated(problem: Problem, video: int) -> np.ndarray:
    return np.asarray(frame_labels.of_events(problem.events[video], problem.metas[video].num_frames))


def features(
    run: Path, config: Config, dataset: shards.Dataset, names: tuple[str, ...], most: int = FRAMES
) -> Features:
    """Features of frames of the test videos of the first fold; those of other folds are of other networks.

    Args:
      run: directory of a finished run.
      config: of the run.
      dataset: that it was trained on, with its inputs.
      names: of outputs of the network [B, N, c].
      most: frames, equally many of each label where there are so many, drawn by the run's seed.

    Returns:
      Features of frames that show a face.

    Raises:
      UserError: parameters are missing or damaged.
    """
    problem = make_problem(config, dataset)
    fold, tests = next(iter(_outer(problem).items()))
    task = problem.task._replace(saved=(*names, "inside"))
    variables = _variables(run, fold, None, task, config)
    predictor = predict.make_predictor(task, problem.geometry, problem.geometry.frames, config.predict.chunk)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("label", "subject", *names)}
    for video in tests:
        meta = problem.metas[video]
        outputs = predict.fetch(predictor(variables, problem.store, meta))
        frame = outputs["starts"][:, None] + np.arange(problem.geometry.segments)  # [W, N]
        places, first = np.unique(frame[outputs["inside"]], return_index=True)  # the last window overlaps
        rows["label"].append(_annotated(problem, video)[places])
        rows["subject"].append(np.full(len(places), meta.subject))
        for name in names:
            rows[name].append(outputs[name][outputs["inside"]][first])
    joined = {name: np.concatenate(parts) for name, parts in rows.items()}
    chosen = _draw(joined["label"], most, config.seed)
    label, subject = joined.pop("label")[chosen], joined.pop("subject")[chosen]
    return Features(fold, label, subject, {name: column[chosen] for name, column in joined.items()})


def _variables(run: Path, fold: str, epoch: int | None, task: Task, config: Config) -> Any:
    template = trainer.shape_of_variables(task)
    found, _ = parameters.load(parameters.path_of(run, fold, epoch), template, fold)
    return jax.device_put(found, jax.local_devices()[0])


def _draw(label: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Indices of at most ``most`` frames, each label at most an equal part."""
    rng, labels = np.random.default_rng(seed), np.unique(label)
    parts = [rng.permutation(np.flatnonzero(label == one))[: most // len(labels)] for one in labels]
    return np.sort(np.concatenate(parts))


def history(run: Path, config: Config, dataset: shards.Dataset, progress: Progress) -> list[dict[str, Any]]:
    """Numbers of the test videos with the networks of epochs that ``train.keep_every`` kept; nothing is chosen by them.

    Videos are cut into windows that do not overlap, so that an epoch costs little: the last entry differs from the
    numbers of the run.

    Args:
      run: directory of a finished run.
      config: of the run.
      dataset: that it was trained on, with its inputs.
      progress: bars.

    Returns:
      One dict per epoch, in order: "epoch", and what ``kinds.scores`` gives.

    Raises:
      UserError: parameters are missing or damaged.
    """
    plain = config.copy_and_resolve_references()
    plain.window.test_hop = config.window.segments * config.window.stride
    problem = make_problem(plain, dataset)
    task = problem.task
    predictor = predict.make_predictor(task, problem.geometry, plain.window.test_hop, config.predict.chunk)
    decode = make_decoder(task, rule_of(config), config.predict.chunk)
    plan, frames = _outer(problem), [meta.num_frames for meta in problem.metas]
    rows = []
    for epoch in progress(parameters.kept(run), desc="test videos", unit="epoch"):
        found: list[Any] = [None] * len(problem.metas)
        for fold, tests in plan.items():
            variables = _variables(run, fold, epoch, task, plain)
            for video in tests:
                outputs = predict.fetch(predictor(variables, problem.store, problem.metas[video]))
                found[video] = decode(outputs, frames[video])
        kept = matching.pad([matching.above(one, config.evaluate.threshold) for one in found])
        rows.append(
            {"epoch": epoch} | kinds.scores(kept, matching.pad(problem.events), frames, plan, config.evaluate.iou)
        )
    return rows
