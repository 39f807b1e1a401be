"""Where the face is, by the face landmarker: its detector, then the eyes among its points."""

from collections.abc import Sequence

import numpy as np

from data_prep.faces import find, landmarker_file
from data_prep.faces.landmarker import Face, Landmarker

_EYES = ((33, 133), (362, 263))  # points: corners of the eye at the left and at the right of the picture
_PRESENT = 0.5  # least presence of a face


class LandmarkFinder:
    """Finds the largest face of a picture."""

    def __init__(self) -> None:
        """Reads the networks.

        Raises:
          UserError: the landmarker's file was not fetched.
        """
        self._networks = Landmarker(landmarker_file.load())

    def find(self, image: np.ndarray) -> np.ndarray | None:
        """Finds a face.

        Args:
          image: [h, w, 3] uint8 RGB.

        Returns:
          The pose of its crop, [2, 3] float64, crop -> frame as in ``register``; None without a face.
        """
        face = self._largest(image)
        return None if face is None else self._pose(image, face)

    def find_steady(self, images: Sequence[np.ndarray]) -> tuple[int, np.ndarray] | None:
        """Finds a face that several pictures agree on.

        Args:
          images: [h, w, 3] uint8 RGB each, frames of a moment.

        Returns:
          The index of the frame to start from and the pose there, a median over frames; None without a face, or when
          the only face is seen once among several frames.
        """
        faces = {i: face for i, image in enumerate(images) if (face := self._largest(image)) is not None}
        best = find.agreed({i: face.box for i, face in faces.items()}, len(images))
        poses = {i: pose for i in best if (pose := self._pose(images[i], faces[i])) is not None}
        if not poses:
            return None
        median = np.median(list(poses.values()), axis=0)
        return min(poses, key=lambda i: np.abs(poses[i] - median).sum()), median

    def _largest(self, image: np.ndarray) -> Face | None:
        return max(self._networks.find(image), key=lambda face: face.box[2], default=None)

    def _pose(self, image: np.ndarray, face: Face) -> np.ndarray | None:
        """The crop around the eyes, whose points are placed twice: the second time in the square of the first."""
        mesh = self._networks.mesh(image, self._networks.mesh(image, face.pose).pose)
        if mesh.presence < _PRESENT:
            return None
        return find.eye_pose(np.array([mesh.points[list(pair)].mean(0) for pair in _EYES]))
