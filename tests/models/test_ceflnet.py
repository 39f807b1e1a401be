"""CEFLNet's head: its size, the frames that it looks at, what it does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedn_jax.engine import train_step
from fedn_jax.models import ceflnet, layers
from fedn_jax.models.ceflnet import CeflNet


@pytest.mark.parametrize("width, classes, count", [
    (512, 4, 1_742_725), (512, 10, 1_743_499), (512, 7, 1_743_112), (128, 4, 110_053),
])  # fmt: skip
def test_parameters(width, classes, count):
    shapes = jax.eval_shape(
        lambda key: layers.init(CeflNet(classes), key, jnp.zeros((1, 75, width)), False, jnp.ones(1, bool)),
        jax.random.key(0),
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count


def test_places():
    still = np.asarray(ceflnet.chosen_places(None, 2))
    assert still.shape == (2, 7, 5) and still[1, 0].tolist() == [0, 3, 6, 9, 12]
    assert still[0, 6].tolist() == [60, 63, 66, 69, 72]
    drawn = np.asarray(ceflnet.chosen_places(jax.random.key(0), 50))
    within = drawn - 10 * np.arange(7)[:, None]
    assert (np.diff(within) > 0).all() and within.min() == 0 and within.max() == 14  # different ones, in order
    shares = np.bincount(within.ravel(), minlength=15) / within.size
    assert np.abs(shares - 1 / 15).max() < 0.02


def test_the_order_of_the_frames_of_a_clip_is_not_seen():
    """A property of the published design; clips share places, so only the last clip's own can be exchanged alone."""
    network = CeflNet(3)
    inputs = np.random.default_rng(0).normal(size=(2, 75, 8)).astype(np.float32)
    variables = jax.jit(lambda key: layers.init(network, key, jnp.zeros((1, 75, 8)), False, jnp.ones(1, bool)))(
        jax.random.key(1)
    )
    turned = inputs.copy()
    turned[:, [66, 69, 72]] = inputs[:, [72, 66, 69]]
    moved = inputs.copy()
    moved[:, [6, 69]] = inputs[:, [69, 6]]  # between clips
    apply = jax.jit(lambda x: network.apply(variables, x, False, jnp.ones(2, bool)))
    base, same, other = (apply(x) for x in (inputs, turned, moved))
    np.testing.assert_allclose(base, same, rtol=1e-4, atol=1e-6)
    assert np.abs(base - other).max() > 1e-4


def test_the_rate_warms_up_and_falls():
    """The published rate of epoch e of 120: (1 + cos(pi e / 160)) / 2 * min(1, (e + 1) / 10)."""
    for epoch in (0, 4, 9, 60, 119):
        expected = (1 + np.cos(np.pi * epoch / 160)) / 2 * min(1, (epoch + 1) / 10)
        assert float(train_step.SCHEDULES["warm_cosine"](epoch / 120)) == pytest.approx(expected, rel=1e-5)
