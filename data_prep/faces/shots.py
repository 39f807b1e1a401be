"""Where a film is cut: from one frame to the next nearly everything is another.

Compared are thumbnails. Motion and noise change a part of them, or all of them a little, and go on for several frames;
a cut changes most of them at once.
"""

from collections.abc import Iterator

import cv2
import numpy as np

_SIDE = 16  # pixels of a thumbnail
_CHANGE = 20.0  # mean grey levels; a hand before the camera, a turn or a flash of light stay below, or
_LIKE = 0.5  # correlation: leave the picture like the one before
_TIMES = 4.0  # changes of the frames before, at least: a camera that swings changes everything all the time
_MEMORY = 0.8  # of the mean change


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A picture as its coarse brightness.

    Args:
      image: [h, w, 3] uint8 RGB.

    Returns:
      [256] float32.
    """
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32).ravel()


def is_cut(before: np.ndarray, after: np.ndarray, usual: float) -> bool:
    """Whether a film was cut between two frames.

    Args:
      before: [256] of ``thumbnail``.
      after: [256], the next one.
      usual: mean change of the frames before, grey levels.

    Returns:
      True for a cut.
    """
    change = float(np.abs(after - before).mean())
    if change < max(_CHANGE, _TIMES * usual):
        return False
    a, b = before - before.mean(), after - after.mean()
    return float(a @ b) < _LIKE * float(np.sqrt((a @ a) * (b @ b)) + 1e-9)


def settled(usual: float, before: np.ndarray, after: np.ndarray) -> float:
    """The mean change of the frames before, with one more.

    Args:
      usual: the mean so far.
      before: [256] of ``thumbnail``.
      after: [256], the next one.

    Returns:
      Grey levels.
    """
    return _MEMORY * usual + (1 - _MEMORY) * float(np.abs(after - before).mean())


def split(frames: Iterator[np.ndarray]) -> Iterator[Iterator[np.ndarray]]:
    """The shots of a film, one after the other; each must be used up before the next one is asked for.

    Args:
      frames: [h, w, 3] uint8 RGB each.

    Yields:
      The frames of a shot.
    """
    frames, waiting = iter(frames), []

    def shot() -> Iterator[np.ndarray]:
        frame, usual = waiting.pop(), 0.0
        before = thumbnail(frame)
        yield frame
        for frame in frames:
            after = thumbnail(frame)
            if is_cut(before, after, usual):
                waiting.append(frame)
                return
            usual = settled(usual, before, after)
            before = after
            yield frame

    for frame in frames:
        waiting.append(frame)
        while waiting:
            yield shot()
