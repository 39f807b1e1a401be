"""A folder of numbered pictures as a video: the number in a file's name is the number of the frame.

Numbers are sorted as numbers, whatever their padding, and a number without a picture stays a gap: annotations speak of
these numbers, so nothing may move up. What looks like a mistake in the folder is refused.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.media import frames
from fedn_jax.core.errors import UserError
from fedn_jax.core.files import read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_MOST_BYTES = 2**29  # of a file: a picture of 16384 x 8192 pixels that is not compressed
_SPARSE = 1000  # a time line that is longer and more than half empty holds a stray number
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # 8 bits per channel; EXIF would turn single frames


class Listing(NamedTuple):
    """The pictures of one video."""

    files: dict[int, Path]  # number of a frame -> its picture, ascending; the picture may prove damaged
    last: int  # number of the last frame of the time line; beyond the last picture where a CSV knows of more frames
    invalid: frozenset[int]  # numbers of frames that are known to show no usable face
    notes: tuple[str, ...]  # what was repaired or is odd, one clause each, for a summary


def is_folder(path: str | Path) -> bool:
    """Whether a path is a folder of numbered pictures.

    Args:
      path: anything.

    Returns:
      True for a directory that holds, itself and not in a sub-folder, at least one numbered picture.
    """
    return Path(path).is_dir() and next(_entries(Path(path)), None) is not None


def pictures(directory: str | Path) -> list[tuple[int, Path]]:
    """Finds the numbered pictures of a folder.

    Args:
      directory: the folder; hidden files, names without a number and files that are no pictures are passed over.

    Returns:
      Number and file of each, by number; the number is the last one in the name (006_1_0037.jpg is 37).

    Raises:
      UserError: no such folder, or no picture in it.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder; expected a folder of numbered pictures")
    found = sorted(_entries(directory))
    if not found:
        raise UserError(
            f"{directory}: no numbered picture; expected files such as img001.jpg or 37.png ({' '.join(SUFFIXES)})"
        )
    return found


def by_number(where: str | Path, found: Sequence[tuple[int, Path]]) -> dict[int, Path]:
    """Gives every number its picture.

    Args:
      where: the folder, for the message.
      found: of :func:`pictures`.

    Returns:
      Number -> picture, ascending.

    Raises:
      UserError: two pictures of one number; names both.
    """
    twice = [(a.name, b.name, n) for (n, a), (m, b) in pairwise(found) if n == m]
    if twice:
        first, second, number = twice[0]
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        raise UserError(
            f"{where}: {first} and {second} are both number {number}{more}; expected one picture per number: move "
            "what does not belong to the video out of the folder"
        )
    return dict(found)


def listing(directory: str | Path, first_frame: int = 1) -> Listing:
    """Lists a folder of numbered pictures.

    Args:
      directory: the folder.
      first_frame: the number of a video's first frame in the annotations; lower ones cannot be.

    Returns:
      Its pictures; numbers without a picture are gaps.

    Raises:
      UserError: no such folder, no picture, two of one number, a number before the first frame or far off the others.
    """
    files = by_number(directory, pictures(directory))
    lowest = min(files)
    if lowest < first_frame:
        raise UserError(
            f"{files[lowest]}: number {lowest} is before the first frame, {first_frame}; move it out of the folder, "
            "or give the number of the first frame (--first-frame)"
        )
    check_range(directory, files, first_frame)
    last = max(files)
    return Listing(files, last, frozenset(), gaps(files, first_frame, last))


def begin(numbers: Sequence[int]) -> int:
    """Number of the first frame, where nobody says it.

    Args:
      numbers: of the pictures, ascending, at least one.

    Returns:
      1; but the lowest number where that is 0, or where the pictures are a stretch of a longer video.

    >>> begin([3, 4, 5]), begin([0, 1, 2]), begin(range(5001, 5100))
    (1, 0, 5001)
    """
    return numbers[0] if numbers[0] < 1 or _sparse(len(numbers), numbers[-1]) else 1


def _sparse(pictures: int, length: int) -> bool:
    """More than half of a long range is missing."""
    return length > _SPARSE and 2 * pictures < length


def check_range(where: str | Path, files: Mapping[int, Path], first_frame: int) -> None:
    """Refuses numbers of which one is far off the others, before a time line of millions of gaps is made.

    Args:
      where: the folder, for the message.
      files: number -> picture.
      first_frame: number of the first frame.

    Raises:
      UserError: more than half of a long range is missing; names the file beside the widest gap.
    """
    length = max(files) - first_frame + 1
    if not _sparse(len(files), length):
        return
    numbers = sorted(files)
    steps = [b - a for a, b in pairwise([first_frame - 1, *numbers])]
    widest = steps.index(max(steps))
    few_before = 0 < widest < len(numbers) / 2  # the smaller side of the gap holds the stray ones
    suspect = files[numbers[widest - 1 if few_before else widest]]
    raise UserError(
        f"{where}: {len(files)} pictures for the numbers {first_frame} to {numbers[-1]}, with the widest gap beside "
        f"{suspect.name}; expected at least half of them: move pictures that do not belong to the video out of the "
        "folder, or number them from the first frame on"
    )


def gaps(numbers: Iterable[int], first_frame: int, last: int) -> tuple[str, ...]:
    """Says where pictures are missing.

    Args:
      numbers: of the pictures, at least one, from first_frame to last.
      first_frame: first number of the time line.
      last: last number of the time line.

    Returns:
      No, one or several clauses.
    """
    numbers = set(numbers)
    low, high = min(numbers), max(numbers)
    missing = (
        (low - first_frame, f"before {low}"),
        (high - low + 1 - len(numbers), f"between {low} and {high}"),
        (last - high, f"after {high}"),
    )
    return tuple(f"{count} number{'s' * (count > 1)} missing {where}" for count, where in missing if count)


def stream(files: Listing, rate: float, first_frame: int) -> Iterator[frames.Frame]:
    """Reads the pictures as a video, one frame in memory at a time.

    A frame of ``files.files`` that comes without an image was damaged; the caller counts these.

    Args:
      files: the pictures.
      rate: frames per second, which pictures do not know.
      first_frame: number of the frame at index 0.

    Yields:
      Every number from first_frame to the last; the image is None where there is no picture or it is damaged.

    Raises:
      UserError: see ``frames.check_rate``; or a picture cannot be read from the disk.
    """
    frames.check_rate("the rate of a folder of pictures", rate)
    return _frames(files, rate, first_frame)


def decode(path: Path) -> np.ndarray | None:
    """Reads one picture.

    Args:
      path: the file.

    Returns:
      [H, W, 3] uint8 RGB, also of grey and of 16-bit pictures; None where the content is damaged.

    Raises:
      UserError: no such file, a pipe or a device, or one that is too large or cannot be read.
    """
    content = read_bytes(path, _MOST_BYTES, "a picture")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), _FLAGS) if content else None
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _entries(directory: Path) -> Iterator[tuple[int, Path]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            numbers = re.findall("[0-9]+", stem)
            wanted = numbers and suffix.lower() in SUFFIXES and not entry.name.startswith(".")
            # A dangling link is kept, so that reading it fails, instead of becoming a gap.
            if wanted and not entry.is_dir():
                yield int(numbers[-1]), directory / entry.name


def _frames(files: Listing, rate: float, first_frame: int) -> Iterator[frames.Frame]:
    for index in range(files.last - first_frame + 1):
        path = files.files.get(index + first_frame)
        yield frames.Frame(None if path is None else decode(path), index, index / rate)
