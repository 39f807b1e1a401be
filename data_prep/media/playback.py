"""What a player shows of a video file: which stream, when, which way up, how wide, and whether its end is there.

The rules are FFmpeg's own, as ``ffmpeg``, ``ffplay`` and ``mpv`` follow them, and stand here only.
"""

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count

HOLE = 1.0  # seconds without a new picture from which on nothing is known of the time between
SLOW = 3.0  # frames of the nominal rate that a hole must be longer than, too: a slow video has none
MISSING = 0.2  # seconds that the end may be away from where the header says
FRAMES = 3  # likewise, in frames
WIDEST = 4  # a pixel is at most so many times as wide as high, or as high as wide
LARGEST = 1 << 27  # pixels of a picture: 16384 x 8192
LOSSY = ("mpegts", "mpeg")  # made for transmission: parts may be lost, and players go on
_ROUNDING = 2e-6  # seconds: containers' starts are rounded to microseconds


# ---- Which stream ----------------------------------------------------------------------------------------------------


def choose(path: Path, container: Any) -> tuple[Any, list[str]]:
    """The video stream that players show: the default one, else the largest; never a cover or thumbnails.

    Args:
      path: the file, for messages.
      container: of PyAV, open.

    Returns:
      The stream, and what is odd about the choice, one clause each.

    Raises:
      UserError: no video stream, none that can be decoded, or pictures of an impossible size.
    """
    if not len(container.streams):
        raise UserError(f"{path}: holds no video stream, nor any other; it may be cut off: copy it again")
    kinds = type(container.streams[0].disposition)
    films = [one for one in container.streams.video if not one.disposition & kinds.attached_pic]
    if not films:
        cover = " but a cover picture" if container.streams.video else ""
        raise UserError(f"{path}: holds no video stream{cover}; expected a video file")
    known = [one for one in films if one.codec_context is not None]
    if not known:
        raise UserError(
            f"{path}: its video is of a format that cannot be decoded; re-encode it (ffmpeg -i old new.mp4)"
        )
    lesser = kinds.still_image | kinds.dependent

    def rank(one: Any) -> tuple[bool, bool, int, int]:
        whole, default = not one.disposition & lesser, bool(one.disposition & kinds.default)
        return whole, default, one.width * one.height, -one.index

    best = max(known, key=rank)
    if best.width * best.height > LARGEST:
        raise UserError(
            f"{path}: claims pictures of {best.width} x {best.height} pixels; expected at most {LARGEST} of them: it "
            "may be damaged, or make it smaller (ffmpeg -i old -vf scale=1920:-2 new.mp4)"
        )
    if len(films) == 1:
        return best, []
    why = "the default one" if [rank(one)[1] for one in known].count(True) == 1 else "the largest"
    return best, [f"{len(films)} video streams; {why} is used, number {best.index} ({best.width} x {best.height})"]


# ---- When ------------------------------------------------------------------------------------------------------------


def nominal_fps(stream: Any) -> float:
    """The frame rate that a header gives.

    Args:
      stream: of PyAV.

    Returns:
      Frames per second; 0 where the header has none.
    """
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else 0.0


class Clock:
    """When each frame is shown, in seconds from the container's start; the times rise strictly."""

    def __init__(self, container: Any, stream: Any):
        """Starts at the container's start.

        Args:
          container: of PyAV, open; it must not invent presentation times (AVFMT_FLAG_GENPTS).
          stream: its video.
        """
        self._start = None if container.start_time is None else container.start_time / 1e6
        self._base = stream.time_base or Fraction(1, 90000)
        rate = nominal_fps(stream)
        self._nominal = 1 / rate if 0.1 <= rate <= 1000 else 1 / 30
        self._steps: deque[float] = deque(maxlen=15)  # the last ones, without holes
        self._codec = stream.codec_context
        self._faulty = [0, 0]  # how many presentation times, and how many decoding times, did not rise
        self._last: list[int | None] = [None, None]  # of each kind
        self._packets: list[int] = []  # decoding times of the first packet and of the last two
        self._delay = 0  # from a packet to its picture, where there are only decoding times
        self._seconds: float | None = None  # of the last frame
        self._length = 0.0  # of the last frame, as the file says
        self._end = 0.0  # of the last frame
        self._count = 0  # of frames
        self._replaced: tuple[int, int, float] | None = None  # how many times did not rise; the first: frame, seconds
        self._holes: tuple[int, float, float, float] | None = None  # how many; the longest: length, begin, end

    def packet(self, packet: Any) -> None:
        """Is shown every packet of the stream before it is decoded.

        Args:
          packet: of PyAV.
        """
        if packet.dts is not None and (self._packets or packet.is_keyframe):
            self._packets = [(self._packets or [packet.dts])[0], *self._packets[-1:], packet.dts]

    def _best_effort(self, pts: int | None, dts: int | None) -> tuple[int | None, bool]:
        """The kind of time that fell less often, as FFmpeg chooses (guess_correct_pts), and whether it is dts."""
        for kind, (mine, other) in enumerate(((pts, dts), (dts, pts))):
            last = self._last[kind]
            self._faulty[kind] += mine is not None and last is not None and mine <= last
            self._last[kind] = mine if mine is not None else other if other is not None else last
        if pts is not None and (dts is None or self._faulty[0] <= self._faulty[1]):
            return pts, False
        return dts, True

    def _raw(self, frame: Any) -> float | None:
        """Seconds as the file counts them."""
        ticks, decoding = self._best_effort(frame.pts, frame.dts)
        if ticks is None:
            return None
        if self._count == 0 and decoding and self._packets:
            # The first picture is that of the first packet; the decoder gave it back so many packets later.
            first, before, last = (self._packets[0], *self._packets[-2:])
            most = getattr(self._codec, "reorder_depth", 2) * (last - before)  # older PyAV does not tell
            self._delay = max(min(ticks - first, most), 0)
        raw = float(ticks - self._delay) * self._base.numerator / self._base.denominator
        if self._start is None or self._count == 0 and raw < self._start + _ROUNDING:
            self._start = raw
        return raw

    def time(self, frame: Any) -> tuple[float, float, bool]:
        """When a frame is shown.

        Args:
          frame: of PyAV, in the order in which the decoder gives them.

        Returns:
          Its time; how long the file says that it is shown, 0 where it does not; both in seconds; and whether there is
          a hole before it.
        """
        raw, last, hole = self._raw(frame), self._seconds, False
        length = float(frame.duration) * self._base.numerator / self._base.denominator if frame.duration > 0 else 0.0
        if raw is not None and (last is None or raw - self._start > last):
            seconds = raw - self._start
            if last is not None:
                hole = self._is_hole(last, seconds)
        elif raw is None:
            seconds = 0.0 if last is None else last + ((not self._steps and self._length) or self.step)
        else:
            seconds = last + self.step
            number, *first = self._replaced or (0, self._count, seconds)
            self._replaced = (number + 1, *first)
        self._seconds, self._length, self._count = seconds, length, self._count + 1
        self._end = seconds + (length or self.step)
        return seconds, length, hole

    def _is_hole(self, begin: float, end: float) -> bool:
        if end - begin <= max(HOLE, SLOW * self.step) + 1e-6:
            self._steps.append(end - begin)
            return False
        number, *longest = self._holes or (0, 0.0, 0.0, 0.0)
        self._holes = (number + 1, *max(tuple(longest), (end - begin, begin, end)))
        return True

    @property
    def end(self) -> float:
        """When the last frame is over, in seconds from the container's start."""
        return self._end

    @property
    def start(self) -> float:
        """The container's start, in seconds as the file counts."""
        return self._start or 0.0

    @property
    def step(self) -> float:
        """Seconds of one frame: by the header, unless frames came at quite another rate."""
        usual = sorted(self._steps)[len(self._steps) // 2] if len(self._steps) > 4 else self._nominal
        return self._nominal if 0.5 < usual / self._nominal < 2 else usual

    def notes(self) -> list[str]:
        """What was odd, after the last frame.

        Returns:
          One clause each.
        """
        notes = []
        if self._replaced:
            number, index, seconds = self._replaced
            notes.append(
                f"the times of {number} of {count(self._count, 'frame')} do not rise, first at index {index} "
                f"({seconds:.2f} s); each of them is taken as one frame later than the one before"
            )
        if self._holes:
            number, _, begin, end = self._holes
            which = "" if number == 1 else f", the longest of {number} holes"
            notes.append(f"no picture between {begin:.2f} and {end:.2f} s{which}")
        return notes


# ---- Which way up, how wide ------------------------------------------------------------------------------------------


def turn(image: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Shows a picture as a display matrix says: turned by quarters, mirrored, or both.

    Args:
      image: [H, W, ...].
      matrix: 9 numbers, a b u c d v x y w: the pixel (p, q) is shown at (a p + c q, b p + d q), up to a shift.

    Returns:
      [H, W, ...] or [W, H, ...]; of other angles the nearest of the eight.

    >>> turn(np.array([[1, 2], [3, 4]]), [-1, 0, 0, 0, 1, 0, 0, 0, 1]).tolist()
    [[2, 1], [4, 3]]
    """
    a, b, _, c, d = (int(number) for number in matrix[:5])
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.swapaxes(0, 1), c, b
    if a < 0:
        image = image[:, ::-1]
    return image[::-1] if d < 0 else image


class Painter:
    """Decoded frames to pictures as they are shown: upright, with square pixels."""

    def __init__(self, stream: Any):
        """Reads the shape of the pixels.

        Args:
          stream: of PyAV.
        """
        self._codec, self._given = stream.codec_context, _ratio(stream.sample_aspect_ratio)
        # Where the container has no shape of its own, the pictures' may change on the way (broadcasts do).
        self._follow = self._given == _ratio(self._codec.sample_aspect_ratio)
        self._notes: list[str] = []

    def picture(self, frame: Any) -> np.ndarray:
        """The picture of a frame.

        Args:
          frame: of PyAV.

        Returns:
          [H, W, 3] uint8 RGB; pixels that are not square are stretched, never shrunk.
        """
        import cv2

        image = frame.to_ndarray(format="rgb24")
        ratio = _ratio(self._codec.sample_aspect_ratio) if self._follow else self._given
        if ratio != 1 and not 1 / WIDEST <= ratio <= WIDEST:
            self._note(f"its pixels are said to be {float(ratio):.4g} times as wide as high; taken as square")
            ratio = Fraction(1)
        if ratio != 1:
            height, width = image.shape[:2]
            size = (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))
            image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        side = frame.side_data.get("DISPLAYMATRIX") if len(frame.side_data) else None
        if side is None:
            return image
        matrix = np.frombuffer(bytes(side), np.int32)
        if _oblique(matrix):
            self._note("it is turned by an angle that is not a multiple of 90 degrees; taken as the nearest one")
        return np.ascontiguousarray(turn(image, matrix))

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def notes(self) -> list[str]:
        """What was odd.

        Returns:
          One clause each.
        """
        return self._notes


def _ratio(given: Fraction | None) -> Fraction:
    """Width of a pixel divided by its height; square where nothing is said."""
    return Fraction(given) if given and given > 0 else Fraction(1)


def _oblique(matrix: np.ndarray) -> bool:
    """Whether a display matrix turns by more than a degree beside quarters of a circle."""
    a, b, _, c, d = np.abs(matrix[:5].astype(float))
    return min(a + d, b + c) > 0.0175 * max(a + d, b + c)


# ---- Where the end is ------------------------------------------------------------------------------------------------


class Ending:
    """Whether a file goes on to where its header says that it ends: Matroska ends without an error when cut off."""

    def __init__(self, container: Any, stream: Any):
        """Reads the header.

        Args:
          container: of PyAV, open.
          stream: its video.
        """
        tag = next((text for key, text in stream.metadata.items() if key.upper() == "DURATION"), "")
        self._video = _tagged(tag)  # the video's own end; sound may be longer
        whole = container.duration
        self._whole = (whole + (container.start_time or 0)) / 1e6 if whole and whole > 0 else None
        self._others = 0.0

    def packet(self, packet: Any) -> None:
        """Is shown every packet of the other streams.

        Args:
          packet: of PyAV.
        """
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None and packet.time_base:
            self._others = max(self._others, float((time + (packet.duration or 0)) * packet.time_base))

    def notes(self, clock: Clock) -> list[str]:
        """What is missing.

        Args:
          clock: that saw all frames.

        Returns:
          One clause, or none.
        """
        end = clock.start + clock.end
        said, end = (self._video, end) if self._video else (self._whole, max(end, self._others))
        if said is None or end > said - max(MISSING, FRAMES * clock.step):
            return []
        return [f"it ends {said - end:.1f} s before the end that its header gives ({said:.1f} s); it may be cut off"]


def _tagged(text: str) -> float | None:
    """Seconds of a tag such as 00:00:06.000000000; None for anything else."""
    try:
        hours, minutes, seconds = text.strip().split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return None
