"""Records to shards: a TFDS data set in array_record files, one split per subject; the only tfds of this package."""

import contextlib
import hashlib
import io
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import files, schema
from fedn_jax.core.errors import UserError

FOLDER = "shards"  # below the output directory
STATE = "prepare.json"  # below the output directory: the options that its content was made with, and checksums
_MOST_STATE = 2**26  # bytes

log = logging.getLogger(__name__)


def signature(content: Any) -> str:
    """A checksum over everything that shards depend on.

    Args:
      content: what json can write.

    Returns:
      16 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def split_names(subjects: Iterable[str]) -> dict[str, str]:
    """Names of splits: TFDS can read letters, digits, _ and - only, and reserves "all".

    Args:
      subjects: subject identifiers.

    Returns:
      subject -> split.

    Raises:
      UserError: two subjects would share a name.
    """
    names: dict[str, str] = {}
    for subject in sorted(set(subjects)):
        name = re.sub(r"[^A-Za-z0-9_-]", "_", subject)
        name = name if re.match(r"[A-Za-z]", name) and name != "all" else f"s_{name}"
        if len(name) > files.LONGEST:  # TFDS puts more around it
            name = re.sub(r"[^A-Za-z0-9_-]", "_", files.file_name(f"s_{subject}"))
        if name in names.values():
            other = next(key for key, value in names.items() if value == name)
            raise UserError(f"subjects {other!r} and {subject!r} become the same name {name!r}; rename one of them")
        names[subject] = name
    return names


def read_state(out: Path) -> dict[str, Any]:
    """What an output directory was made with.

    Args:
      out: the directory.

    Returns:
      {"options": ..., "signature": ..., "schema": ..., "files": ...}; empty for a new directory.

    Raises:
      UserError: the file that says so is damaged.
    """
    path, remedy = out / STATE, "restore the file, or choose another --out"
    if not path.exists():
        return {}
    try:
        state = json.loads(files.read_bytes(path, _MOST_STATE, "the options of a preparation"))
    except UserError as error:
        raise UserError(f"{error}: {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); {remedy}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: must hold an object; {remedy}")
    for name, kind, what in (("options", dict, "an object"), ("signature", str, "text"), ("files", dict, "an object")):
        if not isinstance(state.get(name, kind()), kind):
            raise UserError(f"{path}: {name} must be {what}; {remedy}")
    return state


def check_options(out: Path, options: dict[str, Any]) -> None:
    """Refuses to mix options in one directory, and notes those of a new one.

    Args:
      out: the directory.
      options: name -> value; everything that changes the content of a record.

    Raises:
      UserError: the directory was made with other options.
    """
    old = read_state(out).get("options")
    if old is not None and old != options:
        differ = [name for name in sorted(old.keys() | options.keys()) if old.get(name) != options.get(name)]
        listed = ", ".join(f"{name} {old.get(name)} there, {options.get(name)} now" for name in differ)
        raise UserError(f"{out}: was prepared with other options ({listed}); choose another --out")
    if old is None:
        out.mkdir(parents=True, exist_ok=True)
        _write_state(out, {"options": options})


def up_to_date(out: Path, sign: str) -> bool:
    """Whether the shards with this signature are there already, as they were written.

    Args:
      out: the directory.
      sign: of :func:`signature`.

    Returns:
      True if nothing is left to do; False, too, for shards of another layout, or of which a file is missing or was
      changed.
    """
    state = read_state(out)
    same = state.get("signature") == sign and state.get("schema") == schema.VERSION
    if not same or not (out / FOLDER).is_dir():
        return False
    written, found = state.get("files", {}), _checksums(out / FOLDER)
    damaged = [name for name, checksum in written.items() if found.get(name) != checksum]
    if damaged:
        log.info(f"{out / FOLDER / damaged[0]}: missing or damaged; all shards are packed again")
    return bool(written) and not damaged


def _checksums(directory: Path) -> dict[str, str]:
    """Files below a directory, by their paths from there."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(directory).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def pack(
    out: Path,
    name: str,
    subjects: list[str],
    records: Callable[[str], Iterator[dict[str, Any]]],
    metadata: dict[str, Any],
) -> None:
    """Writes all shards beside the old ones, then puts them in their place.

    Args:
      out: the output directory.
      name: of the data set.
      subjects: subject identifiers.
      records: subject -> its records, fields as in ``schema.FIELDS``; called once per subject.
      metadata: ``schema.METADATA`` without "schema".

    Raises:
      UserError: subjects whose names clash.
      ValueError: a record that breaks the schema.
    """
    metadata = {"schema": schema.VERSION, "dataset": name, **metadata}
    assert set(metadata) - {"frames"} == set(schema.METADATA)
    splits = split_names(subjects)
    fresh = out / f"{FOLDER}.new"
    shutil.rmtree(fresh, ignore_errors=True)

    def checked(subject: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for record in records(subject):
            schema.validate(record, len(metadata["classes"]), metadata["frames_per_row"])
            yield record["video"], record

    try:
        _build(fresh, {splits[subject]: checked(subject) for subject in subjects}, metadata)
    except BaseException:  # what is half done only takes space
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(fresh / "downloads", ignore_errors=True)  # TFDS makes it, empty
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    fresh.rename(out / FOLDER)
    written = {"signature": metadata["signature"], "schema": schema.VERSION, "files": _checksums(out / FOLDER)}
    _write_state(out, read_state(out) | written)


def _write_state(out: Path, state: dict[str, Any]) -> None:
    files.write_text(out / STATE, json.dumps(state, indent=2, sort_keys=True) + "\n")


def _features(tfds: Any, metadata: dict[str, Any]) -> Any:
    """The schema in the words of TFDS; encoding "bytes" keeps float16 exact and is ten times faster."""
    features: dict[str, Any] = {}
    for name, (shape, dtype, _) in schema.fields(metadata).items():
        if shape is None:
            features[name] = tfds.features.Text()
        elif shape == ():
            features[name] = tfds.features.Scalar(dtype=np.dtype(dtype))
        else:
            features[name] = tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype), encoding="bytes")
    return tfds.features.FeaturesDict(features)


def _build(directory: Path, splits: dict[str, Iterator], metadata: dict[str, Any]) -> None:
    import tensorflow_datasets as tfds

    class Faces(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Whole videos of faces."""

        VERSION = tfds.core.Version(schema.VERSION)
        name = "faces"
        url_infos = None  # nothing is downloaded; its default needs a package that TFDS does not require

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description="Facial expressions in long videos: one record per video, one split per subject.",
                features=_features(tfds, metadata),
                metadata=tfds.core.MetadataDict(metadata),
            )

        def _split_generators(self, _: Any) -> dict[str, Iterator]:
            return splits

        def _generate_examples(self) -> Any:
            raise NotImplementedError  # the base class asks for the method; the splits above are iterators already

    builder = Faces(data_dir=str(directory), file_format="array_record")
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # it talks about downloading
        builder.download_and_prepare()


def read(directory: Path) -> tuple[dict[str, Any], Iterator[tuple[str, Any]]]:
    """Reads shards back to check them, going on after damage.

    Args:
      directory: with ``dataset_info.json``.

    Returns:
      The metadata, and an iterator over (split, record or the exception that reading it raised).
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(directory))
    metadata = dict(builder.info.metadata or {})

    def stream() -> Iterator[tuple[str, Any]]:
        for split in sorted(builder.info.splits):
            try:
                for raw in builder.as_data_source(split=split):
                    yield split, {name: _decoded(name, raw[name]) for name in schema.fields(metadata)}
            except Exception as error:  # whatever the reader of the file format raises
                yield split, error

    return metadata, stream()


def _decoded(name: str, value: Any) -> Any:
    shape, dtype, _ = (schema.FIELDS | schema.FRAME_FIELDS)[name]
    return np.asarray(value, dtype) if shape is not None else value.decode() if isinstance(value, bytes) else value
