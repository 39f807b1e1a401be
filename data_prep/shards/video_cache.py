"""The cache file of one video: its frames, decoded, aligned and embedded."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.backbones import kinds
from data_prep.backbones.kinds import Backbone
from data_prep.faces.decode import Decoded, Options, decode, fits
from data_prep.media.sources import Source
from fedn_jax.core import arrays, files, schema
from fedn_jax.core.errors import UserError
from fedn_jax.data import stills

PIPELINE = 3  # raise when decoding, alignment or embedding change what they give for the same video
_MOST_BYTES = 2**33  # of one video's columns: more than ten hours
COLUMNS = ("inputs", "fps", "num_source", "source", "valid", "flow", "uneven", "notes")
TIMES = ("seconds", "ends")  # of all frames of the source; needed where annotations are times


class Job(NamedTuple):
    """What it takes to make one video's cache file."""

    source: Source
    options: Options
    first_frame: int
    cache: Path  # the file to make
    preview: Path  # a video of the aligned faces
    backbone: Path
    attempt: str = ""  # tells processes apart that make the same video
    frames: bool = False  # keep the aligned frames

    @property
    def raw(self) -> Path:
        """File for the aligned frames, until they are embedded."""
        return self.cache.with_suffix(f"{self.attempt}.raw")


def decode_job(job: Job) -> Decoded:
    """Makes the ``raw`` file of a job.

    Args:
      job: the job.

    Returns:
      What is known about the frames, and how the face moves in them.

    Raises:
      UserError: see :func:`decode.decode`.
    """
    return decode(job.source, job.options, job.first_frame, job.raw, job.preview)


def embed_raw(job: Job, decoded: Decoded, backbone: Backbone) -> None:
    """Embeds the aligned frames and writes the cache file, all of it or nothing.

    Args:
      job: its ``raw`` file is there, and is removed.
      decoded: of ``decode_job``.
      backbone: the feature extractor.

    Raises:
      UserError: the backbone sees no face in any frame.
    """
    facts, size = decoded.facts, job.options.size
    pictures = np.memmap(job.raw, np.uint8, "r").reshape(-1, size, size, 3)
    inputs, seen = kinds.seen(np.concatenate(list(backbone.features(pictures))))
    codes = stills.encode(pictures) if job.frames else {}
    del pictures
    job.raw.unlink()
    valid = kinds.seen_at_all(job.source.path, facts.valid & seen)
    content = facts._asdict() | {
        "inputs": inputs,
        "flow": decoded.flow,
        "valid": valid,
        "fps": np.float32(facts.fps),
        "notes": np.array(facts.notes, np.str_),
    }
    with files.replacing(job.cache) as part, part.open("wb") as file:
        np.savez(file, **{name: content[name] for name in COLUMNS + TIMES}, **codes)


def columns(frames: bool) -> tuple[str, ...]:
    """The columns that make a record.

    Args:
      frames: with the aligned frames.

    Returns:
      Names.
    """
    return (*COLUMNS, *schema.FRAME_FIELDS) if frames else COLUMNS


def load(cache: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads columns of a cache file.

    Args:
      cache: the file.
      names: of the columns.

    Returns:
      Name -> array.

    Raises:
      UserError: damaged, or without one of the columns.
    """
    return arrays.load_npz(cache, names, most=_MOST_BYTES, remedy="delete it and start the same command again")


def usable(cache: Path, frames: bool = False, more: Sequence[str] = ()) -> bool:
    """Whether a video is done; a cache file that is damaged, or lacks a column, is thrown away, to be made again.

    Args:
      cache: the file, which need not be there.
      frames: it must hold the aligned frames.
      more: columns that it must hold beside the usual ones.

    Returns:
      True if nothing is left to do.
    """
    if not cache.exists():
        return False
    with contextlib.suppress(UserError):
        found = load(cache, (*columns(frames), *more))
        codes = {name: found.pop(name) for name in schema.FRAME_FIELDS if name in found}
        if fits(found) and (not codes or stills.fits(codes, len(found["valid"]))):
            return True
    cache.unlink()
    return False
