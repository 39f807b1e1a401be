"""The aligned faces themselves, in a backbone's place: what models that read frames look at."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from fedn_jax.data import stills


class AlignedFrames(NamedTuple):
    """Aligned faces as shards with frames hold them, perhaps made smaller."""

    size: int  # side of the aligned face, pixels
    side: int  # of what the model reads, pixels

    @property
    def sha(self) -> str:
        """All that a stored row depends on."""
        return f"pictures of {self.side} pixels"

    @property
    def description(self) -> str:
        """What the model reads, in words."""
        return f"aligned frames, {self.side} pixels"

    def features(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Aligned faces, one after another.

        Args:
          images: [size, size, 3] uint8 RGB each.

        Yields:
          [1, side, side, 3] uint8, as ``stills.decode`` gives them.
        """
        for image in images:
            yield stills.smaller(image, self.side)[None]
