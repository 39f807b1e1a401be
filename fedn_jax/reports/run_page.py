"""The page of a run: numbers beside those of what learns nothing, tables, figures, and a timeline of each video."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax import models
from fedn_jax.core import files
from fedn_jax.evaluation import headline, matching, run_evaluation
from fedn_jax.experiments import published
from fedn_jax.reports import figures, pages, run_tables, timeline
from fedn_jax.reports.timeline import Thumbnail, Video


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
      metrics: of ``evaluate.evaluate_detections``; "baselines" (each with the same keys), "config", "versions",
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
    several = run_tables.page_tables(metrics, classes)
    ours = headline.numbers(metrics)
    theirs = {title: headline.numbers(one) for title, one in baselines.items()}
    meaning = {row[0].text: row[-1].text for row in several["numbers"].groups[0][1]}
    curves = figures.curves({"network": metrics} | baselines)
    losses = figures.training(history)
    page = pages.render(
        "report.html.j2",
        metrics=metrics,
        baselines=baselines,
        best=max(baselines, key=lambda title: baselines[title]["spotting"]["f1"] or 0, default=None),
        recognises=headline.recognises(metrics),
        value=lambda path: headline.value(metrics, path),
        map_order=headline.worded(metrics, headline.MAP_ORDER),
        word=headline.worded(metrics, "emotion"),
        definition={key: headline.worded(metrics, text) for key, text in (metrics.get("definition") or {}).items()},
        side=_side(metrics),
        ties=run_tables.ties_notes(metrics),
        **several,
        cards=[
            (one, ours[name], {title: row[name] for title, row in theirs.items()}, meaning[one.title])
            for name, one in headline.NUMBERS.items()
            if name in headline.SHARES
        ],
        subjects=_subjects(drawn, metrics),
        total=len(drawn),
        classes=classes,
        curve=figures.uri(curves),
        training=figures.uri(losses) if losses else None,
        outcomes=drawn[0]["outcomes"] if drawn else {},
        width=timeline.WIDTH,
        made=pages.made(metrics),
        untrained=published.untrained(metrics),
    )
    files.write_text(out / "report.html", page)
    return out / "report.html"


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
