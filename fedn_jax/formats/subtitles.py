"""Subtitles (SubRip .srt, WebVTT .vtt), in and out: a cue per expression, "emotion 0.87" or "emotion"."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fedn_jax.core import errors, files
from fedn_jax.formats import cells, predictions, table_files, times
from fedn_jax.formats.elan import plain
from fedn_jax.formats.predictions import Row, Table
from fedn_jax.formats.times import Seconds

_TIME = r"(?:([0-9]{1,4}):)?([0-5][0-9]):([0-5][0-9])[.,]([0-9]{3})"
_LINE = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_SCORED = re.compile(r"(.+) ([01]\.[0-9]+)")
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")  # of both formats; and what other programs put into .srt
_NO_CUE = ("WEBVTT", "NOTE", "STYLE", "REGION")  # how other blocks of WebVTT begin


class Cue(NamedTuple):
    """One subtitle."""

    begin: float  # seconds
    end: float  # seconds
    text: str  # one line


def _write(path: Path, cues: Sequence[Cue], head: str, point: str, escape: bool) -> None:
    def clock(milliseconds: int) -> str:
        seconds, rest = divmod(milliseconds, 1000)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"

    blocks = [head] if head else []
    for number, one in enumerate(cues, 1):
        begin, end = map(clock, times.milliseconds(one.begin, one.end))
        text = html.escape(one.text, quote=False) if escape else one.text
        blocks.append(f"{number}\n{begin} --> {end}\n{text}\n")
    files.write_text(path, "\n".join(blocks))


def write_vtt(path: Path, cues: Sequence[Cue]) -> None:
    """Writes WebVTT.

    Args:
      path: the file.
      cues: in order of time; their texts are plain.
    """
    _write(path, cues, "WEBVTT\n", ".", escape=True)


def write_srt(path: Path, cues: Sequence[Cue]) -> None:
    """Writes SubRip.

    Args:
      path: the file.
      cues: in order of time; their texts are plain.
    """
    _write(path, cues, "", ",", escape=False)


def parse(path: Path) -> tuple[list[tuple[str, Cue]], list[str]]:
    """Reads subtitles of either format.

    Args:
      path: the file.

    Returns:
      Where each cue stands, with the cue; and what is wrong.

    Raises:
      UserError: no such file, or not text.
    """
    web = path.suffix.lower() == ".vtt"
    lines = table_files.read_text(path, "subtitles").splitlines()
    cues, problems, block = [], [], []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            block.append((number, line))
            continue
        texts = [text for _, text in block]
        at = next((index for index, text in enumerate(texts) if "-->" in text), None)
        if block and at is None:
            if not (web and texts[0].startswith(_NO_CUE)):
                problems.append(f"line {block[0][0]}: {cells.shown(texts[0])} is no subtitle; expected a line of times")
        elif block:
            where, found = f"line {block[at][0]}", _LINE.fullmatch(texts[at])
            text = cells.text(plain(_MARKUP.sub("", " ".join(texts[at + 1 :]))))
            begin, end = (_seconds(found.groups()[side : side + 4]) for side in (0, 4)) if found else (0.0, -1.0)
            if end < begin:
                problems.append(
                    f"{where}: expected times such as 00:01:02.500 --> 00:01:03.500; got {cells.shown(texts[at])}"
                )
            else:
                cues.append((where, Cue(begin, end, html.unescape(text) if web else text)))
        block = []
    return cues, problems


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return 3600 * hours + 60 * minutes + seconds + thousandths / 1000


def read(path: Path, what: str) -> Table:
    """Reads the expressions of one video; its name is that of the file.

    Args:
      path: the file.
      what: "predictions" or "ground truth", for messages.

    Returns:
      The table; it has scores if every text ends in one.

    Raises:
      UserError: all that is wrong with the file.
    """
    cues, problems = parse(path)
    problems += [f"{where}: has no text; expected an emotion" for where, cue in cues if not cue.text]
    errors.report(f"{path}", problems)
    video = ("", cells.text(path.stem))
    parts = [_SCORED.fullmatch(cue.text) for _, cue in cues]
    scored = all(parts)
    rows = [
        Row(where, video, Seconds(cue.begin), Seconds(cue.end), *((part[1], float(part[2])) if scored else (cue.text,)))
        for (where, cue), part in zip(cues, parts, strict=True)
    ]
    return predictions.make(path, what, [video], rows)
