"""The page on which a person looks at what was found in one video: the video, a timeline and a table, linked.

It is one HTML file that loads nothing: the video is inside, in pieces that a script of the page puts together. It draws
times and scores only; all names come from files that somebody else wrote, and the template escapes them. A second
script lets the person correct what was found, and save it as a table or an ELAN document, without a server.
"""

import base64
import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.formats import detection_files
from fedn_jax.formats.detection_files import Found
from fedn_jax.reports import pages
from fedn_jax.reports.pages import COLORS

PIECE = 3 << 20  # bytes of the video per script element: a multiple of 3, and far below what browsers allow a string
PICTURE = 112  # longest side of a thumbnail
POSTER = 480  # longest side of the picture in place of the video
WIDTH, HEIGHT = 1000, 40  # of the drawing of a curve, which the page stretches


def _clock(seconds: float) -> str:
    """A time in seconds as players show it, with hours from one hour on: 1:02.51, 1:00:00.00."""
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    text = f"{rest // 100:02d}.{rest % 100:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{text}" if minutes >= 60 else f"{minutes}:{text}"


def _outline(curve: np.ndarray) -> tuple[str, str]:
    """Line and area below a curve, [P] float in [0, 1], as paths of a drawing of WIDTH by HEIGHT; NaN interrupts."""
    there = np.isfinite(curve)
    x = (np.arange(len(curve)) + 0.5) * WIDTH / max(len(curve), 1)
    y = HEIGHT * (1 - np.clip(curve, 0, 1))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]])))
    line, area = [], []
    for start, stop in edges.reshape(-1, 2):  # [runs, 2]
        points = "L".join(f"{a:.2f} {b:.1f}" for a, b in zip(x[start:stop], y[start:stop], strict=True))
        line.append(f"M{points}")
        area.append(f"M{x[start]:.2f} {HEIGHT}L{points}L{x[stop - 1]:.2f} {HEIGHT}Z")
    return "".join(line), "".join(area)


def _items(found: Found, span: float, thumbnails: Sequence[np.ndarray] | None) -> list[dict[str, Any]]:
    """Texts and places of the expressions, in order of time."""
    # The longest lies below, so that each can be clicked.
    depth = np.argsort(np.argsort([one.begin - one.end for one in found.expressions], kind="stable"))
    hues = dict(zip(found.classes, range(len(found.classes)), strict=True))
    items = []
    for number, one in enumerate(found.expressions):
        length = max(one.end - one.begin, 1e-6)
        items.append(
            {
                "number": number,
                "frames": f"{one.onset} {one.apex} {one.offset}",
                "emotion": one.emotion,
                "hue": COLORS[hues[one.emotion] % len(COLORS)],
                "score": f"{one.score:.2f}",
                "begin": one.begin,
                "end": one.end,
                "left": 100 * one.begin / span,
                "width": 100 * length / span,
                "notch": min(max(100 * (one.peak - one.begin) / length, 0), 100),
                "depth": 1 + int(depth[number]),
                "words": f"{one.emotion}, score {one.score:.2f}, {_clock(one.begin)} to {_clock(one.end)}",
                "times": [
                    (_clock(time), frame)
                    for time, frame in ((one.begin, one.onset), (one.peak, one.apex), (one.end, one.offset))
                ],
                "image": pages.jpeg(thumbnails[number], PICTURE) if thumbnails else None,
            }
        )
    return items


def _strips(found: Found, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One strip of the timeline per emotion."""
    strips = []
    for index, (name, curve) in enumerate(zip(found.classes, found.curves, strict=True)):
        line, area = _outline(curve)
        members = [item for item in items if item["emotion"] == name]
        strips.append({"name": name, "hue": COLORS[index % len(COLORS)], "line": line, "area": area, "items": members})
    return strips


def _pieces(media: Path) -> Iterator[str]:
    """The video in base64, in pieces."""
    with media.open("rb") as file:
        while piece := file.read(PIECE):
            yield base64.b64encode(piece).decode()


def write(
    path: Path,
    found: Found,
    media: Path | None,
    mime: str,
    thumbnails: Sequence[np.ndarray] | None = None,
    poster: np.ndarray | None = None,
) -> None:
    """Writes the page, whole or not at all.

    Args:
      path: the HTML file.
      found: what was found.
      media: a video that browsers play, with the same clock as ``found``; None: the page does without.
      mime: type of the video, such as "video/mp4".
      thumbnails: [h, w, 3] uint8, the apex of each expression, in their order; None: the page does without.
      poster: [h, w, 3] uint8, shown until the video plays, or instead of it.

    Raises:
      UserError: there is no such video, or not one thumbnail per expression.
    """
    if media is not None and not media.is_file():
        raise UserError(f"{media}: no such file; expected a video that browsers play")
    if thumbnails is not None:
        if len(thumbnails) != len(found.expressions):
            raise UserError(f"thumbnails must be {len(found.expressions)}, one per expression; got {len(thumbnails)}")
        order = sorted(range(len(thumbnails)), key=lambda index: found.expressions[index].onset)
        thumbnails = [thumbnails[index] for index in order]
    found = detection_files.checked(found)
    span = max([found.seconds, 1e-3, *(one.end for one in found.expressions)])
    items = _items(found, span, thumbnails)
    gaps = [(100 * begin / span, 100 * (end - begin) / span) for begin, end in found.gaps]
    finite = found.curves[np.isfinite(found.curves)]
    mark = secrets.token_hex(16)  # where the video goes; no name can hold it
    page = pages.render(
        "viewer.html.j2",
        found=found,
        noun=detection_files.NOUNS[found.label],
        span=span,
        items=items,
        strips=_strips(found, items),
        gaps=gaps,
        faceless=sum(end - begin for begin, end in found.gaps),
        highest=float(finite.max()) if finite.size else None,
        line_y=HEIGHT * (1 - min(max(found.threshold, 0), 1)),
        size=(WIDTH, HEIGHT),
        length=_clock(found.seconds),
        about=[(key, [value]) for key, value in found.about.items()],
        media=mark if media else None,
        poster=None if poster is None else pages.jpeg(poster, POSTER),
        file=detection_files.plain(found.path.name),
        clock=json.dumps(found.clock or [(0, 0.0, 1 / found.fps)]),
        mime=detection_files.plain(mime),
    )
    with files.replacing(path) as part, part.open("w", encoding="utf-8") as file:
        before, _, after = page.partition(mark)
        file.write(before)
        for number, piece in enumerate(_pieces(media) if media else ()):
            file.write('</script><script class="media" type="text/plain">' if number else "")
            file.write(piece)
        file.write(after)
