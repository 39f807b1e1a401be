"""Facial actions without training: where blendshapes leave a person's own rest.

A blendshape is the output of a sigmoid, and is looked at as log-odds: there a weak smile of somebody whose smiles are
hardly seen by the network stands out of rest as a broad one of somebody else does. All limits are relative to the
person: rest is a low percentile of the neighbourhood in time, its noise what half a second usually changes. Nothing is
learned, and nothing is said about emotions.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedn_jax.core.types import Detections
from fedn_jax.inference.new_video import CURVE, Detected

# Limits, by reasoning. On drawn faces (benchmarks/facial_actions.py) FLOOR was the best of three, DEVIATIONS within a
# point of F1 of the best from 3 to 8.
REST = 25  # percentile that is a person's rest: right until an action fills three quarters of the time
AROUND = 15.0  # seconds before and after in which rest is looked for: longer than an expression, shorter than a mood
UNREST = 0.5  # seconds: what evidence changes by in this time, half of the time, is its noise; among all frames, or
# among those below the median, whichever is quieter: actions move the one, and the other where they last
DEVIATION = (1.048, 1.882)  # of Gaussian noise, in medians of the distance of two of its values: all, below the median
LEAST = float(np.log(2))  # the odds must double at least
DEVIATIONS = 5.0  # and stand out of the noise by so many deviations
EDGE = 0.1  # share of the rise at which it begins and ends: the usual bounds of a rise time, 10 to 90 %
EDGE_DEVIATIONS = 2.0  # but not within the noise
FLOOR = 0.01  # a coefficient below is none: nothing can be seen, and speech moves it by large factors
SMOOTH = 0.1  # seconds of the moving mean: three frames at 30 per second
SHORTEST = 0.1  # seconds; what is shorter is no movement of a face
WEAKEST = 0.5  # score of what is just strong enough
RATE = 30.0  # frames per second that videos are looked at: three frames of the shortest movement
CLOSED = 0.5  # seconds; FACS calls a shorter closure of the eyes a blink (AU45)


class Action(NamedTuple):
    """A movement of the face."""

    name: str
    units: str  # of FACS
    shapes: tuple[tuple[str, ...], ...]  # blendshapes: the mean over groups of the mean in each
    shortest: float = SHORTEST  # seconds

    @property
    def label(self) -> str:
        """Name and units, such as "smile (AU12)"."""
        return f"{self.name} ({self.units})"


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{side}" for name in names for side in ("Left", "Right"))


ACTIONS = (
    Action("smile", "AU12", (_both("mouthSmile"),)),
    Action("brow raise", "AU1+2", (("browInnerUp",), _both("browOuterUp"))),
    Action("frown", "AU4", (_both("browDown"),)),
    Action("nose wrinkle", "AU9", (_both("noseSneer"),)),
    Action("lips pressed", "AU24", (_both("mouthPress"),)),
    Action("mouth open", "AU26", (("jawOpen",),)),
    Action("lip corners down", "AU15", (_both("mouthFrown"),)),
    Action("eyes wide", "AU5", (_both("eyeWide"),)),
    Action("eyes closed", "AU43", (_both("eyeBlink"),), CLOSED),
)


def evidence(odds: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Log-odds of every action.

    Args:
      odds: [T, D] log-odds of blendshapes.
      names: of the D blendshapes.

    Returns:
      [T, A] float64, in the order of ``ACTIONS``.
    """
    most = np.log((1 - FLOOR) / FLOOR)
    odds = np.clip(np.asarray(odds, np.float64), -most, most)
    index = {name: i for i, name in enumerate(names)}
    columns = [
        np.mean([odds[:, [index[name] for name in group]].mean(1) for group in one.shapes], 0) for one in ACTIONS
    ]
    return np.stack(columns, 1)


def rest(values: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """A person's rest around every frame.

    Args:
      values: [T, A] float64, evidence; NaN in gaps, but not in all frames.
      fps: frames per second.

    Returns:
      Rest and its noise (one deviation), [T, A] each.
    """
    total, step, reach = len(values), max(1, round(fps)), round(AROUND * fps)
    centres = np.arange(step // 2, max(total, step // 2 + 1), step)
    frames, seen = np.arange(total), np.isfinite(values[:, 0])
    lag = max(1, round(UNREST * fps))
    noise, usual = [], []
    for centre in centres:
        # At an end the window is moved, not cut; a window in a gap takes the whole video.
        start = max(0, min(centre - reach, total - 2 * reach))
        part = slice(start, start + 2 * reach)
        part = values[part if seen[part].sum() >= fps else slice(None)]
        usual.append(np.nanpercentile(part, REST, axis=0))
        low = np.where(part <= np.nanmedian(part, axis=0), part, np.nan)  # actions are above
        noise.append(
            np.min(
                [one * _median(np.abs(x[lag:] - x[:-lag])) for one, x in zip(DEVIATION, (part, low), strict=True)], 0
            )
        )
    filled = lambda table: np.stack([np.interp(frames, centres, column) for column in np.array(table).T], 1)
    return filled(usual), filled(noise)


def _median(table: np.ndarray) -> np.ndarray:
    """[A]: medians of the columns of [T, A], without NaN; 0 where nothing is left."""
    return np.array([np.median(kept) if len(kept := column[np.isfinite(column)]) else 0.0 for column in table.T])


def smooth(values: np.ndarray, fps: float) -> np.ndarray:
    """Mean over ``SMOOTH`` seconds of the frames that are there.

    Args:
      values: [T, A] float64; NaN in gaps.
      fps: frames per second.

    Returns:
      [T, A] float64; NaN in the same frames.
    """
    side = round(SMOOTH * fps) // 2
    seen = np.isfinite(values)
    padded = np.pad(np.where(seen, values, 0), ((side, side), (0, 0)))
    number = np.pad(seen.astype(float), ((side, side), (0, 0)))
    total = sum(padded[shift : shift + len(values)] for shift in range(2 * side + 1))
    there = sum(number[shift : shift + len(values)] for shift in range(2 * side + 1))
    return np.where(seen, total / np.maximum(there, 1), np.nan)


def spot(
    odds: np.ndarray, valid: np.ndarray, names: Sequence[str], fps: float, threshold: float = WEAKEST,
    shot: np.ndarray | None = None,
) -> Detected:  # fmt: skip
    """Finds the actions of one person in one video.

    Args:
      odds: [T, D] log-odds of blendshapes.
      valid: [T] bool, False without a face; at least one is True.
      names: of the D blendshapes.
      fps: frames per second.
      threshold: lowest score that is reported, at least ``WEAKEST``.
      shot: [T] int, which shot of the film a frame is of, rising; each has a rest of its own. None: there is one.

    Returns:
      Actions by onset; the index of ``ACTIONS`` stands for the emotion. The score is 1 - 2 ** -(rise / least rise that
      counts): .5 is the least, .75 is twice as far from rest. No frame without a face, and no cut, is inside an action.
    """
    valid = np.asarray(valid, bool)
    edges = [0, *(np.flatnonzero(np.diff(shot)) + 1 if shot is not None else ()), len(valid)]
    found, strength = [], np.zeros((len(valid), len(ACTIONS)))
    for start, stop in itertools.pairwise(edges):
        part = slice(start, stop)
        if valid[part].any():
            inside, strength[part] = _of_shot(odds[part], valid[part], names, fps, threshold)
            found += [(onset + start, offset + start, apex + start, *rest) for onset, offset, apex, *rest in inside]
    found.sort()
    onset, offset, apex, index, score = np.array(found).reshape(-1, 5).T
    detections = Detections(
        np.stack([onset, offset], 1).astype(np.float32), score.astype(np.float32), index.astype(np.int32),
        np.ones(len(found), bool),
    )  # fmt: skip
    return Detected(detections, apex.astype(int), _curves(strength), strength.T.astype(np.float32))


def _of_shot(
    odds: np.ndarray, valid: np.ndarray, names: Sequence[str], fps: float, threshold: float
) -> tuple[list[tuple[int, int, int, int, float]], np.ndarray]:
    """(onset, offset, apex, index of the action and score of each; strength [T, A]) of one shot."""
    values = smooth(np.where(valid[:, None], evidence(odds, names), np.nan), fps)
    usual, noise = rest(values, fps)
    rise = values - usual  # [T, A]
    least = np.maximum(LEAST, DEVIATIONS * noise)
    strength = np.where(valid[:, None], 1 - 2.0 ** -np.maximum(np.nan_to_num(rise) / least, 0), 0)  # [T, A]
    found = []
    for index, one in enumerate(ACTIONS):
        for onset, apex, offset in _intervals(rise[:, index], least[:, index], noise[:, index]):
            if offset - onset >= one.shortest * fps and strength[apex, index] >= threshold:
                found.append((onset, offset, apex, index, float(strength[apex, index])))
    return found, strength


def _intervals(rise: np.ndarray, least: np.ndarray, noise: np.ndarray) -> list[tuple[int, int, int]]:
    """Onset, apex, offset (half-open) of what rises by ``least``, [T] each; two that touch are one."""
    found: list[tuple[int, int, int]] = []
    above = np.nan_to_num(rise, nan=-np.inf)
    strong = np.flatnonzero(np.diff(np.concatenate([[0], (above >= least).astype(np.int8), [0]]))).reshape(-1, 2)
    for start, stop in strong.tolist():
        apex = start + int(above[start:stop].argmax())
        edge = np.maximum(EDGE * above[apex], EDGE_DEVIATIONS * noise)
        onset, offset = start, stop
        while onset > 0 and above[onset - 1] > edge[onset - 1]:
            onset -= 1
        while offset < len(rise) and above[offset] > edge[offset]:
            offset += 1
        if found and onset <= found[-1][2]:
            before = found.pop()
            onset, offset = min(before[0], onset), max(before[2], offset)
            apex = max((before[1], apex), key=lambda frame: above[frame])
        found.append((onset, apex, offset))
    return found


def _curves(strength: np.ndarray) -> np.ndarray:
    """[A, P] float32: the highest strength in each of P bins of time."""
    points = min(CURVE, len(strength))
    edges = np.linspace(0, len(strength), points + 1).astype(int)
    return np.maximum.reduceat(strength, edges[:-1], axis=0).T.astype(np.float32)
