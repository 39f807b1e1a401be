"""What was found in one video, as files for other programs: CSV, JSON, WebVTT and ELAN.

Names come from the data and may hold anything. In every file written here they are one line of text, without what XML
1.0 forbids.
"""

import csv
import io
import itertools
import json
import mimetypes
import operator
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from fedn_jax.core import errors, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import no_formula

CSV_COLUMNS = ("subject", "video", "onset", "apex", "offset", "onset_seconds", "offset_seconds", "emotion", "score")
NOUNS = {"emotion": "expression", "action": "facial action"}  # what is found, by what its classes are
ONSET = operator.attrgetter("onset")
SCHEMA = {  # of ELAN documents
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
}
FORBIDDEN = re.compile("[^ -~\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0; and C1 controls


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
    label: str = "emotion"  # what the classes are, in one word; the columns of files are named "emotion" all the same


def plain(text: str) -> str:
    """A name as every format can hold it.

    Args:
      text: anything.

    Returns:
      One line of it, without control characters and halves of characters.

    >>> plain("a" + chr(10) + "b" + chr(7))
    'a b'
    """
    return FORBIDDEN.sub("", " ".join(str(text).replace("\t", " ").splitlines()))


def _unique(name: str, taken: set[str]) -> str:
    """The name, or name-2, name-3 and so on if it is taken; it is from now on."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    given = next(one for one in names if one not in taken)
    taken.add(given)
    return given


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
    names = {name: _unique(plain(name).strip() or "unnamed", taken) for name in found.classes}
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


def _milliseconds(one: Expression) -> tuple[int, int]:
    """Begin and end, at least one millisecond apart."""
    begin = max(round(1000 * one.begin), 0)
    return begin, max(round(1000 * one.end), begin + 1)


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
    [begin, end] in seconds. "about" is an object of texts. The first field, "format", is "fedn_jax.found/1".

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

    def clock(milliseconds: int) -> str:
        seconds, rest = divmod(milliseconds, 1000)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"

    blocks = ["WEBVTT\n"]
    for number, one in enumerate(checked(found).expressions, 1):
        begin, end = map(clock, _milliseconds(one))
        emotion = one.emotion.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{number}\n{begin} --> {end}\n{emotion} {one.score:.2f}\n")
    files.write_text(path, "\n".join(blocks))


# ---- ELAN ------------------------------------------------------------------------------------------------------------


def _lanes(edges: Sequence[tuple[int, int]], members: Sequence[int]) -> list[list[int]]:
    """Members in order of time -> groups in which nothing overlaps; at least one group."""
    lanes: list[list[int]] = [[]]
    for member in members:
        free = (lane for lane in lanes if not lane or edges[lane[-1]][1] <= edges[member][0])
        if (lane := next(free, None)) is None:
            lanes.append(lane := [])
        lane.append(member)
    return lanes


def _header(root: ElementTree.Element, path: Path, found: Found) -> None:
    """The media file and facts. In the URLs of files ELAN neither writes nor understands percent-encoding."""
    media = Path(os.path.realpath(found.path.parent), found.path.name)
    near = os.path.relpath(media, os.path.realpath(path.parent)).replace(os.sep, "/")
    mime = mimetypes.MimeTypes().types_map[True].get(media.suffix.lower(), "video/*")
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    descriptor = {"MEDIA_URL": plain("file:///" + media.as_posix().lstrip("/")), "MIME_TYPE": mime}
    descriptor["RELATIVE_MEDIA_URL"] = plain(near if near.startswith("../") else f"./{near}")
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", descriptor)
    facts = {"lastUsedAnnotationId": str(2 * len(found.expressions))}
    facts |= {f"fedn_jax: {key}": value for key, value in found.about.items()}
    for name, value in facts.items():
        ElementTree.SubElement(header, "PROPERTY", NAME=name).text = value


def _annotate(tier: ElementTree.Element, kind: str, name: str, value: str, references: dict[str, str]) -> None:
    """Adds an annotation to a tier."""
    outer = ElementTree.SubElement(tier, "ANNOTATION")
    inner = ElementTree.SubElement(outer, kind, references, ANNOTATION_ID=name)
    ElementTree.SubElement(inner, "ANNOTATION_VALUE").text = value


def write_eaf(path: Path, found: Found) -> None:
    """Writes an ELAN document (EAF 3.0).

    Every class has a tier, found or not, so that all videos have the same tiers; its annotations say the emotion. Each
    has a child tier "EMOTION score" with one symbolically associated annotation, such as 0.87. On a tier of ELAN
    nothing may overlap: expressions of one emotion that do are on "EMOTION-2" and so on. Times are in milliseconds.

    Args:
      path: the file.
      found: what was found.
    """
    found = checked(found)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    root = ElementTree.Element("ANNOTATION_DOCUMENT", SCHEMA, AUTHOR="fedn_jax", DATE=now, FORMAT="3.0", VERSION="3.0")
    _header(root, path, found)
    edges = [_milliseconds(one) for one in found.expressions]
    moments = sorted((time, index, side) for index, pair in enumerate(edges) for side, time in enumerate(pair))
    order, slots = ElementTree.SubElement(root, "TIME_ORDER"), {}
    for number, (time, index, side) in enumerate(moments, 1):
        slots[index, side] = f"ts{number}"
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{number}", TIME_VALUE=str(time))

    who = {"ANNOTATOR": "fedn_jax"} | ({"PARTICIPANT": found.subject} if found.subject else {})
    taken, ids = set(found.classes), itertools.count(1)
    for emotion in found.classes:
        members = [index for index, one in enumerate(found.expressions) if one.emotion == emotion]
        for index, lane in enumerate(_lanes(edges, members)):
            name = _unique(emotion, taken) if index else emotion
            above = ElementTree.SubElement(root, "TIER", who, LINGUISTIC_TYPE_REF="expression", TIER_ID=name)
            below = ElementTree.SubElement(root, "TIER", who, LINGUISTIC_TYPE_REF="score", PARENT_REF=name)
            below.set("TIER_ID", _unique(f"{name} score", taken))
            for index in lane:
                parent, child = f"a{next(ids)}", f"a{next(ids)}"
                times = {"TIME_SLOT_REF1": slots[index, 0], "TIME_SLOT_REF2": slots[index, 1]}
                _annotate(above, "ALIGNABLE_ANNOTATION", parent, emotion, times)
                score = f"{found.expressions[index].score:.2f}"
                _annotate(below, "REF_ANNOTATION", child, score, {"ANNOTATION_REF": parent})
    for name, rule in {"expression": {}, "score": {"CONSTRAINTS": "Symbolic_Association"}}.items():
        kind = ElementTree.SubElement(root, "LINGUISTIC_TYPE", rule, LINGUISTIC_TYPE_ID=name)
        kind.set("TIME_ALIGNABLE", "false" if rule else "true")
    rule = {"STEREOTYPE": "Symbolic_Association", "DESCRIPTION": "exactly one for each annotation of the parent tier"}
    ElementTree.SubElement(root, "CONSTRAINT", rule)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    files.write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n')


FORMATS = {"csv": write_csv, "json": write_json, "vtt": write_vtt, "eaf": write_eaf}
