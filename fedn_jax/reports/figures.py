"""Every figure, drawn in one place: for the pages, and as files for a paper.

Sizes, letters and colours are the same everywhere. Markers, lines and patterns repeat what colours say. Importing this
module does not load matplotlib.
"""

import contextlib
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import errors, files
from fedn_jax.evaluation import headline
from fedn_jax.reports import pages
from fedn_jax.reports.pages import COLORS, PALETTE

COLUMN, PAGE = 3.4, 7.0  # inches
MARKERS, LINES = "osD^vPX", ("-", "--", ":", "-.")
INK, SOFT, RULE = (PALETTE[name] for name in ("ink", "soft", "line"))
FONT = "DejaVu Sans"  # comes with matplotlib
LETTERS = 30  # of a name in a legend
# What a format writes beside the figure: no dates, so that the same figure gives the same bytes.
FORMATS: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}


def style() -> Any:
    """The settings that all figures are made and written with, whatever the user's are.

    Returns:
      A context of matplotlib.
    """
    import matplotlib

    settings = {
        "font.family": FONT, "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5, "legend.fontsize": 7.5, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK, "axes.edgecolor": SOFT, "axes.linewidth": 0.7, "axes.titlelocation": "left",
        "axes.axisbelow": True, "grid.color": RULE, "grid.linewidth": 0.6, "hatch.linewidth": 1.0, "text.usetex": False,
        "svg.hashsalt": "fedn_jax", "svg.fonttype": "path", "pdf.fonttype": 42, "figure.facecolor": "white",
        "savefig.facecolor": "auto", "savefig.bbox": None,
    }  # fmt: skip
    return matplotlib.rc_context(settings)


@functools.cache
def _glyphs() -> Any:
    from matplotlib import font_manager

    return font_manager.get_font(font_manager.findfont(FONT)).get_charmap()


def label(text: Any, letters: int = LETTERS) -> str:
    """A name for a figure.

    Args:
      text: anything.
      letters: the most that are shown.

    Returns:
      One line of it: what the font lacks is a question mark, an ellipsis shows that it was cut, dollars are dollars.
    """
    known = _glyphs()
    shown = "".join(x if x.isprintable() and ord(x) in known else "?" for x in str(text))
    shown = shown if len(shown) <= letters else shown[: letters - 1] + "…"
    return (f" {shown}" if shown.startswith("_") else shown).replace("$", r"\$")  # "_name" is left out of legends


@contextlib.contextmanager
def canvas(rows: int, columns: int, width: float, height: float, **options: Any) -> Iterator[tuple[Any, list[Any]]]:
    """A figure without a window, and its plain axes; what is drawn inside has the style of all figures.

    Args:
      rows: of axes.
      columns: of axes.
      width: inches.
      height: inches.
      **options: of ``Figure.subplots``.

    Yields:
      (figure, axes row by row).
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, height), layout="constrained")
        found = list(figure.subplots(rows, columns, squeeze=False, **options).ravel())
        for axis in found:
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(axis="y")
        yield figure, found


def legend(figure: Any, axis: Any) -> None:
    """Names what is in the axes, below everything, in as many columns as there is room for; one name needs none.

    Args:
      figure: of ``canvas``.
      axis: the one whose names are shown.
    """
    handles, names = axis.get_legend_handles_labels()
    if len(names) > 1:
        columns = int(np.clip(figure.get_figwidth() * 14 // (max(map(len, names)) + 7), 1, len(names)))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, borderpad=0.2)


def _encode(figure: Any, kind: str) -> bytes:
    """A figure in an entry of ``FORMATS``: the same bytes for the same figure."""
    metadata = FORMATS[errors.one_of("format of a figure", kind, FORMATS)]
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=300, metadata=metadata)
    return buffer.getvalue()


def chart(figure: Any, alt: str, caption: str = "") -> pages.Chart:
    """A figure as an item of a page: an SVG inside it.

    Args:
      figure: of matplotlib.
      alt: what it shows, for those who do not see it.
      caption: below it.

    Returns:
      The chart.
    """
    return pages.Chart(pages.uri(_encode(figure, "svg"), "image/svg+xml"), alt, caption)


def save(figure: Any, path: Path, formats: Sequence[str] = ("svg", "png", "pdf")) -> list[Path]:
    """Writes a figure.

    Args:
      figure: of matplotlib.
      path: of the files, without a suffix; its directory is made if missing.
      formats: entries of ``FORMATS``.

    Returns:
      The files, in the order of the formats; each is written whole or not at all.

    Raises:
      UserError: no such format.
    """
    contents = {path.with_name(f"{path.name}.{kind}"): _encode(figure, kind) for kind in formats}
    for file, content in contents.items():
        files.write_bytes(file, content)
    return list(contents)


def curves(runs: Mapping[str, Mapping[str, Any]]) -> Any:
    """AP against tIoU, spotting and detection (Figures 2 and 3 of the paper).

    Args:
      runs: name -> content of metrics.json, or another dict with its "map"; one whose scores rank nothing is left out
        where others do.

    Returns:
      A matplotlib figure of two panels.
    """
    ranked = {name: one for name, one in runs.items() if one["map"]["coco"]["spotting"] is not None}
    runs = ranked or runs
    with canvas(1, 2, PAGE, 2.5 + 0.16 * max(len(runs) - 3, 0)) as (figure, axes):
        for axis, what in zip(axes, ("spotting", "detection"), strict=True):
            for index, (name, metrics) in enumerate(runs.items()):
                ap = metrics["map"]["coco"]["ap"]
                values = [np.nan if row[what] is None else 100 * row[what] for row in ap.values()]
                kind = {"color": COLORS[index % 7], "marker": MARKERS[index % 7], "linestyle": LINES[index // 7 % 4]}
                axis.plot([float(x) for x in ap], values, markersize=3.2, linewidth=1.3, label=label(name), **kind)
            axis.set_title(what.capitalize())
            axis.set_xlabel("tIoU threshold")
            axis.set_ylabel("AP, 101-point (%)")
            axis.set_ylim(0, max(axis.get_ylim()[1], 1e-3))
        legend(figure, axes[0])
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
    with canvas(count, 1, PAGE, 0.5 + count * (1.35 + room), sharey=True) as (figure, axes):
        for row, axis in enumerate(axes):
            members = names[row * size : (row + 1) * size]
            for index, (run, table) in enumerate(zip(runs, tables, strict=True)):
                found = [
                    (x, 100 * table[name]["f1"])
                    for x, name in enumerate(members)
                    if name in table and table[name]["f1"] is not None
                ]
                x, height = np.array(found).T if found else (np.array([]), np.array([]))
                step = 0.8 / len(runs)
                color = COLORS[index % 7]
                hatch = ("", "////", "....", "xxxx")[index // 7 % 4]
                axis.bar(x + step * (index - (len(runs) - 1) / 2), height, step * 0.92, color=color, edgecolor=color,
                         linewidth=0.6, hatch=hatch, label=label(run))  # fmt: skip
            axis.set_xticks(range(len(members)), [short[name] for name in members], rotation=90 if turned else 0)
            axis.tick_params(axis="x", length=0)
            axis.set_xlim(-0.6, size - 0.4)
            axis.set_ylim(0, 100)
            axis.set_ylabel("Spotting F1 (%)")
        axes[-1].set_xlabel("subject (annotated expressions)")
        legend(figure, axes[0])
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
    with canvas(1, 1, side, side) as (figure, (axis,)):
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
        word = headline.worded(metrics, "emotion")
        axis.set_xlabel(f"detected {word}")
        axis.set_ylabel(f"annotated {word}")
    return figure


def training(history: Sequence[Mapping[str, Any]]) -> Any:
    """What training reported: the mean over the folds and their range.

    Args:
      history: of ``run_dir.read_metrics``.

    Returns:
      A matplotlib figure, a panel per loss; None without any.
    """
    names = [name for name in (history[0] if history else {}) if name.endswith("loss")]
    if not names:
        return None
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    with canvas(rows, columns, PAGE * (columns + 1) / 4, 1.9 * rows) as (figure, axes):
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
    with canvas(1, len(names), PAGE, 0.75 + 0.3 * len(rows), sharey=True) as (figure, axes):
        for axis, (name, title) in zip(axes, names.items(), strict=True):
            for index, (_, numbers) in enumerate(rows):
                if numbers[name]["mean"] is None:
                    continue
                values = [100 * value for value in numbers[name]["values"]]
                axis.plot(values, [index] * len(values), "o", color=COLORS[0], markersize=4, alpha=0.6)
                axis.plot([100 * numbers[name]["mean"]] * 2, [index - 0.3, index + 0.3], color=INK, linewidth=1.2)
            axis.set(title=title, xlabel="%", ylim=(len(rows) - 0.5, -0.5))
            axis.set_yticks(range(len(rows)), [label(method) for method, _ in rows])
            axis.grid(axis="x")
    return figure
