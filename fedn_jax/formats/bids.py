"""Event files of the Brain Imaging Data Structure (BIDS 1.9, "Task events"): NAME_events.tsv, with a JSON file beside.

Onset and duration are in seconds, trial_type is the emotion; tabs between columns, "n/a" where nothing is known.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedn_jax.core import errors, files
from fedn_jax.formats import cells, predictions, table_files, times
from fedn_jax.formats.predictions import Row, Table
from fedn_jax.formats.times import Seconds

SUFFIX = "_events.tsv"
NOTHING = "n/a"
REQUIRED = ("onset", "duration")
OPTIONAL = ("trial_type", "score", "kind")
KINDS = {"macro": "longer than 0.5 s", "micro": "0.5 s or less"}


def write(path: Path, rows: Iterable[Row], names: Sequence[str] = ()) -> None:
    """Writes the events of one video.

    Args:
      path: the file.
      rows: expressions with times in seconds.
      names: of "score" and "kind", the columns that are known.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow([*REQUIRED, "trial_type", *names])
    for row in sorted(rows, key=lambda row: row.span):
        more = [getattr(row, name) for name in names]
        writer.writerow([f"{row.onset:.6f}", f"{row.offset - row.onset:.6f}", row.emotion or NOTHING, *more])
    files.write_text(path, text.getvalue())


def sidecar(emotions: Iterable[str], names: Sequence[str] = ()) -> str:
    """What the JSON file beside says of the columns.

    Args:
      emotions: those that may occur.
      names: see ``write``.

    Returns:
      JSON.
    """
    about = {
        "onset": {"Description": "when the first frame of the expression appears", "Units": "s"},
        "duration": {"Description": "until its last frame goes", "Units": "s"},
        "trial_type": {"Description": "emotion of the expression", "Levels": {name: name for name in emotions}},
        "score": {"Description": "confidence of the detection, 0 to 1"},
        "kind": {"Description": "macro- or micro-expression", "Levels": KINDS},
    }
    chosen = {name: about[name] for name in (*REQUIRED, "trial_type", *names)}
    return json.dumps(chosen, indent=1, ensure_ascii=False) + "\n"


def _who(name: str) -> tuple[str, str]:
    """Subject and video of a file: sub-01_task-film_events.tsv is of 01, anna_events.tsv of nobody."""
    video = name.removesuffix(SUFFIX).removesuffix(".tsv")
    entity = video.partition("_")[0]
    return (entity.removeprefix("sub-") if entity.startswith("sub-") else "", video)


def read(path: Path, what: str) -> Table:
    """Reads the events of one video.

    Args:
      path: the file; its name gives the video, and the subject if it begins with "sub-".
      what: "predictions" or "ground truth", for messages.

    Returns:
      The table.

    Raises:
      UserError: all that is wrong with the file.
    """
    found = table_files.columns(path, what, REQUIRED, OPTIONAL)
    video, words = (*map(cells.text, _who(path.name)),), predictions.KIND_WORDS
    rows, problems = [], []
    for record in found.records:
        if record.problem:
            problems.append(record.problem)
            continue
        given = {name: "" if text == NOTHING else text for name, text in record.cells.items()}
        begin, length = (times.number(given[name], found.comma) for name in REQUIRED)
        where, wrong = record.where, []
        for name, value in zip(REQUIRED, (begin, length), strict=True):
            wrong += [f"{name} must be seconds, 0 or more"] if value is None else []
        score, kind = cells.real(given.get("score", ""), found.comma), given.get("kind", "")
        wrong += ["score must be a finite number"] if given.get("score") and score is None else []
        wrong += [f"kind must be one of {', '.join(words)}"] if kind and kind not in words else []
        problems += [f"{where}: {text}; got {cells.shown(record.cells[text.partition(' ')[0]])}" for text in wrong]
        if not wrong:
            span = Seconds(begin), Seconds(begin + length)
            rows.append(Row(where, video, *span, given.get("trial_type", ""), score, words.get(kind, "")))
    errors.report(f"{path}", problems)
    notes = (
        [f"{what}: ignored columns {predictions.first_of(list(map(cells.shown, found.ignored)))}"]
        if found.ignored
        else []
    )
    return predictions.make(path, what, [video], rows, notes)
