"""All formats by name: a file of any of them read as a table, a table written as a file of any of them.

Some hold frames, some seconds; some hold one video per file, whose name is then that of its media file or of the file
itself. A table that came from seconds stays in seconds until a clock is known (``clocks``).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count
from fedn_jax.formats import activitynet, bids, clocks, converters, elan, megc, predictions, subtitles
from fedn_jax.formats.clocks import Clocks, Steady
from fedn_jax.formats.converters import Options
from fedn_jax.formats.predictions import Table

UNNAMED = "expression"  # stands for the emotion where none is known
NO_CLOCK = {
    "frames": "give --videos, whose time stamps count, or --fps",
    "seconds": "give --videos, whose time stamps count, or --fps; where a table has both, its frames count",
}


class Format(NamedTuple):
    """A file format."""

    write: Callable[[Path, Table, Options], list[str]]  # -> what was left out, one sentence each
    read: Callable[[Path, str, Options], Table]  # (path, "predictions" or "ground truth", options)
    suffix: str  # of its files
    unit: str = ""  # "frames" or "seconds"; "": either
    one_video: bool = False  # a file is about one video
    sidecar: Callable[[Table], str] | None = None  # content of a JSON file beside


# ---- Of one video ----------------------------------------------------------------------------------------------------


def _emotions(table: Table) -> list[str]:
    """Plain names of all emotions that may occur: those of the file's vocabulary first, in its order."""
    found = [*table.vocabulary, *table.classes] if table.classes or table.vocabulary else [UNNAMED]
    return list(dict.fromkeys(elan.plain(name) for name in found))


def _annotations(table: Table) -> list[elan.Annotation]:
    rows = sorted(table.rows, key=lambda row: row.span)
    return [elan.Annotation(*row.span, elan.plain(row.emotion or UNNAMED), row.score) for row in rows]


def _write_elan(path: Path, table: Table, options: Options) -> list[str]:
    ((subject, video),) = table.videos
    media = options.media.get((subject, video), path.with_name(elan.plain(video)))
    scored = table.has_score and bool(table.rows)
    elan.write(path, media, _annotations(table), _emotions(table), elan.plain(subject), scored)
    return converters.left_out(table, "kinds")


def _write_cues(write: Callable[[Path, Sequence[subtitles.Cue]], None], path: Path, table: Table) -> list[str]:
    cues = [
        subtitles.Cue(one.begin, one.end, one.emotion + ("" if one.score is None else f" {one.score:.2f}"))
        for one in _annotations(table)
    ]
    write(path, cues)
    return converters.left_out(table, "kinds", "subjects")


def _known(table: Table) -> list[str]:
    return [name for name in ("score", "kind") if getattr(table, f"has_{name}") and table.rows]


def _write_bids(path: Path, table: Table, options: Options) -> list[str]:
    bids.write(path, table.rows, _known(table))
    return converters.left_out(table, "subjects")


# ---- Workbooks -------------------------------------------------------------------------------------------------------


def _write_excel(path: Path, table: Table, options: Options) -> list[str]:
    """The columns of our CSV file; names are text, whatever they look like."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "expressions"
    for number, row in enumerate(converters.own_rows(table), 1):
        for place, value in enumerate(row, 1):
            if value not in ("", None):
                cell = sheet.cell(number, place, elan.plain(value) if isinstance(value, str) else value)
                cell.data_type = "s" if isinstance(value, str) else cell.data_type  # "=1+1" is no formula
    sheet.freeze_panes = "A2"
    book.save(path)
    return []


def _read_own(path: Path, what: str, options: Options) -> Table:
    return predictions.read(path, what)


FORMATS = {
    "csv": Format(converters.write_own, _read_own, ".csv"),
    "excel": Format(_write_excel, _read_own, ".xlsx"),
    "elan": Format(
        _write_elan, lambda path, what, options: elan.read(path, what, options.tiers, options.label), ".eaf", "seconds",
        one_video=True,
    ),
    "srt": Format(
        lambda path, table, options: _write_cues(subtitles.write_srt, path, table),
        lambda path, what, options: subtitles.read(path, what), ".srt", "seconds", one_video=True,
    ),
    "vtt": Format(
        lambda path, table, options: _write_cues(subtitles.write_vtt, path, table),
        lambda path, what, options: subtitles.read(path, what), ".vtt", "seconds", one_video=True,
    ),
    "bids": Format(
        _write_bids, lambda path, what, options: bids.read(path, what), bids.SUFFIX, "seconds", one_video=True,
        sidecar=lambda table: bids.sidecar(_emotions(table), _known(table)),
    ),
    "strs": Format(
        converters.write_strs, lambda path, what, options: predictions.read(path, what, optional={}), ".csv", "frames"
    ),
    "megc": Format(megc.write, megc.read, ".csv", "frames"),
    "activitynet": Format(activitynet.write, activitynet.read, ".json", "frames"),
}  # fmt: skip
BY_SUFFIX = {".eaf": "elan", ".srt": "srt", ".vtt": "vtt", ".tsv": "bids", ".xlsx": "excel"}


def format_of(path: Path) -> str:
    """The format that the ending of a file's name stands for.

    Args:
      path: the file.

    Returns:
      A name in ``FORMATS``; "csv" for all endings that stand for none.
    """
    return BY_SUFFIX.get(path.suffix.lower(), "csv")


def read(path: Path, what: str, name: str | None = None, options: Options | None = None) -> Table:
    """Reads a file of any format.

    Args:
      path: the file.
      what: "predictions" or "ground truth", for messages.
      name: of the format; None: by the ending.
      options: see ``converters.Options``.

    Returns:
      The table; times are as the file says them, frames or seconds.

    Raises:
      UserError: no such format, or all that is wrong with the file.
    """
    return FORMATS[errors.one_of("the format", name or format_of(path), FORMATS)].read(path, what, options or Options())


def merge(tables: Sequence[Table]) -> Table:
    """Several files as one.

    Args:
      tables: at least one.

    Returns:
      Their videos and rows one after the other.

    Raises:
      UserError: a column that is filled in some of them only.
    """
    if len(tables) == 1:
        return tables[0]
    rows = [row._replace(where=f"{one.path.name}, {row.where}") for one in tables for row in one.rows]
    videos = [video for one in tables for video in one.videos]
    notes = list(dict.fromkeys(note for one in tables for note in one.notes))
    words = dict.fromkeys(word for one in tables for word in one.vocabulary)
    return predictions.make(tables[0].path, tables[0].what, videos, rows, notes, (), tuple(words))


def merge_videos(tables: Sequence[Table]) -> Table:
    """A table of the videos of several, without rows.

    Args:
      tables: at least one.

    Returns:
      The table.
    """
    videos = dict.fromkeys(video for one in tables for video in one.videos)
    return tables[0]._replace(videos=list(videos), rows=[])


def steady(table: Table, options: Options) -> Clocks:
    """Clocks of videos whose frames come at a known, constant rate.

    Args:
      table: of the videos.
      options: ``fps`` and ``first_frame``.

    Returns:
      (subject, video) -> clock, where the rate is known.
    """
    rates = {video: converters.frame_rate(options, video) for video in table.videos}
    return {video: Steady(rate, options.first_frame) for video, rate in rates.items() if rate == rate}


def in_unit(table: Table, unit: str, known: Clocks) -> Table:
    """A table in the times of a format.

    Args:
      table: any.
      unit: "frames", "seconds" or "", see ``Format``.
      known: clocks of its videos.

    Returns:
      The table; with "", frames as far as clocks are known.

    Raises:
      UserError: videos whose clock is needed and not known.
    """
    table, left = (clocks.in_seconds if unit == "seconds" else clocks.in_frames)(table, known)
    errors.report(f"{table.path}", [f"{line}; expected {unit}: {NO_CLOCK[unit]}" for line in left] if unit else [])
    return table


def by_video(table: Table) -> dict[tuple[str, str], Table]:
    """A table as one table per video.

    Args:
      table: any.

    Returns:
      (subject, video) -> table; emotions and columns are those of all.
    """
    rows: Mapping[Any, list] = {video: [] for video in table.videos}
    for row in table.rows:
        rows[row.video].append(row)
    return {video: table._replace(videos=[video], rows=found) for video, found in rows.items()}


def places(out: Path, name: str, table: Table) -> dict[Path, Table]:
    """Which files a table becomes.

    Args:
      out: the file, or, for a format of one video per file, a directory.
      name: of the format.
      table: what is written.

    Returns:
      File -> what it holds.

    Raises:
      UserError: several videos, and ``out`` is no directory.
    """
    form = FORMATS[name]
    if not form.one_video:
        return {out: table}
    if out.suffix and not out.is_dir():
        if len(table.videos) != 1:
            several = f"{count(len(table.videos), 'video')}, of which a file of {name} holds one"
            raise UserError(f"{out}: expected a directory for {several}; give one without an ending")
        return {out: table}
    from fedn_jax.core import files

    several = len({name.casefold() for _, name in table.videos}) < len(table.videos)  # as ``fedn detect`` names them
    parts = {video: [part for part in video if part] if several else video[1:] for video in table.videos}
    return {out / f"{files.file_name(*parts[video])}{form.suffix}": one for video, one in by_video(table).items()}


def write(path: Path, name: str, table: Table, options: Options) -> list[str]:
    """Writes a table.

    Args:
      path: the file.
      name: of the format.
      table: in its unit; of one video for a format of one.
      options: see ``converters.Options``.

    Returns:
      What was left out, one sentence each.
    """
    return FORMATS[name].write(path, table, options)


def described(table: Table) -> str:
    """How much a table holds, in words.

    Args:
      table: any.

    Returns:
      Such as "3 rows of 2 videos".
    """
    return f"{count(len(table.rows), 'row')} of {count(len(set(table.videos)), 'video')}"
