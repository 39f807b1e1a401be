"""Faces to 52 numbers: the blendshapes of MediaPipe's face landmarker, which knows real faces.

The points are placed in the aligned face as it is. Its crop is steadier than the square that follows the points from
frame to frame, so the numbers tremble less (docs/benchmarks.md). A coefficient is the output of a sigmoid; given on are
its log-odds, in which weak movements of different people look alike: with them the same network spots more.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.faces import landmarker_file
from fedn_jax.core.errors import UserError

FORMAT = "fedn_jax.blendshapes"  # entry of the file's metadata that says what it is
_TENSOR = "face_landmarker"
_BATCH = 32  # frames that are given on together
LEAST = 1e-4  # coefficients are taken to be at least so far from 0 and from 1


class Blendshapes(NamedTuple):
    """A feature extractor: the file of the face landmarker."""

    content: bytes  # its checksum is that of ``landmarker_file``
    size = 256  # side of the face image that the network takes, pixels
    width = 52
    aligner = "landmarker"
    description = "52 blendshapes of MediaPipe's face landmarker, as log-odds"
    sha = hashlib.sha256(f"blendshapes, log-odds, {LEAST} {landmarker_file.SHA256}".encode()).hexdigest()

    def features(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Aligned faces to blendshapes.

        Args:
          images: [size, size, 3] uint8 RGB each; another size is scaled.

        Yields:
          [at most a batch, 52] float16, log-odds in the order of ``landmarker.NAMES``; NaN where no face is seen.
        """
        import cv2

        from data_prep.faces.landmarker import PRESENT, Landmarker

        networks, rows = Landmarker(self.content), []
        for image in images:
            row = np.full(self.width, np.nan, np.float16)
            if image.any():  # a gap is black
                mesh = networks.mesh_of_crop(cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA))
                if mesh.presence >= PRESENT:
                    row = log_odds(networks.blendshapes(mesh.points)).astype(np.float16)
            rows.append(row)
            if len(rows) == _BATCH:
                yield np.stack(rows)
                rows = []
        if rows:
            yield np.stack(rows)

    def stored(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """What a file holds: the whole landmarker, so that a run works wherever it goes.

        Returns:
          Arrays and metadata, by name, as safetensors stores them.
        """
        metadata = {"format": FORMAT, "description": self.description, "license": "Apache-2.0, Google MediaPipe"}
        return {_TENSOR: np.frombuffer(self.content, np.uint8)}, metadata


def log_odds(coefficients: np.ndarray) -> np.ndarray:
    """The inverse of the sigmoid.

    Args:
      coefficients: float, in [0, 1].

    Returns:
      The same shape, float64.

    >>> log_odds(np.array([0.5, 0.0])).round(2).tolist()
    [0.0, -9.21]
    """
    inside = np.clip(coefficients.astype(np.float64), LEAST, 1 - LEAST)
    return np.log(inside / (1 - inside))


def load() -> Blendshapes:
    """The extractor of the user's cache.

    Returns:
      The extractor.

    Raises:
      UserError: the landmarker's file was not fetched.
    """
    return Blendshapes(landmarker_file.load())


def from_stored(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Blendshapes:
    """The extractor that a file holds; the file of the landmarker goes into the user's cache, where aligners need it.

    Args:
      path: the file, for messages.
      tensors: arrays by name.
      metadata: text by name.

    Returns:
      The extractor.

    Raises:
      UserError: the file holds another content.
    """
    del metadata
    try:
        content = landmarker_file.check(tensors.get(_TENSOR, np.zeros(0)).tobytes())
        landmarker_file.install(content)
    except UserError as error:
        raise UserError(f"backbone {path}: the face landmarker in it is damaged: {error}") from None
    return Blendshapes(content)
