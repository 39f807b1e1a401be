import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core.types import Events
from fedn_jax.evaluation import segmental
from fedn_jax.ops import frame_labels


def events(rows):
    """(onset, offset, class) each, at most five; the others of six are padding."""
    table = np.array([*rows, *[(0, 50, 1)] * (6 - len(rows))], np.float32)
    zeros = np.zeros(len(table), np.int32)
    return Events(table[:, :2], zeros - 1.0, table[:, 2].astype(np.int32), zeros, np.arange(len(table)) < len(rows))


def test_labels_by_hand():
    found = frame_labels.of_events(events([(2, 5, 0), (4, 6, 1), (8, 8.2, 1)]), 10)
    assert found.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 2, 0]  # the later onset wins; one frame at least


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20), st.integers(0, 1)), max_size=5))
def test_training_and_evaluation_label_alike(rows):
    given = events([(a, a + length, c) for a, length, c in rows])
    expected = segmental.to_labels(given.interval, given.emotion, given.valid, 50, background=-1) + 1
    np.testing.assert_array_equal(frame_labels.of_events(given, 50), expected)


def test_stitching_is_a_double_loop():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), (5, 8)).astype(np.float32)
    starts, seen = np.array([0, 4, 8, 13, 13]), rng.uniform(size=(5, 8)) < 0.7
    seen[:, 0] = False  # nobody sees frame 0
    expected = np.tile(np.array([1, 0, 0], np.float32), (25, 1))
    for t in range(25):
        here = [probabilities[w, t - s] for w, s in enumerate(starts) if 0 <= t - s < 8 and seen[w, t - s]]
        expected[t] = np.mean(here, 0) if here else expected[t]
    found = jax.jit(frame_labels.stitch, static_argnums=3)(probabilities, starts, seen, 25)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[0].tolist() == [1, 0, 0] and found[24].tolist() == [1, 0, 0]


def one_hot(labels, certainty=1.0):
    return (np.eye(3)[labels] * certainty + (1 - certainty) / 3).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=12, max_size=12), st.integers(1, 3))
def test_runs_are_segments(labels, shortest):
    found = jax.device_get(frame_labels.runs(one_hot(labels), shortest))
    expected = segmental.segments(np.array(labels), background=0)
    long = np.diff(expected.interval)[:, 0] >= shortest
    np.testing.assert_array_equal(found.interval[found.valid], expected.interval[long])
    np.testing.assert_array_equal(found.emotion[found.valid] + 1, expected.label[long])
    assert (found.score[found.valid] == 1).all()


def test_score_ties_and_gaps():
    rows = np.array([[0.4, 0.4, 0.2], [0.2, 0.5, 0.3], [0.1, 0.7, 0.2], [0.1, 0.45, 0.45]], np.float32)
    found = frame_labels.runs(rows)
    assert found.valid.sum() == 1 and found.interval[found.valid].tolist() == [[1, 4]]
    assert found.score[found.valid][0] == pytest.approx((0.5 + 0.7 + 0.45) / 3)
    labels = [0, 1, 0, 1, 0, 0, 1, 0, 2, 0]
    assert frame_labels.fill_gaps(np.array(labels, np.int32), 1).tolist() == [0, 1, 1, 1, 0, 0, 1, 0, 2, 0]
    assert frame_labels.fill_gaps(np.array(labels, np.int32), 2).tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 2, 0]
    gapped = frame_labels.runs(one_hot(labels), 3, 1)  # gaps first, then lengths
    assert gapped.interval[gapped.valid].tolist() == [[1, 4]]
