"""Several prepared data sets as one, whose subjects are named DATASET/SUBJECT: for training across data sets."""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.shards import builders
from fedn_jax.core import errors, files, schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt
from fedn_jax.data import shards
from fedn_jax.formats import table_files
from fedn_jax.formats.cells import shown

COLUMNS = ("dataset", "emotion", "as")  # of a table of emotions
ALIKE = ("frames_per_row", "backbone", "aligner", "frames")  # entries of the metadata that must be the same
RATES = 0.01  # share by which frame rates may differ, such as 29.97 and 30
_DROPPED = -2  # in place of the index of an emotion

Words = dict[str, str | None]  # emotion of a data set, "" for none -> its new word; None: such expressions are dropped


class Merged(NamedTuple):
    """What of a data set is in the new one."""

    videos: int
    expressions: Counter  # new word ("": without emotion) -> how many
    dropped: int  # expressions that are not


class Part(NamedTuple):
    """A data set of several."""

    path: Path
    metadata: dict[str, Any]
    subjects: dict[str, Callable[[], Iterator[dict[str, Any]]]]
    words: Words


def read_emotions(path: Path) -> dict[tuple[str, str], str]:
    """Reads a table of emotions.

    Args:
      path: a table with the columns dataset, emotion, as.

    Returns:
      (data set, emotion) -> new word; "" where such expressions are dropped.

    Raises:
      UserError: all that is wrong with it.
    """
    found: dict[tuple[str, str], str] = {}
    problems = []
    for record in table_files.columns(path, "a table of emotions", COLUMNS, ()).records:
        if record.problem:
            problems.append(record.problem)
            continue
        dataset, emotion, word = (record.cells[name] for name in COLUMNS)
        if found.setdefault((dataset, emotion), word) != word:
            problems.append(f"{record.where}: emotion {shown(emotion)} of {shown(dataset)} has another word above")
    errors.report(f"{path}", problems)
    return found


def merge(
    sources: Mapping[str, Path], out: Path, emotions: Path | None = None, progress: Callable[..., Any] | None = None
) -> dict[str, Merged] | None:
    """Writes one data set; the same sources again change nothing.

    Args:
      sources: name of a data set -> what ``fedn prepare`` was given as ``--out``.
      out: directory for shards, previews and backbone.
      emotions: a table, see ``read_emotions``; None: words stay as they are, and equal words are one emotion.
      progress: tqdm, or something with its interface; None shows nothing.

    Returns:
      Data set -> what of it is there; None: the shards were there already.

    Raises:
      UserError: less than two data sets, names that cannot be used, data that do not fit one another, a table that
        does not fit them, or ``out`` holds something else.
    """
    _check_names(sources)
    table = None if emotions is None else read_emotions(emotions)
    parts = {name: _open(name, path, table) for name, path in sources.items()}
    if table is not None:
        errors.report(f"{emotions}", _unfitting(table, parts))
    _check_alike(parts)
    classes = list(dict.fromkeys(word for part in parts.values() for word in part.words.values() if word))
    signs = [[name, part.metadata["signature"]] for name, part in parts.items()]
    rows = table and sorted([*key, word] for key, word in table.items())
    with files.lock(out):
        builders.check_options(out, {"source": "merge", "merged": signs, "emotions": rows})
        sign = builders.signature([signs, rows])
        if builders.up_to_date(out, sign):
            return None
        done = {name: Merged(0, Counter(), 0) for name in parts}
        origin = {f"{name}/{subject}": (name, subject) for name, part in parts.items() for subject in part.subjects}
        bar = progress(total=len(origin), desc="merge", unit="subject") if progress else None
        fit = _Fit()

        def records(subject: str) -> Iterator[dict[str, Any]]:
            name, old = origin[subject]
            for record in parts[name].subjects[old]():
                fit.check(record, f"{subject}/{record['video']}")
                events, dropped = _renamed(record["events"], parts[name], classes)
                done[name] = _counted(done[name], events, classes, dropped)
                _keep_preview(parts[name].path, out, record, subject)
                yield record | {"subject": subject, "events": events}
            if bar is not None:
                bar.update()

        _keep_backbone(parts, out)
        builders.pack(out, "merged", sorted(origin), records, _metadata(parts, classes, rows, sign))
        if bar is not None:
            bar.close()
    return done


# ---- Checks ---------------------------------------------------------------------------------------------------------


def _check_names(sources: Mapping[str, Path]) -> None:
    if len(sources) < 2:
        raise UserError(f"merging needs at least 2 data sets; got {', '.join(sources) or 'none'}")
    for name in sources:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise UserError(f"the name of a data set must be letters, digits, _, . and -; got {name!r}")


def _open(name: str, path: Path, table: Mapping[tuple[str, str], str] | None) -> Part:
    metadata, subjects = shards.by_subject(path, frames=True)
    if not subjects:
        raise UserError(f"{path}: holds no videos; prepare the data again")
    words: Words = {word: word for word in (*metadata["classes"], "")}
    if table is not None:
        words |= {word: table[name, word] or None for word in words if (name, word) in table}
    return Part(path, metadata, subjects, words)


def _unfitting(table: Mapping[tuple[str, str], str], parts: Mapping[str, Part]) -> list[str]:
    """What a table of emotions names and is not there, and what it leaves out."""
    problems = [
        f"there is no data set {shown(name)}; the data sets are {', '.join(parts)}"
        for name in dict.fromkeys(name for name, _ in table)
        if name not in parts
    ]
    for name, part in parts.items():
        known = part.metadata["classes"]
        listed = [word for other, word in table if other == name]
        problems += [
            f"{name} has no emotion {shown(word)}; it has {', '.join(known) or 'none'}"
            for word in listed
            if word not in (*known, "")
        ]
        problems += [
            f"no row for the emotion {shown(word)} of {name}; expected {name},{word},WORD, or {name},{word}, to drop it"
            for word in known
            if word not in listed
        ]
    return problems


def _check_alike(parts: Mapping[str, Part]) -> None:
    seen: dict[str, str] = {}  # signature -> name
    for name, part in parts.items():
        if (before := seen.setdefault(part.metadata["signature"], name)) != name:
            raise UserError(f"{name}={part.path}: is the same data as {before}, so people would be there twice")
    (first, one), *others = parts.items()
    for name, other in others:
        for key in ALIKE:
            here, there = (part.metadata.get(key) for part in (one, other))
            if here != there:
                raise UserError(
                    f"{first} and {name} differ in {key}: {_said(here)}, and {_said(there)}; prepare both alike"
                )


def _said(value: Any) -> str:
    return "none" if value is None else excerpt(str(value))


class _Fit:
    """Whether records fit the first of them."""

    def __init__(self) -> None:
        self.first: tuple[str, int, float] | None = None

    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Raises where width or frame rate differ."""
        width, fps = record["inputs"].shape[1], float(record["fps"])
        there, wide, rate = self.first = self.first or (where, width, fps)
        if width != wide:
            raise UserError(f"{where} has {width} features, and {there} {wide}; prepare both alike")
        if abs(fps - rate) > RATES * rate:
            raise UserError(
                f"{where} has {fps:g} frames per second, and {there} {rate:g}; prepare both with the same --fps"
            )


# ---- Content --------------------------------------------------------------------------------------------------------


def _renamed(events: np.ndarray, part: Part, classes: list[str]) -> tuple[np.ndarray, int]:
    """[E', 5] events with their new emotions, and how many were dropped."""
    words = [part.words[word] for word in (*part.metadata["classes"], "")]  # the last is read by emotion -1
    index = {word: number for number, word in enumerate(classes)} | {"": -1, None: _DROPPED}
    new = events.copy()
    new[:, 3] = np.array([index[word] for word in words], np.int32)[events[:, 3]]
    keep = new[:, 3] != _DROPPED
    return new[keep], int((~keep).sum())


def _counted(so_far: Merged, events: np.ndarray, classes: list[str], dropped: int) -> Merged:
    found = Counter(classes[emotion] if emotion >= 0 else "" for emotion in events[:, 3].tolist())
    return Merged(so_far.videos + 1, so_far.expressions + found, so_far.dropped + dropped)


def _metadata(parts: Mapping[str, Part], classes: list[str], rows: Any, sign: str) -> dict[str, Any]:
    first = next(iter(parts.values())).metadata
    made = [part.metadata["preparation"] for part in parts.values()]
    shared = {key: value for key, value in made[0].items() if all(one.get(key) == value for one in made)}
    kept = {name: part.metadata for name, part in parts.items()}
    said = [f"{name}, {word or 'no emotion'}: {new or 'dropped'}" for name, word, new in rows or ()]
    merged = {name: {key: one[key] for key in ("dataset", "signature", "labels")} for name, one in kept.items()}
    return {key: first[key] for key in ALIKE if key in first} | {
        "classes": classes,
        "signature": sign,
        "labels": {"merged": merged, "emotions": said},
        "preparation": shared,
    }


def _keep_backbone(parts: Mapping[str, Part], out: Path) -> None:
    weights = shards.backbone_file(next(iter(parts.values())).path)
    if weights is not None:
        with files.replacing(out / schema.BACKBONE) as copy:
            shutil.copyfile(weights, copy)


def _keep_preview(source: Path, out: Path, record: Mapping[str, Any], subject: str) -> None:
    old, new = (files.file_name(name, record["video"]) for name in (record["subject"], subject))
    preview, kept = source / "previews" / f"{old}.mp4", out / "previews" / f"{new}.mp4"
    if preview.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(kept) as copy:
            shutil.copyfile(preview, copy)
