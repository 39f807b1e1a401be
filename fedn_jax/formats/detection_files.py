"""What was found in one video, as files for other programs: CSV, JSON, WebVTT and ELAN.

Names come from the data and may hold anything. In every file written here they are one line of text, without what XML
1.0 forbids (``elan.plain``).
"""

import csv
import io
import itertools
import json
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedn_jax.core import errors, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import no_formula
from fedn_jax.formats import bids, elan, subtitles
from fedn_jax.formats.elan import Annotation, plain, unique
from fedn_jax.formats.predictions import Row
from fedn_jax.formats.subtitles import Cue
from fedn_jax.formats.times import Seconds

CSV_COLUMNS = ("subject", "video", "onset", "apex", "offset", "onset_seconds", "offset_seconds", "emotion", "score")
# What is found, by what its classes are.
NOUNS = {"emotion": "expression", "kind": "expression", "action": "facial action"}
ONSET = operator.attrgetter("onset")


class Expression(NamedTuple):
    """One detected expression; frame numbers as the file counts them."""

    onset: int  # first frame
    apex: int  # estimated apex frame, in onset..offset
    offset: int  # last frame, inclusive
    begin: float  # seconds, start of the onset frame
    peak: float  # seconds, of the apex frame
    end: float  # seconds, end of the offset frame
    emotion: str  # one of the classes
    score: float  # in [0, 1]


class Found(NamedTuple):
    """What was found in one video."""

    subject: str  # for tables; may be ""
    video: str  # for tables
    path: Path  # the media file
    num_frames: int  # of the file
    first_frame: int  # number that the file gives to its first frame
    fps: float
    seconds: float  # length
    expressions: list[Expression]
    classes: list[str]  # C
    threshold: float  # lowest score that counts
    curves: np.ndarray  # [C, P] float32, confidence in bins of seconds / P, at their centres; NaN: none
    gaps: list[tuple[float, float]]  # seconds without a face
    about: dict[str, str]  # how it was made, as text
    clock: Sequence[tuple[int, float, float]] = ()  # of the frames, see ``clocks.Stamps.runs``; (): all at ``fps``
    label: str = "emotion"  # what the classes are, in one word; the columns of files are named "emotion" all the same


class PerFrame(NamedTuple):
    """What is known of each of the F frames of a file."""

    seconds: np.ndarray  # [F] float64, when it is shown
    valid: np.ndarray  # [F] bool, False without a face
    probability: np.ndarray  # [C, F] float32, highest score of a candidate of each emotion that covers it


def checked(found: Found) -> Found:
    """What the writers write.

    Args:
      found: of one video.

    Returns:
      The same with plain names, emotions of different names, and expressions in order of time.

    Raises:
      UserError: an emotion that is no class, a number that is not finite, or curves of another number of classes.
    """
    errors.shape("curves", found.curves, (len(found.classes), None))
    taken: set[str] = set()
    names = {name: unique(plain(name).strip() or "unnamed", taken) for name in found.classes}
    assert len(names) == len(found.classes), "classes differ"
    for one in found.expressions:
        errors.one_of("the emotion of an expression", one.emotion, names)
    numbers = [found.fps, found.seconds, found.threshold, *itertools.chain(*found.gaps)]
    numbers += itertools.chain(*((*one[3:6], one.score) for one in found.expressions))
    if strange := [number for number in numbers if not np.isfinite(number)]:
        raise UserError(f"times, scores and the threshold must be finite; got {strange[0]}")
    return found._replace(
        subject=plain(found.subject),
        video=plain(found.video),
        expressions=[one._replace(emotion=names[one.emotion]) for one in sorted(found.expressions, key=ONSET)],
        classes=list(names.values()),
        about={plain(key): plain(value) for key, value in found.about.items()},
    )


# ---- Formats ---------------------------------------------------------------------------------------------------------


def write_csv(path: Path, found: Found) -> None:
    """Writes a table with one row per expression; frames are inclusive, offset_seconds is the end of the last frame.

    It has the columns of an annotation file: corrected by hand, it can be trained on. Of a video in which nothing was
    found there is one row without frames. A name that a spreadsheet would
    take for a formula gets an apostrophe in front; the JSON file has it as it is.

    Args:
      path: the file.
      found: what was found.
    """
    found = checked(found)

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for one in found.expressions:
        numbers = [one.onset, one.apex, one.offset, f"{one.begin:.6f}", f"{one.end:.6f}"]
        writer.writerow(
            [no_formula(found.subject), no_formula(found.video), *numbers, no_formula(one.emotion), f"{one.score:.6f}"]
        )
    if not found.expressions:
        names = {"subject": no_formula(found.subject), "video": no_formula(found.video)}
        writer.writerow([names.get(column, "") for column in CSV_COLUMNS])
    files.write_text(path, text.getvalue())


def write_json(path: Path, found: Found) -> None:
    """Writes everything, unrounded: the fields of ``Found`` by name, in that order.

    "expressions" is a list of objects with the fields of ``Expression``. "curves" has one list per class; number p of
    its P numbers belongs to the time (p + 0.5) * seconds / P, and is null where there is none. "gaps" is a list of
    [begin, end] in seconds. "clock" has a [frame from 0, second, seconds per frame] for each stretch of constant rate,
    none if all frames come at "fps". "about" is an object of texts. The first field, "format", is "fedn_jax.found/1".

    Args:
      path: the file.
      found: what was found.
    """
    found = checked(found)
    value = {"format": "fedn_jax.found/1"} | found._asdict()
    value["path"] = plain(str(found.path))
    value["expressions"] = [one._asdict() for one in found.expressions]
    value["curves"] = [[x if np.isfinite(x) else None for x in curve] for curve in found.curves.tolist()]
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=lambda number: number.item())
    files.write_text(path, text + "\n")


def write_vtt(path: Path, found: Found) -> None:
    """Writes WebVTT: one cue per expression, "emotion 0.87", which players show over the video.

    Args:
      path: the file.
      found: what was found.
    """

    cues = [Cue(one.begin, one.end, f"{one.emotion} {one.score:.2f}") for one in checked(found).expressions]
    subtitles.write_vtt(path, cues)


def write_eaf(path: Path, found: Found) -> None:
    """Writes an ELAN document; see ``elan.write``.

    Args:
      path: the file.
      found: what was found.
    """
    found = checked(found)
    annotations = [Annotation(one.begin, one.end, one.emotion, one.score) for one in found.expressions]
    elan.write(path, found.path, annotations, found.classes, found.subject, facts=found.about)


def write_events(path: Path, found: Found) -> None:
    """Writes the events as BIDS has them; see ``bids``.

    Args:
      path: the file.
      found: what was found.
    """
    found = checked(found)
    rows = [
        Row("", ("", ""), Seconds(one.begin), Seconds(one.end), one.emotion, round(one.score, 6))
        for one in found.expressions
    ]
    bids.write(path, rows, ["score"])


def write_sidecar(path: Path, found: Found) -> None:
    """Writes what the columns of ``write_events`` mean.

    Args:
      path: the file.
      found: what was found.
    """
    files.write_text(path, bids.sidecar(checked(found).classes, ["score"]))


def write_frames(path: Path, found: Found, frames: PerFrame) -> None:
    """Writes a table with a row per frame, whose leading columns have the names that OpenFace gives them.

    frame (as the file counts), timestamp (seconds), face_id (0), success (1 with a face, 0 without), then a column per
    emotion: the highest score of a candidate that covers the frame, empty without a face. There is no confidence: what
    finds faces gives none for a frame.

    Args:
      path: the file.
      found: what was found.
      frames: of the file.
    """
    found = checked(found)
    errors.shape("probability", frames.probability, (len(found.classes), len(frames.seconds)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["frame", "timestamp", "face_id", "success"]
    writer.writerow([*names, *map(no_formula, found.classes)])
    columns = zip(frames.seconds.tolist(), frames.valid.tolist(), frames.probability.T.tolist(), strict=True)
    for number, (second, valid, scores) in enumerate(columns, found.first_frame):
        shown = [f"{score:.4f}" for score in scores] if valid else [""] * len(scores)
        writer.writerow([number, f"{second:.6f}", 0, int(valid), *shown])
    files.write_text(path, text.getvalue())


FRAMES = "_frames.csv"
FORMATS = {
    "csv": write_csv, "json": write_json, "vtt": write_vtt, "eaf": write_eaf, "_events.tsv": write_events,
    "_events.json": write_sidecar,
}  # fmt: skip
