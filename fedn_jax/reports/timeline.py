"""Where everything lies on the timeline of a video (FEDN, Figure 6): annotated above, detected below.

The template draws it; here are the numbers. Nothing overlaps: pictures and names are moved sideways as far as needed
and tied to their bars by lines.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core.types import Detections, Events, VideoMeta
from fedn_jax.evaluation import matching
from fedn_jax.ops import intervals
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

COLOURS = {"correct": "right", "confused": "wrong", "false": "wrong", "found": "truth", "missed": "truth"}  # of PALETTE
FILLED = ("correct", "false", "found")

Thumbnail = Callable[[str, str, list[int]], Sequence[np.ndarray] | None]


class Video(NamedTuple):
    """What the page shows of one video."""

    meta: VideoMeta
    events: Events  # [E] expressions that count
    detections: Detections  # [N] survivors of NMS
    threshold: float  # lowest score that counts


def outcomes(classes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What can become of a detection, or of an annotated expression.

    Args:
      classes: C emotion names; with one of them none can be wrong.

    Returns:
      Name -> (mark, words).
    """
    if len(classes) > 1:
        return OUTCOMES
    return {name: row for name, row in OUTCOMES.items() if name != "confused"} | {"correct": ("✓", "spotted")}


def spread(centres: Sequence[float], low: float, high: float, rows: int, slot: float) -> list[tuple[int, float]]:
    """Moves callouts sideways as far as needed for them not to overlap.

    Args:
      centres: where they would like to be.
      low: left border.
      high: right border; a row must have room for its callouts.
      rows: rows to spread them over.
      slot: width of a callout.

    Returns:
      (row, centre) of each, in the order of ``centres``.
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


def ticks(seconds: float) -> list[float]:
    """Round times for the axis.

    Args:
      seconds: length of the video.

    Returns:
      At most eleven times, from 0.
    """
    steps = [m * 10.0**e for e in range(-2, 5) for m in (1, 2, 5)]
    step = next((s for s in steps if seconds / s <= 10), steps[-1])
    return [step * i for i in range(int(seconds / step + 1e-9) + 1)]


def _callouts(items: list[dict[str, Any]], scale: Callable[[float], float], slot: float) -> int:
    """Adds place and row to the items; returns the number of rows."""
    rows = -(-len(items) // int((WIDTH - LEFT - RIGHT) / slot))
    for item in items:
        item["x"], item["end"] = scale(item["onset"]), scale(item["offset"])
        item["width"] = max(item["end"] - item["x"], 2)
        item["middle"] = (item["x"] + item["end"]) / 2
    places = spread([item["middle"] for item in items], LEFT, WIDTH - RIGHT, rows, slot)
    for item, (row, place) in zip(items, places, strict=True):
        item["row"], item["place"] = row, place
    return rows


def _items(video: Video, matched: np.ndarray, classes: Sequence[str]) -> tuple[list[dict], list[dict]]:
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
        item["mark"], item["words"] = outcomes(classes)[item["outcome"]]
        item["frame"] = int(np.clip(round(item["apex"]), 0, video.meta.num_frames - 1))
        item["seconds"] = f"{item['onset'] / fps:.2f} to {item['offset'] / fps:.2f} s"
        edges = np.array([item["onset"], item["offset"]])
        first, last = intervals.inclusive(edges, video.meta.first_frame, video.meta.source)
        item["frames"] = f"frames {first} to {last}"
    return annotated, detected


def layout(
    video: Video, matched: np.ndarray, classes: Sequence[str], thumbnail: Thumbnail | None = None
) -> dict[str, Any]:
    """Everything that the template draws of one video.

    Args:
      video: the video.
      matched: [N] int32, of ``matching.matched`` on the detections that reach the threshold.
      classes: C emotion names.
      thumbnail: gives pictures of frames; see ``Thumbnail``.

    Returns:
      Texts, positions and sizes by name.
    """
    meta = video.meta
    annotated, detected = _items(video, matched, classes)
    both = annotated + detected
    frames = sorted({item["frame"] for item in both})
    pictures = thumbnail(meta.subject, meta.video, frames) if thumbnail and frames else None
    images = (
        dict(zip(frames, (pages.jpeg(picture, 64, square=True) for picture in pictures), strict=True))
        if pictures is not None
        else {}
    )
    for item in both:
        item["image"] = images.get(item["frame"])

    def scale(frame: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * frame / max(meta.num_frames, 1)

    slot = max(PICTURE + 10, LETTER * (2 + max(len(item["short"]) for item in both))) if both else PICTURE
    rows, below = (_callouts(items, scale, slot) for items in (annotated, detected))
    height = (PICTURE if images else 0) + 2 * LABEL
    top = rows * height + (GAP if rows else 0)  # of the annotated bars
    seconds = meta.num_frames / meta.fps
    return {
        "subject": meta.subject,
        "video": meta.video,
        "seconds": f"{seconds:.1f}",
        "frames": meta.num_frames,
        "threshold": f"{video.threshold:.2f}",
        "outcomes": outcomes(classes),
        "annotated": annotated,
        "detected": detected,
        "spotted": sum(item["outcome"] != "false" for item in detected),
        "correct": sum(item["outcome"] == "correct" for item in detected),
        "ticks": [{"x": scale(t * meta.fps), "text": f"{t:g}"} for t in ticks(seconds)],
        "top": top,
        "bottom": top + BAR + AXIS,  # of the detected bars
        "height": top + 2 * BAR + AXIS + (GAP + below * height if below else 0) + 2,
        "callout": height,
        "picture": PICTURE if images else 0,
    }


def figure(drawn: Mapping[str, Any]) -> Any:
    """The timeline of a video (Figure 6 of the paper): annotated above, detected below.

    Args:
      drawn: of ``layout``.

    Returns:
      A matplotlib figure as wide as a page.
    """
    from matplotlib.patches import Rectangle

    scale, legend = figures.PAGE / WIDTH, 34
    small = 5.8  # points: 10 % narrower per letter than LETTER, which the layout leaves room for
    with figures.style():
        drawing, (axis,) = figures.subplots(1, 1, figures.PAGE, scale * (drawn["height"] + legend))
        drawing.set_layout_engine("none")
        axis.set_position((0, 0, 1, 1))
        axis.set(xlim=(0, WIDTH), ylim=(drawn["height"] + legend, 0))
        axis.axis("off")

        def write(x: float, y: float, text: str, **options: Any) -> None:
            axis.text(x, y, text, **({"fontsize": small, "ha": "center", "va": "baseline"} | options))

        for name, y in (("annotated", drawn["top"]), ("detected", drawn["bottom"])):
            right = WIDTH - LEFT - RIGHT
            axis.add_patch(Rectangle((LEFT, y), right, BAR, color=PALETTE["wash"], linewidth=0))
            write(0, y + 12, name, ha="left", color=figures.SOFT, fontsize=6)
        for index, tick in enumerate(drawn["ticks"]):
            below = drawn["top"] + BAR
            axis.plot([tick["x"]] * 2, [below, below + 6], color=figures.SOFT, linewidth=0.5)
            write(tick["x"], below + 18, tick["text"] + ("" if index else " s"), color=figures.SOFT)
        for item in drawn["annotated"]:
            _callout(axis, write, item, drawn["top"], -1, drawn)
        for item in drawn["detected"]:
            _callout(axis, write, item, drawn["bottom"], 1, drawn)
        x = 1.0
        for name, (mark, words) in drawn["outcomes"].items():
            axis.add_patch(Rectangle((x, drawn["height"] + 18), 22, 9, **_look(name)))
            text = f"{mark} {words}".strip()
            write(x + 27, drawn["height"] + 26, text, ha="left", color=figures.SOFT)
            x += 41 + 5.9 * len(text)
    return drawing


def _look(outcome: str) -> dict[str, Any]:
    """How a bar shows what became of it: by colour, by filling, and by its pattern."""
    color = PALETTE[COLOURS[outcome]]
    if outcome in FILLED:
        return {"facecolor": color, "edgecolor": color, "linewidth": 0.7}
    extra = {"hatch": "//////"} if outcome == "confused" else {"linestyle": (0, (3, 2))}
    return {"facecolor": "white", "edgecolor": color, "linewidth": 0.7} | extra


def _callout(axis: Any, write: Any, item: Mapping[str, Any], y: float, side: int, drawn: Mapping[str, Any]) -> None:
    """A bar, its picture and its name; ``side`` -1: above the bar, 1: below."""
    from matplotlib.patches import Rectangle
    from PIL import Image

    picture, color = drawn["picture"], figures.INK if side < 0 else PALETTE[COLOURS[item["outcome"]]]
    edge = y if side < 0 else y + BAR
    base = edge + side * (GAP + drawn["callout"] * item["row"])
    axis.plot([item["middle"], item["place"]], [edge, base - side], color=PALETTE["leader"], linewidth=0.5, zorder=0.5)
    axis.add_patch(Rectangle((item["x"], y), item["width"], BAR, **_look(item["outcome"])))
    if item["image"]:
        image = Image.open(io.BytesIO(base64.b64decode(item["image"].partition(",")[2])))
        left, top = item["place"] - picture / 2, base - picture if side < 0 else base
        axis.imshow(image, extent=(left, left + picture, top + picture, top), aspect="auto", interpolation="lanczos")
        if side > 0:
            frame = _look(item["outcome"]) | {"facecolor": "none", "hatch": None, "linewidth": 1.2}
            axis.add_patch(Rectangle((left, top), picture, picture, **frame))
    near = base - picture - 6 if side < 0 else base + picture + 13
    write(item["place"], near, f"{figures.label(item['short'], 14)} {item['mark']}".strip(), color=color)
    if side > 0:
        write(item["place"], near + 14, item["note"], color=figures.SOFT)
