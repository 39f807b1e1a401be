"""CAS(ME)^3 (Li et al. 2022), part A: 1,300 videos of 100 subjects, 30 frames per second.

The sheet of the release has no emotions of macro-expressions (its "objective class" is a grouping of action units). Who
holds the sheets with emotions gives them beside it; expressions without one are kept, for spotting. Frame numbers are
the numbers in the pictures' file names.
"""

import re
from collections import Counter
from collections.abc import Sequence

from data_prep.sheets import release_sheets
from data_prep.sheets.datasets import common
from data_prep.sheets.datasets.common import Column, DataSet, Labels, Row
from data_prep.sheets.release_sheets import Record
from fedn_jax.formats.cells import Cell, column_name, text
from fedn_jax.formats.table_files import Book

CLASSES = ("happiness", "surprise", "disgust", "anger", "fear", "sadness", "others")
SPELLINGS = {"happy": "happiness", "sad": "sadness"}  # the sheets of macro- and micro-expressions differ
KINDS = {"macro-expression": "macro", "micro-expression": "micro"}
TABLE1 = dict(zip(CLASSES, (411, 91, 543, 537, 891, 733, 140), strict=True))  # of the paper: macro, annotated
TOTALS = {"macro": 3346, "micro": 860}
_SUBJECT = re.compile(r"spNO\.\d+", re.IGNORECASE)
# Columns of the emotion sheets under their names in the two releases.
_NAMES = {"subject": ("subject", "sub"), "filename": ("filename", "seq")}


def locate(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """The video that a path belongs to: spNO.1/a/color, or spNO.1/a.

    Args:
      parts: of the path.

    Returns:
      (subject, video), such as ("spNO.1", "a"); None for a path of something else, such as depth.

    >>> locate(("part_A", "spNO.1", "a", "color")), locate(("part_A", "spNO.1", "a", "depth"))
    (('spNO.1', 'a'), None)
    """
    names = parts[:-1] if parts[-1].lower() == "color" else parts
    if len(names) < 2 or not _SUBJECT.fullmatch(names[-2]) or not re.fullmatch("[a-m]", names[-1].lower()):
        return None
    return f"spNO.{int(names[-2][5:])}", names[-1].lower()


def read(book: Book, emotions: Sequence[Book], options: dict[str, str], problems: list[str]) -> Labels:
    """Reads the released sheet, and the emotions where there are some.

    Args:
      book: ``CAS(ME)3_part_A_v2.xls``.
      emotions: sheets with an emotion per expression; of macro-, of micro-expressions, or of both.
      options: none.
      problems: what is wrong is added here.

    Returns:
      Labels; without any emotion sheet, for spotting only.
    """
    del options
    columns = ("subject", "filename", "onset", "apex", "offset", "expressiontype")
    counts: Counter = Counter()
    rows = []
    for record in release_sheets.records(book, columns, "CAS(ME)^3 part A", problems):
        kind = text(record.cells["expressiontype"]).lower()
        if kind not in KINDS:
            problems.append(f"{record.where}: expression type must be one of {', '.join(KINDS)}; got {kind!r}")
            continue
        row = _row(record, KINDS[kind], problems, counts)
        if row is not None:
            rows.append(row)
    rows = _with_emotions(rows, emotions, counts, problems)
    done = {
        "onset 0": "frame 1 (there is no picture 0)",
        "file name in upper case": "lower case",
        "spelling of an emotion": ", ".join(f"{old} = {new}" for old, new in SPELLINGS.items()) + ", Others = others",
        "row of an emotion sheet with another onset or offset": "found by its apex; the times of the main sheet stay",
        "expression without an emotion": "kept, for spotting",
    }
    return Labels(common.unique(rows, problems), list(CLASSES) if emotions else [], common.noted(counts, done))


def _row(record: Record, kind: str, problems: list[str], counts: Counter) -> Row | None:
    cells, before = record.cells, len(problems)
    subject, video = text(cells["subject"]), text(cells["filename"])
    if not _SUBJECT.fullmatch(subject):
        problems.append(f"{record.where}: subject must be like spNO.1; got {subject!r}")
    if not re.fullmatch("[a-m]", video.lower()):
        problems.append(f"{record.where}: filename must be a letter from a to m; got {video!r}")
    onset, apex, offset = (
        common.whole(problems, record.where, name, cells[name]) for name in ("onset", "apex", "offset")
    )
    if len(problems) > before:
        return None
    counts["file name in upper case"] += video != video.lower()
    if onset == 0:
        counts["onset 0"] += 1
        onset, apex = 1, max(apex, 1)
    row = Row(record.where, f"spNO.{int(subject[5:])}", video.lower(), onset, apex, offset, kind, "")
    return row if common.inside(row, problems) else None


def _with_emotions(
    rows: list[Row], emotions: Sequence[Book], counts: Counter, problems: list[str]
) -> list[Row]:  # fmt: skip
    """Adds the emotion of each row that one of the sheets names."""
    exact = {(row.subject, row.video, row.onset, row.offset): i for i, row in enumerate(rows)}
    apexes: dict[tuple[str, str, int], list[int]] = {}
    for i, row in enumerate(rows):
        apexes.setdefault((row.subject, row.video, row.apex), []).append(i)
    found: dict[int, str] = {}
    for book in emotions:
        found_here: list[str] = []
        columns = ("subject", "filename", "onset", "apex", "offset", "emotion")
        records = list(release_sheets.records(_renamed(book), columns, "CAS(ME)^3 part A with emotions", found_here))
        problems += [f"{book.path.name}, {line}" for line in found_here]
        for record in records:
            where = f"{book.path.name}, {record.where}"
            cells = record.cells
            name = (text(cells["subject"]), text(cells["filename"]).lower())
            onset, apex, offset = (
                common.whole(problems, where, key, cells[key]) for key in ("onset", "apex", "offset")
            )
            emotion = _emotion(where, cells["emotion"], counts, problems)
            if None in (onset, apex, offset, emotion):
                continue
            onset, apex = max(onset, 1), max(apex, 1)
            index = exact.get((*name, onset, offset))
            if index is None and len(near := apexes.get((*name, apex), [])) == 1:
                index = near[0]
                counts["row of an emotion sheet with another onset or offset"] += 1
            if index is None:
                problems.append(f"{where}: no expression {onset} to {offset} of {'/'.join(name)} in the main sheet")
            elif found.setdefault(index, emotion) != emotion:
                problems.append(f"{where}: emotion {emotion}, but {found[index]} before; expected one")
    if emotions:
        counts["expression without an emotion"] += len(rows) - len(found)
    return [row._replace(emotion=found.get(i, "")) for i, row in enumerate(rows)]


def _emotion(where: str, cell: Cell, counts: Counter, problems: list[str]) -> str | None:
    spelt = text(cell)
    emotion = SPELLINGS.get(spelt.lower(), spelt.lower())
    if emotion not in CLASSES:
        problems.append(f"{where}: emotion must be one of {', '.join(CLASSES)}; got {spelt!r}")
        return None
    counts["spelling of an emotion"] += emotion != spelt
    return emotion


def _renamed(book: Book) -> Book:
    """The emotion sheet with the column names of the main sheet."""
    names = {old: new for new, olds in _NAMES.items() for old in olds}
    rename = lambda cell: names.get(column_name(cell), cell)
    head = lambda line: line._replace(cells=[rename(cell) for cell in line.cells])
    sheets = [sheet._replace(lines=[*map(head, sheet.lines[:1]), *sheet.lines[1:]]) for sheet in book.sheets]
    return book._replace(sheets=sheets)


def expected(options: dict[str, str]) -> list[Column]:
    """What the release holds.

    Args:
      options: none.

    Returns:
      Table 1's column, and the total of micro-expressions.
    """
    del options
    return [
        Column("Table 1, CAS(ME)^3, annotated", "macro", TABLE1),
        Column("release", "micro", {"": TOTALS["micro"]}),
    ]


DATASET = DataSet(
    title="CAS(ME)^3",
    read=read,
    locate=locate,
    rate=30.0,
    fps=None,
    options={},
    expected=expected,
    renumbered=True,
)
