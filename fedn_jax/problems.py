"""A data set as a configuration sees it: what is to be detected, windows, folds, task."""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedn_jax import checks, data, folds, models, schema, windows
from fedn_jax import config as configs
from fedn_jax.checks import UserError
from fedn_jax.types import Config, Events, Folds, Store, Task, VideoMeta, Windows


class Problem(NamedTuple):
    """A data set as a configuration sees it."""

    store: Store  # NumPy
    metas: list[VideoMeta]
    events: list[Events]  # V, those to detect
    classes: list[str]
    geometry: windows.Geometry
    windows: Windows  # for training
    folds: Folds
    task: Task


def select(events: Events, kind: str, recognition: bool) -> Events:
    """The expressions that are to be detected.

    Args:
      events: [E] of one video.
      kind: "macro", "micro" or "all".
      recognition: False makes all of one class.

    Returns:
      [E'] expressions.
    """
    wanted = np.ones(len(events.kind), bool) if kind == "all" else events.kind == schema.KINDS.index(kind)
    chosen = Events(*(np.asarray(column)[wanted] for column in events))
    return chosen if recognition else chosen._replace(emotion=np.zeros_like(chosen.emotion))


def standardize_by_video(store: Store, metas: list[VideoMeta]) -> Store:
    """Subtracts a video's mean input and divides by its root mean square, so that what is left is change.

    Args:
      store: all inputs (NumPy).
      metas: V videos.

    Returns:
      The store, float16. No video takes part in another's numbers.
    """
    inputs = np.array(store.inputs, np.float32)
    for meta in metas:
        rows = slice(meta.row, meta.row + meta.num_rows)
        valid = store.valid[rows]
        if valid.any():
            centred = inputs[rows] - inputs[rows][valid].mean(0)
            scale = np.sqrt((centred[valid] ** 2).mean())
            inputs[rows] = centred / max(float(scale), 1e-6)
    return store._replace(inputs=inputs.astype(np.float16))


# What becomes of the inputs before anything else sees them; (store, metas) -> store.
STANDARDIZATIONS: dict[str, Callable[[Store, list[VideoMeta]], Store]] = {
    "none": lambda store, metas: store,
    "video": standardize_by_video,
}


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


def make(config: Config, dataset: data.Dataset) -> Problem:
    """Cuts windows, plans folds, builds the task.

    Args:
      config: the configuration.
      dataset: loaded shards.

    Returns:
      The problem.

    Raises:
      UserError: options that do not fit one another or the data, or data without anything to detect.
    """
    configs.validate(config)
    geometry = windows.Geometry(
        config.window.segments, config.window.segment_frames, config.window.stride,
        int(dataset.metadata["frames_per_row"]), config.window.context,
    )  # fmt: skip
    events = [select(one, config.data.kind, config.data.recognition) for one in dataset.events]
    if not any(len(one.valid) for one in events):
        kinds = {schema.KINDS[kind] for one in dataset.events for kind in one.kind}
        raise UserError(
            f"the data hold no expression of data.kind={config.data.kind}; they hold "
            f"{' and '.join(sorted(kinds)) or 'none at all'}"
        )
    checks.one_of("data.standardize", config.data.standardize, STANDARDIZATIONS)
    store = STANDARDIZATIONS[config.data.standardize](dataset.store, dataset.metas)
    learned = events
    if config.data.shuffle_labels:
        learned = [shuffle(one, meta, config.seed) for one, meta in zip(events, dataset.metas, strict=True)]
    plan = windows.plan(dataset.metas, learned, geometry, config.window.train_hop, config.window.inside)
    classes = list(dataset.metadata["classes"]) if config.data.recognition else ["expression"]
    scheme = folds.SCHEMES[checks.one_of("folds.scheme", config.folds.scheme, folds.SCHEMES)]
    fold_plan = scheme(dataset.metas, plan, config.folds.inner, config.folds.k)
    task = models.make_task(config, geometry, len(classes), store.inputs.shape[1])
    return Problem(store, dataset.metas, events, classes, geometry, plan, fold_plan, task)
