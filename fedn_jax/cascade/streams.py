"""STR's streams learn to spot before its recogniser is trained on what they see (Liong et al. 2023, and its code)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax import models
from fedn_jax.cascade import samplers
from fedn_jax.cascade.samplers import Sampler, Spotter
from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress
from fedn_jax.core.types import Array, Config, Events, Folds, Store, Tree, Windows
from fedn_jax.data import splits
from fedn_jax.data.problem import Problem
from fedn_jax.engine import fit, parameters
from fedn_jax.engine.trainer import make_trainer, shape_of_variables
from fedn_jax.models import strnet
from fedn_jax.models.recognition import GEOMETRY

DIRECTORY = "streams"  # below that of the recogniser's training
SECONDS = 0.1  # from the first frame of a pair to the second
TRAINING = {  # of the public code; negatives are pairs away from expressions
    "train.epochs": 10, "train.batch_size": 32, "train.learning_rate": 5e-4, "train.weight_decay": 0.0,
    "train.negatives": 5, "train.schedule": "constant",
}  # fmt: skip
SECTIONS = ("window", "folds", "predict", "train", "cascade")  # of the recogniser's training, all of their options
OPTIONS = ("task", "seed", "data.kind")
OF_DATA = ("data", "folds", "metadata", "fps")  # of the facts
CHUNK = 8  # samples per call of the streams; a video of a fold has few, and the rest is padding


def train(spotter: Spotter, named: Problem, config: Config, facts: dict[str, Any], progress: Progress) -> None:
    """Trains the streams of every fold, or goes on where that was stopped; below ``spotter.training``.

    They are the same behind every spotter of the same folds and seed, to the bit, and so are their records.

    Args:
      spotter: with the data and their flow; what it spotted is not looked at.
      named: the data with their emotions.
      config: of the recogniser's training.
      facts: what must not change between two starts; of it, what is about the data.
      progress: bars.

    Raises:
      UserError: a fold whose pairs are all away from expressions, or a training that cannot go on.
    """
    own = training_config(config)
    problem = make_problem(spotter, named, own)
    about = {name: facts[name] for name in OF_DATA} | {"input_shape": list(strnet.SAMPLE)}
    fit.fit_problem([fit.Run(spotter.training / DIRECTORY, own)], make_trainer(own, problem), about, progress)


def training_config(config: Config) -> Config:
    """The configuration of the streams' training: of the spotter's only what they depend on.

    Args:
      config: of the recogniser's training.

    Returns:
      A new one.
    """
    own, given = configs.default(), configs.flatten(config)
    kept = {name: value for name, value in given.items() if name.partition(".")[0] in SECTIONS or name in OPTIONS}
    own.update_from_flattened_dict(kept | TRAINING)
    return own


def make_problem(spotter: Spotter, named: Problem, config: Config) -> Problem:
    """Pairs of frames on a grid, and which of them lie near an expression.

    A pair is positive if an expression begins or lasts within half the mean length of the fold's training expressions
    from its first frame on. Pairs, their flow and their numbers are the same for all folds.

    Args:
      spotter: with the data and their flow.
      named: the data with their emotions.
      config: of the streams' training.

    Returns:
      The problem; the test "video" of a fold is the list of that video's pairs.

    Raises:
      UserError: a fold whose pairs are all away from expressions.
    """
    pairs, seen, videos, nearest, lists = [], [], [], [], []
    for video, meta in enumerate(spotter.metas):
        step = max(1, round(SECONDS * meta.fps))
        first = np.arange(0, max(meta.num_frames - step, 1), config.cascade.grid)
        both = np.stack([first, np.minimum(first + step, meta.num_frames - 1)], 1)
        lists.append(meta._replace(row=len(seen), num_rows=len(first), num_frames=len(first)))
        pairs.append(meta.row + both)
        seen += spotter.store.valid[meta.row + both].all(1).tolist()
        videos += [video] * len(first)
        nearest.append(next_expression(named.events[video].interval, first))
    events = Events(*(np.concatenate(column) for column in zip(*nearest, strict=True)))
    count = np.ones(len(seen), np.int32)
    plan = Windows(np.arange(len(seen), dtype=np.int32), count, 0 * count, count, np.array(videos, np.int32), events)
    folds = splits.SCHEMES[config.folds.scheme](spotter.metas, plan, 0.0, config.folds.k)
    folds = _near_and_away(folds, plan, np.array(seen), reaches(named.events, folds.test))
    store = Store(spotter.flow(np.concatenate(pairs)), np.ones(len(seen), bool))
    task = models.with_precision(strnet.make_spotting_task(), config.train.precision)
    return Problem(store, lists, named.events, ["expression"], "none", GEOMETRY, plan, folds, task)


def next_expression(interval: np.ndarray, first: np.ndarray) -> Events:
    """The earliest expression that ends after a frame.

    Args:
      interval: [E, 2] float, frames, half-open [onset, offset).
      first: [N] int, frames.

    Returns:
      [N, 1] events in frames from there; not valid where there is none.
    """
    edges = np.asarray(interval, np.float32).reshape(1, -1, 2) - first[:, None, None]  # [N, E, 2]
    edges = np.pad(edges, ((0, 0), (0, 1), (0, 0)))  # one more, which ends at once: there may be none at all
    begins = np.where(edges[..., 1] > 0, edges[..., 0], np.inf)
    nearest = np.arange(len(first)), begins.argmin(1)
    valid = np.isfinite(begins[nearest])[:, None]
    edges = np.where(valid, edges[nearest], 0).astype(np.float32)
    none = np.full(valid.shape, -1, np.int32)
    return Events(edges[:, None], none.astype(np.float32), none, none, valid)


def reaches(events: Sequence[Events], tests: Sequence[Sequence[int]]) -> np.ndarray:
    """How far ahead of a pair an expression counts: half the mean length of a fold's training expressions.

    Args:
      events: V videos.
      tests: K lists of test videos.

    Returns:
      [K] float32, frames.
    """
    lengths = [np.diff(np.asarray(one.interval).reshape(-1, 2)).ravel() for one in events]
    trained = [np.concatenate([x for video, x in enumerate(lengths) if video not in test]) for test in tests]
    return np.array([0.5 * one.mean() for one in trained], np.float32)


def _near_and_away(folds: Folds, plan: Windows, seen: np.ndarray, reach: np.ndarray) -> Folds:
    """Positive and negative pairs of each fold, those with two faces; the census of a fold is its reach."""
    distance = np.where(plan.events.valid[:, 0], plan.events.interval[:, 0, 0], np.inf)
    positive, negative = [], []
    for name, windows, far in zip(folds.name, zip(folds.positive, folds.negative, strict=True), reach, strict=True):
        own = np.sort(np.concatenate(windows))
        own = own[(own >= 0) & seen[own]]
        positive.append(own[distance[own] < far])
        negative.append(own[distance[own] >= far])
        if not len(positive[-1]):
            raise UserError(f"fold {name!r} has no pair of frames near an expression; lower cascade.grid")
    lists = {"positive": splits.padded(positive), "negative": splits.padded(negative)}
    return folds._replace(**lists, census=reach[:, None])


# ---- What they see --------------------------------------------------------------------------------------------------


def onset_to_apex(spotter: Spotter, fold: str) -> Sampler:
    """What a fold's streams, as they are after their training, see of the flow from the onset to the apex.

    Args:
      spotter: the run that spotted.
      fold: whose streams.

    Returns:
      (video, intervals [N, 2], apexes [N]) -> [N, 14, 14, 14] float16.
    """
    flow, filters = samplers.onset_to_apex(spotter, fold), _load(spotter.training, fold)

    def sample(video: int, interval: np.ndarray, apex: np.ndarray) -> np.ndarray:
        shown = flow(video, interval, apex)
        padded = np.pad(shown, [(0, -len(shown) % CHUNK), *[(0, 0)] * 3])
        parts = [np.asarray(_filter(filters, padded[i : i + CHUNK])) for i in range(0, len(padded), CHUNK)]
        return np.concatenate(parts)[: len(shown)].astype(np.float16)

    return sample


def _load(training: Path, fold: str) -> Tree:
    """The streams of a fold, without the top that spots."""
    expected = shape_of_variables(strnet.make_spotting_task())
    variables = parameters.load(parameters.path_of(training / DIRECTORY, fold), expected, fold)[0]
    return {name: tree["streams"] for name, tree in variables.items()}


@jax.jit
def _filter(variables: Tree, flow: Array) -> Array:
    return strnet.Streams().apply(variables, flow, False, jnp.ones(len(flow), bool))
