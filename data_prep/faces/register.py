"""Sub-pixel registration of a face to a template (Lucas-Kanade, inverse compositional, robust weights).

A pose is a similarity ``[2, 3]`` float64 that takes crop coordinates to frame coordinates. The crop is a square of
side 1 around the face: (0, 0) is the centre of its first pixel's corner, (1, 1) the opposite corner. The template is
the face itself in an earlier frame, so nothing has to be known about faces but which parts of one are rigid.
"""

from typing import NamedTuple

import cv2
import numpy as np

SIDES = (24, 48, 96)  # pixels of the crop, coarse to fine
_STEPS = (6, 5, 5)  # iterations at most, per side
_CLOSE = 0.02  # pixels; a smaller correction ends the iteration
_TAIL = 1.5  # residuals beyond so many deviations count less: blinks, brows, hair in the wind


class Level(NamedTuple):
    """A template at one side; N pixels have weight."""

    pixels: np.ndarray  # [N] int, indices into the flat crop
    weight: np.ndarray  # [N] float32, how rigid the face is there
    values: np.ndarray  # [N] float32, grey levels
    system: np.ndarray  # [N, 6] float32: derivatives by shift x, shift y, log scale, angle; values; 1


class Match(NamedTuple):
    """Where a template was found."""

    pose: np.ndarray  # [2, 3] float64, crop -> frame
    score: float  # correlation with the template over the rigid parts that fit, at most 1


def rigid(side: int) -> np.ndarray:
    """Weights of the parts of a face that expressions move least: forehead, eyes, nose, temples.

    Measured on drawn faces whose head pose is known, full expressions move the crop by 0.04 to 0.15 pixels of 112 with
    these weights (standard deviation), and by two to four times as much when the brows count too.

    Args:
      side: of the crop in pixels.

    Returns:
      [side, side] float32 in [0, 1].
    """
    y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side
    face = _soft(1 - ((x - 0.5) / 0.4) ** 2 - ((y - 0.46) / 0.36) ** 2, 0.12)  # without the background
    brows = np.exp(-(((y - 0.31) / 0.085) ** 2)) * (np.abs(np.abs(x - 0.5) - 0.16) < 0.2)
    lower = _soft(y - 0.64, 0.03)  # mouth, chin, cheeks in a smile
    return (face * (1 - brows) * (1 - lower)).astype(np.float32)


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(value / width * 4, -30, 30)))


_RIGID = {side: rigid(side) for side in SIDES}


def sample(grey: np.ndarray, pose: np.ndarray, side: int) -> np.ndarray:
    """Cuts the crop out of a frame.

    Args:
      grey: [h, w] float32.
      pose: [2, 3], crop -> frame.
      side: of the result in pixels.

    Returns:
      [side, side] float32; the frame's border is continued outside of it.
    """
    return cv2.warpAffine(
        grey,
        to_pixels(pose, side),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def to_pixels(pose: np.ndarray, side: int) -> np.ndarray:
    """A pose between the integer pixel grids of OpenCV.

    Args:
      pose: [2, 3], crop [0, 1] -> frame, both measured from the corner of the first pixel.
      side: of the crop in pixels.

    Returns:
      [2, 3], pixel of the crop -> pixel of the frame, both measured from the centre of the first pixel.
    """
    linear = pose[:, :2] / side
    return np.column_stack([linear, pose[:, 2] + linear @ (0.5, 0.5) - 0.5])


def template(grey: np.ndarray, pose: np.ndarray) -> tuple[Level, ...]:
    """Remembers a face.

    Args:
      grey: [h, w] float32, a little blurred.
      pose: [2, 3], where the face is.

    Returns:
      One level per side of ``SIDES``.
    """
    levels = []
    for side in SIDES:
        crop = sample(grey, pose, side)
        dx = cv2.Sobel(crop, cv2.CV_32F, 1, 0, scale=1 / 8)
        dy = cv2.Sobel(crop, cv2.CV_32F, 0, 1, scale=1 / 8)
        y, x = np.mgrid[:side, :side].astype(np.float32) - (side - 1) / 2
        weight = _RIGID[side].ravel()
        pixels = np.flatnonzero(weight > 0.05)
        columns = (dx, dy, dx * x + dy * y, dy * x - dx * y, crop, np.ones_like(crop))
        system = np.stack([column.ravel()[pixels] for column in columns], 1)  # [N, 6]
        levels.append(Level(pixels, weight[pixels], crop.ravel()[pixels], system))
    return tuple(levels)


def match(levels: tuple[Level, ...], grey: np.ndarray, pose: np.ndarray, coarse: bool) -> Match:
    """Finds a remembered face near a guess.

    Args:
      levels: of :func:`template`.
      grey: [h, w] float32, blurred like the template's frame.
      pose: [2, 3], the guess.
      coarse: start at the smallest side, which finds faces farther from the guess; else at the largest.

    Returns:
      The refined pose and its score; score -1 where the iteration ran away.
    """
    start = pose
    chosen = range(len(SIDES)) if coarse else (len(SIDES) - 1,)
    for i in chosen:
        side, level, theta, weight = SIDES[i], levels[i], None, levels[i].weight
        for _ in range(_STEPS[i]):
            crop = sample(grey, pose, side).ravel()[level.pixels]
            theta, weight = _solve(level, crop, theta)
            if not theta[4] > 0.05:  # contrast of the frame against the template
                return Match(start, -1.0)
            move = theta[:4] / theta[4]
            pose = pose @ _inverse_move(move, side)
            theta[:4] = 0  # the pose holds the movement now; what is left to explain is contrast and brightness
            if abs(move[0]) + abs(move[1]) + (abs(move[2]) + abs(move[3])) * side / 4 < _CLOSE:
                break
    if not np.isfinite(pose).all() or not 0.5 < np.linalg.norm(pose[:, 0]) / np.linalg.norm(start[:, 0]) < 2:
        return Match(start, -1.0)
    crop = sample(grey, pose, SIDES[-1]).ravel()[levels[-1].pixels]
    # With the weights of the fit, a blink costs nothing; another face or pose costs all the same, because there the
    # residuals are large everywhere and none of them stands out.
    return Match(pose, _correlation(crop, levels[-1].values, weight))


def _solve(level: Level, crop: np.ndarray, theta: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Robust least squares of crop = system @ theta.

    Args:
      level: the template, N pixels.
      crop: [N] float32, the frame there.
      theta: [6] of the step before, or None.

    Returns:
      theta [6]: contrast x movement (4), contrast, brightness; and the weights [N] that were used.
    """
    weight = level.weight
    if theta is None:
        theta = _normal(level.system, weight, crop)
    residual = np.abs(crop - level.system @ theta.astype(np.float32))
    deviation = 1.48 * float(np.median(residual)) + 0.5
    weight = weight / (1 + (residual / (_TAIL * deviation)) ** 2)
    return _normal(level.system, weight, crop), weight


def _normal(system: np.ndarray, weight: np.ndarray, crop: np.ndarray) -> np.ndarray:
    weighted = system * weight[:, None]
    gram = (weighted.T @ system).astype(np.float64)
    gram[np.diag_indices(6)] += 1e-6 * np.trace(gram) / 6 + 1e-9
    return np.linalg.solve(gram, (weighted.T @ crop).astype(np.float64))


def _inverse_move(move: np.ndarray, side: int) -> np.ndarray:
    """[3, 3], inverse of the similarity that ``move`` (pixels, log scale, radians) makes about the crop's centre."""
    shift, grow = move[:2] / side, np.exp(-np.clip(move[2], -0.2, 0.2))
    angle = float(np.clip(move[3], -0.2, 0.2))
    cos, sin = np.cos(angle) * grow, np.sin(angle) * grow
    linear = np.array([[cos, sin], [-sin, cos]])
    centre = np.array((0.5, 0.5))
    result = np.eye(3)
    result[:2, :2] = linear
    result[:2, 2] = centre - linear @ (centre + np.clip(shift, -0.25, 0.25))
    return result


def _correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    weight = weight / weight.sum()
    a, b = a - weight @ a, b - weight @ b
    return float(weight @ (a * b) / np.sqrt((weight @ a**2) * (weight @ b**2) + 1e-12))
