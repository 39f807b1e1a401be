"""The page of a sweep: its trials, what they say about the options, and what its best number is worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedn_jax.core.text import count, percent
from fedn_jax.reports import figures, pages, tables
from fedn_jax.reports.figures import INK, PAGE, SOFT, label
from fedn_jax.reports.pages import COLORS
from fedn_jax.reports.tables import Cell, Column, Table, share, texts, words

STATES = {"complete": COLORS[0], "pruned": COLORS[4], "fail": COLORS[6], "running": COLORS[5]}
STATUS = (
    "The score is measured on the videos that the inner folds hold out, and it chose the trial: it is optimistic. "
    "The estimate is the run of the chosen configuration, on the test videos of all folds; even there every video has "
    "taken part in the choice, through the inner folds of the others. Nothing of that kind is left if one sweep per "
    "outer fold is made with --fold NAME, and of each chosen configuration only that fold is counted (nested "
    "cross-validation); it costs as many sweeps as there are folds"
)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def table(found: Mapping[str, Any]) -> Table:
    """Every trial, the best first.

    Args:
      found: of ``sweep_results.summary``.

    Returns:
      A table.
    """
    options, settings = list(found["space"]), found["settings"]
    rungs = [str(rung) for rung in settings["rungs"]]
    columns = [*texts("Trial"), Column("Score", "%"), *(Column(f"at {rung}", "%") for rung in rungs)]
    columns += [Column(option.rpartition(".")[2]) for option in options]
    columns += [one._replace(detail=True) for one in texts("State", "Reason")]
    order = sorted(
        found["trials"],
        key=lambda one: (-(-1 if one["score"] is None else one["score"]), -max(one["rungs"].values(), default=-1)),
    )
    lines = []
    for one in order:
        name = f"{one['number']} {one['state']}" + (f": {one['reason']}" if one["reason"] else "")
        cells = [words(name)._replace(value=one["number"]), share(one["score"])]
        cells += [share(one["rungs"].get(rung)) for rung in rungs]
        cells += [Cell(_value(one["params"][option]), one["params"][option]) for option in options]
        lines.append([*cells, words(one["state"]), words(one["reason"])])
    notes = [f"Score: {found['objective']}; mean of {count(settings['seeds'], 'seed')}.", f"{STATUS}."]
    if rungs:
        after = count(1, "epoch") if rungs == ["1"] else f"{', '.join(rungs)} epochs"
        notes.append(
            f"After {after} a trial leaves if it is below the median of all scores known there, once "
            f"there are four; the others train {count(found['epochs'], 'epoch')}."
        )
    return Table("trials", f"Sweep of {count(len(lines), 'trial')}", columns, [("", lines)], notes)


def _history(found: Mapping[str, Any]) -> Any:
    """Scores in the order of the trials, and the best so far."""
    with figures.canvas(1, 1, PAGE, 2.2) as (figure, (axis,)):
        best, steps = None, []
        for state, color in STATES.items():
            mine = [one for one in found["trials"] if one["state"] == state and _last(one) is not None]
            mark = "o" if state == "complete" else "x"
            if mine:
                axis.plot([one["number"] for one in mine], [100 * _last(one) for one in mine], mark, color=color,
                          label=state if state != "pruned" else "left at a rung (its score there)")  # fmt: skip
        for one in found["trials"]:
            if one["score"] is not None:
                best = max(best or 0.0, one["score"])
                steps.append((one["number"], 100 * best))
        if steps:
            axis.step(*zip(*steps, strict=True), where="post", color=INK, linewidth=1, label="best so far")
        axis.set(xlabel="trial", ylabel="score, %")
        axis.xaxis.get_major_locator().set_params(integer=True)
        figures.legend(figure, axis)
    return figure


def _last(one: Mapping[str, Any]) -> float | None:
    """The score of a trial, or that of its last rung."""
    rungs = sorted(one["rungs"].items(), key=lambda item: int(item[0]))
    return one["score"] if one["score"] is not None else rungs[-1][1] if rungs else None


def _parallel(found: Mapping[str, Any]) -> Any:
    """A line per trial through the values of its options; the darker, the better it scored."""
    import matplotlib
    import numpy as np

    options = list(found["space"])
    shown = sorted((one for one in found["trials"] if _last(one) is not None), key=_last)
    with figures.canvas(1, 1, PAGE, 3.0) as (figure, (axis,)):
        axis.grid(visible=False)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.set(xlim=(-0.3, len(options) + 0.3), ylim=(-0.12, 1.08), yticks=[])
        names = [label(option.rpartition(".")[2]) for option in options]
        axis.set_xticks(range(len(options) + 1), [*names, "score, %"])
        axis.tick_params(length=0)
        heights = []
        for index, option in enumerate([*options, None]):
            values = [one["params"][option] if option else 100 * _last(one) for one in shown]
            numeric = all(isinstance(value, float) for value in values)
            logged = numeric and option and "log" in found["space"][option]
            scale = [np.log(value) if logged else value for value in values] if numeric else [
                sorted(set(map(str, values))).index(str(value)) for value in values
            ]  # fmt: skip
            low, high = min(scale, default=0), max(scale, default=1)
            heights.append([(value - low) / (high - low) if high > low else 0.5 for value in scale])
            axis.plot([index, index], [0, 1], color=SOFT, linewidth=0.8)
            ends = dict(zip(heights[-1], values, strict=True))
            for height in sorted(ends) if not numeric else {0.0, 1.0, 0.5} & set(ends):
                axis.text(index, height + (0.03 if height > 0.01 else -0.07), _value(ends[height]), ha="center",
                          fontsize=6.5, color=INK)  # fmt: skip
        colors = matplotlib.colormaps["viridis_r"]
        for number, one in enumerate(shown):
            dashed = "-" if one["score"] is not None else ":"
            axis.plot(range(len(options) + 1), [column[number] for column in heights], dashed,
                      color=colors(heights[-1][number]), linewidth=1.3, alpha=0.85)  # fmt: skip
    return figure


def _importance(found: Mapping[str, Any]) -> Any:
    """How much each option sets the best trials apart."""
    shares = sorted(found["importance"].items(), key=lambda item: item[1])
    with figures.canvas(1, 1, PAGE * 0.6, 0.6 + 0.28 * len(shares)) as (figure, (axis,)):
        axis.barh([label(key) for key, _ in shares], [100 * share for _, share in shares], color=COLORS[0], height=0.6)
        axis.set_xlabel("share, %")
        axis.grid(axis="x")
        axis.grid(visible=False, axis="y")
    return figure


def write(out: Path, found: Mapping[str, Any]) -> Path:
    """Writes the page, and the table of trials as CSV.

    Args:
      out: directory of the sweep.
      found: of ``sweep_results.summary``.

    Returns:
      Path of the page.
    """
    whole = table(found)
    tables.save(whole, out, ("csv",))
    counts = {state: sum(one["state"] == state for one in found["trials"]) for state in STATES}
    about = (
        f"{counts['complete']} went to the end, {counts['pruned']} left at a rung, {counts['fail']} failed, "
        f"{counts['running']} under way"
    )
    if found["repeated"]:
        about += f"; {count(found['repeated'], 'trial was', 'trials were')} cut by a stop and proposed again"
    best = next((one for one in found["trials"] if one["number"] == found["best"]), None)
    lead = ""
    if best:
        options = ", ".join(f"{key} {_value(one)}" for key, one in best["params"].items())
        lead = f"Best: trial {best['number']}, {percent(best['score'])} % {found['objective']} ({options})"
        lead += ". As a configuration: best.py."
    return pages.write(
        out / "report.html",
        f"Sweep of {count(len(found['trials']), 'trial')}",
        f"{about}.",
        [
            *_charts(found),
            ("Trials", [whole._replace(notes=[note for note in whole.notes if STATUS not in note])]),
            ("What was searched", [{**found["space"], **found["settings"], "configuration": found["source"]}]),
        ],
        lead=lead,
        warning=("What this number is worth.", f"{STATUS}."),
        footer="Every trial, unrounded: sweep.json and trials.csv beside this page.",
    )


def _charts(found: Mapping[str, Any]) -> list[tuple[str, list[pages.Chart]]]:
    """(heading, figure) each; none before a trial has a score."""
    drawn = []
    if any(_last(one) is not None for one in found["trials"]):
        drawn.append(("History", _history(found), "Score of every trial, and the best so far", ""))
        caption = "A line is a trial; the darker, the better. Dotted: it left at a rung, with its score there, after "
        drawn.append(("Options and scores", _parallel(found), "A line per trial through the values of its options",
                      f"{caption}fewer epochs."))  # fmt: skip
    if found["importance"]:
        drawn.append(("Importance", _importance(found), "Share of each option in what sets the best trials apart",
                      "How far the values of the best tenth of the trials that went to the end differ from those of "
                      "all of them (PED-ANOVA, Watanabe et al. 2023). With few trials this is a hint."))  # fmt: skip
    return [(heading, [figures.chart(figure, *texts)]) for heading, figure, *texts in drawn]
