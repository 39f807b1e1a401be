"""Tables for a paper: our runs beside the rows that FEDN prints. ``tableformats`` writes them.

Rows of the paper stand beside a run only if its data set, its labels, and what counts as found are the paper's;
otherwise they are left out, and a sentence says why. What was not run here says so. Every table carries the definitions
of its numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fedn_jax.core import errors
from fedn_jax.core.text import DASH
from fedn_jax.evaluation import evaluate
from fedn_jax.experiments import published
from fedn_jax.reports.tables import Cell, Column, Table

PRINTED, APART = "as printed", "the paper's rows are not comparable"  # in headings and notes
Runs = Mapping[str, Mapping[str, Any]]  # name -> content of metrics.json


def _words(text: Any) -> Cell:
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    return Cell(plain, plain)


def _value(number: float | None, scale: float = 1) -> Cell:
    if number is None:
        return Cell(DASH)
    return Cell(str(number), number) if scale == 1 else Cell(f"{scale * number:.1f}", scale * number)


# ---- Tables ----------------------------------------------------------------------------------------------------------

RESULTS = (
    Column("Method", number=False), Column("TP"), Column("N"), Column("F1 S", "10^-2"), Column("F1 R", "10^-2"),
    Column("mAP S", "10^-3"), Column("mAP D", "10^-3"), Column("Here", number=False), Column("GT", detail=True),
    Column("N is", number=False, detail=True), Column("Source", number=False, detail=True),
)  # fmt: skip
EXPLAINED = (  # column, entry of evaluation.DEFINITIONS
    ("TP", "tp"), ("N", "n"), ("F1 S", "f1"), ("F1 R", "accuracy"), ("mAP S", "map.spotting"),
    ("mAP D", "map.detection"), ("mAP", "map"), ("mAP", "coco"),
)  # fmt: skip


def definitions(runs: Runs, explained: Sequence[tuple[str, str]] = EXPLAINED) -> list[str]:
    """What the numbers of some runs mean.

    Args:
      runs: the runs; the words are those of the first.
      explained: (column, entry of ``evaluate.DEFINITIONS``) each.

    Returns:
      A sentence each.
    """
    words = next(iter(runs.values())).get("definition") or evaluate.DEFINITIONS
    return [f"{column}: {words[key]}." for column, key in explained if key in words]


def _ours(name: str, metrics: Mapping[str, Any]) -> list[Cell]:
    spotting, recognises = metrics["spotting"], published.options(metrics).get("data.recognition", True)
    right = metrics["recognition"]["accuracy"] if recognises and spotting["tp"] else None
    ap = metrics["map"]["coco"]
    cells = [_words(name), _value(spotting["tp"]), _value(spotting["n"]), _value(spotting["f1"], 100)]
    cells += [_value(right, 100), _value(ap["spotting"], 1000), _value(ap["detection"] if recognises else None, 1000)]
    return [*cells, Cell(""), _value(spotting["gt"]), _words("counted"), _words("fedn_jax")]


def _with_baselines(runs: Runs) -> list[list[Cell]]:
    """Our rows; the motion baseline once for all runs that share it."""
    rows, seen = [], []
    for name, metrics in runs.items():
        rows.append(_ours(name, metrics))
        if referee := metrics.get("baseline"):
            row = _ours("motion baseline", {**referee, "config": metrics.get("config")})
            if row[1:] not in seen:
                rows.append([_words(f"motion baseline of {name}"), *row[1:]] if seen else row)
                seen.append(row[1:])
    return rows


def _printed(row: published.Row, runs: Runs, marks: dict[str, str]) -> list[Cell]:
    """A row of the paper, as printed; N in tildes where it only follows from TP and F1."""
    titles = dict(zip(published.NUMBERS, RESULTS[1:], strict=False))
    marked = ""
    for name, text in row.remarks.items():
        marked += f" [{marks.setdefault(f'{titles[name].title}: {text}', 'abcdefghijklmnopqrstuvwxyz'[len(marks)])}]"
    n, origin = published.detections(row)
    cells = {name: Cell(row.printed.get(name, DASH), row.printed.get(name, "")) for name in published.NUMBERS}
    if origin == "implied":
        cells["n"] = Cell(f"~{n}", n)
    here = [name for name, metrics in runs.items() if published.reproduces(row, published.options(metrics))]
    found = _words(", ".join(here)) if here else Cell("not run", "not run")
    tail = [found, _value(row.gt), _words(origin or "not printed"), _words(row.source)]
    return [Cell(row.method + marked, row.method), *cells.values(), *tail]


def _grouped(said: Mapping[str, str]) -> list[str]:
    """Name -> what is said of it, into a sentence for all names of which the same is said."""
    names: dict[str, list[str]] = {}
    for name, text in said.items():
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
            reasons[name] = f"its data are {' '.join(published.setting(metrics))}, those of the rows {' '.join(chosen)}"
    beside = {name: metrics for name, metrics in runs.items() if not reasons[name]}
    apart = {name: metrics for name, metrics in runs.items() if reasons[name]}
    if table != 2:
        wanted = [
            name
            for name, one in beside.items()
            if any(published.reproduces(row, published.options(one)) for row in printed)
        ]
        beside, apart = {name: beside[name] for name in wanted}, {}
    marks: dict[str, str] = {}
    groups = [(f"FEDN, Table {table}, {PRINTED}", [_printed(row, beside, marks) for row in printed])] if beside else []
    groups += [("Run here", _with_baselines(beside))] if beside else []
    groups += (
        [("Run here, not comparable with the rows above" if beside else "", _with_baselines(apart))] if apart else []
    )
    notes = definitions(runs)
    if beside:
        data = published.content()
        notes.append("~: N is not printed; it follows from TP and F1.")
        notes += [f"[{mark}] {text}." for text, mark in marks.items()]
        notes += [f"The paper: {data['source']}. {data['tables'][str(table)]}", f"{data['recognition']}."]
        notes.append(f"{data['definition']}; so differences in mAP may come from the definition.")
        made = {
            name: "; ".join(
                [f"features of {one['data'].get('backbone')}", *published.departures(published.options(one))]
            )
            for name, one in beside.items()
        }
        notes += _grouped(made)
    notes += _grouped({name: f"{APART}, since {reasons[name]}" for name in apart})
    title = "Results"
    if beside:
        data_set = published.content()["datasets"][chosen[0]]["title"]
        title += f" beside Table {table} of the FEDN paper ({data_set}, {chosen[1]})"
    return Table(f"table{table}", title, list(RESULTS), groups, [_words(note).text for note in notes])


def has_printed(table: Table) -> bool:
    """Whether a table has rows of the paper.

    Args:
      table: of ``results``.

    Returns:
      True if it has.
    """
    return any(heading.endswith(PRINTED) for heading, _ in table.groups)


def subjects(runs: Runs) -> Table:
    """The numbers of every subject: all of one run, or the spotting F1 of several.

    Args:
      runs: name -> content of metrics.json.

    Returns:
      A table with a row per subject and one for all of them.

    Raises:
      UserError: there are no runs.
    """
    if not runs:
        raise errors.UserError("a table needs at least one run; got none")
    single = len(runs) == 1
    columns = [Column("Subject", number=False)]
    for name in runs:
        plain = _words(name).text
        columns += [Column("GT" if single else f"GT, {plain}", detail=not single)]
        columns += [Column(title if single else f"{title}, {plain}", detail=not single) for title in ("TP", "N")]
        columns += [Column("F1" if single else plain, "%")]
        columns += [Column("Recognition" if single else f"Recognition, {plain}", "%", detail=not single)]

    def cells(metrics: Mapping[str, Any], row: Mapping[str, Any] | None, right: float | None) -> list[Cell]:
        if row is None:
            return [Cell(DASH)] * 5
        right = right if row["tp"] and published.options(metrics).get("data.recognition", True) else None
        return [*(_value(row[key]) for key in ("gt", "tp", "n")), _value(row["f1"], 100), _value(right, 100)]

    tables = [{row["subject"]: row for row in metrics["per_subject"]} for metrics in runs.values()]
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        rows.append([_words(name)])
        for metrics, table in zip(runs.values(), tables, strict=True):
            row = table.get(name)
            rows[-1] += cells(metrics, row, row["accuracy"] if row else None)
    total = [Cell("All subjects", "all subjects")]
    for metrics in runs.values():
        total += cells(metrics, metrics["spotting"], metrics["recognition"]["accuracy"])
    explained = [("GT", "gt"), *EXPLAINED[:2], ("F1", "f1"), ("Recognition", "accuracy")]
    notes = definitions(runs, explained if single else [("F1", "f1"), *EXPLAINED[:2], ("GT", "gt")])
    title = "Results of every subject" if single else "Spotting F1 of every subject"
    return Table("subjects", title, columns, [("", rows), ("", [total])], notes)


def tables(runs: Runs) -> list[Table]:
    """Every table that says something about some runs.

    Args:
      runs: name -> content of metrics.json.

    Returns:
      Table 2, those of Tables 3 and 4 that one of the runs is a row of, and the subjects.
    """
    found = [results(runs, table) for table in published.TABLES]
    return [table for table in found if table.groups] + [subjects(runs)]
