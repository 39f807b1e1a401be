"""The page of a run: numbers beside those of what learns nothing, tables, figures, and a timeline of each video."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax import models
from fedn_jax.core.text import count, percent
from fedn_jax.evaluation import headline, matching, run_evaluation
from fedn_jax.experiments import published
from fedn_jax.reports import figures, pages, run_tables, timeline
from fedn_jax.reports.pages import Chart
from fedn_jax.reports.timeline import Thumbnail, Video

FOLDED = {  # table -> what unfolds it
    "protocols": "The same detections, counted by other rules of the field",
    "leaks": "What leaks are worth: the same detections, with choices on test labels and lenient counting",
}
NAMELESS = "This run tells no emotions apart, so recognition and detection mAP do not exist."
POOLED = "The rows of all subjects sum TP, N and GT; they are not means of the rows above."
READING = (
    "Above the axis, what was annotated; below, what was detected with at least the score threshold of the fold. The "
    "pictures show the apex: the annotated one, or the middle of the interval. Numbers are scores. Point at a bar for "
    "its times."
)
UNTRAINED = "The numbers below say that the software runs, and nothing about how well the method works."


class Timelines(NamedTuple):
    """The timelines of all videos, as an item of a page."""

    subjects: list[dict[str, Any]]  # numbers of a subject, and its "videos", of ``timeline.layout``
    outcomes: dict[str, tuple[str, str]]  # of ``timeline.layout``
    total: int  # videos
    width: int  # of a drawing


def timelines(
    metrics: Mapping[str, Any], videos: Sequence[Video], classes: Sequence[str], thumbnail: Thumbnail | None = None
) -> list[dict[str, Any]]:
    """Where everything lies on the timelines.

    Args:
      metrics: content of metrics.json; its "iou" is that of a match.
      videos: V videos.
      classes: C emotion names.
      thumbnail: gives pictures of frames; see ``timeline.Thumbnail``.

    Returns:
      V times what ``timeline.layout`` gives.
    """
    if not videos:
        return []
    counted = matching.above(
        matching.pad([video.detections for video in videos]), np.array([video.threshold for video in videos])
    )
    matched = matching.matched(counted, matching.pad([video.events for video in videos]), metrics.get("iou", 0.5))
    word = headline.worded(metrics, "emotion")
    return [timeline.layout(video, matched[i], classes, thumbnail, word) for i, video in enumerate(videos)]


def _subjects(drawn: Sequence[dict[str, Any]], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Timelines by subject, in the order of the table of subjects."""
    groups = {row["subject"]: {**row, "videos": []} for row in metrics["per_subject"]}
    for video in drawn:
        groups[video["subject"]]["videos"].append(video)
    return [row | {"id": f"subject-{index}"} for index, row in enumerate(groups.values())]


def _about(metrics: Mapping[str, Any], total: int, classes: Sequence[str]) -> str:
    """What the run was judged on, and what its network saw."""
    many = (count(total, "video"), count(len(metrics["per_subject"]), "subject"))
    text = f"{' of '.join(many)}, {count(metrics['spotting']['gt'], 'annotated expression')}, "
    text += f"{count(len(classes), 'class', 'classes')} ({', '.join(map(str, classes))})."
    if side := _side(metrics):
        text += f" Input: aligned frames of {side} pixels."
    elif backbone := (metrics.get("data") or {}).get("backbone"):
        text += f" Features: {backbone}."
    if cascade := metrics.get("cascade"):
        text += f" A cascade: intervals, scores and thresholds are those of the spotter, {cascade['spotter']}; the "
        text += f"emotions are those of the recogniser {cascade['recogniser']}."
    return text


def _lead(metrics: Mapping[str, Any], baselines: Mapping[str, Any]) -> str:
    """What was found, and whether it is more than what learns nothing finds."""
    found = metrics["spotting"]
    text = f"The network spots {found['tp']} of {count(found['gt'], 'expression')} with "
    text += count(found["n"], "detection")
    if found["f1"] is None:
        return f"{text}: nothing is annotated and nothing is found, so there is no spotting F1."
    text += f": a spotting F1 of {percent(found['f1'])} %"
    judged = {title: one["spotting"]["f1"] for title, one in baselines.items() if one["spotting"]["f1"] is not None}
    if not judged:
        return f"{text}."
    best = max(judged, key=judged.__getitem__)
    other = f"the {best.lower()}, which learns nothing of faces"
    if found["f1"] > judged[best]:
        return f"{text}, against {percent(judged[best])} % of {other}."
    return f"{text}, no better than {other} and reaches {percent(judged[best])} %."


def _baselines(metrics: Mapping[str, Any], baselines: Mapping[str, Any]) -> list[str]:
    """What the grey numbers of the baselines are."""
    if not baselines:
        return []
    text = "Grey: what looks at no expression. "
    if flow := baselines.get("Flow baseline"):
        threshold = (flow.get("definition") or {}).get("threshold", "its threshold is not known")
        text += "The flow baseline marks the times at which regions of the face are away from their rest, by optical "
        text += f"flow; {threshold}. "
    text += "The position prior marks the place in a video where the expressions of the training videos usually lie. "
    name = "Both name" if len(baselines) > 1 else "It names"
    return [headline.worded(metrics, f"{text}{name} the most frequent emotion of the training videos.")]


def _charts(metrics: dict[str, Any], baselines: Mapping[str, Any], history: Sequence[dict[str, Any]]) -> list[Chart]:
    coco = (metrics.get("definition") or {}).get("coco", "")
    caption = (
        f"101-point: {coco}, over all detections that survive NMS. The mAP above is the mean of a curve. Spotting "
        "ignores the emotion; detection averages over the emotions."
    )
    curves = figures.curves({"network": metrics} | baselines)
    charts = [figures.chart(curves, "Average precision against the IoU threshold", headline.worded(metrics, caption))]
    if losses := figures.training(history):
        caption = (
            "Training: mean of the folds (line) and their range (shade), per epoch. No epoch was chosen on test labels."
        )
        charts.append(figures.chart(losses, "What training reported per epoch", caption))
    return charts


def write(
    out: Path,
    metrics: dict[str, Any],
    videos: Sequence[Video],
    classes: Sequence[str],
    history: Sequence[dict[str, Any]] = (),
    thumbnail: Thumbnail | None = None,
) -> Path:
    """Writes ``report.html``.

    Args:
      out: directory; made if missing.
      metrics: of ``all_metrics.evaluate_detections``; "baselines" (each with the same keys), "config", "versions",
        "data" and "thresholds" are shown if they are there.
      videos: V videos.
      classes: C emotion names.
      history: what training reported, one dict per epoch and group of folds.
      thumbnail: (subject, video, frame indices from 0) -> [H, W, 3] uint8 pictures, or None if there are none.

    Returns:
      Path of the page.
    """
    baselines = headline.baselines(metrics)
    drawn = timelines(metrics, videos, classes, thumbnail)
    table = run_tables.page_tables(metrics, classes)
    ours = headline.numbers(metrics)
    theirs = {title: headline.numbers(one) for title, one in baselines.items()}
    meaning = {row[0].text: row[-1].text for row in table["numbers"].groups[0][1]}
    recognises, charts = headline.recognises(metrics), _charts(metrics, baselines, history)
    order = f"{headline.MAP_ORDER}." if recognises else NAMELESS
    folded = [(title, table[name]) for name, title in FOLDED.items() if table[name].groups[0][1]]
    shown = Timelines(_subjects(drawn, metrics), drawn[0]["outcomes"], len(drawn), timeline.WIDTH) if drawn else None
    untrained = published.untrained(metrics)
    return pages.write(
        out / "report.html", "Facial expression detection", _about(metrics, len(drawn), classes),
        [
            ("", [*_baselines(metrics, baselines), headline.worded(metrics, order)]),
            (table["numbers"].title, [table["numbers"]]),
            *((table[name].title, [table[name]]) for name in ("kinds", "labels") if metrics.get("kinds")),
            ("Other ways to count", [folded] * bool(folded)),
            ("Subjects", [table["per_subject"], POOLED]),
            (table["emotions"].title, [table["emotions"], table["confusion"]] * recognises),
            (f"Average precision against IoU{', and training' * (len(charts) > 1)}", charts),
            ("Timelines", [READING, shown] if shown else []),
            ("How this was made", [pages.made(metrics)]),
        ],
        template="report.html.j2",
        lead=_lead(metrics, baselines),
        warning=("Features of an untrained network:", f"{untrained}. {UNTRAINED}") if untrained else (),
        footer="Every number, unrounded: metrics.json.",
        cards=[
            (one, ours[name], {title: row[name] for title, row in theirs.items()}, meaning[one.title])
            for name, one in headline.NUMBERS.items()
            if name in headline.SHARES
        ],
    )  # fmt: skip


def _side(metrics: Mapping[str, Any]) -> int:
    """Pixels of the frames that the network of a run reads; 0: it reads features."""
    config, data = metrics.get("config") or {}, metrics.get("data") or {}
    frames = config.get("task") in models.TASKS and models.TASKS[config["task"]].frames
    return (config["data"]["side"] or data["frames"]["size"]) if frames else 0


def videos(results: run_evaluation.Results) -> list[Video]:
    """What pages show of each video.

    Args:
      results: of ``evaluate_run``.

    Returns:
      V videos.
    """
    problem = results.problem
    rows = zip(problem.metas, problem.events, results.detections, results.thresholds, strict=True)
    return [Video(*row) for row in rows]
