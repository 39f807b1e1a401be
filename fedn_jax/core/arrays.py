"""Arrays from .npz and .npy files of unknown origin: sizes are checked before anything is unpacked."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.core.files import check_plain
from fedn_jax.core.text import excerpt

MOST_BYTES = 2**30  # of the arrays of a file together, in memory
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes; others may unpack to much more at once


def load_npz(
    path: Path,
    names: Sequence[str],
    optional: Sequence[str] = (),
    most: int | None = None,
    remedy: str = "make it again",
    alone: str = "",
) -> dict[str, np.ndarray]:
    """Reads arrays of a file. Nothing in it is unpickled, and other arrays in it are not looked at.

    Args:
      path: a file of ``numpy.savez``.
      names: arrays that must be there.
      optional: arrays that may be there.
      most: bytes of all arrays that are read, together; None: ``MOST_BYTES``.
      remedy: what the user can do about a file that cannot be used, for messages.
      alone: the name of the array that a file of ``numpy.save`` holds; "": such a file is refused.

    Returns:
      Name -> array, of any shape and dtype but objects; the caller checks these.

    Raises:
      UserError: no such file, a damaged one or one of another kind, an array that is missing, or too many bytes.
    """
    what = "arrays" if alone else "arrays (.npz)"
    check_plain(path, what)
    try:
        with path.open("rb") as file:
            if alone and file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                file.seek(0)
                size = path.stat().st_size
                _check_sum(path, [_bytes(file, size)], most, remedy)
                file.seek(0)
                return {alone: np.lib.format.read_array(file, allow_pickle=False)}
            file.seek(0)
            return _unpacked(path, file, names, optional, most, remedy)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise what they like
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{path}: not readable as .npz of plain arrays ({excerpt(said)}); {remedy}") from None


def _unpacked(
    path: Path, file: IO[bytes], names: Sequence[str], optional: Sequence[str], most: int | None, remedy: str
) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if missing := [f"`{name}`" for name in names if name not in members]:
            raise UserError(f"{path}: holds no array {', '.join(missing)}; {remedy}")
        wanted = {name: members[name] for name in (*names, *optional) if name in members}
        sizes = []
        for info in wanted.values():
            if info.compress_type not in _PACKED:
                raise ValueError(f"{info.filename} is packed in another way than NumPy does")
            with archive.open(info) as member:
                sizes.append(_bytes(member, info.file_size))
        _check_sum(path, sizes, most, remedy)
        found = {}
        for name, info in wanted.items():
            with archive.open(info) as member:
                found[name] = np.lib.format.read_array(member, allow_pickle=False)
                if member.read(1):  # the last read also compares the checksum
                    raise ValueError(f"{info.filename} is longer than its array")
        return found


def _bytes(file: IO[bytes], size: int) -> int:
    """Bytes of the array that a header announces; ``size`` is that of the whole .npy file."""
    read: Any = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in read:
        raise ValueError(f"the .npy format {version[0]}.{version[1]} is for arrays with named columns")
    try:
        shape, _, dtype = read[version](file)
    except (MemoryError, RecursionError):  # of Python's parser
        raise ValueError("its header is nested too deeply") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    number = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or number > size - file.tell():
        raise ValueError(f"an array of {list(shape)} {dtype} does not fit into its {size} bytes")
    return number


def _check_sum(path: Path, sizes: Sequence[int], most: int | None, remedy: str) -> None:
    most, total = MOST_BYTES if most is None else most, sum(sizes)
    if total > most:
        raise UserError(
            f"{path}: its arrays take {total / 2**20:.0f} MiB in memory; expected at most {most / 2**20:.0f} MiB; "
            f"{remedy}"
        )
