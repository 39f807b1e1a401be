"""Runs beside each other: their files, what may be compared, and the differences of their numbers.

Where what the numbers of a run rest on differs from that of the first run, the difference of the numbers that it
spoils is left out, and so is the mark of the best.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import DASH, count, percent, points
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import bootstrap, headline, metrics, thresholds
from fedn_jax.evaluation.metrics import Counts
from fedn_jax.experiments import published

NEEDED = ("iou", "spotting", "recognition", "map", "per_subject", "per_class")  # of metrics.json
DEFINED = ("tp", "n", "gt", "f1", "accuracy", "map", "map.spotting", "map.detection", "coco")  # of DEFINITIONS
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
    settings, recorded = run_dir.read_record(path / "config.json"), run_dir.read_run(path)
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
