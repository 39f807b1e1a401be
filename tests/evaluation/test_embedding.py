"""t-SNE against its definition, silhouettes by hand."""

import numpy as np
import pytest

from fedn_jax.evaluation import embedding


def test_affinities_have_the_perplexity_and_sum_to_one():
    x = np.random.default_rng(0).normal(size=(40, 5)) * np.geomspace(0.1, 10, 40)[:, None]
    pairs = embedding._affinities(x, 7.0)
    np.testing.assert_allclose(pairs, pairs.T)
    assert pairs.sum() == pytest.approx(1) and not np.diag(pairs).any()
    square = np.stack(np.meshgrid(np.arange(12), [0.0]), -1).reshape(-1, 2)  # equal steps: neighbours weigh alike
    near = embedding._affinities(square, 2.0)
    assert near[5, 4] == pytest.approx(near[5, 6]) and near[5, 6] > near[5, 7] > near[5, 8]


def test_the_gradient_is_that_of_the_divergence():
    rng = np.random.default_rng(1)
    pairs, y = embedding._affinities(rng.normal(size=(9, 3)), 2.0), rng.normal(size=(9, 2))

    def divergence(y):
        near = 1 / (1 + ((y[:, None] - y) ** 2).sum(-1))
        np.fill_diagonal(near, 0)
        q = near / near.sum()
        some = pairs > 0
        return (pairs[some] * np.log(pairs[some] / q[some])).sum()

    found, small = embedding._gradient(y, pairs), 1e-6
    for place in np.ndindex(y.shape):
        step = np.zeros_like(y)
        step[place] = small
        assert found[place] == pytest.approx((divergence(y + step) - divergence(y - step)) / (2 * small), abs=1e-6)


def test_groups_that_lie_apart_are_drawn_apart():
    rng = np.random.default_rng(2)
    group = np.repeat([0, 1, 2], 30)
    x = rng.normal(size=(90, 10)) + 8 * np.eye(3, 10)[group]
    places = embedding.tsne(x, 10.0, 250)
    assert places.shape == (90, 2) and np.isfinite(places).all()
    assert embedding.silhouette(places, group) > 0.6
    np.testing.assert_array_equal(places, embedding.tsne(x, 10.0, 250))


def test_points_that_are_all_the_same_have_places():
    assert np.isfinite(embedding.tsne(np.zeros((12, 4)), iterations=20)).all()


def test_silhouette_by_hand():
    x = np.array([[0.0], [1.0], [5.0]])
    # Of 0: own 1, other 5; of 1: own 1, other 4; 5 is alone.
    assert embedding.silhouette(x, np.array(["a", "a", "b"])) == pytest.approx((4 / 5 + 3 / 4 + 0) / 3)
    mixed = embedding.silhouette(np.array([[0.0], [4.0], [1.0], [5.0]]), np.array([0, 0, 1, 1]))
    # Of 0: own 4, other (1 + 5) / 2; of 4: own 4, other (3 + 1) / 2; of 1 and 5 by symmetry.
    assert mixed == pytest.approx((-1 / 4 - 2 / 4 - 2 / 4 - 1 / 4) / 4)
    assert embedding.silhouette(x, np.zeros(3)) is None
    assert embedding.silhouette(np.zeros((4, 2)), np.array([0, 0, 1, 1])) == 0
