"""Figures 6 to 8 of the FESNet paper, of a run: numbers by epoch, features of frames, proposals of frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import files, schema
from fedn_jax.core.text import DASH, Progress, count
from fedn_jax.core.types import Config
from fedn_jax.data import shards
from fedn_jax.engine import parameters
from fedn_jax.evaluation import embedding, frame_views
from fedn_jax.experiments import fesnet_tables
from fedn_jax.reports import figures
from fedn_jax.reports.fesnet_page import TITLES

LABELS = ("neutral", *schema.KINDS)
COLOURS = {"neutral": "#D55E00", "macro": "#009E73", "micro": "#0072B2"}  # red, green, blue as in the paper
HATCHES = {"macro": "", "micro": "////"}
STRIPS = {"annotated": "annotated", "spatial": "LSDM's proposals", "final": "final"}  # what a strip shows -> its name
FEATURES = {"init": "residual blocks", "v": "LSDM"}  # output of the network -> title of its panel
WIDEST = 30.0  # seconds in a row of Figure 8


def numbers(history: Sequence[Mapping[str, Any]]) -> Any:
    """The five numbers of the test videos by epoch (Figure 6 of the paper).

    Args:
      history: of ``frame_views.history``.

    Returns:
      A matplotlib figure.
    """
    with figures.canvas(1, 1, figures.PAGE * 0.75, 2.8) as (figure, (axis,)):
        epochs = [row["epoch"] for row in history]
        for index, (name, (path, factor)) in enumerate(fesnet_tables.NUMBERS.items()):
            values = [_value(row, path) for row in history]
            values = [np.nan if value is None else factor * value for value in values]
            look = {"color": figures.SOFT, "linestyle": ":"}
            if name != "all_neutral":
                look = {"color": figures.COLORS[index], "marker": figures.MARKERS[index], "markersize": 3.2}
            label = "Acc, all neutral" if name == "all_neutral" else TITLES[name]
            axis.plot(epochs, values, linewidth=1.3, label=label, **look)
        axis.set(title="Test labels, shown only: nothing is chosen by them", xlabel="epoch", ylabel="%")
        axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        axis.xaxis.get_major_locator().set_params(integer=True)
        figures.legend(figure, axis)
    return figure


def _value(row: Mapping[str, Any], path: str) -> float | None:
    found: Any = row
    for key in path.removeprefix("kinds/").split("/"):
        found = found[key]
    return found


def features(found: frame_views.Features) -> Any:
    """Where frames lie among each other by t-SNE, before and after LSDM's attention (Figure 7 of the paper).

    Args:
      found: of ``frame_views.features``.

    Returns:
      A matplotlib figure of a panel each. Silhouettes are of the features, not of the picture.
    """
    with figures.canvas(1, len(FEATURES), figures.PAGE, 3.6) as (figure, axes):
        for axis, (name, title) in zip(axes, FEATURES.items(), strict=True):
            x = found.features[name]
            places = embedding.tsne(x)
            for index, label in enumerate(LABELS):
                chosen = found.label == index
                if chosen.any():
                    axis.scatter(
                        *places[chosen].T, s=7, color=COLOURS[label], marker="o^s"[index], alpha=0.65, linewidths=0,
                        label=label,
                    )  # fmt: skip
            judged = (embedding.silhouette(x, groups) for groups in (found.label, found.subject))
            classes, subjects = (DASH if value is None else f"{value:.2f}" for value in judged)
            axis.set_title(f"{title}\nsilhouette: labels {classes}, subjects {subjects}")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
        axes[0].set_xlabel(f"{count(len(found.label), 'frame')} of the test videos of {figures.label(found.fold, 12)}")
        figures.legend(figure, axes[0])
    return figure


def proposals(video: frame_views.Labelled) -> Any:
    """Labels of the frames of one video: annotated, by LSDM alone, and after refinement (Figure 8 of the paper).

    Args:
      video: of ``frame_views.labelled``.

    Returns:
      A matplotlib figure as wide as a page; long videos take several rows.
    """
    from matplotlib.patches import Patch

    seconds = len(video.labels["annotated"]) / video.meta.fps
    rows = max(1, int(np.ceil(seconds / WIDEST)))
    width = seconds / rows
    with figures.canvas(rows, 1, figures.PAGE, 0.6 + 0.75 * rows) as (figure, axes):
        for row, axis in enumerate(axes):
            for place, name in enumerate(STRIPS):
                axis.axhspan(place - 0.35, place + 0.35, color=figures.PALETTE["wash"], linewidth=0)
                for kind, spans in segments(video.labels[name]).items():
                    bars = [(a / video.meta.fps, (b - a) / video.meta.fps) for a, b in spans]
                    axis.broken_barh(
                        bars, (place - 0.35, 0.7), facecolor=COLOURS[kind], edgecolor="white", linewidth=0.3,
                        hatch=HATCHES[kind],
                    )  # fmt: skip
            axis.set(xlim=(row * width, (row + 1) * width), ylim=(len(STRIPS) - 0.5, -0.5))
            axis.set_yticks(range(len(STRIPS)), [_titled(video, name) for name in STRIPS])
            axis.tick_params(axis="y", length=0)
            axis.grid(visible=False)
            axis.spines["left"].set_visible(False)
        axes[0].set_title(figures.label(f"{video.meta.subject}, {video.meta.video}"))
        axes[-1].set_xlabel("s")
        known = [Patch(facecolor=COLOURS[kind], edgecolor="white", hatch=HATCHES[kind]) for kind in schema.KINDS]
        figure.legend(known, schema.KINDS, loc="outside lower right", ncols=2, frameon=False, borderpad=0.2)
    return figure


def _titled(video: frame_views.Labelled, name: str) -> str:
    return f"{STRIPS[name]} ({sum(map(len, segments(video.labels[name]).values()))})"


def segments(label: np.ndarray) -> dict[str, list[tuple[int, int]]]:
    """Runs of equal labels that are not neutral.

    Args:
      label: [T] int, 0 neutral, 1 + kind.

    Returns:
      Kind -> half-open intervals of frames.
    """
    edges = np.flatnonzero(np.diff(label, prepend=-1, append=-1))
    spans = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    return {kind: [(a, b) for a, b in spans if label[a] == 1 + index] for index, kind in enumerate(schema.KINDS)}


def write(out: Path, run: Path, config: Config, dataset: shards.Dataset, progress: Progress) -> None:
    """Draws what the files of a run have: "features", "proposals/VIDEO", and, with kept epochs, "epochs".

    Args:
      out: directory of figures.
      run: directory of a finished run of FESNet.
      config: of the run.
      dataset: that it was trained on, with its inputs.
      progress: bars.

    Raises:
      UserError: files of the run are missing or damaged.
    """
    names = tuple(name for name in STRIPS if name != "annotated")
    for video in frame_views.labelled(run, config, dataset, names):
        path = out / "proposals" / files.file_name(video.meta.subject, video.meta.video)
        figures.save(proposals(video), path)
    figures.save(features(frame_views.features(run, config, dataset, tuple(FEATURES))), out / "features")
    if parameters.kept(run):
        figures.save(numbers(frame_views.history(run, config, dataset, progress)), out / "epochs")
