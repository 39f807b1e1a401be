"""Files: safe names, writing whole or not at all, one process at a time."""

import contextlib
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from fedn_jax.core.errors import UserError


class Held(UserError):
    """Another process holds a lock."""


PART = ".part-"  # how files begin that are being written; no name of ``file_name`` does


def file_name(*parts: str) -> str:
    """A name for files made of names in the data: safe on every file system, different for different parts.

    Args:
      *parts: e.g. subject and video.

    Returns:
      The parts, joined by "__"; with a checksum where that would be ambiguous or characters had to be replaced.

    >>> file_name("s15", "15_0101")
    's15__15_0101'
    >>> file_name("s15/inner")
    's15_inner-c1f2799f'
    """
    joined = "__".join(parts)
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", joined)
    clear = safe == joined and not joined.startswith(".") and not any("__" in f"_{part}_" for part in parts)
    return safe if clear else f"{safe.lstrip('.')}-{zlib.crc32(chr(0).join(parts).encode()):08x}"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Writes a file whole or not at all.

    Args:
      path: the file; its directory is made if missing.

    Yields:
      Another path beside it, with the same suffix, to write to. It takes the file's place at the end, and vanishes
      after an exception; of a process that was killed it may stay, as a name that begins with ``PART``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all.

    Args:
      path: the file; its directory is made if missing.
      text: its content; line ends stay as they are.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all.

    Args:
      path: the file; its directory is made if missing.
      content: what it shall hold.
    """
    with replacing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Holds a directory's lock; the system releases it even when the process is killed.

    Args:
      directory: made if missing.

    Yields:
      Nothing.

    Raises:
      Held: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on this system: two processes at once are the user's to avoid
        yield
        return
    with open(directory / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = f"{directory}: another process is at work in it; wait for it or choose another --out"
            raise Held(text) from None
        yield


@contextlib.contextmanager
def wait_for_lock(directory: Path) -> Iterator[None]:
    """Waits for a directory's turn: one process at a time, released by the system even when it is killed.

    Args:
      directory: must exist.

    Yields:
      Nothing.
    """
    try:
        import fcntl
    except ImportError:  # not on this system: two processes at once are the user's to avoid
        yield
        return
    with open(directory / ".turn", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
