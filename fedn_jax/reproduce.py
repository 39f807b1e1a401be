"""The paper's Tables 2 to 4: every row, with several seeds, trained, evaluated and written beside what is printed.

OUT/runs/fedn/seed0          runs like any other; rows that tables share are trained once
OUT/table3.json              every number of every seed, unrounded; the same as .html, .csv, .tex and .txt
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax import (
    cohort,
    cost,
    data,
    figures,
    files,
    orderings,
    paper,
    papertables,
    pipeline,
    problems,
    report,
    runs,
    tableformats,
)
from fedn_jax import config as configs
from fedn_jax.checks import UserError
from fedn_jax.report import DASH
from fedn_jax.tableformats import Cell, Column, Table
from fedn_jax.types import Config

FEDN = "fedn"  # directory of the row ""
COLUMNS = (
    Column("Method", number=False), Column("TP"), Column("N"), Column("F1 S", "10^-2"), Column("F1 R", "10^-2"),
    Column("mAP S", "10^-3"), Column("mAP D", "10^-3"), Column("Weights", "10^6"), Column("FLOP", "10^9"),
    Column("Seeds"),
)  # fmt: skip
SCALES = {"tp": 1, "n": 1, "f1_s": 100, "f1_r": 100, "map_s": 1000, "map_d": 1000}  # of the columns


class Row(NamedTuple):
    """One row of a table."""

    name: str  # of the configuration; "" is FEDN
    method: str  # as the paper prints it
    config: Config
    obstacle: str  # why these data cannot train it; "" if they can


def rows(table: int, names: Sequence[str], load: Callable[[str], Config], frames_per_row: int) -> list[Row]:
    """The rows of a table that a configuration has.

    Args:
      table: of the paper: 2, 3 or 4.
      names: all rows of the configuration.
      load: row -> its configuration.
      frames_per_row: of the data; more than one: clip features.

    Returns:
      FEDN and the variants, in the order of the configuration.

    Raises:
      UserError: the configuration has no row of the table.
    """
    mine = [name for name in names if name.startswith(f"table{table}/")]
    if not mine:
        raise UserError(f"the configuration has no row of table {table}; expected names such as table{table}/NAME")
    found = []
    for name in ["", *mine]:
        config = load(name)
        clips, wants = frames_per_row > 1, config.model.segment_fusion == "none"
        obstacle = "" if clips == wants else f"needs {'clip features' if wants else 'frame embeddings'}"
        found.append(Row(name, _method(table, name), config, obstacle))
    return found


def _method(table: int, name: str) -> str:
    """A row's name in the paper; its own where the paper has none."""
    wanted = configs.PAPER_ROWS.get(name, {})
    for row in paper.rows("casme2", "annotated", table):
        if row.options is not None and {k: v for k, v in row.options.items() if k != "features"} == wanted:
            return row.method
    return name or "FEDN"


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


def members(out: Path, row: Row, seeds: int) -> list[cohort.Member]:
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
        found.append(cohort.Member(directory(out, row.name, seed), config))
    return found


# ---- Numbers ---------------------------------------------------------------------------------------------------------


def numbers(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of a run that the paper prints.

    Args:
      metrics: content of metrics.json.

    Returns:
      number of ``paper.NUMBERS`` -> count, or share in [0, 1]; None where it does not exist.
    """
    spotting, ap = metrics["spotting"], metrics["map"]["coco"]
    recognises = metrics["config"]["data"]["recognition"]
    return {
        "tp": spotting["tp"],
        "n": spotting["n"],
        "f1_s": spotting["f1"],
        "f1_r": metrics["recognition"]["accuracy"] if recognises and spotting["tp"] else None,
        "map_s": ap["spotting"],
        "map_d": ap["detection"] if recognises else None,
    }


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


def price(row: Row, dataset: data.Dataset, backbone: cost.Cost | None) -> dict[str, Any]:
    """Parameters and operations of one window.

    Args:
      row: the row.
      dataset: loaded shards.
      backbone: of one frame; None for features of another network, which are not counted.

    Returns:
      "parameters" and "flops" of network and backbone together, "network" and "backbone" (all frames) apart.
    """
    problem = problems.make(row.config, dataset)
    network = cost.network(problem.task, problem.geometry, dataset.store.inputs.shape[1])
    frames = problem.geometry.rows
    extra = cost.Cost(backbone.parameters, frames * backbone.flops) if backbone else cost.Cost(0, 0.0)
    total = cost.Cost(network.parameters + extra.parameters, network.flops + extra.flops)
    return total._asdict() | {"network": network._asdict(), "backbone": extra._asdict(), "frames": frames}


def run(
    out: Path,
    table: int,
    several: Sequence[Row],
    seeds: int,
    dataset: data.Dataset,
    backbone: cost.Cost | None,
    progress: Callable[..., Any],
) -> dict[str, Any]:
    """Trains what is not trained yet, and evaluates all of it.

    Args:
      out: directory of the reproduction.
      table: of the paper.
      several: of ``rows``.
      seeds: runs of each row.
      dataset: loaded shards.
      backbone: of one frame, or None.
      progress: tqdm, or something with its interface.

    Returns:
      Content of ``table{N}.json``.

    Raises:
      UserError: fewer than one seed, no row that fits the data, or a run that cannot go on.
    """
    if seeds < 1:
        raise UserError(f"--seeds must be at least 1; got {seeds}")
    if all(row.obstacle for row in several):
        raise UserError(f"no row of table {table} fits the data: {several[0].method} {several[0].obstacle}")
    groups: dict[str, list[cohort.Member]] = {}
    for row in several:
        if not row.obstacle:
            groups.setdefault(configs.structure(row.config), []).extend(members(out, row, seeds))
    for group in groups.values():
        cohort.fit(group, dataset, progress)
    found, first = [], None
    for row in several:
        scored = [] if row.obstacle else [
            pipeline.evaluate(member.run, member.config, dataset, progress).metrics
            for member in members(out, row, seeds)
        ]  # fmt: skip
        first = first or (scored[0] if scored else None)
        columns = [numbers(one) for one in scored]
        found.append({
            "row": row.name, "method": row.method, "obstacle": row.obstacle,
            "numbers": {name: spread([one[name] for one in columns]) for name in paper.NUMBERS if columns},
            "cost": None if row.obstacle else price(row, dataset, backbone),
            "changes": configs.PAPER_ROWS.get(row.name, {}),
        })  # fmt: skip
    values = {one["row"]: {name: one["numbers"][name]["values"] for name in orderings.NUMBERS}
              for one in found if one["numbers"]}  # fmt: skip
    judged = orderings.judge_all(table, values)
    result = {
        "table": table,
        "seeds": [several[0].config.seed + number for number in range(seeds)],
        "rows": found,
        "orderings": [one | {"verdicts": {k: v._asdict() for k, v in one["verdicts"].items()}} for one in judged],
        "rule": orderings.RULE, "chance": orderings.chance(seeds), "obstacle": papertables.obstacle(first),
        "setting": papertables.setting(first), "definition": first["definition"], "config": first["config"],
        "versions": first["versions"], "data": first["data"],
    }  # fmt: skip
    runs.write_json(out / f"table{table}.json", result)
    return json.loads((out / f"table{table}.json").read_text())


# ---- Tables ----------------------------------------------------------------------------------------------------------


def _spread(entry: Mapping[str, Any], scale: float) -> Cell:
    if entry["mean"] is None:
        return Cell(DASH)
    text = f"{scale * entry['mean']:.1f}"
    return Cell(text + (f" ± {scale * entry['std']:.1f}" if entry["std"] is not None else ""), scale * entry["mean"])


def _printed(row: paper.Row) -> list[Cell]:
    n, origin = paper.detections(row)
    cells = [Cell(row.printed.get(name, DASH), row.printed.get(name, "")) for name in paper.NUMBERS]
    cells[1] = Cell(f"~{n}", n) if origin == "implied" else cells[1]
    flops = row.printed.get("gflops", DASH)
    return [Cell(row.method, row.method), *cells, Cell(DASH), Cell(flops, flops.replace(DASH, "")), Cell(DASH)]


def _ours(row: Mapping[str, Any], seeds: int) -> list[Cell]:
    if row["obstacle"]:
        said = Cell(f"{row['method']}: {row['obstacle']}", f"{row['method']}: {row['obstacle']}")
        return [said, *[Cell(DASH)] * (len(COLUMNS) - 1)]
    cells = [_spread(row["numbers"][name], scale) for name, scale in SCALES.items()]
    price_of = row["cost"]
    cells += [Cell(f"{price_of['parameters'] / 1e6:.2f}", price_of["parameters"] / 1e6)]
    cells += [Cell(f"{price_of['flops'] / 1e9:.2f}", price_of["flops"] / 1e9)]
    return [Cell(row["method"], row["method"]), *cells, Cell(str(seeds), seeds)]


def table(result: Mapping[str, Any]) -> Table:
    """The paper's table with ours beside it.

    Args:
      result: of ``run``.

    Returns:
      A table of two groups.
    """
    number = result["table"]
    comparable = not result["obstacle"]
    setting = tuple(result["setting"]) if comparable else ("casme2", "annotated")
    printed = [_printed(row) for row in paper.rows(*setting, number)]
    title = paper.content()["datasets"][setting[0]]["title"]
    heading = f"FEDN, Table {number}, {papertables.PRINTED} ({title}, {setting[1]})"
    groups = [(heading if comparable else f"{heading}: not comparable", printed)]
    groups.append(("Run here", [_ours(row, len(result["seeds"])) for row in result["rows"]]))
    notes = [] if comparable else [f"The two groups are not comparable: {result['obstacle']}."]
    notes += [
        "Ours: mean ± standard deviation over seeds. Seeds differ in initial weights and order of windows; the "
        "subjects are the same, so this is not the spread that other subjects would give.",
        *flops(result),
        "~: N is not printed; it follows from TP and F1.",
    ]
    explained = papertables.EXPLAINED
    notes += [f"{column}: {result['definition'][key]}." for column, key in explained if key in result["definition"]]
    return Table(f"table{number}", f"Table {number} of the FEDN paper, and runs here", list(COLUMNS), groups, notes)


def flops(result: Mapping[str, Any]) -> list[str]:
    """What the operations of the table consist of.

    Args:
      result: of ``run``.

    Returns:
      Sentences.
    """
    ours = next(row["cost"] for row in result["rows"] if row["cost"])
    frames, network = ours["frames"], ours["network"]["flops"] / 1e9
    extractor = ours["backbone"]["flops"] / 1e9
    made = (
        f"FLOP of a window: {frames} frames through the backbone, {extractor:.2f} x 10^9, and the network, "
        f"{network:.3f} x 10^9"
        if extractor
        else f"FLOP of a window: the network alone, {network:.3f} x 10^9, since the features were given"
    )
    return [
        f"{made}; two per multiplication and addition, as XLA counts the lowered program.",
        "The paper's 466.4 x 10^9 is nearly all backbone: 128 frames x 3.64 x 10^9 of ResNet18 at 224 px are 465.9. "
        "XLA counts 3.37 x 10^9 for the same frame, because it leaves out products with the padding.",
    ]


def verdicts(result: Mapping[str, Any]) -> Table:
    """What became of the paper's orderings.

    Args:
      result: of ``run``.

    Returns:
      A table with a row per ordering.
    """
    titles = orderings.NUMBERS
    columns = [Column("Ordering", number=False), *(Column(title, number=False) for title in titles.values())]
    columns += [Column(f"{title}, paper", "10^-2" if name == "f1_s" else "10^-3") for name, title in titles.items()]
    printed = {
        _method(result["table"], name): row
        for name in ["", *configs.PAPER_ROWS]
        for row in paper.rows("casme2", "annotated", result["table"])
        if row.method == _method(result["table"], name)
    }
    lines = []
    for one in result["orderings"]:
        cells = [Cell(one["claim"], one["claim"])]
        for name in titles:
            got = one["verdicts"].get(name)
            text = "not run" if not one["verdicts"] else DASH if got is None else got["word"]
            if got:
                text += f" ({_signed(SCALES[name] * got['mean'])}"
                text += f" ± {SCALES[name] * got['error']:.1f})" if got["error"] is not None else ")"
            cells.append(Cell(text, text))
        for name in titles:
            pair = [printed.get(_method(result["table"], one[side])) for side in ("better", "worse")]
            values = [paper.number(row, name) if row else None for row in pair]
            there = None not in values
            cells.append(Cell(_signed(SCALES[name] * (values[0] - values[1])) if there else DASH,
                              SCALES[name] * (values[0] - values[1]) if there else ""))  # fmt: skip
        lines.append(cells)
    n = len(result["seeds"])
    rule = f"{result['rule']}. In brackets: mean difference ± its standard error."
    if result["chance"] is not None:
        share = f"{100 * result['chance']:.0f} %"
        rule += f" With {n} seeds two rows that do not differ are told apart in up to {share} of cases"
        rule += f", and {3 * len(lines)} comparisons are made here." if len(lines) > 1 else "."
    return Table(f"table{result['table']}-orderings", "The paper's orderings", columns, [("", lines)], [rule])


def _signed(value: float) -> str:
    return ("+" if value > 0 else "−" if value < 0 else "") + f"{abs(value):.1f}"


def write(out: Path, result: Mapping[str, Any]) -> Path:
    """Writes the page and the table as files.

    Args:
      out: directory of the reproduction.
      result: of ``run``.

    Returns:
      Path of the page.
    """
    written = [table(result), verdicts(result)]
    for one in written:
        tableformats.save(one, out, ("csv", "tex", "txt"))
    run_here = [row for row in result["rows"] if not row["obstacle"]]
    drawn = figures.seeds([(row["method"], row["numbers"]) for row in run_here], orderings.NUMBERS)
    path = out / f"table{result['table']}.html"
    text = report.page(
        "reproduce.html.j2",
        result=result,
        n=len(result["seeds"]),
        tables=[(one, tableformats.to_html(one)) for one in written],
        drawn=figures.uri(drawn),
        waiting=[row for row in result["rows"] if row["obstacle"]],
        made=report.made(result),
        raised=tableformats.raised,
        config=json.dumps(result["config"], indent=2),
    )
    files.write_text(path, text)
    return path
