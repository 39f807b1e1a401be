"""The paper's Tables 2 to 4: every row, with several seeds, trained, evaluated and written beside what is printed.

OUT/runs/fedn/seed0          runs like any other; rows that tables share are trained once
OUT/table3.json              every number of every seed, unrounded; the same as .html, .csv, .tex and .txt
"""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.cascade import recognise, streams
from fedn_jax.cascade.recognisers import RECOGNISERS
from fedn_jax.cascade.samplers import Flow
from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config
from fedn_jax.data import shards
from fedn_jax.data.problem import make_problem
from fedn_jax.engine import fit, run_dir
from fedn_jax.evaluation import headline, run_evaluation, thresholds
from fedn_jax.experiments import flops, orderings, published

FEDN = "fedn"  # directory of the row ""

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """One row of a table."""

    name: str  # of the configuration; "" is FEDN
    method: str  # as the paper prints it
    config: Config
    obstacle: str  # why these data cannot train it; "" if they can


def rows(
    table: int, names: Sequence[str], load: Callable[[str], Config], frames_per_row: int, frames: bool = True
) -> list[Row]:
    """The rows of a table that a configuration has.

    Args:
      table: of the paper: 2, 3 or 4.
      names: all rows of the configuration.
      load: row -> its configuration.
      frames_per_row: of the data; more than one: clip features.
      frames: the data keep the aligned frames.

    Returns:
      The variants in the order of the configuration, then FEDN, as the paper has them.

    Raises:
      UserError: the configuration has no row of the table.
    """
    mine = [name for name in names if name.startswith(f"table{table}/")]
    if not mine:
        raise UserError(f"the configuration has no row of table {table}; expected names such as table{table}/NAME")
    found = []
    for name in [*mine, ""]:
        config = load(name)
        clips, wants = frames_per_row > 1, config.model.segment_fusion == "none"
        obstacle = "" if clips == wants else f"needs {'clip features' if wants else 'frame embeddings'}"
        recogniser = config.cascade.recogniser
        if not obstacle and not frames and recogniser and RECOGNISERS[recogniser].frames:
            obstacle = "needs aligned frames (`fedn prepare --frames`)"
        found.append(Row(name, method(table, name), config, obstacle))
    return found


def method(table: int, name: str) -> str:
    """A row's name in the paper; its own, in words, where the paper has none.

    Args:
      table: of the paper.
      name: row of the configuration; "" is FEDN.

    Returns:
      E.g. "w/o seg. att.".
    """
    wanted = (configs.PAPER_ROWS | configs.CASCADE_ROWS).get(name, {})
    for row in published.rows("casme2", "annotated", table):
        if row.options is not None and {k: v for k, v in row.options.items() if k != "features"} == wanted:
            return row.method
    return name.rpartition("/")[2].replace("_", " ") or "FEDN"


def directory(out: Path, name: str, seed: int) -> Path:
    """Where a run lies.

    Args:
      out: directory of the reproduction.
      name: row of the configuration.
      seed: of the run.

    Returns:
      A path below ``out``.
    """
    return out / "runs" / (name or FEDN) / f"seed{seed}"


def runs_of(out: Path, row: Row, seeds: int) -> list[fit.Run]:
    """The runs of a row.

    Args:
      out: directory of the reproduction.
      row: the row.
      seeds: how many; the first is that of the configuration.

    Returns:
      One per seed.
    """
    found = []
    for seed in range(row.config.seed, row.config.seed + seeds):
        config = row.config.copy_and_resolve_references()
        config.seed = seed
        found.append(fit.Run(directory(out, row.name, seed), config))
    return found


def train(out: Path, several: Sequence[Row], seeds: int, dataset: shards.Dataset, progress: Progress) -> None:
    """Trains what is not trained yet; rows that differ in numbers of ``Hyper`` only are one program.

    Args:
      out: directory of the reproduction.
      several: rows; recognisers and rows that these data cannot train are left out.
      seeds: runs of each row.
      dataset: loaded shards.
      progress: bars.

    Raises:
      UserError: fewer than one seed, or a run that cannot go on.
    """
    if seeds < 1:
        raise UserError(f"--seeds must be at least 1; got {seeds}")
    groups: dict[str, list[Row]] = {}
    for row in several:
        if not row.obstacle and not row.config.cascade.recogniser:
            groups.setdefault(configs.structure(row.config), []).append(row)
    for group in groups.values():
        log.info(f"{', '.join(row.name or FEDN for row in group)}:")
        fit.fit([run for row in group for run in runs_of(out, row, seeds)], dataset, progress)


# ---- Numbers ---------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and standard deviation over seeds.

    Args:
      values: one per seed.

    Returns:
      "values", "mean" and "std" (of a sample, n - 1); None where a value is missing, and "std" of one seed.

    >>> spread([1.0, 3.0])["mean"], round(spread([1.0, 3.0])["std"], 3), spread([1.0])["std"]
    (2.0, 1.414, None)
    """
    if any(value is None for value in values):
        return {"values": list(values), "mean": None, "std": None}
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"values": list(values), "mean": float(np.mean(values)), "std": std}


def price(row: Row, dataset: shards.Dataset, backbone: flops.Cost | None) -> dict[str, Any]:
    """Parameters and operations of one window.

    Args:
      row: the row.
      dataset: loaded shards.
      backbone: of one frame; None for features of another network, which are not counted.

    Returns:
      "parameters" and "flops" of network and backbone together, "network" and "backbone" (all frames) apart.
    """
    plain = row.config.copy_and_resolve_references()
    plain.data.standardize = "none"  # which would copy all inputs; only their width is looked at
    problem = make_problem(plain, dataset)
    network = flops.network(problem.task, problem.geometry, dataset.store.inputs.shape[1:])
    frames = problem.geometry.rows
    extra = flops.Cost(backbone.parameters, frames * backbone.flops) if backbone else flops.Cost(0, 0.0)
    total = flops.Cost(network.parameters + extra.parameters, network.flops + extra.flops)
    return total._asdict() | {"network": network._asdict(), "backbone": extra._asdict(), "frames": frames}


def _spotters(out: Path, row: Row, several: Sequence[Row], seeds: int) -> list[fit.Run | None]:
    """The runs that a row of a recogniser stands behind, one per seed; None for a row that names its own intervals."""
    if not row.config.cascade.recogniser:
        return [None] * seeds
    wanted = row.config.copy_and_resolve_references()
    wanted.cascade.recogniser = ""
    for other in several:
        if configs.flatten(other.config) == configs.flatten(wanted):
            return runs_of(out, other, seeds)
    raise UserError(
        f"the configuration has no row that is {row.name} without its recogniser; expected one of its table"
    )


def _share_streams(out: Path, row: Row, several: Sequence[Row], seeds: int) -> None:
    """STR's streams do not depend on the spotter: behind the second one those of the first are taken."""
    alike = [one for one in several if one.config.cascade.recogniser == row.config.cascade.recogniser]
    for runs in zip(*(runs_of(out, one, seeds) for one in alike), strict=True):
        rooms = [run.directory / recognise.TRAINING / streams.DIRECTORY for run in runs]
        trained = next((room for room in rooms if (room / "parameters").is_dir()), None)
        own = runs[alike.index(row)].directory / recognise.TRAINING / streams.DIRECTORY
        if trained and not own.exists():
            with files.building(own) as fresh:
                shutil.copytree(trained, fresh, dirs_exist_ok=True)


def _evaluate(
    run: fit.Run, spotter: fit.Run | None, dataset: shards.Dataset, progress: Progress, flow: Flow | None
) -> dict[str, Any]:
    """The numbers of a run, which are written, too; of a cascade after its recogniser is trained."""
    if spotter is None:
        results = run_evaluation.evaluate_run(run.directory, run.config, dataset, progress)
    else:
        name = run.config.cascade.recogniser
        config = recognise.training_config(spotter.config, name)
        results = recognise.recognise(spotter.directory, name, config, dataset, progress, run.directory, flow)
    run_evaluation.write(results, run.directory)
    return results.metrics


def run(
    out: Path,
    table: int,
    several: Sequence[Row],
    seeds: int,
    dataset: shards.Dataset,
    backbone: flops.Cost | None,
    progress: Progress,
    flow: Flow | None = None,
) -> dict[str, Any]:
    """Trains what is not trained yet, and evaluates all of it.

    Args:
      out: directory of the reproduction.
      table: of the paper.
      several: of ``rows``.
      seeds: runs of each row.
      dataset: loaded shards.
      backbone: of one frame, or None.
      progress: bars.
      flow: optical flow between frames of the data, for rows that need it.

    Returns:
      Content of ``table{N}.json``.

    Raises:
      UserError: fewer than one seed, no row that fits the data, or a run that cannot go on.
    """
    if all(row.obstacle for row in several):
        raise UserError(f"no row of table {table} fits the data: {several[0].method} {several[0].obstacle}")
    train(out, several, seeds, dataset, progress)
    found, first, origins = [], None, {}
    for row in several:
        if not row.obstacle and row.config.cascade.recogniser:
            _share_streams(out, row, several, seeds)
        scored = [] if row.obstacle else [
            _evaluate(run, spotter, dataset, progress, flow)
            for run, spotter in zip(runs_of(out, row, seeds), _spotters(out, row, several, seeds), strict=True)
        ]  # fmt: skip
        first = first or (scored[0] if scored else None)
        columns = [headline.numbers(one) for one in scored]
        for number, one in enumerate(scored):
            where = f"{row.name or FEDN}, seed {row.config.seed + number}"
            origins |= {f"{where}, {fold}": origin for fold, origin in one["threshold_origins"].items()}
        found.append({
            "row": row.name, "method": row.method, "obstacle": row.obstacle,
            "numbers": {name: spread([one[name] for one in columns]) for name in headline.NUMBERS if columns},
            "cost": None if row.obstacle or row.config.cascade.recogniser else price(row, dataset, backbone),
            "changes": (configs.PAPER_ROWS | configs.CASCADE_ROWS).get(row.name, {}),
        })  # fmt: skip
    values = {one["row"]: {name: number["values"] for name, number in one["numbers"].items()}
              for one in found if one["numbers"]}  # fmt: skip
    judged = orderings.judge_all(table, values)
    result = {
        "table": table,
        "seeds": [several[0].config.seed + number for number in range(seeds)],
        "rows": found,
        "orderings": [one | {"verdicts": {k: v._asdict() for k, v in one["verdicts"].items()}} for one in judged],
        "rule": orderings.RULE, "chance": orderings.chance(seeds), "obstacle": published.obstacle(first),
        "setting": published.setting(first), "config": first["config"],
        "definition": first["definition"] | {"threshold": thresholds.describe(origins)},
        "versions": first["versions"], "data": first["data"],
    }  # fmt: skip
    run_dir.write_json(out / f"table{table}.json", result)
    return json.loads((out / f"table{table}.json").read_text())
