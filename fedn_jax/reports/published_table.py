"""Our runs beside the rows that the FEDN paper prints in its Tables 2 to 4.

Rows of the paper stand beside a run only if its data set, its labels, and what counts as found are the paper's;
otherwise they are left out, and a sentence says why. What was not run here says so. Shares are in percent; the paper
prints its mAP in 10^-3, and the CSV file has that text, too.
"""

from collections.abc import Mapping
from typing import Any

from fedn_jax.core import errors
from fedn_jax.core.text import DASH, plain
from fedn_jax.evaluation import headline
from fedn_jax.experiments import published
from fedn_jax.reports import run_tables
from fedn_jax.reports.run_tables import Runs
from fedn_jax.reports.tables import OURS, SOURCE, Cell, Column, Table, share, words

PRINTED, APART = "as printed, mAP in % instead of 10^-3", "not comparable with the paper's rows"  # headings and notes
UNITS = {name: "%" if name in headline.SHARES else "" for name in headline.NUMBERS}
NUMBERS = tuple(Column(one.short, UNITS[name]) for name, one in headline.NUMBERS.items())
RESULTS = (
    Column("Method", number=False), *NUMBERS, Column("Here", number=False), Column("GT", detail=True),
    Column("N is", number=False, detail=True), SOURCE,
    Column("mAP S as printed", "10^-3", detail=True), Column("mAP D as printed", "10^-3", detail=True),
)  # fmt: skip
EXPLAINED = {one.short: one.definition for one in headline.NUMBERS.values()} | {"mAP": "map", "101-point": "coco"}
TILDE = "~: N is not printed; it follows from TP and F1."


def theirs(row: published.Row) -> list[Cell]:
    """The headline of a row of the paper.

    Args:
      row: the row.

    Returns:
      A cell for each of ``headline.NUMBERS``; N with a tilde where it only follows from TP and F1.
    """
    n, origin = published.detections(row)
    texts = [published.in_percent(row, name) for name in headline.NUMBERS]
    cells = [Cell(text or DASH, text) for text in texts]
    return [cells[0], Cell(f"~{n}", n) if origin == "implied" else cells[1], *cells[2:]]


def _row(name: str, metrics: Mapping[str, Any]) -> list[Cell]:
    tail = [Cell(""), words(metrics["spotting"]["gt"]), words("counted"), words(OURS), Cell(DASH), Cell(DASH)]
    numbers = [share(x) if UNITS[key] else words(x) for key, x in headline.numbers(metrics).items()]
    return [words(name), *numbers, *tail]


def _with_baselines(runs: Runs) -> list[list[Cell]]:
    """Rows of runs; a baseline once for all runs that share it."""
    rows, seen = [], {}
    for name, metrics in runs.items():
        rows.append(_row(name, metrics))
        for title, other in headline.baselines(metrics).items():
            row = _row(f"{title} of {name}" if title in seen else title, other)
            rows += [row] if row[1:] not in seen.get(title, []) else []
            seen.setdefault(title, []).append(row[1:])
    return rows


def _printed(row: published.Row, runs: Runs, marks: dict[str, str]) -> list[Cell]:
    """A row of the paper; ``marks`` collects the letters of its remarks."""
    marked = ""
    for name, text in row.remarks.items():
        title = headline.NUMBERS[name].short
        marked += f" [{marks.setdefault(f'{title}: {text}', 'abcdefghijklmnopqrstuvwxyz'[len(marks)])}]"
    here = [name for name, metrics in runs.items() if published.reproduces(row, published.options(metrics))]
    tail = [words(", ".join(here) or "not run"), words(row.gt), words(published.detections(row)[1] or "not printed")]
    tail += [words(row.source), *(Cell(DASH, row.printed.get(name, "")) for name in ("map_s", "map_d"))]
    return [Cell(row.method + marked, row.method), *theirs(row), *tail]


def _grouped(remarks: Mapping[str, str]) -> list[str]:
    """Remarks on runs as sentences; runs with the same remark share one."""
    names: dict[str, list[str]] = {}
    for name, text in remarks.items():
        names.setdefault(text, []).append(name)
    return [f"{', '.join(group)}: {text}." for text, group in names.items()]


def results(runs: Runs, table: int = 2) -> Table:
    """Our runs beside the rows of one of the paper's tables.

    Args:
      runs: name -> content of metrics.json.
      table: of the paper: 2, 3 or 4. Runs that are no row of Table 3 or 4 are not in those.

    Returns:
      A table with a group of the paper's rows, if there are comparable runs, and one or two of ours.

    Raises:
      UserError: the paper has no such table, or there are no runs.
    """
    if not runs:
        raise errors.UserError("a table needs at least one run; got none")
    reasons = {name: published.obstacle(metrics) for name, metrics in runs.items()}
    chosen = next((published.setting(metrics) for name, metrics in runs.items() if not reasons[name]), ("", ""))
    printed = published.rows(*chosen, table)
    for name, metrics in runs.items():
        if not reasons[name] and published.setting(metrics) != chosen:
            reasons[name] = f"the data are {' '.join(published.setting(metrics))}, those of the rows {' '.join(chosen)}"
    beside = {name: metrics for name, metrics in runs.items() if not reasons[name]}
    apart = {name: metrics for name, metrics in runs.items() if reasons[name]}
    if table != 2:
        known = {name: published.options(metrics) for name, metrics in beside.items()}
        beside = {k: v for k, v in beside.items() if any(published.reproduces(row, known[k]) for row in printed)}
        apart = {}
    marks: dict[str, str] = {}
    groups, title = [], "Results"
    notes = run_tables.definitions(next(iter(runs.values())), EXPLAINED)
    if beside:
        data = published.content()
        groups = [(f"FEDN, Table {table}, {PRINTED}", [_printed(row, beside, marks) for row in printed])]
        groups.append(("Run here", _with_baselines(beside)))
        title += f" beside Table {table} of the FEDN paper ({data['datasets'][chosen[0]]['title']}, {chosen[1]})"
        notes += [TILDE, *(f"[{mark}] {text}." for text, mark in marks.items())]
        notes += [
            f"The paper: {data['source']}. {data['version']}. {data['tables'][str(table)]}",
            f"{data['recognition']}.",
        ]
        notes.append(f"{data['definition']}; so differences in mAP may come from the definition.")
        known = {name: (one["data"], published.departures(published.options(one))) for name, one in beside.items()}
        notes += _grouped(
            {
                name: "; ".join([f"features of {data.get('backbone', 'no other network')}", *rest])
                for name, (data, rest) in known.items()
            }
        )
    if apart:
        groups.append((f"Run here, {APART}" if beside else "", _with_baselines(apart)))
        notes += _grouped({name: f"{APART}: {reasons[name]}" for name in apart})
    return Table(f"table{table}", title, RESULTS, groups, list(map(plain, notes)))


def tables(runs: Runs) -> list[Table]:
    """Every table that says something about some runs.

    Args:
      runs: name -> content of metrics.json.

    Returns:
      Table 2, those of Tables 3 and 4 that one of the runs is a row of, and the subjects.
    """
    found = [results(runs, table) for table in published.TABLES]
    return [table for table in found if table.groups] + [run_tables.subjects(runs)]
