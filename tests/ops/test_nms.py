import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core.types import Detections
from fedn_jax.ops import intervals, nms


def brute_force(interval, score, valid, threshold, limit, group=None):
    """Greedy suppression, as one would write it on paper."""
    left = [i for i in sorted(range(len(score)), key=lambda i: (-score[i], i)) if valid[i]]
    kept = []
    while left and len(kept) < limit:
        best = left.pop(0)
        kept.append(best)
        survivors = []
        for other in left:
            (a, b), (c, d) = interval[best], interval[other]
            shared = max(0.0, min(b, d) - max(a, c))
            union = max(b - a, 0) + max(d - c, 0) - shared
            same = group is None or group[best] == group[other]
            if not (same and union > 0 and shared / union > threshold):
                survivors.append(other)
        left = survivors
    return kept


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.01, 0.3, 0.5, 1.0]), st.sampled_from([1, 5, 24]))
def test_equals_brute_force(seed, threshold, limit):
    rng = np.random.default_rng(seed)
    onset = rng.integers(0, 60, 24).astype(np.float32)
    interval = np.stack([onset, onset + rng.integers(0, 20, 24)], -1).astype(np.float32)  # some are empty
    score = rng.integers(0, 6, 24).astype(np.float32) / 8  # many ties
    valid = rng.random(24) < 0.8
    group = rng.integers(0, 3, 24)
    for classes in (None, group):
        index, keep = nms.nms(interval, score, valid, threshold, limit, classes)
        assert np.asarray(index)[np.asarray(keep)].tolist() == brute_force(
            interval, score, valid, threshold, limit, classes
        )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.5]))
def test_properties(seed, threshold):
    rng = np.random.default_rng(seed)
    onset = rng.uniform(0, 200, 64).astype(np.float32)
    interval = np.stack([onset, onset + rng.uniform(1, 40, 64)], -1).astype(np.float32)
    score = rng.choice([-1.0, -0.0, 0.0, 0.25, 0.75], 64).astype(np.float32)
    index, keep = nms.nms(interval, score, np.ones(64, bool), threshold, 64)
    kept = np.asarray(index)[np.asarray(keep)]
    overlap = np.asarray(intervals.pairwise_iou(interval, interval)) > threshold
    np.fill_diagonal(overlap, False)
    assert not overlap[np.ix_(kept, kept)].any()  # survivors do not overlap
    for lost in set(range(64)) - set(kept.tolist()):  # whoever is lost had a better rival that survived
        assert any(overlap[lost, one] and (score[one], -one) > (score[lost], -lost) for one in kept)
    few, some = nms.nms(interval, score, np.ones(64, bool), threshold, 5)  # a limit cuts the end, nothing else
    assert np.asarray(few)[np.asarray(some)].tolist() == kept[:5].tolist()
    order = np.pad(kept, (0, 64 - len(kept)))  # the survivors, filled up to the size that is compiled
    again, survivors = nms.nms(interval[order], score[order], np.arange(64) < len(kept), threshold, 64)
    again = np.asarray(again)[np.asarray(survivors)]
    assert again.tolist() == list(range(len(kept)))  # in order, and nothing more is dropped


def test_invalid_and_nan_never_come_back():
    interval = np.array([[0, 10], [20, 30], [40, 50]], np.float32)
    index, keep = nms.nms(interval, np.array([np.nan, 0.5, 0.9], np.float32), np.array([True, True, False]), 0.5, 3)
    assert np.asarray(index)[np.asarray(keep)].tolist() == [1]
    _, keep = nms.nms(interval, np.zeros(3, np.float32), np.zeros(3, bool), 0.5, 3)
    assert not keep.any()


def test_vmap_equals_one_by_one():
    rng = np.random.default_rng(0)
    onset = rng.uniform(0, 50, (5, 12)).astype(np.float32)
    interval, score = np.stack([onset, onset + 10], -1), rng.random((5, 12)).astype(np.float32)
    valid = np.ones((5, 12), bool)
    index, keep = jax.vmap(lambda i, s, v: nms.nms(i, s, v, 0.3, 6))(interval, score, valid)
    for row in range(5):
        one = nms.nms(interval[row], score[row], valid[row], 0.3, 6)
        np.testing.assert_array_equal(index[row], one[0])
        np.testing.assert_array_equal(keep[row], one[1])


@pytest.mark.parametrize("per_class, expected", [(False, [0.9, 0.4]), (True, [0.9, 0.8, 0.4])])
def test_suppress(per_class, expected):
    candidates = Detections(
        np.array([[0, 10], [0, 10], [30, 40]], np.float32), np.array([0.8, 0.9, 0.4], np.float32),
        np.array([0, 1, 1]), np.ones(3, bool),
    )  # fmt: skip
    kept = nms.suppress(candidates, nms.Rule(0.5, 3, per_class))
    np.testing.assert_allclose(kept.score[kept.valid], expected)


def soft_on_paper(interval, score, valid, rule, group=None):
    """Soft-NMS as Bodla et al. write it (their Figure 2), in float64."""
    left = {i: float(score[i]) for i in range(len(score)) if valid[i]}
    kept = []
    while left and len(kept) < rule.max_detections:
        best = max(left, key=lambda i: (left[i], -i))
        if left[best] < nms.FLOOR:
            break
        kept.append((best, left.pop(best)))
        for other in left:
            (a, b), (c, d) = (interval[i].astype(float) for i in (best, other))
            shared = max(0.0, min(b, d) - max(a, c))
            union = max(b - a, 0) + max(d - c, 0) - shared
            overlap = shared / union if union > 0 else 0.0
            if group is None or group[best] == group[other]:
                linear = 1 - overlap if overlap > rule.iou else 1.0
                left[other] *= linear if rule.kind == "linear" else np.exp(-(overlap**2) / rule.sigma)
    return kept


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["linear", "gaussian"]), st.sampled_from([1, 5, 24]))
def test_soft_suppression_equals_the_paper(seed, kind, limit):
    rng = np.random.default_rng(seed)
    onset = rng.integers(0, 60, 24).astype(np.float32)
    interval = np.stack([onset, onset + rng.integers(0, 20, 24)], -1).astype(np.float32)  # some are empty
    score, valid, group = rng.random(24).astype(np.float32), rng.random(24) < 0.8, rng.integers(0, 3, 24)
    rule = nms.Rule(0.3, limit, kind=kind)
    for classes in (None, group):
        index, keep, lowered = map(np.asarray, nms.soft_nms(interval, score, valid, rule, classes))
        expected = soft_on_paper(interval, score, valid, rule, classes)
        assert index[keep].tolist() == [i for i, _ in expected]
        np.testing.assert_allclose(lowered[keep], [x for _, x in expected], rtol=1e-5)


SOFT = {"linear": [0.9, 0.5, 0.8 * 0.2], "gaussian": [0.9, 0.5, 0.8 * np.exp(-(0.8**2) / 0.5)], "hard": [0.9, 0.5]}


@pytest.mark.parametrize("kind", nms.KINDS)
def test_soft_suppression_by_hand(kind):
    """The second overlaps the first by 8 / 10; the third overlaps neither; the last is padding, or not a number."""
    interval = np.array([[0, 10], [0, 8], [20, 30], [0, 10], [0, 10]], np.float32)
    score = np.array([0.9, 0.8, 0.5, np.nan, 0.95], np.float32)
    candidates = Detections(interval, score, np.zeros(5, int), np.array([True] * 4 + [False]))
    rule = nms.Rule(0.3, 4, kind=kind)
    for suppress in (nms.suppress, jax.jit(nms.suppress, static_argnums=1)):
        kept = suppress(candidates, rule)
        np.testing.assert_allclose(np.asarray(kept.score)[np.asarray(kept.valid)], SOFT[kind], rtol=1e-6)
    batched = jax.vmap(lambda one: nms.suppress(one, rule))(jax.tree.map(lambda x: np.stack([x, x]), candidates))
    np.testing.assert_array_equal(batched.score[1], kept.score)


def test_soft_scores_that_vanish_are_dropped():
    twice = np.array([[0, 10], [0, 10]], np.float32)
    _, keep, _ = nms.soft_nms(
        twice, np.array([0.9, 0.8], np.float32), np.ones(2, bool), nms.Rule(0.3, 2, kind="linear")
    )
    assert keep.tolist() == [True, False]
