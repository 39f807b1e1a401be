"""Shards to arrays: the only reader of tensorflow_datasets."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core import schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Events, Store, VideoMeta
from fedn_jax.data import stills


class Dataset(NamedTuple):
    """Everything that shards hold, in memory; V videos, sorted by subject and video."""

    store: Store  # NumPy; inputs [R, D] float16, or frames [R, side, side, 3] uint8, mapped from a file
    metas: list[VideoMeta]  # V
    events: list[Events]  # V, [E] each, NumPy, without padding
    flow: np.ndarray  # [R, 12, 2] float16, displacement of regions of the face against its nose, 1/112 of its side
    metadata: dict[str, Any]  # schema.METADATA


def records(directory: str | Path, frames: bool = False) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Reads shards record by record.

    Args:
      directory: see :func:`schema.find`.
      frames: with their frames, where these are kept.

    Returns:
      The metadata, and an iterator over records (fields as of ``schema.fields``), which raises UserError at damage.

    Raises:
      UserError: see :func:`schema.find`; or data of another schema.
    """
    path, builder, metadata = _open(directory)
    return metadata, _read(path, builder, sorted(builder.info.splits), _names(metadata, frames))


def by_subject(
    directory: str | Path, frames: bool = False
) -> tuple[dict[str, Any], dict[str, Callable[[], Iterator[dict[str, Any]]]]]:
    """Reads shards subject by subject, which are their splits: for work that does not need all of the data at once.

    Args:
      directory: see :func:`schema.find`.
      frames: with their frames, where these are kept.

    Returns:
      The metadata; and subject -> what gives an iterator over its records, as that of :func:`records`.

    Raises:
      UserError: as of :func:`records`.
    """
    path, builder, metadata = _open(directory)
    found = {}
    for split in sorted(builder.info.splits):
        first = next(_read(path, builder, [split], ("subject",)), None)
        if first is not None:
            found[first["subject"]] = functools.partial(_read, path, builder, [split], _names(metadata, frames))
    return metadata, found


def _names(metadata: dict[str, Any], frames: bool) -> tuple[str, ...]:
    return tuple(schema.fields(metadata) if frames else schema.FIELDS)


def _open(directory: str | Path) -> tuple[Path, Any, dict[str, Any]]:
    """The directory of the shards, what reads them, and their metadata."""
    import tensorflow_datasets as tfds

    path = schema.find(directory)
    try:
        builder = tfds.builder_from_directory(str(path))
        metadata = dict(builder.info.metadata or {})
        sorted(builder.info.splits)
    except Exception as error:
        raise _damage(path, error) from error
    missing = [name for name in schema.METADATA if name not in metadata]
    if missing:
        raise UserError(f"{path}: metadata has no {', '.join(missing)}; prepare the data again with `fedn prepare`")
    if metadata["schema"].split(".")[0] != schema.VERSION.split(".")[0]:
        raise UserError(
            f"{path}: written with schema {metadata['schema']}, this version reads {schema.VERSION}; prepare the "
            "data again into another --out"
        )
    return path, builder, metadata


def _read(path: Path, builder: Any, splits: list[str], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for split in splits:
        if not builder.info.splits[split].num_examples:
            continue
        try:
            for example in builder.as_data_source(split=split):
                yield {name: _value(name, example[name]) for name in names}
        except Exception as error:
            raise _damage(path, error) from error


def _damage(path: Path, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()
    return UserError(
        f"{path}: damaged ({type(error).__name__}: {reason[0][:120] if reason else ''}); delete the directory and run "
        "`fedn prepare` again, which keeps what it has cached"
    )


def _value(name: str, value: Any) -> Any:
    shape, dtype, _ = (schema.FIELDS | schema.FRAME_FIELDS)[name]
    if shape is None:
        return value.decode() if isinstance(value, bytes) else str(value)
    return np.asarray(value, dtype)


def load(directory: str | Path, inputs: bool = True, side: int | None = None) -> Dataset:
    """Loads a whole data set.

    Args:
      directory: see :func:`schema.find`.
      inputs: False: leave them out, which are nearly all of the data; the store then has inputs without a row.
      side: None: inputs are embeddings; else the aligned frames, [R, side, side, 3] uint8, of so many pixels (0: as
        stored). They are decoded once, into a file beside the data, and stay on the disk.

    Returns:
      The data set; the order of videos does not depend on the order in the shards.

    Raises:
      UserError: no data, ambiguous, of another schema, or damaged; or frames that are not kept.
    """
    metadata, stream = records(directory)
    checked = (_checked(record, directory, metadata, inputs and side is None) for record in stream)
    loaded = sorted(checked, key=lambda record: (record["subject"], record["video"]))
    if not loaded:
        raise UserError(f"{directory}: holds no videos; prepare the data again")
    widths = {record["inputs"].shape[1] for record in loaded}
    if len(widths) != 1:
        raise UserError(f"{directory}: videos have inputs of different widths {sorted(widths)}; prepare the data again")
    metas, row = [], 0
    for record in loaded:
        rows = len(record["valid"])
        metas.append(
            VideoMeta(
                record["subject"], record["video"], int(record["num_frames"]), float(record["fps"]),
                int(record["first_frame"]), row, rows, _source(record["source"]),
            )
        )  # fmt: skip
        row += rows
    rows_of = (
        np.concatenate([record["inputs"] for record in loaded])
        if side is None
        else _frames(directory, metadata, metas, side, inputs)
    )
    valid = np.concatenate([record["valid"] for record in loaded]).astype(bool)
    flow = np.concatenate([record["flow"] for record in loaded])
    return Dataset(Store(rows_of, valid), metas, [_events(record["events"]) for record in loaded], flow, metadata)


def _frames(directory: str | Path, metadata: dict[str, Any], metas: list[VideoMeta], side: int, inputs: bool) -> Any:
    """The frames of all videos, in the order of ``metas``; of another size than the stored ones where asked."""
    size, side = stills.side_of(metadata, side, directory)
    if not inputs:
        return np.zeros((0, side, side, 3), np.uint8)
    metas_of = {(meta.subject, meta.video): meta for meta in metas}
    path = schema.find(directory).parent / f"frames-{metadata['signature']}-{side}.u8"

    def fill(pictures: np.ndarray) -> None:
        for record in records(directory, frames=True)[1]:
            meta = metas_of[record["subject"], record["video"]]
            try:
                pictures[meta.row : meta.row + meta.num_rows] = stills.decode(record, size, side)
            except ValueError as error:
                raise UserError(f"{directory}: {error}; prepare the data again") from None

    return stills.mapped(path, fill, sum(meta.num_rows for meta in metas), side)


def _checked(record: dict[str, Any], directory: str | Path, metadata: dict[str, Any], inputs: bool) -> dict[str, Any]:
    """A record that is as it should be, with its inputs or with none of their rows."""
    try:
        schema.validate(record, len(metadata["classes"]), int(metadata["frames_per_row"]))
    except ValueError as error:
        raise UserError(f"{directory}: {error}; prepare the data again") from error
    return record if inputs else record | {"inputs": record["inputs"][:0].copy()}


def backbone_file(directory: str | Path) -> Path | None:
    """The weights that the inputs were made with.

    Args:
      directory: see :func:`schema.find`.

    Returns:
      The file that ``fedn prepare`` left beside the shards; None for features that were given.
    """
    found = (parent / schema.BACKBONE for parent in schema.find(directory).parents)
    return next((path for path in found if path.is_file()), None)


def _source(numbers: np.ndarray) -> tuple[int, ...] | None:
    """Frame numbers of the file; None where they are those of the record."""
    return None if np.array_equal(numbers, np.arange(len(numbers))) else tuple(numbers.tolist())


def _events(table: np.ndarray) -> Events:
    """[E, 5] int32 of a record to Events [E]."""
    onset, apex, offset, emotion, kind = table.T
    return Events(
        interval=np.stack([onset, offset], 1).astype(np.float32),
        apex=apex.astype(np.float32),
        emotion=emotion.astype(np.int32),
        kind=kind.astype(np.int32),
        valid=np.ones(len(table), bool),
    )
