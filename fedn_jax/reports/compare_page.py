"""Runs beside each other: figures and tables as files, and for several runs a page.

Everything comes from the files of the runs. Where what the numbers of a run rest on differs from that of the first run,
the page leaves out the difference of the numbers that it spoils, and the mark of the best.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import DASH, count, percent, points
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import bootstrap, headline, metrics, thresholds
from fedn_jax.evaluation.metrics import Counts
from fedn_jax.experiments import published
from fedn_jax.reports import figures, pages, published_table, run_tables, tables, timeline
from fedn_jax.reports.tables import Cell, Column, Table, texts, words

NEEDED = ("iou", "spotting", "recognition", "map", "per_subject", "per_class")  # of metrics.json
DEFINED = ("tp", "n", "gt", "f1", "accuracy", "map", "map.spotting", "map.detection", "coco")  # of DEFINITIONS
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
# Numbers that need the same basis in both runs; COUNTED need an IoU.
ALL, COUNTED, NONE = frozenset(headline.SHARES), frozenset({"f1_s", "f1_r"}), frozenset()
# Of each tuple only the first difference is shown: the others follow from it, or say no more.
IMPLIED = (
    ("data set", "kind of expressions", "reading of the annotations", "annotated expressions", "preparation"),
    ("training with emotions", "emotions", "preparation"),
)


class Run(NamedTuple):
    """What the files of a run say."""

    name: str  # its directory's, with the parent's where two are called alike
    options: dict[str, Any]  # of the training and of the evaluation, by dotted name
    recorded: dict[str, Any]  # run.json
    metrics: dict[str, Any]  # metrics.json
    history: list[dict[str, Any]]  # of run_dir.read_metrics


class Remark(NamedTuple):
    """Something to know before a run is compared with the first."""

    run: str
    about: str
    here: str
    first: str = DASH
    spoils: frozenset[str] = frozenset()  # of ``headline.SHARES``: those that cannot be compared


def load(paths: Sequence[Path]) -> list[Run]:
    """Reads runs.

    Args:
      paths: their directories.

    Returns:
      Runs, named differently.

    Raises:
      UserError: a directory is given twice, holds no run, or a run that was not evaluated.
    """
    whole = [Path(os.path.realpath(path)) for path in paths]
    for number, path in enumerate(whole):
        if path in whole[:number]:
            raise UserError(f"{paths[number]} is given twice; give each run once")
    names, depth = [path.name for path in whole], 1
    while len(set(names)) < len(names):
        depth += 1
        longer = ["/".join(path.parts[-depth:]) for path in whole]
        names = [b if names.count(a) > 1 else a for a, b in zip(names, longer, strict=True)]
    return [_load(path, name) for path, name in zip(paths, names, strict=True)]


def _load(path: Path, name: str) -> Run:
    settings, recorded = run_dir.read_record(path / "config.json"), run_dir.read_record(path / "run.json")
    again = f"run `fedn evaluate {path} --data DIR`"
    if not (path / "metrics.json").exists():
        raise UserError(f"{path}: is not evaluated; {again} first")
    found = run_dir.read_record(path / "metrics.json")
    if missing := [key for key in NEEDED if not found.get(key)]:
        raise UserError(f"{path}/metrics.json: has no {missing[0]}; {again} again with this version")
    if not thresholds.known(found):
        raise UserError(f"{path}/metrics.json: was written by another version; {again} again with this one")
    found["config"] = found.get("config") or settings
    return Run(name, configs.flatten(found["config"]), recorded, found, run_dir.read_metrics(path))


def _differences(several: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """(name, value of each run) of what is not the same in all runs."""
    keys = dict.fromkeys(key for one in several for key in one)
    rows = [(key, [str(one.get(key, DASH)) for one in several]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def compare(several: Sequence[Run]) -> dict[str, Any]:
    """What a page says of several runs.

    Args:
      several: the runs; the others are compared with the first.

    Returns:
      "remarks": ``Remark`` of what to know before, those of the first run first; "options" and "versions": (name, value
      of each run) of what is not the same; "rows", one per run: "name", "tp", "n", "gt", and "cells", one per entry of
      ``headline.SHARES``: "text", "best", "difference" to the first run, "interval", and for spotting F1 "paired", of
      ``bootstrap``; None where they do not exist.
    """
    known = _remarks(several)
    return {
        "remarks": known,
        "rows": _rows(several, known),
        "options": _differences([run.options for run in several]),
        "versions": _differences([run.recorded.get("versions") or {} for run in several]),
    }


def _basis(run: Run) -> dict[str, tuple[Any, frozenset[str]]]:
    """What the numbers of a run rest on, each with the numbers that need the same in both runs."""
    data, options, found = run.metrics.get("data") or {}, run.options, run.metrics
    reading = dict((data.get("labels") or {}).get("options") or {})
    labels = reading.pop("labels", None)
    known, iou = found.get("definition") or {}, f"IoU >= {found['iou']}"
    scheme = [options.get(f"folds.{key}") for key in ("scheme", "inner")]
    return {
        "data set": (data.get("dataset"), ALL),
        "kind of expressions": (options.get("data.kind"), ALL),
        "reading of the annotations": (reading, ALL),
        "annotated expressions": ({row["subject"]: row["gt"] for row in found["per_subject"] if row["gt"]}, ALL),
        "preparation": ({key: data.get(key) for key in ("backbone", "aligner", "signature")}, NONE),
        "training with emotions": (headline.options_recognise(options), headline.NAMED),
        "emotions": ((list(map(str, data.get("classes") or ())), labels), headline.NAMED),
        "definitions": ([known.get(key, "").replace(iou, "IoU") for key in DEFINED], ALL),
        "rule of counting": (found.get("protocol", "megc"), COUNTED),
        "lowest IoU of a match": (found["iou"], COUNTED),
        "folds": ([*scheme, options.get("folds.k") if scheme[0] == "kfold" else None], NONE),
    }


def _shown(about: str, value: Any, other: Any) -> str:
    """An entry of a basis in words; of dicts only what is not the same in the other."""
    if about == "annotated expressions":
        return f"{sum(value.values())} of {count(len(value), 'subject')}"
    if about == "emotions":
        return ", ".join(value[0]) + (f" ({value[1]})" if value[1] else "")
    if isinstance(value, dict):
        return ", ".join(
            f"{key} {value.get(key, DASH)}" for key in {**value, **other} if value.get(key) != other.get(key)
        )
    return ", ".join(str(one) for one in value if one is not None) if isinstance(value, list) else str(value)


def _remarks(several: Sequence[Run]) -> list[Remark]:
    """What to know before the runs are compared with the first one."""
    found, there = [], _basis(several[0])
    for run in several:
        if published.untrained(run.metrics):
            text = "made by an untrained network; the numbers say nothing about how well the method works"
            found.append(Remark(run.name, "features", text))
        if run.options.get("data.shuffle_labels"):
            text = "expressions moved in time, as a control; the numbers show what chance reaches"
            found.append(Remark(run.name, "trained on", text))
        here = _basis(run)
        other = [about for about in here if here[about] != there[about]]
        implied = {about for group in IMPLIED for about in [one for one in group if one in other][1:]}
        for about in (one for one in other if one not in implied):
            (value, spoils), (first, _) = here[about], there[about]
            pair = _shown(about, value, first), _shown(about, first, value)
            pair = pair if about != "definitions" else ("other words; evaluate both runs with one version", DASH)
            found.append(Remark(run.name, about, *pair, spoils))
    return found


def _remarks_table(known: Sequence[Remark]) -> Table:
    columns = texts("Run", "What differs", "Here", "In the first run", "Not comparable")
    rows = []
    for one in known:
        spoilt = ", ".join(headline.NUMBERS[name].title for name in headline.SHARES if name in one.spoils)
        spoilt = "all numbers" if one.spoils == ALL else spoilt or "nothing"
        rows.append([words(x) for x in (one.run, one.about, one.here, one.first, spoilt)])
    return Table("remarks", "Before comparing", columns, [("", rows)])


def _per_subject(run: Run) -> dict[str, Counts]:
    return {row["subject"]: Counts(*(row[key] for key in Counts._fields)) for row in run.metrics["per_subject"]}


def _rows(several: Sequence[Run], known: Sequence[Remark]) -> list[dict[str, Any]]:
    """The headline numbers of all runs; see ``compare``."""
    spoilt = {run.name: frozenset().union(*(one.spoils for one in known if one.run == run.name)) for run in several}
    numbers = [headline.numbers(run.metrics) for run in several]
    rows = []
    for index, run in enumerate(several):
        rows.append({"name": run.name, **{key: run.metrics["spotting"][key] for key in Counts._fields}, "cells": []})
        for name in headline.SHARES:
            here, first = numbers[index][name], numbers[0][name]
            fair = [one[name] for other, one in zip(several, numbers, strict=True) if name not in spoilt[other.name]]
            fair = [value for value in fair if value is not None]
            may = name not in spoilt[run.name] and here is not None
            cell = {"text": percent(here), "best": may and len(fair) > 1 and here == max(fair)}
            cell["difference"] = points(here - first if index and may and first is not None else None)
            cell["interval"] = None if here is None else _interval(run, name)
            cell["paired"] = _paired(run, several[0]) if name == "f1_s" and index and may else None
            rows[-1]["cells"].append(cell)
    return rows


def _interval(run: Run, name: str) -> list[float] | None:
    """[low, high] of a number, of the evaluation; of the subjects' counts where an older one has none."""
    if known := run.metrics.get("confidence"):
        return known.get(headline.NUMBERS[name].definition)
    counts = _per_subject(run)
    exists = name == "f1_s" and len(counts) > 1
    return list(bootstrap.interval(counts, metrics.f1)[1:]) if exists else None


def _paired(run: Run, first: Run) -> bootstrap.Paired | None:
    """Difference of the spotting F1, if the same subjects were scored."""
    here, there = _per_subject(run), _per_subject(first)
    same = set(here) == set(there) and len(here) > 1
    return bootstrap.paired(here, there, metrics.f1) if same else None


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
    several = load(paths)
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
    found, names = compare(several), [run.name for run in several]
    subjects = count(len(set().union(*map(_per_subject, several))), "subject")
    pictures = tuple(
        pages.Chart(figures.uri(drawn[file]), f"Confusion matrix of {name}", name)
        for name in names
        if (file := f"confusion-{files.file_name(name)}") in drawn
    )
    curves, bars = (figures.uri(drawn[name]) for name in ("curves", "subjects"))
    sections = [
        ("Results", [_results(found["rows"], several[0].metrics)]),
        ("Average precision against IoU", [pages.Chart(curves, *CURVES)]),
        ("Subjects", [pages.Chart(bars, *BARS), [("As a table", written[-1])]]),
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
    best = next((row for row in rows if row["cells"][0]["best"]), None)
    if best is None:
        return ""
    cell = best["cells"][0]
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
