"""The page of a learning curve: F1 against training subjects, and what more of them would bring."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core.text import count, percent
from fedn_jax.evaluation import extrapolation
from fedn_jax.reports import figures, pages, tables
from fedn_jax.reports.figures import INK, PAGE
from fedn_jax.reports.pages import COLORS
from fedn_jax.reports.tables import Cell, Column, Table, share, texts, words

LAW = (
    "1 - F1 is taken to fall as a power of the number of training subjects, as it did so far; that supposes more "
    "people like those that there are, and labels on which coders agree."
)


def table(found: Mapping[str, Any]) -> Table:
    """A row per share, and one for each number of subjects that is foretold.

    Args:
      found: content of learning_curve.json.

    Returns:
      A table.
    """
    columns = [*texts("Training subjects"), Column("Share", "%")]
    columns += [Column(title, "%") for title in ("F1", "from", "to", "lowest", "highest")]
    rows = [
        [_size(one["subjects"]), share(one["share"]), *(share(one[key]) for key in ("f1", "low", "high")),
         share(min(one["draws"])), share(max(one["draws"]))]
        for one in found["points"]
    ]  # fmt: skip
    ahead = [
        [_size(one["subjects"]), share(None), *(share(one[key]) for key in ("f1", "low", "high")), *[share(None)] * 2]
        for one in found["extrapolation"]["ahead"]
    ]
    level = f"{100 * extrapolation.LEVEL:.0f} %"
    chance = "draws" if found["draws"] > 1 else "not over draws, of which there is one: true ones are wider"
    notes = [
        f"F1: spotting, pooled over test subjects, mean of {count(found['draws'], 'draw')} of training subjects.",
        f"From, to: {level} interval over {count(found['test_subjects'], 'test subject')} and {chance}. Lowest, "
        "highest: of the draws.",
        verdict(found),
    ]
    groups = [("", rows), ("Foretold", ahead)]
    return Table("learning_curve", "Learning curve", columns, [group for group in groups if group[1]], notes)


def _size(subjects: float) -> Cell:
    return words(f"{subjects:.4g}")._replace(value=subjects)


def verdict(found: Mapping[str, Any]) -> str:
    """What more training subjects would bring, in words.

    Args:
      found: content of learning_curve.json.

    Returns:
      A sentence or two.
    """
    what = found["extrapolation"]
    if what["missing"]:
        return f"What more subjects would bring cannot be said: {what['missing']}."
    last = what["ahead"][-1]
    low, high = (percent(last[key]) for key in ("low", "high"))
    return f"With {last['subjects']:.4g} training subjects F1 would lie between {low} and {high} %. {LAW}"


def figure(found: Mapping[str, Any]) -> Any:
    """F1 against training subjects.

    Args:
      found: content of learning_curve.json.

    Returns:
      A figure of matplotlib.
    """
    points, ahead = found["points"], found["extrapolation"]["ahead"]
    sizes = [one["subjects"] for one in points]
    with figures.canvas(1, 1, PAGE, 2.8) as (drawn, (axis,)):
        for one in points:
            axis.plot([one["subjects"]] * len(one["draws"]), np.multiply(100, one["draws"]), "o", color=COLORS[5],
                      markersize=3, label="one draw" if one is points[0] else None)  # fmt: skip
        axis.errorbar(sizes, [100 * one["f1"] for one in points], _bars(points), fmt="-s", color=COLORS[0],
                      capsize=3, markersize=4, linewidth=1.2, label="mean, and its interval")  # fmt: skip
        if ahead:
            shown = [points[-1], *ahead]
            axis.errorbar([one["subjects"] for one in ahead], [100 * one["f1"] for one in ahead], _bars(ahead),
                          fmt="D", color=COLORS[1], capsize=3, markersize=4, label="foretold")  # fmt: skip
            axis.plot(
                [one["subjects"] for one in shown], [100 * one["f1"] for one in shown], ":", color=INK, linewidth=1
            )
        axis.set(xlabel="training subjects", ylabel="spotting F1, %", ylim=(0, None))
        figures.legend(drawn, axis)
    return drawn


def _bars(points: Any) -> np.ndarray:
    """[2, A] lengths of error bars; none is negative where a mean lies outside its interval."""
    spans = [(one["f1"] - one["low"], one["high"] - one["f1"]) for one in points]
    return 100 * np.maximum(np.transpose(spans), 0)


def write(out: Path, found: Mapping[str, Any]) -> Path:
    """Writes the page, the figure and the table.

    Args:
      out: directory.
      found: content of learning_curve.json.

    Returns:
      Path of the page.
    """
    whole, drawn = table(found), figure(found)
    tables.save(whole, out, ("csv", "tex"))
    figures.save(drawn, out / "learning_curve")
    chart = figures.chart(drawn, "Spotting F1 against the number of training subjects")
    shown = whole._replace(notes=whole.notes[:-1])  # the last one leads the page
    return pages.write(
        out / "report.html", "Learning curve",
        f"{count(len(found['points']), 'share')} of the training subjects of every fold, same test subjects.",
        [("F1 and training subjects", [chart, shown]), ("How this was made", [pages.made(found)])],
        lead=verdict(found), footer="Every number, unrounded: learning_curve.json beside this page.",
    )  # fmt: skip
