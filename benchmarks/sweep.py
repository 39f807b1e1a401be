"""What does it gain to train trials as one program, against one after another?

Peer: the same trials, each a program of its own with its folds mapped; compilation is counted apart. Small FEDN, drawn
inputs, one device.

    python benchmarks/sweep.py
"""

import time

import _timing
import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.types import Config, Events, Store, VideoMeta
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import make_problem
from fedn_jax.engine import parallel
from fedn_jax.engine.trainer import Trainer, make_program, make_trainer

CASES = ((2, 4), (4, 8))  # trials, inner folds
EPOCHS = 3


def dataset(subjects: int, frames: int = 400, width: int = 32) -> shards.Dataset:
    """Random inputs with two expressions per video."""
    rng = np.random.default_rng(0)
    metas = [VideoMeta(f"s{i}", f"v{i}", frames, 30.0, 1, i * frames, frames) for i in range(subjects)]
    interval = np.array([[50, 80], [250, 290]], np.float32)
    one = Events(interval, interval.mean(-1), np.array([0, 1]), np.zeros(2, np.int32), np.ones(2, bool))
    store = Store(rng.normal(size=(subjects * frames, width)).astype(np.float16), np.ones(subjects * frames, bool))
    metadata = {"signature": "drawn", "classes": ["a", "b"], "frames_per_row": 1}
    return shards.Dataset(store, metas, [one] * subjects, np.zeros(len(store.valid), np.float32), metadata)


def config(rate: float = 1e-3) -> Config:
    """FEDN, narrow."""
    found = configs.default()
    found.model.update(width=32, head_width=32, heads=2, groups=4)
    found.train.update(batch_size=8, epochs=EPOCHS, learning_rate=rate)
    return found


def seconds(trainer: Trainer, settings: list, inner: list[int]) -> tuple[float, float]:
    """(first epoch, with compilation; an epoch after it) of some trials as one program."""
    shares = [(run, inner) for run in range(len(settings))]
    _, program = make_program(trainer, settings, shares, jax.local_devices()[:1])
    stamps = [time.perf_counter()]
    for _ in parallel.run(program, range(EPOCHS)):
        stamps.append(time.perf_counter())
    return stamps[1] - stamps[0], (stamps[-1] - stamps[1]) / (EPOCHS - 1)


def main() -> None:
    """Prints the table."""
    print(_timing.machine())
    print(f"{'trials x folds':<16}{'one program':>13}{'one by one':>13}{'ratio':>8}{'compiling':>20}")
    for number, count in CASES:
        trainer = make_trainer(config(), make_problem(config(), dataset(count)))
        inner = [index for index, name in enumerate(trainer.problem.folds.name) if name.endswith(splits.INNER)]
        trials = [config(rate) for rate in np.geomspace(3e-4, 3e-3, number)]
        first, together = seconds(trainer, trials, inner)
        alone = [seconds(trainer, [trial], inner) for trial in trials]
        apart = sum(epoch for _, epoch in alone)
        compiled = f"{first - together:.0f} s and {alone[0][0] - alone[0][1]:.0f} s"
        label = f"{number} x {count}"
        print(f"{label:<16}{together:>9.2f} s/ep{apart:>9.2f} s/ep{apart / together:>7.2f}x{compiled:>20}")


if __name__ == "__main__":
    main()
