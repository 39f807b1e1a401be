"""The page and the terminal table."""

import html
import json
import re

import fakes
import numpy as np
import pytest
from fakes import Resources

from fedn_jax.core.text import DASH, percent
from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import ties
from fedn_jax.experiments import published
from fedn_jax.models.fesnet import presets
from fedn_jax.reports import pages, run_page, run_tables, tables

EVIL = "<script>alert('x')</script>\"&\x1b[31m"
CLASSES = ["happiness", "anger", EVIL]


def evaluated(videos):
    return fakes.evaluated(videos, CLASSES)


def tied(metrics):
    """As if all scores were equal."""
    return metrics | {"map": ties.blank(metrics["map"])}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    videos = [fakes.video(subject, f"{name}.mp4", rng) for subject in ("s1", EVIL, "s3") for name in ("a", EVIL)]
    result = evaluated(videos)
    quiet = [one._replace(detections=one.detections._replace(valid=np.zeros(4, bool))) for one in videos]
    extras = {
        "baselines": {"flow": evaluated(quiet), "position": tied(evaluated(quiet))},
        "config": {"seed": 0, "note": EVIL},
        "versions": {"jax": "0.10", "device": EVIL},
        "data": {"dataset": EVIL, "classes": CLASSES},
        "thresholds": {"s1": 0.2},
    }
    return result | extras, videos


HISTORY = [
    {"epoch": epoch, "program": program, "folds": ["s1"], "loss": [3.0 / epoch], "class": [1.0 / epoch]}
    for epoch in (1, 2)
    for program in (0, 1)
]


def pictures(subject, name, frames):
    return [np.zeros((32, 32, 3), np.uint8) for _ in frames]


@pytest.fixture(scope="module")
def page(problem, tmp_path_factory):
    path = run_page.write(tmp_path_factory.mktemp("run") / "new", *problem, CLASSES, HISTORY, pictures)
    assert path.name == "report.html"
    return path.read_text(encoding="utf-8")


def test_page_is_whole_and_loads_nothing(page):
    parser = Resources()
    parser.feed(page)
    assert not parser.open
    assert not parser.tags & {"script", "iframe", "object", "embed", "form"}
    assert parser.loaded and all(link.startswith(("data:", "#")) for link in parser.loaded)
    assert not re.search(r"https?:|//[a-z]|@import|@font-face", re.sub(r"data:[^\"]*", "", page))
    assert all(f'id="{link[1:]}"' in page for link in parser.loaded if link.startswith("#"))


def test_names_are_escaped(page):
    assert "<script" not in page and "alert('x')" not in page
    assert html.escape("<script>") in page


def test_page_shows_the_numbers_beside_the_baseline_and_their_definitions(page, problem):
    result, videos = problem
    text = html.unescape(page)
    assert percent(result["spotting"]["f1"]) in text and percent(result["map"]["coco"]["detection"]) in text
    for name in ("tp", "n", "gt", "precision", "recall", "f1", "accuracy", "macro_f1", "map", "coco", "oracle"):
        assert result["definition"][name] in text
    assert page.count('class="timeline"') == len(videos)
    assert page.count("data:image/svg+xml") == 2 and "data:image/jpeg" in page
    assert (
        page.lower().count("flow baseline") >= 4 and page.lower().count("position prior") >= 4 and '"seed": 0' in text
    )


def test_page_without_extras(problem, tmp_path):
    bare = {key: problem[0][key] for key in ("iou", *evaluated(problem[1]))}
    page = run_page.write(tmp_path, bare, problem[1], CLASSES).read_text()
    assert (
        "flow baseline" not in page.lower() and "data:image/jpeg" not in page and page.count("data:image/svg+xml") == 1
    )
    assert "Timelines" not in run_page.write(tmp_path, bare, [], CLASSES).read_text()


def test_features_of_an_untrained_network_have_a_banner(problem, tmp_path):
    data = {"backbone": f"UNTRAINED slim ResNet18 {EVIL}", "classes": CLASSES}
    page = html.unescape(run_page.write(tmp_path, problem[0] | {"data": data}, [], CLASSES).read_text())
    assert "Features of an untrained network" in page and 'class="banner"' in page and "<strong>Features" in page
    assert "untrained network" not in run_page.write(tmp_path, problem[0], [], CLASSES).read_text()
    assert published.untrained({"data": data}) == data["backbone"] and published.untrained({}) == ""


LABELS = {
    "sheet": EVIL,
    "options": {"labels": "annotated", "zero-offset": "apex"},
    "notes": [{"what": "offset 0", "count": 44, "done": "offset = apex"}, {"what": "b", "count": 1, "done": "c"}],
    "remarks": ["98 videos, 3 of them without an expression", "b"],
    "emotions": [],
}


def test_how_a_run_was_made_is_readable(problem, tmp_path):
    data = {"dataset": "casme2", "classes": CLASSES[:2], "labels": LABELS, "preparation": {"fps": None, "size": 112}}
    metrics = problem[0] | {"data": data, "thresholds": {"s1": 0.918164968}}
    *parts, (title, config) = pages.made(metrics)
    assert title == "Configuration" and json.loads(config) == metrics["config"]
    made = {title: dict(rows) for title, rows in parts}
    assert made["Data"] == {"dataset": ["casme2"], "classes": ["happiness, anger"]}
    read = made["How the annotations were read"]
    assert read["options / zero-offset"] == ["apex"] and read["emotions"] == [DASH]
    assert read["notes"] == ["44 x offset 0: offset = apex", "1 x b: c"] and len(read["remarks"]) == 2
    assert made["Preparation"] == {"fps": [DASH], "size": ["112"]}
    assert made["Score threshold of each fold"] == {"s1": ["0.9182"]}
    page = run_page.write(tmp_path, metrics, [], CLASSES).read_text()
    assert "44 x offset 0: offset = apex<br>1 x b: c" in page and "{&#39;" not in page and "<script" not in page
    assert pages.made({}) == pages.made({"data": {"labels": {}, "preparation": {}}}) == []


def test_scores_of_other_papers_stand_below_the_rules_of_counting(problem):
    strs = {"f1_spot": 0.5, "f1_analysis": 0.4, "strs": 0.2}
    frames = {"frame_accuracy": 0.8, "edit": 45.04, "f1": {"0.10": 0.5, "0.25": None}}
    rules = {"megc": {"tp": 1, "n": 2, "f1": 0.5, "definition": "d"}}
    metrics = problem[0] | {"protocols": rules, "strs": strs, "segmental": frames}
    first, second = run_tables.page_tables(metrics, CLASSES)["protocols"].notes
    assert first.startswith("Spot-then-recognise score (STRS): 50.0 % x 40.0 % = 20.0 %; ")
    assert "frame accuracy 80.0 % (" in second and "edit score 45.0 (" in second and "0.10: 50.0 %, 0.25: – (" in second


def test_page_when_nothing_is_found_or_annotated(problem, tmp_path):
    one = problem[1][0]
    empty = one._replace(
        events=Events(*(x[:0] for x in one.events)), detections=Detections(*(x[:0] for x in one.detections))
    )
    result = evaluated([empty])
    page = run_page.write(tmp_path, result | {"baselines": {"flow": result}}, [empty], CLASSES).read_text()
    assert "so there is no spotting F1" in page and "no better" not in page and DASH in page
    assert "nan" not in re.sub(r"data:[^\"]*", "", page).lower()
    assert DASH in run_tables.run_text(result)


def test_pages_are_reproducible(problem, tmp_path):
    first, second = (run_page.write(tmp_path / name, *problem, CLASSES, HISTORY, pictures) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_the_page_is_written_in_utf8_and_survives_json(problem, tmp_path):
    result = json.loads(json.dumps(problem[0]))
    a = run_page.write(tmp_path / "a", result, problem[1], CLASSES).read_bytes()
    assert a == run_page.write(tmp_path / "b", *problem, CLASSES).read_bytes()


def test_table_fits_a_terminal(problem):
    result, videos = problem
    renamed = [
        one._replace(meta=one.meta._replace(subject="表情" * 40 if i else "x" * 90)) for i, one in enumerate(videos)
    ]
    for text in map(run_tables.run_text, (result, result | {"baselines": {}}, evaluated(renamed))):
        assert all(columns(line) <= 80 for line in text.splitlines())
        assert "\x1b" not in text
    lines = run_tables.run_text(result).splitlines()
    assert lines[0].split() == ["Subject", "GT", "TP", "N", "Precision", "Recall", "F1", "Recognition"]
    assert any(line.startswith("All subjects ") for line in lines)
    for title in ("Flow baseline", "Position prior"):
        assert any(line.startswith(f"{title} ") and line.endswith(DASH) for line in lines)
    assert result["definition"]["f1"] in " ".join(run_tables.run_text(result).split())


def test_data_sets_that_were_left_out_have_rows():
    subjects = {"a/s1": (3, 4, 5), "a/s2": (1, 3, 2), "b/s1": (0, 1, 2)}
    metrics = fakes.make_metrics(subjects, changes={"folds.scheme": "leave-one-dataset-out"})
    table = run_tables.subjects({"": metrics})
    rows = {row[0].text: [cell.text for cell in row[1:]] for _, group in table.groups for row in group}
    assert rows["All of a"] == ["7", "4", "7", "57.1", "57.1", "57.1", "75.0"]
    assert rows["All of b"] == ["2", "0", "1", "0.0", "0.0", "0.0", DASH]
    usual = run_tables.subjects({"": fakes.make_metrics(subjects)})
    assert not any(row[0].text.startswith("All of") for _, group in usual.groups for row in group)


def columns(line):
    """Of a terminal: wide letters take two, combining ones none."""
    return sum(2 if "一" <= letter <= "鿿" else letter != "\u0301" for letter in line)


@pytest.mark.parametrize("text", ["s1", "x" * 90, "表情" * 40, "é" * 3, "e\u0301" * 50, "a表" * 30])
def test_names_of_any_width_are_aligned(text):
    rows = [[tables.words(text), tables.words(7)], [tables.words("s1"), tables.words(123456)]]
    table = tables.Table("t", "", [tables.Column("A", number=False), *[tables.Column("B" * 12)] * 4],
                         [("", [[row[0], *[row[1]] * 4] for row in rows])])  # fmt: skip
    lines = tables.to_text(table).splitlines()
    assert len({columns(line) for line in lines}) == 1 and columns(lines[0]) <= 80
    assert (len(text) < 50) == ("…" not in lines[2])


def test_rounding():
    assert [percent(x) for x in (0.51089, 0, 1, 0.0004, 0.0006)] == ["51.1", "0.0", "100.0", "0.0", "0.1"]
    assert percent(None) == "–"


def test_a_page_of_frames_and_kinds_names_neither_features_nor_emotions(problem, tmp_path):
    metrics, videos = problem
    config = json.loads(presets.fesnet().to_json())
    config["data"]["side"] = 48
    data = {"dataset": "folder", "classes": CLASSES, "frames": {"codec": "png", "size": 112}}
    path = run_page.write(tmp_path, metrics | {"config": config, "data": data}, videos, CLASSES)
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", path.read_text(), flags=re.DOTALL)
    assert "Input: aligned frames of 48 pixels." in text and "spotted, right kind" in text
    assert "emotion" not in text.lower() and "Features:" not in text
    assert "emotion" not in run_tables.run_text(metrics | {"config": config}).lower()
