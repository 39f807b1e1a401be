"""From shards to numbers: what the commands ``evaluate`` and ``report`` do, on a run's directory."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config, Detections
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import predict, run_dir
from fedn_jax.evaluation import evaluate, matching, metrics, motion_baseline

# ---- Evaluate -------------------------------------------------------------------------------------------------------


class Results(NamedTuple):
    """What an evaluation found."""

    problem: Problem
    metrics: dict[str, Any]  # content of metrics.json
    detections: list[Detections]  # V, survivors of NMS
    thresholds: np.ndarray  # [V] float


def evaluate_run(run: Path, config: Config, dataset: shards.Dataset, progress: Progress) -> Results:
    """Decodes the saved network outputs, picks each fold's threshold on its inner fold, and scores the test videos.

    Args:
      run: directory of a finished run.
      config: that of the run; options of the sections predict and evaluate may differ.
      dataset: the shards that it was trained on.
      progress: bars.

    Returns:
      Results; ``detections.csv``, ``candidates.csv`` and ``metrics.json`` are written.

    Raises:
      UserError: the run is not finished, or was trained on other data.
    """
    recorded = run_dir.read_json(run / "run.json")
    if recorded["data"] != dataset.metadata["signature"]:
        raise UserError(f"{run} was trained on other data than these; expected the --data directory of that training")
    problem = make_problem(config, dataset)
    post, iou = config.predict, config.evaluate.iou
    decode = predict.make_decoder(problem.task, post.nms_iou, post.max_detections, post.per_class, post.chunk)
    found: list[Detections | None] = [None] * len(problem.metas)
    thresholds = np.zeros(len(problem.metas))
    plan = dict(zip(problem.folds.name, problem.folds.test, strict=True))

    def decode_fold(fold: str) -> list[Detections]:
        paths = [run_dir.outputs_path(run, fold, problem.metas[video]) for video in plan[fold]]
        for path in paths:
            if not path.exists():
                raise UserError(f"{path}: no such file; the run is not finished: start `fedn train` again to go on")
        return [
            decode(predict.load_outputs(path), problem.metas[video].num_frames)
            for path, video in zip(paths, plan[fold], strict=True)
        ]

    def suppress_fold(fold: str) -> list[Detections]:
        path = run_dir.candidates_path(run, fold)
        if not path.exists():
            raise UserError(f"{path}: no such file; the run is not finished: start `fedn train` again to go on")
        candidates, _ = predict.load_candidates(path)
        return [predict.suppress(one, post.nms_iou, post.max_detections, post.per_class) for one in candidates]

    outer = [name for name in plan if not name.endswith(splits.INNER)]
    for name in progress(outer, desc="decode and score", unit="fold"):
        threshold = config.evaluate.threshold
        if (inner := name + splits.INNER) in plan:
            held_out = matching.pad([problem.events[video] for video in plan[inner]])
            threshold = metrics.best_threshold(matching.pad(suppress_fold(inner)), held_out, iou)
        for video, detections in zip(plan[name], decode_fold(name), strict=True):
            found[video], thresholds[video] = detections, threshold
    result = _score(problem, found, thresholds, iou)
    moves = dataset.motion.any()  # clip features come without pictures, hence without motion
    result["baseline"] = _baseline(problem, dataset, plan, outer, iou) if moves else None
    result["thresholds"] = {name: float(thresholds[plan[name][0]]) for name in outer}
    result["config"], result["versions"] = json.loads(config.to_json()), recorded["versions"]
    result["data"] = {key: value for key, value in dataset.metadata.items() if key != "signature"} | {
        "signature": recorded["data"]
    }
    predict.write_csv(run / "candidates.csv", problem.metas, found, problem.classes)
    kept = [matching.above(*pair) for pair in zip(found, thresholds, strict=True)]
    predict.write_csv(run / "detections.csv", problem.metas, kept, problem.classes)
    run_dir.write_json(run / "metrics.json", result)
    return Results(problem, result, found, thresholds)


def _score(problem: Problem, found: list[Detections], thresholds: np.ndarray, iou: float) -> dict[str, Any]:
    """All numbers of one set of detections."""
    subjects = [meta.subject for meta in problem.metas]
    return evaluate.evaluate_detections(
        matching.pad(found), matching.pad(problem.events), subjects, problem.classes, thresholds,
        iou, [meta.num_frames for meta in problem.metas],
    )  # fmt: skip


def _baseline(problem: Problem, dataset: shards.Dataset, plan: dict, outer: list[str], iou: float) -> dict[str, Any]:
    """The motion-energy spotter, scored the same way; its settings come from the training videos of each fold."""
    rows = [slice(meta.row, meta.row + meta.num_rows) for meta in problem.metas]
    tests = [plan[name] for name in outer]
    trains = [tuple(sorted(set(range(len(problem.metas))) - set(test))) for test in tests]
    found, thresholds = motion_baseline.run(
        [dataset.motion[row] for row in rows],
        [dataset.store.valid[row] for row in rows],
        [meta.fps / problem.geometry.frames_per_row for meta in problem.metas],
        problem.events,
        trains,
        tests,
        len(problem.classes),
        problem.geometry.frames_per_row,
        iou,
    )
    return _score(problem, found, thresholds, iou)
