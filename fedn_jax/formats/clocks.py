"""The clock of a video, which tells its frames from seconds: they need not come at a constant rate.

An onset is the moment at which its frame appears, an offset the one at which its frame goes.
"""

from typing import NamedTuple

import numpy as np

from fedn_jax.core.text import count
from fedn_jax.formats import cells
from fedn_jax.formats.predictions import Table
from fedn_jax.formats.times import Seconds
from fedn_jax.ops import intervals

EXACT = 5e-4  # seconds, of ``Stamps.runs``: files of other programs have milliseconds


class Steady(NamedTuple):
    """The clock of a video whose frames come at a constant rate; how many there are does not matter."""

    fps: float
    first_frame: int = 1  # number of the frame at second 0

    def frames(self, onset: float, offset: float) -> tuple[int, int]:
        """The frames nearest to two times; at least one.

        Args:
          onset: seconds.
          offset: seconds.

        Returns:
          Numbers of the first and the last frame, as files count them.
        """
        first, last = intervals.inclusive(np.array([onset, offset]) * self.fps, self.first_frame).tolist()
        return first, last

    def seconds(self, onset: int, offset: int) -> tuple[float, float]:
        """When frames are shown.

        Args:
          onset: number of the first frame, as files count them.
          offset: number of the last one.

        Returns:
          Seconds: when the first one appears, and when the last one goes.
        """
        return (onset - self.first_frame) / self.fps, (offset + 1 - self.first_frame) / self.fps


class Stamps(NamedTuple):
    """The clock of a video by the time stamps of its frames; beyond its end it goes on at its usual rate."""

    starts: np.ndarray  # [F] float64, seconds, when each frame appears; rises
    ends: np.ndarray  # [F] float64, when it goes
    first_frame: int = 1

    def _usual(self) -> float:
        return max(float(np.median(self.ends - self.starts)), 1e-6)

    def frames(self, onset: float, offset: float) -> tuple[int, int]:
        """The frames nearest to two times; at least one.

        Args:
          onset: seconds.
          offset: seconds.

        Returns:
          Numbers of the first and the last frame, as files count them; of a time beyond the
          end one that the video does not have.
        """
        first, last = self._nearest(self.starts, onset), self._nearest(self.ends, offset)
        return first + self.first_frame, max(first, last) + self.first_frame

    def _nearest(self, times: np.ndarray, time: float) -> int:
        if time > times[-1]:
            return len(times) - 1 + round((time - float(times[-1])) / self._usual())
        after = int(np.searchsorted(times, time))
        return after if after == 0 or times[after] - time <= time - times[after - 1] else after - 1

    def seconds(self, onset: int, offset: int) -> tuple[float, float]:
        """When frames are shown.

        Args:
          onset: number of the first frame, as files count them.
          offset: number of the last one.

        Returns:
          Seconds: when the first one appears, and when the last one goes.
        """
        return self._time(self.starts, onset), self._time(self.ends, offset)

    def runs(self) -> list[tuple[int, float, float]]:
        """The clock as stretches of constant rate, few for most videos.

        Returns:
          (frame from 0, second at which it appears, seconds per frame) of each; the times of every frame that follow
          from them are within ``EXACT`` of the time stamps.
        """
        found: list[tuple[int, float, float]] = []
        first, low, high = 0, 0.0, np.inf
        for frame, (start, end) in enumerate(zip(self.starts.tolist(), self.ends.tolist(), strict=True)):
            bounds = self._slopes(first, frame, start, end)
            if max(low, bounds[0]) > min(high, bounds[1]):
                found.append((first, float(self.starts[first]), (low + high) / 2))
                first, low, high = frame, 0.0, np.inf
                bounds = self._slopes(first, frame, start, end)
            low, high = max(low, bounds[0]), min(high, bounds[1])
        return [*found, (first, float(self.starts[first]), (low + high) / 2)]

    def _slopes(self, first: int, frame: int, start: float, end: float) -> tuple[float, float]:
        """Seconds per frame from ``first`` on that give a frame its start and its end: lowest and highest."""
        origin, steps = float(self.starts[first]), frame - first
        low, high = (end - origin - EXACT) / (steps + 1), (end - origin + EXACT) / (steps + 1)
        if not steps:
            return low, high
        return max(low, (start - origin - EXACT) / steps), min(high, (start - origin + EXACT) / steps)

    def _time(self, times: np.ndarray, frame: int) -> float:
        index = frame - self.first_frame
        inside = min(max(index, 0), len(times) - 1)
        return float(times[inside]) + (index - inside) * self._usual()


Clock = Steady | Stamps
Clocks = dict[tuple[str, str], Clock]  # of each (subject, video)


def in_frames(table: Table, clocks: Clocks) -> tuple[Table, list[str]]:
    """A table whose times are frames, as far as clocks are known.

    Args:
      table: any.
      clocks: of its videos.

    Returns:
      The table, and a sentence for each video whose times stay seconds.
    """
    return _turned(table, clocks, timed=True)


def in_seconds(table: Table, clocks: Clocks) -> tuple[Table, list[str]]:
    """A table whose frames are times, as far as clocks are known.

    Args:
      table: any.
      clocks: of its videos.

    Returns:
      The table, and a sentence for each video whose frames stay frames.
    """
    return _turned(table, clocks, timed=False)


def _turned(table: Table, clocks: Clocks, timed: bool) -> tuple[Table, list[str]]:
    rows, left = [], {}
    for row in table.rows:
        if row.timed == timed and row.video in clocks:
            clock = clocks[row.video]
            edges = clock.frames(*row.span) if timed else tuple(map(Seconds, clock.seconds(*row.span)))
            row = row._replace(onset=edges[0], offset=edges[1])
        elif row.timed == timed:
            left[row.video] = left.get(row.video, 0) + 1
        rows.append(row)
    what = "times in seconds" if timed else "times in frames"
    lines = [
        f"video {cells.shown_video(*video)} has {count(rows_, 'row')} with {what}" for video, rows_ in left.items()
    ]
    return table._replace(rows=rows), lines
