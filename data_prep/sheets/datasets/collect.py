"""A sheet and a folder of videos to the list of what is to be prepared; everything that does not fit, at once."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.media.sources import Source
from data_prep.sheets import annotations, video_files
from data_prep.sheets.annotations import VideoItem
from data_prep.sheets.datasets import common
from data_prep.sheets.datasets.common import DataSet, Labels, Row
from fedn_jax.core import errors, schema
from fedn_jax.core.errors import UserError

_SHOWN = 6  # names that a remark lists


class Collection(NamedTuple):
    """What is to be prepared."""

    items: list[VideoItem]
    remarks: list[str]  # what a user should know, one line each


def find(
    dataset: DataSet, directory: Path, openface: bool, skip: Path | None, problems: list[str],
    suffixes: Sequence[str] = video_files.SUFFIXES,
) -> dict:  # fmt: skip
    """The sources of a data set's videos.

    Args:
      dataset: the data set.
      directory: the folder as it was downloaded, or OpenFace's output.
      openface: take folders that end in ``_aligned``, and nothing else; without it, take everything else.
      skip: a folder that is not searched, such as an output directory inside ``directory``.
      problems: two sources of one video are added here.
      suffixes: endings of its files; with those of videos, folders of pictures count, too.

    Returns:
      (subject, video) -> path of a video file or of a folder of pictures.

    Raises:
      UserError: no such folder, or nothing of this data set in it.
    """
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder; expected the folder with the videos of {dataset.title}")
    found: dict[tuple[str, str], list[Path]] = {}
    for here, folders, names in video_files.walk(directory, skip):
        kept = []
        for name in folders:
            path = here / name
            fitting = suffixes is video_files.SUFFIXES and name.endswith("_aligned") == openface
            key = dataset.locate(common.parts(path, directory)) if fitting else None
            if key is not None and video_files.has_pictures(path):
                found.setdefault(key, []).append(path)
            else:
                kept.append(name)
        folders[:] = kept
        for name in names if not openface else ():
            path = here / name
            if path.suffix.lower() in suffixes:
                key = dataset.locate(common.parts(path, directory))
                if key is not None:
                    found.setdefault(key, []).append(path)
    if not found:
        what = "folders that end in _aligned" if openface else "folders of pictures or video files"
        what = what if suffixes is video_files.SUFFIXES else f"files that end in {' '.join(suffixes)}"
        raise UserError(f"{directory}: holds no video of {dataset.title}; expected {what}, named as in the release")
    for key, paths in found.items():
        if len({os.path.realpath(path) for path in paths}) > 1:
            listed = ", ".join(str(path.relative_to(directory)) for path in paths)
            problems.append(
                f"video {'/'.join(key)} is there {len(paths)} times: {listed}; give the folder of one release"
            )
    return {key: paths[0] for key, paths in sorted(found.items())}


def collect(
    dataset: DataSet,
    labels: Labels,
    directory: Path,
    originals: Path | None = None,
    openface: bool = False,
    partial: bool = False,
    skip: Path | None = None,
    problems: list[str] | None = None,
    suffixes: Sequence[str] = video_files.SUFFIXES,
) -> Collection:
    """Joins expressions and videos.

    Args:
      dataset: the data set.
      labels: what its sheet says.
      directory: its videos.
      originals: the pictures that OpenFace was given.
      openface: ``directory`` is OpenFace's output.
      partial: go on with the videos that are there; expressions that pass a video's end are cut.
      skip: see ``find``.
      problems: those found in the sheet.
      suffixes: see ``find``.

    Returns:
      Videos with expressions, and those without.

    Raises:
      UserError: all problems, one per line.
    """
    problems = [] if problems is None else problems
    paths = find(dataset, directory, openface, skip, problems, suffixes)
    pictures = find(dataset, originals, False, skip, problems) if originals else {}
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in labels.rows:
        rows.setdefault((row.subject, row.video), []).append(row)
    remarks = []
    missing = sorted(set(rows) - set(paths))
    lines = [
        f"video {'/'.join(key)}: {len(rows[key])} expressions in the sheet, no frames below {directory}"
        for key in missing
    ]
    if partial and missing:
        lost = sum(len(rows[key]) for key in missing)
        remarks.append(f"left out, no frames: {_some(missing)}, with {lost} expressions")
    else:
        problems += [f"{line}; --partial goes on without it" for line in lines]
    emptied = sorted((set(paths) - set(rows)) & labels.dropped)
    extra = sorted(set(paths) - set(rows) - labels.dropped - labels.refused)
    if labels.unlabelled is not None and None not in labels.refused:
        problems += [
            f"video {'/'.join(key)}: frames below {directory}, no row in the sheet, and not known to be without "
            "expressions; add its rows, or move it out of the folder"
            for key in extra
            if key not in labels.unlabelled
        ]
    if extra:
        remarks.append(f"no row in the sheet, taken as videos without expressions: {_some(extra)}")
    if emptied:
        remarks.append(f"every row dropped as was chosen, taken as videos without expressions: {_some(emptied)}")
    items = []
    for key, path in paths.items():
        source = Source(path, dataset.rate, openface, pictures.get(key), dataset.renumbered)
        if openface and originals and key not in pictures:
            problems.append(
                f"video {'/'.join(key)}: no pictures below {originals}; expected those that OpenFace was given"
            )
        items.append(_item(key, source, rows.get(key, []), labels.classes, partial))
    errors.report(str(directory), problems)
    return Collection(items, remarks)


def _some(keys: list[tuple[str, str]]) -> str:
    names = ["/".join(key) for key in keys]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} video{'s' * (len(names) > 1)} ({', '.join(names[:_SHOWN])}{more})"


def _item(key: tuple[str, str], source: Source, rows: list[Row], classes: list[str], partial: bool) -> VideoItem:
    """Inclusive numbers from 1 become half-open ones from 0."""
    made = []
    for row in rows:
        apex = row.apex - 1 if row.apex != -1 else -1
        emotion = classes.index(row.emotion) if row.emotion else -1
        made.append((row.onset - 1, apex, row.offset, emotion, schema.KINDS.index(row.kind), row.derived or partial))
    made.sort()
    return VideoItem(
        *key, source, annotations.table([one[:5] for one in made]), np.array([one[5] for one in made], bool)
    )


def count(rows: list[Row]) -> Counter:
    """How many expressions there are.

    Args:
      rows: the expressions.

    Returns:
      (kind, emotion) -> number; emotion "" where there is none.
    """
    return Counter((row.kind, row.emotion) for row in rows)
