"""Four virtual CPU devices, so that folds can be spread over 1, 2 and 4 of them in one process; a toy data set.

Most of the time of these tests is compilation; a cache for the session spares what several tests compile alike.
"""

import csv
import os
import tempfile

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_cache = tempfile.TemporaryDirectory(prefix="fedn-test-cache-")  # removed at exit
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from fedn_jax.cli.main import main  # noqa: E402
from fedn_jax.core import config as configs  # noqa: E402
from fedn_jax.core.types import Events, Store, VideoMeta  # noqa: E402


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


def options(**changes):
    """Options for the command line that make FEDN small."""
    return [f"--config.{key}={value}" for key, value in (TINY | changes).items()]


SMALL_DEMO = ["--subjects", "4", "--videos", "1", "--seconds", "6", "--workers", "1"]
SMALL_DEMO += options(**{"model.segment_fusion": "attention", "train.epochs": 1})


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory):
    """The demo in small: drawn videos, shards, a run of one epoch, its evaluation."""
    out = tmp_path_factory.mktemp("small") / "demo"
    assert main(["demo", "--out", str(out), *SMALL_DEMO]) == 0
    return out


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Prepared clip features of four subjects."""
    base = tmp_path_factory.mktemp("features")
    store, metas, events = toy_data()  # 200 clips of two frames each
    rows = []
    (base / "npz").mkdir()
    for meta, one in zip(metas, events, strict=True):
        name = f"{meta.subject}_{meta.video}"
        np.savez(base / "npz" / f"{name}.npz", feature=store.inputs[None, meta.row : meta.row + meta.num_rows])
        for (onset, offset), emotion in zip(one.interval, one.emotion, strict=True):
            rows.append([meta.subject, name, int(2 * onset) + 1, int(2 * offset), "ab"[emotion]])
    with (base / "sheet.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "video", "onset", "offset", "emotion"], *rows])
    words = ["prepare", "features", "--features", base / "npz", "--annotations", base / "sheet.csv"]
    words += ["--out", base / "data", "--frames-per-row", "2"]
    assert main([str(word) for word in words]) == 0
    return base / "data"


@pytest.fixture
def toy():
    return toy_data()


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_are_dropped():
    """Programs of a file are of no use to the next one, and together they take gigabytes."""
    yield
    jax.clear_caches()
