"""What choices on test labels are worth, by hand and against the plain way to compute it."""

import json

import numpy as np
import pytest
from intervals import E, N, padded, random_case

from fedn_jax.evaluation import all_metrics, leaks, matching, metrics
from fedn_jax.reports import run_tables

SUBJECTS = ["a", "a", "b", "c"]
FOUND = [
    [(0, 10, 0.9, 0), (50, 60, 0.8, 0), (0, 8, 0.7, 0)],  # a hit, a miss, a second hit
    [(0, 10, 0.8, 0)],  # a miss: nothing is annotated
    [(20, 40, 0.3, 0), (70, 90, 0.2, 0)],  # a hit and a miss
    [(0, 9, 0.6, 0)],  # half as long as what it should find: IoU 9 / 20
]
TRUE = [[(0, 10, 0)], [], [(20, 40, 0)], [(-5.5, 14.5, 0)]]


def measured(found=FOUND, true=TRUE, threshold=0.5):
    pair = padded(found, true)
    result = all_metrics.evaluate_detections(*pair, SUBJECTS, ["x"], threshold)
    return result, leaks.measure(result, *pair, SUBJECTS, threshold)


def counts(row):
    return row["tp"], row["n"], row["gt"]


def test_by_hand():
    result, found = measured()
    assert counts(result["spotting"]) == (1, 5, 3) and result["spotting"]["f1"] == 2 / 8
    # One threshold: above 0.8 F1 is 2 / 4, and no lower one is better.
    assert counts(found["threshold"]) == (1, 1, 3) and found["threshold"]["threshold"] == pytest.approx(0.85)
    # Of a above 0.8, of b above 0.2; nothing of c finds anything.
    assert counts(found["subject_threshold"]) == (2, 2, 3)
    limits = found["subject_threshold"]["thresholds"]
    assert 0.8 < limits["a"] < 0.9 and 0.2 < limits["b"] <= 0.3 and limits["c"] is None
    assert counts(found["annotated_videos"]) == (1, 4, 3) and found["annotated_videos"]["videos"] == 3
    assert counts(found["second_hits"]) == (2, 5, 3)
    # Nine frames of twenty are too few, and 1.12 times as many are enough.
    assert counts(found["length"]) == (2, 5, 3) and found["length"]["factor"] == pytest.approx(2 ** (2 / 12))
    for row in found.values():
        assert row["gain"] == pytest.approx(row["f1"] - 2 / 8) and row["gain"] > 0
        assert row["f1"] == pytest.approx(2 * row["tp"] / (row["n"] + row["gt"]))
    assert json.dumps(found, allow_nan=False)


def test_where_nothing_can_be_gained():
    result, found = measured([[(0, 10, 0.9, 0)], [], [], []], [[(0, 10, 0)], [], [], []])
    assert result["spotting"]["f1"] == 1 and found["length"]["factor"] == 1
    assert all(row["f1"] == 1 and row["gain"] == 0 for row in found.values())


@pytest.mark.parametrize(("found", "f1"), [([[]] * 4, None), ([[(0, 10, 0.9, 0)], [], [], []], 0)])
def test_without_expressions(found, f1):
    result, rows = measured(found, [[]] * 4)
    assert result["spotting"]["f1"] == f1
    assert all(row["tp"] == row["gt"] == 0 and not row["f1"] and not row["gain"] for row in rows.values())
    assert rows["subject_threshold"]["f1"] is None  # of a subject that has none nothing counts
    assert run_tables.run_text(result | {"leaks": rows})


def test_random_detections_against_the_plain_way():
    rng = np.random.default_rng(5)
    for _ in range(8):
        detections, truth = random_case(rng)
        limit = np.array([0.3, 0.3, 0.6, 0.6])
        result = all_metrics.evaluate_detections(detections, truth, SUBJECTS, ["x", "y", "z"], limit)
        found = leaks.measure(result, detections, truth, SUBJECTS, limit)
        assert all((row["gain"] or 0) >= 0 for name, row in found.items() if name not in ("subject_threshold",))
        total = np.zeros(2, int)
        for mine in np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool):
            own = detections._replace(valid=detections.valid & mine[:, None])
            wanted = truth._replace(valid=truth.valid & mine[:, None])
            levels = [np.inf, *sorted({*own.score[own.valid].tolist()}, reverse=True)]
            tried = [metrics.spotting(matching.above(own, level), wanted) for level in levels]
            total += max(tried, key=metrics.f1)[:2]
        assert counts(found["subject_threshold"])[:2] == tuple(total)
    assert detections.valid.shape[1] == N and truth.valid.shape[1] == E  # one program for all


def test_terminal():
    result, found = measured()
    text = run_tables.run_text(result | {"leaks": found})
    assert all(len(line) <= 80 for line in text.splitlines())
    rows = {line[:32].strip(): line[32:].split() for line in text.partition("What leaks")[2].splitlines()}
    title = leaks.LEAKS["threshold"].title
    assert rows[title] == ["3", "1", "1", "50.0", "+25.0"], text
    assert any(line.startswith("Lengths scaled") and "(x 1.12)" in line for line in text.splitlines())
    assert "leaks" not in run_tables.run_text(result)
