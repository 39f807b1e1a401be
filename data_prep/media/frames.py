"""Videos as streams of frames: PyAV, in order, by presentation time.

Headers lie about the number of frames, seeking lies about the position; decoding from the start does neither.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedn_jax.core.errors import UserError

_REENCODE = "re-encode it (ffmpeg -i old new.mp4) or leave it out"


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
    seconds: float  # presentation time, from 0 at the first frame


def _open(path: Path):
    """Opens a file and finds its video stream; every failure is one line for the user."""
    import av

    if not path.is_file():
        raise UserError(f"{path}: no such video; check the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; copy it again")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(
            f"{path}: not a readable video ({_reason(error)}); it may be cut off: copy it again, or {_REENCODE}"
        ) from None
    if not container.streams.video:
        container.close()
        raise UserError(f"{path}: holds no video stream; expected a video file")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container, stream


def _reason(error: Exception) -> str:
    """What the decoder said, without its numbers and paths."""
    return str(getattr(error, "strerror", None) or error)


def _nominal_fps(stream) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else 0.0


def probe(path: str | Path) -> VideoInfo:
    """Reads a video's header.

    Args:
      path: the file.

    Returns:
      Size and nominal frame rate (0 where the header has none).

    Raises:
      UserError: missing, empty or unreadable file, or no video stream.
    """
    container, stream = _open(Path(path))
    with container:
        seconds = container.duration / 1e6 if container.duration and container.duration > 0 else 0.0
        return VideoInfo(stream.width, stream.height, _nominal_fps(stream), seconds)


def stream(path: str | Path, fps: float | None = None) -> Iterator[Frame]:
    """Decodes a video from its first to its last frame, one frame in memory at a time.

    Args:
      path: the file.
      fps: frames per second to resample to by presentation time (the nearest frame is repeated or the surplus
        dropped); None yields every frame of the file once.

    Yields:
      Upright frames in order of presentation.

    Raises:
      UserError: missing, empty or unreadable file, no video stream, or damaged data (says at which frame).
    """
    native = _decode(Path(path))
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


def _decode(path: Path) -> Iterator[Frame]:
    import av

    container, video = _open(path)
    rate = _nominal_fps(video) or 30.0
    index, start, seconds = 0, None, 0.0
    with container:
        try:
            for packet in container.demux(video):
                if packet.is_corrupt:
                    raise UserError(_damaged(path, index, seconds, "the file ends inside a frame"))
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise UserError(_damaged(path, index, seconds, "a frame is incomplete"))
                    time = frame.time if frame.time is not None else index / rate
                    start = time if start is None else start
                    seconds = time - start
                    yield Frame(_upright(frame), index, seconds)
                    index += 1
        except av.error.FFmpegError as error:
            raise UserError(_damaged(path, index, seconds, _reason(error))) from None
    if index == 0:
        raise UserError(f"{path}: holds not a single frame; {_REENCODE}")


def _damaged(path: Path, index: int, seconds: float, reason: str) -> str:
    return f"{path}: damaged at frame {index} ({seconds:.1f} s; {reason}); {_REENCODE}"


def _upright(frame) -> np.ndarray:
    """RGB image with the rotation of the file's display matrix applied (phones film sideways)."""
    image = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def resample(native: Iterator[Frame], fps: float) -> Iterator[Frame]:
    """Makes the frame rate constant: output k is the frame whose presentation time is nearest to k / fps.

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
    out, previous, step = 0, None, 1 / fps
    for frame in native:
        if previous is not None:
            step = frame.seconds - previous.seconds
            while out / fps <= (previous.seconds + frame.seconds) / 2 + 1e-6:  # a tie goes to the earlier frame
                yield previous
                out += 1
        previous = frame
    # The last frame is shown for as long as the one before it.
    while previous is not None and (out == 0 or out / fps <= previous.seconds + step / 2 + 1e-6):
        yield previous
        out += 1
