"""The evaluation of a run: its saved network outputs decoded, scored with each fold's threshold, ``metrics.json``.

What the commands ``evaluate`` and ``report`` do. The numbers are those of ``all_metrics``; what belongs to a run stands
beside them: thresholds of the folds, leaks, baselines, configuration, versions, data.
"""

import copy
import functools
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config, Detections, Events, Task
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import candidates, checkpoint, output_files, predict, run_dir
from fedn_jax.engine.decode import make_decoder, rule_of
from fedn_jax.evaluation import all_metrics, flow_baseline, kinds, leaks, matching, position_prior, thresholds
from fedn_jax.evaluation.thresholds import Threshold
from fedn_jax.ops import windows

log = logging.getLogger(__name__)

# ---- Evaluate -------------------------------------------------------------------------------------------------------


class Results(NamedTuple):
    """What an evaluation found."""

    problem: Problem
    metrics: dict[str, Any]  # content of metrics.json
    detections: list[Detections]  # V, survivors of NMS
    thresholds: np.ndarray  # [V] float


class Decoded(NamedTuple):
    """What the networks of a run find in its test videos, and the thresholds of its folds; not scored."""

    problem: Problem
    detections: list[Detections]  # V, survivors of NMS
    thresholds: np.ndarray  # [V] float
    chosen: dict[str, Threshold]  # outer fold -> its threshold
    recorded: dict[str, Any]  # what the run says of itself
    other_options: dict[str, Any]  # of the evaluation, see ``thresholds.other_options``

    @property
    def tests(self) -> dict[str, Sequence[int]]:
        """Outer fold -> its test videos."""
        plan = dict(zip(self.problem.folds.name, self.problem.folds.test, strict=True))
        return {name: plan[name] for name in self.chosen}


def decode_run(
    run: Path, config: Config, dataset: shards.Dataset, progress: Progress, typed: Collection[str] = ()
) -> Decoded:
    """Decodes the saved network outputs, and picks each fold's threshold on its inner fold.

    Args:
      run: directory of a finished run.
      config: that of the run; options of the sections predict and evaluate may differ.
      dataset: the shards that it was trained on; its inputs are not looked at.
      progress: bars.
      typed: options that were given for this evaluation, by dotted name; see ``thresholds.other_options``.

    Returns:
      What was found.

    Raises:
      UserError: the run is not finished, is a cascade, or was trained on other data.
    """
    if config.cascade.recogniser:
        raise UserError(
            f"{run}: a cascade, whose numbers, page and timelines `fedn recognise` writes; evaluate the run of its "
            "spotter, or start `fedn recognise` again"
        )
    recorded = run_dir.read_run(run)
    if recorded["data"] != dataset.metadata["signature"]:
        raise UserError(f"{run} was trained on other data than these; expected the --data directory of that training")
    other = thresholds.other_options(config, run_dir.load_config(run), typed)
    problem, decode, shapes = _problem(config, dataset)
    plan = dict(zip(problem.folds.name, problem.folds.test, strict=True))
    outer = [name for name in plan if not name.endswith(splits.INNER)]

    def held_out(inner: str) -> tuple[tuple[Detections, Events] | None, float]:
        """What picks a fold's threshold, if anything does; the score from which on all of its candidates were kept."""
        if inner not in plan or thresholds.OPTION in other:
            return None, 0.0
        kept, floor = read_inner(run, inner, len(plan[inner]), config)
        return (matching.pad(kept), matching.pad([problem.events[video] for video in plan[inner]])), floor

    found: list[Detections | None] = [None] * len(problem.metas)
    limits, chosen, cut = np.zeros(len(problem.metas)), {}, {}
    for name in progress(outer, desc="decode", unit="fold"):
        held, floor = held_out(name + splits.INNER)
        chosen[name] = thresholds.choose(config, thresholds.OPTION in other, held, config.evaluate.iou)
        if chosen[name].value < floor:
            cut[name] = floor
        for video, detections in zip(
            plan[name], read_fold(run, name, plan[name], problem, config, decode, shapes), strict=True
        ):
            found[video], limits[video] = detections, chosen[name].value
    if any(key.startswith("predict.") for key in other):
        _warn(run, cut)
    return Decoded(problem, found, limits, chosen, recorded, other)


def evaluate_run(
    run: Path,
    config: Config,
    dataset: shards.Dataset,
    progress: Progress,
    typed: Collection[str] = (),
) -> Results:
    """Decodes a run and scores its test videos; nothing is written.

    Args:
      run: directory of a finished run.
      config: see ``decode_run``.
      dataset: see ``decode_run``.
      progress: bars.
      typed: see ``decode_run``.

    Returns:
      Results, for ``write``.

    Raises:
      UserError: as ``decode_run``.
    """
    decoded = decode_run(run, config, dataset, progress, typed)
    result = score(decoded, config, dataset)
    return Results(decoded.problem, result, decoded.detections, decoded.thresholds)


def read_fold(
    run: Path, fold: str, test: Sequence[int], problem: Problem, config: Config, decode: Callable[..., Detections],
    shapes: Mapping[str, Any],
) -> list[Detections]:  # fmt: skip
    """What the network of a fold finds in its test videos, of its saved outputs.

    Args:
      run: directory of a finished run.
      fold: an outer one.
      test: its test videos.
      problem: of the run.
      config: of the evaluation.
      decode: of ``engine.decode.make_decoder``.
      shapes: of ``predict.shapes_of_outputs``.

    Returns:
      The survivors of NMS, not thresholded, of each video.

    Raises:
      UserError: outputs that are missing or damaged, or more expressions than may be.
    """
    metas = [problem.metas[video] for video in test]
    paths = [run_dir.outputs_path(run, fold, meta) for meta in metas]
    starts = [predict.window_starts(meta, problem.geometry, config.window.test_hop) for meta in metas]
    outputs = [output_files.load(*pair, shapes) for pair in zip(paths, starts, strict=True)]
    found = [decode(one, meta.num_frames) for one, meta in zip(outputs, metas, strict=True)]
    for meta, detections in zip(metas, found, strict=True):
        if problem.task.whole and detections.valid.all():
            raise UserError(
                f"video {meta.subject}/{meta.video} has {config.predict.max_detections} expressions or more, and "
                "none may be left out; raise predict.max_detections, or predict.min_frames"
            )
    return found


def read_inner(run: Path, fold: str, videos: int, config: Config) -> tuple[list[Detections], float]:
    """What the network of an inner fold finds in the videos that it held out.

    Args:
      run: directory of a finished run.
      fold: an inner one.
      videos: how many it held out.
      config: of the evaluation.

    Returns:
      The survivors of NMS of each video; and the score from which on all candidates were kept.
    """
    kept, floors = candidates.load(run_dir.candidates_path(run, fold), videos)
    rule = rule_of(config)
    found = [candidates.suppress(one, rule) for one in kept]
    return found, float(floors.max(initial=0))


def score(decoded: Decoded, config: Config, dataset: shards.Dataset) -> dict[str, Any]:
    """All numbers of a run, and of what learns nothing.

    Args:
      decoded: what was to be detected, and what was.
      config: of the evaluation.
      dataset: loaded shards; its inputs are not looked at.

    Returns:
      The content of metrics.json.
    """
    iou, problem = config.evaluate.iou, decoded.problem
    result = numbers(decoded, iou)
    padded = (matching.pad(decoded.detections), matching.pad(problem.events))
    subjects = [meta.subject for meta in problem.metas]
    result["leaks"] = leaks.measure(result, *padded, subjects, decoded.thresholds)
    result["baselines"] = _baselines(decoded, dataset, iou)
    result["other_options"] = decoded.other_options
    result["config"], result["versions"] = json.loads(config.to_json()), decoded.recorded["versions"]
    signature = dataset.metadata["signature"]
    result["data"] = {key: value for key, value in dataset.metadata.items() if key != "signature"}
    if models.TASKS[config.task].frames:  # its inputs are pictures; the data hold embeddings beside them
        preparation = result["data"].get("preparation") or {}
        result["data"] = {key: value for key, value in result["data"].items() if key != "backbone"}
        result["data"]["preparation"] = {key: value for key, value in preparation.items() if key != "backbone"}
    result["data"]["signature"] = signature
    return result


def write(results: Results, out: Path) -> None:
    """Writes what was found, and its numbers.

    Args:
      results: of an evaluation.
      out: directory; gets ``detections.csv``, ``candidates.csv`` and ``metrics.json``.
    """
    problem, named = results.problem, results.problem.label == "kind"
    output_files.write_csv(out / "candidates.csv", problem.metas, results.detections, problem.classes, named)
    kept = [matching.above(*pair) for pair in zip(results.detections, results.thresholds, strict=True)]
    output_files.write_csv(out / "detections.csv", problem.metas, kept, problem.classes, named)
    run_dir.write_record(out / "metrics.json", results.metrics)


def _warn(run: Path, floors: Mapping[str, float]) -> None:
    """With other options of suppression, candidates that were not kept could have moved a threshold below them."""
    if floors:
        named = ", ".join(f"{name} ({floor:.3f})" for name, floor in floors.items())
        log.warning(
            f"{run}: of inner folds the strongest candidates are kept, and the thresholds of these folds lie below the "
            f"weakest of them: {named}; with the training's options of suppression they are exact, here they may not be"
        )


def _problem(config: Config, dataset: shards.Dataset) -> tuple[Problem, Callable[..., Detections], dict[str, Any]]:
    """The problem, its inputs as they are in the shards; the decoder of network outputs, and what these look like."""
    plain = config.copy_and_resolve_references()
    plain.data.standardize = "none"  # which would copy all inputs; nothing here looks at them
    problem = make_problem(plain, dataset)
    options = {key: value for key, value in configs.flatten(plain).items() if key not in configs.HYPER}
    options = {key: value for key, value in options.items() if key.partition(".")[0] not in thresholds.SECTIONS}
    task = _task(json.dumps(options), problem.geometry, len(problem.classes), dataset.store.inputs.shape[1:])
    row = jax.ShapeDtypeStruct(dataset.store.inputs.shape[1:], dataset.store.inputs.dtype)
    shapes = predict.shapes_of_outputs(task, problem.geometry, row)
    return problem, make_decoder(task, rule_of(config), config.predict.chunk), shapes


@functools.lru_cache(maxsize=8)
def _task(options: str, geometry: windows.Geometry, num_classes: int, input_shape: tuple[int, ...]) -> Task:
    """The task of runs that differ in numbers only: one, so that its decoder is compiled once for all of them."""
    config = configs.default()
    config.update_from_flattened_dict(json.loads(options))
    return models.make_task(config, geometry, num_classes, input_shape)


def numbers(decoded: Decoded, iou: float) -> dict[str, Any]:
    """The numbers of one set of detections, with the threshold of each fold and where it comes from.

    Args:
      decoded: what was to be detected, and what was.
      iou: at which a detection is right.

    Returns:
      Those of ``all_metrics``; of kinds, where the labels are kinds; thresholds.
    """
    problem, found, limits = decoded.problem, decoded.detections, decoded.thresholds
    subjects = [meta.subject for meta in problem.metas]
    result = all_metrics.evaluate_detections(
        matching.pad(found), matching.pad(problem.events), subjects, problem.classes, limits,
        iou, [meta.num_frames for meta in problem.metas],
    )  # fmt: skip
    if problem.label == "kind":
        kept = matching.pad([matching.above(*pair) for pair in zip(found, limits, strict=True)])
        frames = [meta.num_frames for meta in problem.metas]
        result["kinds"] = kinds.scores(kept, matching.pad(problem.events), frames, decoded.tests, iou)
    if problem.left_out:
        result["definition"]["gt"] += f"; {problem.left_out}: where one is detected, that counts as wrong"
    origins = {fold: one.origin for fold, one in decoded.chosen.items()}
    result["definition"]["threshold"] = thresholds.describe(origins)
    return result | thresholds.record(decoded.chosen)


_BASELINES: dict[str, dict[str, Any]] = {}  # numbers of the baselines: the runs of a table share them


def _baselines(decoded: Decoded, dataset: shards.Dataset, iou: float) -> dict[str, Any]:
    """What learns nothing, scored the same way; it hangs on data, folds and classes, and on nothing of the run."""
    problem = decoded.problem
    about = [problem.label, problem.classes, problem.left_out, problem.geometry.frames_per_row, iou, problem.metas]
    about.append([(name, *test) for name, test in decoded.tests.items()])
    leaves = jax.tree.leaves((dataset.flow, dataset.store.valid, problem.events))
    key = json.dumps(about, default=int) + checkpoint.digest({str(i): leaf for i, leaf in enumerate(leaves)})
    if key not in _BASELINES:
        _BASELINES[key] = _score_baselines(decoded, dataset, iou)
    return copy.deepcopy(_BASELINES[key])


def _score_baselines(decoded: Decoded, dataset: shards.Dataset, iou: float) -> dict[str, Any]:
    """All that they are set by comes from the training videos of each fold."""
    problem, plan = decoded.problem, decoded.tests
    tests = list(plan.values())
    trains = [tuple(sorted(set(range(len(problem.metas))) - set(test))) for test in tests]
    classes, per_row = len(problem.classes), problem.geometry.frames_per_row
    found = {}
    if dataset.flow.any():  # features of other programs come without pictures, hence without flow
        rows = [slice(meta.row, meta.row + meta.num_rows) for meta in problem.metas]
        seen = [[source[row] for row in rows] for source in (dataset.flow, dataset.store.valid)]
        rates = [meta.fps / per_row for meta in problem.metas]
        detected, limits = flow_baseline.run(*seen, rates, problem.events, trains, tests, classes, per_row, iou)
        values = {name: float(limits[test[0]]) for name, test in plan.items()}
        chosen = {name: Threshold(x, thresholds.TUNED if x else thresholds.ALL) for name, x in values.items()}
        found["flow"] = numbers(decoded._replace(detections=detected, thresholds=limits, chosen=chosen), iou)
    lengths = [meta.num_frames for meta in problem.metas]
    detected = position_prior.run(lengths, problem.events, trains, tests, classes)
    chosen = dict.fromkeys(plan, Threshold(0.0, thresholds.UNSCORED))
    found["position"] = numbers(
        decoded._replace(detections=detected, thresholds=np.zeros(len(lengths)), chosen=chosen), iou
    )
    return found
