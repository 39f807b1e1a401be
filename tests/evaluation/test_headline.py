"""When a number of a run exists: one rule, whatever shows it."""

import csv
import html
import io
import re

import fakes
import numpy as np
import pytest

from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Detections, Events, VideoMeta
from fedn_jax.evaluation import all_metrics, headline, matching
from fedn_jax.experiments import comparison
from fedn_jax.reports import published_table, run_page, run_tables, tables, timeline


def test_six_numbers():
    assert list(headline.numbers(fakes.make_metrics()).values()) == [8, 13, pytest.approx(2 / 3), 0.75, 0.1, 0.05]
    assert headline.value(fakes.make_metrics(), "recognition/macro_f1") == 0.5
    assert headline.value(fakes.make_metrics(), "not/there") is None


def test_without_true_positives_nothing_was_recognised():
    nothing = fakes.make_metrics({"a": (0, 1, 2), "b": (0, 0, 1)})
    assert headline.numbers(nothing)["f1_r"] is None and headline.numbers(nothing)["f1_s"] == 0
    assert headline.numbers(nothing)["map_d"] == 0.05


SPOTTING_ONLY = [
    fakes.make_metrics(changes={"data.recognition": False}),
    fakes.make_metrics(classes=["expression"], changes={"data.recognition": False}),
    fakes.make_metrics(classes=["expression"]),  # one class cannot be wrong
]


@pytest.mark.parametrize("metrics", SPOTTING_ONLY)
def test_a_spotter_has_no_emotions(metrics):
    found = headline.numbers(metrics)
    assert found["f1_r"] is found["map_d"] is None and found["f1_s"] > 0 and found["map_s"] == 0.1
    assert not headline.recognises(metrics) and headline.accuracy(metrics, metrics["per_subject"][0]) is None
    assert headline.value(metrics, "recognition/macro_f1") is None


def spotter():
    """A run of spotting only, evaluated: every detection that matches has the right one of one emotion."""
    interval = np.array([[0, 10], [20, 30]], np.float32)
    true = Events(interval, interval[:, 0], np.zeros(2, int), np.zeros(2, int), np.ones(2, bool))
    found = Detections(interval, np.array([0.9, 0.8], np.float32), np.zeros(2, int), np.ones(2, bool))
    videos = [timeline.Video(VideoMeta(name, "v", 60, 30.0, 1, 0, 60), true, found, 0.5) for name in ("s1", "s2")]
    padded = [matching.pad([getattr(video, part) for video in videos]) for part in ("detections", "events")]
    metrics = all_metrics.evaluate_detections(*padded, ["s1", "s2"], ["expression"], 0.5)
    config = fakes.make_metrics(changes={"data.recognition": False})["config"]
    return metrics | {"config": config, "baselines": {"flow": metrics}, "data": fakes.make_metrics()["data"]}, videos


def test_a_baseline_of_another_version_is_refused():
    with pytest.raises(UserError, match="has the baseline 'motion'; expected flow, position"):
        headline.baselines(fakes.make_metrics() | {"baselines": {"motion": fakes.make_metrics()}})


def test_a_spotter_shows_a_dash_everywhere(tmp_path):
    metrics, videos = spotter()
    assert metrics["recognition"]["accuracy"] == 1 and metrics["map"]["coco"]["detection"] == 1
    rows = [line.split() for line in run_tables.run_text(metrics).splitlines()]
    for name in ("s1", "All", "Flow", "101-point", "all-point"):  # in the terminal
        shown = [row for row in rows if row and row[0] == name]
        assert shown and all(row[-1] == "–" for row in shown), name
    for table in (run_tables.subjects({"": metrics}), published_table.results({"": metrics})):  # as files
        head, *rest = csv.reader(io.StringIO(tables.FORMATS["csv"](table)))
        judged = [index for index, title in enumerate(head) if title.startswith(("Recognition", "F1 R", "mAP D ("))]
        assert judged and rest and all(row[index] == "" for row in rest for index in judged)
    run = comparison.Run("a", {"data.recognition": False}, {}, metrics, [])
    (row,) = comparison.compare([run])["rows"]
    assert [cell["text"] for cell in row["cells"]] == ["100.0", "–", "100.0", "–"]
    assert [cell["interval"] is None for cell in row["cells"]] == [False, True, True, True]
    page = run_page.write(tmp_path, metrics, videos, ["expression"]).read_text()  # on the page
    text = " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())
    for title in ("Recognition accuracy", "Recognition macro-F1", "Detection mAP", "Detection mAP, all-point"):
        assert f"{title} – –" in text, title
    assert "tells no emotions apart" in text and "right emotion" not in text.replace(
        "with the right emotion, averaged", ""
    )


def test_csv_files_with_one_emotion():
    metrics, _ = spotter()
    whole = metrics | {"threshold": None, "kind": "all", "by_kind": None, "notes": [], "config": None, "baselines": {}}
    whole["definition"] = metrics["definition"] | {"protocol": "a rule", "by_kind": ""}
    lines = [
        line for line in run_tables.csv_text(whole).splitlines() if line.startswith(("All subjects", "101-point "))
    ]
    assert len(lines) == 2 and all(line.endswith("–") for line in lines)
