"""What OpenFace's FeatureExtraction wrote, as a video: aligned faces, and a CSV file beside their folder.

OpenFace counts frames in the order in which it read them, and reads a folder (-fdir) in the order of the names as text:
10.jpg comes before 2.jpg, so its frame 2 may be picture 10. The names of the originals undo that; without them a folder
is refused. The frames of a video file are in order.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.media import images
from fedn_jax.core import errors, text
from fedn_jax.core.errors import UserError
from fedn_jax.formats import cells, table_files
from fedn_jax.formats.cells import shown

REQUIRED = ("frame", "confidence", "success")
_NAME = re.compile(r"frame_det_(?:([0-9]+)_)?[0-9]+")  # face id, which old versions do not write, and frame
_LISTED = 100  # problems of a file after which reading stops


class Table(NamedTuple):
    """The columns of interest of OpenFace's CSV file."""

    frame: np.ndarray  # [N] int32, from 1, as OpenFace counts
    confidence: np.ndarray  # [N] float64; nan where OpenFace wrote that
    success: np.ndarray  # [N] bool, a face was followed; False where the confidence is nan
    filmed: bool  # made from a video file: OpenFace 2 gives times to its frames, and none to those of a folder


class _Written(NamedTuple):
    faces: dict[int, Path]  # OpenFace's frame -> aligned picture
    lost: frozenset[int]  # frames in which OpenFace followed no face
    count: int  # frames
    exact: bool  # a CSV file says how many; without one there may be more at the end
    filmed: bool  # made from a video file, whose frames cannot be out of order


def base_name(path: str | Path) -> str | None:
    """The name that OpenFace gave to a video's files.

    Args:
      path: a folder.

    Returns:
      '15_0101x' for '15_0101x_aligned'; None for a name that does not end like that.
    """
    name = Path(path).name
    return name.removesuffix("_aligned") or None if name.endswith("_aligned") else None


def listing(
    directory: str | Path, originals: str | Path | None = None, first_frame: int = 1, renumbered: bool = False
) -> images.Listing:
    """Lists the aligned pictures of a video under the numbers of its frames.

    Args:
      directory: ``BASE_aligned``; ``BASE.csv`` is read if it lies beside it.
      originals: the folder of pictures that OpenFace was run on: its names say which frame is which. None for a video
        file, which the times in the CSV file of OpenFace 2 show.
      first_frame: the number of a video's first frame in the annotations.
      renumbered: the numbers of the originals have gaps, so that OpenFace's positions say nothing without them.

    Returns:
      The pictures. Frames that OpenFace lost are invalid; frames without a picture are gaps.

    Raises:
      UserError: files that are not OpenFace's, do not fit one another or show several faces; originals are needed.
    """
    directory = Path(directory)
    if renumbered and originals is None:
        raise UserError(
            f"{directory}: OpenFace's frames are positions, which cannot be mapped to the numbers of the files without "
            "the originals; give the folder of the pictures that OpenFace was run on (--originals)"
        )
    faces, lost, count, exact, filmed = _written(directory)
    if originals is None and not filmed:
        raise UserError(
            f"{directory}: OpenFace reads pictures in the order of their names as text, so which of its frames is "
            "which picture is not known; give the folder of the pictures that it was run on (--originals), or run "
            "OpenFace 2 on a video file and leave its CSV file beside this folder"
        )
    simple = tuple(range(first_frame, first_frame + count))
    numbers = simple if originals is None else _by_names(directory, Path(originals), first_frame, count)
    notes = () if numbers == simple else ("order repaired from the names of the originals",)
    files = dict(sorted((numbers[frame - 1], path) for frame, path in faces.items()))
    last = max(numbers)
    notes += () if exact else ("no CSV file beside it",)
    invalid = frozenset(numbers[frame - 1] for frame in lost)
    return images.Listing(files, last, invalid, notes + images.gaps(files, first_frame, last))


def read_csv(path: str | Path) -> Table:
    """Reads what FeatureExtraction says about every frame; any of its versions.

    Args:
      path: the CSV file.

    Returns:
      The columns of interest, in the order of the file.

    Raises:
      UserError: not such a file, several faces, or bad cells (all of them, with their lines).
    """
    path, problems = Path(path), []
    rows = list(_rows(path, problems))
    if not problems and not rows:
        problems.append("holds no rows; expected one per frame")
    if not problems and max(rows)[0] > 2 * len(rows) + 1000:
        problems.append(f"frame {max(rows)[0]} in a file of {len(rows)} rows; expected a row for every frame")
    errors.report(str(path), problems)
    frame, confidence, success, timed = zip(*rows, strict=True)
    table = np.array(frame, np.int32), np.array(confidence, np.float64), np.array(success, bool)
    return Table(*table, filmed=any(timed))


def _rows(path: Path, problems: list[str]) -> Iterator[tuple[int, float, bool, bool]]:
    """Frame, confidence, success and whether it has a time, of every row; what is wrong goes to ``problems``."""
    seen: dict[int, str] = {}  # frame -> line
    faces: set[str] = set()
    for line, row, problem, _ in table_files.each_record(path, "OpenFace's frames", REQUIRED, ("face_id", "timestamp")):
        if len(problems) >= _LISTED:
            return
        if problem:
            problems.append(problem)
            continue
        frame, confidence, success = (row[name] for name in REQUIRED)
        faces.update([row["face_id"]] if "face_id" in row else [])
        if len(faces) > 1:
            raise UserError(
                f"{path}: {line} is about a second face, {' and '.join(sorted(faces))}; expected one: run OpenFace's "
                "FeatureExtraction, which follows one face"
            )
        number, sure, found = cells.number_or_nan(frame), cells.number_or_nan(confidence), cells.number_or_nan(success)
        wrong = []
        if number is None or not 1 <= number < 2**31 or number % 1:
            wrong.append(f"frame must be a whole number from 1 on; got {shown(frame)}")
        elif seen.setdefault(int(number), line) != line:
            wrong.append(f"frame {frame} is in {seen[int(number)]} already")
        if sure is None:
            wrong.append(f"confidence must be a number; got {shown(confidence)}")
        if found not in (0, 1):
            wrong.append(f"success must be 0 or 1; got {shown(success)}")
        problems += [f"{line}: {text}" for text in wrong]
        if not wrong:
            timed = "face_id" in row and (cells.number_or_nan(row.get("timestamp", "0")) or 0) > 0
            yield int(number), sure, found == 1 and not math.isnan(sure), timed


def _written(directory: Path) -> _Written:
    """What lies in the folder, and in the CSV file beside it."""
    found = images.pictures(directory)
    names = {path: _NAME.fullmatch(path.stem) for _, path in found}
    other = [path.name for path, name in names.items() if name is None]
    if other:
        raise UserError(
            f"{directory}: {other[0]} is not a name that FeatureExtraction gives; expected frame_det_00_000001.bmp and "
            "so on, and nothing else"
        )
    ids = sorted({name[1] or "00" for name in names.values()})
    if len(ids) > 1:
        raise UserError(
            f"{directory}: pictures of {len(ids)} faces ({', '.join(ids[:5])}); expected one: run OpenFace's "
            "FeatureExtraction, which follows one face"
        )
    faces = images.by_number(directory, found)
    if min(faces) < 1:
        raise UserError(f"{faces[min(faces)]}: frame {min(faces)}; OpenFace counts from 1")
    base = base_name(directory)
    sheet = None if base is None else directory.with_name(f"{base}.csv")
    if sheet is None or not sheet.exists():
        images.check_range(directory, faces, 1)
        return _Written(faces, frozenset(), max(faces), exact=False, filmed=False)
    table = read_csv(sheet)
    count = int(table.frame.max())
    if max(faces) > count:
        raise UserError(
            f"{faces[max(faces)]}: {sheet.name} ends at frame {count}; expected a row for every picture: it may be cut "
            "off or of another run; run OpenFace again"
        )
    return _Written(faces, frozenset(table.frame[~table.success].tolist()), count, True, table.filmed)


def _by_names(directory: Path, originals: Path, first_frame: int, count: int) -> tuple[int, ...]:
    """The numbers of the originals in the order of their names as text."""
    files = images.listing(originals, first_frame).files
    numbers = tuple(number for number, path in sorted(files.items(), key=lambda item: item[1].name))
    if len(numbers) != count:
        raise UserError(
            f"{directory}: OpenFace saw {text.count(count, 'picture')}, {originals} holds {len(numbers)}; expected the "
            "folder that it was run on, and its CSV file beside the aligned pictures (it stops at a picture that it "
            "cannot read)"
        )
    return numbers
