"""A data set of any size made of random numbers, and FEDN on it, without files and with few packages.

Needs jax, flax, optax and numpy only: no TFDS, orbax or ml_collections, so that it runs wherever a GPU is.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from fedn_jax import models
from fedn_jax.core.types import Events, Folds, Hyper, Store, Task, VideoMeta, Windows
from fedn_jax.data import splits
from fedn_jax.engine import parallel, train_step
from fedn_jax.ops import windows


class Size(NamedTuple):
    """How much data."""

    subjects: int
    videos: int
    frames: int  # of each video
    expressions: int  # of all videos
    classes: int
    width: int  # features of a frame, D


CASME2 = Size(22, 98, 2940, 300, 4, 512)
CASME3 = Size(100, 956, 2600, 3342, 7, 512)
DEMO = Size(8, 16, 600, 65, 4, 128)


class Problem(NamedTuple):
    """Everything that ``parallel`` and ``predict`` ask for."""

    task: Task
    init: Callable  # (fold, hyper) -> TrainState
    geometry: windows.Geometry
    metas: list[VideoMeta]
    store: Store
    windows: Windows
    folds: Folds


def paper(**model) -> SimpleNamespace:
    """What models.make_task reads of a configuration: config.default(), with changes to its section ``model``."""
    sizes = dict(
        segment_fusion="attention", window_attention="scaled", window_attention_channels=1, width=512, head_width=256,
        head_depth=2, head="decoupled", heads=8, groups=32, scoring="binary", prior=0.02, dropout=0.0,
    )  # fmt: skip
    anchors = dict(
        widths=[0.5, 0.75, 1.0, 1.5, 2.0], reaches=[[0, 10], [8, 32], [16, 64], [64, 128]], positive_iou=0.5,
        negative_iou=0.4,
    )  # fmt: skip
    return SimpleNamespace(
        task="fedn", model=SimpleNamespace(**sizes | model), anchors=SimpleNamespace(**anchors),
        loss=SimpleNamespace(interval="diou", normalize=True), train=SimpleNamespace(precision="device"),
    )  # fmt: skip


def demo() -> SimpleNamespace:
    """The sizes of configs/demo.py."""
    return paper(width=96, head_width=64, heads=4, groups=8)


def make(size: Size, options: SimpleNamespace, hop_frames: int = 32) -> Problem:
    """Random embeddings, expressions of 15 to 60 frames spread over the videos, leave-one-subject-out folds."""
    rng = np.random.default_rng(0)
    geometry = windows.Geometry(segments=64, segment_frames=8, stride=2)
    metas, events = [], []
    counts = np.full(size.videos, size.expressions // size.videos) + (
        np.arange(size.videos) < size.expressions % size.videos
    )
    for video, count in enumerate(counts):
        row = video * size.frames
        subject = f"s{video % size.subjects:03d}"
        metas.append(VideoMeta(subject, f"v{video:04d}", size.frames, 30.0, 1, row, size.frames))
        part = size.frames // max(count, 1)
        length = rng.integers(15, min(60, part), count)
        onset = np.arange(count) * part + rng.integers(0, part - length)
        interval = np.stack([onset, onset + length], -1).astype(np.float32).reshape(-1, 2)
        unknown = np.full(count, -1, np.float32)
        emotion = rng.integers(0, size.classes, count).astype(np.int32)
        events.append(Events(interval, unknown, emotion, np.zeros(count, np.int32), np.ones(count, bool)))
    rows = size.videos * size.frames
    inputs = rng.standard_normal((rows, size.width), np.float32).astype(np.float16)
    plan = windows.plan(metas, events, geometry, hop_frames, 0.9)
    task = models.make_task(options, geometry, size.classes, (size.width,))
    store = Store(inputs, np.ones(rows, bool))
    init = lambda fold, numbers: train_step.init_state(task, fold, numbers)
    return Problem(task, init, geometry, metas, store, plan, splits.plan_loso(metas, plan, inner=0.0))


def hyper() -> Hyper:
    """The defaults: Adam's rate and decay of the paper, weights of the losses, seed 0."""
    return Hyper(np.float32(1e-4), np.float32(1e-4), np.uint32(0), {"alpha": np.float32(1), "beta": np.float32(2)})


def first_of_each(folds_: Folds, count: int) -> Folds:
    """``count`` folds: the first ones, again from the start where there are fewer."""
    return splits.take(folds_, [number % len(folds_.name) for number in range(count)])


def program(problem: Problem, epoch: Callable, folds_: Folds, devices: Sequence) -> parallel.Program:
    """The program that trains these folds, with the defaults."""
    return parallel.make_program(problem.init, epoch, folds_, hyper(), problem.store, problem.windows, devices)
