"""Codings of the same videos side by side: what two or more coders, or a coder and a network, agree on."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count
from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import agreement, bootstrap, matching
from fedn_jax.formats import predictions, video_names
from fedn_jax.formats.cells import shown_video
from fedn_jax.formats.clocks import Clocks, Stamps
from fedn_jax.formats.predictions import Table

ALL = "all"  # every expression, whatever its emotion
DEFINITIONS = {
    "f1": "2 x pairs / (events of both); pairs are one-to-one, with temporal IoU of at least the bound, and of one "
    "emotion where an emotion is named",
    "kappa": "Cohen's kappa of frames: marked or not (Cohen 1960)",
    "onset, offset": "differences of the pairs, first coder less second: mean, and 95 % limits of agreement, the mean "
    "-/+ 1.96 standard deviations (Bland and Altman 1986)",
    "icc_absolute": "ICC(2,1) of the videos' amounts: absolute agreement (Shrout and Fleiss 1979)",
    "icc_consistency": "ICC(3,1): agreement whatever each coder's level",
    "interval": "95 %, percentile bootstrap over persons",
}


class Coding(NamedTuple):
    """What one coder says of V videos, in their order."""

    name: str
    spans: list[np.ndarray]  # V arrays [E, 2] int, first and last frame, as files count them
    times: list[np.ndarray]  # V arrays [E, 2] float, seconds; frames where clocks are not known
    emotions: list[list[str]]  # V lists of E


class Codings(NamedTuple):
    """What all coders say of the same videos."""

    coders: list[Coding]
    videos: list[tuple[str, str]]  # V, (subject, video)
    emotions: list[str]  # C, sorted
    lengths: list[int] | None  # V, frames of each video, if they are known
    first_frame: list[int]  # V, number of each video's first frame
    unit: str  # of the times: "s" or "frames"
    notes: list[str]


def gather(tables: Mapping[str, Table], clocks: Clocks) -> Codings:
    """Puts the tables of several coders side by side.

    Args:
      tables: coder -> table, all in frames.
      clocks: of the videos, as far as they are known.

    Returns:
      The videos that all of them have.

    Raises:
      UserError: fewer than two coders, or no video that all have.
    """
    if len(tables) < 2:
        raise UserError(f"agreement needs two coders at least; got {count(len(tables), 'coder')}")
    named = _subjects(tables)
    videos = [video for video in named[next(iter(named))].videos if all(video in one.videos for one in named.values())]
    if not videos:
        listed = "; ".join(
            f"{name}: {predictions.first_of([shown_video(*v) for v in one.videos])}" for name, one in named.items()
        )
        raise UserError(f"no video that all have; {listed}")
    notes = []
    for name, one in named.items():
        rest = [shown_video(*video) for video in one.videos if video not in videos]
        notes += [f"{name}: left out {predictions.first_of(rest)}, which not all have"] if rest else []
    if not any(subject for subject, _ in videos):
        notes.append("no file says who is seen: every video counts as a person")
    timed = all(video in clocks for video in videos)
    stamps = [clocks.get(video) for video in videos]
    lengths = [len(one.starts) for one in stamps if isinstance(one, Stamps)]
    coders = []
    for name, one in named.items():
        rows = {video: [row for row in one.rows if row.video == video] for video in videos}
        spans = [np.array([row.span for row in rows[video]], int).reshape(-1, 2) for video in videos]
        times = [
            np.array([clocks[video].seconds(*span) for span in found.tolist()], float).reshape(-1, 2)
            if timed
            else found
            for video, found in zip(videos, spans, strict=True)
        ]
        coders.append(Coding(name, spans, times, [[row.emotion for row in rows[video]] for video in videos]))
    emotions = sorted({word for one in coders for words in one.emotions for word in words if word})
    known = len(lengths) == len(videos)
    firsts = [one.first_frame if one else 1 for one in stamps]
    return Codings(coders, videos, emotions, lengths if known else None, firsts, "s" if timed else "frames", notes)


def _subjects(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Tables without subjects get those of the others, by the names of the videos."""
    named = [table for table in tables.values() if predictions.has_subjects(table)]
    known = list(dict.fromkeys(video for table in named for video in table.videos))
    found = dict(tables)
    for name, table in tables.items():
        if not predictions.has_subjects(table):
            several = {one: video_names.meant(("", one[1]), known) for one in table.videos}
            found[name] = predictions.renamed(table, {one: own[0] for one, own in several.items() if len(own) == 1})
    return found


# ---- Two coders ------------------------------------------------------------------------------------------------------


def _chosen(coding: Coding, emotion: str) -> list[np.ndarray]:
    """Indices of the expressions of each video that count."""
    return [np.flatnonzero([emotion in (ALL, word) for word in words]) for words in coding.emotions]


def _pairs(a: Coding, b: Coding, emotion: str, iou: float) -> list[list[tuple[int, int]]]:
    """Pairs of expressions of each video, one-to-one."""
    sides, none = [], np.int32(0)
    for coding, made, more in ((a, Detections, (np.float32(1), none)), (b, Events, (np.float32(-1), none, none))):
        videos = []
        for span, chosen in zip(coding.spans, _chosen(coding, emotion), strict=True):
            valid = np.isin(np.arange(len(span)), chosen)
            columns = (np.full(len(span), value) for value in more)
            videos.append(made((span + [0, 1]).astype(np.float32), *columns, valid))
        sides.append(matching.pad(videos))
    found = matching.matched(*sides, iou)
    return [[(i, int(j)) for i, j in enumerate(row) if j >= 0] for row in found[: len(a.spans)]]


def _marked(coding: Coding, emotion: str, video: int, length: int, first: int) -> np.ndarray:
    """[T] bool: the frames that the coder marks."""
    marked = np.zeros(length, bool)
    for onset, offset in coding.spans[video][_chosen(coding, emotion)[video]] - first:
        marked[max(onset, 0) : offset + 1] = True
    return marked


def _by_person(codings: Codings, values: Sequence[Any]) -> dict[str, Any]:
    """Values of videos, summed over those of each person."""
    found: dict[str, Any] = {}
    for (subject, video), value in zip(codings.videos, values, strict=True):
        who = subject or video
        found[who] = value if who not in found else _plus(found[who], value)
    return found


def _plus(a: Any, b: Any) -> Any:
    return type(a)(*map(np.add, a, b)) if isinstance(a, agreement.Moments) else a + b


def _number(
    per_person: Mapping[str, Any], statistic: Callable[[Any], np.ndarray], samples: int
) -> dict[str, Any] | None:
    """{"value", "low", "high"}; None where there is no such number, bounds None where they cannot be said."""
    names = sorted(per_person)
    total = per_person[names[0]]
    for name in names[1:]:
        total = _plus(total, per_person[name])
    value = float(statistic(total))
    if not np.isfinite(value):
        return None
    low = high = None
    if len(names) > 1:
        try:
            _, low, high = bootstrap.interval(per_person, statistic, samples, partial=True)
        except UserError:  # the number exists on too few resamples
            pass
    return {"value": value, "low": low, "high": high}


def _two(codings: Codings, a: Coding, b: Coding, emotion: str, iou: float, samples: int) -> dict[str, Any]:
    """Everything about two coders and an emotion."""
    pairs = _pairs(a, b, emotion, iou)
    sizes = [[len(chosen) for chosen in _chosen(coding, emotion)] for coding in (a, b)]
    counts = [np.array([len(found), *size]) for found, size in zip(pairs, zip(*sizes, strict=True), strict=True)]
    result: dict[str, Any] = {"coders": [a.name, b.name], "emotion": emotion}
    result |= dict(zip(("pairs", "events_a", "events_b"), np.sum(counts, 0).tolist(), strict=True))
    per_person = _by_person(codings, counts)
    result["f1"] = _number(per_person, agreement.f1, samples)
    frames = None
    if codings.lengths:
        frames = []
        for video, (length, first) in enumerate(zip(codings.lengths, codings.first_frame, strict=True)):
            one, other = (_marked(coding, emotion, video, length, first) for coding in (a, b))
            frames.append(
                np.array([(one & other).sum(), (one & ~other).sum(), (other & ~one).sum(), (~one & ~other).sum()])
            )
        frames = _by_person(codings, frames)
    result["kappa"] = frames and _number(frames, agreement.kappa, samples)
    for side, edge in enumerate(("onset", "offset")):
        apart = [
            agreement.differences([a.times[video][i, side] - b.times[video][j, side] for i, j in found])
            for video, found in enumerate(pairs)
        ]
        sums = _by_person(codings, apart)
        statistics = {"bias": agreement.bias, "lower": agreement.lower_limit, "upper": agreement.upper_limit}
        result[edge] = {name: _number(sums, statistic, samples) for name, statistic in statistics.items()}
    result["persons"] = [
        {
            "person": who, "pairs": int(sums[0]), "events_a": int(sums[1]), "events_b": int(sums[2]),
            "f1": _plain(agreement.f1(sums)), "kappa": frames and _plain(agreement.kappa(frames[who])),
        }
        for who, sums in sorted(per_person.items())
    ]  # fmt: skip
    return result


def _plain(value: np.ndarray) -> float | None:
    return float(value) if np.isfinite(value) else None


# ---- All coders ------------------------------------------------------------------------------------------------------


def _amounts(codings: Codings, emotion: str) -> dict[str, np.ndarray]:
    """Amounts of an emotion in each video, [V, k]: how many expressions, and how long they are together."""
    chosen = [_chosen(coding, emotion) for coding in codings.coders]
    counts = [[len(found) for found in of_coder] for of_coder in chosen]
    durations = [
        [
            float((times[found, 1] - times[found, 0] + (codings.unit == "frames")).sum())
            for times, found in zip(coding.times, of_coder, strict=True)
        ]
        for coding, of_coder in zip(codings.coders, chosen, strict=True)
    ]
    return {"count": np.array(counts, float).T, "duration": np.array(durations).T}


def _iccs(codings: Codings, emotion: str, samples: int) -> list[dict[str, Any]]:
    rows = []
    for what, values in _amounts(codings, emotion).items():
        sums = _by_person(codings, [agreement.moments(row[None]) for row in values])
        rows.append(
            {
                "emotion": emotion, "what": what, "videos": len(values),
                "means": dict(zip([one.name for one in codings.coders], values.mean(0).tolist(), strict=True)),
                "icc_absolute": _number(sums, agreement.icc_absolute, samples),
                "icc_consistency": _number(sums, agreement.icc_consistency, samples),
            }
        )  # fmt: skip
    return rows


def compare(codings: Codings, iou: float = 0.5, samples: int = bootstrap.SAMPLES) -> dict[str, Any]:
    """Everything that the coders agree on.

    Args:
      codings: of ``gather``.
      iou: lowest temporal IoU of a pair, above 0 and at most 1.
      samples: resamples of an interval.

    Returns:
      "coders", "videos" and "persons" (numbers), "unit" of times, "iou", "notes", "definition" (a sentence per number),
      "pairs" (a row per two coders and emotion, each with a row per person) and "icc" (a row per emotion and amount).
      Plain values; None for numbers that do not exist.

    Raises:
      UserError: a bound that is none.
    """
    if not 0 < iou <= 1:
        raise UserError(f"--iou must be above 0 and at most 1; got {iou}")
    scopes = [ALL, *codings.emotions]
    notes = list(codings.notes)
    if not codings.lengths:
        notes.append("no kappa: how many frames the videos have is not known; --videos says it")
    return {
        "coders": [one.name for one in codings.coders],
        "videos": len(codings.videos),
        "persons": len({subject or video for subject, video in codings.videos}),
        "unit": codings.unit,
        "iou": float(iou),
        "notes": notes,
        "definition": DEFINITIONS,
        "pairs": [
            _two(codings, a, b, emotion, iou, samples)
            for a, b in itertools.combinations(codings.coders, 2)
            for emotion in scopes
        ],
        "icc": [row for emotion in scopes for row in _iccs(codings, emotion, samples)],
    }
