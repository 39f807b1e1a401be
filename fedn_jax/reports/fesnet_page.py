"""FESNet's Table 3 or 4 with ours beside it: for a terminal and a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedn_jax.core.text import DASH, count
from fedn_jax.evaluation import all_metrics, kinds
from fedn_jax.experiments import fesnet_tables
from fedn_jax.reports import pages, tables
from fedn_jax.reports.tables import Cell, Column, Table, spread, texts, words

TITLES = {"f1_mae": "F1 MaE", "f1_me": "F1 ME", "f1": "F1", "edit": "Edit", "acc": "Acc", "all_neutral": "All neutral"}


def result_table(result: Mapping[str, Any]) -> Table:
    """The paper's table with ours beside it.

    Args:
      result: of ``fesnet_tables.run``.

    Returns:
      A table of two groups, in percent.
    """
    number, n, paper = result["table"], len(result["seeds"]), fesnet_tables.content()
    numbers = [Column(title, "%") for title in TITLES.values()]
    columns = [*texts("Method"), *numbers, *tables.deviations(numbers), tables.SOURCE]
    printed = [one for one in paper["rows"] if one["table"] == number]
    theirs, ours = [], []
    for one in printed:
        texts_of = [one["printed"].get(name, "") for name in TITLES]
        cells = [Cell(text or DASH, text) for text in texts_of]
        theirs.append([words(one["method"]), *cells, *[Cell(DASH)] * len(TITLES), words(paper["source"])])
    for row in result["rows"]:
        means = [spread(row["numbers"][name]) for name in TITLES]
        apart = [tables.number(row["numbers"][name]["std"]) for name in TITLES]
        ours.append([words(row["method"]), *means, *apart, words(tables.OURS)])
    here = f"Run here, mean ± standard deviation of {count(n, 'seed')}" if n > 1 else "Run here, one seed"
    where = printed[0]["dataset"]
    notes = [
        f"The paper: {paper['source']}; its unit is percent.", *paper["remarks"],
        f"F1 by kind: {kinds.DEFINITIONS['by_kind']}.", f"Acc: {all_metrics.DEFINITIONS['frame_accuracy']}.",
        f"All neutral: {kinds.DEFINITIONS['all_neutral']}.", f"Edit: {all_metrics.DEFINITIONS['edit']}.",
        "Folds are by video: a person may be in training and test, which makes numbers higher.",
    ]  # fmt: skip
    if result["data"].get("dataset") != where:
        notes.insert(0, f"Not comparable: these data are {result['data'].get('dataset')}, the paper's {where}.")
    groups = [(f"FESNet, Table {number}, as printed", theirs), (here, ours)]
    return Table(f"fesnet-table{number}", f"Table {number} of the FESNet paper, and runs here", columns, groups, notes)


def write(out: Path, result: Mapping[str, Any]) -> Path:
    """Writes the page, and its table as files.

    Args:
      out: directory of the reproduction.
      result: of ``fesnet_tables.run``.

    Returns:
      Path of the page.
    """
    table = result_table(result)
    tables.save(table, out, ("csv", "tex", "txt"))
    return pages.write(
        out / f"{table.name}.html", f"Table {result['table']} of the FESNet paper, trained here",
        f"Every row with {count(len(result['seeds']), 'seed')}.",
        [
            (table.title, [table]),
            ("How this was made", [pages.made(result, "Configuration of the first row and seed")]),
        ],
        footer=f"Every number of every seed, unrounded: {table.name}.json; each run: runs beside this page.",
    )  # fmt: skip
