"""Equal scores: what average precision leaves open, against all orders of small lists."""

import itertools
import json

import numpy as np
import pytest

from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import all_metrics, csv_evaluation, matching, metrics, ties
from fedn_jax.formats import predictions
from fedn_jax.reports import run_tables


def video(found, true):
    """(onset, offset, score, emotion) of detections, (onset, offset, emotion) of expressions."""
    found, true = np.array(found, float).reshape(-1, 4), np.array(true, float).reshape(-1, 3)
    kind = np.zeros(len(true), int)
    return (
        Detections(found[:, :2], found[:, 2], found[:, 3].astype(int), np.ones(len(found), bool)),
        Events(true[:, :2], true[:, 0], true[:, 2].astype(int), kind, np.ones(len(true), bool)),
    )


def padded(*videos):
    return [matching.pad(list(column)) for column in zip(*videos, strict=True)]


def test_a_hit_and_a_miss_of_one_score():
    """Of two detections with one score one is right at every IoU: the second hit has precision 1 or 2/3."""
    found, true = padded(video([(0, 10, 0.9, 0), (50, 60, 0.5, 0), (20, 30, 0.5, 0), (70, 80, 0.1, 0)],
                               [(0, 10, 0), (20, 30, 0)]))  # fmt: skip
    result = ties.examine(found, true, 1)
    assert {key: result[key] for key in ("detections", "tied", "values", "missing")} == {
        "detections": 4, "tied": 2, "values": 3, "missing": None,
    }  # fmt: skip
    assert result["range"]["all_point"]["spotting"] == pytest.approx([(1 + 2 / 3) / 2, 1])
    assert result["range"]["all_point"]["detection"] == result["range"]["all_point"]["spotting"]


def test_different_scores_leave_nothing_open():
    found, true = padded(video([(0, 10, 0.9, 0), (50, 60, 0.5, 0)], [(0, 10, 0)]))
    assert ties.examine(found, true, 1) | {"tied": 0} == {
        "detections": 2, "tied": 0, "values": 2, "missing": None, "range": None,
    }  # fmt: skip
    assert ties.sentence(ties.examine(found, true, 1)) == "" == ties.sentence(None)


def test_the_bounds_hold_for_every_order():
    rng, reached = np.random.default_rng(0), []
    for _ in range(8):
        found, true = [], []
        for _ in range(2):
            intervals = []
            for count in (rng.integers(3, 5), rng.integers(3, 5)):  # padded to 4: one program
                onset = rng.integers(0, 12, count)
                intervals.append(np.stack([onset, onset + rng.integers(4, 12, count)], 1))
            first, second = intervals
            one = [(*edge, rng.choice([0.5, 0.9]), rng.integers(2)) for edge in first]
            detections, events = video(one, [(*edge, rng.integers(2)) for edge in second])
            found.append(detections)
            true.append(events)
        bounds = ties.examine(matching.pad(found), matching.pad(true), 2)
        if not bounds["range"]:
            continue
        got = []
        orders = (itertools.permutations(range(len(one.score))) for one in found)
        for order in list(itertools.product(*orders))[::13]:
            moved = [Detections(*(x[list(index)] for x in one)) for one, index in zip(found, order, strict=True)]
            got.append(metrics.mean_average_precision(matching.pad(moved), matching.pad(true), 2)["coco"])
        for name in ("spotting", "detection"):
            low, high = bounds["range"]["coco"][name]
            values = [one[name] for one in got]
            assert low - 1e-12 <= min(values) and max(values) <= high + 1e-12
            reached.append((min(values) - low, high - max(values)))
    assert len(reached) > 10 and np.mean(reached) < 0.05  # and they are not much wider than needed


ROWS = [(1, 10, "x"), (41, 50, "y"), (21, 30, "x"), (61, 70, "x"), (2, 12, "y")]
TRUTH = "subject,video,onset,offset,emotion\na,v,1,10,x\na,v,21,30,x\na,v,41,50,y\n"


def scored(tmp_path, rows, score):
    lines = [f"a,v,{onset},{offset},{emotion},{score(onset)}" for onset, offset, emotion in rows]
    (tmp_path / "found.csv").write_text("\n".join(["subject,video,onset,offset,emotion,score", *lines]) + "\n")
    (tmp_path / "truth.csv").write_text(TRUTH)
    tables = [predictions.read(tmp_path / f"{name}.csv", name) for name in ("found", "truth")]
    return csv_evaluation.score(predictions.join(*tables))


def test_csv_files_whose_rows_were_shuffled(tmp_path):
    """Each order gives another mAP; all lie within the range that each of them tells."""
    results = [scored(tmp_path, rows, lambda onset: 0.9 if onset > 40 else 0.5) for rows in (ROWS, ROWS[::-1])]
    values = [one["map"]["coco"]["spotting"] for one in results]
    assert values[0] != values[1]
    for one in results:
        low, high = one["ties"]["range"]["coco"]["spotting"]
        assert low <= min(values) and max(values) <= high and one["ties"] == results[0]["ties"]
        assert json.loads(json.dumps(one))["ties"]["tied"] == 5
        text = " ".join(run_tables.csv_text(one).split())
        assert "5 of 5 detections share their score with another one, and stand in the order of the list" in text
        assert f"Whatever their order, spotting mAP lies between {100 * low:.1f} and {100 * high:.1f} %" in text


def test_where_all_scores_are_equal_there_is_no_map(tmp_path):
    result = scored(tmp_path, ROWS, lambda onset: 1)
    assert result["map"] is None and result["per_class"][0]["map"] is None
    reason = "all 5 detections have the score 1, so there is nothing to rank by"
    assert result["map_missing"] == reason == result["ties"]["missing"]
    assert f"No mAP: {reason}." in " ".join(run_tables.csv_text(result).split())
    one = video([(onset - 1, offset, 1, "xy".index(emotion)) for onset, offset, emotion in ROWS], [(0, 10, 0)])
    run = all_metrics.evaluate_detections(*padded(one), ["a"], ["x", "y"], 0.5)
    assert run["map"]["coco"]["spotting"] is run["map"]["all_point"]["ap"]["0.50"]["detection"] is None
    assert run["per_class"][0]["ap50"] is None and run["ties"]["missing"] == reason
    text = run_tables.run_text(run)
    assert f"No mAP: {reason}." in " ".join(text.split()) and "nan" not in text.lower()


def test_a_single_detection_is_ranked():
    run = all_metrics.evaluate_detections(*padded(video([(0, 10, 1, 0)], [(0, 10, 0)])), ["a"], ["x", "y"], 0.5)
    assert run["map"]["coco"]["spotting"] == 1 and run["ties"]["missing"] is None
