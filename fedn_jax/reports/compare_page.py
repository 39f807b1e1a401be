"""Runs beside each other: figures and tables as files, and for several runs a page.

Everything comes from the files of the runs; what may be compared, ``experiments.comparison`` says.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count, percent, points
from fedn_jax.evaluation import headline
from fedn_jax.experiments import comparison
from fedn_jax.experiments.comparison import Remark, Run
from fedn_jax.reports import figures, pages, published_table, run_tables, tables, timeline
from fedn_jax.reports.tables import Cell, Column, Table, texts, words

CURVES = (  # alternative text and caption
    "Average precision of every run against the IoU threshold, for spotting and detection",
    "Over all detections that survive NMS. The mAP above is the mean of a curve.",
)
BARS = (
    "Spotting F1 of every subject, the runs side by side",
    "Spotting F1 of every subject; how many expressions it has is in brackets. Few expressions make an F1 jump.",
)
SHADES = "True positives by annotated and detected emotion; shares are of the row."
BELOW = (  # notes on the results
    "Blue with a dot: the highest among the runs that can be compared with the first. Below a number: its difference "
    "to the first run in percentage points, a dash where the two cannot be compared; then the 95 % interval of a "
    "bootstrap over subjects.",
    "p: two-sided permutation test of the two runs within subjects, not corrected for the number of runs. The two mAP "
    "have neither interval nor p: they rank the detections of all subjects together.",
)


def _remarks_table(known: Sequence[Remark]) -> Table:
    columns = texts("Run", "What differs", "Here", "In the first run", "Not comparable")
    rows = []
    for one in known:
        spoilt = ", ".join(headline.NUMBERS[name].title for name in headline.SHARES if name in one.spoils)
        spoilt = "all numbers" if one.spoils == comparison.ALL else spoilt or "nothing"
        rows.append([words(x) for x in (one.run, one.about, one.here, one.first, spoilt)])
    return Table("remarks", "Before comparing", columns, [("", rows)])


def _figures(several: Sequence[Run]) -> dict[str, Any]:
    """File name -> figure."""
    named = {run.name: run.metrics for run in several}
    single = several[0] if len(several) == 1 else None
    if single:
        named |= headline.baselines(single.metrics)
    drawn = {"curves": figures.curves(named), "subjects": figures.subjects(named)}
    for run in several:
        ending = "" if single else f"-{files.file_name(run.name)}"
        drawn[f"training{ending}"] = figures.training(run.history)
        if headline.recognises(run.metrics):
            classes = [row["class"] for row in run.metrics["per_class"]]
            drawn[f"confusion{ending}"] = figures.confusion(run.metrics, classes)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def write(out: Path, paths: Sequence[Path], timelines: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Writes figures and tables of runs as files; of several runs also ``comparison.html``.

    Args:
      out: directory; made if missing. "figures" and "tables" lie in it.
      paths: directories of runs; the others are compared with the first.
      timelines: of ``run_page.timelines``, drawn into "figures/timelines".

    Returns:
      Path of the page; of ``out`` for one run.

    Raises:
      UserError: no runs, or runs that cannot be read.
    """
    if not paths:
        raise UserError("a report needs at least one run; got none")
    several = comparison.load(paths)
    drawn = _figures(several)
    for name, figure in drawn.items():
        figures.save(figure, out / "figures" / name)
    for one in timelines:
        name = files.file_name(one["subject"], one["video"])
        figures.save(timeline.figure(one), out / "figures" / "timelines" / name)
    written = published_table.tables({run.name: run.metrics for run in several})
    for one in written:
        tables.save(one, out / "tables")
    return out if len(several) == 1 else _page(out / "comparison.html", several, drawn, written)


def _page(path: Path, several: Sequence[Run], drawn: Mapping[str, Any], written: Sequence[Table]) -> Path:
    found, names = comparison.compare(several), [run.name for run in several]
    subjects = count(len({row["subject"] for run in several for row in run.metrics["per_subject"]}), "subject")
    pictures = tuple(
        figures.chart(drawn[file], f"Confusion matrix of {name}", name)
        for name in names
        if (file := f"confusion-{files.file_name(name)}") in drawn
    )
    sections = [
        ("Results", [_results(found["rows"], several[0].metrics)]),
        ("Average precision against IoU", [figures.chart(drawn["curves"], *CURVES)]),
        ("Subjects", [figures.chart(drawn["subjects"], *BARS), [("As a table", written[-1])]]),
        ("Confusion", [pictures, SHADES] * bool(pictures)),
        ("What differs", _differ(found, names)),
        ("Beside the paper", [note for note in written[0].notes if published_table.APART in note]),
        *((one.title, [one]) for one in written[:-1] if one.title != "Results"),
        *((f"How {run.name} was made", [pages.made(run.metrics, "")]) for run in several),
    ]
    return pages.write(
        path,
        f"Comparison of {count(len(several), 'run')}",
        f"Each run is compared with the first, {names[0]}. {subjects}.",
        sections,
        lead=_lead(found["rows"], subjects),
        warning=("Before comparing", _remarks_table(found["remarks"])) if found["remarks"] else (),
        footer="Every number, unrounded: metrics.json of each run. Figures and tables as files: beside this page.",
    )


def _results(rows: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> Table:
    """The headline numbers of all runs, with differences and intervals below them; ``first``: metrics of that run."""
    lines = []
    for index, row in enumerate(rows):
        lines.append([words(row[name]) for name in ("name", "tp", "n", "gt")])
        for cell in row["cells"]:
            chance = f", {_chance(cell['paired'].p)}" if cell["paired"] else ""
            below = [cell["difference"] + chance] * bool(index)
            below += [" to ".join(map(percent, cell["interval"]))] if cell["interval"] else []
            lines[-1].append(Cell(cell["text"], below=below, best=cell["best"]))
    columns = [*texts("Run"), *map(Column, ("TP", "N", "GT"))]
    columns += [Column(headline.NUMBERS[name].title, "%") for name in headline.SHARES]
    titles = {number.title: number.definition for number in headline.NUMBERS.values()} | {"GT": "gt", "mAP": "map"}
    notes = [*BELOW, *run_tables.definitions(first, titles), headline.worded(first, f"{headline.MAP_ORDER}.")]
    return Table("results", "Results of the runs", columns, [("", lines)], notes)


def _lead(rows: Sequence[Mapping[str, Any]], subjects: str) -> str:
    """The run with the highest spotting F1, and whether that can be chance."""
    highest = [row for row in rows if row["cells"][0]["best"]]
    if not highest:
        return ""
    best, cell = highest[0], highest[0]["cells"][0]
    if len(highest) > 1:
        names = f"{', '.join(row['name'] for row in highest[:-1])} and {highest[-1]['name']}"
        return f"{names} have the same spotting F1, {cell['text']} %{', the highest' * (len(highest) < len(rows))}."
    text = f"{best['name']} has the highest spotting F1, {cell['text']} %"
    if best is rows[0]:
        return f"{text}."
    text += f": {cell['difference']} percentage points against {rows[0]['name']}"
    if not (paired := cell["paired"]):
        return f"{text}."
    text += f" (95 % interval {points(paired.low)} to {points(paired.high)}, {_chance(paired.p)})."
    return text + (f" With {subjects} such a difference can be chance." if paired.p > 0.05 else "")


def _chance(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {f'{p:.3f}'.lstrip('0') if p < 1 else '1'}"


def _differ(found: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Options and versions that are not the same, as tables."""
    shown = [] if found["options"] else ["The configurations are the same."]
    for title, key in (("Option", "options"), ("Version", "versions")):
        rows = [[words(one) for one in (name, *values)] for name, values in found[key]]
        shown += [Table(key, title, texts(title, *names), [("", rows)])] if rows else []
    return shown
