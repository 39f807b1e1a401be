"""The numbers that are not in test_metrics.py: rules of counting side by side, label sequences, confidence."""

import json

import numpy as np
import pytest

from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import all_metrics, matching
from fedn_jax.reports import figures, run_tables


def video(found, true):
    """(onset, offset, score, emotion) of detections, (onset, offset, emotion) of expressions."""
    found, true = np.array(found, float).reshape(-1, 4), np.array(true, float).reshape(-1, 3)
    none, kind = np.full(len(true), -1.0), np.zeros(len(true), int)
    return (
        Detections(found[:, :2], found[:, 2], found[:, 3].astype(int), np.ones(len(found), bool)),
        Events(true[:, :2], none, true[:, 2].astype(int), kind, np.ones(len(true), bool)),
    )  # fmt: skip


VIDEOS = [
    video([(0, 10, 0.9, 0), (0, 8, 0.8, 1), (20, 30, 0.7, 1)], [(0, 10, 0), (22, 32, 1)]),
    video([(5, 15, 0.6, 0)], [(5, 15, 0)]),
    video([], [(0, 4, 1)]),
]


def evaluated(videos=VIDEOS, subjects=("a", "b", "c"), lengths=(40, 20, 10)):
    found, true = (matching.pad(list(column)) for column in zip(*videos, strict=True))
    return all_metrics.evaluate_detections(found, true, list(subjects), ["x", "y"], 0.0, 0.5, lengths)


def test_rules_of_counting_side_by_side():
    result = evaluated()
    rules = {name: (row["tp"], row["n"], row["gt"]) for name, row in result["protocols"].items()}
    assert rules == {"megc": (3, 4, 4), "per_gt": (3, 4, 4), "pairs": (4, 4, 4), "strict": (3, 4, 4), "strs": (3, 4, 4)}
    assert {name: result["protocols"]["megc"][name] for name in result["spotting"]} == result["spotting"]
    assert all(len(row["definition"]) > 20 for row in result["protocols"].values())
    # Spotted: x as x, y as y, x as x; of the y one of two is missed, and one x was also called y.
    assert result["strs"]["f1_spot"] == pytest.approx(2 * 3 / 8)
    assert result["strs"]["strs"] == pytest.approx(result["strs"]["f1_spot"] * result["strs"]["f1_analysis"])


def test_labels_of_frames():
    result = evaluated()["segmental"]
    # Wrong: frames 20, 21, 30 and 31 of the first video, 0 to 3 of the third; of 70.
    assert result["frame_accuracy"] == pytest.approx(62 / 70)
    assert result["edit"] == pytest.approx((100 + 100 + 0) / 3)
    assert result["f1"]["0.50"] == pytest.approx(2 * 3 / (3 + 4))
    assert evaluated(lengths=None)["segmental"] is None


@pytest.mark.parametrize(
    ("found", "true", "missing"),
    [
        ([], [(0, 10, 0)], {"precision"}),  # nothing is detected
        ([(0, 10, 0.9, 0)], [], {"recall"}),  # nothing is annotated
        ([], [], {"precision", "recall", "f1"}),
    ],
)
def test_what_would_be_0_by_0_does_not_exist(found, true, missing):
    result = evaluated([video(found, true)] * 2, ("a", "b"), (40, 40))
    for row in (result["spotting"], *result["per_subject"], *result["protocols"].values()):
        assert {name for name in ("precision", "recall", "f1") if row[name] is None} == missing
    assert result["recognition"]["accuracy"] is result["recognition"]["macro_f1"] is None
    assert all(row["accuracy"] is None for row in result["per_subject"])
    assert [row["recall"] is None for row in result["per_class"]] == [not true, True]
    assert (result["map"]["coco"]["spotting"] is None) == (not true)
    assert (result["strs"]["f1_spot"] is None) == ("f1" in missing) and (result["strs"]["strs"] is None) == (not true)
    assert (result["segmental"]["f1"]["0.50"] is None) == ("f1" in missing)
    assert (result["confidence"]["f1"] is None) == ("f1" in missing) and result["confidence"]["accuracy"] is None
    assert result["oracle"]["threshold"] is None  # none is better than another
    text = run_tables.run_text(result)
    (row,) = (line.split() for line in text.splitlines() if line.startswith("All subjects"))
    names = ("precision", "recall", "f1")
    assert [cell == "–" for cell in row[-4:]] == [*(name in missing for name in names), True]
    figures.subjects({"run": result})
    figures.curves({"run": result})


def test_confidence_over_subjects():
    result = evaluated()
    low, high = result["confidence"]["f1"]
    assert 0 <= low < result["spotting"]["f1"] < high <= 1 and result["confidence"]["level"] == 0.95
    assert evaluated(subjects=("a", "a", "a"))["confidence"] is None
    assert json.dumps(result, allow_nan=False)
