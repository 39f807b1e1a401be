"""Every figure, drawn in one place: for the pages, and as files for a paper.

Each is a function of data in ``FIGURES``; ``save`` writes it. Sizes are those of print, see ``drawing``. Markers, lines
and patterns repeat what colours say. Names come from strangers: they are cut, and never read as formulas.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedn_jax.reports import drawing, timeline
from fedn_jax.reports.drawing import COLORS, COLUMN, INK, LINES, MARKERS, PAGE, SOFT, WASH, label, save, uri

__all__ = ["FIGURES", "confusion", "curves", "save", "subjects", "training", "uri", "video"]

OUTCOMES = {  # of timeline.OUTCOMES -> colour, filled
    "found": ("#44546a", True),
    "missed": ("#44546a", False),
    "correct": ("#009E73", True),
    "confused": ("#D55E00", False),
    "false": ("#D55E00", True),
}

# ---- Figures ---------------------------------------------------------------------------------------------------------


def curves(runs: Mapping[str, Mapping[str, Any]]) -> Any:
    """AP against tIoU, spotting and detection (Figures 2 and 3 of the paper).

    Args:
      runs: name -> content of metrics.json, or another dict with its "map".

    Returns:
      A matplotlib figure of two panels.
    """
    with drawing.style():
        figure, axes = drawing.axes(1, 2, PAGE, 2.5 + 0.16 * max(len(runs) - 3, 0))
        for axis, what in zip(axes, ("spotting", "detection"), strict=True):
            for place, (name, metrics) in enumerate(runs.items()):
                ap = metrics["map"]["coco"]["ap"]
                values = [np.nan if row[what] is None else 100 * row[what] for row in ap.values()]
                kind = {"color": COLORS[place % 7], "marker": MARKERS[place % 7], "linestyle": LINES[place // 7 % 4]}
                axis.plot([float(x) for x in ap], values, markersize=3.2, linewidth=1.3, label=label(name), **kind)
            axis.set_title(what.capitalize())
            axis.set_xlabel("tIoU threshold")
            axis.set_ylabel("AP, 101-point (%)")
            axis.set_ylim(0, max(axis.get_ylim()[1], 1e-3))
        drawing.legend(figure, axes[0], PAGE)
    return figure


def subjects(runs: Mapping[str, Mapping[str, Any]]) -> Any:
    """Spotting F1 of every subject, the runs side by side.

    Args:
      runs: name -> content of metrics.json, or another dict with its "per_subject".

    Returns:
      A matplotlib figure; many subjects take several rows.
    """
    tables = [{row["subject"]: row for row in metrics["per_subject"]} for metrics in runs.values()]
    names = list(dict.fromkeys(name for table in tables for name in table))
    most = int(np.clip(90 // (len(runs) + 0.6), 4, 24))  # subjects in a row: bars stay wider than half a millimetre
    count = max(-(-len(names) // most), 1)
    size = max(-(-len(names) // count), 1)
    short = {name: label(f"{name} ({_annotated(tables, name)})", 16) for name in names}
    turned = max(map(len, short.values()), default=0) * size > 80
    room = 0.055 * max(map(len, short.values()), default=0) if turned else 0.15
    with drawing.style():
        figure, axes = drawing.axes(count, 1, PAGE, 0.5 + count * (1.35 + room), sharey=True)
        for row, axis in enumerate(axes):
            members = names[row * size : (row + 1) * size]
            for place, (run, table) in enumerate(zip(runs, tables, strict=True)):
                found = [(x, 100 * table[name]["f1"]) for x, name in enumerate(members) if name in table]
                x, height = np.array(found).T if found else (np.array([]), np.array([]))
                step = 0.8 / len(runs)
                color = COLORS[place % 7]
                hatch = ("", "////", "....", "xxxx")[place // 7 % 4]
                axis.bar(x + step * (place - (len(runs) - 1) / 2), height, step * 0.92, color=color, edgecolor=color,
                         linewidth=0.6, hatch=hatch, label=label(run))  # fmt: skip
            axis.set_xticks(range(len(members)), [short[name] for name in members], rotation=90 if turned else 0)
            axis.tick_params(axis="x", length=0)
            axis.set_xlim(-0.6, size - 0.4)
            axis.set_ylim(0, 100)
            axis.set_ylabel("Spotting F1 (%)")
        axes[-1].set_xlabel("subject (annotated expressions)")
        drawing.legend(figure, axes[0], PAGE)
    return figure


def _annotated(tables: list[dict[str, Any]], name: str) -> str:
    """Annotated expressions of a subject, where the runs agree."""
    counts = {table[name]["gt"] for table in tables if name in table}
    return str(counts.pop()) if len(counts) == 1 else "?"


def confusion(metrics: Mapping[str, Any], classes: Sequence[str]) -> Any:
    """The confusion matrix of the true positives (Figure 5 of the paper).

    Args:
      metrics: content of metrics.json.
      classes: C emotion names.

    Returns:
      A matplotlib figure: annotated emotions are rows, detected ones columns; shades are shares of a row.
    """
    from matplotlib.colors import LinearSegmentedColormap

    counts = np.array(metrics["recognition"]["confusion"], float).reshape(len(classes), len(classes))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [label(name, 16) for name in classes]
    small = len(classes) > 5
    side = COLUMN if not small else min(PAGE, 0.46 * len(classes) + 1.2)
    blues = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#cfe0ee", "#6ba3cc", "#0a4a7c"])
    with drawing.style():
        figure, (axis,) = drawing.axes(1, 1, side, side)
        axis.spines[:].set_visible(False)
        axis.grid(visible=False)
        edges = np.arange(len(classes) + 1) - 0.5
        axis.pcolormesh(edges, edges, share, cmap=blues, vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
        axis.set(aspect="equal", ylim=(len(classes) - 0.5, -0.5))
        places = range(len(classes))
        axis.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
        axis.set_yticks(places, names)
        axis.tick_params(length=0)
        for i in places:
            for j in places:
                text = f"{counts[i, j]:.0f}\n{100 * share[i, j]:.0f} %" if counts[i, j] else "0"
                color = "white" if share[i, j] > 0.6 else INK if counts[i, j] else SOFT
                size = 6 if small else 7.5
                axis.text(j, i, text, ha="center", va="center", fontsize=size, linespacing=1.25, color=color)
        axis.set_xlabel("detected emotion")
        axis.set_ylabel("annotated emotion")
    return figure


def training(history: Sequence[Mapping[str, Any]]) -> Any:
    """What training reported: the mean over the folds and their range.

    Args:
      history: lines of metrics.jsonl.

    Returns:
      A matplotlib figure, a panel per loss; None without any.
    """
    names = [name for name in (history[0] if history else {}) if name.endswith("loss")]
    if not names:
        return None
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    with drawing.style():
        figure, axes = drawing.axes(rows, columns, PAGE * (columns + 1) / 4, 1.9 * rows)
        for unused in axes[len(names) :]:
            unused.set_visible(False)
        for axis, name in zip(axes, names, strict=False):
            epochs: dict[int, list[float]] = {}
            for entry in history:
                epochs.setdefault(entry["epoch"], []).extend(np.atleast_1d(entry.get(name, [])).tolist())
            steps = [epoch for epoch in sorted(epochs) if epochs[epoch]]
            low, mean, high = ([f(epochs[step]) for step in steps] for f in (np.min, np.mean, np.max))
            axis.fill_between(steps, low, high, color=COLORS[0], alpha=0.18, linewidth=0)
            axis.plot(steps, mean, color=COLORS[0], linewidth=1.3, marker="o" if len(steps) < 3 else None)
            axis.set_title(label(name.replace("_", " ")))
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
    return figure


def seeds(rows: Sequence[tuple[str, Mapping[str, Any]]], names: Mapping[str, str]) -> Any:
    """Every seed of every row of a table as a dot, and the mean as a line.

    Args:
      rows: (method, number -> {"values": one per seed, in [0, 1], "mean"}) each, the first at the top.
      names: number -> title of its panel.

    Returns:
      A matplotlib figure as wide as a page.
    """
    with drawing.style():
        figure, axes = drawing.axes(1, len(names), PAGE, 0.75 + 0.3 * len(rows), sharey=True)
        for axis, (name, title) in zip(axes, names.items(), strict=True):
            for place, (_, numbers) in enumerate(rows):
                if numbers[name]["mean"] is None:
                    continue
                values = [100 * value for value in numbers[name]["values"]]
                axis.plot(values, [place] * len(values), "o", color=COLORS[0], markersize=4, alpha=0.6)
                axis.plot([100 * numbers[name]["mean"]] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=1.2)
            axis.set(title=title, xlabel="%", ylim=(len(rows) - 0.5, -0.5))
            axis.set_yticks(range(len(rows)), [label(method) for method, _ in rows])
            axis.grid(axis="x")
    return figure


def video(drawn: Mapping[str, Any]) -> Any:
    """The timeline of a video (Figure 6 of the paper): annotated above, detected below.

    Args:
      drawn: of ``timeline.layout``.

    Returns:
      A matplotlib figure as wide as a page.
    """
    from matplotlib.patches import Rectangle

    scale, legend = PAGE / timeline.WIDTH, 34
    small = 5.8  # points: 10 % narrower per letter than timeline.LETTER, which the layout leaves room for
    with drawing.style():
        figure, (axis,) = drawing.axes(1, 1, PAGE, scale * (drawn["height"] + legend))
        figure.set_layout_engine("none")
        axis.set_position((0, 0, 1, 1))
        axis.set(xlim=(0, timeline.WIDTH), ylim=(drawn["height"] + legend, 0))
        axis.axis("off")

        def write(x: float, y: float, text: str, **options: Any) -> None:
            axis.text(x, y, text, **({"fontsize": small, "ha": "center", "va": "baseline"} | options))

        for name, y in (("annotated", drawn["top"]), ("detected", drawn["bottom"])):
            right = timeline.WIDTH - timeline.LEFT - timeline.RIGHT
            axis.add_patch(Rectangle((timeline.LEFT, y), right, timeline.BAR, color=WASH, linewidth=0))
            write(0, y + 12, name, ha="left", color=SOFT, fontsize=6)
        for place, tick in enumerate(drawn["ticks"]):
            below = drawn["top"] + timeline.BAR
            axis.plot([tick["x"]] * 2, [below, below + 6], color=SOFT, linewidth=0.5)
            write(tick["x"], below + 18, tick["text"] + ("" if place else " s"), color=SOFT)
        for item in drawn["annotated"]:
            _callout(axis, write, item, drawn["top"], -1, drawn)
        for item in drawn["detected"]:
            _callout(axis, write, item, drawn["bottom"], 1, drawn)
        x = 1.0
        for name, (mark, words) in timeline.OUTCOMES.items():
            axis.add_patch(Rectangle((x, drawn["height"] + 18), 22, 9, **_look(name)))
            text = f"{mark} {words}".strip()
            write(x + 27, drawn["height"] + 26, text, ha="left", color=SOFT)
            x += 41 + 5.9 * len(text)
    return figure


def _look(outcome: str) -> dict[str, Any]:
    """How a bar shows what became of it: by colour, by filling, and by its pattern."""
    color, filled = OUTCOMES[outcome]
    if filled:
        return {"facecolor": color, "edgecolor": color, "linewidth": 0.7}
    extra = {"hatch": "//////"} if outcome == "confused" else {"linestyle": (0, (3, 2))}
    return {"facecolor": "white", "edgecolor": color, "linewidth": 0.7} | extra


def _callout(axis: Any, write: Any, item: Mapping[str, Any], y: float, side: int, drawn: Mapping[str, Any]) -> None:
    """A bar, its picture and its name; ``side`` -1: above the bar, 1: below."""
    from matplotlib.patches import Rectangle
    from PIL import Image

    picture, color = drawn["picture"], INK if side < 0 else OUTCOMES[item["outcome"]][0]
    edge = y if side < 0 else y + timeline.BAR
    base = edge + side * (timeline.GAP + drawn["callout"] * item["row"])
    axis.plot([item["middle"], item["place"]], [edge, base - side], color="#aab3bd", linewidth=0.5, zorder=0.5)
    axis.add_patch(Rectangle((item["x"], y), item["width"], timeline.BAR, **_look(item["outcome"])))
    if item["image"]:
        image = Image.open(io.BytesIO(base64.b64decode(item["image"].partition(",")[2])))
        left, top = item["place"] - picture / 2, base - picture if side < 0 else base
        axis.imshow(image, extent=(left, left + picture, top + picture, top), aspect="auto", interpolation="lanczos")
        if side > 0:
            frame = _look(item["outcome"]) | {"facecolor": "none", "hatch": None, "linewidth": 1.2}
            axis.add_patch(Rectangle((left, top), picture, picture, **frame))
    near = base - picture - 6 if side < 0 else base + picture + 13
    write(item["place"], near, f"{label(item['short'], 14)} {item['mark']}".strip(), color=color)
    if side > 0:
        write(item["place"], near + 14, item["note"], color=SOFT)


FIGURES = {"curves": curves, "subjects": subjects, "confusion": confusion, "training": training, "timeline": video}
