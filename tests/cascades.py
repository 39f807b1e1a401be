"""A spotter that finds every expression exactly, so that what a cascade gets wrong is the recogniser's doing."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from toys import quiet, tiny_config, toy_data

from fedn_jax.cascade import recognise, samples, streams
from fedn_jax.cascade.recognisers import RECOGNISERS
from fedn_jax.cascade.samplers import Spotter
from fedn_jax.core.types import Detections
from fedn_jax.data import shards
from fedn_jax.data.problem import make_problem
from fedn_jax.engine import fit, parameters
from fedn_jax.models import strnet


class Toy(NamedTuple):
    """Data, and a run whose networks are as they were drawn."""

    run: Path
    config: Any
    dataset: shards.Dataset
    named: Any  # the problem, with emotions
    found: list[Detections]  # the annotated intervals


def toy_cascade(run, emotions=None, width=8):
    """Toy data of two emotions, or of those given, and embeddings of some width."""
    store, metas, events = toy_data(width=width)
    if emotions is not None:
        parts = np.split(np.asarray(emotions, np.int32), np.cumsum([len(one.emotion) for one in events])[:-1])
        events = [one._replace(emotion=part) for one, part in zip(events, parts, strict=True)]
    metadata = {"signature": "toy", "classes": ["a", "b"], "frames_per_row": 1, "dataset": "toy", "backbone": "toy"}
    dataset = shards.Dataset(store, metas, events, np.zeros((len(store.valid), 12, 2), np.float16), metadata)
    config = tiny_config()
    found = [Detections(one.interval, np.linspace(0.9, 0.6, 3, dtype=np.float32), 0 * one.emotion, one.valid)
             for one in events]  # fmt: skip
    return Toy(run, config, dataset, recognise.with_emotions(config, dataset), found)


def draw_networks(toy):
    """Writes networks of the folds, untrained."""
    task, folds = toy.named.task, toy.named.folds.name
    init = jax.jit(task.init)
    for index, name in enumerate(folds):
        variables = jax.device_get(init(jax.random.key(index)))
        parameters.save(parameters.path_of(toy.run, name), variables, {"fold": name})


def made_problem(toy, name, config=None):
    """The problem of a recogniser behind that spotter, after what is trained before it."""
    config, spotter = config or recognise.training_config(toy.config, name), spotter_of(toy, flow_of(toy))
    if first := RECOGNISERS[name].first:
        first(spotter, toy.named, config, fit.facts_of(toy.named, toy.dataset), quiet)
    return samples.make_problem(name, config, spotter, toy.named, toy.found)


def draw_streams(spotter, named, *_):
    """Writes STR's streams of the folds, untrained; stands for ``streams.train``."""
    init = jax.jit(strnet.make_spotting_task().init)
    for index, name in enumerate(named.folds.name):
        path = parameters.path_of(spotter.training / streams.DIRECTORY, name)
        parameters.save(path, jax.device_get(init(jax.random.key(index))), {"fold": name})


def flow_of(toy):
    """Stands for optical flow: what the second frame of a pair has of its first features, as stripes of a picture."""
    inputs = toy.dataset.store.inputs[:, :6]

    def flow(pairs):
        rows = np.repeat(inputs[pairs[:, 1]].astype(np.float32) / 10 + 0.5, 7, 1)
        return np.broadcast_to(rows[:, :, None, None], (len(pairs), 42, 42, 3)).clip(0, 1).astype(np.float16)

    return flow


def spotter_of(toy, flow=None):
    """What samplers read of it."""
    plain, training = make_problem(toy.config, toy.dataset), toy.run / recognise.TRAINING
    parts = (plain.task, plain.geometry, toy.dataset.metas, toy.dataset.store, plain.store, training, flow)
    return Spotter(toy.run, toy.config, *parts)
