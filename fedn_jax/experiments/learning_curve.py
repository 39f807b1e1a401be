"""A learning curve: every fold with growing shares of its training subjects, trained as one program.

OUT/run/                  the training of all shares, as any run: parameters, metrics, outputs
OUT/learning_curve.json   what came out
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax import models
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem, with_folds
from fedn_jax.engine import fit, predict, run_dir
from fedn_jax.engine.decode import make_decoder, rule_of
from fedn_jax.engine.trainer import make_trainer
from fedn_jax.evaluation import extrapolation, matching, metrics, run_evaluation, thresholds
from fedn_jax.evaluation.metrics import Counts

FILE = "learning_curve.json"


class Curve(NamedTuple):
    """What is trained."""

    problem: Problem  # its folds are those of all shares and draws
    outer: tuple[str, ...]  # K folds of the scheme
    test: tuple[tuple[int, ...], ...]  # their test videos
    counts: np.ndarray  # [A, K] int, training subjects


def plan(config: Config, dataset: shards.Dataset, shares: Sequence[float], draws: int) -> Curve:
    """What a learning curve trains.

    Args:
      config: of the training.
      dataset: loaded shards.
      shares: of the training subjects, rising.
      draws: of training subjects, for each share.

    Returns:
      The curve.

    Raises:
      UserError: shares or draws that make no sense, or options that do not fit one another or the data.
    """
    if not shares or list(shares) != sorted({*shares}) or not 0 < shares[0] <= shares[-1] <= 1:
        raise UserError(f"--shares must rise, above 0 and at most 1; got {', '.join(map('{:g}'.format, shares))}")
    if draws < 1:
        raise UserError(f"--draws must be at least 1; got {draws}")
    models.validate(config)
    problem = make_problem(config, dataset)
    folds, counts = splits.plan_shares(
        problem.metas, problem.windows, config.folds.scheme, config.folds.inner, shares, draws
    )
    scheme = [
        (name, test)
        for name, test in zip(problem.folds.name, problem.folds.test, strict=True)
        if not name.endswith(splits.INNER)
    ]
    return Curve(with_folds(problem, folds), *zip(*scheme, strict=True), counts)


def run(
    out: Path, config: Config, dataset: shards.Dataset, shares: Sequence[float], draws: int, progress: Progress
) -> dict[str, Any]:
    """Trains what is not trained yet, and says how F1 grows; started again, it goes on.

    Args:
      out: directory.
      config: of the training.
      dataset: loaded shards.
      shares: see ``plan``.
      draws: see ``plan``.
      progress: bars.

    Returns:
      Content of ``learning_curve.json``: "points", one per share; "extrapolation", of ``extrapolation.extrapolate``;
      "draws", "threshold" (where it comes from), "config", "versions" and "data".

    Raises:
      UserError: see ``plan``; or a run that cannot go on.
    """
    curve = plan(config, dataset, shares, draws)
    directory, trainer = out / "run", make_trainer(config, curve.problem)
    facts = fit.facts_of(curve.problem, dataset) | {"shares": list(shares), "draws": draws}
    fit.fit_problem([fit.Run(directory, config)], trainer, facts, progress)
    counts, origins = _counts(directory, curve, config, shares, draws, progress)
    found = extrapolation.points(counts)
    size = curve.counts.mean(1)
    each = metrics.f1(Counts(*(x.sum(2) for x in counts)))  # [A, D]
    result = {
        "points": [
            {
                "share": share, "subjects": float(size[index]), "f1": float(found.value[index]),
                "low": float(found.low[index]), "high": float(found.high[index]), "draws": each[index].tolist(),
            }
            for index, share in enumerate(shares)
        ],
        "extrapolation": extrapolation.extrapolate(size, found, counts.tp.shape[2]),
        "draws": draws, "test_subjects": counts.tp.shape[2], "threshold": thresholds.describe(origins),
        "config": json.loads(config.to_json()),
        "versions": run_dir.read_run(directory)["versions"], "data": dataset.metadata,
    }  # fmt: skip
    run_dir.write_json(out / FILE, result)
    return result


def _counts(
    directory: Path, curve: Curve, config: Config, shares: Sequence[float], draws: int, progress: Progress
) -> tuple[Counts, dict[str, str]]:
    """(counts [A, D, S] of shares, draws and test subjects; fold -> where its threshold comes from)."""
    problem = curve.problem
    decode = make_decoder(problem.task, rule_of(config), config.predict.chunk)
    inputs = problem.store.inputs
    row = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    shapes = predict.shapes_of_outputs(problem.task, problem.geometry, row)
    held = dict(zip(problem.folds.name, problem.folds.test, strict=True))
    subjects = sorted({problem.metas[video].subject for test in curve.test for video in test})
    group = np.array([subjects.index(meta.subject) if meta.subject in subjects else -1 for meta in problem.metas])
    counts = Counts(*np.zeros((3, len(shares), draws, len(subjects)), np.int64))
    origins: dict[str, str] = {}
    for index, draw in progress(list(np.ndindex(len(shares), draws)), desc="decode and score", unit="point"):
        for outer, test in zip(curve.outer, curve.test, strict=True):
            name = splits.share_name(outer, shares[index], draw)
            inner = held.get(name + splits.INNER)
            held_out = _held_out(directory, name, inner, curve, config)
            chosen = thresholds.choose(config, False, held_out, config.evaluate.iou)
            origins[name] = chosen.origin
            found = run_evaluation.read_fold(directory, name, test, problem, config, decode, shapes)
            pair = matching.pad(found), matching.pad([problem.events[video] for video in test])
            rows = np.pad(group[list(test)], (0, len(pair[0].valid) - len(test)))
            kept = matching.above(pair[0], chosen.value)
            one = metrics.spotting(kept, pair[1], config.evaluate.iou, rows, len(subjects))
            for total, part in zip(counts, one, strict=True):
                total[index, draw] += part
    return counts, origins


def _held_out(directory: Path, name: str, inner: tuple[int, ...] | None, curve: Curve, config: Config) -> Any:
    """What the inner fold found, and what there was to find; None without one."""
    if inner is None:
        return None
    found, _ = run_evaluation.read_inner(directory, name + splits.INNER, len(inner), config)
    return matching.pad(found), matching.pad([curve.problem.events[video] for video in inner])
