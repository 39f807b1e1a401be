"""Faces, 478 points on each and 52 blendshapes: the networks of MediaPipe's face landmarker, run by OpenCV.

The file (``landmarker_file``) holds three TFLite networks; anchors, decoding and the square that the next network looks
at are done here, after the graphs of MediaPipe (mediapipe/tasks/cc/vision: face_detector, face_landmarker). A square is
a pose as in ``register``: a similarity [2, 3] from the crop [0, 1] to pixels of the picture.
"""

import zipfile
from io import BytesIO
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.faces import register
from fedn_jax.core.errors import UserError

POINTS = 478
NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""The blendshapes, in the order of the network; left and right are the person's."""

_DETECTOR, _MESH = 128, 256  # sides of the pictures that the networks take
_STRIDES = ((8, 2), (16, 6))  # of the detector's grids, and anchors in each cell
PRESENT = 0.5  # least presence of a face in its square
_SCORE = 0.5  # least score of a detected face
_OVERLAP = 0.3  # faces that overlap more are one
_ROOM = 1.5  # side of the square in sides of the box
_OUTER_EYES = (33, 263)  # points whose line is level in the square
_READ = (  # points that the network of the blendshapes reads
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251,
    263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318,
    321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip


class Face(NamedTuple):
    """A detected face."""

    box: np.ndarray  # [4] float64, x, y, width, height in pixels
    keys: np.ndarray  # [6, 2] float64: the eye at the left and at the right of an upright picture, nose, mouth, ears
    score: float  # in [0, 1]

    @property
    def pose(self) -> np.ndarray:
        """The square around it, [2, 3] float64, crop -> picture."""
        return square(self.box, self.keys[0], self.keys[1])


class Mesh(NamedTuple):
    """The points of a face."""

    points: np.ndarray  # [478, 2] float64, pixels of the picture
    presence: float  # in [0, 1]: that there is a face in the square

    @property
    def pose(self) -> np.ndarray:
        """The square around the points, [2, 3] float64, crop -> picture."""
        low, high = self.points.min(0), self.points.max(0)
        side = float((high - low).max())
        middle = (low + high) / 2
        return square(np.array([*(middle - side / 2), side, side]), *self.points[list(_OUTER_EYES)])


def square(box: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The square that a network looks at: around a box, with two points on a level.

    Args:
      box: [4] float64, x, y, width, height in pixels.
      left: [2] float64, a point.
      right: [2] float64, a point to the right of it in an upright face.

    Returns:
      [2, 3] float64, crop -> picture.
    """
    across = right - left
    across = across / max(float(np.hypot(*across)), 1e-9) * _ROOM * max(box[2:])
    linear = np.array([[across[0], -across[1]], [across[1], across[0]]])
    return np.column_stack([linear, box[:2] + box[2:] / 2 - linear @ (0.5, 0.5)])


class Landmarker:
    """The three networks. One of them serves one thread."""

    def __init__(self, content: bytes):
        """Reads the networks.

        Args:
          content: of the file ``face_landmarker.task``, checked by its checksum.

        Raises:
          UserError: this version of OpenCV does not read them.
        """
        try:
            with zipfile.ZipFile(BytesIO(content)) as archive:
                nets = [
                    cv2.dnn.readNetFromTFLite(np.frombuffer(archive.read(f"{name}.tflite"), np.uint8))
                    for name in ("face_detector", "face_landmarks_detector", "face_blendshapes")
                ]
        except (cv2.error, zipfile.BadZipFile, KeyError) as error:
            raise UserError(
                f"the face landmarker cannot be read by OpenCV {cv2.__version__} ({type(error).__name__}); expected "
                "OpenCV 4.10 to 4.x and the file of `fedn fetch face-landmarker`"
            ) from None
        self._detector, self._mesh, self._blendshapes = nets
        self._anchors = _anchors()

    def find(self, image: np.ndarray) -> list[Face]:
        """Finds upright faces; each should take at least an eighth of the longer side.

        Args:
          image: [h, w, 3] uint8 RGB.

        Returns:
          The faces, the surest first.
        """
        height, width = image.shape[:2]
        longest = max(height, width)
        sides = (max(1, round(width * _DETECTOR / longest)), max(1, round(height * _DETECTOR / longest)))
        small = cv2.resize(image, sides, interpolation=cv2.INTER_AREA)
        left, top = (_DETECTOR - sides[0]) // 2, (_DETECTOR - sides[1]) // 2
        around = (top, _DETECTOR - sides[1] - top, left, _DETECTOR - sides[0] - left)
        padded = cv2.copyMakeBorder(small, *around, cv2.BORDER_CONSTANT)
        self._detector.setInput(cv2.dnn.blobFromImage(padded, 2 / 255, mean=(127.5,) * 3))
        logits, raw = self._detector.forward(["classificators", "regressors"])
        score = 1 / (1 + np.exp(-np.clip(logits.reshape(-1).astype(np.float64), -100, 100)))  # [896]
        raw = raw.reshape(-1, 8, 2).astype(np.float64)  # [896, 8, 2]: centre, size, six key points; pixels of 128
        raw[:, [0, *range(2, 8)]] += self._anchors[:, None]
        raw[:, [0, *range(2, 8)]] -= (left, top)
        raw *= longest / _DETECTOR
        return _distinct(raw, score)

    def mesh(self, image: np.ndarray, pose: np.ndarray) -> Mesh:
        """Places the points on a face.

        Args:
          image: [h, w, 3] uint8 RGB.
          pose: [2, 3] float64, the square around the face, crop -> picture.

        Returns:
          The points; without meaning where the presence is low.
        """
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image, register.to_pixels(pose, _MESH), (_MESH, _MESH), flags=flags)
        return self.mesh_of_crop(crop, pose)

    def mesh_of_crop(self, crop: np.ndarray, pose: np.ndarray | None = None) -> Mesh:
        """Places the points on a face that has been cut out already.

        Args:
          crop: [256, 256, 3] uint8 RGB, an upright face.
          pose: [2, 3] float64, where the crop comes from; None: points are in pixels of the crop.

        Returns:
          The points; without meaning where the presence is low.
        """
        self._mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        points, presence = self._mesh.forward(["Identity", "Identity_1"])
        points = points.reshape(POINTS, 3)[:, :2].astype(np.float64)  # [1434] -> [478, 2]; depth is left out
        if pose is not None:
            points = points / _MESH @ pose[:, :2].T + pose[:, 2]
        return Mesh(points, float(1 / (1 + np.exp(-np.clip(presence.item(), -100, 100)))))

    def blendshapes(self, points: np.ndarray) -> np.ndarray:
        """How the face deviates from rest, as the network knows it.

        Args:
          points: [478, 2] float64 of :class:`Mesh`.

        Returns:
          [52] float32 in [0, 1], in the order of ``NAMES``.
        """
        self._blendshapes.setInput(points[None, list(_READ)].astype(np.float32))  # [1, 146, 2]
        return self._blendshapes.forward().reshape(len(NAMES))


def _anchors() -> np.ndarray:
    """[896, 2] float64: (x, y) of the centre of each anchor in pixels of the detector's picture."""
    grids = []
    for stride, number in _STRIDES:
        centres = (np.arange(_DETECTOR // stride) + 0.5) * stride
        y, x = np.meshgrid(centres, centres, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), number, 0))
    return np.concatenate(grids)


def _distinct(raw: np.ndarray, score: np.ndarray) -> list[Face]:
    """Faces of overlapping detections: their mean, weighted by score. ``raw``: [N, 8, 2] centre, size, key points."""
    sure = np.flatnonzero(score >= _SCORE)
    raw, score = raw[sure], score[sure]
    low, high = raw[:, 0] - raw[:, 1] / 2, raw[:, 0] + raw[:, 1] / 2
    faces, left = [], np.argsort(-score, kind="stable")
    while len(left):
        first = left[0]
        inside = np.prod(np.clip(np.minimum(high[first], high[left]) - np.maximum(low[first], low[left]), 0, None), 1)
        area = np.prod(raw[left, 1], 1)
        same = inside / (np.prod(raw[first, 1]) + area - inside) > _OVERLAP
        same[0] = True
        group = left[same]
        mean = np.average(raw[group], 0, score[group])  # [8, 2]
        faces.append(Face(np.concatenate([mean[0] - mean[1] / 2, mean[1]]), mean[2:], float(score[first])))
        left = left[~same]
    return faces
