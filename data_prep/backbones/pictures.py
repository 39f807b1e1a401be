"""Labelled pictures of faces: found in folders or a table, cropped as videos are, parted by persons."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.faces.align import ALIGNERS
from data_prep.media import images
from fedn_jax.core import errors, processes
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress
from fedn_jax.formats import table_files

EXPECTED = "expected DIR/LABEL/PICTURE or DIR/LABEL/PERSON/PICTURE, or a table with columns path,label[,person]"


class Pictures(NamedTuple):
    """Where labelled pictures are; N of them."""

    path: list[Path]
    label: list[str]
    person: list[str]  # who is seen; all "" where nobody says

    def take(self, chosen: np.ndarray) -> "Pictures":
        """Some of them.

        Args:
          chosen: [N] bool.

        Returns:
          Those pictures.
        """
        return Pictures(*([one for one, wanted in zip(column, chosen, strict=True) if wanted] for column in self))


class Faces(NamedTuple):
    """Cropped pictures of one part; N of them."""

    images: np.ndarray  # [N, size, size, 3] uint8
    label: np.ndarray  # [N] int32, index into the labels
    person: np.ndarray  # [N] str


def find(source: Path) -> Pictures:
    """Finds labelled pictures.

    Args:
      source: a folder with a folder per label, or a table, whose paths are relative to its own folder.

    Returns:
      The pictures, in the order of their paths, or of the table.

    Raises:
      UserError: none, fewer than two labels, or persons for some of the pictures only.
    """
    found = _of_folder(source) if source.is_dir() else _of_table(source)
    labels = sorted(set(found.label))
    if len(labels) < 2:
        raise UserError(f"{source}: {len(labels)} labels ({', '.join(labels) or 'no pictures'}); {EXPECTED}")
    if not all(found.person) and any(found.person):
        nobody = found.path[found.person.index("")]
        raise UserError(f"{source}: some pictures have a person and others none, such as {nobody}; {EXPECTED}")
    return found


def _of_folder(source: Path) -> Pictures:
    rows = []
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.suffix.lower() in images.SUFFIXES and not any(part.startswith(".") for part in parts):
            if not 2 <= len(parts) <= 3:
                raise UserError(f"{path}: lies in no folder of a label, or too deep; {EXPECTED}")
            rows.append((path, parts[0], parts[1] if len(parts) == 3 else ""))
    return Pictures(*map(list, zip(*rows, strict=True))) if rows else Pictures([], [], [])


def _of_table(source: Path) -> Pictures:
    table = table_files.columns(source, "pictures and their labels", ("path", "label"), ("person",))
    cells = [record.cells for record in table.records]
    empty = [f"{record.where}: a path and a label are needed" for record in table.records
             if not (record.cells.get("path") and record.cells.get("label"))]  # fmt: skip
    errors.report(str(source), [record.problem for record in table.records if record.problem] or empty)
    paths = [source.parent / row["path"] for row in cells]
    return Pictures(paths, [row["label"] for row in cells], [row.get("person", "") for row in cells])


def hold_out(pictures: Pictures, share: float, seed: int) -> np.ndarray:
    """Chooses what is kept from training: whole persons, or, where nobody says who is seen, pictures.

    Args:
      pictures: all of them.
      share: of the persons, or pictures; at least one is held out.
      seed: of the choice.

    Returns:
      [N] bool, held out.

    Raises:
      UserError: there is only one person, or a label is left without pictures to train on.
    """
    known = bool(pictures.person[0])
    unit = np.array(pictures.person if known else [str(number) for number in range(len(pictures.path))])
    units = np.unique(unit)
    if len(units) < 2:
        raise UserError(f"all pictures are of one person ({units[0]}); another is needed to test on")
    number = min(max(round(share * len(units)), 1), len(units) - 1)
    held = np.isin(unit, np.random.default_rng(seed).permutation(units)[:number])
    if lost := sorted(set(pictures.label) - set(pictures.take(~held).label)):
        raise UserError(
            f"label {lost[0]}: all its pictures are held out for testing; give more of it, another --seed, or a "
            "smaller --held-out"
        )
    return held


def _face(aligner: str, size: int, path: Path) -> np.ndarray | None:
    """The crop of one picture; None without a face, or where it is damaged."""
    frame = images.decode(path)
    (found,) = ALIGNERS[aligner](iter([frame]), size) if frame is not None else (None,)
    return found.image if found and found.valid else None


def crop(
    pictures: Pictures, labels: list[str], aligner: str, size: int, workers: int, progress: Progress
) -> tuple[Faces, int]:
    """Finds and cuts the face of each picture, as ``fedn prepare`` does for a video's first frame.

    Args:
      pictures: where they are.
      labels: all of them, in order.
      aligner: entry of ``ALIGNERS``; "none" takes pictures as they are: the centre square, resized.
      size: side of the crops in pixels.
      workers: processes; the result does not depend on it.
      progress: bars.

    Returns:
      (the faces, how many pictures were left out: damaged ones, and those without a face).

    Raises:
      UserError: no such file, or not one face is left.
    """
    with processes.pool(workers) as pool:
        work = pool.map(partial(_face, aligner, size), pictures.path, chunksize=8)
        found = list(progress(work, total=len(pictures.path), desc="find faces", unit="picture"))
    there = np.array([face is not None for face in found])
    if not there.any():
        raise UserError(
            f"no face in any of {len(found)} pictures, such as {pictures.path[0]}; try another --aligner (none takes "
            "pictures that are cropped already)"
        )
    kept = pictures.take(there)
    cropped = np.stack([face for face in found if face is not None])
    label = np.array([labels.index(one) for one in kept.label], np.int32)
    return Faces(cropped, label, np.array(kept.person)), int((~there).sum())
