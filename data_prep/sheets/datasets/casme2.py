"""CAS(ME)^2 (Qu et al. 2018), part A: 98 long videos of 22 subjects, 30 frames per second.

The released sheet has no header: participant, video and number of the expression, onset, apex, offset, action units,
expert emotion, macro or micro, self-reported emotion. Frame numbers count from 1. Where public code reads it
differently, there is an option; what was done is counted.
"""

import re
from collections import Counter
from collections.abc import Sequence

from data_prep.sheets import release_sheets
from data_prep.sheets.datasets import common
from data_prep.sheets.datasets.common import Column, DataSet, Labels, Row
from fedn_jax.core.errors import UserError
from fedn_jax.formats import table_files
from fedn_jax.formats.cells import Cell, text
from fedn_jax.formats.table_files import Book, Sheet

# Participant number of the sheet -> number in folder names (sheet "naming rule1").
SUBJECTS = dict(
    enumerate((15, 16, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 40), start=1)
)
# Name of a video in the sheet -> code in folder names (sheet "naming rule2").
CODES = {
    "disgust1": "0101", "disgust2": "0102", "anger1": "0401", "anger2": "0402", "happy1": "0502", "happy2": "0503",
    "happy3": "0505", "happy4": "0507", "happy5": "0508",
}  # fmt: skip
UNLABELLED = frozenset({("s15", "15_0508"), ("s19", "19_0502"), ("s23", "23_0503")})
CLASSES = {
    "annotated": ("positive", "surprise", "negative", "others"),
    "self-reported": (
        "happiness", "surprise", "disgust", "anger", "fear", "sadness", "helpless", "confused", "pain", "sympathy",
    ),
}  # fmt: skip
COLUMN = {"annotated": 6, "self-reported": 8}
TYPOS = {"happyiness": "happiness"}
KINDS = {"macro-expression": "macro", "micro-expression": "micro"}
# Rows of the release whose apex lies after the offset: (participant, expression).
LATE_APEX = {("11", "disgust1_5"), ("14", "happy2_1"), ("15", "anger1_12")}

# What to do with an offset of 0 (44 macro-expressions of the release).
ZERO_OFFSET = {
    "apex": lambda onset, apex: apex,  # SoftNet, MTSN, MEAN, MEGC2020 baseline
    "apex+20": lambda onset, apex: apex + 20,  # LGSNet, which also does so where the offset lies before the apex
    "mirror": lambda onset, apex: 2 * apex - onset,  # MM21
    "drop": lambda onset, apex: None,
}
# Table 1 of the paper, macro-expressions.
TABLE1 = {
    "annotated": dict(zip(CLASSES["annotated"], (116, 16, 105, 63), strict=True)),
    "self-reported": dict(zip(CLASSES["self-reported"], (132, 26, 58, 47, 17, 8, 4, 3, 3, 2), strict=True)),
}


def locate(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """The video that a path belongs to: by the first seven characters, since folders are spelt differently.

    Args:
      parts: of the path.

    Returns:
      (subject, video), such as ("s15", "15_0101"); None for a path of something else.

    >>> locate(("rawpic", "s15", "15_0101disgustingteeth"))
    ('s15', '15_0101')
    """
    match = re.match(r"(\d\d)_(\d{4})", parts[-1])
    if not match or int(match[1]) not in SUBJECTS.values() or match[2] not in CODES.values():
        return None
    return f"s{match[1]}", match[0]


def read(book: Book, emotions: Sequence[Book], options: dict[str, str], problems: list[str]) -> Labels:
    """Reads the released sheet.

    Args:
      book: ``CAS(ME)^2code_final.xlsx`` under any of its names, or its CSV export.
      emotions: unused; the sheet has the emotions.
      options: "labels" of ``CLASSES``, "zero-offset" of ``ZERO_OFFSET``.
      problems: what is wrong is added here.

    Returns:
      Labels.

    Raises:
      UserError: another sheet.
    """
    del emotions
    name = table_files.one_sheet(book, [sheet.name for sheet in book.sheets if _fits(sheet)], "such rows")
    if name is None:
        raise UserError(
            f"{book.path}: not the sheet of CAS(ME)^2: expected rows of participant, video_number, onset, apex, "
            "offset, action units, emotion, macro-expression or micro-expression, self-reported emotion"
        )
    _check_names(book, problems)
    counts: Counter = Counter()
    dropped: set[tuple[str, str]] = set()
    lines = next(sheet.lines for sheet in book.sheets if sheet.name == name)
    rows, refused = [], set()
    for line in [line for line in lines if _full(line.cells)]:
        before = len(problems)
        rows.append(_row(*line, options, problems, counts, dropped))
        refused |= {_video(line.cells)} if len(problems) > before else set()
    late = "offset = apex + 20" if options["zero-offset"] == "apex+20" else "interval kept, apex not annotated"
    done = {
        "offset 0": f"zero-offset={options['zero-offset']}", "apex 0": "apex not annotated",
        "apex after the offset": late, "emotion 'happyiness'": "happiness",
    }  # fmt: skip
    kept = common.unique((row for row in rows if row is not None), problems)
    notes = common.noted(counts, done)
    return Labels(kept, list(CLASSES[options["labels"]]), notes, UNLABELLED, frozenset(dropped), frozenset(refused))


def _full(cells: list[Cell]) -> bool:
    """Whether a row is one of expressions, not empty or a header."""
    return any(map(text, cells)) and not _header(cells)


def _header(cells: list[Cell]) -> bool:
    return not any(release_sheets.number(cell) is not None for cell in cells[:6])


def _fits(sheet: Sheet) -> bool:
    return any(len(cells) > 8 and text(cells[7]).lower() in KINDS for _, cells in sheet.lines)


def _row(
    where: str, cells: list[Cell], options: dict, problems: list[str], counts: Counter, dropped: set[tuple[str, str]]
) -> Row | None:
    """One row; what is wrong with it goes to ``problems`` and the result is None."""
    if len(cells) < 9:
        problems.append(f"{where}: {len(cells)} columns; expected 9")
        return None
    wanted = {"participant": 0, "expression": 1, "onset": 2, "apex": 3, "offset": 4, "kind": 7}
    wanted |= {f"{options['labels']} emotion": COLUMN[options["labels"]]}
    if found := release_sheets.faults({name: cells[column] for name, column in wanted.items()}):
        problems += [f"{where}: {fault}" for fault in found]
        return None
    before = len(problems)
    participant, name = text(cells[0]), text(cells[1])
    stem, _, number = name.partition("_")
    if not participant.isdecimal() or int(participant) not in SUBJECTS:
        problems.append(f"{where}: participant must be 1 to {len(SUBJECTS)}; got {participant!r}")
    if stem not in CODES or not number.isdecimal():
        problems.append(f"{where}: expression must be like anger1_1, of {', '.join(CODES)}; got {name!r}")
    onset, apex, offset = (
        common.whole(problems, where, column, cell)
        for column, cell in zip(("onset", "apex", "offset"), cells[2:5], strict=True)
    )
    kind = text(cells[7]).lower()
    if kind not in KINDS:
        problems.append(f"{where}: kind must be one of {', '.join(KINDS)}; got {kind!r}")
    spelt = text(cells[COLUMN[options["labels"]]]).lower()
    emotion = TYPOS.get(spelt, spelt)
    if emotion not in CLASSES[options["labels"]]:
        choices = ", ".join(CLASSES[options["labels"]])
        problems.append(f"{where}: {options['labels']} emotion must be one of {choices}; got {spelt!r}")
    if len(problems) > before:
        return None
    counts["emotion 'happyiness'"] += spelt != emotion
    video = _video(cells)
    rule, derived = ZERO_OFFSET[options["zero-offset"]], False
    if offset == 0:
        counts["offset 0"] += 1
        if apex == 0:
            problems.append(f"{where}: neither apex nor offset is given; expected at least one of them")
            return None
        offset, derived = rule(onset, apex), options["zero-offset"] != "apex"
        if offset is None:
            dropped.add(video)
            return None
    if apex == 0:
        counts["apex 0"] += 1
        apex = -1
    if (participant, name) in LATE_APEX and offset < apex:
        counts["apex after the offset"] += 1
        if options["zero-offset"] == "apex+20":
            offset, derived = apex + 20, True
        else:
            apex = -1
    row = Row(where, *video, onset, apex, offset, KINDS[kind], emotion, derived)
    return row if common.inside(row, problems) else None


def _video(cells: list[Cell]) -> tuple[str, str] | None:
    """(subject, video) of a row; None where it does not say which."""
    participant, name = [*map(text, cells[:2]), "", ""][:2]
    stem = name.partition("_")[0]
    if not participant.isdecimal() or int(participant) not in SUBJECTS or stem not in CODES:
        return None
    subject = SUBJECTS[int(participant)]
    return f"s{subject}", f"{subject}_{CODES[stem]}"


def _check_names(book: Book, problems: list[str]) -> None:
    """Compares the sheets of naming rules, where the file has them, with the names used here."""
    for name, lines, hidden in book.sheets:
        rows = [] if hidden else [line.cells for line in lines]
        if name.strip().lower() == "naming rule1":
            said = {(text(row[2]), text(row[0])) for row in rows if len(row) > 2 and not _header(row)}
            ours = {(str(key), str(value)) for key, value in SUBJECTS.items()}
            problems += [f"sheet {name}: participant {a} is subject {b}; not known so" for a, b in sorted(said - ours)]
        if name.strip().lower() == "naming rule2":
            said = {(text(row[1]), text(row[0]).zfill(4)) for row in rows if len(row) > 1 and row[0]}
            problems += [f"sheet {name}: {a} has code {b}; not known so" for a, b in sorted(said - set(CODES.items()))]


def expected(options: dict[str, str]) -> list[Column]:
    """What the release holds.

    Args:
      options: as of ``read``.

    Returns:
      Table 1's column for the chosen labels, and the total of micro-expressions.
    """
    return [
        Column(f"Table 1, CAS(ME)^2, {options['labels']}", "macro", TABLE1[options["labels"]]),
        Column("release", "micro", {"": 57}),
    ]


DATASET = DataSet(
    title="CAS(ME)^2",
    read=read,
    locate=locate,
    rate=30.0,
    fps=None,
    options={"labels": tuple(CLASSES), "zero-offset": tuple(ZERO_OFFSET)},
    expected=expected,
)
