"""The motion baseline on hand-made signals."""

import numpy as np
import pytest

from fedn_jax.core.types import Events
from fedn_jax.evaluation import evaluate, matching, motion_baseline

FPS = 30.0


def bumps(length, *intervals, seed=0):
    """A noisy signal with a raised cosine of height 5 over each interval."""
    motion = 1 + 0.05 * np.random.default_rng(seed).normal(size=length)
    for onset, offset in intervals:
        motion[onset:offset] += 2.5 * (1 - np.cos(2 * np.pi * (np.arange(onset, offset) - onset) / (offset - onset)))
    return motion.astype(np.float32)


def events(*rows):
    interval = np.array([row[:2] for row in rows], np.float32).reshape(-1, 2)
    count = len(rows)
    emotion = np.array([row[2] for row in rows], np.int32).reshape(count)
    return Events(interval, np.full(count, -1, np.float32), emotion, np.zeros(count, np.int32), np.ones(count, bool))


def test_detects_where_the_face_moves():
    found = motion_baseline.detect(bumps(400, (60, 120), (250, 310)), np.ones(400, bool), FPS)
    assert found.interval.dtype == np.float32 and found.valid.all()
    assert (np.diff(found.score) <= 0).all()
    best = np.sort(found.interval[:2], axis=0)
    # A raised cosine exceeds half its height in the middle half of its support.
    assert np.allclose(best, [[75, 105], [265, 295]], atol=4)
    assert found.score[1] > 5 * found.score[2]


def test_a_lower_fraction_gives_longer_intervals():
    motion, valid = bumps(300, (100, 200)), np.ones(300, bool)
    lengths = [
        np.ptp(motion_baseline.detect(motion, valid, FPS, motion_baseline.Setting(0.25, f)).interval[0])
        for f in (0.7, 0.5, 0.3)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[2]


def test_smoothing_joins_onset_and_offset():
    motion = bumps(400, (100, 120), (140, 160))
    one = motion_baseline.detect(motion, np.ones(400, bool), FPS, motion_baseline.Setting(2.0, 0.5)).interval[0]
    two = motion_baseline.detect(motion, np.ones(400, bool), FPS, motion_baseline.Setting(0.25, 0.5)).interval[:2]
    assert one[0] <= 110 and one[1] >= 150
    assert np.ptp(two[0]) < 25 and np.ptp(two[1]) < 25


def test_a_detection_lasts_half_a_second_and_stays_in_the_video():
    motion = np.zeros(100, np.float32)
    motion[[0, 50]] = 10, 5
    found = motion_baseline.detect(motion, np.ones(100, bool), FPS, motion_baseline.Setting(0.0, 0.5))
    assert found.interval.tolist() == [[0.0, 8.0], [43.0, 58.0]]


def test_plateaus_and_quiet_videos():
    motion = np.zeros(100, np.float32)
    motion[40:70] = 3
    assert motion_baseline.detect(
        motion, np.ones(100, bool), FPS, motion_baseline.Setting(0.0, 0.5)
    ).interval.tolist() == [[40, 70]]
    for quiet in (np.zeros(50), np.full(50, 7.0), np.zeros(1)):
        assert len(motion_baseline.detect(quiet, np.ones(len(quiet), bool), FPS).score) == 0
    assert len(motion_baseline.detect(motion, np.zeros(100, bool), FPS).score) == 0
    with pytest.raises(ValueError, match=r"valid must have shape \[100\]; got \[99\]"):
        motion_baseline.detect(motion, np.ones(99, bool), FPS)


def test_gaps_do_not_count_as_motion():
    motion, valid = bumps(300, (100, 160)), np.ones(300, bool)
    clean = motion_baseline.detect(motion, valid, FPS)
    motion[200:210], valid[200:210] = 1000, False
    assert np.allclose(motion_baseline.detect(motion, valid, FPS).interval[0], clean.interval[0], atol=1)


def test_a_video_shorter_than_the_window():
    found = motion_baseline.detect(bumps(20, (5, 15)), np.ones(20, bool), FPS, motion_baseline.Setting(2.0, 0.5))
    assert (found.interval >= 0).all() and (found.interval <= 20).all()


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    motions, truth = [], []
    for video in range(6):
        onset = np.array([50, 200, 350]) + rng.integers(-20, 20, 3)
        motions.append(bumps(500, *zip(onset, onset + 60, strict=True), seed=video))
        truth.append(events(*((a + 8, a + 52, 1 if i else 0) for i, a in enumerate(onset))))
    return motions, [np.ones(500, bool)] * 6, [FPS] * 6, truth


TESTS = [(0, 1), (2, 3), (4, 5)]
TRAINS = [(2, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 3)]


def test_run_solves_an_easy_problem(problem):
    found, thresholds = motion_baseline.run(*problem, TRAINS, TESTS, 2)
    assert thresholds.shape == (6,) and thresholds[0] == thresholds[1]
    result = evaluate.evaluate_detections(
        matching.pad(found), matching.pad(problem[3]), list("aabbcc"), ["x", "y"], thresholds
    )
    assert result["spotting"]["f1"] > 0.95
    assert all((one.emotion == 1).all() for one in found)  # the most frequent emotion
    assert result["recognition"]["accuracy"] == pytest.approx(2 / 3, abs=0.05)


def test_run_does_not_look_at_test_labels(problem):
    motions, valids, fps, truth = problem
    before = motion_baseline.run(motions, valids, fps, truth, TRAINS[:1], TESTS[:1], 2)
    other = [events((0, 20, 0)), events()] + truth[2:]
    after = motion_baseline.run(motions, valids, fps, other, TRAINS[:1], TESTS[:1], 2)
    assert np.array_equal(before[1], after[1])
    for a, b in zip(before[0], after[0], strict=True):
        assert np.array_equal(a.interval, b.interval) and np.array_equal(a.emotion, b.emotion)
    assert len(after[0][5].score) == 0  # outside all test lists


def test_run_counts_frames_if_rows_are_clips(problem):
    motions, valids, fps, truth = problem
    doubled = [one._replace(interval=2 * one.interval) for one in truth]
    rows = motion_baseline.run(motions, valids, fps, truth, TRAINS, TESTS, 2)
    clips = motion_baseline.run(motions, valids, fps, doubled, TRAINS, TESTS, 2, frames_per_row=2)
    assert np.array_equal(rows[1], clips[1])
    assert all(np.array_equal(2 * a.interval, b.interval) for a, b in zip(rows[0], clips[0], strict=True))


def test_run_without_anything_to_learn_from(problem):
    motions, valids, fps, _ = problem
    nothing = [events()] * 6
    found, thresholds = motion_baseline.run([np.zeros(9)] * 6, [np.ones(9, bool)] * 6, fps, nothing, TRAINS, TESTS, 2)
    assert not thresholds.any() and not any(len(one.score) for one in found)
    found, thresholds = motion_baseline.run(motions, valids, fps, nothing, [()] * 3, TESTS, 2)
    assert all(len(one.score) for one in found)


def test_run_refuses_leaks_and_uneven_lists(problem):
    with pytest.raises(ValueError, match=r"must not test what it trains on; got videos \[1\]"):
        motion_baseline.run(*problem, [(1, 2)], [(0, 1)], 2)
    with pytest.raises(ValueError, match="one entry per video; got 6, 6, 5, 6"):
        motion_baseline.run(problem[0], problem[1], [FPS] * 5, problem[3], TRAINS, TESTS, 2)
