"""Numbers of kinds, and of labels per frame, with numbers by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import kinds, segmental


def found(rows):
    """Detections [1, N] of (onset, offset, kind)."""
    table = np.array(rows, np.float32).reshape(1, -1, 3)
    return Detections(
        table[..., :2], np.ones(table.shape[:2]), table[..., 2].astype(int), np.ones(table.shape[:2], bool)
    )


def annotated(rows):
    table = np.array(rows, np.float32).reshape(1, -1, 3)
    none, on = np.full(table.shape[:2], -1), np.ones(table.shape[:2], bool)
    return Events(table[..., :2], none.astype(np.float32), none, table[..., 2].astype(int), on)


def test_a_detection_cannot_take_an_expression_of_the_other_kind():
    result = kinds.scores(found([(0, 10, 1), (20, 30, 0)]), annotated([(0, 10, 0), (20, 30, 0)]), [40], {"f": [0]}, 0.5)
    assert result["by_kind"]["macro"]["tp"] == 1 and result["by_kind"]["micro"]["tp"] == 0
    assert result["by_kind"]["all"]["f1"] == pytest.approx(2 * 1 / (2 + 2))  # class-blind matching would say 1
    assert result["by_kind"]["micro"]["f1"] == 0 and result["by_kind"]["micro"]["gt"] == 0


def test_means_over_folds_are_not_pooled_numbers():
    two = lambda make, *rows: type(make(rows[0]))(*map(np.concatenate, zip(*map(make, rows), strict=True)))
    detections = two(found, [(0, 10, 0), (50, 60, 0)], [(0, 10, 0), (20, 30, 0)])
    events = two(annotated, [(0, 10, 0), (20, 30, 0)], [(0, 10, 0), (20, 30, 0)])
    result = kinds.scores(detections, events, [70, 40], {"a": [0], "b": [1]}, 0.5)
    assert result["per_fold"]["folds"] == {
        "a": {"macro": 0.5, "micro": None, "all": 0.5},
        "b": {"macro": 1.0, "micro": None, "all": 1.0},
    }
    assert result["per_fold"]["mean"]["all"] == 0.75 and result["per_fold"]["deviation"]["all"] == 0.25
    assert result["per_fold"]["mean"]["micro"] is None and result["by_kind"]["micro"]["f1"] is None


def test_readings_of_accuracy_and_edit():
    result = kinds.scores(found([(0, 5, 0)]), annotated([(0, 5, 0), (10, 15, 1)]), [20], {"f": [0]}, 0.5)["labels"]
    assert result["accuracy"] == 0.75 and result["all_neutral"] == 0.5
    assert result["accuracy_eq6"] == pytest.approx(0.75 / 0.5)
    assert result["edit"] == 50  # [macro] against [macro, micro]
    assert result["edit_over_annotated"] == 50  # 2 of 4 segments are missing
    assert result["edit_frames"] == 75
    perfect = kinds.scores(found([(0, 5, 0)]), annotated([(0, 5, 0)]), [20], {"f": [0]}, 0.5)["labels"]
    assert perfect["accuracy"] == 1 and perfect["accuracy_eq6"] is None


def test_many_segments_put_edit_over_annotated_far_below_zero():
    busy = np.tile([1, 0], 20)
    assert segmental.edit_over_annotated([busy], [np.zeros(40, int)]) == 100 * (1 - 39 / 1)
    assert segmental.edit_score([busy], [np.zeros(40, int)], 0) == 0


def slow(a, b):
    """Levenshtein's distance as the textbooks have it."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


labels = st.lists(st.integers(0, 2), max_size=14)


@settings(max_examples=100, deadline=None)
@given(labels, labels)
def test_edit_distance(a, b):
    assert segmental._edits(a, b) == slow(a, b)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_edit_of_frames_is_never_below_accuracy(pairs):
    one, two = (np.array(column) for column in zip(*pairs, strict=True))
    assert segmental.edit_frames([one], [two]) >= 100 * segmental.frame_accuracy([one], [two]) - 1e-9
