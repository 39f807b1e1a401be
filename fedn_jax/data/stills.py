"""Aligned frames of a video as PNG codes, and all frames of a data set as one file that is mapped into memory.

Lossy codes are out: on a still face their error of the difference between frames is as large as that difference, and
the difference is all that a micro-expression has.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import files
from fedn_jax.core.errors import UserError

LEVEL = 3  # of PNG's compression: higher ones take longer and save little


def encode(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Pictures -> one array of codes.

    Args:
      pictures: [R, side, side, 3] uint8, RGB; may be a memory-mapped file.

    Returns:
      The fields of ``schema.FRAME_FIELDS``.
    """
    import cv2

    def one(picture: np.ndarray) -> np.ndarray:
        return cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, LEVEL])[1].reshape(-1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV works outside of Python's lock
        codes = list(pool.map(one, pictures))
    return {"frames": np.concatenate(codes), "frame_ends": np.cumsum([len(code) for code in codes], dtype=np.int64)}


def fits(codes: Mapping[str, np.ndarray], rows: int) -> bool:
    """Whether stored codes can be those of a video.

    Args:
      codes: fields of ``schema.FRAME_FIELDS``.
      rows: R.

    Returns:
      True if types and lengths fit one another.
    """
    frames, ends = codes["frames"], codes["frame_ends"]
    types = frames.dtype == np.uint8 and frames.ndim == 1 and ends.dtype == np.int64 and ends.shape == (rows,)
    return bool(types and (np.diff(ends, prepend=0) > 0).all() and ends[-1] == len(frames))


def decode(codes: Mapping[str, np.ndarray], size: int, side: int) -> np.ndarray:
    """The inverse of ``encode``, perhaps made smaller.

    Args:
      codes: fields of ``schema.FRAME_FIELDS``.
      size: side of the pictures that were encoded.
      side: of the result; another one than ``size`` averages over areas.

    Returns:
      [R, side, side, 3] uint8, RGB.

    Raises:
      ValueError: a code that is no picture of that size.
    """
    import cv2

    frames, ends = np.asarray(codes["frames"]), np.asarray(codes["frame_ends"])
    starts = np.concatenate([[0], ends[:-1]])

    def one(edges: tuple[int, int]) -> np.ndarray:
        picture = cv2.imdecode(frames[slice(*edges)], cv2.IMREAD_COLOR)
        if picture is None or picture.shape != (size, size, 3):
            raise ValueError(f"frames hold a code that is no picture of {size} x {size} pixels")
        return smaller(picture, side)[..., ::-1]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(one, zip(starts.tolist(), ends.tolist(), strict=True))))


def smaller(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture of another size, averaged over areas.

    Args:
      picture: [H, H, 3] uint8.
      side: of the result, pixels.

    Returns:
      [side, side, 3] uint8.
    """
    import cv2

    return picture if side == len(picture) else cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def mapped(path: Path, fill: Callable[[np.ndarray], None], rows: int, side: int) -> np.ndarray:
    """All frames of a data set as a file, mapped into memory; made once.

    Args:
      path: the file; what depends on the data must be part of its name.
      fill: writes into such an array; not called where the file is there.
      rows: of all videos.
      side: of a picture.

    Returns:
      [rows, side, side, 3] uint8, read-only.

    Raises:
      UserError: the file cannot be written, or is of another size.
    """
    shape = (rows, side, side, 3)
    size = rows * side * side * 3
    if not path.exists():
        try:
            with files.replacing(path) as part:
                with part.open("wb") as file:
                    if hasattr(os, "posix_fallocate"):  # Linux: a full disk shows here, not as a killed process
                        os.posix_fallocate(file.fileno(), 0, size)
                    file.truncate(size)
                pictures = np.memmap(part, np.uint8, "r+", shape=shape)
                fill(pictures)
                pictures.flush()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; {size / 1e9:.2f} GB are needed for decoded frames") from None
    if path.stat().st_size != size:
        raise UserError(f"{path}: has {path.stat().st_size} bytes, expected {size}; delete it and start again")
    return np.memmap(path, np.uint8, "r", shape=shape)


def side_of(metadata: Mapping[str, Any], side: int, where: str | Path) -> tuple[int, int]:
    """Sides of the frames that are stored, and of those that are wanted.

    Args:
      metadata: of the data set.
      side: the user's wish; 0: as stored.
      where: the data set, for the message.

    Returns:
      (stored, wanted), pixels.

    Raises:
      UserError: the data set keeps no frames, or smaller ones.
    """
    kept = metadata.get("frames")
    if not kept:
        raise UserError(f"{where}: keeps no frames, and this model reads pictures; prepare the data with --frames")
    size = int(kept["size"])
    if not 0 <= side <= size:
        raise UserError(f"data.side must lie between 1 and the data's {size} pixels, or be 0 (as stored); got {side}")
    return size, side or size
