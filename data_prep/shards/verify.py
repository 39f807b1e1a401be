"""Checks prepared data from end to end, and counts what is in it."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.shards import builders
from data_prep.sheets.datasets import DATASETS, check
from fedn_jax.core import errors, schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt
from fedn_jax.reports import tables
from fedn_jax.reports.tables import Cell, Column, Table, words


def verify(directory: str | Path) -> dict[str, Any]:
    """Reads every record of every data set below a directory and checks it against the schema.

    Args:
      directory: what ``fedn prepare`` was given as ``--out``.

    Returns:
      {"path", "metadata", "subjects": {subject: {"videos", "frames", "rows", "invalid", "expressions":
      {"positive/macro": n, ...}}}, "published": counts beside those of the release, of ``check.compare``}.

    Raises:
      UserError: no data, or all problems of the records, one per line.
    """
    path = schema.find(directory)
    try:
        metadata, stream = builders.read(path)
    except Exception as error:  # whatever the reader of the file format raises
        raise UserError(f"{path}: damaged ({excerpt(error)}); delete it and run `fedn prepare` again") from error
    schema.check_version(path, metadata)
    problems: list[str] = []
    subjects: dict[str, dict[str, Any]] = {}
    seen: set[tuple[str, str]] = set()
    for split, record in stream:
        if isinstance(record, Exception):
            reason = (str(record).strip().splitlines() or [""])[0][:160]
            problems.append(f"split {split}: damaged ({type(record).__name__}: {reason}); prepare the data again")
            continue
        try:
            schema.validate(record, len(metadata["classes"]), int(metadata["frames_per_row"]))
        except ValueError as error:
            problems.append(f"split {split}: {error}")
            continue
        name = record["subject"], record["video"]
        if name in seen:
            problems.append(f"split {split}: video {'/'.join(name)} is there twice")
        seen.add(name)
        _count(subjects.setdefault(record["subject"], _empty()), record, metadata["classes"])
    errors.report(str(path), problems)
    return {
        "path": str(path), "metadata": metadata, "subjects": dict(sorted(subjects.items())),
        "published": _published(metadata, subjects),
    }  # fmt: skip


def _published(metadata: dict[str, Any], subjects: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Counts beside the published ones, for a data set that has some."""
    if metadata["dataset"] not in DATASETS:
        return []
    total: Counter = Counter()
    for one in subjects.values():
        total.update(one["expressions"])
    return check.compare(metadata["dataset"], metadata["labels"]["options"], check.by_kind(total))


def _empty() -> dict[str, Any]:
    return {"videos": 0, "frames": 0, "rows": 0, "invalid": 0, "expressions": Counter()}


def _count(total: dict[str, Any], record: dict[str, Any], classes: list[str]) -> None:
    total["videos"] += 1
    total["frames"] += int(record["num_frames"])
    total["rows"] += len(record["valid"])
    total["invalid"] += int((np.asarray(record["valid"]) == 0).sum())
    for _, _, _, emotion, kind in record["events"]:
        name = classes[emotion] if emotion >= 0 else ""
        total["expressions"][f"{name}/{schema.KINDS[kind]}"] += 1


def lines(summary: dict[str, Any]) -> list[str]:
    """A summary as text.

    Args:
      summary: of :func:`verify`.

    Returns:
      Lines of at most 80 columns.
    """
    metadata, subjects = summary["metadata"], summary["subjects"]
    total = _empty()
    for one in subjects.values():
        for name in ("videos", "frames", "rows", "invalid"):
            total[name] += one[name]
        total["expressions"].update(one["expressions"])
    text = [f"{name:<14} {metadata[name]}" for name in ("dataset", "backbone", "aligner", "signature")]
    columns = [Column("Subject", number=False), *map(Column, ("videos", "frames", "no face", *schema.KINDS))]
    rows = [_row(name, one) for name, one in subjects.items()]
    table = Table("subjects", "", columns, [("", rows), ("", [_row("all", total)])])
    columns = [Column("Emotion", number=False), *map(Column, schema.KINDS)]
    unnamed = [""] if any(key.startswith("/") for key in total["expressions"]) else []
    rows = [
        [
            words(emotion or check.NO_EMOTION),
            *(words(total["expressions"][f"{emotion}/{kind}"]) for kind in schema.KINDS),
        ]
        for emotion in [*metadata["classes"], *unnamed]
    ]
    emotions = Table("emotions", "", columns, [("", rows)])
    text = [*(line for one in text for line in tables.folded(one)), ""]
    text += [*tables.to_text(table).splitlines(), "", *tables.to_text(emotions).splitlines()]
    text += check.published(summary["published"]) + check.noted(metadata["labels"].get("notes", []))
    return [*text, "", "every record fits the schema"]


def _row(name: str, one: dict[str, Any]) -> list[Cell]:
    by_kind = [sum(n for key, n in one["expressions"].items() if key.endswith(f"/{kind}")) for kind in schema.KINDS]
    return [words(name), *map(words, (one["videos"], one["frames"], one["invalid"], *by_kind))]
