import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from fedn_jax.ops import intervals

# (a, b, iou, giou, diou), by hand
CASES = [
    ([0, 10], [0, 10], 1.0, 1.0, 1.0),
    ([0, 10], [5, 15], 5 / 15, 5 / 15, 5 / 15 - (5 / 15) ** 2),
    ([0, 10], [2, 4], 0.2, 0.2, 0.2 - (2 / 10) ** 2),
    ([0, 10], [20, 30], 0.0, -10 / 30, -((20 / 30) ** 2)),
    ([0, 10], [10, 20], 0.0, 0.0, -((10 / 20) ** 2)),
    ([5, 5], [5, 5], 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize("a, b, iou, giou, diou", CASES)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, lambda f: lambda a, b: jax.vmap(f)(a[None], b[None])[0]])
def test_hand_made(a, b, iou, giou, diou, transform):
    a, b = jnp.array(a, float), jnp.array(b, float)
    for op, expected in ((intervals.iou, iou), (intervals.giou, giou), (intervals.diou, diou)):
        np.testing.assert_allclose(transform(op)(a, b), expected, atol=1e-6)


def test_iou_is_the_fields_inclusive_formula():
    # frames 10 to 19 and 15 to 24
    shared, union = len(set(range(10, 20)) & set(range(15, 25))), len(set(range(10, 20)) | set(range(15, 25)))
    pair = np.array([[10, 20], [15, 25]], np.float32)
    np.testing.assert_allclose(intervals.iou(pair[0], pair[1]), shared / union)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=4, max_size=4))
def test_iou_by_counting_frames(edges):
    a, b = sorted(edges[:2]), sorted(edges[2:])
    one, two = set(range(*a)), set(range(*b))
    expected = len(one & two) / len(one | two) if one | two else 0
    np.testing.assert_allclose(intervals.iou(np.array(a, float), np.array(b, float)), expected, atol=1e-6)


@pytest.mark.parametrize("op", [intervals.iou, intervals.giou, intervals.diou])
def test_gradients_are_finite_and_point_at_the_target(op):
    target = jnp.array([10.0, 20.0])
    for start in ([8.0, 18.0], [10.0, 20.0], [0.0, 5.0], [3.0, 3.0]):
        gradient = jax.grad(lambda x: op(x, target))(jnp.array(start))
        assert np.isfinite(gradient).all()
    assert jax.grad(lambda x: op(x, target))(jnp.array([8.0, 18.0])).sum() > 0  # later is better


def test_disjoint_intervals_tell_the_losses_apart():
    gradient = lambda op: jax.grad(lambda x: op(x, jnp.array([20.0, 30.0])))(jnp.array([0.0, 10.0]))
    assert not np.any(gradient(intervals.iou))
    assert np.any(gradient(intervals.giou)) and np.any(gradient(intervals.diou))


def test_pairwise():
    a = np.array([[0, 10], [5, 6], [7, 7]], float)
    got = intervals.pairwise_iou(a, a[:2])
    np.testing.assert_allclose(got, [[1, 0.1], [0.1, 1], [0, 0]], atol=1e-6)


def test_inclusive_numbers_and_at_least_one_frame():
    np.testing.assert_array_equal(intervals.inclusive(np.array([[0.0, 1.0], [6.0, 30.0]]), 1), [[1, 1], [7, 30]])
    np.testing.assert_array_equal(intervals.inclusive(np.array([[4.2, 4.3], [3.5, 9.4]])), [[4, 4], [4, 8]])


@pytest.mark.parametrize("a, b", [((3, 2), (5, 2)), ((3, 3), (3, 3)), ((), (2,))])
def test_shapes_in_signatures_are_checked_here(a, b):
    with pytest.raises(TypeCheckError):
        intervals.iou(np.zeros(a), np.zeros(b))
