"""Frames to faces: one square crop per frame, in which a still face stays still.

The face is found once, by OpenCV's cascades (``cascade``, needs no download) or by the face landmarker
(``landmarker``); then every frame is registered to the video's own earlier frames with sub-pixel precision. Boxes of a
detector jitter by more than a micro-expression moves a brow, and points of the landmarker tremble three times as much
as the registration (docs/benchmarks.md). Registration looks at the rigid parts of the face only, so that sway, scale
and roll of the head are removed and expressions stay.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.faces import register, shots
from data_prep.faces.find import Finder
from data_prep.faces.find_landmarks import LandmarkFinder

LOOKAHEAD = 12  # frames in which the first face is searched
_LOOK_EVERY = 3  # the finder looks at every third of them, and of the frames without a face
_CHECK_EVERY = 90  # frames between two checks that the registered thing is still the face
_GOOD = 0.88  # correlation at which a template still describes the face
_LOST = 0.55  # correlation below which the face is not there
_TEMPLATES = 8  # remembered poses of the head
ROOM = 1.15  # crop of ``landmarker`` in crops of ``cascade``: as much around the face as its networks expect


class Aligned(NamedTuple):
    """One frame after alignment."""

    image: np.ndarray  # [size, size, 3] uint8 RGB; black where valid is False
    valid: bool  # a face was found
    transform: np.ndarray  # [2, 3] float64, pixel of the frame -> pixel of the image; zeros where not valid
    cut: bool = False  # the film was cut before this frame


Aligner = Callable[[Iterator[np.ndarray], int], Iterator[Aligned]]


def align_none(frames: Iterator[np.ndarray], size: int) -> Iterator[Aligned]:
    """Takes the frames as aligned already: the centre square, resized.

    Args:
      frames: [H, W, 3] uint8 RGB each.
      size: side of the results in pixels.

    Yields:
      One per frame; not valid where the frame is black all over (how OpenFace marks a lost face).
    """
    for frame in frames:
        height, width = frame.shape[:2]
        side = min(height, width)
        pose = np.array([[side, 0, (width - side) / 2], [0, side, (height - side) / 2]], np.float64)
        if frame.any():
            yield cut(frame, pose, size, size / side)
        else:
            yield gap(size)


def align_cascade(frames: Iterator[np.ndarray], size: int) -> Iterator[Aligned]:
    """Finds, follows and stabilises the largest face, with OpenCV's cascades.

    Args:
      frames: [H, W, 3] uint8 RGB each.
      size: side of the results in pixels.

    Yields:
      One per frame, in order, at most ``LOOKAHEAD`` frames late.
    """
    yield from _followed(Tracker(Finder()), frames, size)


def align_landmarker(frames: Iterator[np.ndarray], size: int) -> Iterator[Aligned]:
    """Finds, follows and stabilises the largest face, with the face landmarker; anew after every cut of the film.

    Args:
      frames: [H, W, 3] uint8 RGB each.
      size: side of the results in pixels.

    Yields:
      One per frame, in order, at most ``LOOKAHEAD`` frames late.

    Raises:
      UserError: the landmarker's file was not fetched.
    """
    finder = LandmarkFinder()
    for number, shot in enumerate(shots.split(frames)):
        for index, one in enumerate(_followed(Tracker(finder, ROOM), shot, size)):
            yield one._replace(cut=number > 0 and index == 0)


def _followed(tracker: "Tracker", frames: Iterator[np.ndarray], size: int) -> Iterator[Aligned]:
    frames = iter(frames)
    waiting = deque(islice(frames, LOOKAHEAD))
    while waiting and not tracker.start(list(waiting)):
        for _ in range(min(_LOOK_EVERY, len(waiting))):
            waiting.popleft()
            yield gap(size)
        waiting.extend(islice(frames, LOOKAHEAD - len(waiting)))
    while waiting:
        frame = waiting.popleft()
        yield tracker.next(frame, size)
        waiting.extend(islice(frames, 1))


# "openface": the pictures that OpenFace aligned are taken as they are; ``openface`` says which of them count.
ALIGNERS: dict[str, Aligner] = {
    "cascade": align_cascade,
    "landmarker": align_landmarker,
    "openface": align_none,
    "none": align_none,
}


class Tracker:
    """Follows one face from frame to frame; poses take the crop [0, 1] to pixels of the frame."""

    def __init__(self, finder: Finder | LandmarkFinder, room: float = 1.0) -> None:
        """Begins without a face.

        Args:
          finder: finds it.
          room: side of the result in sides of the crop that is registered.
        """
        self._finder, self._room = finder, room
        self._templates: list[tuple[register.Level, ...]] = []
        self._current = 0  # index of the template in use
        self._pose: np.ndarray | None = None  # of the last frame with a face
        self._before: np.ndarray | None = None  # the pose in the last frame that had a face
        self._last: np.ndarray | None = None  # the last frame with a face, small and blurred
        self._side = 1.0  # of the crop in the frame at the start, pixels
        self._count = 0  # frames since the last look of the finder

    def start(self, frames: list[np.ndarray]) -> bool:
        """Finds the face in the first frames.

        Args:
          frames: [H, W, 3] uint8 RGB each.

        Returns:
          Whether there is one; if so ``next`` may be called, from the first of the frames on.
        """
        some = frames[::_LOOK_EVERY]
        found = self._finder.find_steady(some)
        if found is not None:
            self._begin(cv2.cvtColor(some[found[0]], cv2.COLOR_RGB2GRAY), found[1])
        return found is not None

    def next(self, frame: np.ndarray, size: int) -> Aligned:
        """Aligns the next frame.

        Args:
          frame: [H, W, 3] uint8 RGB.
          size: side of the result in pixels.

        Returns:
          The aligned face, or a gap.
        """
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        pose = self._follow(self._small(grey)) if self._pose is not None else None
        self._count += 1
        if pose is None:
            self._pose = None
            if self._count % _LOOK_EVERY == 0 or self._last is not None:
                pose = self._recover(frame, grey)
            self._last = None
        elif self._count >= _CHECK_EVERY:
            pose = self._check(frame, grey, pose)
        if pose is None:
            return gap(size)
        self._pose, self._before, self._last = pose, pose, self._small(grey)
        return cut(frame, widened(pose, self._room), size, size / (self._side * self._room))

    def _begin(self, grey: np.ndarray, pose: np.ndarray) -> None:
        """Takes what was detected as the pose and the face there as the first template."""
        self._pose, self._side = pose, float(np.linalg.norm(pose[:, 0]))
        self._templates = [register.template(self._small(grey), self._units(pose))]
        self._current = self._count = 0

    def _small(self, grey: np.ndarray) -> np.ndarray:
        """The frame at about the scale of the registration, blurred against noise; [h, w] float32."""
        shrink = self._shrink()
        if shrink < 1:
            grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(grey, (0, 0), 0.8).astype(np.float32)

    def _shrink(self) -> float:
        return min(1.0, register.SIDES[-1] / self._side)

    def _units(self, pose: np.ndarray) -> np.ndarray:
        """A pose in pixels of the small frame."""
        return pose * self._shrink()

    def _follow(self, small: np.ndarray) -> np.ndarray | None:
        """The pose of the next frame, or None when the face is lost."""
        guess = self._units(self._pose)
        found = register.match(self._templates[self._current], small, guess, coarse=False)
        if found.score < _GOOD:
            found = self._best(small, guess)
        if found.score < _GOOD and self._last is not None:
            # The head has turned: remember how it looked one frame ago, when its pose was known.
            found = max(found, self._remember(small, guess), key=lambda m: m.score)
        return found.pose / self._shrink() if found.score >= _LOST else None

    def _best(self, small: np.ndarray, guess: np.ndarray) -> register.Match:
        """The template that fits best, each searched from coarse to fine."""
        matches = [register.match(levels, small, guess, coarse=True) for levels in self._templates]
        best = max(range(len(matches)), key=lambda i: matches[i].score)
        if matches[best].score >= _GOOD:
            self._current = best
        return matches[best]

    def _remember(self, small: np.ndarray, guess: np.ndarray) -> register.Match:
        """Adds a template of the last frame and matches it."""
        levels = register.template(self._last, guess)
        found = register.match(levels, small, guess, coarse=True)
        if found.score >= _LOST:
            if len(self._templates) >= _TEMPLATES:
                del self._templates[1]  # never the first: all poses are measured against it
            self._templates.append(levels)
            self._current = len(self._templates) - 1
        return found

    def _recover(self, frame: np.ndarray, grey: np.ndarray) -> np.ndarray | None:
        """Finds the face again after a gap: with the finder, then with the templates."""
        self._count = 0
        detected = self._finder.find(frame, self._before)
        if detected is None:
            return None
        found = self._best(self._small(grey), self._units(detected))
        if found.score >= _GOOD:
            return found.pose / self._shrink()
        self._begin(grey, detected)  # another person, light or place
        return detected

    def _check(self, frame: np.ndarray, grey: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """Looks whether the finder sees the face somewhere else, as after a false start."""
        self._count = 0
        detected = self._finder.find(frame, pose)
        if detected is None:
            return pose  # a finder misses many faces; what is followed correlates
        away = np.abs((detected - pose) @ (0.5, 0.5, 1)).max() / np.linalg.norm(pose[:, 0])
        if away < 0.5:
            return pose
        self._begin(grey, detected)
        return detected


def widened(pose: np.ndarray, room: float) -> np.ndarray:
    """A crop of another size about the same centre.

    Args:
      pose: [2, 3], crop -> frame.
      room: side of the result in sides of the crop.

    Returns:
      [2, 3], crop -> frame.
    """
    linear = pose[:, :2] * room
    return np.column_stack([linear, pose[:, 2] + (pose[:, :2] - linear) @ (0.5, 0.5)])


def gap(size: int) -> Aligned:
    """What stands for a frame without a face.

    Args:
      size: side of the picture, pixels.

    Returns:
      A black one.
    """
    return Aligned(np.zeros((size, size, 3), np.uint8), False, np.zeros((2, 3)))


def cut(frame: np.ndarray, pose: np.ndarray, size: int, scale: float) -> Aligned:
    """Cuts the crop out of a frame.

    Args:
      frame: [H, W, 3] uint8 RGB.
      pose: [2, 3], crop -> frame.
      size: side of the result in pixels.
      scale: result pixels per frame pixel, the same over a video: decides on anti-aliasing.

    Returns:
      The crop.
    """
    forward = cv2.invertAffineTransform(register.to_pixels(pose, size))  # frame -> image
    if scale < 0.75:
        height, width = frame.shape[:2]
        frame = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        pose = pose * np.array([[frame.shape[1] / width], [frame.shape[0] / height]])
    image = cv2.warpAffine(
        frame,
        register.to_pixels(pose, size),
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return Aligned(image, True, forward)
