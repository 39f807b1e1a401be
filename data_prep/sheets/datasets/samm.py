"""SAMM Long Videos (Yap et al. 2020): 147 videos of 30 subjects, 200 frames per second; spotting only.

The released sheet begins with notes; its header is found by its names. It has no emotions. Frame numbers count from 1.
"""

import re
from collections import Counter
from collections.abc import Sequence

from data_prep.sheets import release_sheets
from data_prep.sheets.datasets import common
from data_prep.sheets.datasets.common import Column, DataSet, Labels, Row
from data_prep.sheets.release_sheets import Record
from fedn_jax.formats.cells import text
from fedn_jax.formats.table_files import Book

KINDS = {"macro": "macro", "micro - 1/2": "micro"}
ZERO_ONSET = ("first", "drop")  # an onset of 0: the first frame, or leave the expression out, as SoftNet and MEAN do
TOTALS = {"macro": 343, "micro": 159}


def locate(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """The video that a path belongs to.

    Args:
      parts: of the path.

    Returns:
      (subject, video), such as ("006", "006_1"); None for a path of something else.

    >>> locate(("SAMM_longvideos", "006_1"))
    ('006', '006_1')
    """
    match = re.fullmatch(r"(\d{3})_\d+", parts[-1])
    return (match[1], match[0]) if match else None


def read(book: Book, emotions: Sequence[Book], options: dict[str, str], problems: list[str]) -> Labels:
    """Reads the released sheet (V1, V2 or V3).

    Args:
      book: ``SAMM_LongVideos_V1_Release.xlsx`` or a later one.
      emotions: unused.
      options: "zero-onset" of ``ZERO_ONSET``.
      problems: what is wrong is added here.

    Returns:
      Labels without emotions.
    """
    del emotions
    counts: Counter = Counter()
    columns = ("subject", "filename", "onset", "apex", "offset", "type")
    records = release_sheets.records(book, columns, "SAMM Long Videos", problems)
    dropped: set[tuple[str, str]] = set()
    rows = [_row(one, options, problems, counts, dropped) for one in records]
    done = {
        "frame number that is not whole": "rounded",
        "apex -1": "apex not annotated",
        "onset 0": f"zero-onset={options['zero-onset']}",
    }
    return Labels(common.unique((row for row in rows if row), problems), [], common.noted(counts, done),
                  dropped=frozenset(dropped))  # fmt: skip


def _row(
    record: Record, options: dict, problems: list[str], counts: Counter, dropped: set[tuple[str, str]]
) -> Row | None:
    cells, where = record.cells, record.where
    found = []
    name, subject = text(cells["filename"]), text(cells["subject"]).zfill(3)
    video, _, number = name.rpartition("_")  # 011_6_10 has two digits at its end
    located = locate((video,))
    if located is None or not number.isdecimal():
        found.append(f"filename must be like 006_1_1; got {name!r}")
    elif located[0] != subject:
        found.append(f"filename {name} does not begin with the subject, {subject}")
    kind = text(cells["type"]).lower()
    if kind not in KINDS:
        found.append(f"type must be one of {', '.join(KINDS)}; got {kind!r}")
    times = [release_sheets.number(cells[key]) for key in ("onset", "apex", "offset")]
    for key, value in zip(("onset", "apex", "offset"), times, strict=True):
        if value is None:
            found.append(f"{key} must be a number; got {str(cells[key])!r}")
    if found:
        problems += [f"{where}: {line}" for line in found]
        return None
    counts["frame number that is not whole"] += any(value != int(value) for value in times)
    onset, apex, offset = (round(value) for value in times)
    counts["apex -1"] += apex == -1
    if onset == 0:
        counts["onset 0"] += 1
        if options["zero-onset"] == "drop":
            dropped.add((subject, video))
            return None
        onset = 1
    row = Row(where, subject, video, onset, apex, offset, KINDS[kind], "")
    return row if common.inside(row, problems) else None


def expected(options: dict[str, str]) -> list[Column]:
    """What the release holds.

    Args:
      options: as of ``read``.

    Returns:
      Totals of macro- and micro-expressions; the paper's Table 1 does not have this data set.
    """
    del options
    return [Column("release", kind, {"": total}) for kind, total in TOTALS.items()]


DATASET = DataSet(
    title="SAMM Long Videos",
    read=read,
    locate=locate,
    rate=200.0,
    fps=30.0,
    options={"zero-onset": ZERO_ONSET},
    expected=expected,
)
