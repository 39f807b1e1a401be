"""The timeline of a video (FEDN, Figure 6): annotated above, detected below.

Nothing overlaps: pictures and names are moved sideways as far as needed and tied to their bars by lines.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core.types import Detections, Events, VideoMeta
from fedn_jax.engine import decode
from fedn_jax.evaluation import matching
from fedn_jax.reports import figures, pages
from fedn_jax.reports.pages import PALETTE

# Sizes of a timeline, in the units of its drawing (CSS pixels unless it is squeezed).
WIDTH, LEFT, RIGHT = 960, 84, 16  # of the drawing; of the margins
PICTURE, LABEL, LETTER = 56, 17, 7.4  # side of a thumbnail; height of a line of text; width of a letter
BAR, AXIS, GAP = 16, 26, 16  # height of a bar, of the axis between the rows, of the leaders

# What became of a detection, or of an annotated expression -> (mark, words). The marks repeat what the colours say.
OUTCOMES = {
    "correct": ("✓", "spotted, right emotion"),
    "confused": ("≠", "spotted, wrong emotion"),
    "false": ("✗", "matches no annotated expression"),
    "found": ("", "annotated, spotted"),
    "missed": ("∅", "annotated, not spotted"),
}

COLOURS = {  # of shapes, in PALETTE; black otherwise
    "correct": "right", "confused": "wrong", "false": "wrong", "found": "truth", "missed": "truth", "track": "wash",
    "leader": "leader", "axis": "soft", "row": "soft", "dim": "soft", "name-correct": "right", "name-confused": "wrong",
    "name-false": "wrong",
}  # fmt: skip

Thumbnail = Callable[[str, str, list[int]], Sequence[np.ndarray] | None]


class Video(NamedTuple):
    """What the page shows of one video."""

    meta: VideoMeta
    events: Events  # [E] expressions that count
    detections: Detections  # [N] survivors of NMS
    threshold: float  # lowest score that counts


class Shape(NamedTuple):
    """A part of a timeline; the page and the figure draw the same ones."""

    kind: str  # "rect", "image", "line" or "text"
    look: str  # class of the page's style
    x: float
    y: float
    width: float = 0.0  # of a line: to its other end
    height: float = 0.0
    content: str = ""  # the text, or the image as a data URI


def _outcomes(classes: Sequence[str], word: str) -> dict[str, tuple[str, str]]:
    """Name of an outcome -> (mark, words); where there is one class, none can be wrong."""
    if len(classes) > 1:
        return {name: (mark, words.replace("emotion", word)) for name, (mark, words) in OUTCOMES.items()}
    return {name: row for name, row in OUTCOMES.items() if name != "confused"} | {"correct": ("✓", "spotted")}


def _spread(centres: Sequence[float], low: float, high: float, rows: int, slot: float) -> list[tuple[int, float]]:
    """Moves callouts of width ``slot`` sideways as far as needed for them not to overlap: (row, centre) of each.

    A row must have room for its callouts between the borders ``low`` and ``high``.
    """
    result: list[tuple[int, float]] = [(0, 0.0)] * len(centres)
    order = np.argsort(centres, kind="stable")
    for row in range(rows):
        members = order[row::rows]
        places = np.array([centres[i] for i in members], float)
        steps = slot * np.arange(len(members))
        # Non-decreasing gaps: push to the right, then back from the right border.
        places = np.maximum.accumulate(np.maximum(places, low + slot / 2) - steps) + steps
        limit = high - slot / 2 - steps[::-1]
        places = np.minimum(places, limit)
        places = np.minimum.accumulate((places - steps)[::-1])[::-1] + steps
        for i, place in zip(members, places, strict=True):
            result[i] = (row, float(place))
    return result


def _ticks(seconds: float) -> list[float]:
    """At most eleven round times in seconds for the axis, from 0."""
    steps = [m * 10.0**e for e in range(-2, 5) for m in (1, 2, 5)]
    step = next((s for s in steps if seconds / s <= 10), steps[-1])
    return [step * i for i in range(int(seconds / step + 1e-9) + 1)]


def _callouts(items: list[dict[str, Any]], scale: Callable[[float], float], slot: float) -> int:
    """Adds place and row to the items; returns the number of rows."""
    rows = -(-len(items) // int((WIDTH - LEFT - RIGHT) / slot))
    for item in items:
        item["x"], end = scale(item["onset"]), scale(item["offset"])
        item["width"] = max(end - item["x"], 2)
        item["middle"] = (item["x"] + end) / 2
    places = _spread([item["middle"] for item in items], LEFT, WIDTH - RIGHT, rows, slot)
    for item, (row, place) in zip(items, places, strict=True):
        item["row"], item["place"] = row, place
    return rows


def _items(video: Video, matched: np.ndarray, classes: Sequence[str], word: str) -> tuple[list[dict], list[dict]]:
    """(annotated expressions, counted detections) of a video, with what became of them."""
    events, found, fps = video.events, video.detections, video.meta.fps
    partner = {int(j): int(i) for i, j in enumerate(matched) if j >= 0}
    annotated, detected = [], []
    for j in np.flatnonzero(events.valid):
        onset, offset = (float(x) for x in events.interval[j])
        apex = float(events.apex[j]) if events.apex[j] >= 0 else (onset + offset - 1) / 2
        outcome = "found" if int(j) in partner else "missed"
        annotated.append({"onset": onset, "offset": offset, "apex": apex, "outcome": outcome})
        annotated[-1] |= {"name": classes[int(events.emotion[j])], "note": ""}
    score = np.asarray(found.score)
    for i in np.flatnonzero(matching.above(found, video.threshold).valid):
        onset, offset = (float(x) for x in found.interval[i])
        j = int(matched[i])
        right = j >= 0 and events.emotion[j] == found.emotion[i]
        outcome = "false" if j < 0 else "correct" if right else "confused"
        detected.append({"onset": onset, "offset": offset, "apex": (onset + offset - 1) / 2, "outcome": outcome})
        detected[-1] |= {"name": classes[int(found.emotion[i])], "note": f"{float(score[i]):.2f}"}
    for item in annotated + detected:
        item["short"] = item["name"] if len(item["name"]) <= 14 else item["name"][:13] + "…"
        item["mark"], item["words"] = _outcomes(classes, word)[item["outcome"]]
        item["frame"] = int(np.clip(round(item["apex"]), 0, video.meta.num_frames - 1))
        item["seconds"] = f"{item['onset'] / fps:.2f} to {item['offset'] / fps:.2f} s"
        edges = np.array([item["onset"], item["offset"]])
        first, last = decode.in_file(edges, video.meta.first_frame, video.meta.source)
        item["frames"] = f"frames {first} to {last}"
    return annotated, detected


def layout(
    video: Video,
    matched: np.ndarray,
    classes: Sequence[str],
    thumbnail: Thumbnail | None = None,
    word: str = "emotion",
) -> dict[str, Any]:
    """The timeline of one video.

    Args:
      video: the video.
      matched: [N] int32, of ``matching.matched`` on the detections that reach the threshold.
      classes: C emotion names.
      thumbnail: gives pictures of frames; see ``Thumbnail``.
      word: what a class is.

    Returns:
      Texts by name, and "drawing": (title, shapes) of every part of the timeline, which is WIDTH by "height".
    """
    meta = video.meta
    annotated, detected = _items(video, matched, classes, word)
    both = annotated + detected
    frames = sorted({item["frame"] for item in both})
    pictures = thumbnail(meta.subject, meta.video, frames) if thumbnail and frames else None
    small = () if pictures is None else (pages.jpeg(picture, 64, square=True) for picture in pictures)
    images = dict(zip(frames if pictures is not None else (), small, strict=True))
    for item in both:
        item["image"] = images.get(item["frame"])

    def scale(frame: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * frame / max(meta.num_frames, 1)

    slot = max(PICTURE + 10, LETTER * (2 + max(len(item["short"]) for item in both))) if both else PICTURE
    rows, below = (_callouts(items, scale, slot) for items in (annotated, detected))
    picture = PICTURE if images else 0
    height = picture + 2 * LABEL
    top = rows * height + (GAP if rows else 0)
    bottom = top + BAR + AXIS
    seconds = meta.num_frames / meta.fps
    drawing = [("", _axis(top, bottom, [(scale(t * meta.fps), f"{t:g}") for t in _ticks(seconds)]))]
    drawing += [_callout(item, top, -1, picture, height) for item in annotated]
    drawing += [_callout(item, bottom, 1, picture, height) for item in detected]
    return {
        "subject": meta.subject,
        "video": meta.video,
        "seconds": f"{seconds:.1f}",
        "frames": meta.num_frames,
        "threshold": f"{video.threshold:.2f}",
        "outcomes": _outcomes(classes, word),
        "word": word,
        "annotated": annotated,
        "detected": detected,
        "spotted": sum(item["outcome"] != "false" for item in detected),
        "correct": sum(item["outcome"] == "correct" for item in detected),
        "height": bottom + BAR + (GAP + below * height if below else 0) + 2,
        "drawing": drawing,
    }


def _axis(top: float, bottom: float, ticks: Sequence[tuple[float, str]]) -> list[Shape]:
    """The two empty rows at these heights, and (place, seconds) of the ticks between them."""
    shapes = []
    for name, y in (("annotated", top), ("detected", bottom)):
        shapes.append(Shape("rect", "track", LEFT, y, WIDTH - LEFT - RIGHT, BAR))
        shapes.append(Shape("text", "row", 0, y + 12, content=name))
    for index, (x, text) in enumerate(ticks):
        shapes.append(Shape("line", "axis", x, top + BAR, 0, 6))
        shapes.append(Shape("text", "dim", x, top + BAR + 18, content=text + ("" if index else " s")))
    return shapes


def _callout(item: Mapping[str, Any], y: float, side: int, picture: float, height: float) -> tuple[str, list[Shape]]:
    """A bar, its picture and its name; ``side`` -1: above the bar, 1: below."""
    edge = y if side < 0 else y + BAR
    base = edge + side * (GAP + height * item["row"])
    upper = base - picture if side < 0 else base
    near = upper - 6 if side < 0 else upper + picture + 13
    place, outcome = item["place"], item["outcome"]
    box = (place - picture / 2, upper, picture, picture)
    shapes = [Shape("line", "leader", item["middle"], edge, place - item["middle"], base - side - edge)]
    shapes.append(Shape("rect", outcome, item["x"], y, item["width"], BAR))
    if item["image"]:
        shapes.append(Shape("image", "", *box, item["image"]))
        shapes += [Shape("rect", f"{outcome} frame", *box)] if side > 0 else []
    shapes.append(Shape("text", f"name-{outcome}", place, near, content=f"{item['short']} {item['mark']}".strip()))
    shapes += [Shape("text", "dim", place, near + 14, content=item["note"])] if item["note"] else []
    score = f", score {item['note']}" if item["note"] else ""
    what = f"{'annotated' if side < 0 else 'detected'} {item['name']}{score}"
    return f"{what}, {item['seconds']}, {item['frames']}: {item['words']}", shapes


def figure(drawn: Mapping[str, Any]) -> Any:
    """The timeline of a video as a figure, with a legend below.

    Args:
      drawn: of ``layout``.

    Returns:
      A matplotlib figure as wide as a page.
    """
    legend, x = [], 1.0
    for name, row in drawn["outcomes"].items():
        text = " ".join(row).strip()
        legend.append(Shape("rect", name, x, drawn["height"] + 18, 22, 9))
        legend.append(Shape("text", "row", x + 27, drawn["height"] + 26, content=text))
        x += 41 + 5.9 * len(text)
    height = drawn["height"] + 34
    with figures.canvas(1, 1, figures.PAGE, figures.PAGE / WIDTH * height) as (drawing, (axis,)):
        drawing.set_layout_engine("none")
        axis.set_position((0, 0, 1, 1))
        axis.set(xlim=(0, WIDTH), ylim=(height, 0))
        axis.axis("off")
        for shape in (shape for _, shapes in [*drawn["drawing"], ("", legend)] for shape in shapes):
            _draw(axis, shape)
    return drawing


def _draw(axis: Any, shape: Shape) -> None:
    """Draws what the page draws with an element; what bars show by colour, they show by filling and pattern, too."""
    from matplotlib.patches import Rectangle
    from PIL import Image

    look, _, frame = shape.look.partition(" ")
    x, y, color = shape.x, shape.y, PALETTE[COLOURS.get(look, "ink")]
    if shape.kind == "text":  # in points: 10 % narrower per letter than LETTER, which the layout leaves room for
        side = "left" if look == "row" else "center"
        axis.text(x, y, figures.label(shape.content, 40), fontsize=5.8, ha=side, va="baseline", color=color)
    elif shape.kind == "line":
        axis.plot([x, x + shape.width], [y, y + shape.height], color=color, linewidth=0.5, zorder=0.5)
    elif shape.kind == "image":
        image = Image.open(io.BytesIO(base64.b64decode(shape.content.partition(",")[2])))
        extent = (x, x + shape.width, y + shape.height, y)
        axis.imshow(image, extent=extent, aspect="auto", interpolation="lanczos")
    else:
        filled = look in ("correct", "false", "found", "track")
        options = {"facecolor": "none" if frame else color if filled else "white", "linewidth": 1.2 if frame else 0.7}
        options |= {"linestyle": (0, (3, 2))} if look == "missed" else {}
        options |= {"hatch": "//////"} if look == "confused" and not frame else {}
        axis.add_patch(Rectangle((x, y), shape.width, shape.height, edgecolor=color, **options))
