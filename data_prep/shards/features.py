"""Features that somebody else computed (I3D, OpenFace's tables and the like) to records: no videos needed."""

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.media.frames import check_rate
from data_prep.shards import builders, feature_tables, records
from data_prep.shards.feature_tables import Wanted
from data_prep.sheets import annotations
from data_prep.sheets.annotations import VideoItem
from fedn_jax.core import arrays, errors, files, schema
from fedn_jax.core.errors import UserError
from fedn_jax.formats.clocks import Clock, Stamps, Steady

SUFFIXES = (".npz", ".npy")
_REMEDY = "export it again, with the features as `feature` [1, rows, D] of float16"
_PADDED = 16  # frames that a clip network may leave out at a video's end: a clip is whole or not computed


def read(path: Path, frames_per_row: int) -> tuple[np.ndarray, int]:
    """Reads one file of features. Nothing in it is unpickled.

    Args:
      path: .npz with ``feature`` [1, R, D] or [R, D] and, if known, ``frame_cnt``; or .npy with the feature alone.
      frames_per_row: frames between the starts of two clips.

    Returns:
      [R', D] float16 and the number of frames. Where the file knows the number of frames, the last row is repeated for
      the frames at the end that no whole clip starts with.

    Raises:
      UserError: not such a file, or numbers that do not fit one another.
    """
    found = arrays.load_npz(path, ["feature"], ["frame_cnt"], remedy=_REMEDY, alone="feature")
    feature, count = found["feature"], _count(path, found.get("frame_cnt"))
    if feature.ndim == 3 and feature.shape[0] == 1:
        feature = feature[0]  # [1, R, D] -> [R, D]
    if feature.ndim != 2 or not feature.size or feature.dtype.kind != "f":
        raise UserError(f"{path}: feature must be floats [1, rows, D]; got {feature.dtype} {list(feature.shape)}")
    with np.errstate(over="ignore"):
        feature = feature.astype(np.float16)
    if not np.isfinite(feature).all():
        raise UserError(f"{path}: feature holds NaN, infinity, or numbers beyond float16 (65504); scale it down")
    frames = len(feature) * frames_per_row if count is None else count
    if not 1 <= frames < 2**31:
        raise UserError(f"{path}: frame_cnt must be a number of frames; got {count}")
    fits = lambda rows: -1 <= -(-frames // frames_per_row) - rows <= -(-_PADDED // frames_per_row)
    short = -(-frames // frames_per_row) - len(feature)
    if not fits(len(feature)):
        turned = f"; it is {_turned(feature.shape)}: export it transposed" if fits(feature.shape[1]) else ""
        raise UserError(
            f"{path}: {len(feature)} rows for {frames} frames do not fit --frames-per-row {frames_per_row}; expected "
            f"about {-(-frames // frames_per_row)} rows{turned}"
        )
    return np.pad(feature, ((0, max(short, 0)), (0, 0)), "edge"), frames


def _turned(shape: tuple[int, ...]) -> str:
    return f"[{shape[0]}, {shape[1]}], which looks like [D, rows] instead of [rows, D]"


def _count(path: Path, found: np.ndarray | None) -> int | None:
    """The number of frames that a file knows of."""
    if found is None:
        return None
    if found.size != 1 or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise UserError(f"{path}: frame_cnt must be a number of frames; got {found.dtype} {list(found.shape)}")
    return int(found.item())


class Given(NamedTuple):
    """The features of one video."""

    inputs: np.ndarray  # [R, D] float16
    valid: np.ndarray  # [R] uint8
    source: np.ndarray  # [T] int32, frame of the video, from 0, that each frame is
    num_source: int  # frames of the video
    clock: Clock  # of its frames, the first of which is 0
    names: tuple[str, ...] = ()  # of the D columns of a table


def prepare(
    items: Sequence[VideoItem],
    out: Path,
    classes: Sequence[str],
    frames_per_row: int,
    fps: float,
    first_frame: int = 1,
    name: str = "features",
    progress: Callable[..., Any] | None = None,
    table: Wanted | None = None,
    labels: dict[str, Any] | None = None,
) -> tuple[int, bool]:
    """Packs feature files into shards.

    Args:
      items: the files, as read by ``annotations.read_folder`` with ``SUFFIXES``.
      out: directory for the shards.
      classes: the emotions.
      frames_per_row: frames between the starts of two clips (2 for I3D features of stride 2).
      fps: frames per second of the videos; of tables, what they are resampled to.
      first_frame: the number that the sheet gives to the first frame.
      name: of the data set.
      progress: tqdm, or something with its interface; None shows nothing.
      table: what to read of tables; None: the files are arrays.
      labels: how the sheet was read, stored with the shards.

    Returns:
      Number of videos, and whether shards were written (False: they were there already).

    Raises:
      UserError: files that cannot be used (all of them), or another process at work in ``out``.
    """
    if frames_per_row < 1:
        raise UserError(f"--frames-per-row must be at least 1; got {frames_per_row}")
    check_rate("--fps", fps)
    read_one = functools.partial(_given, frames_per_row=frames_per_row, fps=fps, table=table)
    problems: list[str] = []
    shapes: dict[Path, tuple[int, ...]] = {}
    columns: dict[tuple[str, ...], Path] = {}
    for item in progress(items, desc="check", unit="file") if progress else items:
        problems += _problems(item, read_one, frames_per_row, first_frame, shapes, columns)
    problems += _unlike(shapes, columns)
    errors.report("features", problems)
    settings: dict[str, Any] = {"source": name, "frames_per_row": frames_per_row, "fps": fps}
    settings |= {"columns": list(table.columns), "rate": table.rate} if table else {}
    width = next(iter(shapes.values()))[1]
    with files.lock(out):
        builders.check_options(out, settings)
        rows = [(*records.signed(item), _content(item.source.path)) for item in items]
        sign = builders.signature([settings, list(classes), first_frame, rows, *([labels] if labels else [])])
        if builders.up_to_date(out, sign):
            return len(items), False
        named = f" ({', '.join(next(iter(columns)))})" if table else ""
        metadata = {
            "classes": list(classes), "frames_per_row": frames_per_row, "aligner": "none (features given)",
            "backbone": f"features given, D = {width}{named}", "signature": sign,
            "labels": labels or {}, "preparation": {},
        }  # fmt: skip

        def of_subject(subject: str) -> Iterator[dict[str, Any]]:
            for item in (one for one in items if one.subject == subject):
                given = read_one(item.source.path)
                flow = np.zeros((len(given.inputs), schema.REGIONS, 2), np.float16)
                content = given._asdict() | {"fps": fps, "flow": flow}
                yield records.record(annotations.placed(item, given.clock), content, first_frame)

        builders.pack(out, name, sorted({item.subject for item in items}), of_subject, metadata)
        return len(items), True


def _given(path: Path, frames_per_row: int, fps: float, table: Wanted | None) -> Given:
    """One file, an array or a table."""
    if table is not None:
        found = feature_tables.read(path, table)
        step = np.median(np.diff(found.seconds)) if found.num_source > 1 else 1 / fps
        clock = Stamps(found.seconds, np.append(found.seconds[1:], found.seconds[-1] + step), first_frame=0)
        return Given(found.inputs, found.valid, found.source, found.num_source, clock, found.names)
    feature, frames = read(path, frames_per_row)
    return Given(feature, np.ones(len(feature), np.uint8), np.arange(frames, dtype=np.int32), frames, Steady(fps, 0))


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _problems(
    item: VideoItem, read_one: Callable[[Path], Given], frames_per_row: int, first_frame: int,
    shapes: dict[Path, tuple[int, ...]], columns: dict[tuple[str, ...], Path],
) -> list[str]:  # fmt: skip
    try:
        given = read_one(item.source.path)
    except UserError as error:
        return [str(error)]
    shape = shapes[item.source.path] = given.inputs.shape
    columns.setdefault(given.names, item.source.path)
    item = annotations.placed(item, given.clock)
    late = annotations.beyond(item, given.num_source, first_frame)
    if late and not given.names and item.events[:, 2].max() <= shape[1] * frames_per_row:
        late.append(f"{item.source.path}: feature is {_turned(shape)}; if so, export it transposed")
    return late


def _unlike(shapes: dict[Path, tuple[int, ...]], columns: dict[tuple[str, ...], Path]) -> list[str]:
    """Files of different widths, or tables of different columns."""
    widths = {shape[1]: path for path, shape in reversed(shapes.items())}
    if len(widths) > 1:
        listed = ", ".join(f"D = {width} in {path.name}" for width, path in sorted(widths.items()))
        alike = len({shape[0] for shape in shapes.values()}) == 1 and () in columns
        turned = f"; the first is {_turned(next(iter(shapes.values())))}: export them transposed" if alike else ""
        return [f"files of different widths: {listed}; expected one{turned}"]
    if len(columns) > 1:
        (a, here), (b, there) = list(columns.items())[:2]
        differ = next((x, y) for x, y in zip(a, b, strict=True) if x != y)
        return [
            f"tables of different columns: {differ[0]} in {here.name}, {differ[1]} in {there.name}; expected one order"
        ]
    return []
