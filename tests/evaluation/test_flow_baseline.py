"""The flow baseline on hand-made displacements."""

import numpy as np
import pytest

from fedn_jax.core.types import Events
from fedn_jax.evaluation import all_metrics, flow_baseline, matching

FPS = 30.0


def bumps(length, *intervals, seed=0):
    """12 regions that tremble; two of them move by 2 pixels and back, as a raised cosine over each interval."""
    flow = 0.02 * np.random.default_rng(seed).normal(size=(length, 12, 2))
    for onset, offset in intervals:
        wave = 1 - np.cos(2 * np.pi * (np.arange(onset, offset) - onset) / (offset - onset))
        flow[onset:offset, 8:10, 1] -= wave[:, None]
    return flow.astype(np.float16)


def detect(flow, valid=None, setting=flow_baseline.DEFAULT):
    valid = np.ones(len(flow), bool) if valid is None else valid
    signal = flow_baseline.strength(flow, valid, FPS, setting.rest, setting.smoothing)
    return flow_baseline.detect(signal, FPS, setting.fraction)


def events(*rows):
    interval = np.array([row[:2] for row in rows], np.float32).reshape(-1, 2)
    count = len(rows)
    emotion = np.array([row[2] for row in rows], np.int32).reshape(count)
    return Events(interval, np.full(count, -1, np.float32), emotion, np.zeros(count, np.int32), np.ones(count, bool))


def test_detects_where_regions_leave_their_rest():
    found = detect(bumps(400, (60, 120), (250, 310)), setting=flow_baseline.Setting(8.0, 0.25, 0.5))
    assert found.interval.dtype == np.float32 and found.valid.all()
    assert (np.diff(found.score) <= 0).all()
    best = np.sort(found.interval[:2], axis=0)
    # A raised cosine exceeds half its height in the middle half of its support.
    assert np.allclose(best, [[75, 105], [265, 295]], atol=4)
    assert found.score[1] > 5 * found.score[2]


def test_a_held_expression_is_one_interval():
    """The frame-to-frame change rests at an apex; the displacement does not."""
    flow = bumps(600)
    flow[200:290, 8:10, 1] -= 2
    found = detect(flow, setting=flow_baseline.Setting(16.0, 0.25, 0.5))
    assert np.allclose(found.interval[0], [200, 290], atol=3)


def test_a_face_that_settles_elsewhere_has_a_new_rest():
    """A step is no expression for longer than half the width of the median."""
    flow = bumps(900)
    flow[450:, :, 0] += 3
    found = detect(flow, setting=flow_baseline.Setting(4.0, 0.25, 0.5))
    assert len(found.score) and np.abs(found.interval[0] - 450).max() < 2 * FPS
    assert flow_baseline.strength(flow, np.ones(900, bool), FPS, 4.0, 0.25)[600:].max() < 0.2 * found.score[0]
    flow[750:, :, 0] -= 3  # 10 seconds: more than half of 4, less than half of 30
    narrow, wide = (flow_baseline.strength(flow, np.ones(900, bool), FPS, rest, 0.25)[550:650] for rest in (4.0, 30.0))
    assert narrow.max() < 0.2 * wide.min()


def test_every_region_is_counted_in_its_own_distances():
    """Lips that move all the time do not hide a brow."""
    talk = bumps(600)
    talk[:, 10:, 1] += 3 * np.sin(np.arange(600) * 2.1)[:, None].astype(np.float16)
    talk[300:360, 0, 1] -= 0.5
    assert np.allclose(detect(talk, setting=flow_baseline.Setting(8.0, 0.25, 0.5)).interval[0], [300, 360], atol=5)


def test_the_strength_by_hand():
    """One region of 12 leaves its rest by 0.34 pixels for 3 of 9 samples; no other moves."""
    flow = np.zeros((9, 12, 2))
    flow[3:6, 4] = 0.3, 0.16
    found = flow_baseline.strength(flow, np.ones(9, bool), 4.0, 2.25, 0.0)
    # At rest the median over 9 samples is 0, so the distance is 0.34, in units of the tremor, over 12 regions. Half of
    # the samples and more are 0, so the spread is the standard deviation.
    away = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0]) * 0.34 / flow_baseline.TREMOR / 12
    np.testing.assert_allclose(found, away / away.std())


def test_a_lower_fraction_gives_longer_intervals():
    flow = bumps(300, (100, 200))
    lengths = [np.ptp(detect(flow, setting=flow_baseline.Setting(16.0, 0.25, f)).interval[0]) for f in (0.7, 0.5, 0.3)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[2]


def test_a_detection_lasts_half_a_second_and_stays_in_the_video():
    signal = np.zeros(100)
    signal[[0, 50]] = 10, 5
    found = flow_baseline.detect(signal, FPS, 0.5)
    assert found.interval.tolist() == [[0.0, 8.0], [43.0, 58.0]]


def test_plateaus_and_quiet_videos():
    signal = np.zeros(100)
    signal[40:70] = 3
    assert flow_baseline.detect(signal, FPS, 0.5).interval.tolist() == [[40, 70]]
    signal[[45, 65]] = 5, 4  # the lower peak belongs to the higher one
    assert flow_baseline.detect(signal, FPS, 0.5).interval.tolist() == [[40, 70]]
    for quiet in (np.zeros((50, 12, 2)), np.full((50, 12, 2), 7.0), np.zeros((1, 12, 2))):
        assert len(detect(quiet).score) == 0
    assert len(detect(bumps(100, (40, 70)), np.zeros(100, bool)).score) == 0
    with pytest.raises(ValueError, match=r"valid must have shape \[100\]; got \[99\]"):
        flow_baseline.detect_at_all(np.zeros((100, 12, 2)), np.ones(99, bool), FPS)


def test_gaps_do_not_count_as_movement():
    flow, valid = bumps(300, (100, 160)), np.ones(300, bool)
    clean = detect(flow)
    flow[200:210], valid[200:210] = 1000, False
    assert np.allclose(detect(flow, valid).interval[0], clean.interval[0], atol=1)


def test_a_video_shorter_than_the_widths():
    found = detect(bumps(20, (5, 15)), setting=flow_baseline.Setting(16.0, 1.0, 0.5))
    assert (found.interval >= 0).all() and (found.interval <= 20).all()


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    flows, truth = [], []
    for video in range(6):
        onset = np.array([50, 200, 350]) + rng.integers(-20, 20, 3)
        flows.append(bumps(500, *zip(onset, onset + 60, strict=True), seed=video))
        truth.append(events(*((a + 8, a + 52, 1 if i else 0) for i, a in enumerate(onset))))
    return flows, [np.ones(500, bool)] * 6, [FPS] * 6, truth


TESTS = [(0, 1), (2, 3), (4, 5)]
TRAINS = [(2, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 3)]


def test_run_solves_an_easy_problem(problem):
    found, thresholds = flow_baseline.run(*problem, TRAINS, TESTS, 2)
    assert thresholds.shape == (6,) and thresholds[0] == thresholds[1]
    result = all_metrics.evaluate_detections(
        matching.pad(found), matching.pad(problem[3]), list("aabbcc"), ["x", "y"], thresholds
    )
    assert result["spotting"]["f1"] > 0.95
    assert all((one.emotion == 1).all() for one in found)  # the most frequent emotion
    assert result["recognition"]["accuracy"] == pytest.approx(2 / 3, abs=0.05)


def test_run_does_not_look_at_test_labels(problem):
    flows, valids, fps, truth = problem
    before = flow_baseline.run(flows, valids, fps, truth, TRAINS[:1], TESTS[:1], 2)
    other = [events((0, 20, 0)), events()] + truth[2:]
    after = flow_baseline.run(flows, valids, fps, other, TRAINS[:1], TESTS[:1], 2)
    assert np.array_equal(before[1], after[1])
    for a, b in zip(before[0], after[0], strict=True):
        assert np.array_equal(a.interval, b.interval) and np.array_equal(a.emotion, b.emotion)
    assert len(after[0][5].score) == 0  # outside all test lists


def test_run_counts_frames_if_rows_are_clips(problem):
    flows, valids, fps, truth = problem
    doubled = [one._replace(interval=2 * one.interval) for one in truth]
    rows = flow_baseline.run(flows, valids, fps, truth, TRAINS, TESTS, 2)
    clips = flow_baseline.run(flows, valids, fps, doubled, TRAINS, TESTS, 2, frames_per_row=2)
    assert np.array_equal(rows[1], clips[1])
    assert all(np.array_equal(2 * a.interval, b.interval) for a, b in zip(rows[0], clips[0], strict=True))


def test_run_without_anything_to_learn_from(problem):
    flows, valids, fps, _ = problem
    nothing = [events()] * 6
    found, thresholds = flow_baseline.run(
        [np.zeros((9, 12, 2))] * 6, [np.ones(9, bool)] * 6, fps, nothing, TRAINS, TESTS, 2
    )
    assert not thresholds.any() and not any(len(one.score) for one in found)
    found, thresholds = flow_baseline.run(flows, valids, fps, nothing, [()] * 3, TESTS, 2)
    assert all(len(one.score) for one in found)


def test_run_refuses_leaks_and_uneven_lists(problem):
    with pytest.raises(ValueError, match=r"must not test what it trains on; got videos \[1\]"):
        flow_baseline.run(*problem, [(1, 2)], [(0, 1)], 2)
    with pytest.raises(ValueError, match="one entry per video; got 6, 6, 5, 6"):
        flow_baseline.run(problem[0], problem[1], [FPS] * 5, problem[3], TRAINS, TESTS, 2)
