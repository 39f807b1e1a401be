"""Expressions of persons and conditions as tables and as a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedn_jax.evaluation import summary
from fedn_jax.evaluation.summary import ALL, MEASURES
from fedn_jax.reports import figures, tables
from fedn_jax.reports.pages import COLORS
from fedn_jax.reports.tables import Cell, Column, Table, number, texts, words

CHANCE = ("p", "p_holm")
DIGITS = {"count": 1, "rate": 2, "duration": 2, "latency": 1, "share": 3}
TITLES = {
    "count": "expressions", "rate": "expressions per minute", "duration": "seconds per expression",
    "latency": "seconds to the first", "share": "share of the time",
}  # fmt: skip


def persons(cells: Sequence[summary.Cell]) -> Table:
    """A row per person, condition and emotion.

    Args:
      cells: of ``summary.persons``.

    Returns:
      The table.
    """
    columns = [*texts("person", "condition", "emotion"), Column("seconds seen"), *map(Column, MEASURES)]
    rows = [
        [*map(words, cell[:3]), number(cell.seconds, 1)]
        + [number(getattr(cell, name), DIGITS[name]) for name in MEASURES]
        for cell in cells
    ]
    return Table("persons", "Expressions of persons", columns, [("", rows)], [f"{k}: {v}" for k, v in MEASURES.items()])


def _groups(rows: Sequence[Mapping[str, Any]], *names: str) -> list[tuple[str, list[list[Cell]]]]:
    """For each measure that has rows: who, emotion, measure, n, and numbers by their names, in its digits."""
    groups: dict[str, list[list[Cell]]] = {}
    for row in rows:
        who = row["condition"] if "condition" in row else " - ".join(row["conditions"])
        cells = [words(who), *(words(row[name]) for name in ("emotion", "measure", "n"))]
        cells += [number(row[name], 4 if name in CHANCE else DIGITS[row["measure"]]) for name in names]
        groups.setdefault(row["measure"], []).append(cells)
    return [(TITLES[measure], groups[measure]) for measure in MEASURES if measure in groups]


def conditions(result: Mapping[str, Any]) -> Table:
    """Means of conditions with their intervals.

    Args:
      result: of ``summary.compare``.

    Returns:
      The table.
    """
    columns = [*texts("condition", "emotion"), Column("measure", number=False, detail=True)]
    columns += map(Column, ("n", "mean", "low", "high"))
    groups = _groups(result["conditions"], "mean", "low", "high")
    note = "Means over persons; low, high: 95 % interval, bootstrap over persons"
    return Table("conditions", "Expressions of conditions", columns, groups, [note])


def tests(result: Mapping[str, Any]) -> Table:
    """Differences between conditions.

    Args:
      result: of ``summary.compare``.

    Returns:
      The table.
    """
    columns = [*texts("conditions", "emotion"), Column("measure", number=False, detail=True)]
    columns += map(Column, ("n", "difference", "low", "high", "p", "p Holm"))
    groups = _groups(result["tests"], "difference", "low", "high", *CHANCE)
    notes = [
        "Paired within persons: those who have the number in both conditions. p: share of all flips of the signs of "
        "the persons' differences whose mean is as far from 0; p Holm: adjusted for all tests of the measure"
    ]
    return Table("tests", "Differences between conditions", columns, groups, notes)


def text(result: Mapping[str, Any], notes: Sequence[str]) -> str:
    """What a terminal shows: all emotions together.

    Args:
      result: of ``summary.compare``.
      notes: what somebody who reads the numbers should know.

    Returns:
      Lines of at most 80 columns.
    """
    whole = {name: [row for row in result[name] if row["emotion"] == ALL] for name in ("conditions", "tests")}
    shown = [conditions(whole)._replace(notes=[*conditions(whole).notes, *notes])]
    shown += [tests(whole)] if whole["tests"] else []
    return "\n".join(tables.to_text(one) for one in shown)


def figure(result: Mapping[str, Any]) -> Any:
    """Rate and share of the time of each emotion, by condition, with intervals.

    Args:
      result: of ``summary.compare``.

    Returns:
      A figure of matplotlib.
    """
    names = list(dict.fromkeys(row["condition"] for row in result["conditions"]))
    emotions = list(dict.fromkeys(row["emotion"] for row in result["conditions"]))
    known = {(row["measure"], row["condition"], row["emotion"]): row for row in result["conditions"]}
    with figures.canvas(1, 2, figures.PAGE, 2.8) as (drawn, axes):
        for axis, measure in zip(axes, ("rate", "share"), strict=True):
            for place, name in enumerate(names):
                rows = [known[measure, name, emotion] for emotion in emotions]
                mean, low, high = (
                    np.array([np.nan if row[key] is None else row[key] for row in rows])
                    for key in ("mean", "low", "high")
                )
                axis.errorbar(
                    np.arange(len(emotions)) + (place - (len(names) - 1) / 2) * 0.6 / len(names), mean,
                    np.abs([mean - low, high - mean]), fmt=figures.MARKERS[place % len(figures.MARKERS)], markersize=4,
                    capsize=2, color=COLORS[place % len(COLORS)], label=figures.label(name),
                )  # fmt: skip
            shown = [figures.label(name, 12) for name in emotions]
            axis.set_xticks(np.arange(len(emotions)), shown, rotation=30, ha="right")
            axis.set_ylim(bottom=0)
            axis.set_title(TITLES[measure])
        figures.legend(drawn, axes[0])
    return drawn
