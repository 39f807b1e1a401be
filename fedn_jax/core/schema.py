"""What a shard record holds: the boundary between preparation and everything else.

One record is one whole video; one split is one subject. Windows, folds and hops are training options and never
reach the disk.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core.errors import UserError

VERSION = "3.0.0"  # of the record layout below; a reader refuses another major number
BACKBONE = "backbone.safetensors"  # beside the shards and in a run: what the inputs were made with
KINDS = ("macro", "micro")  # expression kinds; the record stores the index
REGIONS = 12  # of a face, whose displacement is stored
MICRO_SECONDS = 0.5  # an expression of at most this length is a micro-expression (MEGC 2019)

EVENT_COLUMNS = ("onset", "apex", "offset", "emotion", "kind")  # of `events`; apex -1: not annotated

# name -> (shape, dtype, meaning). None is the video's length; strings have shape None.
FIELDS: dict[str, tuple[tuple[int | None, ...] | None, str, str]] = {
    "subject": (None, "str", "subject identifier"),
    "video": (None, "str", "video identifier, unique within the subject"),
    "num_frames": ((), "int32", "frames of the video, T"),
    "fps": ((), "float32", "frames per second"),
    "first_frame": ((), "int32", "number that files give to the first frame"),
    "inputs": ((None, None), "float16", "[R, D] one row per frame, or per clip of a clip feature"),
    "valid": ((None,), "uint8", "[R] 1 where the row shows a face, 0 for a gap"),
    "flow": ((None, REGIONS, 2), "float16", "[R, 12, 2] displacement of regions, right and down; 0 without pictures"),
    "source": ((None,), "int32", "[T] frame of the file, from 0, that each frame came from"),
    "events": ((None, 5), "int32", "[E, 5] onset, apex, offset (frames from 0, half-open), emotion, kind"),
}

# Fields of records whose metadata has "frames": {"codec": "png", "size": side in pixels}.
FRAME_FIELDS: dict[str, tuple[tuple[int | None, ...] | None, str, str]] = {
    "frames": ((None,), "uint8", "PNG codes of the R aligned frames, one after another: lossless"),
    "frame_ends": ((None,), "int64", "[R] end of each frame's code in `frames`"),
}

# Entries of the metadata that a reader relies on.
METADATA = (
    "schema",
    "dataset",
    "classes",
    "frames_per_row",
    "backbone",
    "aligner",
    "signature",
    "labels",
    "preparation",
)
OWN = {"folder": "own videos", "features": "own features"}  # data sets that are no released ones, in words


def dataset(metadata: dict[str, Any]) -> str:
    """What a data set is, for people.

    Args:
      metadata: of the data set.

    Returns:
      The name of a released one, or words.
    """
    return OWN.get(metadata["dataset"], metadata["dataset"])


def fields(metadata: dict[str, Any]) -> dict[str, tuple[tuple[int | None, ...] | None, str, str]]:
    """The fields of the records of a data set.

    Args:
      metadata: of the data set.

    Returns:
      ``FIELDS``, and ``FRAME_FIELDS`` where frames are kept.
    """
    return FIELDS | (FRAME_FIELDS if metadata.get("frames") else {})


def check_version(path: Path, metadata: Mapping[str, Any]) -> None:
    """Checks that this version reads a data set.

    Args:
      path: the data set, for the message.
      metadata: its own.

    Raises:
      UserError: metadata without what ``METADATA`` names, or of another layout.
    """
    missing = [name for name in METADATA if name not in metadata]
    if missing:
        raise UserError(f"{path}: metadata has no {', '.join(missing)}; prepare the data again with `fedn prepare`")
    if str(metadata["schema"]).split(".")[0] != VERSION.split(".")[0]:
        raise UserError(
            f"{path}: written with schema {metadata['schema']}, this version reads {VERSION}; prepare the data again "
            "into another --out"
        )


def find(directory: str | Path) -> Path:
    """Finds the one data set below a directory.

    Args:
      directory: what ``fedn prepare`` was given as ``--out``, or any directory above its shards.

    Returns:
      The directory with ``dataset_info.json``.

    Raises:
      UserError: there is none, or more than one.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; expected the --out of `fedn prepare`")
    # Preparation that was cut off leaves directories of these names.
    found = []
    for path in sorted(directory.rglob("dataset_info.json")):
        parts = path.relative_to(directory).parts
        if not any(part.startswith("incomplete.") or part.endswith(".new") for part in parts):
            found.append(path.parent)
    if not found:
        raise UserError(f"{directory}: holds no prepared data; expected the --out of `fedn prepare`")
    if len(found) > 1:
        raise UserError(f"{directory}: holds {len(found)} data sets; give one of {', '.join(map(str, found))}")
    return found[0]


def validate(record: dict[str, Any], num_classes: int, frames_per_row: int) -> None:
    """Checks one record against the schema, beyond shapes and dtypes.

    Args:
      record: field name -> value, as in ``FIELDS``, perhaps ``FRAME_FIELDS`` (strings as ``str``).
      num_classes: number of emotion classes, C.
      frames_per_row: frames that one row of ``inputs`` stands for (1 for frame embeddings).

    Raises:
      ValueError: names the video, the field, the rule and the offending value.
    """
    missing = sorted(set(FIELDS) - set(record))
    if missing:
        raise ValueError(f"record has no field {', '.join(missing)}; a record has {', '.join(FIELDS)}")
    where = f"video {record['subject']}/{record['video']}"
    for name, (shape, dtype, _) in (FIELDS | FRAME_FIELDS).items():
        if shape is None or name not in record:
            continue
        array = np.asarray(record[name])
        if array.dtype != dtype or array.ndim != len(shape):
            raise ValueError(
                f"{where}: {name} must be {dtype} with {len(shape)} axes; got {array.dtype} {list(array.shape)}"
            )
        if any(want is not None and want != got for want, got in zip(shape, array.shape, strict=True)):
            raise ValueError(f"{where}: {name} must have shape {list(shape)}; got {list(array.shape)}")
    frames, rows = int(record["num_frames"]), len(record["inputs"])
    if frames < 1 or rows < 1:
        raise ValueError(f"{where}: needs at least one frame; got {frames} frames in {rows} rows")
    if abs(rows * frames_per_row - frames) >= 2 * frames_per_row:
        raise ValueError(
            f"{where}: {rows} rows of {frames_per_row} frame(s) do not fit {frames} frames; expected "
            f"about {-(-frames // frames_per_row)}"
        )
    if not np.isfinite(record["fps"]) or record["fps"] <= 0:
        raise ValueError(f"{where}: fps must be a positive number; got {record['fps']}")
    for name in ("valid", "flow"):
        if len(record[name]) != rows:
            raise ValueError(f"{where}: {name} must have one entry per row ({rows}); got {len(record[name])}")
    source = np.asarray(record["source"])
    if len(source) != frames or source[0] < 0 or (np.diff(source) < 0).any():
        raise ValueError(f"{where}: source must hold {frames} frame numbers that never fall; got {len(source)}")
    if "frames" in record or "frame_ends" in record:
        ends = np.asarray(record.get("frame_ends", ()))
        if len(ends) != rows or (np.diff(ends, prepend=0) <= 0).any() or ends[-1] != len(record.get("frames", ())):
            raise ValueError(f"{where}: frame_ends must hold {rows} rising ends, the last that of frames")
    if not np.isfinite(record["inputs"]).all():
        raise ValueError(f"{where}: inputs must be finite; got NaN or infinity")
    for onset, apex, offset, emotion, kind in np.asarray(record["events"]):
        event = f"expression [{onset}, {offset})"
        if not 0 <= onset < offset <= frames:
            raise ValueError(f"{where}: {event} must lie inside [0, {frames})")
        if apex != -1 and not onset <= apex < offset:
            raise ValueError(f"{where}: {event} must hold its apex; got {apex}")
        if not -1 <= emotion < num_classes:
            raise ValueError(f"{where}: {event} must have an emotion below {num_classes}, or -1; got {emotion}")
        if not 0 <= kind < len(KINDS):
            raise ValueError(f"{where}: {event} must have a kind below {len(KINDS)}; got {kind}")
