"""The page and the table that a person reads. Numbers are rounded here and nowhere else.

The page is one HTML file that loads nothing: figures and pictures are inside. All names in it come from files that
somebody else wrote, so the template escapes every string.
"""

import base64
import io
import json
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax import evaluation as scoring
from fedn_jax import files, matching, timeline
from fedn_jax.timeline import Thumbnail, Video

TEMPLATES = Path(__file__).parent / "templates"
DASH = "–"  # stands for a number that does not exist
COLUMNS = 80  # of a terminal


def percent(value: float | None) -> str:
    """A share as the papers print it.

    Args:
      value: share in [0, 1]; None: there is no such number.

    Returns:
      Percent with one decimal, without the sign.

    >>> percent(0.51089), percent(1), percent(None)
    ('51.1', '100.0', '–')
    """
    return DASH if value is None else f"{100 * value:.1f}"


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


def cell(text: Any, width: int) -> str:
    """Text for a column of a terminal.

    Args:
      text: anything; control characters become question marks.
      width: columns of the terminal; wide letters take two.

    Returns:
      Text of exactly that width; what does not fit is cut, which an ellipsis shows.
    """
    letters = [letter if letter.isprintable() else "?" for letter in str(text)]
    sizes = [0 if unicodedata.combining(x) else 2 if unicodedata.east_asian_width(x) in "WF" else 1 for x in letters]
    if sum(sizes) > width:
        kept = int((np.cumsum(sizes) <= width - 1).sum())
        letters, sizes = [*letters[:kept], "…"], [*sizes[:kept], 1]
    return "".join(letters) + " " * (width - sum(sizes))


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


# ---- Figures ---------------------------------------------------------------------------------------------------------


def _svg(figure: Any) -> str:
    """A matplotlib figure as a data URI, the same bytes for the same figure."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fedn_jax"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _axes(count: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure without a window, and its plain axes, at most three in a row."""
    from matplotlib.figure import Figure

    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for unused in axes[count:]:
        unused.set_visible(False)
    for axis in axes[:count]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, list(axes[:count])


def _curve_figure(metrics: dict[str, Any], baseline: dict[str, Any] | None) -> str:
    """AP against IoU, as in Figure 2 of the FEDN paper."""
    figure, (axis,) = _axes(1, 4.6, 3.2)
    styles = {("run", "spotting"): ("#1f4e79", "o", "-"), ("run", "detection"): ("#b8621b", "s", "-")}
    styles |= {("baseline", "spotting"): ("#1f4e79", "o", ":"), ("baseline", "detection"): ("#b8621b", "s", ":")}
    for (who, what), (color, marker, line) in styles.items():
        ap = _at(metrics if who == "run" else baseline, "map/coco/ap")
        if ap:
            values = [np.nan if row[what] is None else 100 * row[what] for row in ap.values()]
            label = what if who == "run" else f"{what}, motion baseline"
            axis.plot([float(x) for x in ap], values, line, marker=marker, color=color, markersize=3.5, label=label)
    axis.set_xlabel("tIoU threshold", fontsize=9)
    axis.set_ylabel("AP, 101-point (%)", fontsize=9)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, frameon=False)
    return _svg(figure)


def _training_figure(history: Sequence[dict[str, Any]]) -> str | None:
    """Mean over folds of what training reported, and the range of the folds."""
    names = [name for name in (history[0] if history else {}) if name.endswith("loss")]
    if not names:
        return None
    figure, axes = _axes(len(names), 2.9, 2.1)
    for axis, name in zip(axes, names, strict=True):
        epochs: dict[int, list[float]] = {}
        for entry in history:
            epochs.setdefault(entry["epoch"], []).extend(np.atleast_1d(entry.get(name, [])).tolist())
        steps = [epoch for epoch in sorted(epochs) if epochs[epoch]]
        low, mean, high = ([f(epochs[step]) for step in steps] for f in (np.min, np.mean, np.max))
        axis.fill_between(steps, low, high, color="#1f4e79", alpha=0.15, linewidth=0)
        axis.plot(steps, mean, color="#1f4e79", marker="o" if len(steps) < 3 else None)
        axis.set_title(name.replace("$", r"\$"), fontsize=9, loc="left")
        axis.set_xlabel("epoch", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
    return _svg(figure)


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


# ---- Page ------------------------------------------------------------------------------------------------------------


def _subjects(videos: Iterable[dict[str, Any]], metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Timelines by subject, in the order of the per-subject table."""
    groups = {row["subject"]: {**row, "right": _recognised(row), "videos": []} for row in metrics["per_subject"]}
    for video in videos:
        groups[video["subject"]]["videos"].append(video)
    return [row | {"id": f"subject-{place}"} for place, row in enumerate(groups.values())]


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
    import jinja2

    baseline = metrics.get("baseline")
    timelines = []
    if videos:
        found = matching.pad([video.detections for video in videos])
        counted = matching.above(found, np.array([video.threshold for video in videos]))
        truth = matching.pad([video.events for video in videos])
        matched = matching.matched(counted, truth, metrics.get("iou", 0.5))
        timelines = [timeline.layout(video, matched[i], classes, thumbnail) for i, video in enumerate(videos)]
    numbers = _numbers(metrics, baseline)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = percent
    page = environment.get_template("report.html.j2").render(
        metrics=metrics,
        baseline=baseline,
        numbers=numbers,
        headlines=[row for row in numbers if row["label"] in HEADLINES],
        subjects=_subjects(timelines, metrics),
        total=len(timelines),
        classes=classes,
        confusion=_confusion(metrics, classes),
        curve=_curve_figure(metrics, baseline),
        training=_training_figure(history),
        outcomes=timeline.OUTCOMES,
        size=timeline,
        config=json.dumps(metrics.get("config"), indent=2, ensure_ascii=False) if metrics.get("config") else "",
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    files.write_text(path, page)
    return path
