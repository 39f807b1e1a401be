"""A data set as a configuration sees it: what is to be detected, windows, folds, task."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core import errors, schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count
from fedn_jax.core.types import Config, Events, Folds, Store, Task, VideoMeta, Windows
from fedn_jax.data import shards, splits, standardization
from fedn_jax.ops import windows


class Problem(NamedTuple):
    """A data set as a configuration sees it."""

    store: Store  # NumPy
    metas: list[VideoMeta]
    events: list[Events]  # V, those to detect
    classes: list[str]
    label: str  # entry of LABELS: what they are
    geometry: windows.Geometry
    windows: Windows  # for training
    folds: Folds
    task: Task
    left_out: str = ""  # how many expressions of the data are of another kind than data.kind, in words


class Label(NamedTuple):
    """What the class of an expression is."""

    of: Callable[[Events], np.ndarray]  # [E] class indices
    classes: Callable[[list[str]], list[str]]  # (emotions of the data) -> names of the classes


LABELS = {  # data.label; "none" stands for data.recognition=False
    "emotion": Label(lambda events: events.emotion, lambda emotions: list(emotions)),
    "kind": Label(lambda events: events.kind, lambda emotions: list(schema.KINDS)),
    "none": Label(lambda events: np.zeros_like(events.emotion), lambda emotions: ["expression"]),
}


def select(events: Events, kind: str, label: str) -> Events:
    """The expressions that are to be detected.

    Args:
      events: [E] of one video.
      kind: "macro", "micro" or "all".
      label: entry of ``LABELS``: what the class of an expression is.

    Returns:
      [E'] expressions.
    """
    wanted = np.ones(len(events.kind), bool) if kind == "all" else events.kind == schema.KINDS.index(kind)
    chosen = Events(*(np.asarray(column)[wanted] for column in events))
    return chosen._replace(emotion=LABELS[label].of(chosen))


def shuffle(events: Events, meta: VideoMeta, seed: int) -> Events:
    """Moves the expressions of a video in time, by one random amount, around its end: a control.

    Args:
      events: [E] of one video.
      meta: the video.
      seed: of the run.

    Returns:
      [E] expressions; one that would cross the video's end is cut there.
    """
    rng = np.random.default_rng([seed, zlib.crc32(f"{meta.subject}/{meta.video}".encode())])
    shift = rng.uniform(0.2, 0.8) * meta.num_frames
    onset = (events.interval[:, 0] + shift) % meta.num_frames
    offset = np.minimum(onset + events.interval[:, 1] - events.interval[:, 0], meta.num_frames)
    return events._replace(interval=np.stack([onset, offset], -1).astype(np.float32), apex=np.full_like(onset, -1))


def load(config: Config, directory: str | Path, inputs: bool = True) -> shards.Dataset:
    """Loads a data set with the inputs that the model reads.

    Args:
      config: the configuration.
      directory: see ``schema.find``.
      inputs: False: leave them out.

    Returns:
      The data set.

    Raises:
      UserError: see ``shards.load``; or pictures that would be standardised.
    """
    if not models.TASKS[errors.one_of("task", config.task, models.TASKS)].frames:
        return shards.load(directory, inputs)
    if config.data.standardize != "none":
        raise UserError(
            f"data.standardize must be 'none' for task {config.task!r}, which reads pictures; got "
            f"{config.data.standardize!r}"
        )
    return shards.load(directory, inputs, config.data.side)


def make_problem(config: Config, dataset: shards.Dataset) -> Problem:
    """Cuts windows, plans folds, builds the task.

    Args:
      config: the configuration.
      dataset: loaded shards.

    Returns:
      The problem.

    Raises:
      UserError: options that do not fit one another or the data, or data without anything to detect.
    """
    models.validate(config)
    geometry = windows.Geometry(
        config.window.segments, config.window.segment_frames, config.window.stride,
        int(dataset.metadata["frames_per_row"]), config.window.context,
    )  # fmt: skip
    label = errors.one_of("data.label", config.data.label, [name for name in LABELS if name != "none"])
    label = label if config.data.recognition else "none"
    events = [select(annotated, config.data.kind, label) for annotated in dataset.events]
    if not any(len(wanted.valid) for wanted in events):
        kinds = {schema.KINDS[kind] for annotated in dataset.events for kind in annotated.kind}
        raise UserError(
            f"the data hold no expression of data.kind={config.data.kind}; they hold "
            f"{' and '.join(sorted(kinds)) or 'none at all'}"
        )
    unnamed = sum(int((wanted.emotion < 0).sum()) for wanted in events)
    if unnamed:
        raise UserError(
            f"{unnamed} expressions of data.kind={config.data.kind} have no emotion in these data; for spotting only "
            "add --config.data.recognition=False, or choose another data.kind"
        )
    store = standardization.standardized(dataset.store, dataset.metas, config.data.standardize)
    learned = events
    if config.data.shuffle_labels:
        learned = [shuffle(wanted, meta, config.seed) for wanted, meta in zip(events, dataset.metas, strict=True)]
    plan = windows.plan(
        dataset.metas, learned, geometry, config.window.train_hop, config.window.inside, configs.shifts(config)
    )
    classes = LABELS[label].classes(dataset.metadata["classes"])
    scheme = splits.SCHEMES[errors.one_of("folds.scheme", config.folds.scheme, splits.SCHEMES)]
    fold_plan = scheme(dataset.metas, plan, config.folds.inner, config.folds.k)
    task = models.make_task(config, geometry, len(classes), store.inputs.shape[1:])
    left_out = _left_out(dataset.events, config.data.kind)
    problem = Problem(store, dataset.metas, events, classes, label, geometry, plan, fold_plan, task, left_out)
    return with_folds(problem, fold_plan)


def _left_out(events: Sequence[Events], kind: str) -> str:
    if kind == "all":
        return ""
    (other,) = set(schema.KINDS) - {kind}
    number = sum(int((annotated.kind == schema.KINDS.index(other)).sum()) for annotated in events)
    return f"{count(number, f'{other}-expression')} left out (data.kind={kind})" if number else ""


def with_folds(problem: Problem, folds: Folds) -> Problem:
    """The same data in other folds.

    Args:
      problem: the problem.
      folds: K folds, without what the model counts in them.

    Returns:
      The problem with these folds.
    """
    task = problem.task
    if task.census is not None:
        folds = splits.with_census(folds, census(task, problem.store.valid, problem.windows, problem.geometry))
    return problem._replace(folds=folds)


def census(task: Task, valid: np.ndarray, plan: Windows, geometry: windows.Geometry) -> np.ndarray:
    """What a model counts of each window, where it is planned.

    Args:
      task: the model.
      valid: [R] bool, rows with a face.
      plan: W windows.
      geometry: how windows are cut.

    Returns:
      [W, C] float.
    """
    store = Store(np.zeros((len(valid), 0), np.float16), valid)  # only the masks are wanted

    def one(window: Windows) -> np.ndarray:
        window = windows.shifted(window, 0, geometry)
        got = windows.gather(store, window.row, window.num_rows, window.start, window.num_segments, geometry)
        return task.census(task.targets(window.events), got.inside)

    return np.asarray(jax.jit(jax.vmap(one))(plan))
