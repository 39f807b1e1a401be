"""Ways to break a file. Each changes a file in place and says in words what it did."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Mutation = Callable[[Path, random.Random], str]


# ---- Bytes -----------------------------------------------------------------------------------------------------------


def _bytes(change: Callable[[bytearray, random.Random], tuple[bytes, str]]) -> Mutation:
    def mutation(path: Path, rng: random.Random) -> str:
        content, what = change(bytearray(path.read_bytes()), rng)
        path.write_bytes(content)
        return what

    mutation.__name__ = change.__name__
    return mutation


@_bytes
def truncate(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """Cut off, at any byte, and more often near an end."""
    end = rng.choice(
        [rng.randrange(len(data) + 1), min(len(data), rng.randrange(1, 64)), max(0, len(data) - rng.randrange(64))]
    )
    return bytes(data[:end]), f"cut to {end} of {len(data)} bytes"


@_bytes
def flip(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A few bits or bytes."""
    count = rng.choice([1, 1, 2, 8, 64])
    for _ in range(count if data else 0):
        where = rng.randrange(len(data)) if rng.random() < 0.6 else rng.randrange(min(len(data), 256))
        data[where] = data[where] ^ (1 << rng.randrange(8)) if rng.random() < 0.5 else rng.randrange(256)
    return bytes(data), f"{count} places overwritten"


@_bytes
def splice(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A piece of the file again, elsewhere: in place of what was there, or pushed in between."""
    size = rng.randrange(1, max(2, min(len(data), 4096)))
    start, where = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    piece = data[start : start + size]
    pushed = rng.random() < 0.5
    data[where : where if pushed else where + size] = piece
    return bytes(data), f"{len(piece)} bytes of {start} {'inserted' if pushed else 'put'} at {where}"


@_bytes
def remove(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A piece is missing."""
    size, where = rng.randrange(1, max(2, min(len(data), 4096))), rng.randrange(len(data) + 1)
    del data[where : where + size]
    return bytes(data), f"{size} bytes missing at {where}"


@_bytes
def huge_number(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A length field that claims far too much: whatever lies there becomes a large number."""
    size = rng.choice([2, 4, 8])
    where = rng.randrange(min(len(data), 2048)) if rng.random() < 0.6 else rng.randrange(max(1, len(data)))
    value = rng.choice([b"\xff" * size, b"\x7f" + b"\xff" * (size - 1), b"\xff" * (size - 1) + b"\x7f", b"\0" * size])
    data[where : where + size] = value
    return bytes(data), f"{value.hex()} at {where}"


@_bytes
def zeros(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A block of zeros, as a disk leaves it after a power cut."""
    where, size = rng.randrange(len(data) + 1), rng.choice([16, 512, 4096, len(data)])
    size = min(size, len(data) - where)
    data[where : where + size] = bytes(size)
    return bytes(data), f"{size} zeros at {where}"


@_bytes
def appended(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """Something follows the end."""
    tail = rng.choice(
        [b"\0" * 4096, os.urandom(0) + rng.randbytes(1000), bytes(data[: len(data) // 2]), b"\n\n\n,,,\n"]
    )
    return bytes(data) + tail, f"{len(tail)} bytes appended"


@_bytes
def noise(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """Nothing of the file is left."""
    return rng.randbytes(rng.choice([1, 100, 5000])), "random bytes"


BYTES = (truncate, truncate, flip, flip, splice, remove, huge_number, zeros, appended, noise)


# ---- What lies at the path -------------------------------------------------------------------------------------------


def _instead(make: Callable[[Path, random.Random], None], what: str) -> Mutation:
    def mutation(path: Path, rng: random.Random) -> str:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        make(path, rng)
        return what

    return mutation


def _other_kind(path: Path, rng: random.Random) -> None:
    kinds = [
        b"%PDF-1.7\n",
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"#!/bin/sh\nexit 0\n",
        b"\x7fELF\x02\x01\x01",
        b"RIFF\xff\xff\xff\xffAVI LIST",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        b"<?xml version='1.0'?><a/>",
    ]
    path.write_bytes(rng.choice(kinds) + rng.randbytes(200))


def forbidden(path: Path, rng: random.Random) -> str:
    """Nobody may read it."""
    path.chmod(0)
    return "no permission"


def missing(path: Path, rng: random.Random) -> str:
    """It is not there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return "missing"


IN_ITS_PLACE: tuple[Mutation, ...] = (
    _instead(lambda path, _: path.write_bytes(b"") and None, "empty"),
    _instead(lambda path, _: path.mkdir(), "a directory in its place"),
    _instead(lambda path, _: os.mkfifo(path), "a FIFO in its place"),
    _instead(lambda path, _: path.symlink_to(path.name), "a link to itself"),
    _instead(lambda path, _: path.symlink_to("nothing"), "a link to nothing"),
    _instead(lambda path, _: path.symlink_to("/dev/zero"), "a link to /dev/zero"),
    _instead(_other_kind, "a file of another kind"),
    missing,
    forbidden,
)
