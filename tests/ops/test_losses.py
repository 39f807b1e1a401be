import jax.numpy as jnp
import numpy as np
import pytest

from fedn_jax.ops import losses


@pytest.mark.parametrize("name, expected", [("iou", 1.0), ("giou", 1 + 10 / 30), ("diou", 1 + (20 / 30) ** 2)])
def test_interval_losses_of_disjoint_intervals(name, expected):
    loss = losses.INTERVAL_LOSSES[name](jnp.array([0.0, 10.0]), jnp.array([20.0, 30.0]))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("name", losses.INTERVAL_LOSSES)
def test_interval_losses_of_equal_intervals_are_zero(name):
    assert losses.INTERVAL_LOSSES[name](jnp.array([3.0, 9.0]), jnp.array([3.0, 9.0])) == 0


def test_binary_cost_by_hand():
    logits, label = jnp.array([0.0, np.log(3.0)]), jnp.array([1.0, 0.0])
    np.testing.assert_allclose(losses.binary_cost(logits, label, jnp.array(True)), np.log(2) + np.log(4), rtol=1e-6)


def test_confidence_cost_by_hand():
    logits = jnp.array([np.log(3.0), 0.0, 0.0])  # confidence 0.75, two classes alike
    positive = losses.confidence_cost(logits, jnp.array([1.0, 0.0]), jnp.array(True))
    negative = losses.confidence_cost(logits, jnp.zeros(2), jnp.array(False))
    np.testing.assert_allclose(positive, -np.log(0.75) + np.log(2), rtol=1e-6)
    np.testing.assert_allclose(negative, -np.log(0.25), rtol=1e-6)


def test_scores():
    logits = jnp.array([np.log(3.0), 1.0, 2.0])
    scores = losses.SCORINGS["confidence"].scores(logits)
    np.testing.assert_allclose(scores.max(), 0.75, rtol=1e-6)  # the confidence
    assert scores.argmax() == 1
    np.testing.assert_allclose(losses.SCORINGS["binary"].scores(jnp.array([np.log(3.0), 0.0])), [0.75, 0.5], rtol=1e-6)


def test_detection_loss_by_hand():
    interval, label = jnp.full((2, 1, 3), 5.0), jnp.full((2, 1, 3), 7.0)
    positive = jnp.array([[[True, True, False]], [[False, True, False]]])
    counted = jnp.array([[[True, True, False]], [[True, True, True]]])
    one = losses.detection_loss(interval, label, positive, counted, jnp.array([1.0, 0.0]), False)
    np.testing.assert_allclose(one, [5 + 5, 7 + 7])  # the second window is padding
    both = losses.detection_loss(interval, label, positive, counted, jnp.ones(2), False)
    np.testing.assert_allclose(both, [3 * 5, 5 * 7])
    # per branch: free has 1 positive + 2 windows, anchors 2 positives + 2 windows
    both = losses.detection_loss(interval, label, positive, counted, jnp.ones(2), True)
    np.testing.assert_allclose(both, [5 / 3 + 10 / 4, 14 / 3 + 21 / 4], rtol=1e-6)
