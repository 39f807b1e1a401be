"""Draws one frame: a person (``data_prep.synthetic.people``) who does something."""

from typing import Any

import numpy as np

from data_prep.synthetic.people import INDEX, NEUTRAL_LIGHT, NEUTRAL_POSE, SIZE, SKIN_ACTIONS, Identity
from data_prep.synthetic.portraits import CENTRE, HEIGHT, STEP, UNIT, WIDTH, Layers, layers

_T = np.linspace(-1, 1, 25)  # across an eye or the mouth
_BULGE = 1 - _T**2


class _Patch:
    """A rectangle of the head image that is drawn on in face coordinates."""

    def __init__(self, head: np.ndarray, centre: tuple[float, float], half: tuple[float, float]):
        cx, cy = (int(centre[i] * UNIT + CENTRE[i]) for i in (0, 1))
        rx, ry = (int(half[i] * UNIT) for i in (0, 1))
        self.box = (slice(max(cy - ry, 0), min(cy + ry, HEIGHT)), slice(max(cx - rx, 0), min(cx + rx, WIDTH)))
        self.image = head[self.box]  # a view: drawing goes to the head
        self.origin = np.array((CENTRE[0] - self.box[1].start, CENTRE[1] - self.box[0].start))

    def points(self, points: np.ndarray) -> np.ndarray:
        """Face coordinates as 1/16 pixels of the patch."""
        return np.round((points * UNIT + self.origin) * 16).astype(np.int32)

    def mask(self, points: np.ndarray) -> np.ndarray:
        """A polygon as an 8-bit mask."""
        import cv2

        mask = np.zeros(self.image.shape[:2], np.uint8)
        return cv2.fillPoly(mask, [self.points(points)], 255, cv2.LINE_AA, 4)

    def paint(self, mask: np.ndarray, layer: Any, strength: float = 1.0) -> None:
        """Blends a colour or a layer of the patch's size over the image."""
        import cv2

        x, y, width, height = cv2.boundingRect(mask)
        box = (slice(y, y + height), slice(x, x + width))
        layer = np.asarray(layer)
        layer = (layer[box] if layer.ndim == 3 else layer).astype(np.float32)
        image = self.image[box]
        image += (mask[box].astype(np.float32) * (strength / 255))[..., None] * (layer - image)

    def line(self, points: np.ndarray, colour: Any, strength: float, width: int = 1) -> None:
        """Blends an open line over the image."""
        import cv2

        mask = np.zeros(self.image.shape[:2], np.uint8)
        cv2.polylines(mask, [self.points(points)], False, 255, width, cv2.LINE_AA, 4)
        self.paint(mask, colour, strength)


def _curve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([x, y], 1)


def _eye(head: np.ndarray, who: Identity, act: np.ndarray, sign: int, light: float) -> None:
    """Draws the eye at the left (-1) or right (1) of the image into ``head`` [HEIGHT, WIDTH, 3]."""
    import cv2

    eye_x, half, high, tilt = who.eye
    smile = act[INDEX["smile_l" if sign < 0 else "smile_r"]]
    squeeze = 0.42 * act[INDEX["cheek_raise"]] + 0.1 * smile + 0.3 * act[INDEX["nose_wrinkle"]]
    tight = act[INDEX["lid_tight"]]
    frown = act[INDEX["brow_lower"]]
    wide = act[INDEX["lid_raise"]]
    rest = 1 + 0.62 * wide - 0.28 * squeeze - 0.38 * tight - 0.12 * frown
    lid = max(rest, 0.25) * (1 - act[INDEX["blink"]])
    x = sign * eye_x + half * _T
    lean = -tilt * _T * sign
    low = 0.058 * _BULGE**0.8 * (1 - 0.75 * squeeze - 0.45 * tight) + lean
    rise = high * (1 - np.abs(_T + 0.15 * sign) ** 2.3 * 0.97).clip(0) ** 0.75 * _BULGE**0.15
    shut = 0.05 * _BULGE + lean
    up = shut + (lean - rise - shut) * lid if lid < 1 else lean - rise * lid
    up = np.minimum(up, low)
    patch = _Patch(head, (sign * eye_x, -0.02), (half + 0.09, 0.27))
    mask = patch.mask(np.concatenate([_curve(x, up), _curve(x, low)[::-1]]))
    ball = np.empty((*mask.shape, 3), np.uint8)
    ball[:] = np.array((214, 206, 200)) * light
    gaze = np.array((sign * eye_x + 0.085 * act[INDEX["gaze_x"]], -0.022 + 0.045 * act[INDEX["gaze_y"]]))
    at = tuple(int(v) for v in patch.points(gaze[None])[0])

    def disc(radius: float, colour: Any, centre: tuple[int, int] = at) -> None:
        cv2.circle(ball, centre, int(radius * UNIT * 16), tuple(float(c) for c in colour), -1, cv2.LINE_AA, 4)

    iris = np.array(who.iris) * light
    disc(0.088, iris * 0.5)
    disc(0.076, iris * 1.05)
    disc(0.038, (10, 9, 9))
    spark = (at[0] + int(16 * 2.4 * np.sign(who.light[0] + 0.01)), at[1] - 40)
    disc(0.019, (250, 250, 250), spark)
    patch.paint(mask, ball)
    lash, skin = np.array(who.hair) * 0.25 + (14, 8, 8), np.array(who.skin) * light
    if lid > 0.3:  # shade of the lid on the ball
        patch.line(_curve(x, up + 0.02)[2:-2], (50, 34, 30), 0.35, 2)
    patch.line(_curve(x, up), lash, 0.92, 2)
    patch.line(_curve(x[3:-3], low[3:-3] + 0.008), skin * (0.55, 0.42, 0.40), 0.6)
    crease = up - 0.045 - 0.03 * (1 - min(lid, 1)) - 0.015 * _BULGE * wide + 0.015 * frown
    patch.line(_curve(x, crease - 0.01 * _BULGE)[1:-1], skin * (0.5, 0.42, 0.4), 0.5 * min(1.0, lid + 0.3), 1)


def _mouth(head: np.ndarray, who: Identity, act: np.ndarray, shade: np.ndarray, light: float) -> None:
    """Draws the mouth into ``head`` [HEIGHT, WIDTH, 3]; ``shade`` [HEIGHT, WIDTH]: light on the skin."""
    import cv2

    a = {name: float(act[i]) for name, i in INDEX.items()}
    mouth_y, wide, thick_u, thick_l = who.mouth
    smile = (a["smile_l"] + a["smile_r"]) / 2
    narrow = (1 - 0.3 * a["pucker"]) * (1 - 0.07 * a["lip_press"]) * (1 - 0.08 * a["jaw_drop"])
    ends = []
    for tag, sign in (("l", -1), ("r", 1)):
        cx = wide * narrow + 0.11 * a[f"smile_{tag}"] + 0.08 * a[f"dimple_{tag}"] + 0.02 * a["corner_down"]
        cy = mouth_y - 0.15 * a[f"smile_{tag}"] - 0.035 * a[f"dimple_{tag}"] + 0.115 * a["corner_down"]
        cy += 0.07 * a["jaw_drop"] - 0.02 * a[f"upper_lip_{tag}"]
        ends.append((sign * cx, cy))
    (xl, yl), (xr, yr) = ends
    right = (_T + 1) / 2
    x = xl + (xr - xl) * right
    middle = mouth_y + 0.012 * smile - 0.045 * a["chin_raise"] - 0.01 * a["corner_down"]
    line = middle + (yl + (yr - yl) * right - middle) * np.abs(_T) ** 1.7
    raised = (
        np.exp(-((_T + 0.42) ** 2) / 0.12) * a["upper_lip_l"] + np.exp(-((_T - 0.42) ** 2) / 0.12) * a["upper_lip_r"]
    )
    gap_u = (
        0.05 * a["lips_part"] * (1 + 0.5 * smile) + 0.025 * a["jaw_drop"]
    ) * _BULGE**0.8 + 0.045 * raised * _BULGE**0.3
    gap_l = (0.03 * a["lips_part"] + 0.31 * a["jaw_drop"]) * _BULGE**0.55 - 0.01 * raised
    shut = 1 - 0.9 * a["lip_press"]
    gap_u, gap_l = gap_u * shut, np.maximum(gap_l * shut, 0)
    fat = (1 - 0.72 * a["lip_press"]) * (1 - 0.22 * smile) * (1 + 0.3 * a["pucker"]) * (1 - 0.12 * a["jaw_drop"])
    bow = (1 - np.abs(_T) ** 2.4) * (
        1 + 0.28 * np.exp(-(((np.abs(_T) - 0.2) / 0.13) ** 2)) - 0.12 * np.exp(-((_T / 0.1) ** 2))
    )
    top_in, low_in = line - gap_u, line + gap_l
    top_out = top_in - thick_u * fat * bow - 0.035 * raised * _BULGE
    low_out = low_in + thick_l * fat * (1 + 0.15 * a["chin_raise"]) * _BULGE**0.75
    patch = _Patch(head, (0, mouth_y + 0.12), (0.56, 0.56))
    inside = patch.mask(np.concatenate([_curve(x, top_in), _curve(x, low_in)[::-1]]))
    upper = np.concatenate([_curve(x, top_out), _curve(x, top_in)[::-1]])
    lower = np.concatenate([_curve(x, low_in), _curve(x, low_out)[::-1]])
    tone = np.array(who.lips)
    layer = np.zeros((*inside.shape, 3), np.uint8)
    layer[:] = tone * 0.9
    cv2.fillPoly(layer, [patch.points(upper)], (tone * 0.80).tolist(), cv2.LINE_AA, 4)
    ridge = np.concatenate(
        [
            _curve(x, low_in + 0.35 * (low_out - low_in))[5:-5],
            _curve(x, low_in + 0.75 * (low_out - low_in))[-6:4:-1],
        ]
    )
    cv2.fillPoly(layer, [patch.points(ridge)], np.minimum(tone * 1.14 + 8, 255).tolist(), cv2.LINE_AA, 4)
    layer = cv2.GaussianBlur(layer, (5, 5), 0).astype(np.float32) * np.clip(shade[patch.box], 0.3, 1.15)[..., None]
    lips = cv2.GaussianBlur(cv2.max(patch.mask(upper), patch.mask(lower)), (3, 3), 0)
    under = _curve(x, low_out + 0.03)[6:-6]
    patch.line(under, np.array(who.skin) * 0.45 * light, 0.22 * (1 - 0.5 * a["jaw_drop"]), 3)
    patch.paint(lips, layer)
    if inside.any() and float((gap_u + gap_l).max()) > 0.012:
        _teeth(patch, inside, x, top_in, low_in, light)
    edge = np.array(who.lips) * 0.35 * light
    patch.line(_curve(x, top_in), edge, 0.75, 2 if a["lip_press"] > 0.4 else 1)
    for end, px in ((0, x[0]), (-1, x[-1])):  # corners
        dot = np.array([[px - 0.02, line[end]], [px + 0.02, line[end]]])
        patch.line(dot, edge, 0.5, 2)


def _teeth(patch: _Patch, inside: np.ndarray, x: np.ndarray, top: np.ndarray, low: np.ndarray, light: float) -> None:
    """Fills the open mouth: dark, a tongue, the upper row of teeth."""
    import cv2

    layer = np.empty((*inside.shape, 3), np.uint8)
    layer[:] = np.array((58, 22, 24)) * light
    gap = low - top
    tongue = np.concatenate([_curve(x, top + 0.72 * gap + 0.03)[6:-6], _curve(x, low + 0.03)[-7:5:-1]])
    cv2.fillPoly(layer, [patch.points(tongue)], (np.array((150, 76, 76)) * light).tolist(), cv2.LINE_AA, 4)
    row = np.minimum(0.075, 0.85 * gap)
    teeth = np.concatenate([_curve(x, top - 0.02)[2:-2], _curve(x, top + row)[-3:1:-1]])
    cv2.fillPoly(layer, [patch.points(teeth)], (np.array((226, 218, 204)) * light).tolist(), cv2.LINE_AA, 4)
    patch.paint(inside, cv2.GaussianBlur(layer, (3, 3), 0))


def _pixel_grid() -> np.ndarray:
    """Canvas pixels as (x, y): [HEIGHT, WIDTH, 2] float32."""
    return np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).astype(np.float32)


_GRID = _pixel_grid()


def _head(face: Layers, act: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """The head with its folds, moved by the actions.

    Returns:
      Image [HEIGHT, WIDTH, 3] float32 times its opacity, and opacity [HEIGHT, WIDTH] uint8.
    """
    import cv2

    weights = np.append(act[:SKIN_ACTIONS], side).astype(np.float32)
    image = face.head
    on = np.flatnonzero(weights)
    if len(on):
        ratio = cv2.max(cv2.min(1 + weights[on] @ face.folds[on], 1.6), 0.35).reshape(HEIGHT, WIDTH)
        image = cv2.multiply(image, cv2.merge([ratio, ratio, ratio]))
    on = on[on < SKIN_ACTIONS]
    if not len(on):
        return image.copy(), face.alpha
    rows, columns = -(-HEIGHT // STEP), -(-WIDTH // STEP)
    flow = (weights[on] @ face.flow[on]).reshape(rows, columns, 2)
    flow = cv2.resize(flow, (columns * STEP, rows * STEP), interpolation=cv2.INTER_LINEAR)
    source = _GRID - flow[:HEIGHT, :WIDTH]
    return cv2.remap(image, source, None, cv2.INTER_LINEAR), cv2.remap(face.alpha, source, None, cv2.INTER_LINEAR)


def _placed(who: Identity, face: Layers, pose: np.ndarray) -> np.ndarray:
    """Where every pixel of the frame lies on the canvas: [SIZE, SIZE, 2] float32."""
    import cv2

    dx, dy, roll, yaw, pitch, scale = (float(v) for v in pose)
    step, nodes = 8, SIZE // 8
    at = np.arange(nodes, dtype=np.float32) * step + (step - 1) / 2
    u, v = np.meshgrid((at - who.place[0] - dx) / (who.scale * scale), (at - who.place[1] - dy) / (who.scale * scale))
    cos, sin = np.cos(roll), np.sin(roll)
    x = (cos * u + sin * v) / (1 - 0.25 * yaw * yaw) * UNIT + CENTRE[0]
    y = (-sin * u + cos * v) / (1 - 0.25 * pitch * pitch) * UNIT + CENTRE[1]
    x, y = x.astype(np.float32), y.astype(np.float32)
    # A turn shifts what is near more than what is far; twice, because the depth is that of the shifted point.
    depth = cv2.remap(face.depth, x, y, cv2.INTER_LINEAR)
    depth = cv2.remap(face.depth, x - yaw * UNIT * depth, y - pitch * UNIT * depth, cv2.INTER_LINEAR)
    nodes_xy = np.stack([x - yaw * UNIT * depth, y - pitch * UNIT * depth], -1).astype(np.float32)
    return cv2.resize(nodes_xy, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def render(
    who: Identity,
    action: Any,
    pose: Any = NEUTRAL_POSE,
    light: Any = NEUTRAL_LIGHT,
    noise_key: int | None = None,
) -> np.ndarray:
    """Draws one frame.

    Args:
      who: the person.
      action: [len(ACTIONS)] what the face does, in the order of ``ACTIONS``; 0 is rest, 1 is full.
      pose: [6] position of the head, in the order of ``POSE``.
      light: [2] in the order of ``LIGHT``.
      noise_key: chooses the camera's noise; ``None``: no noise.

    Returns:
      [SIZE, SIZE, 3] uint8, RGB; the same for the same arguments.
    """
    import cv2

    face, act = layers(who), np.asarray(action, np.float32)
    gain, side = float(light[0]), float(light[1])
    head, alpha = _head(face, act, side)
    for sign in (-1, 1):
        _eye(head, who, act, sign, face.light * (1 + 0.4 * side * sign))
    _mouth(head, who, act, face.shade, face.light)
    head = cv2.merge([*cv2.split(cv2.convertScaleAbs(head)), alpha])
    place = _placed(who, face, np.asarray(pose, np.float32))
    frame = cv2.remap(head, place, None, cv2.INTER_LINEAR)
    behind = cv2.bitwise_not(frame[..., 3])
    back = cv2.multiply(face.back, cv2.merge([behind, behind, behind]), scale=1 / 255)
    frame = cv2.add(cv2.cvtColor(frame, cv2.COLOR_RGBA2RGB), back)
    if gain != 1:
        frame = cv2.convertScaleAbs(frame, alpha=gain)
    if noise_key is not None:
        row, column = np.random.default_rng([who.key, noise_key]).integers(0, SIZE, 2)
        frame = cv2.add(frame, face.noise[row : row + SIZE, column : column + SIZE], dtype=cv2.CV_8U)
    return frame
