"""The page and the table that a person reads. Numbers are rounded here and nowhere else.

The page is one HTML file that loads nothing: figures and pictures are inside. All names in it come from files that
somebody else wrote, so the template escapes every string.
"""

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import files
from fedn_jax.core.text import COLUMNS, DASH, cell, percent
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import evaluate as scoring
from fedn_jax.evaluation import matching, run_evaluation
from fedn_jax.experiments import published
from fedn_jax.reports import figures, timeline
from fedn_jax.reports.timeline import Thumbnail, Video

TEMPLATES = Path(__file__).parent / "templates"


def _recognised(row: dict[str, Any], name: str = "accuracy") -> float | None:
    """A number on true positives; None where there are none, since 0 of 0 says nothing."""
    return row[name] if row.get("tp", 1) else None


# ---- Rows of the tables ----------------------------------------------------------------------------------------------


def _at(metrics: dict[str, Any] | None, path: str) -> Any:
    """The entry "a/b/c" of nested dicts; None if it is not there."""
    for key in path.split("/"):
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return metrics


# label, path of the number in metrics.json, entry of evaluation.DEFINITIONS, unit
NUMBERS = (
    ("TP, true positives", "spotting/tp", "tp", "count"),
    ("N, detections", "spotting/n", "n", "count"),
    ("GT, annotated expressions", "spotting/gt", "gt", "count"),
    ("Spotting precision", "spotting/precision", "precision", "%"),
    ("Spotting recall", "spotting/recall", "recall", "%"),
    ("Spotting F1", "spotting/f1", "f1", "%"),
    ("Recognition accuracy", "recognition/accuracy", "accuracy", "%"),
    ("Recognition macro-F1", "recognition/macro_f1", "macro_f1", "%"),
    ("Spotting mAP, 101-point", "map/coco/spotting", "map.spotting", "%"),
    ("Detection mAP, 101-point", "map/coco/detection", "map.detection", "%"),
    ("Spotting mAP, all-point", "map/all_point/spotting", "all_point", "%"),
    ("Detection mAP, all-point", "map/all_point/detection", "all_point", "%"),
    ("Oracle spotting F1", "oracle/spotting/f1", "oracle", "%"),
)
HEADLINES = ("Spotting F1", "Recognition accuracy", "Spotting mAP, 101-point", "Detection mAP, 101-point")


def _numbers(metrics: dict[str, Any], baseline: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One row per number: label, ours, the baseline's, what it means."""
    rows = []
    for label, path, name, unit in NUMBERS:
        values = []
        for source in (metrics, baseline):
            value = _at(source, path)
            if path.startswith("recognition/") and not _at(source, "spotting/tp"):
                value = None
            values.append(value)
        text = [str(v) if unit == "count" and v is not None else percent(v) for v in values]
        words = _at(metrics, "definition") or scoring.DEFINITIONS
        definition = words.get(name, "")
        if name.startswith("map."):
            definition = f"{definition}; {words.get('map', '')}; 101-point, as COCO"
        rows.append(
            {"label": label, "unit": unit, "value": values[0], "text": text[0]}
            | {"other": values[1], "other_text": text[1], "definition": definition}
        )
    return rows


# ---- Terminal --------------------------------------------------------------------------------------------------------


def table(metrics: dict[str, Any], baseline: dict[str, Any] | None = None) -> str:
    """The numbers for a terminal.

    Args:
      metrics: of ``evaluation.evaluate``.
      baseline: the same of the baseline, if there is one.

    Returns:
      Lines of at most 80 columns: subjects, all of them, the baseline, mAP, and what the columns mean.
    """
    head = f"{'TP':>5} {'N':>5} {'GT':>5} {'F1':>7} {'recognition':>13}"
    width = min(COLUMNS - len(head) - 2, 36)

    def line(name: str, row: dict[str, Any], right: float | None) -> str:
        counts = " ".join(f"{row[key]:>5}" for key in ("tp", "n", "gt"))
        return f"{cell(name, width)}  {counts} {percent(row['f1']):>7} {percent(right):>13}"

    rule = "-" * (width + 2 + len(head))
    pooled = [("all subjects", metrics)] + ([("motion baseline", baseline)] if baseline else [])
    lines = [f"{cell('subject', width)}  {head}", rule]
    lines += [line(row["subject"], row, _recognised(row)) for row in metrics["per_subject"]]
    lines.append(rule)
    for name, source in pooled:
        summary = source["spotting"]
        lines.append(line(name, summary, source["recognition"]["accuracy"] if summary["tp"] else None))
    lines += ["", f"{cell('mAP, IoU .50:.05:.95', width)}  {'spotting':>17} {'detection':>13}", rule]
    for definition, words in (("coco", "101-point"), ("all_point", "all-point")):
        for name, source in pooled:
            ap = source["map"][definition]
            label = cell(f"{name}, {words}", width)
            lines.append(f"{label}  {percent(ap['spotting']):>17} {percent(ap['detection']):>13}")
    words = metrics["definition"]
    explained = {"TP": "tp", "N": "n", "GT": "gt", "F1": "f1", "recognition": "accuracy", "mAP": "map"}
    explained |= {
        "spotting": "map.spotting",
        "detection": "map.detection",
        "101-point": "coco",
        "all-point": "all_point",
    }
    lines += ["", "Shares are in percent."]
    for name, key in explained.items():
        lines += textwrap.wrap(f"{name}: {words[key]}", COLUMNS, subsequent_indent="  ")
    return "\n".join(lines)


# ---- Page ------------------------------------------------------------------------------------------------------------


def _confusion(metrics: dict[str, Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the confusion matrix: count, share of the row and shade of each cell."""
    rows = []
    for name, counts in zip(classes, _at(metrics, "recognition/confusion") or [], strict=False):
        total = sum(counts)
        cells = [
            {"count": n, "share": n / total if total else None, "dark": total and n / total > 0.55} for n in counts
        ]
        rows.append({"name": name, "total": total, "cells": cells})
    return rows


def _subjects(videos: Iterable[dict[str, Any]], metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Timelines by subject, in the order of the per-subject table."""
    groups = {row["subject"]: {**row, "right": _recognised(row), "videos": []} for row in metrics["per_subject"]}
    for video in videos:
        groups[video["subject"]]["videos"].append(video)
    return [row | {"id": f"subject-{place}"} for place, row in enumerate(groups.values())]


def _facts(content: Mapping[str, Any], above: str = "") -> list[tuple[str, list[str]]]:
    """Names and lines of text of a dict, whatever it holds; names of dicts inside are paths."""
    rows: list[tuple[str, list[str]]] = []
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            rows += _facts(value, f"{name} / ")
        elif isinstance(value, list | tuple):
            lines = [_line(one) for one in value]
            long = any(len(line) > 30 or isinstance(one, Mapping) for line, one in zip(lines, value, strict=True))
            rows.append((name, lines if long else [", ".join(lines) or DASH]))
        else:
            rows.append((name, [_line(value)]))
    return rows


def _line(value: Any) -> str:
    """A value in words; a note on a sheet as "44 x offset 0: offset = apex"."""
    if isinstance(value, Mapping):
        if {"what", "count", "done"} <= set(value):
            return f"{value['count']} x {value['what']}: {value['done']}"
        return ", ".join(f"{key} {_line(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_line, value))
    return DASH if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def made(metrics: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """How a run was made, for people.

    Args:
      metrics: content of metrics.json.

    Returns:
      (title, (name, lines) each) of every part that has something to say.
    """
    data = dict(metrics.get("data") or {})
    parts = [
        ("How the annotations were read", data.pop("labels", None)),
        ("Preparation", data.pop("preparation", None)),
    ]
    parts = [("Data", data), *parts, ("Versions", metrics.get("versions"))]
    parts.append(("Score threshold of each fold", metrics.get("thresholds")))
    return [(title, _facts(content)) for title, content in parts if content]


def page(template: str, **content: Any) -> str:
    """Fills a template; every name is escaped.

    Args:
      template: file in ``TEMPLATES``.
      **content: what the template calls by name.

    Returns:
      HTML.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    return environment.get_template(template).render(**content)


def timelines(
    metrics: Mapping[str, Any], videos: Sequence[Video], classes: Sequence[str], thumbnail: Thumbnail | None = None
) -> list[dict[str, Any]]:
    """Where everything lies on the timelines.

    Args:
      metrics: content of metrics.json; its "iou" is that of a match.
      videos: V videos.
      classes: C emotion names.
      thumbnail: gives pictures of frames; see ``timeline.Thumbnail``.

    Returns:
      V times what ``timeline.layout`` gives.
    """
    if not videos:
        return []
    counted = matching.above(
        matching.pad([video.detections for video in videos]), np.array([video.threshold for video in videos])
    )
    matched = matching.matched(counted, matching.pad([video.events for video in videos]), metrics.get("iou", 0.5))
    return [timeline.layout(video, matched[i], classes, thumbnail) for i, video in enumerate(videos)]


def write(
    out: Path,
    metrics: dict[str, Any],
    videos: Sequence[Video],
    classes: Sequence[str],
    history: Sequence[dict[str, Any]] = (),
    thumbnail: Thumbnail | None = None,
) -> Path:
    """Writes ``report.html``: numbers beside the baseline's, tables, figures and a timeline of each video.

    Args:
      out: directory; made if missing.
      metrics: of ``evaluation.evaluate``; "baseline" (the same keys), "config", "versions", "data" and "thresholds" are
        shown if they are there.
      videos: V videos.
      classes: C emotion names.
      history: what training reported, one dict per epoch and group of folds.
      thumbnail: (subject, video, frame indices from 0) -> [H, W, 3] uint8 pictures, or None if there are none.

    Returns:
      Path of the page.
    """
    baseline = metrics.get("baseline")
    drawn = timelines(metrics, videos, classes, thumbnail)
    numbers = _numbers(metrics, baseline)
    curves = figures.curves({"network": metrics} | ({"motion baseline": baseline} if baseline else {}))
    losses = figures.training(history)
    text = page(
        "report.html.j2",
        metrics=metrics,
        baseline=baseline,
        numbers=numbers,
        headlines=[row for row in numbers if row["label"] in HEADLINES],
        subjects=_subjects(drawn, metrics),
        total=len(drawn),
        classes=classes,
        confusion=_confusion(metrics, classes),
        curve=figures.uri(curves),
        training=figures.uri(losses) if losses else None,
        outcomes=timeline.OUTCOMES,
        size=timeline,
        made=made(metrics),
        untrained=published.untrained(metrics),
        config=json.dumps(metrics.get("config"), indent=2, ensure_ascii=False) if metrics.get("config") else "",
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    files.write_text(path, text)
    return path


def videos(results: run_evaluation.Results) -> list[Video]:
    """What pages show of each video.

    Args:
      results: of ``evaluate_run``.

    Returns:
      V videos.
    """
    problem = results.problem
    rows = zip(problem.metas, problem.events, results.detections, results.thresholds, strict=True)
    return [Video(*row) for row in rows]


def write_report(run: Path, results: run_evaluation.Results, thumbnail: Callable[..., Any]) -> Path:
    """Writes ``report.html``.

    Args:
      run: directory of the run.
      results: of ``evaluate_run``.
      thumbnail: (subject, video, frame indices) -> list of [H, W, 3] uint8 pictures, or None without pictures.

    Returns:
      Path of the page.
    """
    history = run_dir.read_metrics(run)
    return write(run, results.metrics, videos(results), results.problem.classes, history, thumbnail)
