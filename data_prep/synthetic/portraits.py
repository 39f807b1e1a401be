"""Portraits: all of a person's image that frames share, made once per person.

A face is a small height field that is lit once; an action unit moves the skin (a flow field), and bulges and
folds it (a change of shading). The eyes and the mouth are left out: ``data_prep.synthetic.faces`` draws them for every
frame.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from data_prep.synthetic.people import INDEX, SIZE, SKIN_ACTIONS, Identity

UNIT = 84.0  # pixels of the canvas per face unit; the canvas is finer than the frame, which smooths edges
WIDTH, HEIGHT = 248, 300  # of the canvas, pixels
CENTRE = (124.0, 152.0)  # canvas pixel of the origin
STEP = 6  # pixels between the nodes of the grid of a flow field


class Layers(NamedTuple):
    """Everything about a person that frames share."""

    back: np.ndarray  # [SIZE, SIZE, 3] uint8, wall and body
    head: np.ndarray  # [HEIGHT, WIDTH, 3] float32, lit, times its opacity
    alpha: np.ndarray  # [HEIGHT, WIDTH] uint8, opacity
    shade: np.ndarray  # [HEIGHT, WIDTH] float32, light that reaches the skin
    light: float  # its mean around the eyes
    folds: np.ndarray  # [SKIN_ACTIONS + 1, HEIGHT * WIDTH] float32, relative change of shade per action; last: side
    flow: np.ndarray  # [SKIN_ACTIONS, rows * columns * 2] float32, canvas pixels, on a grid of STEP pixels
    depth: np.ndarray  # [HEIGHT, WIDTH] float32, face units
    noise: np.ndarray  # [2 * SIZE, 2 * SIZE, 3] int16, camera noise


def _axes(step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Face coordinates of the centres of the canvas' ``step`` x ``step`` blocks."""
    x = (np.arange(-(-WIDTH // step)) * step + (step - 1) / 2 - CENTRE[0]) / UNIT
    y = (np.arange(-(-HEIGHT // step)) * step + (step - 1) / 2 - CENTRE[1]) / UNIT
    return np.meshgrid(x.astype(np.float32), y.astype(np.float32))


def _bump(x: Any, y: Any, cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    return np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))


def _ramp(x: Any, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _pixels(points: Any) -> np.ndarray:
    """Face coordinates [N, 2] as canvas pixels in the 1/16 fixed point of OpenCV's drawing."""
    return np.round((np.asarray(points) * UNIT + CENTRE) * 16).astype(np.int32)


def _half_width(who: Identity, y: np.ndarray) -> np.ndarray:
    """Half the width of the head at height ``y``."""
    upper = np.clip(1 - np.abs((y - 0.1) / 1.5) ** 2.4, 0, 1) ** (1 / 2.4)
    n, m = who.jaw
    lower = np.clip(1 - np.clip((y - 0.1) / (who.chin - 0.1), 0, 1) ** n, 0, 1) ** (1 / m)
    return np.where(y < 0.1, upper, lower)


def _fill(points: Any, blur: float = 0.0) -> np.ndarray:
    """A polygon of face coordinates [N, 2] as a canvas mask in [0, 1]."""
    import cv2

    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [_pixels(points)], 255, cv2.LINE_AA, 4)
    mask = mask.astype(np.float32) / 255
    return cv2.GaussianBlur(mask, (0, 0), blur) if blur else mask


def _line(points: Any, width: float) -> np.ndarray:
    """A soft line through face coordinates [N, 2]; about 1 at its middle, ``width`` pixels of blur."""
    import cv2

    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.polylines(mask, [_pixels(points)], False, 255, 2, cv2.LINE_AA, 4)
    mask = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), width)
    return mask / max(float(mask.max()), 1e-6)


def _both(points: Any) -> list[np.ndarray]:
    """The line and its mirror image."""
    points = np.asarray(points, np.float32)
    return [points, points * (-1, 1)]


def _relief(who: Identity) -> np.ndarray:
    """Height field [HEIGHT, WIDTH] of the face at rest, face units."""
    import cv2

    x, y = _axes()
    side = np.abs(x)
    width = np.maximum(_half_width(who, y), 0.05)
    z = (
        0.9
        * np.sqrt(np.clip(1 - (x / (1.06 * width)) ** 2, 0, 1))
        * np.sqrt(np.clip(1 - ((y - 0.05) / 1.6) ** 2, 0, 1))
    )
    z = cv2.GaussianBlur(z.astype(np.float32), (0, 0), 4)
    half, tip, height = who.nose
    ridge = _ramp(y, -0.2, tip) * (1 - _ramp(y, tip + 0.01, tip + 0.13))
    z += height * ridge * np.exp(-0.5 * (x / (0.07 + 0.055 * _ramp(y, 0.1, tip))) ** 2)
    z += 0.1 * _bump(side, y, half, tip + 0.02, 0.05, 0.055)
    eye_x = who.eye[0]
    z -= 0.15 * _bump(side, y, eye_x - 0.04, -0.03, 0.2, 0.12)
    z += 0.07 * _bump(side, y, eye_x, 0.0, 0.15, 0.09)
    z += 0.05 * _bump(side, y, 0.38, who.brow[0] - 0.02, 0.3, 0.07)
    z += 0.07 * _bump(side, y, 0.55, 0.36, 0.2, 0.16)
    mouth = who.mouth[0]
    z += 0.08 * _bump(x, y, 0, mouth, 0.27, 0.15)
    z -= 0.025 * _bump(x, y, 0, mouth - 0.17, 0.035, 0.06)
    z -= 0.045 * _bump(x, y, 0, mouth + 0.21, 0.16, 0.045)
    z += 0.08 * _bump(x, y, 0, who.chin - 0.2, 0.17, 0.12)
    for line in _both([(half + 0.05, tip), (0.33, mouth - 0.18), (0.40, mouth - 0.02)]):
        z -= 0.012 * _line(line, 3.5)
    return z.astype(np.float32)


def _lit(who: Identity, z: np.ndarray) -> np.ndarray:
    """Light [HEIGHT, WIDTH] on a height field: soft Lambert, a sheen, and shade in hollows."""
    import cv2

    dy, dx = np.gradient(z * UNIT)
    norm = np.sqrt(dx * dx + dy * dy + 1)
    lx, ly, lz = who.light
    facing = (-dx * lx - dy * ly + lz) / norm
    diffuse = np.clip((facing + 0.25) / 1.25, 0, None)
    half = np.array((lx, ly, lz + 1)) / np.linalg.norm((lx, ly, lz + 1))
    sheen = np.clip((-dx * half[0] - dy * half[1] + half[2]) / norm, 0, 1) ** 24
    hollow = np.clip(1 + 2.4 * (z - cv2.GaussianBlur(z, (0, 0), 9)), 0.6, 1.15)
    return ((who.ambient + (1.08 - who.ambient) * diffuse + 0.1 * sheen) * hollow).astype(np.float32)


def _fold_heights(who: Identity) -> dict[str, np.ndarray]:
    """Change of the height field per action: bulges (up) and folds (down), face units."""
    x, y = _axes()
    side = np.abs(x)
    brow, eye_x, (half, tip, _), (mouth, wide, _, _) = who.brow[0], who.eye[0], who.nose, who.mouth
    rows = [-0.12, -0.23, -0.34]
    bow = np.linspace(-0.55, 0.55, 21)
    waves = sum(_line(np.stack([bow, brow + r - 0.05 * np.cos(bow * 3)], 1), 1.4) for r in rows)
    frown = sum(_line(line, 1.4) for line in _both([(0.06, brow - 0.07), (0.075, brow + 0.1)]))
    crease = sum(_line([(-0.12, level), (0, level + 0.02), (0.12, level)], 1.3) for level in (-0.04, 0.05, 0.13))
    foot = sum(
        _line(line, 1.2)
        for end in (-0.09, 0.0, 0.09)
        for line in _both([(eye_x + 0.24, end * 0.4 + 0.02), (eye_x + 0.38, end + 0.02)])
    )
    bag = sum(_line(line, 1.8) for line in _both([(eye_x - 0.17, 0.14), (eye_x, 0.19), (eye_x + 0.19, 0.13)]))
    droop = sum(_line(line, 2) for line in _both([(wide + 0.03, mouth + 0.06), (wide + 0.08, mouth + 0.22)]))
    folds = {
        "inner_brow": -0.030 * waves * np.exp(-((x / 0.4) ** 2)) + 0.02 * _bump(side, y, 0.2, brow - 0.1, 0.12, 0.05),
        "outer_brow": -0.030 * waves * np.exp(-((x / 0.42) ** 4)) * (1 - 0.4 * np.exp(-((x / 0.3) ** 2))),
        "brow_lower": -0.05 * frown
        + 0.05 * _bump(side, y, 0.17, brow, 0.09, 0.07)
        - 0.02 * _bump(x, y, 0, brow, 0.2, 0.04),
        "cheek_raise": -0.02 * foot - 0.022 * bag + 0.05 * _bump(side, y, eye_x + 0.08, 0.29, 0.17, 0.07),
        "nose_wrinkle": -0.035 * crease + 0.04 * _bump(side, y, half + 0.02, tip, 0.05, 0.06) - 0.02 * bag,
        "corner_down": -0.035 * droop + 0.03 * _bump(side, y, wide + 0.1, mouth + 0.16, 0.06, 0.09),
        "chin_raise": 0.05 * _bump(x, y, 0, mouth + 0.32, 0.14, 0.06) - 0.05 * _bump(x, y, 0, mouth + 0.2, 0.16, 0.03),
        "jaw_drop": -0.05 * _bump(side, y, 0.55, 0.85, 0.1, 0.2),
        "pucker": 0.05 * _bump(x, y, 0, mouth, 0.18, 0.16) - 0.03 * _bump(side, y, 0.42, mouth, 0.06, 0.12),
        "lip_press": 0.04 * _bump(side, y, 0.0, mouth + 0.15, 0.22, 0.04)
        + 0.03 * _bump(x, y, 0, mouth - 0.13, 0.22, 0.04),
    }
    for tag, sign in (("l", -1), ("r", 1)):
        smile = [(half + 0.04, tip - 0.04), (0.36, mouth - 0.27), (0.47, mouth - 0.1), (0.49, mouth + 0.04)]
        fold = _line(np.array(smile) * (sign, 1), 2.0)
        cheek = _bump(x, y, sign * 0.53, 0.46, 0.15, 0.14)
        pit = _bump(x, y, sign * (wide + 0.13), mouth - 0.02, 0.035, 0.07)
        ring = _bump(x, y, sign * (wide + 0.21), mouth - 0.02, 0.05, 0.1)
        folds[f"smile_{tag}"] = -0.05 * fold + 0.07 * cheek - 0.02 * pit
        folds[f"dimple_{tag}"] = -0.085 * pit + 0.045 * ring
        upper = _line(
            np.array([(half + 0.03, tip - 0.08), (half + 0.12, tip + 0.02), (0.36, mouth - 0.1)]) * (sign, 1),
            2,
        )
        folds[f"upper_lip_{tag}"] = -0.045 * upper + 0.035 * _bump(x, y, sign * 0.36, tip - 0.02, 0.1, 0.09)
    return folds


def _moves(who: Identity) -> dict[str, list[tuple[float, ...]]]:
    """Motion of the skin per action: bells (x, y, width, height, dx, dy); those of a pair are mirrored."""
    brow, (half, tip, _), (mouth, wide, _, _) = who.brow[0], who.nose, who.mouth
    moves = {
        "inner_brow": [(0.17, brow - 0.08, 0.17, 0.16, 0, -0.15)],
        "outer_brow": [(0.56, brow - 0.08, 0.22, 0.16, 0, -0.15)],
        "brow_lower": [
            (0.18, brow + 0.04, 0.17, 0.13, -0.06, 0.13),
            (0.5, brow + 0.03, 0.17, 0.12, -0.02, 0.06),
        ],
        "cheek_raise": [(0.45, 0.27, 0.22, 0.11, 0, -0.06)],
        "nose_wrinkle": [(half, tip, 0.12, 0.12, 0.01, -0.06), (0.1, brow + 0.06, 0.12, 0.1, -0.02, 0.05)],
        "corner_down": [(wide + 0.05, mouth + 0.08, 0.12, 0.14, 0.0, 0.09)],
        "chin_raise": [(0.1, mouth + 0.32, 0.2, 0.13, 0, -0.06)],
        "pucker": [(0.36, mouth, 0.16, 0.2, -0.09, 0)],
        "lip_press": [(0.1, mouth + 0.2, 0.2, 0.1, 0, -0.03)],
    }
    bells: dict[str, list[tuple[float, ...]]] = {}
    for name, rows in moves.items():
        bells[name] = [(s * cx, cy, sx, sy, s * dx, dy) for cx, cy, sx, sy, dx, dy in rows for s in (-1, 1)]
    for tag, s in (("l", -1), ("r", 1)):
        bells[f"smile_{tag}"] = [
            (s * 0.46, mouth - 0.1, 0.16, 0.18, s * 0.07, -0.10),
            (s * 0.5, 0.4, 0.18, 0.15, 0, -0.04),
        ]
        bells[f"dimple_{tag}"] = [(s * (wide + 0.1), mouth, 0.12, 0.14, s * 0.06, -0.01)]
        bells[f"upper_lip_{tag}"] = [(s * half, tip + 0.03, 0.11, 0.12, s * 0.01, -0.07)]
    return bells


def _flow(who: Identity) -> np.ndarray:
    """Motion of the skin per action [SKIN_ACTIONS, rows * columns * 2] in canvas pixels."""
    x, y = _axes(STEP)
    flow = np.zeros((SKIN_ACTIONS, *x.shape, 2), np.float32)
    for name, bells in _moves(who).items():
        for cx, cy, sx, sy, dx, dy in bells:
            bell = _bump(x, y, cx, cy, sx, sy)
            flow[INDEX[name]] += np.stack([dx * bell, dy * bell], -1)
    mouth = who.mouth[0]
    drop = _ramp(y, mouth - 0.15, mouth + 0.28) * (1 - 0.75 * _ramp(np.abs(x), 0.35, 0.95))
    flow[INDEX["jaw_drop"], ..., 1] = 0.25 * drop
    flow[INDEX["jaw_drop"], ..., 0] = -0.05 * np.sign(x) * _bump(np.abs(x), y, 0.6, 0.9, 0.2, 0.3)
    return (flow * UNIT).reshape(SKIN_ACTIONS, -1)


def _paint(canvas: np.ndarray, mask: np.ndarray, colour: Any) -> None:
    """Lays a colour (RGB or an image) over the canvas [H, W, 3] where the mask [H, W] says so."""
    canvas += mask[..., None] * (np.asarray(colour, np.float32) - canvas)


def _skin(who: Identity, rng: np.random.Generator) -> np.ndarray:
    """Colour of the skin [HEIGHT, WIDTH, 3]: redness, freckles, stubble, brows."""
    import cv2

    x, y = _axes()
    side = np.abs(x)
    skin = np.tile(np.array(who.skin, np.float32), (HEIGHT, WIDTH, 1))
    blotch = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 7) * 17
    pores = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 0.8)
    skin *= (1 + 0.018 * blotch + 0.02 * pores)[..., None]
    flush = 0.7 * _bump(side, y, 0.56, 0.42, 0.2, 0.17) + 0.6 * _bump(x, y, 0, who.nose[1], 0.13, 0.1)
    skin *= 1 - flush[..., None] * np.array((0.0, 0.11, 0.10), np.float32)
    socket = _bump(side, y, who.eye[0] - 0.03, 0.02, 0.2, 0.12)
    skin *= 1 - socket[..., None] * np.array((0.14, 0.18, 0.16), np.float32)
    spots = cv2.GaussianBlur((rng.random((HEIGHT, WIDTH)) < 0.012).astype(np.float32), (0, 0), 0.9) * 4
    spots *= _bump(x, y, 0, 0.35, 0.55, 0.22) * who.freckles
    skin *= 1 - np.clip(spots, 0, 1)[..., None] * np.array((0.18, 0.3, 0.36), np.float32)
    mouth = who.mouth[0]
    beard = _ramp(y, mouth - 0.28, mouth - 0.1) * (1 - 0.8 * _bump(x, y, 0, mouth, 0.3, 0.1))
    beard = np.maximum(beard, _ramp(side, 0.72, 0.9) * _ramp(y, 0.3, 0.6)) * (0.75 + 0.5 * pores)
    _paint(skin, np.clip(beard * who.stubble * 0.42, 0, 0.8), np.array(who.hair) * 0.9)
    for sign in (-1, 1):  # nostrils
        _paint(
            skin,
            0.75 * _bump(x, y, sign * who.nose[0] * 0.62, who.nose[1] + 0.085, 0.04, 0.018),
            (40, 18, 14),
        )
    _paint(skin, _brows(who, rng), np.minimum(np.array(who.hair) * 0.8, np.array(who.skin) * 0.5))
    return skin


def _brows(who: Identity, rng: np.random.Generator) -> np.ndarray:
    """Opacity of the brows [HEIGHT, WIDTH], hair by hair."""
    import cv2

    level, thick, arch = who.brow
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    for sign in (-1, 1):
        t = np.linspace(0, 1, 20)
        spine = np.stack([0.14 + 0.55 * t, level + 0.03 - arch * np.sin(np.pi * t**0.8) * 1.6 + 0.05 * t**3], 1)
        body = thick * np.clip(1.15 - t**2.2, 0.12, 1) * np.minimum(1, 0.55 + 4 * t)
        outline = np.concatenate([spine - body[:, None] * (0, 0.5), (spine + body[:, None] * (0, 0.5))[::-1]])
        mask = np.maximum(mask, 0.62 * _fill(outline * (sign, 1), 1.6))
        hairs = np.zeros((HEIGHT, WIDTH), np.uint8)
        for at in rng.uniform(0, 1, 110):
            root = np.array([np.interp(at, t, spine[:, i]) for i in (0, 1)])
            root[1] += rng.uniform(-0.5, 0.5) * np.interp(at, t, body)
            tip = root + (0.035 + 0.03 * at, -0.03 + 0.05 * at + rng.uniform(-0.01, 0.01))
            cv2.polylines(hairs, [_pixels(np.stack([root, tip]) * (sign, 1))], False, 255, 1, cv2.LINE_AA, 4)
        mask = np.maximum(mask, hairs * (0.85 / 255))
    return np.clip(mask, 0, 0.95).astype(np.float32)


def _strands(rng: np.random.Generator, centre_y: float) -> np.ndarray:
    """Hair-like streaks [HEIGHT, WIDTH] around 0 that fan out from a point of the middle line."""
    import cv2

    x, y = _axes()
    noise = rng.standard_normal((48, 900)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=1.3, sigmaY=9)
    angle = (np.arctan2(x, centre_y - y) / (2 * np.pi) + 0.5) * 899
    radius = np.hypot(x, y - centre_y) / 3 * 47
    streaks = cv2.remap(noise, angle.astype(np.float32), radius.astype(np.float32), cv2.INTER_LINEAR)
    return streaks / streaks.std()


def _hair(who: Identity, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hair of a person.

    Returns:
      Opacity behind the face and in front of it, both [HEIGHT, WIDTH], and colour [HEIGHT, WIDTH, 3].
    """
    x, y = _axes()
    volume = (0.03, 0.1, 0.14, 0.18)[who.hair_style]
    level = np.linspace(-1.0, 1.0, 60)
    top = -1.4 - volume
    if who.hair_style == 3:
        rows = top + (1.25 - top) * (level + 1) / 2
        span = (1.0 + volume) * np.clip(1 - np.abs((np.minimum(rows, 0.1) - 0.1) / (top - 0.1)) ** 2.4, 0, 1) ** (
            1 / 2.4
        )
        span = span + 0.06 * _ramp(rows, 0, 1.2)
    else:
        rows = top + (0.15 - top) * (level + 1) / 2
        span = (1.0 + 0.6 * volume) * np.clip(1 - np.abs((rows - 0.1) / (top - 0.1)) ** 2.4, 0, 1) ** (1 / 2.4)
    back = _fill(np.concatenate([np.stack([-span, rows], 1), np.stack([span, rows], 1)[::-1]]), 1.0)
    t = np.linspace(-1, 1, 41)
    part = 0.0 if who.hair_style < 2 else rng.choice((-0.35, 0.3))
    reach = {0: 0.14, 1: 0.22, 2: 0.25, 3: 0.35}[who.hair_style]  # how much further down the hair is at the temples
    line = who.hairline + reach * np.abs(t - part) ** 2.2 + rng.normal(0, 0.014, 41)
    drop = {0: -0.1, 1: 0.05, 2: 0.1, 3: 1.2}[who.hair_style]  # y where the hair at the sides ends
    inner = 0.9 if who.hair_style < 3 else 0.88
    sides = [(0.97, drop), (1.35, drop + 0.1)]
    outline = [(-sx, sy) for sx, sy in sides[::-1]] + [(v * inner, w) for v, w in zip(t, line, strict=True)] + sides
    outline += [(1.4, -1.85), (-1.4, -1.85)]
    front = _fill(outline, 2.2) * back
    streaks = _strands(rng, -1.75)
    light = 1 + 0.35 * who.light[0] * x - 0.28 * who.light[1] * _bump(x, y, 0.4 * who.light[0], -1.2, 0.6, 0.2) * 1.5
    colour = np.array(who.hair, np.float32) * (light * (0.97 + 0.11 * streaks))[..., None]
    return back, front, np.clip(colour + 4 * streaks[..., None], 0, 255).astype(np.float32)


def _backdrop(who: Identity, rng: np.random.Generator) -> np.ndarray:
    """Wall, neck and shoulders [SIZE, SIZE, 3] uint8."""
    import cv2

    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    u, v = (x - who.place[0]) / who.scale, (y - who.place[1]) / who.scale
    rough = cv2.resize(rng.standard_normal((9, 9)).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    fall = 1 + 0.16 * who.light[0] * u - 0.05 * v + 0.03 * rough
    image = np.array(who.wall, np.float32) * fall[..., None]
    if rng.random() < 0.5:  # something that hangs on or stands along the wall
        edge = rng.uniform(0.05, 0.95) * SIZE
        image *= 1 - 0.22 * _ramp(x, edge - 2, edge + 2)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), 2)

    def body(points: Any) -> np.ndarray:
        mask = np.zeros((SIZE, SIZE), np.uint8)
        points = np.asarray(points) * who.scale + who.place
        cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.8)

    t = np.linspace(0, 1, 24)
    slope = np.stack([0.55 + 1.5 * t, 1.62 + 0.5 * t**1.6 - 0.12 * np.sin(np.pi * t)], 1)
    shoulders = np.concatenate([slope, [(2.3, 4), (-2.3, 4)], slope[::-1] * (-1, 1)])
    _paint(
        image,
        body(shoulders),
        np.array(who.clothes) * (1 + 0.2 * who.light[0] * u - 0.12 * (v - 1.8))[..., None],
    )
    neck = [
        (-0.62, 0.6),
        (0.62, 0.6),
        (0.6, 1.5),
        (0.7, 1.74),
        (0.3, 2.02),
        (0, 2.1),
        (-0.3, 2.02),
        (-0.7, 1.74),
        (-0.6, 1.5),
    ]
    tone = 0.45 + 0.3 * _ramp(v, who.chin, who.chin + 0.65) + 0.18 * who.light[0] * u - 0.16 * np.abs(u) ** 2
    _paint(image, body(neck), np.array(who.skin) * tone[..., None])
    return np.clip(image, 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def layers(who: Identity) -> Layers:
    """Everything about a person that frames share; slow (about 0.2 s), hence kept for the last few people.

    Args:
      who: the person.

    Returns:
      Images, shading and flow fields.
    """
    rng = np.random.default_rng([who.key, 3])
    x, y = _axes()
    rows = who.chin - (who.chin + 1.4) * (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, 90)))
    span = _half_width(who, rows)
    face = _fill(np.concatenate([np.stack([-span, rows], 1), np.stack([span, rows], 1)[::-1]]), 0.7)
    back, front, hair = _hair(who, rng)
    relief = _relief(who)
    shade = _lit(who, relief)
    skin = _skin(who, rng)
    ears = np.clip((1.25 - np.hypot((np.abs(x) - 1.0) / 0.11, (y - 0.16) / 0.26)) * 9, 0, 1)
    head = hair * (0.62 if who.hair_style == 3 else 0.8)
    inner = 0.95 - 0.5 * _bump(np.abs(x), y, 1.03, 0.16, 0.045, 0.13) + 0.25 * who.light[0] * np.sign(x)
    _paint(head, ears, np.array(who.skin) * (0.82 * inner)[..., None] * (1, 0.93, 0.92))
    shadow = 1 - 0.35 * np.clip(np.roll(front, 7, 0) - 0.2, 0, 1)  # the hair's shadow on the forehead
    _paint(head, face, skin * (shade * shadow)[..., None])
    _paint(head, front, hair)
    alpha = np.maximum.reduce([face, ears, back])
    folds = np.zeros((SKIN_ACTIONS + 1, HEIGHT, WIDTH), np.float32)
    visible = face * (1 - front)
    for name, height in _fold_heights(who).items():
        change = _lit(who, relief + height.astype(np.float32)) / np.maximum(shade, 0.05) - 1
        folds[INDEX[name]] = np.clip(change, -0.55, 0.5) * visible
    folds[-1] = x * np.maximum(face, back)
    noise = rng.normal(0, rng.uniform(1.4, 2.6), (2 * SIZE, 2 * SIZE, 3))
    return Layers(
        back=_backdrop(who, rng),
        head=np.clip(head, 0, 255) * alpha[..., None],
        alpha=np.round(alpha * 255).astype(np.uint8),
        shade=shade,
        light=float(np.average(shade, weights=_bump(x, y, 0, 0.1, 0.5, 0.3))),
        folds=folds.reshape(SKIN_ACTIONS + 1, -1),
        flow=_flow(who),
        depth=(relief * face).astype(np.float32),
        noise=np.round(noise).astype(np.int16),
    )
