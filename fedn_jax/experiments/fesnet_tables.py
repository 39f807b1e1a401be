"""FESNet's Tables 3 and 4: every row, with several seeds, trained, evaluated and put beside what is printed.

The printed numbers are in ``paper_fesnet.json``, as texts. Rows that differ in numbers of the loss are one program.
"""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress
from fedn_jax.core.types import Config
from fedn_jax.data import shards
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import headline, run_evaluation
from fedn_jax.experiments.paper_tables import Row, runs_of, spread, train

FILE = Path(__file__).with_name("paper_fesnet.json")
TABLES = (3, 4)
NUMBERS = {  # name -> path in metrics.json, factor that makes it percent
    "f1_mae": ("kinds/by_kind/macro/f1", 100), "f1_me": ("kinds/by_kind/micro/f1", 100),
    "f1": ("kinds/by_kind/all/f1", 100), "edit": ("kinds/labels/edit", 1), "acc": ("kinds/labels/accuracy", 100),
    "all_neutral": ("kinds/labels/all_neutral", 100),
}  # fmt: skip


@functools.cache
def content() -> dict[str, Any]:
    """What the paper prints.

    Returns:
      The content of ``paper_fesnet.json``; not to be changed.
    """
    return json.loads(FILE.read_text(encoding="utf-8"))


def rows(table: int, names: Sequence[str], load: Callable[[str], Config]) -> list[Row]:
    """The rows of a table, in the order of the paper.

    Args:
      table: of the paper: 3 or 4.
      names: all rows of the configuration.
      load: row -> its configuration.

    Returns:
      The rows.

    Raises:
      UserError: the configuration lacks one of them.
    """
    found = []
    for printed in content()["rows"]:
        if printed["table"] != table:
            continue
        if printed["row"] and printed["row"] not in names:
            raise UserError(f"the configuration has no row {printed['row']}; `fedn configs demo_fesnet` has all")
        found.append(Row(printed["row"], printed["method"], load(printed["row"]), ""))
    return found


def run(
    out: Path, table: int, several: Sequence[Row], seeds: int, dataset: shards.Dataset, progress: Progress
) -> dict[str, Any]:
    """Trains what is not trained yet, and evaluates all of it.

    Args:
      out: directory of the reproduction.
      table: of the paper.
      several: of ``rows``.
      seeds: runs of each row.
      dataset: loaded shards.
      progress: bars.

    Returns:
      Content of ``fesnet-table{N}.json``: "table", "seeds", "rows" (with "numbers" in percent: see
      ``paper_tables.spread``), and "config", "versions", "data" of the first run.

    Raises:
      UserError: fewer than one seed, or a run that cannot go on.
    """
    train(out, several, seeds, dataset, progress)
    found, first = [], None
    for row in several:
        scored = []
        for one in runs_of(out, row, seeds):
            results = run_evaluation.evaluate_run(one.directory, one.config, dataset, progress)
            run_evaluation.write(results, one.directory)
            scored.append(results.metrics)
        first = first or scored[0]
        numbers = {}
        for name, (path, factor) in NUMBERS.items():
            values = [headline.value(one, path) for one in scored]
            numbers[name] = spread([None if value is None else factor * value for value in values])
        found.append({"row": row.name, "method": row.method, "numbers": numbers})
    result = {
        "table": table, "seeds": [several[0].config.seed + number for number in range(seeds)], "rows": found,
        "config": first["config"], "versions": first["versions"], "data": first["data"],
    }  # fmt: skip
    run_dir.write_json(out / f"fesnet-table{table}.json", result)
    return json.loads((out / f"fesnet-table{table}.json").read_text())
