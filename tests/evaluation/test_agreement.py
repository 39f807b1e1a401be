"""Agreement: published worked examples, independent formulas, and cases counted by hand."""

import doctest
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.evaluation import agreement, bootstrap, coders
from fedn_jax.formats import predictions
from fedn_jax.formats.clocks import Stamps, Steady
from fedn_jax.formats.predictions import Row

# Shrout and Fleiss 1979, Table 2: six targets, four judges; their Table 4 has the coefficients.
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
# Bland and Altman 1986, Table 1: peak expiratory flow in l/min of 17 people by two meters, first readings.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_docstring_examples():
    assert doctest.testmod(agreement).failed == 0


def test_shrout_and_fleiss_1979():
    sums = agreement.moments(np.array(JUDGES))
    between, raters, residual, n, k = agreement._mean_squares(sums)
    assert [round(float(x), 2) for x in (between, raters, residual)] == [11.24, 32.49, 1.02] and (n, k) == (6, 4)
    assert round(float(agreement.icc_absolute(sums)), 2) == 0.29
    assert round(float(agreement.icc_consistency(sums)), 2) == 0.71


def test_bland_and_altman_1986():
    sums = agreement.differences(np.subtract(WRIGHT, MINI))
    assert round(float(agreement.bias(sums)), 1) == -2.1 and round(float(agreement.deviation(sums)), 1) == 38.8
    # They round 2 s: -2.1 - (2 x 38.8) = -79.7 and 75.5; with 1.96 the limits are a little closer.
    assert agreement.lower_limit(sums) == pytest.approx(-2.118 - 1.96 * 38.765, abs=0.01)
    assert agreement.upper_limit(sums) == pytest.approx(-2.118 + 1.96 * 38.765, abs=0.01)


def test_cohens_kappa():
    assert agreement.kappa(np.array([45, 15, 25, 15])) == pytest.approx(0.1304, abs=1e-4)  # po .60, pe .54
    assert agreement.kappa(np.array([25, 35, 5, 35])) == pytest.approx(0.2593, abs=1e-4)  # po .60, pe .46
    assert agreement.kappa(np.array([3, 0, 0, 5])) == 1 and np.isnan(agreement.kappa(np.array([0, 0, 0, 9])))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_kappa_is_the_textbook_formula(frames):
    count = Counter(frames)
    got = agreement.kappa(np.array([count[pair] for pair in ((1, 1), (1, 0), (0, 1), (0, 0))]))
    a, b = zip(*frames, strict=True)
    observed = sum(x == y for x, y in frames) / len(frames)
    chance = sum(a.count(x) * b.count(x) for x in (True, False)) / len(frames) ** 2
    assert np.isnan(got) if chance == 1 else got == pytest.approx((observed - chance) / (1 - chance))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 9), st.integers(2, 4), st.integers(0, 2**31))
def test_icc_is_that_of_an_analysis_of_variance(n, k, seed):
    """By the model: squares of effects, cell by cell; and sums of parts give what the whole gives."""
    values = np.random.default_rng(seed).normal(size=(n, k)) * 3 + np.arange(n)[:, None]
    rows, columns, mean = values.mean(1), values.mean(0), values.mean()
    between = k * sum((x - mean) ** 2 for x in rows) / (n - 1)
    raters = n * sum((x - mean) ** 2 for x in columns) / (k - 1)
    residual = sum(
        (values[i, j] - rows[i] - columns[j] + mean) ** 2 for i, j in itertools.product(range(n), range(k))
    ) / ((n - 1) * (k - 1))
    parts = [agreement.moments(values[:1]), agreement.moments(values[1:])]
    sums = agreement.Moments(*map(np.add, *parts))
    assert agreement.icc_consistency(sums) == pytest.approx((between - residual) / (between + (k - 1) * residual))
    bottom = between + (k - 1) * residual + k * (raters - residual) / n
    expected = (between - residual) / bottom
    assert (
        agreement.icc_absolute(sums) == pytest.approx(expected)
        if bottom > 0
        else np.isnan(agreement.icc_absolute(sums))
    )


def test_numbers_that_do_not_exist():
    assert np.isnan(agreement.f1(np.array([0, 0, 0]))) and np.isnan(agreement.bias(agreement.differences([])))
    assert np.isnan(agreement.deviation(agreement.differences([1.0]))) and agreement.deviation(np.array([3, 3, 3])) == 0
    assert np.isnan(agreement.icc_absolute(agreement.moments(np.full((4, 2), 7.0))))
    assert np.isnan(agreement.icc_consistency(agreement.moments(np.ones((1, 2)))))


def test_resamples_without_a_number_are_left_out():
    few = {name: np.array([0, x, x]) for name, x in zip("abcd", (0, 0, 1, 2), strict=True)}
    got = bootstrap.interval(
        few, lambda sums: np.where(sums[..., 1] > 0, sums[..., 0] / 1.0, np.nan), 500, partial=True
    )
    assert got == (0, 0, 0)
    with pytest.raises(UserError, match="must be finite"):
        bootstrap.interval(few, lambda sums: np.where(sums[..., 1] > 4, 0.0, np.nan), 500, partial=True)


# ---- Coders ----------------------------------------------------------------------------------------------------------


def table(name, rows, videos):
    return predictions.make(Path(name), name, videos, [Row("", video, *rest) for video, *rest in rows])


A, B, C = ("s1", "a"), ("s1", "b"), ("s2", "c")
VIDEOS = [A, B, C]
ONE = [(A, 1, 10, "joy"), (A, 31, 40, "sad"), (B, 1, 20, "joy"), (C, 11, 30, "joy")]
TWO = [(A, 2, 11, "joy"), (A, 31, 40, "joy"), (C, 14, 30, "joy"), (C, 41, 50, "sad")]


def tables_of(videos=VIDEOS):
    return {"one": table("one", ONE, videos), "two": table("two", TWO, videos)}


def clocks(length=60):
    starts = np.arange(length) / 10
    return {video: Stamps(starts, starts + 0.1, 1) for video in VIDEOS}


def row_of(result, emotion):
    return next(row for row in result["pairs"] if row["emotion"] == emotion)


def test_two_coders_by_hand():
    result = coders.compare(coders.gather(tables_of(), clocks()), samples=200)
    whole = row_of(result, "all")
    assert (whole["pairs"], whole["events_a"], whole["events_b"]) == (3, 4, 4)
    assert whole["f1"]["value"] == 3 / 4 and result["unit"] == "s" and result["persons"] == 2
    # Frames: both mark 9 + 10 + 17, one alone 1 + 20 + 3, two alone 1 + 10, of 180.
    both, first, second, none = 36, 24, 11, 109
    observed = (both + none) / 180
    chance = ((both + first) * (both + second) + (none + first) * (none + second)) / 180**2
    assert whole["kappa"]["value"] == pytest.approx((observed - chance) / (1 - chance))
    onset = np.array([-0.1, 0.0, -0.3])  # one less two
    assert whole["onset"]["bias"]["value"] == pytest.approx(onset.mean())
    assert whole["onset"]["upper"]["value"] == pytest.approx(onset.mean() + 1.96 * onset.std(ddof=1), abs=1e-4)
    assert whole["offset"]["bias"]["value"] == pytest.approx(np.mean([-0.1, 0, 0]))
    joy, sad = row_of(result, "joy"), row_of(result, "sad")
    assert (joy["pairs"], joy["events_a"], joy["events_b"]) == (2, 3, 3) and joy["f1"]["value"] == 2 / 3
    assert (sad["pairs"], sad["f1"]["value"]) == (0, 0.0) and sad["onset"]["bias"] is None
    assert [(one["person"], one["pairs"], one["events_a"], one["events_b"]) for one in whole["persons"]] == [
        ("s1", 2, 3, 2), ("s2", 1, 1, 2),
    ]  # fmt: skip
    counts, durations = [row for row in result["icc"] if row["emotion"] == "all"]
    amounts = np.array([[2, 2], [1, 0], [1, 2]])
    assert counts["icc_absolute"]["value"] == pytest.approx(agreement.icc_absolute(agreement.moments(amounts)))
    lengths = np.array([[2.0, 2.0], [2.0, 0.0], [2.0, 2.7]])
    assert durations["icc_consistency"]["value"] == pytest.approx(agreement.icc_consistency(agreement.moments(lengths)))
    assert durations["means"] == pytest.approx({"one": 2.0, "two": 4.7 / 3})


def test_a_coder_agrees_with_herself():
    same = {"one": table("one", ONE, VIDEOS), "again": table("again", ONE, VIDEOS)}
    for row in coders.compare(coders.gather(same, clocks()), samples=200)["pairs"]:
        assert row["f1"]["value"] == row["kappa"]["value"] == 1 and row["onset"]["bias"]["value"] == 0
    for row in coders.compare(coders.gather(same, clocks()), samples=200)["icc"]:
        assert row["icc_absolute"] is None or row["icc_absolute"]["value"] == pytest.approx(1)


def test_the_order_of_two_coders_changes_signs_only():
    there = coders.compare(coders.gather(tables_of(), clocks()), samples=200)
    back = coders.compare(coders.gather(dict(reversed(tables_of().items())), clocks()), samples=200)
    for a, b in zip(there["pairs"], back["pairs"], strict=True):
        assert a["f1"] == b["f1"] and a["kappa"]["value"] == pytest.approx(b["kappa"]["value"])
        if a["onset"]["bias"]:
            assert a["onset"]["bias"]["value"] == pytest.approx(-b["onset"]["bias"]["value"])
            assert a["onset"]["lower"]["value"] == pytest.approx(-b["onset"]["upper"]["value"])


def test_without_clocks_and_lengths():
    frames = coders.compare(coders.gather(tables_of(), {}), samples=100)
    assert frames["unit"] == "frames" and row_of(frames, "all")["kappa"] is None
    assert row_of(frames, "all")["onset"]["bias"]["value"] == pytest.approx(-4 / 3)
    assert any("no kappa" in note for note in frames["notes"])
    assert next(row for row in frames["icc"] if row["what"] == "duration")["means"]["one"] == pytest.approx(20)
    steady = coders.compare(coders.gather(tables_of(), {video: Steady(10.0) for video in VIDEOS}), samples=100)
    assert steady["unit"] == "s" and row_of(steady, "all")["onset"]["bias"]["value"] == pytest.approx(-4 / 30)


def test_videos_that_not_all_have_and_detections_without_subjects():
    two = tables_of()["two"]
    nameless = predictions.renamed(two, {video: ("", video[1]) for video in VIDEOS})
    got = coders.gather({"coder": tables_of()["one"], "found": nameless}, {})
    assert got.videos == VIDEOS and not got.notes
    named = predictions.renamed(two, {video: ("", files.file_name(*video)) for video in VIDEOS})  # as results are
    assert coders.gather({"coder": tables_of()["one"], "found": named}, {}).videos == VIDEOS
    less = {"one": table("one", ONE[:2], [A]), "two": two}
    got = coders.gather(less, {})
    assert got.videos == [A] and "two: left out 's1' / 'b', 's2' / 'c', which not all have" in got.notes[0]
    assert coders.compare(got, samples=100)["pairs"][0]["f1"]["low"] is None  # one person: no interval
    with pytest.raises(UserError, match="no video that all have; one: 's1' / 'a'; two: 's2' / 'c'"):
        coders.gather({"one": table("one", ONE[:2], [A]), "two": table("two", TWO[2:], [C])}, {})
    with pytest.raises(UserError, match="two coders at least; got 1 coder"):
        coders.gather({"one": two}, {})
    with pytest.raises(UserError, match="--iou must be above 0"):
        coders.compare(got, iou=0)
