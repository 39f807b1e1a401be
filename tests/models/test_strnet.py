"""STR's recogniser: its size, its convolution against XLA's own, and what padding must not do."""

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.models import layers, strnet
from fedn_jax.models.strnet import StrNet


def drawn(classes=4):
    init = lambda key: layers.init(StrNet(classes), key, jnp.zeros((1, 42, 42, 3)), False, jnp.ones(1, bool))
    return jax.jit(init)(jax.random.key(0))


def test_parameters():
    params = jax.eval_shape(drawn)["params"]
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert (count(params["streams"]), count(params["top"]["joint"]), count(params["top"]["output"])) == (
        392,
        2808,
        1572,
    )


def test_it_is_the_network_of_ordinary_convolutions_and_pools():
    """Once more with XLA's convolutions and Flax's pools."""
    variables = jax.device_get(drawn())
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: np.abs(x + 0.1 * rng.normal(size=x.shape)).astype(np.float32), variables)
    params, stats, inputs = variables["params"], variables["batch_stats"], rng.random((3, 42, 42, 3), np.float32)
    kernels, stats, top = params["streams"], stats["streams"], params["top"]

    def conv(x, layer):
        kernel = layer["kernel"].reshape(5, 5, x.shape[-1], -1)
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def pool(x, size):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, size, size, 1), "VALID")

    streams = []
    for index in range(3):
        layer, norm, known = (tree[name] for tree, name in (
            (kernels, f"stream_{index}"), (kernels, f"norm_{index}"), (stats, f"norm_{index}")))  # fmt: skip
        x = jax.nn.relu(conv(inputs[..., index : index + 1], layer) + layer["bias"])
        x = (x - known["mean"]) / np.sqrt(known["variance"] + 1e-3) * norm["scale"] + norm["bias"]
        streams.append(pool(x, 3))
    x = pool(jax.nn.relu(conv(jnp.concatenate(streams, -1), top["joint"]) + top["joint"]["bias"]), 2)
    expected = x.reshape(3, -1) @ top["output"]["kernel"] + top["output"]["bias"]
    got = jax.jit(lambda x: StrNet(4).apply(variables, x, False, jnp.ones(3, bool)))(inputs)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_padding_moves_no_statistics():
    variables, inputs = drawn(), np.random.default_rng(0).random((4, 42, 42, 3), np.float32)
    apply = jax.jit(lambda x, counted: StrNet(4).apply(
        variables, x, True, counted, rngs={"dropout": jax.random.key(0)}, mutable=["batch_stats"])[1])  # fmt: skip
    counted = np.array([True, True, False, False])
    other = inputs.copy()
    other[2:] = 7
    one, two = apply(inputs, counted), apply(other, counted)
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_large_kernels_cost():
    params = jax.tree.map(jnp.zeros_like, drawn()["params"])
    params["top"]["joint"]["kernel"] += 1.0
    params["streams"]["stream_2"]["kernel"] += 1.0
    assert np.isclose(strnet.top_penalty(params["top"]), 0.1 * 25 * 14 * 8)
    assert np.isclose(strnet.penalty(params), 0.1 * 25 * 14 * 8 + 0.001 * 25 * 8)
