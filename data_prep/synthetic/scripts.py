"""What happens in the videos of the built-in data set: expressions, and what makes them hard to spot.

Distractors are blinks, speech, brow flicks, glances, a head that sways, turns and nods, and light that
drifts.
"""

from typing import NamedTuple

import numpy as np

from data_prep.synthetic.people import ACTIONS, INDEX
from fedn_jax.core.errors import at_least
from fedn_jax.core.schema import KINDS, MICRO_SECONDS

CLASSES = ("positive", "surprise", "negative", "others")  # in the order of CAS(ME)^2
_SIDES = ("l", "r")


class Event(NamedTuple):
    """One expression; frames count from 0, offset is the last frame that shows it."""

    onset: int
    apex: int
    offset: int
    kind: str  # of schema.KINDS
    emotion: str  # of CLASSES
    strength: float  # at the apex, 0 to 1


class Script(NamedTuple):
    """What happens in one video of T frames."""

    actions: np.ndarray  # [T, len(ACTIONS)] float32
    pose: np.ndarray  # [T, 6] float32, in the order of faces.POSE
    light: np.ndarray  # [T, 2] float32, in the order of faces.LIGHT
    events: tuple[Event, ...]  # in order of time


def expression(rng: np.random.Generator, emotion: int) -> np.ndarray:
    """Samples one way to show an emotion at full strength.

    Args:
      rng: source of the variation.
      emotion: index into ``CLASSES``.

    Returns:
      [len(ACTIONS)] float32, 0 to 1.
    """
    u, side = rng.uniform, int(rng.integers(2))
    near, far = _SIDES[side], _SIDES[1 - side]
    if emotion == 0:
        acts = {f"smile_{near}": u(0.8, 1), f"smile_{far}": u(0.65, 1), "cheek_raise": u(0.5, 1)}
        acts |= {"lips_part": u(0.5, 1) if rng.random() < 0.5 else 0.0, "lid_tight": u(0, 0.2)}
        acts["jaw_drop"] = u(0, 0.12) if acts["lips_part"] else 0.0
    elif emotion == 1:
        acts = {"inner_brow": u(0.7, 1), "outer_brow": u(0.65, 1), "lid_raise": u(0.6, 1)}
        acts |= {"jaw_drop": u(0.25, 0.85), "lips_part": u(0, 0.4)}
    elif emotion == 2:
        acts = {"brow_lower": u(0.75, 1)}
        variant = rng.integers(3)
        if variant == 0:
            acts |= {"corner_down": u(0.7, 1), "chin_raise": u(0.4, 1), "inner_brow": u(0, 0.35)}
        elif variant == 1:
            acts |= {"nose_wrinkle": u(0.7, 1), "upper_lip_l": u(0.4, 0.8), "cheek_raise": u(0, 0.35)}
            acts["upper_lip_r"] = acts["upper_lip_l"] * u(0.8, 1.2)
        else:
            acts |= {"lid_tight": u(0.5, 0.9), "corner_down": u(0.4, 0.9), "lip_press": u(0, 0.5)}
    else:
        variant = rng.integers(3)
        if variant == 0:
            acts = {f"dimple_{near}": u(0.8, 1), f"smile_{near}": u(0.15, 0.4), f"dimple_{far}": u(0, 0.2)}
        elif variant == 1:
            acts = {
                "lip_press": u(0.75, 1),
                "dimple_l": u(0.3, 0.7),
                "dimple_r": u(0.3, 0.7),
                "chin_raise": u(0, 0.3),
            }
        else:
            acts = {f"upper_lip_{near}": u(0.8, 1), f"dimple_{near}": u(0.3, 0.8), "lip_press": u(0, 0.3)}
    action = np.zeros(len(ACTIONS), np.float32)
    for name, value in acts.items():
        action[INDEX[name]] = value
    return np.clip(action, 0, 1)


def _envelope(rng: np.random.Generator, length: int) -> np.ndarray:
    """Attack, hold and decay over ``length`` frames: [length] in (0, 1], with one maximum of 1."""
    rise = max(2, round(length * rng.uniform(0.15, 0.35)))
    fall = max(2, round(length * rng.uniform(0.2, 0.4)))
    hold = max(length - rise - fall, 0)
    fall = length - rise - hold
    up = np.sin(np.pi / 2 * np.arange(1, rise + 1) / rise) ** 1.4
    down = np.sin(np.pi / 2 * np.arange(fall, 0, -1) / (fall + 1)) ** 1.4
    level = 0.99 - rng.uniform(0, 0.4) * np.sin(np.pi * np.arange(1, hold + 1) / (hold + 1)) ** 2
    return np.concatenate([up, level, np.minimum(down, 0.99)])


def _durations(rng: np.random.Generator, num_frames: int, fps: float) -> list[tuple[int, str]]:
    """Lengths in frames and kinds of a video's expressions, such that they fit with gaps."""
    share = num_frames / fps / 20
    macros = max(1, round(int(rng.integers(3, 6)) * share))
    micros = round(int(rng.integers(1, 3)) * share)
    shortest, longest = int(MICRO_SECONDS * fps) + 2, int(4 * fps)
    lengths = np.clip(np.exp(rng.normal(np.log(1.0), 0.6, macros)), 0.6, 3.8) * fps
    lengths *= min(1.0, 0.5 * num_frames / lengths.sum())
    rows = [(int(np.clip(n, shortest, longest)), KINDS[0]) for n in lengths]
    most = int(MICRO_SECONDS * fps)
    rows += [(int(rng.integers(max(3, most // 2), most)), KINDS[1]) for _ in range(micros)] if most > 3 else []
    gap = round(0.5 * fps)
    while rows and sum(n + gap for n, _ in rows) + gap > num_frames:
        rows.pop()
    return rows


def _events(
    rng: np.random.Generator, orders: np.ndarray, video: int, num_frames: int, fps: float
) -> tuple[np.ndarray, np.ndarray, tuple[Event, ...]]:
    """Places the expressions: actions [T, A], the sum of the envelopes [T], and the events."""
    rows = _durations(rng, num_frames, fps)
    # The classes go round the subject's own orders, one for each kind of expression, so that every subject
    # shows all of them, about as often.
    macros = sum(kind == KINDS[0] for _, kind in rows)
    turns = [5 * video + k if k < macros else 2 * video + k - macros for k in range(len(rows))]
    labels = [int(orders[int(k >= macros), turn % len(CLASSES)]) for k, turn in enumerate(turns)]
    shuffle = rng.permutation(len(rows))
    gap = round(0.5 * fps)
    free = num_frames - sum(n for n, _ in rows) - gap * (len(rows) + 1)
    spare = np.floor(rng.dirichlet(np.full(len(rows) + 1, 2.0)) * free).astype(int) if rows else []
    actions, shown = np.zeros((num_frames, len(ACTIONS)), np.float32), np.zeros(num_frames)
    events, at = [], 0
    for slot, index in enumerate(shuffle):
        (length, kind), label = rows[index], labels[index]
        at += gap + int(spare[slot])
        strength = float(rng.uniform(0.3, 1.0) if kind == KINDS[0] else rng.uniform(0.12, 0.35))
        envelope = _envelope(rng, length)
        lags = rng.uniform(0.8, 1.3, len(ACTIONS))  # muscles do not move in step
        actions[at : at + length] = strength * expression(rng, label) * envelope[:, None] ** lags
        shown[at : at + length] = envelope
        apex = at + int(np.argmax(envelope))
        events.append(Event(at, apex, at + length - 1, kind, CLASSES[label], strength))
        at += length
    return actions, shown, tuple(events)


def _smooth(rng: np.random.Generator, num_frames: int, fps: float, low: float, high: float) -> np.ndarray:
    """Smooth random motion [T], about -1 to 1, with frequencies from ``low`` to ``high`` Hz."""
    t = np.arange(num_frames) / fps
    waves = [np.sin(2 * np.pi * (rng.uniform(low, high) * t + rng.random())) * rng.uniform(0.4, 1) for _ in range(4)]
    return np.sum(waves, 0) / 2


def _pulse(num_frames: int, start: float, rise: float, hold: float, fall: float) -> np.ndarray:
    """A bump [T] of height 1 in frames: up, hold, down."""
    t = np.arange(num_frames) - start
    x = np.clip(np.minimum(t / max(rise, 1e-3), (rise + hold + fall - t) / max(fall, 1e-3)), 0, 1)
    return x * x * (3 - 2 * x)


def _count(rng: np.random.Generator, per_10_s: tuple[float, float], seconds: float) -> int:
    return int(rng.uniform(*per_10_s) * seconds / 10 + rng.random())


def distract(rng: np.random.Generator, actions: np.ndarray, shown: np.ndarray, fps: float) -> None:
    """Adds blinks, speech, brow flicks and glances, in place.

    Args:
      rng: source of the variation.
      actions: [T, len(ACTIONS)] float32, changed.
      shown: [T] level of the expressions, 0 to 1; speech and flicks are weaker where there is one.
      fps: frames per second.
    """
    num = len(actions)
    seconds = num / fps
    for _ in range(_count(rng, (1, 2), seconds)):
        start, slow = rng.uniform(0, num), rng.random() < 0.15
        hold = rng.uniform(0.25, 0.6) if slow else rng.uniform(0.0, 0.06)
        blink = _pulse(num, start, 0.08 * fps, hold * fps, rng.uniform(0.1, 0.18) * fps)
        if rng.random() < 0.2:
            blink = np.maximum(blink, _pulse(num, start + 0.35 * fps, 0.08 * fps, 0, 0.14 * fps))
        actions[:, INDEX["blink"]] = np.maximum(actions[:, INDEX["blink"]], blink)
    quiet = 1 - 0.6 * np.minimum(shown * 3, 1)  # there is less speech during an expression
    for _ in range(_count(rng, (0.2, 0.7), seconds)):
        bout = _pulse(num, rng.uniform(-10, num), 0.2 * fps, rng.uniform(0.7, 2.6) * fps, 0.2 * fps) * quiet
        loud = rng.uniform(0.25, 0.5)
        voice = {
            "jaw_drop": loud * np.clip(0.45 + 0.8 * _smooth(rng, num, fps, 1.8, 4.5), 0, 1),
            "lips_part": 0.5 * np.clip(0.5 + _smooth(rng, num, fps, 1.5, 4), 0, 1),
            "pucker": 0.6 * np.clip(_smooth(rng, num, fps, 0.8, 2.5), 0, 1),
            "lip_press": 0.35 * np.clip(_smooth(rng, num, fps, 1.5, 3.5) - 0.3, 0, 1),
        }
        for name, signal in voice.items():
            actions[:, INDEX[name]] = np.maximum(actions[:, INDEX[name]], bout * signal)
    for _ in range(_count(rng, (0.3, 1), seconds)):
        flick = rng.uniform(0.2, 0.4) * _pulse(num, rng.uniform(0, num), 0.12 * fps, 0.06 * fps, 0.16 * fps) * quiet
        for name in ("inner_brow", "outer_brow"):
            actions[:, INDEX[name]] = np.maximum(actions[:, INDEX[name]], flick)
    for name, reach in (("gaze_x", 0.8), ("gaze_y", 0.6)):
        at, gaze = 0, np.zeros(num)
        while at < num:
            gaze[at:] = reach * rng.uniform(-1, 1) * (rng.random() < 0.6)
            at += max(2, int(rng.uniform(0.5, 2.8) * fps))
        actions[:, INDEX[name]] = np.convolve(np.pad(gaze, 1, "edge"), (0.3, 0.4, 0.3), "valid")
    np.clip(actions, -1, 1, out=actions)


def movement(rng: np.random.Generator, num_frames: int, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Samples the head's motion (sway all the time, now and then a turn, a nod or a shift) and the light.

    Args:
      rng: source of the variation.
      num_frames: length, T.
      fps: frames per second.

    Returns:
      Pose [T, 6] and light [T, 2], float32, as in ``Script``.
    """
    sway = (3.0, 2.0, 0.025, 0.10, 0.05, 0.015)
    pose = np.stack([s * _smooth(rng, num_frames, fps, 0.05, 0.35) for s in sway], 1)
    pose[:, 5] += 1
    for _ in range(_count(rng, (0.4, 1), num_frames / fps)):
        move = _pulse(
            num_frames,
            rng.uniform(-20, num_frames),
            rng.uniform(0.15, 0.4) * fps,
            rng.uniform(0.1, 2) * fps,
            rng.uniform(0.2, 0.6) * fps,
        )
        pose += move[:, None] * rng.uniform(-1, 1, 6) * (5, 3, 0.05, 0.2, 0.09, 0.02)
    for _ in range(_count(rng, (0.2, 1), num_frames / fps)):  # nods
        bout = _pulse(num_frames, rng.uniform(0, num_frames), 0.15 * fps, 0.5 * fps, 0.2 * fps)
        pose[:, 4] += 0.08 * bout * np.sin(2 * np.pi * rng.uniform(1.5, 2.5) * np.arange(num_frames) / fps)
    limits = np.array((12, 8, 0.1, 0.3, 0.17, 0.06))
    rest = np.array((0, 0, 0, 0, 0, 1))
    pose = rest + limits * np.tanh((pose - rest) / limits)
    gain = 1 + 0.05 * _smooth(rng, num_frames, fps, 0.03, 0.25)
    side = 0.07 * _smooth(rng, num_frames, fps, 0.03, 0.2)
    return pose.astype(np.float32), np.stack([gain, side], 1).astype(np.float32)


def script(seed: int, subject_index: int, video_index: int, num_frames: int, fps: float = 30) -> Script:
    """Decides what happens in one video.

    Args:
      seed: seed of the data set.
      subject_index: number of the subject, from 0.
      video_index: number of the video of that subject, from 0.
      num_frames: length of the video, T.
      fps: frames per second.

    Returns:
      The script; the same for the same arguments, whatever else is in the data set.

    Raises:
      ValueError: there are no frames, or the frame rate is not positive.
    """
    at_least("num_frames", num_frames, 1)
    at_least("fps", fps, 1)
    orders = np.random.default_rng([seed, 21, subject_index]).permuted([range(len(CLASSES))] * 2, axis=1)
    rng = np.random.default_rng([seed, 22, subject_index, video_index])
    actions, shown, events = _events(rng, orders, video_index, num_frames, fps)
    distract(rng, actions, shown, fps)
    pose, light = movement(rng, num_frames, fps)
    return Script(actions, pose, light, events)
