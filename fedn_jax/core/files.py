"""Files: safe names, reading within bounds, writing whole or not at all, one process at a time."""

import contextlib
import errno
import glob
import logging
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedn_jax.core.errors import UserError

PART = ".part-"  # how files and directories begin that are being written; no name of ``file_name`` does
LONGEST = 100  # letters of a name of ``file_name``: endings, and what PART adds, fit beside them
TAIL = 60  # letters at the end of a name that a part's name repeats, so that the part has the same suffix

log = logging.getLogger(__name__)


class Held(UserError):
    """Another process holds a lock."""


def file_name(*parts: str) -> str:
    """A name for files made of names in the data: safe on every file system, different for different parts.

    Args:
      *parts: e.g. subject and video; any text, also names of files that are not UTF-8.

    Returns:
      The parts, joined by "__", at most LONGEST ASCII letters; with a checksum where that would be ambiguous, or where
      it had to be shortened or characters replaced.

    >>> file_name("s15", "15_0101")
    's15__15_0101'
    >>> file_name("s15/inner")
    's15_inner-c1f2799f'
    """
    joined = "__".join(parts)
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", joined)
    clear = safe == joined and not joined.startswith(".") and not any("__" in f"_{part}_" for part in parts)
    if clear and len(safe) <= LONGEST:
        return safe
    checksum = zlib.crc32(chr(0).join(parts).encode("utf-8", "surrogatepass"))
    return f"{safe.lstrip('.')[: LONGEST - 9]}-{checksum:08x}"


def user_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where this project keeps what can be made or fetched again.

    Args:
      environment: of the process.

    Returns:
      The directory, which need not be there.

    Raises:
      RuntimeError: a user without a home.
    """
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedn_jax"


# ---- Reading --------------------------------------------------------------------------------------------------------


def check_plain(path: Path, what: str = "") -> None:
    """Refuses what is not a file with an end: reading a device or a pipe may never end.

    Args:
      path: what somebody gave.
      what: what it should hold, for the message.

    Raises:
      UserError: nothing is there, a directory, a pipe, a device, or a link to itself.
    """
    if os.path.isfile(path):
        return
    expected = f"expected a file with {what}" if what else "expected a file"
    problem = "a folder" if os.path.isdir(path) else "a pipe or a device" if os.path.exists(path) else "no such file"
    raise UserError(f"{path}: {problem}; {expected}")


def read_bytes(path: Path, limit: int, what: str = "") -> bytes:
    """Reads a file of unknown origin.

    Args:
      path: the file.
      limit: bytes that are accepted.
      what: what it should hold, for messages.

    Returns:
      Its content.

    Raises:
      UserError: no such file, not a plain one, not readable, or too large.
    """
    check_plain(path, what)
    expected = f"; expected a file with {what}" if what else ""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror}){expected}") from None
    if len(data) > limit:
        size = f"{limit >> 20} MiB" if limit >= 2**20 else f"{limit} bytes"
        raise UserError(f"{path}: larger than {size}{expected}")
    return data


# ---- Writing --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets errors of the system say which file they are about.

    Args:
      path: what is written.

    Yields:
      Nothing. An OSError that names no file (``write`` does not), or a part, names ``path`` from here on.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and PART in f"{error.filename or PART}":
            error.filename = str(path)
        raise


def _refuse_directory(path: Path) -> None:
    if path.is_dir():  # "." and "/", too, which have no name
        raise UserError(f"{path}: is a directory; expected the name of a file to write")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Writes a file whole or not at all.

    Args:
      path: the file; its directory is made if missing.

    Yields:
      Another path beside it, of this call alone, with the same suffix, to write to. It takes the file's place at the
      end, and vanishes after an exception. What a killed process left is removed when the file is written again.

    Raises:
      UserError: ``path`` is a directory.
    """
    _refuse_directory(path)
    with _part(path, directory=False) as part:
        yield part
        part.replace(path)


@contextlib.contextmanager
def building(path: Path) -> Iterator[Path]:
    """Makes a directory whole or not at all; of several processes that make it at once the first to finish wins.

    Args:
      path: the directory; the one above is made if missing.

    Yields:
      An empty directory beside it, of this call alone, to fill. It becomes ``path`` at the end, unless that is there by
      then, and vanishes after an exception. What killed processes left beside it is removed at the start.
    """
    with scratch(path) as part:
        yield part
        try:
            part.rename(path)
        except OSError:
            if not path.is_dir():
                raise


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A directory for what is needed while ``path`` is made.

    Args:
      path: a file or directory; the one above is made if missing.

    Yields:
      An empty directory beside it, of this call alone, which vanishes at the end; see ``building``.
    """
    with _part(path, directory=True) as part:
        yield part


@contextlib.contextmanager
def _part(path: Path, directory: bool) -> Iterator[Path]:
    """A file or directory beside ``path`` that is locked while it is used, so that leftovers can be told from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path, directory)
    with contextlib.ExitStack() as stack, naming(path):
        while True:
            part = path.with_name(f"{PART}{secrets.token_hex(4)}-{path.name[-TAIL:]}")
            stack.callback(_remove, part)
            part.mkdir() if directory else part.touch(exist_ok=False)
            if _hold(part, stack) is None or part.exists():  # else another process took it for a leftover just now
                break
        yield part


def _hold(part: Path, stack: contextlib.ExitStack) -> bool | None:
    """Locks a part until the stack ends, or the process; see ``_take``."""
    if os.name != "posix":  # an open file cannot be renamed elsewhere
        return None
    descriptor = os.open(part, os.O_RDONLY if part.is_dir() else os.O_RDWR)
    stack.callback(os.close, descriptor)
    return _take(descriptor)[0]


def _remove_leftovers(path: Path, directory: bool) -> None:
    """Removes the parts of ``path`` that no living process holds; of directories, which are large, all beside it."""
    pattern = f"{PART}*" if directory else f"{PART}*-{glob.escape(path.name[-TAIL:])}"
    for part in [one for one in path.parent.glob(pattern) if one.is_dir() == directory]:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # another's, or just gone
            if _hold(part, stack):
                _remove(part)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Finds out before long work whether its result can be written.

    Args:
      path: the file that will be; its directory is made if missing.

    Raises:
      UserError: a directory is there.
      OSError: what writing would raise.
    """
    _refuse_directory(path)
    with scratch(path):
        pass


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all.

    Args:
      path: the file; its directory is made if missing.
      text: its content; line ends stay as they are. Halves of characters, such as file names that are not UTF-8 have,
        become escapes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all.

    Args:
      path: the file; its directory is made if missing.
      content: what it shall hold.
    """
    with replacing(path) as part:
        part.write_bytes(content)


# ---- One process at a time ------------------------------------------------------------------------------------------


def _take(descriptor: int, wait: bool = False) -> tuple[bool | None, OSError | None]:
    """Takes the lock of an open file: True, or False if another process holds it; None and why if there are none."""
    try:
        import fcntl
    except ImportError:  # not on this system
        return None, None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False, None
    except OSError as error:  # not on this file system: NFS, Lustre and FUSE may be set up so
        return None, error
    return True, None


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Holds a directory's lock; the system releases it even when the process is killed.

    Args:
      directory: made if missing. On a file system without locks there is a warning, and the work goes on.

    Yields:
      Nothing.

    Raises:
      Held: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        if not _locked(file.fileno(), directory):
            raise Held(f"{directory}: another process is at work in it; wait for it or choose another --out")
        yield


@contextlib.contextmanager
def wait_for_lock(directory: Path) -> Iterator[None]:
    """Waits for a directory's turn: one process at a time, released by the system even when it is killed.

    Args:
      directory: must exist. On a file system without locks there is a warning, and the work goes on.

    Yields:
      Nothing.
    """
    with open(directory / ".turn", "w") as file:
        _locked(file.fileno(), directory, wait=True)
        yield


def _locked(descriptor: int, directory: Path, wait: bool = False) -> bool:
    """False if another process holds the lock."""
    taken, error = _take(descriptor, wait)
    if error is not None:
        reason = os.strerror(error.errno or errno.ENOLCK)
        log.warning(f"{directory}: no lock on this file system ({reason}); start only one command in it at a time")
    return taken is not False
