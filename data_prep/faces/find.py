"""Where the face is, roughly: OpenCV's cascades for faces and, inside, for eyes. Nothing has to be downloaded.

The face's box wanders by six per cent of its size between faces and frames; the eyes inside it are found five times
more precisely and give the roll of the head as well. So the eyes decide where the crop is, and the box only where no
two eyes are found.
"""

from collections.abc import Sequence

import cv2
import numpy as np

_CROP = 3.5  # side of the crop, in distances between the eyes
_EYES = 0.405  # height of the eyes in the crop
_BOX = 2.68  # side of the cascade's box, in distances between the eyes
_BOX_EYES = 0.41  # height of the eyes in the box
_LONGEST = (320, 960)  # longer side of the picture: the small one is faster and has fewer false faces
_LEAST = 0.12  # smallest face, in shorter sides of the picture
_EYE_ROI = 160  # pixels that the box is scaled to when eyes are searched


class Finder:
    """Finds the largest upright, frontal face of a picture."""

    def __init__(self) -> None:
        self._face = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
        self._eye = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_eye.xml")

    def find(self, image: np.ndarray, near: np.ndarray | None = None) -> np.ndarray | None:
        """Finds a face.

        Args:
          image: [h, w, 3] uint8 RGB.
          near: not used: the largest face is taken.

        Returns:
          The pose of its crop, [2, 3] float64, crop -> frame as in ``register``; None without a face.
        """
        del near
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        box = self._box(grey)
        if box is None:
            return None
        eyes = self._eyes(grey, box)
        return box_pose(box) if eyes is None else eye_pose(eyes)

    def find_steady(self, images: Sequence[np.ndarray]) -> tuple[int, np.ndarray] | None:
        """Finds a face that several pictures agree on.

        Args:
          images: [h, w, 3] uint8 RGB each, frames of a moment.

        Returns:
          The index of the frame to start from and the pose there, a median over frames; None without a face, or when
          the only face is seen once among several frames.
        """
        greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
        boxes = {i: box for i, grey in enumerate(greys) if (box := self._box(grey)) is not None}
        best = agreed(boxes, len(greys))
        if not best:
            return None
        pairs = {i: eyes for i in best if (eyes := self._eyes(greys[i], boxes[i])) is not None}
        found = pairs if 2 * len(pairs) >= len(best) else {i: boxes[i] for i in best}
        median = np.median(list(found.values()), axis=0)
        start = min(found, key=lambda i: np.abs(found[i] - median).sum())
        return start, eye_pose(median) if found is pairs else box_pose(median)

    def _box(self, grey: np.ndarray) -> np.ndarray | None:
        """[4] float64, x, y, width, height of the largest face, or None."""
        for longest in _LONGEST:
            shrink = min(1.0, longest / max(grey.shape))
            small = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else grey
            least = max(24, int(_LEAST * min(small.shape)))
            boxes = self._face.detectMultiScale(small, 1.1, 5, minSize=(least, least))
            if len(boxes):
                return max(boxes, key=lambda box: box[2]).astype(np.float64) / shrink
            if shrink == 1:
                break
        return None

    def _eyes(self, grey: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """[2, 2] float64, (x, y) of the eye at the left and at the right of the picture, or None."""
        x, y, side = int(max(box[0], 0)), int(max(box[1], 0)), box[2]
        part = grey[y : y + int(0.7 * side), x : x + int(side)]
        scale = _EYE_ROI / side
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = self._eye.detectMultiScale(part, 1.1, 3, minSize=(20, 20), maxSize=(64, 64))
        eyes = [np.array((left + width / 2, top + height / 2, width)) for left, top, width, height in found]
        pairs = [(_oddness(a, b), a, b) for a in eyes for b in eyes if a[0] < b[0]]
        odd, a, b = min(pairs, key=lambda pair: pair[0], default=(np.inf, None, None))
        return np.stack([a[:2], b[:2]]) / scale + (x, y) if odd < np.inf else None


def _oddness(a: np.ndarray, b: np.ndarray) -> float:
    """How little two findings (x, y, width; pixels of ``_EYE_ROI``) look like a pair of eyes; infinity: not at all."""
    distance = np.hypot(*(b[:2] - a[:2]))
    unequal = abs(np.log(a[2] / b[2]))
    if not 0.25 < distance / _EYE_ROI < 0.6 or abs(b[1] - a[1]) > 0.35 * distance or unequal > 0.5:
        return np.inf
    middle = (a[:2] + b[:2]) / 2 / _EYE_ROI
    return float(abs(middle[0] - 0.5) + abs(middle[1] - _BOX_EYES) + 0.3 * unequal)


def agreed(boxes: dict[int, np.ndarray], number: int) -> list[int]:
    """The frames of a moment whose faces are one.

    Args:
      boxes: frame -> [4] float64, x, y, width, height of the face in it.
      number: of frames that were looked at.

    Returns:
      The frames of the largest group of boxes that overlap by half; [] if it is a single one of several frames.
    """
    groups = [[i for i, box in boxes.items() if overlap(box, other) > 0.5] for other in boxes.values()]
    best = max(groups, key=len, default=[])
    return [] if len(best) == 1 and number > 1 else best


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes.

    Args:
      a: [4], x, y, width, height.
      b: [4], likewise.

    Returns:
      A number from 0 to 1.
    """
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    inside = np.prod(np.clip(high - low, 0, None))
    return float(inside / (a[2:].prod() + b[2:].prod() - inside))


def eye_pose(eyes: np.ndarray) -> np.ndarray:
    """The crop around two eyes: upright, the whole face with brows and chin.

    Args:
      eyes: [2, 2] float64, (x, y) in pixels of the eye at the left and at the right of the picture.

    Returns:
      [2, 3] float64, crop -> frame.
    """
    across = (eyes[1] - eyes[0]) * _CROP
    linear = np.array([[across[0], -across[1]], [across[1], across[0]]])
    return np.column_stack([linear, eyes.mean(0) - linear @ (0.5, _EYES)])


def box_pose(box: np.ndarray) -> np.ndarray:
    """The crop for a box of the cascade, taken to be upright.

    Args:
      box: [4] float64, x, y, width, height in pixels.

    Returns:
      [2, 3] float64, crop -> frame.
    """
    x, y, side = box[0], box[1] + _BOX_EYES * box[2], box[2]
    half = side / _BOX / 2
    return eye_pose(np.array([[x + side / 2 - half, y], [x + side / 2 + half, y]]))
