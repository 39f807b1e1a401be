"""Files that a command wrote, told from those that a person wrote or corrected: the latter are never replaced.

A directory holds one list, ``.written.json``: for each name the checksums of its files as they were written, and what
they are about.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedn_jax.core import files
from fedn_jax.core.errors import UserError

LIST = ".written.json"
_MOST_LIST = 2**28  # bytes


def read(directory: Path) -> dict[str, dict[str, Any]]:
    """What commands wrote into a directory.

    Args:
      directory: need not exist.

    Returns:
      name -> {"about": {...}, "files": {file name -> checksums that it may have}}; empty where no list is, or no
      readable one.
    """
    if not (directory / LIST).is_file():
        return {}
    content = files.read_bytes(directory / LIST, _MOST_LIST, "the list of results")
    try:
        found = json.loads(content)
        return {name: {"about": dict(entry["about"]), "files": dict(entry["files"])} for name, entry in found.items()}
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return {}


@contextlib.contextmanager
def replacing(
    directory: Path,
    name: str,
    about: Mapping[str, Any],
    names: Sequence[str],
    force: bool = False,
    strangers: bool = False,
) -> Iterator[dict[str, Path]]:
    """Writes files that belong together, and remembers them; killed at any moment, it can be done again.

    Args:
      directory: of the files; call it while no other process writes there (``files.wait_for_lock``).
      name: of the group of files.
      about: what JSON can say of them, for whoever asks ``read``.
      names: of the files.
      force: replace them, whoever wrote them.
      strangers: see ``check``.

    Yields:
      File name -> path to write it to, all of them; they take their places at the end, or vanish after an exception.

    Raises:
      UserError: a person changed one of the files.
    """
    if not force:
        check(directory, names, strangers)
    with contextlib.ExitStack() as stack:
        parts = {one: stack.enter_context(files.replacing(directory / one)) for one in names}
        yield parts
        made = {one: _checksum(part) for one, part in parts.items()}
        # Until all are in place some may be those from before, whoever wrote them.
        before = {one: _checksum(directory / one) for one in names if (directory / one).is_file()}
        _note(directory, name, about, {one: sorted({made[one], before.get(one, made[one])}) for one in names})
    _note(directory, name, about, {one: [made[one]] for one in names})


@contextlib.contextmanager
def file(path: Path, about: Mapping[str, Any], force: bool = False) -> Iterator[Path]:
    """Writes one file that a command was asked for, one process at a time.

    Args:
      path: the file; its directory is made if missing.
      about: see ``replacing``.
      force: replace it, whoever wrote it.

    Yields:
      Path to write to; see ``replacing``.

    Raises:
      UserError: a person wrote or changed the file, or it is a directory.
    """
    with group(path, [path.name], about, force) as parts:
        yield parts[path.name]


@contextlib.contextmanager
def group(path: Path, names: Sequence[str], about: Mapping[str, Any], force: bool = False) -> Iterator[dict[str, Path]]:
    """Writes a file and those beside it that belong to it; see ``file``.

    Args:
      path: the file.
      names: of all files, in its directory.
      about: see ``replacing``.
      force: replace them, whoever wrote them.

    Yields:
      File name -> path to write to.

    Raises:
      UserError: see ``file``.
    """
    files.check_place(path)
    with files.wait_for_lock(path.parent), replacing(path.parent, path.name, about, names, force) as parts:
        yield parts


def _note(directory: Path, name: str, about: Mapping[str, Any], checksums: Mapping[str, Sequence[str]]) -> None:
    text = json.dumps(read(directory) | {name: {"about": about, "files": checksums}}, indent=1, sort_keys=True)
    files.write_text(directory / LIST, text + "\n")


def check(directory: Path, names: Sequence[str], strangers: bool = False) -> None:
    """Refuses to replace what a person wrote or changed.

    Args:
      directory: of the files.
      names: of the files that are to be written.
      strangers: files that no command is known to have written may be replaced.

    Raises:
      UserError: such a file is there.
    """
    there = [one for one in names if (directory / one).exists()]  # before the list, which is written before the files
    known = {one: checksums for entry in read(directory).values() for one, checksums in entry["files"].items()}
    for one in there:
        path = directory / one
        if one not in known and strangers:
            continue
        if one not in known or not path.is_file() or _checksum(path) not in known[one]:
            how = "was changed since it was written" if one in known else "is there, and is not known to be a result"
            raise UserError(f"{path}: {how}; move it away, choose another place, or give --force to replace it")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
