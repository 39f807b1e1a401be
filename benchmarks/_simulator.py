"""Faces played in the space of blendshapes: log-odds of known facial actions, without a picture.

What a drawn person does (data_prep/synthetic/scripts.py: expressions, speech, blinks, brow flicks, glances, turns of
the head) becomes the log-odds of 52 blendshapes. Every simulated person has a rest, shows each action in a strength of
its own, and lets the head's turns leak into all blendshapes. On top comes noise of the estimator itself: pieces of the
still parts of real videos. All other numbers are by reasoning; none was fitted.
"""

from typing import NamedTuple

import numpy as np

from data_prep.backbones.blendshapes import LEAST
from data_prep.faces.landmarker import NAMES
from data_prep.synthetic import people, scripts

FPS = 30.0
COLUMN = {name: i for i, name in enumerate(NAMES)}


def _sides(**weights: float) -> dict[str, float]:
    return {f"{name}{side}": weight for name, weight in weights.items() for side in ("Left", "Right")}


# Action of a drawn person -> blendshapes that it moves, and how much: FACS against the names of the blendshapes. A
# person's left side is at the right of the image.
MOVES: dict[str, dict[str, float]] = {
    "inner_brow": {"browInnerUp": 1},
    "outer_brow": {"browInnerUp": 0.3} | _sides(browOuterUp=1),
    "brow_lower": _sides(browDown=1, eyeSquint=0.3),
    "cheek_raise": _sides(cheekSquint=1, eyeSquint=0.7),
    "nose_wrinkle": _sides(noseSneer=1, mouthUpperUp=0.3, browDown=0.3),
    "upper_lip_l": {"mouthUpperUpRight": 1, "noseSneerRight": 0.3},
    "upper_lip_r": {"mouthUpperUpLeft": 1, "noseSneerLeft": 0.3},
    "smile_l": {"mouthSmileRight": 1, "mouthFrownRight": -0.5},
    "smile_r": {"mouthSmileLeft": 1, "mouthFrownLeft": -0.5},
    "dimple_l": {"mouthDimpleRight": 1, "mouthSmileRight": 0.3},
    "dimple_r": {"mouthDimpleLeft": 1, "mouthSmileLeft": 0.3},
    "corner_down": _sides(mouthFrown=1, mouthSmile=-0.5),
    "chin_raise": {"mouthShrugLower": 1, "mouthShrugUpper": 0.5},
    "jaw_drop": {"jawOpen": 1},
    "pucker": {"mouthPucker": 1, "mouthFunnel": 0.5},
    "lip_press": {"mouthRollLower": 0.5, "mouthRollUpper": 0.5} | _sides(mouthPress=1),
    "lips_part": _sides(mouthLowerDown=0.7, mouthUpperUp=0.4),
    "lid_raise": _sides(eyeWide=1, eyeBlink=-0.5),
    "lid_tight": _sides(eyeSquint=1),
    "blink": _sides(eyeBlink=1, eyeLookDown=0.5, eyeSquint=0.3, eyeWide=-0.5),
    "gaze_x": {"eyeLookOutLeft": 1, "eyeLookInRight": 1, "eyeLookInLeft": -1, "eyeLookOutRight": -1},
    "gaze_y": _sides(eyeLookDown=1, eyeLookUp=-1, eyeBlink=0.3),
}
GAIN = (2.0, 8.0)  # log-odds of a full action: from 0.01 to 0.07, or from 0.01 to 0.97
REST, RESTS = -4.0, 2.0  # log-odds at rest: mean and deviation over people and blendshapes
TURNS = (1.0, 2.0)  # factor of a person's turns of the head: up to 35 degrees
LEAK = 2.0  # log-odds per radian, deviation over blendshapes
WANDER, WANDERS = 0.2, 2.0  # log-odds, deviation of a slow drift; seconds between its turns
LOUDNESS = (0.5, 2.0)  # factor of the noise: cameras and people differ

PART, HOP = 15, 5  # frames of a still part, and between two candidates
QUIET = 0.25  # share of the parts of a video that count as still


class Played(NamedTuple):
    """One simulated video."""

    odds: np.ndarray  # [T, 52] float64
    actions: np.ndarray  # [T, len(people.ACTIONS)] float32, as played: the truth


def still_parts(odds: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """What an estimator does while a face does nothing.

    Args:
      odds: [T, 52] log-odds of a real video, 30 frames per second.
      valid: [T] bool, False without a face.

    Returns:
      [N, PART, 52] float64: the parts of the video that deviate least from their own straight lines, without these.
    """
    line = np.stack([np.ones(PART), np.linspace(-1, 1, PART)], 1)
    away = np.eye(PART) - line @ np.linalg.pinv(line)  # takes mean and slope off
    starts = [start for start in range(0, len(valid) - PART + 1, HOP) if valid[start : start + PART].all()]
    parts = np.stack([away @ np.asarray(odds[start : start + PART], np.float64) for start in starts])
    restless = parts.std(1).mean(1)
    return parts[np.argsort(restless, kind="stable")[: max(1, round(QUIET * len(parts)))]]


def _noise(rng: np.random.Generator, parts: np.ndarray, frames: int) -> np.ndarray:
    """[T, 52]: still parts one after another, each upright or upside down, forwards or backwards."""
    chosen = parts[rng.integers(len(parts), size=-(-frames // PART))] * rng.choice((-1, 1), (-(-frames // PART), 1, 1))
    return np.concatenate([part[:: rng.choice((-1, 1))] for part in chosen])[:frames]


def _drift(rng: np.random.Generator, frames: int) -> np.ndarray:
    """[T, 52]: a slow change of everything, in straight lines."""
    knots = np.arange(0, frames + WANDERS * FPS, WANDERS * FPS)
    return np.stack([np.interp(np.arange(frames), knots, rng.normal(0, WANDER, len(knots))) for _ in NAMES], 1)


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float], size: int | None = None) -> np.ndarray:
    return np.exp(rng.uniform(*np.log(bounds), size))


def simulate(seed: int, person: int, frames: int, noise: np.ndarray) -> Played:
    """One video of a person who does not exist.

    Args:
      seed: of all people.
      person: number of the person.
      frames: length, T.
      noise: [N, PART, 52] of ``still_parts``.

    Returns:
      The video; the same for the same arguments.
    """
    script, rng = scripts.script(seed, person, 0, frames, FPS), np.random.default_rng([seed, 31, person])
    gains = _log_uniform(rng, GAIN, len(people.ACTIONS))
    moves = np.zeros((len(people.ACTIONS), len(NAMES)))
    for action, shapes in MOVES.items():
        for shape, weight in shapes.items():
            share = weight * rng.uniform(0.7, 1.3)
            moves[people.INDEX[action], COLUMN[shape]] = gains[people.INDEX[action]] * share
    turned = script.pose[:, 2:5] * rng.uniform(*TURNS)  # roll, yaw, pitch
    odds = rng.normal(REST, RESTS, len(NAMES)) + script.actions @ moves + _drift(rng, frames)
    odds += turned @ rng.normal(0, LEAK, (3, len(NAMES))) + _log_uniform(rng, LOUDNESS) * _noise(rng, noise, frames)
    most = np.log((1 - LEAST) / LEAST)
    return Played(np.clip(odds, -most, most), script.actions)
