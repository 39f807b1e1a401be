"""Runs side by side: figures and tables as files, and for several runs a page.

Nothing is computed again; everything comes from the files of the runs. Where two runs cannot be compared, the page says
so in words, and leaves out the difference and the mark of the best.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import DASH, percent
from fedn_jax.evaluation import bootstrap, metrics
from fedn_jax.evaluation.metrics import Counts
from fedn_jax.reports import comparable, figures, published_table, run_page, tables
from fedn_jax.reports.comparable import ACCURACY, F1, MAP_D, MAP_S, NAMED, Remark, Run

LABELS = (  # number, label, entry of evaluation.DEFINITIONS
    (F1, "Spotting F1", "f1"),
    (ACCURACY, "Recognition", "accuracy"),
    (MAP_S, "Spotting mAP", "map.spotting"),
    (MAP_D, "Detection mAP", "map.detection"),
)
LEVEL = 0.95  # of confidence


# ---- Numbers ---------------------------------------------------------------------------------------------------------


def _value(run: Run, name: str) -> float | None:
    found, ap = run.metrics, run.metrics["map"]["coco"]
    if name in NAMED and not run.options.get("data.recognition", True):
        return None
    right = found["recognition"]["accuracy"] if found["spotting"]["tp"] else None
    values = {F1: found["spotting"]["f1"], ACCURACY: right, MAP_S: ap["spotting"], MAP_D: ap["detection"]}
    return values[name]


def _per_subject(run: Run) -> dict[str, Counts]:
    return {row["subject"]: Counts(*(row[key] for key in Counts._fields)) for row in run.metrics["per_subject"]}


def signed(difference: float | None) -> str:
    """A difference of two shares.

    Args:
      difference: in [-1, 1]; None: there is none.

    Returns:
      Percentage points with their sign.

    >>> signed(0.0123), signed(-0.5), signed(0), signed(None)
    ('+1.2', '−50.0', '0.0', '–')
    """
    if difference is None:
        return DASH
    text = f"{abs(100 * difference):.1f}"
    return text if text == "0.0" else ("+" if difference > 0 else "−") + text


def table(several: Sequence[Run], known: Sequence[Remark]) -> list[dict[str, Any]]:
    """The headline numbers of all runs.

    Args:
      several: the runs.
      known: of ``remarks``.

    Returns:
      A row per run: "name", "tp", "n", "gt", and "cells", one per entry of ``LABELS``: "text", "best", "difference" to
      the first run, "interval", and for spotting F1 "paired", of ``statistics``; None where they do not exist.
    """
    spoilt = {run.name: frozenset().union(*(one.spoils for one in known if one.run == run.name)) for run in several}
    values = {name: [_value(run, name) for run in several] for name, *_ in LABELS}
    rows = []
    for place, run in enumerate(several):
        spotting = run.metrics["spotting"]
        rows.append({"name": run.name, **{key: spotting[key] for key in Counts._fields}, "cells": []})
        for name, *_ in LABELS:
            here, first = values[name][place], values[name][0]
            fair = [v for one, v in zip(several, values[name], strict=True) if name not in spoilt[one.name]]
            fair = [value for value in fair if value is not None]
            may = name not in spoilt[run.name] and here is not None
            cell = {"text": percent(here), "best": may and len(fair) > 1 and here == max(fair)}
            cell["difference"] = signed(here - first if place and may and first is not None else None)
            cell["interval"] = _interval(run, name)
            cell["paired"] = _paired(run, several[0]) if name == F1 and place and may else None
            rows[-1]["cells"].append(cell)
    return rows


def _interval(run: Run, name: str) -> list[float] | None:
    """[low, high] of a number, of the evaluation; of the subjects' counts where an older one has none."""
    if _value(run, name) is None:
        return None
    if known := run.metrics.get("confidence"):
        return known.get(name)
    counts = _per_subject(run)
    return list(bootstrap.interval(counts, metrics.f1, level=LEVEL)[1:]) if name == F1 and len(counts) > 1 else None


def _paired(run: Run, first: Run) -> bootstrap.Paired | None:
    """Difference of the spotting F1, if the same subjects were scored."""
    ours, theirs = _per_subject(run), _per_subject(first)
    same = set(ours) == set(theirs) and len(ours) > 1
    return bootstrap.paired(ours, theirs, metrics.f1, level=LEVEL) if same else None


# ---- Files -----------------------------------------------------------------------------------------------------------


def _figures(several: Sequence[Run]) -> dict[str, Any]:
    """File name -> figure."""
    named = {run.name: run.metrics for run in several}
    single = several[0] if len(several) == 1 else None
    if single:
        referee = single.metrics.get("baseline")
        named |= {"motion baseline": referee} if referee else {}
    drawn = {"curves": figures.curves(named), "subjects": figures.subjects(named)}
    for run in several:
        ending = "" if single else f"-{files.file_name(run.name)}"
        drawn |= {f"confusion{ending}": _confusion(run), f"training{ending}": figures.training(run.history)}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _confusion(run: Run) -> Any:
    classes = [row["class"] for row in run.metrics["per_class"]]
    return figures.confusion(run.metrics, classes) if len(classes) > 1 else None


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
    several = comparable.load(paths)
    named = {run.name: run.metrics for run in several}
    drawn = _figures(several)
    for name, figure in drawn.items():
        figures.save(figure, out / "figures" / name)
    for one in timelines:
        figures.save(figures.video(one), out / "figures" / "timelines" / files.file_name(one["subject"], one["video"]))
    written = published_table.tables(named)
    for one in written:
        tables.save(one, out / "tables")
    if len(several) == 1:
        return out
    path = out / "comparison.html"
    files.write_text(path, _page(several, drawn, written))
    return path


def _page(several: Sequence[Run], drawn: Mapping[str, Any], written: Sequence[tables.Table]) -> str:
    known = comparable.remarks(several)
    rows = table(several, known)
    explained = [("TP", "tp"), ("N", "n"), ("GT", "gt"), *((label, key) for _, label, key in LABELS)]
    explained += [("mAP", "map"), ("mAP", "coco")]
    confusions = {run.name: _confusion(run) for run in several}
    return run_page.page(
        "comparison.html.j2",
        rows=rows,
        best=next((row for row in rows if row["cells"][0]["best"]), None),
        numbers=[label for _, label, _ in LABELS],
        names=[run.name for run in several],
        subjects=len(set().union(*map(_per_subject, several))),
        remarks=known,
        options=comparable.differences([run.options for run in several]),
        versions=comparable.differences([run.recorded.get("versions") or {} for run in several]),
        curves=figures.uri(drawn["curves"]),
        bars=figures.uri(drawn["subjects"]),
        confusions=[(name, figures.uri(figure)) for name, figure in confusions.items() if figure],
        per_subject=tables.to_html(written[-1]),
        beside=[(one, tables.to_html(one)) for one in written[:-1] if published_table.has_printed(one)],
        apart=[note for note in written[0].notes if published_table.APART in note],
        definitions=published_table.definitions({several[0].name: several[0].metrics}, explained),
        made=[(run.name, run_page.made(run.metrics)) for run in several],
        level=round(100 * LEVEL),
        signed=signed,
        raised=tables.raised,
    )
