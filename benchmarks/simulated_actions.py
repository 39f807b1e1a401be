"""Does a small FEDN, trained on simulated blendshapes, spot facial actions better than the rule of `fedn detect`?

    python benchmarks/simulated_actions.py --real DIR    DIR holds real_smiles/ and videos/

Each action is a stream of its own to the network: its evidence against the person's rest, and beside it all blendshapes
against theirs, so that one network, with one class, learns from all actions. It sees simulated people only
(_simulator.py); the noise of these is that of the still parts of DIR/videos. Its threshold is the best on other
simulated people. Both candidates are then measured as in facial_actions.py, on real and on drawn people.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import _simulator
import facial_actions
import jax
import numpy as np
from facial_actions import Intervals, Spotter

from data_prep.faces.landmarker import NAMES
from fedn_jax.core import config as configs
from fedn_jax.core.types import Config, Detections, Events, Store, Tree, VideoMeta
from fedn_jax.data import shards
from fedn_jax.data.problem import make_problem
from fedn_jax.engine import parallel, predict, train_step
from fedn_jax.engine.decode import make_decoder, rule_of
from fedn_jax.engine.trainer import Trainer, make_program, make_trainer
from fedn_jax.evaluation import matching, threshold_rules
from fedn_jax.inference import actions

PEOPLE, HELD, FRAMES = 64, 16, 600  # simulated people to train on, and to choose the threshold on; 20 s each
TRAINED, TESTED = "trained", "held"  # "data sets" of the simulated people
LARGEST = 8.0  # log-odds above rest that the network is shown at most


def config(epochs: int) -> Config:
    """FEDN, narrow: below 2 MB."""
    found = configs.default()
    found.data.update(kind="all", recognition=False)
    found.folds.update(scheme="leave-one-dataset-out", inner=0.0)
    found.model.update(width=32, head_width=32, heads=2, groups=8)
    found.train.update(epochs=epochs, batch_size=32, learning_rate=1e-3)
    return found


def streams(odds: np.ndarray, valid: np.ndarray, fps: float) -> np.ndarray:
    """What the network is shown of each of the A actions of DRAWN, [A, T, 54] float16; 0 without a face."""
    seen = lambda values: np.where(valid[:, None], np.asarray(values, np.float64), np.nan)
    above = lambda values: (values - actions.rest(values, fps)[0]).clip(-LARGEST, LARGEST)
    evidence = seen(actions.evidence(odds, NAMES))
    least = np.maximum(actions.LEAST, actions.DEVIATIONS * actions.rest(evidence, fps)[1])  # as of the rule
    own, whole = above(evidence), above(seen(odds))
    index = [[one.name for one in actions.ACTIONS].index(name) for name in facial_actions.DRAWN]
    shown = [np.column_stack([own[:, i], (own / least)[:, i].clip(-LARGEST, LARGEST), whole]) for i in index]
    return np.nan_to_num(np.stack(shown)).astype(np.float16)


def dataset(seed: int, noise: np.ndarray) -> shards.Dataset:
    """The streams of all simulated people."""
    rows, metas, events = [], [], []
    for person in range(PEOPLE + HELD):
        played = _simulator.simulate(seed, person, FRAMES, noise)
        shown = streams(played.odds, np.ones(FRAMES, bool), _simulator.FPS)
        for name, stream in zip(facial_actions.DRAWN, shown, strict=True):
            interval = np.array(facial_actions.played(played.actions, name), np.float32).reshape(-1, 2)
            none = np.zeros(len(interval), np.int32)
            subject = f"{TRAINED if person < PEOPLE else TESTED}/{person}"
            metas.append(VideoMeta(subject, name, FRAMES, _simulator.FPS, 1, FRAMES * len(rows), FRAMES))
            events.append(Events(interval, np.full(len(interval), -1.0), none, none, np.ones(len(interval), bool)))
            rows.append(stream)
    inputs = np.concatenate(rows)
    metadata = {"signature": "simulated", "classes": ["action"], "frames_per_row": 1}
    store = Store(inputs, np.ones(len(inputs), bool))
    return shards.Dataset(store, metas, events, np.zeros((len(inputs), 12, 2), np.float16), metadata)


def train(trainer: Trainer, options: Config) -> Tree:
    """The network of the simulated people."""
    fold = trainer.problem.folds.name.index(TESTED)
    _, program = make_program(trainer, [options], [(0, [fold])], jax.local_devices()[:1])
    for _, metrics, state in parallel.run(program, range(options.train.epochs)):
        print(f"  loss {metrics['loss'][0]:.3f}", end="", flush=True)
        params, extra = state(train_step.trained)
    print()
    return jax.device_put({"params": jax.tree.map(lambda leaf: leaf[0], params), **extra})


def detect(
    trainer: Trainer, options: Config, variables: Tree, store: Store, metas: Sequence[VideoMeta]
) -> list[Detections]:
    """Detections of each stream, of any score."""
    task, chunk = trainer.problem.task, options.predict.chunk
    store = predict.place(task, store, jax.local_devices()[0])
    decode = make_decoder(task, rule_of(options), chunk)
    return [decode(predict.fetch(trainer.predictor(variables, store, meta)), meta.num_frames) for meta in metas]


def spotter(trainer: Trainer, options: Config, variables: Tree, threshold: float) -> Spotter:
    """A trained network as facial_actions.py wants it."""

    def intervals(found: Detections) -> Intervals:
        return [tuple(one) for one in found.interval[matching.above(found, threshold).valid].tolist()]

    def spot(odds: np.ndarray, valid: np.ndarray, fps: float, shot: np.ndarray | None) -> dict[str, Intervals]:
        shown, total = streams(odds, valid, fps), len(valid)
        metas = [VideoMeta("", name, total, fps, 1, i * total, total) for i, name in enumerate(facial_actions.DRAWN)]
        store = Store(shown.reshape(-1, shown.shape[-1]), np.tile(valid, len(shown)))
        found = detect(trainer, options, variables, store, metas)
        return {meta.video: intervals(one) for meta, one in zip(metas, found, strict=True)}

    return spot


def learn(seed: int, noise: np.ndarray, epochs: int) -> Spotter:
    """Trains a network on the simulated people of one seed, and chooses its threshold on those held out."""
    options, data = config(epochs), dataset(seed, noise)
    options.seed = seed
    begun, trainer = time.process_time(), make_trainer(options, make_problem(options, data), TESTED)
    variables = train(trainer, options)
    held = trainer.problem.folds.test[trainer.problem.folds.name.index(TESTED)]
    found = detect(trainer, options, variables, data.store, [data.metas[i] for i in held])
    ranked = threshold_rules.rank(matching.pad(found), matching.pad([data.events[i] for i in held]))
    threshold = threshold_rules.best(ranked)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(variables)) / 1e6
    print(f"  {size:.2f} MB, {time.process_time() - begun:.0f} seconds of a core, threshold {threshold:.3f}")
    return spotter(trainer, options, variables, threshold)


def of_simulated(seed: int, noise: np.ndarray, spot: Spotter) -> str:
    """A line about the simulated people that the threshold was chosen on."""
    tally = facial_actions.Tally()
    for person in range(PEOPLE, PEOPLE + HELD):
        played = _simulator.simulate(seed, person, FRAMES, noise)
        found = spot(played.odds, np.ones(FRAMES, bool), _simulator.FPS, None)
        for name in facial_actions.DRAWN:
            tally.add(facial_actions.played(played.actions, name), found[name], FRAMES / _simulator.FPS)
    return tally.line("simulated, all")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, metavar="DIR", help="folder with real_smiles/ and videos/")
    parser.add_argument("--cache", type=Path, default=Path("facial-actions-cache"), metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="of a training (default: %(default)s)")
    parser.add_argument("--held", action="store_true", help="simulated people only")
    args = parser.parse_args()
    videos = [facial_actions.looked_at(path, args.cache) for path in sorted((args.real / "videos").glob("*.mp4"))]
    noise = np.concatenate([_simulator.still_parts(video.odds, video.valid) for video in videos])
    print(f"noise: {len(noise)} still parts, {noise.std():.3f} log-odds")
    for seed in (None, *range(args.seeds)):
        print("the rule" if seed is None else f"trained on simulated people, seed {seed}", flush=True)
        spot = facial_actions.by_rule if seed is None else learn(seed, noise, args.epochs)
        print(of_simulated(seed or 0, noise, spot))
        if not args.held:
            print(*facial_actions.of_real(args.real, args.cache, spot), sep="\n")
            print(*facial_actions.of_drawn(args.cache, spot), sep="\n", flush=True)


if __name__ == "__main__":
    main()
