"""Trains a recogniser behind a run and names what that run spotted; intervals, scores and thresholds stay.

OUT/recogniser/     training of the recogniser, as any run: parameters, metrics, outputs
OUT/                what an evaluation writes, and config.json and run.json, for tables, comparisons and detection
"""

import functools
import math
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedn_jax.cascade import samples
from fedn_jax.cascade.recognisers import RECOGNISERS
from fedn_jax.cascade.samplers import Flow, Spotter
from fedn_jax.core import config as configs
from fedn_jax.core import errors, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config, Detections
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import checkpoint, fit, output_files, parameters, predict, run_dir
from fedn_jax.engine.trainer import make_trainer
from fedn_jax.evaluation import headline, run_evaluation
from fedn_jax.evaluation.run_evaluation import Decoded, Results

TRAINING = "recogniser"  # directory below OUT
SECTION = "train"  # options of the recogniser's training
UNTOUCHED = ("spotting/tp", "spotting/n", "spotting/f1", "map/coco/spotting", "map/all_point/spotting")


def training_config(config: Config, name: str) -> Config:
    """The configuration of a recogniser's training.

    Args:
      config: of the spotter.
      name: entry of ``RECOGNISERS``.

    Returns:
      A copy: the recogniser's own options of the section train, windows of one sample, no inner folds.

    Raises:
      UserError: no such recogniser.
    """
    errors.one_of("--with", name, RECOGNISERS)
    own = config.copy_and_resolve_references()
    own.task, own.cascade.recogniser = name, name
    own.window.update(segments=1, segment_frames=1, stride=1, train_hop=1, test_hop=1, context="video")
    own.folds.inner = 0.0
    own.update_from_flattened_dict(RECOGNISERS[name].training)
    return own


def cascade_config(config: Config, name: str) -> Config:
    """The configuration of a cascade: that of its spotter, and the recogniser's name.

    Args:
      config: of the spotter.
      name: entry of ``RECOGNISERS``.

    Returns:
      A copy.
    """
    whole = config.copy_and_resolve_references()
    whole.cascade.recogniser = name
    return whole


def recognise(
    run: Path,
    name: str,
    config: Config,
    dataset: shards.Dataset,
    progress: Progress,
    out: Path,
    flow: Flow | None = None,
) -> Results:
    """Names the intervals of a run; started again, it goes on.

    Args:
      run: a finished run, the spotter.
      name: entry of ``RECOGNISERS``.
      config: of ``training_config``.
      dataset: the shards that the run was trained on, with their embeddings.
      progress: bars.
      out: directory of the cascade.
      flow: optical flow between frames, for a recogniser that needs it.

    Returns:
      Results, for ``run_evaluation.write``. TP, N, F1 and mAP of spotting are those of
      the run to the last bit.

    Raises:
      UserError: a run that is not finished, is a cascade, or reads pictures; other data; expressions without emotion.
    """
    trained = run_dir.load_config(run)
    if trained.task != "fedn":
        raise UserError(f"{run}: recognisers read embeddings, behind task 'fedn'; this run is of task {trained.task!r}")
    configs.validate(config)
    spotted = run_evaluation.decode_run(run, trained, dataset, progress)
    plain, named = make_problem(trained, dataset), with_emotions(trained, dataset)
    spotter = Spotter(
        run, trained, plain.task, plain.geometry, dataset.metas, dataset.store, plain.store, out / TRAINING, flow
    )
    whole = cascade_config(trained, name)
    found = {f"{index}": np.concatenate([one.interval, one.score[:, None]], 1)
             for index, one in enumerate(spotted.detections)}  # fmt: skip
    outer = [fold for fold in plain.folds.name if not fold.endswith(splits.INNER)]
    facts = fit.facts_of(plain, dataset) | {
        "folds": outer, "classes": named.classes, "spotted": checkpoint.digest(found),
        "spotter": {"path": os.path.relpath(run.resolve(), out.resolve()), "networks": parameters.digest(run, outer)},
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    with files.wait_for_lock(out):
        recorded = run_dir.open_run(out, whole, facts)
    if first := RECOGNISERS[name].first:
        first(spotter, named, config, facts, progress)
    problem = samples.make_problem(name, config, spotter, named, spotted.detections)
    facts["input_shape"] = list(problem.store.inputs.shape[1:])
    fit.fit_problem([fit.Run(out / TRAINING, config)], make_trainer(config, problem), facts, progress)
    relabelled = _named(out / TRAINING, problem, spotted.detections)
    cascade = spotted._replace(problem=named, detections=relabelled, recorded=recorded)
    metrics = _evaluate(spotted, cascade, whole, dataset)
    metrics["cascade"] = {"spotter": str(run), "recogniser": name, SECTION: dict(config[SECTION])}
    return Results(named, metrics, relabelled, spotted.thresholds)


def with_emotions(config: Config, dataset: shards.Dataset) -> Problem:
    """The data of a run with their emotions, whether the run told these apart or not.

    Args:
      config: of the run.
      dataset: loaded shards.

    Returns:
      The problem; its inputs are as they are in the shards.

    Raises:
      UserError: expressions without an emotion, or only one emotion.
    """
    named = config.copy_and_resolve_references()
    named.data.recognition, named.data.standardize = True, "none"
    problem = make_problem(named, dataset)
    if len(problem.classes) < 2:
        raise UserError(f"the data know one emotion only ({problem.classes[0]}); a recogniser needs two or more")
    return problem


def _named(training: Path, problem: Problem, found: Sequence[Detections]) -> list[Detections]:
    """What was spotted, with the emotions that the recogniser of the video's fold gives."""
    row = jax.ShapeDtypeStruct(problem.store.inputs.shape[1:], problem.store.inputs.dtype)
    shapes = predict.shapes_of_outputs(problem.task, problem.geometry, row)
    relabelled = list(found)
    for fold, test in zip(problem.folds.name, problem.folds.test, strict=True):
        for video in test:
            meta, before = problem.metas[video], found[video]
            starts = predict.window_starts(meta, problem.geometry, 1)
            outputs = output_files.load(run_dir.outputs_path(training, fold, meta), starts, shapes)
            valid = np.ones(len(starts), bool)
            emotion = np.zeros_like(before.emotion)
            count = int(before.valid.sum())
            decoded = problem.task.decode(outputs, starts.astype(np.float32), valid, len(starts))
            emotion[before.valid] = decoded.emotion[:count]
            relabelled[video] = before._replace(emotion=emotion)
    return relabelled


def _evaluate(spotted: Decoded, named: Decoded, config: Config, dataset: shards.Dataset) -> dict[str, Any]:
    """The numbers of the cascade; what is spotted must not have moved."""
    before = run_evaluation.numbers(spotted, config.evaluate.iou)
    result = run_evaluation.score(named, config, dataset)
    for path in UNTOUCHED:
        one, other = headline.value(before, path), headline.value(result, path)
        # With another number of emotions NumPy adds up in another order; what it is worth stays the spotter's.
        assert one == other or math.isclose(one, other, rel_tol=1e-12), f"{path} moved from {one} to {other}"
        *sections, name = path.split("/")
        functools.reduce(operator.getitem, sections, result)[name] = one
    return result
