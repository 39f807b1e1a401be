"""Expressions per person and condition: how many, how often, how long, how soon, and what share of the time."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.evaluation import bootstrap
from fedn_jax.formats.design import Observed, Part
from fedn_jax.formats.video_names import Video

ALL = "all"
MEASURES = {
    "count": "expressions that begin in the condition",
    "rate": "expressions per minute in which a face is seen",
    "duration": "mean length of an expression, seconds",
    "latency": "seconds from the start of the condition to the first onset, mean over its parts that have one",
    "share": "share of the time with a face that expressions fill, together",
}


class Cell(NamedTuple):
    """One person in one condition, one emotion; NaN: there is no such number."""

    person: str
    condition: str
    emotion: str
    seconds: float  # with a face
    count: float
    rate: float
    duration: float
    latency: float
    share: float


def _overlap(spans: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Seconds of [start, end) that spans cover together."""
    total, until = 0.0, start
    for a, b in sorted(spans):
        a, b = max(a, until), min(b, end)
        if b > a:
            total, until = total + b - a, b
    return total


def persons(videos: Mapping[Video, Observed], parts: Sequence[Part]) -> list[Cell]:
    """Every measure of every person, condition and emotion.

    Args:
      videos: what was found.
      parts: the design.

    Returns:
      Persons, conditions in the order of the design, emotions sorted after ``ALL``.

    Raises:
      UserError: a condition of a person without a face in all of it.
    """
    emotions = [ALL, *sorted({one.emotion for part in parts for one in videos[part.video].expressions})]
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.subject, part.condition), []).append(part)
    order = list(dict.fromkeys(part.condition for part in parts))
    cells = []
    for person, condition in sorted(groups, key=lambda key: (key[0], order.index(key[1]))):
        members = groups[person, condition]
        seen = sum(part.end - part.start - _overlap(videos[part.video].gaps, part.start, part.end) for part in members)
        if seen <= 0:
            raise UserError(f"{person} is never seen in condition {condition}: no face in all of it; leave it out")
        for emotion in emotions:
            lengths, first, filled = [], [], 0.0
            for part in members:
                inside = [one for one in videos[part.video].expressions if emotion in (ALL, one.emotion)]
                filled += _overlap([one[:2] for one in inside], part.start, part.end)
                inside = [one for one in inside if part.start <= one.begin < part.end]
                lengths += [one.end - one.begin for one in inside]
                first += [min(one.begin for one in inside) - part.start] if inside else []
            duration, latency = (float(np.mean(each)) if each else np.nan for each in (lengths, first))
            numbers = (float(len(lengths)), 60 * len(lengths) / seen, duration, latency, filled / seen)
            cells.append(Cell(person, condition, emotion, seen, *numbers))
    return cells


def _mean(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 0] / sums[..., 1]


def _holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979).

    >>> _holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        highest = max(highest, min((len(p) - rank) * p[index], 1.0))
        adjusted[index] = highest
    return adjusted


def compare(cells: Sequence[Cell], samples: int = bootstrap.SAMPLES) -> dict[str, Any]:
    """Means of conditions, and the differences between them.

    Args:
      cells: of ``persons``.
      samples: resamples of an interval.

    Returns:
      "conditions": a row per condition, emotion and measure with n (persons that have the number), mean, low and high
      (95 %, bootstrap over persons; None with fewer than two). "tests": a row per two conditions, emotion and measure:
      n (persons with both), difference (first less second), low, high, p (exact up to 16 persons: signs of the
      persons' differences are flipped) and p_holm, adjusted within the measure. "measures": a sentence each.
    """
    conditions = list(dict.fromkeys(cell.condition for cell in cells))
    emotions = list(dict.fromkeys(cell.emotion for cell in cells))
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    for cell in cells:
        for measure in MEASURES:
            if np.isfinite(value := getattr(cell, measure)):
                values.setdefault((measure, cell.emotion, cell.condition), {})[cell.person] = value
    rows, tests = [], []
    for measure, emotion, condition in itertools.product(MEASURES, emotions, conditions):
        of = values.get((measure, emotion, condition), {})
        row = {"condition": condition, "emotion": emotion, "measure": measure, "n": len(of), "mean": None}
        row |= {"low": None, "high": None}
        if len(of) > 1:
            got = bootstrap.interval({who: np.array([x, 1.0]) for who, x in of.items()}, _mean, samples)
            row |= {"mean": got.value, "low": got.low, "high": got.high}
        elif of:
            row["mean"] = next(iter(of.values()))
        rows.append(row)
    for measure in MEASURES:
        family = []
        for emotion, (one, other) in itertools.product(emotions, itertools.combinations(conditions, 2)):
            a, b = (values.get((measure, emotion, condition), {}) for condition in (one, other))
            both = sorted(set(a) & set(b))
            if len(both) < 2:
                continue
            first, second = ({who: np.array([x[who], 1.0]) for who in both} for x in (a, b))
            got = bootstrap.paired(first, second, _mean, samples)
            family.append(
                {
                    "measure": measure, "emotion": emotion, "conditions": [one, other], "n": len(both),
                    "difference": got.difference, "low": got.low, "high": got.high, "p": got.p,
                }
            )  # fmt: skip
        for row, adjusted in zip(family, _holm([row["p"] for row in family]), strict=True):
            tests.append(row | {"p_holm": adjusted})
    return {"conditions": rows, "tests": tests, "measures": MEASURES}
