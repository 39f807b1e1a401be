"""Videos as streams of frames: PyAV, in order, as a player shows them (``playback``).

Headers lie about the number of frames, seeking lies about the position; decoding from the start does neither.
"""

import codecs
import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.media import playback
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count

RATES = (0.1, 1000)  # lowest and highest frames per second that can be given
_REENCODE = "re-encode it (ffmpeg -i old new.mp4) or leave it out"

# Demuxers of FFmpeg that open other files or the network, or make pictures of text.
_REFUSED = set(
    "adf applehttp avisynth bin concat dash dvdvideo ffmetadata hls idf image2 imf lavfi rtp rtsp sap sdp tty "
    "vapoursynth vobsub webm_dash_manifest xbin".split()
)


class VideoInfo(NamedTuple):
    """What a file's header says; the number of frames is not among it, because headers are often wrong there."""

    width: int  # pixels, before rotation
    height: int  # pixels, before rotation
    fps: float  # nominal frames per second
    seconds: float = 0.0  # length; 0 where the header does not say


class Frame(NamedTuple):
    """One decoded frame."""

    image: np.ndarray | None  # [H, W, 3] uint8 RGB; None: a folder of pictures has none of this number
    index: int  # position in the file, from 0
    seconds: float  # when it is shown, from the container's start; rises from frame to frame
    length: float = 0.0  # seconds that it is shown for, as far as the file says; 0: it does not
    hole: bool = False  # for more than playback.HOLE seconds before it nothing is known


def _open(path: Path) -> tuple[Any, Any, list[str]]:
    """Opens a file; its video stream, and what is odd about it. Every failure is one line for the user."""
    import av

    if not path.is_file():
        raise UserError(f"{path}: no such video; check the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; copy it again")
    allowed = {"format_whitelist": _formats(), "protocol_whitelist": "file"}
    lenient = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}  # later ones always are
    try:  # "file:", else "take:2.mp4" would be a protocol, "take"
        container = av.open(f"file:{path}", container_options=allowed, **lenient)
    except (av.error.FFmpegError, ValueError) as error:
        if _is_text(path):
            raise UserError(f"{path}: not a readable video but text; of a list of other files give these") from None
        raise UserError(
            f"{path}: not a readable video ({_reason(error)}); it may be cut off: copy it again, or {_REENCODE}"
        ) from None
    try:
        stream, notes = playback.choose(path, container)
    except UserError:
        container.close()
        raise
    container.flags &= ~av.container.Flags.gen_pts.value  # PyAV's own; what it invents is wrong for B-frames in AVI
    # Where parts may be lost, an error belongs to its packet; threads of whole frames would give it to another one.
    stream.thread_type = "SLICE" if container.format.name in playback.LOSSY else "AUTO"
    return container, stream, notes


@functools.cache
def _formats() -> str:
    """The formats of files that hold all of a video themselves, as FFmpeg takes them; others are not even begun."""
    import av

    names = []
    for name in sorted(av.formats_available):
        with contextlib.suppress(ValueError):  # it is for writing only
            if not av.ContainerFormat(name, "r").no_file and not set(name.split(",")) & _REFUSED:
                names.append(name)
    return ",".join(names)


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(2**12)
    return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or not re.search(rb"[\0-\x08\x0e-\x1a]", head)


def _reason(error: Exception) -> str:
    """What the decoder said, without its numbers and paths."""
    return str(getattr(error, "strerror", None) or error)


def probe(path: str | Path) -> VideoInfo:
    """Reads a video's header.

    Args:
      path: the file.

    Returns:
      Size and nominal frame rate (0 where the header has none).

    Raises:
      UserError: missing, empty or unreadable file, or no video stream.
    """
    container, stream, _ = _open(Path(path))
    with container:
        seconds = container.duration / 1e6 if container.duration and container.duration > 0 else 0.0
        return VideoInfo(stream.width, stream.height, playback.nominal_fps(stream), seconds)


def stream(
    path: str | Path, fps: float | None = None, notes: list[str] | None = None, pictures: bool = True
) -> Iterator[Frame]:
    """Decodes a video from its first to its last frame, one frame in memory at a time.

    Args:
      path: the file.
      fps: frames per second to resample to by presentation time (the nearest frame is repeated or the surplus
        dropped); None yields every frame of the file once.
      notes: gets what was odd about the file, one clause each, when the last frame has been seen.
      pictures: without them only times are given, which is faster.

    Yields:
      Frames as a player shows them, in order of presentation.

    Raises:
      UserError: missing, empty or unreadable file, no video stream, or damaged data (says at which frame).
    """
    native = _decode(Path(path), [] if notes is None else notes, pictures)
    return native if fps is None else resample(native, fps)


def read(path: str | Path, fps: float | None = None) -> Iterator[np.ndarray]:
    """The images of :func:`stream`.

    Args:
      path: the file.
      fps: see :func:`stream`.

    Yields:
      [H, W, 3] uint8 RGB.

    Raises:
      UserError: see :func:`stream`.
    """
    return (frame.image for frame in stream(path, fps))


def pick(path: str | Path, indices: Sequence[int]) -> list[np.ndarray]:
    """Decodes single frames, for thumbnails: in order up to the last one wanted, since seeking is not exact.

    Args:
      path: the file.
      indices: positions in the file, from 0, in any order.

    Returns:
      One [H, W, 3] uint8 RGB per index; an index beyond the end gives the last frame.

    Raises:
      UserError: see :func:`stream`.
    """
    wanted, last = set(indices), max(indices, default=-1)
    found: dict[int, np.ndarray] = {}
    final = None
    for frame in stream(path):
        final = frame.image
        if frame.index in wanted:
            found[frame.index] = frame.image
        if frame.index >= last:
            break
    return [found.get(index, final) for index in indices]


def _decode(path: Path, notes: list[str], pictures: bool) -> Iterator[Frame]:
    import av

    container, video, odd = _open(path)
    clock, painter = playback.Clock(container, video), playback.Painter(video)
    ending, losses = playback.Ending(container, video), _Losses(path, container.format.name in playback.LOSSY)
    index, seconds = 0, 0.0
    with container:
        try:
            for packet in container.demux():
                if packet.stream.index != video.index:  # of the last, empty packets only the stream is right
                    ending.packet(packet)
                    continue
                clock.packet(packet)
                for frame in losses.decode(packet, index, seconds):
                    seconds, length, hole = clock.time(frame)
                    yield Frame(painter.picture(frame) if pictures else None, index, seconds, length, hole)
                    index += 1
        except av.error.FFmpegError as error:
            raise UserError(_damaged(path, index, seconds, _reason(error))) from None
    if index == 0:
        raise UserError(f"{path}: holds not a single frame; {_REENCODE}")
    notes += [*odd, *clock.notes(), *painter.notes(), *losses.notes(), *ending.notes(clock)]


class _Losses:
    """Damaged packets and frames: refused, but for files made for transmission, where a part may be lost."""

    def __init__(self, path: Path, allowed: bool):
        self._path, self._allowed = path, allowed
        self._count, self._first = 0, 0.0

    def decode(self, packet: Any, index: int, seconds: float) -> Iterator[Any]:
        """The frames of a packet; ``index`` and ``seconds`` of the last frame are for messages."""
        import av

        if packet.is_corrupt:
            self._lost(index, seconds, "the file ends inside a frame")
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            self._lost(index, seconds, _reason(error))
            return
        for frame in frames:
            if frame.is_corrupt and not packet.is_corrupt:
                self._lost(index, seconds, "a frame is incomplete")
            yield frame

    def _lost(self, index: int, seconds: float, reason: str) -> None:
        if not self._allowed:
            raise UserError(_damaged(self._path, index, seconds, reason))
        self._first = self._first if self._count else seconds
        self._count += 1

    def notes(self) -> list[str]:
        """What was lost, in one clause or none."""
        where = f"{count(self._count, 'place')}, first at {self._first:.2f} s"
        return [f"parts are lost or damaged in {where}; the rest is shown"] if self._count else []


def _damaged(path: Path, index: int, seconds: float, reason: str) -> str:
    return f"{path}: damaged at frame {index} ({seconds:.1f} s; {reason}); {_REENCODE}"


def check_rate(name: str, rate: float) -> None:
    """Checks a frame rate that somebody gave.

    Args:
      name: what is checked, for the message.
      rate: frames per second.

    Raises:
      UserError: out of range: every picture would be repeated thousands of times, or nearly all would be dropped.
    """
    low, high = RATES
    if not low <= rate <= high:
        raise UserError(f"{name} must be a number of frames per second from {low} to {high}; got {rate}")


def resample(native: Iterator[Frame], fps: float) -> Iterator[Frame]:
    """Makes the frame rate constant: output k is the frame whose time is nearest to k / fps from the first frame on.

    A hole becomes at most playback.HOLE seconds of frames without an image.

    Args:
      native: frames in order of presentation.
      fps: frames per second.

    Yields:
      Frames of the input, repeated or dropped.

    Raises:
      UserError: fps is not positive.
    """
    if not fps > 0:
        raise UserError(f"fps must be a positive number; got {fps}")
    out, previous, step, start = 0, None, 1 / fps, 0.0
    last = 0.0  # of the frame before, from the first one; holes are cut to playback.HOLE
    for frame in native:
        if previous is None:
            start = frame.seconds
        time = frame.seconds - start
        if frame.hole:
            start += time - last - playback.HOLE
            time = last + playback.HOLE
            while out / fps <= last + step / 2 + 1e-6:
                yield previous
                out += 1
            while out / fps <= time - step / 2 + 1e-6:
                yield previous._replace(image=None)
                out += 1
        elif previous is not None:
            step = time - last
            while out / fps <= (last + time) / 2 + 1e-6:  # a tie goes to the earlier frame
                yield previous
                out += 1
        previous, last = frame, time
    # The last frame is shown for as long as the one before it.
    while previous is not None and (out == 0 or out / fps <= last + step / 2 + 1e-6):
        yield previous
        out += 1
