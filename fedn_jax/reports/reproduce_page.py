"""The paper's table with ours beside it, and what became of its orderings: for a page, a terminal and a paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedn_jax.core.text import DASH, count, points
from fedn_jax.evaluation import headline
from fedn_jax.experiments import orderings, paper_tables, published
from fedn_jax.reports import figures, pages, published_table, run_tables, tables
from fedn_jax.reports.tables import Cell, Column, Table, spread, texts, words

COLUMNS = (
    published_table.RESULTS[0], *published_table.NUMBERS, Column("Params", "10^6"), Column("FLOP", "10^9"),
    *tables.deviations(published_table.NUMBERS), Column("Seeds", detail=True),
    tables.SOURCE,
)  # fmt: skip
SCHEMES = {
    "loso": "leave-one-subject-out", "kfold": "folds by video", "leave-one-dataset-out": "leave-one-dataset-out",
}  # fmt: skip
CHARTED = ("f1_s", *orderings.NAMING, "map_s")
SCALES = {name: 100 if name in headline.SHARES else 1 for name in headline.NUMBERS}  # of the columns


def _printed(row: published.Row) -> list[Cell]:
    flops, none = row.printed.get("gflops", ""), Cell(DASH)
    cost = [none, Cell(flops or DASH, flops)]
    return [words(row.method), *published_table.theirs(row), *cost, *[none] * (len(SCALES) + 1), words(row.source)]


def _ours(row: Mapping[str, Any], seeds: int) -> list[Cell]:
    if row["obstacle"]:
        return [words(f"{row['method']}, not run"), *[Cell(DASH)] * (len(COLUMNS) - 2), words(tables.OURS)]
    cells = [spread(row["numbers"][name], scale) for name, scale in SCALES.items()]
    for name, unit in (("parameters", 1e6), ("flops", 1e9)):
        # A cascade, which computes per window and interval, has no cost.
        cells.append(tables.number(row["cost"] and row["cost"][name] / unit, 2))
    cells += [tables.number(row["numbers"][name]["std"], 1, scale) for name, scale in SCALES.items()]
    return [words(row["method"]), *cells, words(seeds), words(tables.OURS)]


def result_tables(result: Mapping[str, Any]) -> tuple[Table, Table]:
    """The paper's table with ours beside it, and what became of the paper's orderings.

    Args:
      result: of ``paper_tables.run``.

    Returns:
      A table of two groups, and one with a row per ordering.
    """
    return _table(result), _verdicts(result)


def _table(result: Mapping[str, Any]) -> Table:
    number, n = result["table"], len(result["seeds"])
    setting = ("casme2", "annotated") if result["obstacle"] else tuple(result["setting"])
    data = published.content()
    heading = f"FEDN, Table {number}, {published_table.PRINTED} ({data['datasets'][setting[0]]['title']}, {setting[1]})"
    heading += "; not comparable with the runs" if result["obstacle"] else ""
    groups = [(heading, [_printed(row) for row in published.rows(*setting, number)])]
    heading = f"Run here, mean ± standard deviation of {n} seeds" if n > 1 else "Run here, one seed"
    groups.append((heading, [_ours(row, n) for row in result["rows"]]))
    apart = f"The runs cannot be compared with the paper's rows: {result['obstacle']}."
    notes = [
        *[f"{row['method']} was not run: it {row['obstacle']}." for row in result["rows"] if row["obstacle"]],
        *[apart] * bool(result["obstacle"]),
        f"The paper: {data['source']}. {data['version']}.",
        "Seeds differ in initial weights and order of windows; the subjects are the same, so this is not the spread "
        "that other subjects would give.",
        *_flops(result),
        published_table.TILDE,
        *run_tables.definitions(result, published_table.EXPLAINED),
    ]
    return Table(f"table{number}", f"Table {number} of the FEDN paper, and runs here", COLUMNS, groups, notes)


def _flops(result: Mapping[str, Any]) -> list[str]:
    """What the operations of the table consist of."""
    cost = [row["cost"] for row in result["rows"] if row["cost"]][-1]  # of FEDN, or of the only row that fits the data
    frames, network, extractor = cost["frames"], cost["network"]["flops"] / 1e9, cost["backbone"]["flops"] / 1e9
    made = f"the network alone, {network:.3f} x 10^9, since the features were given"
    if extractor:
        made = f"{frames} frames through the backbone, {extractor:.2f} x 10^9, and the network, {network:.3f} x 10^9"
    return [
        f"FLOP of a window: {made}; two per multiplication and addition, as XLA counts the lowered program.",
        "The paper's 466.4 x 10^9 is nearly all backbone: 128 frames x 3.64 x 10^9 of ResNet18 at 224 px are 465.9. "
        "XLA counts 3.37 x 10^9 for the same frame, because it leaves out products with the padding.",
    ]


def _verdicts(result: Mapping[str, Any]) -> Table:
    columns = texts("Ordering", "Number", "Verdict")
    columns += [Column("Difference", "points"), Column("Paper", "points")]
    columns.append(Column("Difference, standard error", "points", detail=True))
    printed = {
        row.method: row for row in published.rows("casme2", "annotated", result["table"]) if row.options is not None
    }
    lines, judged = [], 0
    for one in result["orderings"]:
        pair = [printed.get(paper_tables.method(result["table"], one[side])) for side in ("better", "worse")]
        for name in one["numbers"]:
            got = one["verdicts"].get(name)
            paper = [published.number(row, name) if row else None for row in pair]
            if not got and None in paper:
                continue
            judged += got is not None
            cells = [words(one["claim"]), words(headline.NUMBERS[name].short), words(got["word"] if got else "not run")]
            cells.append(_difference(got))
            difference = None if None in paper else paper[0] - paper[1]
            cells.append(Cell(DASH) if difference is None else Cell(points(difference), 100 * difference))
            lines.append([*cells, tables.number(got and got["error"], 1, 100)])
    spread = "mean ± standard error" if len(result["seeds"]) > 1 else "of the one seed, so without an error"
    rule = f"{result['rule']}. Differences: {spread}, in percentage points."
    if result["chance"] is not None:
        rule += (
            f" This is a weak test: with {count(len(result['seeds']), 'seed')}, two rows that are equally good are "
            f"still called different in up to {100 * result['chance']:.0f} of 100 comparisons; here there are {judged}."
        )
    return Table(f"table{result['table']}-orderings", "The paper's orderings", columns, [("", lines)], [rule])


def _difference(verdict: Mapping[str, Any] | None) -> Cell:
    """A mean difference with its standard error, which one seed does not have."""
    if not verdict:
        return Cell(DASH)
    error = "" if verdict["error"] is None else f" ± {100 * verdict['error']:.1f}"
    return Cell(points(verdict["mean"]) + error, 100 * verdict["mean"])


def write(out: Path, result: Mapping[str, Any]) -> Path:
    """Writes the page, and its tables as files.

    Args:
      out: directory of the reproduction.
      result: of ``paper_tables.run``.

    Returns:
      Path of the page.
    """
    number = result["table"]
    written = result_tables(result)
    for one in written:
        tables.save(one, out, ("csv", "tex", "txt"))
    run_here = [(row["method"], row["numbers"]) for row in result["rows"] if not row["obstacle"]]
    drawn = figures.seeds(run_here, {name: headline.NUMBERS[name].short for name in CHARTED})
    caption = "A dot is a seed, the line their mean. Each panel has its own scale."
    chart = figures.chart(drawn, "Every seed of every row as a dot", caption)
    waiting = [
        f"{row['method']} was not run: it {row['obstacle']}, and these data hold something else."
        for row in result["rows"]
        if row["obstacle"]
    ]
    apart = (
        f"{result['obstacle']}. The paper's rows are shown so that their order can be looked up; its numbers and those "
        "below cannot be compared."
    )
    threshold = result["definition"]["threshold"]
    return pages.write(
        out / f"table{number}.html",
        f"Table {number} of the FEDN paper, trained here",
        f"Every row with {count(len(result['seeds']), 'seed')}, {SCHEMES[result['config']['folds']['scheme']]}. "
        f"{threshold[:1].upper()}{threshold[1:]}.",
        [
            (written[0].title, [*waiting, written[0], chart, f"{headline.MAP_ORDER}."]),
            (written[1].title, [written[1]]),
            ("How this was made", [pages.made(result, "Configuration of the first row and seed")]),
        ],
        warning=("Not comparable with the paper:", apart) if result["obstacle"] else (),
        footer=f"Every number of every seed, unrounded: table{number}.json; each run: runs beside this page.",
    )
