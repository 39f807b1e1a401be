"""Where the face is, by the face landmarker: its detector, then the eyes among its points.

The detector finds heads that lie on their side, and says so; upside down it takes the mouth for eyes, with less
certainty than upright. So the picture is looked at both ways, and a pose may be turned by any angle.
"""

from collections.abc import Sequence

import numpy as np

from data_prep.faces import find, landmarker_file
from data_prep.faces.landmarker import PRESENT, Face, Landmarker

_EYES = ((33, 133), (362, 263))  # points: corners of the eye at the left and at the right of the picture
_ONE = 0.3  # faces that overlap more are one
_SAME = 0.25  # crops that a face may be away from where it was followed to, to be the same


class LandmarkFinder:
    """Finds the largest face of a picture."""

    def __init__(self) -> None:
        """Reads the networks.

        Raises:
          UserError: the landmarker's file was not fetched.
        """
        self._networks = Landmarker(landmarker_file.load())

    def faces(self, image: np.ndarray) -> list[Face]:
        """Faces of any direction; of an upright and a turned one in the same place the surer.

        Args:
          image: [h, w, 3] uint8 RGB.

        Returns:
          The faces, the surest first.
        """
        found = self._networks.find(image)
        size = np.array(image.shape[1::-1], np.float64)
        for face in self._networks.find(np.ascontiguousarray(image[::-1, ::-1])):
            corner = size - face.box[:2] - face.box[2:]
            found.append(face._replace(box=np.concatenate([corner, face.box[2:]]), keys=size - face.keys))
        kept: list[Face] = []
        for face in sorted(found, key=lambda face: -face.score):
            if all(find.overlap(face.box, other.box) < _ONE for other in kept):
                kept.append(face)
        return kept

    def find(self, image: np.ndarray, near: np.ndarray | None = None) -> np.ndarray | None:
        """Finds a face.

        Args:
          image: [h, w, 3] uint8 RGB.
          near: [2, 3] float64, the pose of a face that is followed: it is taken before others that are larger now.

        Returns:
          The pose of its crop, [2, 3] float64, crop -> frame as in ``register``; None without a face.
        """
        faces = self.faces(image)
        if near is not None:
            centre, side = near @ (0.5, 0.5, 1), np.linalg.norm(near[:, 0])
            away = lambda face: float(np.abs(face.box[:2] + face.box[2:] / 2 - centre).max() / side)
            faces = [face for face in faces if away(face) < _SAME] or faces
        face = max(faces, key=lambda face: face.box[2], default=None)
        return None if face is None else self._pose(image, face)

    def find_steady(self, images: Sequence[np.ndarray]) -> tuple[int, np.ndarray] | None:
        """Finds a face that several pictures agree on.

        Args:
          images: [h, w, 3] uint8 RGB each, frames of a moment.

        Returns:
          The index of the frame to start from and the pose there, a median over frames; None without a face, or when
          the only face is seen once among several frames.
        """
        faces = {
            i: face
            for i, image in enumerate(images)
            if (face := max(self.faces(image), key=lambda face: face.box[2], default=None)) is not None
        }
        best = find.agreed({i: face.box for i, face in faces.items()}, len(images))
        poses = {i: pose for i in best if (pose := self._pose(images[i], faces[i])) is not None}
        if not poses:
            return None
        median = np.median(list(poses.values()), axis=0)
        return min(poses, key=lambda i: np.abs(poses[i] - median).sum()), median

    def _pose(self, image: np.ndarray, face: Face) -> np.ndarray | None:
        """The crop around the eyes, whose points are placed twice: the second time in the square of the first."""
        mesh = self._networks.mesh(image, self._networks.mesh(image, face.pose).pose)
        if mesh.presence < PRESENT:
            return None
        return find.eye_pose(np.array([mesh.points[list(pair)].mean(0) for pair in _EYES]))
