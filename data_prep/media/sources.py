"""Where frames come from: a video file, a folder of numbered pictures, or a folder that OpenFace wrote."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.media import frames, images, openface
from data_prep.media.frames import Frame
from data_prep.media.images import Listing
from fedn_jax.core.files import check_plain
from fedn_jax.formats import clocks

_EDGE = 1 << 20  # bytes at the start and the end of a file that identify it, beside its size


class Source(NamedTuple):
    """The frames of one video."""

    path: Path  # a file, or a folder of pictures
    rate: float = 30.0  # frames per second of a folder of pictures; a file knows its own
    openface: bool = False  # the folder is one that OpenFace wrote, NAME_aligned
    originals: Path | None = None  # the folder of pictures that OpenFace was given
    renumbered: bool = False  # numbers in the original file names are not positions


def rate(source: Source) -> float:
    """Nominal frames per second.

    Args:
      source: the source.

    Returns:
      Of a folder its ``rate``, of a file what its header says, 30 where it says nothing.

    Raises:
      UserError: see :func:`frames.probe`.
    """
    return source.rate if source.path.is_dir() else frames.probe(source.path).fps or 30.0


def listing(source: Source, first_frame: int) -> Listing | None:
    """The pictures of a folder.

    Args:
      source: the source.
      first_frame: number of the first frame.

    Returns:
      The listing; None for a video file.

    Raises:
      UserError: names that cannot be understood; see :mod:`images` and :mod:`openface`.
    """
    if not source.path.is_dir():
        return None
    if source.openface:
        return openface.listing(source.path, source.originals, first_frame, source.renumbered)
    return images.listing(source.path, first_frame)


def first_frame(source: Source) -> int:
    """Number of the first frame, where nobody says it.

    Args:
      source: the source.

    Returns:
      1; of a folder of pictures see :func:`images.begin`.

    Raises:
      UserError: see :func:`images.pictures`.
    """
    if not source.path.is_dir() or source.openface:
        return 1
    return images.begin([number for number, _ in images.pictures(source.path)])


def stream(source: Source, files: Listing | None, first_frame: int, notes: list[str] | None = None) -> Iterator[Frame]:
    """All frames, from first to last, one in memory at a time.

    Args:
      source: the source.
      files: of :func:`listing`.
      first_frame: number of the first frame.
      notes: gets what was odd about a video file, one clause each, when the last frame has been seen.

    Yields:
      Frames; ``image`` is None where a folder has no usable picture.

    Raises:
      UserError: see :func:`frames.stream`.
    """
    if files is None:
        yield from frames.stream(source.path, notes=notes)
        return
    for frame in images.stream(files, source.rate, first_frame):
        yield frame._replace(image=None) if frame.index + first_frame in files.invalid else frame


def ends(seconds: np.ndarray, holes: Sequence[int], length: float, fps: float) -> np.ndarray:
    """Until when the frames of a video are shown.

    Args:
      seconds: [F] float64, when each appears.
      holes: frames before which nothing is known for a while.
      length: seconds that the last frame is shown for; 0: not known.
      fps: frames per second, for a video of one frame.

    Returns:
      [F] float64: the next one's time, but for holes and the last one, which get the usual length.
    """
    before = np.asarray(holes, int)
    steps = np.delete(np.diff(seconds), before - 1)
    usual = float(np.median(steps)) if len(steps) else length or 1 / fps
    found = np.append(seconds[1:], seconds[-1:] + (length or usual))
    found[before - 1] = seconds[before - 1] + usual
    return found


def clock(source: Source, first_frame: int, progress: Callable[..., Any] | None = None) -> clocks.Stamps:
    """The time stamps of a video's frames, by decoding all of it: nothing else gives each frame its right number.

    Args:
      source: the video.
      first_frame: number of the first frame.
      progress: tqdm, or something with its interface; None shows nothing.

    Returns:
      The clock.

    Raises:
      UserError: see :func:`stream`.
    """
    files = listing(source, first_frame)
    native = frames.stream(source.path, pictures=False) if files is None else stream(source, files, first_frame)
    if progress is not None:
        native = progress(native, desc=source.path.name[:30], unit="frame")
    seconds, holes, length = [], [], 0.0
    for frame in native:
        seconds.append(frame.seconds)
        holes += [frame.index] if frame.hole else []
        length = frame.length
    starts = np.array(seconds, np.float64)
    return clocks.Stamps(starts, ends(starts, holes, length, rate(source)), first_frame)


def fingerprint(source: Source) -> list:
    """What identifies the content of a source, without reading all of it.

    Args:
      source: the source.

    Returns:
      Numbers and text, for a checksum.

    Raises:
      UserError: neither a folder nor a plain file.
    """
    if not source.path.is_dir():
        check_plain(source.path, "a video")
        size = source.path.stat().st_size
        with source.path.open("rb") as file:
            head = file.read(_EDGE)
            file.seek(max(0, size - _EDGE))
            return [size, hashlib.sha256(head + file.read(_EDGE)).hexdigest()]
    digest = hashlib.sha256()
    folders = [source.path, source.path.with_name(f"{source.path.name.removesuffix('_aligned')}.csv"), source.originals]
    for path in [one for one in folders if one is not None and one.exists()]:
        entries = os.scandir(path) if path.is_dir() else [path]
        for entry in sorted(entries, key=lambda one: one.name):
            digest.update(f"{entry.name}\0{entry.stat().st_size}\0{entry.stat().st_mtime_ns}\0".encode())
    return [digest.hexdigest(), source.rate, source.openface, source.renumbered]
