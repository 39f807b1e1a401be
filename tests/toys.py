"""Small configurations and data that many tests share."""

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.types import Context, Events, Store, VideoMeta
from fedn_jax.data import shards
from fedn_jax.ops.windows import Gathered


def tiny_config():
    """FEDN so small that a test can train it."""
    config = configs.default()
    config.window.update(segments=32, train_hop=16)
    config.model.update(width=16, head_width=16, heads=2, groups=4, head_depth=1)
    config.anchors.reaches = [[0, 16], [8, 64]]
    config.train.update(epochs=2, batch_size=8, learning_rate=3e-3)
    config.predict.chunk = 8
    config.evaluate.iou = 0.5
    return config


def toy_data(subjects=4, videos=2, frames=200, width=8, classes=2, seed=0):
    """Videos whose inputs say where expressions are: the mean of class c rises along direction c.

    Returns:
      (Store, metas, events), NumPy.
    """
    rng = np.random.default_rng(seed)
    directions = 3 * np.eye(classes, width)
    inputs, metas, events = [], [], []
    for subject in range(subjects):
        for video in range(videos):
            x = rng.normal(size=(frames, width))
            onset = np.array([20, 80, 140]) + rng.integers(-10, 10, 3)
            offset = onset + rng.integers(12, 30, 3)
            emotion = rng.integers(0, classes, 3).astype(np.int32)
            for a, b, c in zip(onset, offset, emotion, strict=True):
                x[a:b] += directions[c]
            metas.append(VideoMeta(f"s{subject}", f"v{video}", frames, 30.0, 1, len(metas) * frames, frames))
            inputs.append(x.astype(np.float16))
            interval = np.stack([onset, offset], -1).astype(np.float32)
            kind, valid = np.zeros(3, np.int32), np.ones(3, bool)
            events.append(Events(interval, interval.mean(-1), emotion, kind, valid))
    return Store(np.concatenate(inputs), np.ones(len(metas) * frames, bool)), metas, events


FRAMES = 90  # of each video of `pictures`


def pictures(subjects=3, seed=0):
    """Videos of noise in which a patch lights up, another one for each emotion; every subject has two."""
    rng = np.random.default_rng(seed)
    inputs, metas, events = [], [], []
    for number in range(2 * subjects):
        x = rng.integers(0, 60, (FRAMES, 6, 6, 3), dtype=np.uint8)
        onset = np.array([12, 50]) + rng.integers(-5, 5, 2)
        offset = onset + rng.integers(10, 25, 2)
        emotion = rng.permutation(2).astype(np.int32)
        for a, b, c in zip(onset, offset, emotion, strict=True):
            x[a:b, 3 * c : 3 * c + 3, 1:5] += 150
        metas.append(VideoMeta(f"s{number // 2}", f"v{number}", FRAMES, 30.0, 1, number * FRAMES, FRAMES))
        inputs.append(x)
        interval = np.stack([onset, offset], -1).astype(np.float32)
        events.append(Events(interval, interval.mean(-1), emotion, np.zeros(2, np.int32), np.ones(2, bool)))
    store = Store(np.concatenate(inputs), np.ones(len(metas) * FRAMES, bool))
    metadata = {"signature": "toy", "classes": ["a", "b"], "frames_per_row": 1, "dataset": "toy", "backbone": "none"}
    return shards.Dataset(store, metas, events, np.zeros((len(store.valid), 12, 2), np.float16), metadata)


def toy_config():
    """Options of toy_task, on `pictures`; its fold of three subjects trains in a second."""
    config = configs.default()
    config.task = "toy"
    config.window.update(segments=16, segment_frames=1, stride=1, train_hop=8, test_hop=8, inside=0.0)
    config.train.update(epochs=30, batch_size=16, learning_rate=3e-2, checkpoint_minutes=0.0)
    config.folds.inner = 0.0
    config.predict.chunk = 4
    config.evaluate.threshold = 0.0
    return config


def outputs_of(task, variables, inputs, valid=None, inside=None, train=False, key=None, segments=None):
    """What a task says of windows; everything is valid unless said otherwise."""
    valid = np.ones(inputs.shape[:2], bool) if valid is None else valid
    inside = np.ones((len(inputs), segments), bool) if inside is None else inside
    key = jax.random.key(0) if key is None else key
    return task.apply(variables, Gathered(inputs, valid, inside), np.ones(len(inputs), np.float32), train, key)[0]


def only_weight(weight):
    """What FEDN's loss knows beside outputs and targets."""
    return Context(weight, None, None, None)


TINY = {
    "model.width": 16, "model.head_width": 16, "model.heads": 2, "model.groups": 4, "model.head_depth": 1,
    "model.segment_fusion": "none", "train.epochs": 6, "train.batch_size": 8, "window.train_hop": 64,
}  # fmt: skip


SHALLOW = {
    "window.segments": 16,
    "window.train_hop": 16,
    "anchors.reaches": [[0, 64]],
    "model.window_attention": "none",
}  # compiles quickly
WIDE = {"window.segments": 64, "window.train_hop": 32, "anchors.reaches": [[0, 128]]}  # one level, whole windows


def options(**changes):
    """Options for the command line that make FEDN small."""
    return [f"--config.{key}={value}" for key, value in (TINY | changes).items()]


SMALL_DEMO = ["--subjects", "4", "--videos", "1", "--seconds", "6", "--workers", "1"]
SMALL_DEMO += options(**WIDE | {"model.segment_fusion": "attention", "train.epochs": 1})


def quiet(items=(), **_):
    """Stands for tqdm."""

    class Bar:
        def __iter__(self):
            return iter(items)

        def __getattr__(self, name):
            return lambda *_: None

    return Bar()
