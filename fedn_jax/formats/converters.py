"""What formats of tables share, and the two forms of CSV that name emotions.

csv          What ``fedn evaluate`` reads: subject,video,onset,offset,emotion and, where known, score and kind.
strs         CSV, exactly subject,video,onset,offset,emotion, inclusive frames: genbing99/STRS-Metric on GitHub. What is
             public of an entry to the spot-then-recognise track of MEGC 2024, hitheyuhong/MEGC2024-CODE, is so, too.

Other formats have files of their own; ``exchange.FORMATS`` lists all. Frames come back as they were written. What a
format has no place for is left out; functions that write return what that was.
"""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fedn_jax.core import files
from fedn_jax.core.text import count
from fedn_jax.formats import predictions, times
from fedn_jax.formats.predictions import Table

HIGHEST_FPS = 1e5


class Options(NamedTuple):
    """What a format needs and a table lacks, or the other way round; each format uses its own."""

    fps: float | Mapping[tuple[str, str], float] | None = None  # of all videos, or of each; the file's own come first
    subjects: Mapping[str, str] = {}  # video -> subject, for names without one; others are their own subjects
    first_frame: int = 1  # number of the frame that begins at second 0
    truth: bool = False  # activitynet: write a "database" instead of "results"
    subset: str | None = None  # activitynet: of the database; None: all subsets, and "test" is written
    duration: Mapping[tuple[str, str], float] = {}  # activitynet: seconds of each (subject, video), where known
    tiers: tuple[str, ...] = ()  # elan: those that hold expressions; none: all that are below no other
    label: str = "value"  # elan: what the emotion is, the "value" of an annotation or the name of its "tier"
    media: Mapping[tuple[str, str], Path] = {}  # elan: the file of each (subject, video), where known


def frame_rate(options: Options, video: tuple[str, str]) -> float:
    """Frames per second of a video.

    Args:
      options: that say it.
      video: subject and video.

    Returns:
      The rate; NaN if it is not known.
    """
    fps = options.fps.get(video) if isinstance(options.fps, Mapping) else options.fps
    return float(fps) if fps is not None and 0 < fps <= HIGHEST_FPS else math.nan


def left_out(table: Table, *names: str) -> list[str]:
    """What a format has no place for.

    Args:
      table: what is written.
      *names: of "emotions", "scores", "kinds", "subjects".

    Returns:
      A sentence, or none where the table has nothing of it.
    """
    subjects = table.videos and predictions.has_subjects(table)
    has = {"emotions": table.classes, "scores": table.has_score, "kinds": table.has_kind, "subjects": subjects}
    gone = [name for name in names if has[name] and table.rows]
    return [f"{' and '.join(gone)} are left out: the format has no place for them"] if gone else []


def silent(table: Table) -> list[str]:
    """Videos that a format cannot list, since no row names them.

    Args:
      table: what is written.

    Returns:
      A sentence, or none where every video has a row.
    """
    quiet = len(set(table.videos) - {row.video for row in table.rows})
    return [f"{count(quiet, 'video')} without a row left out: the format cannot list them"] if quiet else []


def write_csv(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    """Writes a table of text, with quotes where a cell needs them.

    Args:
      path: the file.
      header: names of the columns.
      rows: cells of each row.
    """
    text = io.StringIO()
    # Python 3.11 does not see that a lone carriage return needs quotes.
    strange = any("\r" in str(cell) for row in rows for cell in row)
    quoting = csv.QUOTE_ALL if strange else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows([header, *rows])
    files.write_text(path, text.getvalue())


def own_rows(table: Table) -> list[tuple]:
    """What ``fedn evaluate`` reads; every video has a row.

    Args:
      table: any; times in seconds get columns of their own.

    Returns:
      The header, then the rows.
    """
    extra = [name for name in ("score", "kind") if getattr(table, f"has_{name}")]
    seconds = list(times.SECONDS.values()) if any(row.timed for row in table.rows) else []
    rows: list[tuple] = [(*predictions.REQUIRED, *seconds, *extra)]
    for row in table.rows:
        frames = ("", "") if row.timed else row.span
        late = [f"{time:.6f}" if row.timed else "" for time in row.span] if seconds else []
        rows.append((*row.video, *frames, row.emotion, *late, *(getattr(row, name) for name in extra)))
    busy = {row.video for row in table.rows}
    return rows + [(*video, *[""] * (len(rows[0]) - 2)) for video in table.videos if video not in busy]


def write_own(path: Path, table: Table, options: Options) -> list[str]:
    """Writes what ``fedn evaluate`` reads.

    Args:
      path: the file.
      table: any.
      options: not used.

    Returns:
      Nothing: all has its place.
    """
    header, *rows = own_rows(table)
    write_csv(path, header, rows)
    return []


def write_strs(path: Path, table: Table, options: Options) -> list[str]:
    """Writes what STRS-Metric reads, which fails on rows without frames.

    Args:
      path: the file.
      table: in frames.
      options: not used.

    Returns:
      What was left out, one sentence each.
    """
    write_csv(
        path, tuple(predictions.REQUIRED), [(*row.video, row.onset, row.offset, row.emotion) for row in table.rows]
    )
    return left_out(table, "scores", "kinds") + silent(table)
