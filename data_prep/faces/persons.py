"""Who is in a film: a detector looks at every frame, and what overlaps from frame to frame is one person.

A person is where one face is followed without a break: after a cut of the film, or a second without the face, somebody
else begins. Nobody is recognised again.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_prep.faces import find, shots
from data_prep.faces.find_landmarks import LandmarkFinder
from data_prep.media.frames import Frame
from fedn_jax.core.errors import UserError

_SAME = 0.3  # overlap from frame to frame from which a face is the same
_AWAY = 1.0  # seconds that a face may be away
_LEAST = 1.0  # seconds that somebody must be seen
_ROOM = 2.2  # side of what is shown of a person, in sides of the box: the crop of an aligner and some movement


class Person(NamedTuple):
    """One face, followed."""

    number: int  # from 1: in order of appearance, then from left to right
    start: int  # frame of the file, from 0
    boxes: np.ndarray  # [F, 4] float64, x, y, width, height in pixels, of frames from ``start`` on

    @property
    def shown(self) -> float:
        """How much there is of the person: pixels, summed over frames."""
        return float(np.prod(self.boxes[:, 2:], 1).sum())

    def only(self, frame: Frame) -> Frame:
        """A frame with nobody else in it.

        Args:
          frame: of the file.

        Returns:
          Black but for the person's surroundings; without an image where the person is not.
        """
        row = frame.index - self.start
        if frame.image is None or not 0 <= row < len(self.boxes):
            return frame._replace(image=None)
        x, y, width, height = self.boxes[row]
        half = _ROOM * max(width, height) / 2
        low = np.maximum(np.floor((x + width / 2 - half, y + height / 2 - half)).astype(int), 0)
        high = np.maximum(np.ceil((x + width / 2 + half, y + height / 2 + half)).astype(int), 0)
        image = np.zeros_like(frame.image)
        part = np.s_[low[1] : high[1], low[0] : high[0]]
        image[part] = frame.image[part]
        return frame._replace(image=image)


class _Track(NamedTuple):
    frames: list[int]
    times: list[float]
    boxes: list[np.ndarray]


def follow(frames: Iterator[Frame]) -> list[Person]:
    """Finds the people of a film.

    Args:
      frames: all of them, in order.

    Returns:
      Everybody who is seen for a second or longer.

    Raises:
      UserError: the landmarker's file was not fetched.
    """
    finder, running, ended = LandmarkFinder(), [], []
    before, usual = None, 0.0
    for frame in frames:
        if frame.image is None:
            continue
        thumbnail = shots.thumbnail(frame.image)
        if before is not None and shots.is_cut(before, thumbnail, usual):
            running, ended, before = [], ended + running, None
        if before is not None:
            usual = shots.settled(usual, before, thumbnail)
        before = thumbnail
        ended += [track for track in running if frame.seconds - track.times[-1] > _AWAY]
        running = [track for track in running if frame.seconds - track.times[-1] <= _AWAY]
        running += _extend(running, [face.box for face in finder.faces(frame.image)], frame)
    seen = [track for track in ended + running if track.times[-1] - track.times[0] >= _LEAST]
    seen.sort(key=lambda track: (track.frames[0], track.boxes[0][0]))
    return [_person(number, track) for number, track in enumerate(seen, 1)]


def _extend(running: list[_Track], boxes: list[np.ndarray], frame: Frame) -> list[_Track]:
    """Adds boxes to the tracks that they overlap most, one to one; returns tracks that begin with the others."""
    pairs = sorted(
        ((find.overlap(track.boxes[-1], box), t, b) for t, track in enumerate(running) for b, box in enumerate(boxes)),
        reverse=True,
    )
    tracks, taken = set(), set()
    for overlap, t, b in pairs:
        if overlap >= _SAME and t not in tracks and b not in taken:
            tracks.add(t)
            taken.add(b)
            for column, value in zip(running[t], (frame.index, frame.seconds, boxes[b]), strict=True):
                column.append(value)
    return [
        _Track([frame.index], [frame.seconds], [box])
        for b, box in enumerate(boxes)
        if b not in taken and all(find.overlap(box, boxes[other]) < _SAME for other in taken)
    ]


def _person(number: int, track: _Track) -> Person:
    """Boxes of the frames in between are interpolated."""
    frames = np.arange(track.frames[0], track.frames[-1] + 1)
    boxes = np.stack([np.interp(frames, track.frames, column) for column in np.array(track.boxes).T], 1)
    return Person(number, track.frames[0], boxes)


def choose(people: list[Person], wanted: str) -> list[Person]:
    """The people that a user asks for.

    Args:
      people: of ``follow``.
      wanted: "all", or how many: those of whom there is most.

    Returns:
      In order of their numbers.

    Raises:
      UserError: neither.
    """
    if wanted == "all":
        return people
    if not wanted.isdecimal() or int(wanted) < 1:
        raise UserError(f"--persons must be all, largest, or a number from 1 on; got {wanted}")
    most = sorted(people, key=lambda person: -person.shown)[: int(wanted)]
    return sorted(most, key=lambda person: person.number)
