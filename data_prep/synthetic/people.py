"""People who do not exist: what describes a face, and the action units that move it.

Lengths are in face units: 1 is half the width of the face, the origin lies between the eyes, x points right,
y down.
"""

from typing import NamedTuple

import numpy as np

SIZE = 256  # height and width of a frame, pixels

# What a face can do, from 0 (rest) to 1 (full); _l and _r: left and right of the image. AU: FACS number.
ACTIONS = (
    "inner_brow",  # AU1
    "outer_brow",  # AU2
    "brow_lower",  # AU4
    "cheek_raise",  # AU6
    "nose_wrinkle",  # AU9
    "upper_lip_l",  # AU10
    "upper_lip_r",
    "smile_l",  # AU12
    "smile_r",
    "dimple_l",  # AU14
    "dimple_r",
    "corner_down",  # AU15
    "chin_raise",  # AU17
    "jaw_drop",  # AU26
    "pucker",  # AU18
    "lip_press",  # AU24
    "lips_part",  # AU25
    "lid_raise",  # AU5
    "lid_tight",  # AU7
    "blink",  # AU45
    "gaze_x",  # -1 to 1
    "gaze_y",
)
INDEX = {name: i for i, name in enumerate(ACTIONS)}
SKIN_ACTIONS = 16  # the first ones move skin; the others only the eyes and the lips
POSE = ("x", "y", "roll", "yaw", "pitch", "scale")  # pixels, pixels, radians x 3, factor
LIGHT = ("gain", "side")  # brightness as a factor, left-to-right slope over the face (0: none)
NEUTRAL_POSE = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
NEUTRAL_LIGHT = (1.0, 0.0)

_SKINS = (
    (252, 222, 200),
    (243, 203, 170),
    (226, 178, 138),
    (196, 140, 98),
    (152, 100, 66),
    (112, 72, 50),
    (82, 54, 42),
)
_HAIRS = (
    (28, 22, 20),
    (48, 32, 24),
    (84, 54, 34),
    (128, 84, 48),
    (196, 158, 98),
    (126, 58, 30),
    (150, 146, 142),
)
_IRISES = ((62, 38, 22), (88, 56, 30), (96, 92, 50), (72, 110, 84), (78, 112, 150), (108, 124, 136))
_LIPS = ((168, 86, 80), (188, 100, 96), (172, 66, 74), (186, 116, 100))
_CLOTHES = (
    (52, 60, 78),
    (120, 40, 44),
    (60, 92, 74),
    (168, 160, 150),
    (38, 38, 42),
    (92, 76, 116),
    (178, 132, 66),
)


class Identity(NamedTuple):
    """One person and the place they sit in; colours are RGB in [0, 255], lengths are face units."""

    key: int  # seed of the person's textures
    skin: tuple[float, ...]
    hair: tuple[float, ...]
    lips: tuple[float, ...]
    iris: tuple[float, ...]
    clothes: tuple[float, ...]
    wall: tuple[float, ...]
    hair_style: int  # 0 cropped, 1 short, 2 parted, 3 long
    hairline: float  # y of the hairline
    chin: float  # y of the chin
    jaw: tuple[float, float]  # exponents of the outline's lower half
    eye: tuple[float, float, float, float]  # x, half width, height of the opening, tilt
    brow: tuple[float, float, float]  # y, thickness, arch
    nose: tuple[float, float, float]  # half width, y of the tip, height
    mouth: tuple[float, float, float, float]  # y, half width, thickness of the upper and of the lower lip
    stubble: float  # 0 to 1
    freckles: float  # 0 to 1
    light: tuple[float, float, float]  # direction towards the light, unit length
    ambient: float  # share of the light that has no direction
    scale: float  # pixels of the frame per face unit
    place: tuple[float, float]  # pixel of the frame where the origin rests


def identity(seed: int, index: int) -> Identity:
    """Samples one person.

    Args:
      seed: seed of the data set.
      index: number of the person; any person is sampled without the ones before.

    Returns:
      The person's parameters.
    """
    rng = np.random.default_rng([seed, 11, index])
    uniform = rng.uniform
    # Tones by golden-ratio steps: neighbouring indices differ, and a handful of people span the range.
    tone = (index * 0.618034 + rng.uniform(-0.08, 0.08) + 0.05 * (seed % 20)) % 1.0 * (len(_SKINS) - 1)
    low = min(int(tone), len(_SKINS) - 2)
    skin = np.array(_SKINS[low]) + (tone - low) * (np.array(_SKINS[low + 1]) - np.array(_SKINS[low]))
    dark = tone / (len(_SKINS) - 1)
    hair = _HAIRS[rng.integers(3)] if dark > 0.55 else _HAIRS[rng.integers(len(_HAIRS))]
    iris = _IRISES[rng.integers(2)] if dark > 0.55 else _IRISES[rng.integers(len(_IRISES))]
    lips = 0.55 * np.array(_LIPS[rng.integers(len(_LIPS))]) * (1 - 0.45 * dark) + 0.42 * skin * np.array((1, 0.8, 0.82))
    azimuth, height = uniform(-0.7, 0.7), uniform(0.1, 0.6)
    light = np.array((np.sin(azimuth), -np.sin(height), np.cos(azimuth)))
    light /= np.linalg.norm(light)
    wall = uniform(60, 205) + uniform(-18, 18, 3)
    style = int(rng.integers(4))
    return Identity(
        key=int(rng.integers(2**31)),
        skin=tuple(np.clip(skin * uniform(0.95, 1.04) + uniform(-5, 5, 3), 30, 255).tolist()),
        hair=tuple((np.array(hair) * uniform(0.85, 1.2)).tolist()),
        lips=tuple(lips.tolist()),
        iris=tuple((np.array(iris) * uniform(0.85, 1.2)).tolist()),
        clothes=tuple((np.array(_CLOTHES[rng.integers(len(_CLOTHES))]) * uniform(0.8, 1.15)).tolist()),
        wall=tuple(wall.tolist()),
        hair_style=style,
        hairline=uniform(-0.98, -0.82),
        chin=uniform(1.3, 1.48),
        jaw=(uniform(1.9, 2.7), uniform(1.95, 2.15)),
        eye=(uniform(0.385, 0.435), uniform(0.175, 0.205), uniform(0.075, 0.105), uniform(-0.02, 0.04)),
        brow=(uniform(-0.30, -0.25), uniform(0.035, 0.065), uniform(0.02, 0.07)),
        nose=(uniform(0.12, 0.18), uniform(0.46, 0.55), uniform(0.24, 0.36)),
        mouth=(uniform(0.84, 0.92), uniform(0.29, 0.36), uniform(0.055, 0.09), uniform(0.08, 0.125)),
        stubble=float(rng.random() < 0.4 and style < 3) * uniform(0.3, 0.9),
        freckles=float(rng.random() < 0.35) * uniform(0.3, 1.0) * (1 - dark),
        light=tuple(light.tolist()),
        ambient=uniform(0.38, 0.58),
        scale=uniform(57, 64),
        place=(SIZE / 2 + uniform(-8, 8), SIZE * 0.46 + uniform(-6, 6)),
    )
