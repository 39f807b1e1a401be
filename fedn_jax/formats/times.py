"""Times as people write them.

A file may say when something happens as a frame, a whole number, or as a time: ``0:12.5``, ``1:02:03``, ``12.5 s``, or
a number in a column of seconds. A time is kept as ``Seconds`` until the clock of its video is known (``clocks``).
"""

import re
from collections.abc import Mapping

from fedn_jax.formats import cells

_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{2}(?:[.,][0-9]{1,9})?)")
_UNIT = re.compile(r"(.*[0-9.,])\s*(?:s|sec|seconds?)", re.IGNORECASE)
SECONDS = {"onset": "onset_seconds", "offset": "offset_seconds"}  # columns for where there are no frames
LATEST = 1e7  # seconds: four months


class Seconds(float):
    """A time from the start of a video, where others have the number of a frame."""


def parse(text: str, comma: bool = False) -> Seconds | None:
    """A cell as a time.

    Args:
      text: of the cell.
      comma: the comma may be the decimal sign.

    Returns:
      The time; None where it is not one. A number without a unit is none: it may be a frame.

    >>> parse("0:12.5"), parse("1:02:03"), parse("12.5 s"), parse("12.5"), parse("0:75")
    (12.5, 3723.0, 12.5, None, None)
    """
    if found := _CLOCK.fullmatch(text.strip()):
        hours, minutes, seconds = int(found[1] or 0), int(found[2]), float(found[3].replace(",", "."))
        fits = seconds < 60 and (minutes < 60 or not found[1])
        return _within(3600 * hours + 60 * minutes + seconds) if fits else None
    found = _UNIT.fullmatch(text.strip())
    return number(found[1].strip(), comma) if found else None


def number(text: str, comma: bool = False) -> Seconds | None:
    """A cell of a column of seconds.

    Args:
      text: of the cell.
      comma: the comma may be the decimal sign.

    Returns:
      The time; None where it is not a number from 0 to ``LATEST``.
    """
    value = cells.real(text, comma)
    return None if value is None else _within(value)


def _within(value: float) -> Seconds | None:
    return Seconds(value) if 0 <= value <= LATEST else None


def shown(seconds: float) -> str:
    """A time as people write it.

    Args:
      seconds: at least 0.

    Returns:
      Such as 0:12.500 or 1:02:03.000.

    >>> shown(12.5), shown(3723)
    ('0:12.500', '1:02:03.000')
    """
    minutes, rest = divmod(round(1000 * seconds), 60000)
    text = f"{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{text}" if minutes >= 60 else f"{minutes}:{text}"


def milliseconds(begin: float, end: float) -> tuple[int, int]:
    """An interval for formats that count milliseconds.

    Args:
      begin: seconds.
      end: seconds.

    Returns:
      Both, at least one millisecond apart.
    """
    first = max(round(1000 * begin), 0)
    return first, max(round(1000 * end), first + 1)


def ends(
    row: Mapping[str, str], names: Mapping[str, str], comma: bool, largest: int
) -> tuple[int | Seconds | None, int | Seconds | None, list[str]]:
    """Where a row begins and ends.

    Args:
      row: our name of a column -> text; onset_seconds and offset_seconds count where onset and offset are empty.
      names: our name -> the file's, for messages.
      comma: the comma may be the decimal sign.
      largest: frame number that is accepted.

    Returns:
      Onset, offset (None where they are not given, or wrong), and what is wrong.
    """
    edges: dict[str, int | Seconds | None] = dict.fromkeys(SECONDS)
    of_seconds = not row["onset"] and not row["offset"]
    texts = {name: row.get(SECONDS[name], "") if of_seconds else row[name] for name in SECONDS}
    named = SECONDS if of_seconds else names
    found = []
    for name, text in texts.items():
        edges[name] = number(text, comma) if of_seconds else cells.whole(text, comma)
        edges[name] = parse(text, comma) if edges[name] is None else edges[name]
        if text and edges[name] is None:
            expected = "a time in seconds" if of_seconds else "a whole number"
            found.append(f"{named[name]} must be {expected}; got {cells.shown(text)} (times are written as 0:12.5)")
        elif not isinstance(edges[name], Seconds) and abs(edges[name] or 0) > largest:
            found.append(f"{named[name]} must be at most {largest} away from 0; got {cells.shown(text)}")
    onset, offset = edges.values()
    empty = [named[name] for name, text in texts.items() if not text]
    if len(empty) == 1:
        other = next(named[name] for name, text in texts.items() if text)
        found.append(f"{empty[0]} is empty, but {other} is not")
    elif not found and isinstance(onset, Seconds) != isinstance(offset, Seconds):
        found.append("one end is a frame and the other a time; expected both in one way")
    elif not found and onset is not None and offset < onset:
        found.append(f"{named['offset']} {texts['offset']} is before {named['onset']} {texts['onset']}")
    return onset, offset, found


def only_expressions(row: Mapping[str, str]) -> dict[str, str]:
    """A row of a table that has a column ``what``, as ``fedn detect`` writes it for all videos.

    Args:
      row: our name of a column -> text.

    Returns:
      The row; of one that is about a video, or a stretch without a face, only subject and video.
    """
    if row.get("what", "") in ("", "expression"):
        return dict(row)
    return {name: text if name in ("subject", "video") else "" for name, text in row.items()}
