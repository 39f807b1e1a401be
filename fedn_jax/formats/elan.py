"""ELAN documents (.eaf, EAF 2.7 to 3.0), in and out.

ELAN's own schema is the source (EAFv3.0.xsd); pympi-ling, which reads and writes such files, too, is what the tests
compare with. It is not used here: it names no mistake (a missing attribute is a KeyError) and reads files of any size.
"""

import itertools
import mimetypes
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from fedn_jax.core import errors, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt
from fedn_jax.formats import cells, predictions, times
from fedn_jax.formats.predictions import Row, Table
from fedn_jax.formats.times import Seconds

SCHEMA = {
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
}
LANGUAGE = {"LANG_ID": "und", "LANG_LABEL": "undetermined (und)"}
CONSTRAINT = {"STEREOTYPE": "Symbolic_Association", "DESCRIPTION": "exactly one for each annotation of the parent tier"}
FORBIDDEN = re.compile("[^ -~\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0; and C1 controls
SCORE = " score"  # how the name of a tier ends that has the scores of its parent
EMOTIONS, TYPE = "emotions", "expression"  # names of our vocabulary, and of the type of our tiers
MOST_BYTES = 2**26
LABELS = ("value", "tier")


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


def unique(name: str, taken: set[str]) -> str:
    """A name that is not taken.

    Args:
      name: the name.
      taken: names that are; the one that is returned is added.

    Returns:
      The name, or name-2, name-3 and so on.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    given = next(one for one in names if one not in taken)
    taken.add(given)
    return given


# ---- Out -------------------------------------------------------------------------------------------------------------


class Annotation(NamedTuple):
    """One expression."""

    begin: float  # seconds
    end: float  # seconds
    emotion: str
    score: float | None = None


def _lanes(edges: Sequence[tuple[int, int]], members: Sequence[int]) -> list[list[int]]:
    """Members in order of time -> groups in which nothing overlaps; at least one group."""
    lanes: list[list[int]] = [[]]
    for member in members:
        free = (lane for lane in lanes if not lane or edges[lane[-1]][1] <= edges[member][0])
        if (lane := next(free, None)) is None:
            lanes.append(lane := [])
        lane.append(member)
    return lanes


def _header(root: ElementTree.Element, path: Path, media: Path, facts: Mapping[str, str]) -> None:
    """The media file and facts. In the URLs of files ELAN neither writes nor understands percent-encoding."""
    media = Path(os.path.realpath(media.parent), media.name)
    near = os.path.relpath(media, os.path.realpath(path.parent)).replace(os.sep, "/")
    mime = mimetypes.MimeTypes().types_map[True].get(media.suffix.lower(), "video/*")
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    descriptor = {"MEDIA_URL": plain("file:///" + media.as_posix().lstrip("/")), "MIME_TYPE": mime}
    descriptor["RELATIVE_MEDIA_URL"] = plain(near if near.startswith("../") else f"./{near}")
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", descriptor)
    for name, value in facts.items():
        ElementTree.SubElement(header, "PROPERTY", NAME=name).text = value


def _annotate(tier: ElementTree.Element, kind: str, name: str, value: str, references: dict[str, str]) -> None:
    """Adds an annotation to a tier."""
    outer = ElementTree.SubElement(tier, "ANNOTATION")
    inner = ElementTree.SubElement(outer, kind, references, ANNOTATION_ID=name)
    ElementTree.SubElement(inner, "ANNOTATION_VALUE").text = value


def _types(root: ElementTree.Element, scored: bool, vocabulary: Iterable[str]) -> None:
    """What the tiers are, and the emotions that a person may choose from in ELAN."""
    kind = {"LINGUISTIC_TYPE_ID": TYPE, "TIME_ALIGNABLE": "true", "CONTROLLED_VOCABULARY_REF": EMOTIONS}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    if scored:
        kind = {"LINGUISTIC_TYPE_ID": "score", "TIME_ALIGNABLE": "false", "CONSTRAINTS": CONSTRAINT["STEREOTYPE"]}
        ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    ElementTree.SubElement(root, "LANGUAGE", LANGUAGE)
    if scored:
        ElementTree.SubElement(root, "CONSTRAINT", CONSTRAINT)
    choices = ElementTree.SubElement(root, "CONTROLLED_VOCABULARY", CV_ID=EMOTIONS)
    ElementTree.SubElement(choices, "DESCRIPTION", LANG_REF=LANGUAGE["LANG_ID"])
    for number, emotion in enumerate(vocabulary):
        entry = ElementTree.SubElement(choices, "CV_ENTRY_ML", CVE_ID=f"cveid{number}")
        ElementTree.SubElement(entry, "CVE_VALUE", LANG_REF=LANGUAGE["LANG_ID"]).text = emotion


def write(
    path: Path,
    media: Path,
    annotations: Sequence[Annotation],
    emotions: Sequence[str],
    subject: str = "",
    scored: bool = True,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Writes an ELAN document (EAF 3.0).

    Every emotion has a tier, found or not, so that all videos have the same tiers; its annotations say the emotion, of
    a controlled vocabulary. With scores each tier has a child "EMOTION score" with one symbolically associated
    annotation, such as 0.87. On a tier of ELAN nothing may overlap: expressions of one emotion that do are on
    "EMOTION-2" and so on. Times are in milliseconds.

    Args:
      path: the file.
      media: the video.
      annotations: in order of time; names are plain.
      emotions: all that may occur.
      subject: who is seen.
      scored: all annotations have scores.
      facts: what else is known.
    """
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    root = ElementTree.Element("ANNOTATION_DOCUMENT", SCHEMA, AUTHOR="fedn_jax", DATE=now, FORMAT="3.0", VERSION="3.0")
    count = len(annotations) * (1 + scored)
    about = {f"fedn_jax: {key}": value for key, value in (facts or {}).items()}
    _header(root, path, media, {"lastUsedAnnotationId": str(count)} | about)
    edges = [times.milliseconds(one.begin, one.end) for one in annotations]
    moments = sorted((time, index, side) for index, pair in enumerate(edges) for side, time in enumerate(pair))
    order, slots = ElementTree.SubElement(root, "TIME_ORDER"), {}
    for number, (time, index, side) in enumerate(moments, 1):
        slots[index, side] = f"ts{number}"
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{number}", TIME_VALUE=str(time))

    who = {"ANNOTATOR": "fedn_jax"} | ({"PARTICIPANT": subject} if subject else {})
    taken, ids = set(emotions), itertools.count(1)
    for emotion in emotions:
        members = [index for index, one in enumerate(annotations) if one.emotion == emotion]
        for index, lane in enumerate(_lanes(edges, members)):
            name = unique(emotion, taken) if index else emotion
            above = ElementTree.SubElement(root, "TIER", who, LINGUISTIC_TYPE_REF=TYPE, TIER_ID=name)
            if scored:
                below = ElementTree.SubElement(root, "TIER", who, LINGUISTIC_TYPE_REF="score", PARENT_REF=name)
                below.set("TIER_ID", unique(f"{name}{SCORE}", taken))
            for index in lane:
                parent, score = f"a{next(ids)}", annotations[index].score
                spans = {"TIME_SLOT_REF1": slots[index, 0], "TIME_SLOT_REF2": slots[index, 1]}
                _annotate(above, "ALIGNABLE_ANNOTATION", parent, emotion, spans)
                if scored:
                    _annotate(below, "REF_ANNOTATION", f"a{next(ids)}", f"{score:.2f}", {"ANNOTATION_REF": parent})
    _types(root, scored, emotions)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    files.write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n')


# ---- In --------------------------------------------------------------------------------------------------------------


class Tier(NamedTuple):
    """A tier of a document."""

    name: str
    participant: str
    parent: str  # name of the tier above; "" without one
    vocabulary: str  # name of the vocabulary of its type; "" without one
    annotations: dict[str, tuple[str, str]]  # id -> (its parent annotation or "", text)


class Document(NamedTuple):
    """What a file holds."""

    video: str  # name of the media file without its ending; of the document itself where it has none
    tiers: dict[str, Tier]
    spans: dict[str, tuple[float | None, float | None]]  # id of an annotation -> seconds; None: no time
    vocabularies: dict[str, list[str]]


def parse(path: Path) -> Document:
    """Reads a document.

    Args:
      path: the file.

    Returns:
      Its tiers.

    Raises:
      UserError: no such file, no ELAN document, or a damaged one.
    """
    data = files.read_bytes(path, MOST_BYTES, "an ELAN document (.eaf)")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not readable as XML ({excerpt(error)}); expected an ELAN document (.eaf)") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise UserError(
            f"{path}: not an ELAN document: its root is {cells.shown(root.tag)}; expected one that ELAN saved"
        )
    try:
        return _document(path, root)
    except KeyError as error:
        raise UserError(
            f"{path}: damaged: {excerpt(error.args[0])} is missing; open it in ELAN and save it again"
        ) from None


def _document(path: Path, root: ElementTree.Element) -> Document:
    slots = {}
    for slot in root.iter("TIME_SLOT"):
        text = slot.get("TIME_VALUE")
        if text is not None and not re.fullmatch("[0-9]{1,12}", text):
            raise UserError(f"{path}: a time must be in milliseconds; got {cells.shown(text)}")
        slots[slot.attrib["TIME_SLOT_ID"]] = None if text is None else int(text) / 1000
    kinds = {kind.attrib["LINGUISTIC_TYPE_ID"]: kind for kind in root.iter("LINGUISTIC_TYPE")}
    vocabularies = {
        one.attrib["CV_ID"]: [
            plain(value.text or "").strip() for entry in one for value in entry.findall("CVE_VALUE")[:1]
        ]
        + [plain(entry.text or "").strip() for entry in one.iterfind("CV_ENTRY")]  # EAF 2.7
        for one in root.iter("CONTROLLED_VOCABULARY")
    }
    tiers, spans, parents = {}, {}, {}
    for tier in root.iter("TIER"):
        found = {}
        for one in tier.iterfind("ANNOTATION/*"):
            name, above = one.attrib["ANNOTATION_ID"], one.get("ANNOTATION_REF", "")
            if one.tag == "ALIGNABLE_ANNOTATION":
                spans[name] = slots[one.attrib["TIME_SLOT_REF1"]], slots[one.attrib["TIME_SLOT_REF2"]]
            parents[name] = above
            found[name] = above, plain(one.findtext("ANNOTATION_VALUE") or "").strip()
        kind = kinds[tier.attrib["LINGUISTIC_TYPE_REF"]]
        names = (plain(tier.attrib["TIER_ID"]), plain(tier.get("PARTICIPANT", "")).strip())
        above = plain(tier.get("PARENT_REF", ""))
        tiers[names[0]] = Tier(*names, above, kind.get("CONTROLLED_VOCABULARY_REF", ""), found)
    for name in parents:
        _settle(name, spans, parents)
    media = [one.get("MEDIA_URL") or one.get("RELATIVE_MEDIA_URL") or "" for one in root.iter("MEDIA_DESCRIPTOR")]
    video = Path(plain(media[0]).replace("\\", "/")).stem if media and media[0] else path.stem
    return Document(video, tiers, spans, vocabularies)


def _settle(name: str, spans: dict[str, tuple[float | None, float | None]], parents: Mapping[str, str]) -> None:
    """Gives an annotation that refers to another one the times of that one; none where that is gone."""
    chain = [name]
    while chain[-1] not in spans and chain[-1] in parents and len(chain) <= len(parents):
        chain.append(parents[chain[-1]])
    spans.update(dict.fromkeys(chain, spans.get(chain[-1], (None, None))))


def read(path: Path, what: str, tiers: Sequence[str] = (), label: str = "value") -> Table:
    """Reads the expressions of one video.

    Args:
      path: the document.
      what: "predictions" or "ground truth", for messages.
      tiers: names of those that hold expressions; none: all that are below no other.
      label: "value": the text of an annotation is the emotion; "tier": the name of its tier is.

    Returns:
      The table, in order of time; subjects are the tiers' participants. Scores are those of "TIER score", if every
      annotation has one.

    Raises:
      UserError: see ``parse``; no such tier, annotations without a text or a time.
    """
    errors.one_of("the label", label, LABELS)
    document = parse(path)
    top = [tier.name for tier in document.tiers.values() if not tier.parent]
    for name in tiers:
        errors.one_of(f"{path}: the tier", name, document.tiers)
    rows, problems, notes, videos, vocabulary = [], [], [], [], []
    for name in tiers or top:
        tier = document.tiers[name]
        video = (cells.text(tier.participant), cells.text(document.video))
        videos.append(video)
        vocabulary += [name] if label == "tier" else document.vocabularies.get(tier.vocabulary, [])
        below = document.tiers.get(f"{name}{SCORE}")
        texts = dict(below.annotations.values()) if below and below.parent == name else {}
        for key, (_, text) in tier.annotations.items():
            where, (begin, end) = f"tier {cells.shown(name)}, annotation {cells.shown(key)}", document.spans[key]
            if begin is None or end is None or not begin <= end <= times.LATEST:
                problems.append(f"{where}: has no time; align it in ELAN")
            elif not text and label == "value":
                problems.append(f"{where}: has no text; expected an emotion, or --label tier for the name of its tier")
            else:
                emotion = cells.text(name if label == "tier" else text)
                score = cells.real(texts.get(key, ""))
                rows.append(Row(where, video, Seconds(begin), Seconds(end), emotion, score))
    if not tiers and len(top) > 1:
        notes.append(
            f"{path}: expressions are those of {predictions.first_of(list(map(cells.shown, top)))}; --tiers chooses"
        )
    if any(row.score is None for row in rows):
        rows = [row._replace(score=None) for row in rows]
    if any(subject for subject, _ in videos) and not all(subject for subject, _ in videos):
        unnamed = [name for name, (subject, _) in zip(tiers or top, videos, strict=True) if not subject]
        problems.append(
            f"tier {cells.shown(unnamed[0])} names no participant, others do; name it in ELAN, or choose --tiers"
        )
    rows.sort(key=lambda row: (row.onset, row.offset))
    return predictions.make(path, what, videos, rows, notes, problems, dict.fromkeys(filter(None, vocabulary)))
