import inspect

import jax
import numpy as np
import pytest

from fedn_jax.core.types import Events
from fedn_jax.ops import anchors, targets

GRID = anchors.make_grid(128, [8, 16, 32, 64], [0.5, 0.75, 1, 1.5, 2], [[0, 10], [8, 32], [16, 64], [64, 128]])


def events(*rows, size=4):
    """(onset, offset, emotion) of each expression."""
    table = np.zeros((size, 3), np.float32)
    table[: len(rows)] = np.reshape(rows, (-1, 3))
    valid = np.arange(size) < len(rows)
    zeros = np.zeros(size, np.int32)
    return Events(table[:, :2], zeros.astype(np.float32), table[:, 2].astype(np.int32), zeros, valid)


def assign(*rows):
    return jax.device_get(targets.assign(events(*rows), GRID, 4, 0.5, 0.4))


def test_grid_of_the_paper():
    assert GRID.centre.shape == (30,)  # 16 + 8 + 4 + 2 positions, each with 6 intervals: 180
    np.testing.assert_allclose(GRID.centre[[0, 1, 15, 16, 24, 28, 29]], [4, 12, 124, 8, 16, 32, 96])
    np.testing.assert_allclose(GRID.width[16], [8, 12, 16, 24, 32])


def test_decode_by_hand():
    offsets, free = np.zeros((30, 5, 2), np.float32), np.ones((30, 2), np.float32)
    offsets[16, 2] = [0.5, np.log(2)]
    got = np.asarray(anchors.decode(offsets, GRID, free))
    np.testing.assert_allclose(got[16, 0], [8 - 16, 8 + 16])  # one stride to both sides
    np.testing.assert_allclose(got[16, 1], [4, 12])  # the anchor itself
    np.testing.assert_allclose(got[16, 3], [0, 32], atol=1e-5)  # centre 8 + 16 / 2, width 2 x 16


def test_decode_stays_finite():
    huge = np.full((30, 5, 2), 1e4, np.float32)
    assert np.isfinite(anchors.decode(huge, GRID, np.full((30, 2), 1e4, np.float32))).all()


def test_encode_and_decode_are_inverse():
    rng = np.random.default_rng(0)
    offsets = rng.normal(size=(3, 30, 5, 2)).astype(np.float32)
    free = rng.uniform(0, 3, (3, 30, 2)).astype(np.float32)
    again = anchors.encode(anchors.decode(offsets, GRID, free), GRID)
    np.testing.assert_allclose(again[0], offsets, atol=1e-4)
    np.testing.assert_allclose(again[1], free, atol=1e-4)


def brute_force(rows):
    """Targets by the words of the rule, one candidate after another."""
    positive, counted, chosen = np.zeros((30, 6), bool), np.ones((30, 6), bool), np.zeros((30, 6), int)
    for p in range(30):
        c = GRID.centre[p]
        fits = []
        for e, (a, b, _) in enumerate(rows):
            longer = max(c - a, b - c)
            if a <= c < b and GRID.reach[p, 0] <= longer < GRID.reach[p, 1]:
                fits.append((b - a, e))
        if fits:
            positive[p, 0], chosen[p, 0] = True, min(fits)[1]
        for k, width in enumerate(GRID.width[p], start=1):
            ious = []
            for a, b, _ in rows:
                shared = max(0, min(b, c + width / 2) - max(a, c - width / 2))
                ious.append(shared / (b - a + width - shared))
            best = int(np.argmax(ious)) if ious else 0
            top = ious[best] if ious else 0
            positive[p, k], chosen[p, k] = top > 0.5, best
            counted[p, k] = top > 0.5 or top < 0.4
    return positive, counted, chosen


@pytest.mark.parametrize("seed", range(20))
def test_assign_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(rng.integers(0, 5)):
        onset = rng.integers(0, 110)
        rows.append((onset, min(128, onset + rng.integers(1, 100)), rng.integers(0, 4)))
    got = assign(*rows)
    positive, counted, chosen = brute_force(rows)
    np.testing.assert_array_equal(got.positive, positive)
    np.testing.assert_array_equal(got.counted, counted)
    for p, k in zip(*np.nonzero(positive), strict=True):
        a, b, emotion = rows[chosen[p, k]]
        np.testing.assert_allclose(got.interval[p, k], [a, b])
        assert got.label[p, k].tolist() == np.eye(4)[emotion].tolist()
    assert not got.label[~positive].any()
    hit = {chosen[p, k] for p, k in zip(*np.nonzero(positive), strict=True)}
    assert got.missed == len(rows) - len(hit)


def test_an_expression_without_a_candidate_is_counted():
    # half a frame is far narrower than the narrowest anchor, and no position lies inside
    assert assign((0, 0.5, 1)).missed == 1
    assert assign((0, 30, 1)).missed == 0


def test_a_window_without_expressions_is_all_negative():
    got = assign()
    assert got.counted.all() and not got.positive.any() and not got.label.any() and got.missed == 0


def test_impossible_grids_are_refused():
    with pytest.raises(ValueError, match="divide the window's 100 frames"):
        anchors.make_grid(100, [8], [1], [[0, 10]])
    with pytest.raises(ValueError, match="one \\[low, high\\] per level"):
        anchors.make_grid(128, [8, 16], [1], [[0, 10]])


@pytest.mark.parametrize(
    ("offsets", "free"), [((30, 5, 1), (30, 2)), ((30, 4, 2), (30, 2)), ((29, 5, 2), (29, 2)), ((2, 30, 5, 2), (30, 2))]
)
def test_outputs_that_do_not_fit_the_grid_are_refused(offsets, free):
    with pytest.raises(ValueError, match="must have shape"):
        inspect.unwrap(anchors.decode)(np.zeros(offsets), GRID, np.zeros(free))  # as users call it, without types
