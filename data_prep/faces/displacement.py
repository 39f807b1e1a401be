"""How far regions of an aligned face have moved since an earlier frame, by dense optical flow, with the nose at rest.

The registration holds the rigid parts of the face still; what the nose moves all the same is taken off every region.
"""

from typing import NamedTuple

import cv2
import numpy as np

from data_prep.faces import align, flow
from fedn_jax.core import schema

SIDE = 112  # of the faces that are compared, pixels: the unit of the displacement, whatever the size of the faces
_RENEWED = 10.0  # seconds until a later frame is the one that others are compared with: light and pose change slowly
NONE = np.zeros((schema.REGIONS, 2), np.float16)


class Region(NamedTuple):
    """A rectangle, in distances between the eyes from their middle."""

    x: float
    y: float
    width: float
    height: float


NOSE = Region(0.0, 0.3, 0.28, 0.6)
REGIONS = (  # not the eyes, which blink
    Region(-0.25, -0.38, 0.32, 0.28), Region(0.25, -0.38, 0.32, 0.28),  # inner brows
    Region(-0.65, -0.36, 0.4, 0.28), Region(0.65, -0.36, 0.4, 0.28),  # outer brows
    Region(-0.6, 0.38, 0.44, 0.28), Region(0.6, 0.38, 0.44, 0.28),  # cheeks
    Region(-0.28, 0.45, 0.24, 0.3), Region(0.28, 0.45, 0.24, 0.3),  # wings of the nose
    Region(-0.45, 1.05, 0.4, 0.4), Region(0.45, 1.05, 0.4, 0.4),  # corners of the mouth
    Region(0.0, 0.92, 0.4, 0.2), Region(0.0, 1.25, 0.44, 0.28),  # upper lip; lower lip and chin
)  # fmt: skip


def box(region: Region, aligner: str) -> tuple[slice, slice]:
    """Where a region lies.

    Args:
      region: the region.
      aligner: of ``align.ALIGNERS``. Only ``cascade`` and ``landmarker`` put the eyes at a known place; faces of others
        are taken to be framed as by ``cascade``.

    Returns:
      Rows and columns of a face of ``SIDE`` pixels.
    """
    x, y, apart = flow.EYES["cascade"]
    room = align.ROOM if aligner == "landmarker" else 1.0
    middle, apart = 0.5 + (np.array([x, y]) - 0.5) / room, apart / room
    centre, half = middle + apart * np.array(region[:2]), apart * np.array(region[2:]) / 2
    left, top = np.round(SIDE * (centre - half)).astype(int).tolist()
    right, bottom = np.round(SIDE * (centre + half)).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


class Displacement:
    """The displacement of one face from frame to frame."""

    def __init__(self, aligner: str, fps: float) -> None:
        """Begins without a face.

        Args:
          aligner: see ``box``.
          fps: frames per second.
        """
        self._boxes, self._nose = [box(region, aligner) for region in REGIONS], box(NOSE, aligner)
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)  # Kroeger et al., ECCV 2016
        self._flow.setFinestScale(1)  # of halvings: the preset stops at 2, where a region is 3 pixels
        self._renewed = max(round(_RENEWED * fps), 1)
        self.restart()

    def restart(self) -> None:
        """Forgets the face: after a cut of the film another one may be there."""
        self._reference: np.ndarray | None = None
        self._moved = np.zeros((schema.REGIONS, 2))  # of the reference
        self._age = 0  # frames since the reference

    def next(self, image: np.ndarray) -> np.ndarray:
        """Looks at the next frame with a face; those without one are left out.

        Args:
          image: [S, S, 3] uint8 RGB, aligned.

        Returns:
          [12, 2] float16, mean displacement of each region to the right and downwards since the first frame, less that
          of the nose, pixels of a face of ``SIDE``.
        """
        grey = flow.grey(image)
        if len(grey) != SIDE:
            grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        if self._reference is None:
            self._reference = grey
        found = self._flow.calc(self._reference, grey, None)  # [112, 112, 2]
        mean = lambda rows, columns: cv2.mean(found[rows, columns])[:2]
        moved = self._moved + np.array([mean(*place) for place in self._boxes]) - mean(*self._nose)
        self._age += 1
        if self._age == self._renewed:
            self._reference, self._moved, self._age = grey, moved, 0
        return moved.astype(np.float16)
