import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import tiny_config

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core.types import Events
from fedn_jax.models import layers
from fedn_jax.models.fedn import fusion, network
from fedn_jax.ops import losses, windows

WIDTH, CLASSES, BATCH = 8, 3, 2


def build(frames_per_row=1, **changes):
    config = tiny_config()
    config.update_from_flattened_dict(changes)
    geometry = windows.Geometry(config.window.segments, 8, 2, frames_per_row)
    task = models.make_task(config, geometry, CLASSES, WIDTH)
    variables = task.init(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (BATCH, geometry.rows, WIDTH))
    return task, variables, inputs, geometry


def forward(task, variables, inputs, valid=None, inside=None):
    valid = jnp.ones(inputs.shape[:2], bool) if valid is None else valid
    features = task.features(variables, inputs, valid)
    inside = jnp.ones(features.shape[:2], bool) if inside is None else inside
    return task.detect(variables, features, inside, False, jax.random.key(0))[0]


@pytest.mark.parametrize("double, tolerance", [(False, 1e-5), (True, 1e-12)])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_economical_form_equals_the_literal_one(double, tolerance, gaps):
    with jax.enable_x64(double):
        task, variables, inputs, geometry = build()
        literal = build(**{"model.segment_fusion": "attention_literal"})[0]
        variables = jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), variables)
        valid = jnp.ones(inputs.shape[:2], bool)
        if gaps:  # segments with some and segments without any valid frame
            valid = valid.at[0, 3:20].set(False).at[1].set(False)
        one, two = task.features(variables, inputs, valid), literal.features(variables, inputs, valid)
        assert one.dtype == (jnp.float64 if double else jnp.float32)
        assert float(jnp.abs(one - two).max()) <= tolerance * max(1.0, float(jnp.abs(two).max()))
        assert np.isfinite(one).all()


def test_the_score_of_the_global_vector_cancels():
    task, variables, inputs, _ = build(**{"model.segment_fusion": "attention_literal"})
    moved = jax.tree.map(lambda x: x, variables)
    kernel = moved["params"]["fusion"]["score"]["kernel"]
    moved["params"]["fusion"]["score"]["kernel"] = kernel.at[WIDTH:].add(3.0)
    valid = jnp.ones(inputs.shape[:2], bool)
    np.testing.assert_allclose(task.features(variables, inputs, valid), task.features(moved, inputs, valid), atol=1e-5)


def test_shapes_at_the_papers_size():
    config = configs.validate(configs.default())
    task = models.make_task(config, windows.Geometry(64, 8, 2), 4, 512)

    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(task.init, jax.random.key(0))))
    assert round(size / 1e6, 1) == 23.4

    def whole(key, inputs):
        return forward(task, task.init(key), inputs)

    out = jax.eval_shape(whole, jax.random.key(0), jnp.zeros((2, 134, 512)))
    shapes = {name: value.shape[1:] for name, value in out.items()}
    assert shapes["segments"] == (64, 512) and shapes["window_scores"] == (64, 1)
    assert shapes["block_0"] == (32, 512) and shapes["block_1"] == (16, 512)
    assert [shapes[f"level_{level}"] for level in range(4)] == [(16, 512), (8, 512), (4, 512), (2, 512)]
    assert shapes["raw"] == (30, 5, 2) and shapes["free"] == (30, 2) and shapes["logits"] == (30, 6, 4)


ROWS = [
    *({"model.segment_fusion": name} for name in fusion.SEGMENT_FUSIONS if name != "none"),
    *(
        {"model.window_attention": name, "model.window_attention_channels": channels}
        for name, channels in itertools.product(network.WINDOW_ATTENTION, (0, 1))
    ),
    *({"model.head": name} for name in network.HEADS),
    *({"model.scoring": name} for name in losses.SCORINGS),
]


@pytest.mark.parametrize("changes", ROWS, ids=str)
def test_every_entry_gives_finite_losses_gradients_and_detections(changes):
    task, variables, inputs, geometry = build(**changes)
    interval = jnp.tile(jnp.array([[[10.0, 30.0], [0.0, 0.0]]]), (BATCH, 1, 1))
    zeros = jnp.zeros((BATCH, 2), jnp.int32)
    targets = jax.vmap(task.encode)(Events(interval, zeros * 1.0, zeros + 1, zeros, jnp.array([[True, False]] * BATCH)))
    hyper = configs.to_hyper(tiny_config())

    def loss(params):
        out = forward(task, {"params": params}, inputs)
        return task.loss(out, targets, jnp.ones(BATCH), hyper)[0]

    value, grads = jax.value_and_grad(loss)(variables["params"])
    assert np.isfinite(value) and value > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    out = forward(task, variables, inputs)
    found = task.decode(out, jnp.array([0.0, 16.0]), jnp.array([True, False]), jnp.float32(50))
    assert found.interval.shape == (BATCH * 12 * 6, 2) and (found.interval >= 0).all() and (found.interval <= 50).all()
    assert ((found.score >= 0) & (found.score <= 1)).all() and (found.emotion < CLASSES).all()
    assert not found.valid[12 * 6 :].any() and found.valid[: 12 * 6].any()


def test_without_window_attention_there_are_no_scores():
    task, variables, inputs, _ = build(**{"model.window_attention": "none"})
    assert "window_scores" not in forward(task, variables, inputs)


def test_scaled_window_attention_is_the_literal_one_times_the_segments():
    literal, scaled = (build(**{"model.window_attention": name}) for name in ("literal", "scaled"))
    one, two = forward(*literal[:3]), forward(*scaled[:3])
    np.testing.assert_allclose(one["window_scores"].sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(one["window_scores"], two["window_scores"])
    block = layers.ConvBlock(16, stride=2, groups=4)
    variables = {"params": scaled[1]["params"]["blocks_0"]}
    inside = jnp.ones(one["segments"].shape[:2], bool)
    for out, gain in ((one, 1), (two, 32)):
        expected, _ = block.apply(variables, out["segments"] * out["window_scores"] * gain, inside)
        np.testing.assert_allclose(out["block_0"], expected, atol=1e-5)


def test_clip_features_pass_through():
    task, variables, inputs, _ = build(frames_per_row=2, **{"model.segment_fusion": "none"})
    valid = jnp.ones(inputs.shape[:2], bool).at[0, 4].set(False)
    got = task.features(variables, inputs, valid)
    np.testing.assert_array_equal(got[0, 4], np.zeros(WIDTH))
    np.testing.assert_array_equal(got[1], inputs[1])


def test_padding_and_gaps_do_not_change_the_rest():
    """What lies past the video's end, or in frames without a face, has no influence."""
    task, variables, inputs, _ = build()
    valid = jnp.ones(inputs.shape[:2], bool).at[:, 40:].set(False)
    inside = jnp.arange(32)[None] < 20
    inside = jnp.broadcast_to(inside, (BATCH, 32))
    one = forward(task, variables, inputs, valid, inside)
    two = forward(task, variables, inputs.at[:, 40:].set(jnp.nan), valid, inside)
    for name in ("raw", "free", "logits"):
        np.testing.assert_array_equal(one[name], two[name])
        assert np.isfinite(one[name]).all()


def test_positions_past_the_end_of_a_short_video_neither_learn_nor_detect():
    task, variables, inputs, _ = build()
    inside = jnp.broadcast_to(jnp.arange(32) < 10, (BATCH, 32))  # of 8 and 4 positions, 3 and 2 see a valid segment
    out = forward(task, variables, inputs, inside=inside)
    assert out["positions"].sum(1).tolist() == [3 + 2] * BATCH
    found = task.decode(out, jnp.zeros(BATCH), jnp.ones(BATCH, bool), jnp.float32(20))
    seen = np.repeat(np.asarray(out["positions"]).reshape(-1), 6)
    assert not found.valid[~seen].any() and found.valid[seen].any()
    empty = Events(jnp.zeros((1, 2)), jnp.zeros(1), jnp.zeros(1, int), jnp.zeros(1, int), jnp.zeros(1, bool))
    targets = jax.tree.map(lambda leaf: jnp.stack([leaf] * BATCH), task.encode(empty))
    hyper = configs.to_hyper(tiny_config())
    loss = lambda logits: task.loss(out | {"logits": logits}, targets, jnp.ones(BATCH), hyper)[0]
    gradient = np.abs(jax.grad(loss)(out["logits"])).sum((2, 3))
    assert (gradient[np.asarray(out["positions"])] > 0).all() and not gradient[~np.asarray(out["positions"])].any()


def test_windows_do_not_influence_one_another():
    task, variables, inputs, _ = build()
    both, alone = forward(task, variables, inputs), forward(task, variables, inputs[:1])
    np.testing.assert_allclose(both["logits"][:1], alone["logits"], atol=1e-5)


def test_dropout_only_in_training():
    task, variables, inputs, _ = build(**{"model.dropout": 0.5})
    features = task.features(variables, inputs, jnp.ones(inputs.shape[:2], bool))
    inside = jnp.ones(features.shape[:2], bool)
    run = lambda train, key: task.detect(variables, features, inside, train, jax.random.key(key))[0]["logits"]
    np.testing.assert_array_equal(run(False, 0), run(False, 1))
    assert (run(True, 0) != run(True, 1)).any()


def test_the_initial_probability_is_the_prior():
    task, variables, inputs, _ = build(**{"model.prior": 0.1})
    bias = variables["params"]["free_0"]["class_output"]["bias"]
    np.testing.assert_allclose(jax.nn.sigmoid(bias), 0.1, rtol=1e-5)


def test_confidence_branch_is_one_more_output():
    assert forward(*build(**{"model.scoring": "confidence"})[:3])["logits"].shape[-1] == CLASSES + 1


def test_the_coupled_head_shares_its_tower():
    decoupled, coupled = build()[1]["params"], build(**{"model.head": "coupled"})[1]["params"]
    assert {"interval_0", "class_0"} <= set(decoupled["free_0"]) and "shared_0" in coupled["free_0"]
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert count(coupled) < count(decoupled)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model.head": "coupeld"}, "did you mean 'coupled'"),
        ({"model.segment_fusion": "none"}, "does not fit data with 1 frame"),
        ({"model.heads": 3}, "must divide the data's 8 features"),
        ({"loss.interval": "ciou"}, "loss.interval must be one of iou, giou, diou"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


# ---- Layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(25, 4000), (3, 3, 25, 400)])
def test_kernels_are_uniform_within_their_inputs(shape):
    kernel = layers.uniform_fan_in(jax.random.key(0), shape)
    bound = 1 / np.sqrt(np.prod(shape[:-1]))
    assert bound * 0.999 < np.abs(kernel).max() <= bound and abs(kernel.std() / bound - 1 / np.sqrt(3)) < 1e-2


class Mixed(nn.Module):
    """Layers of ours and of Flax."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3,), name="foreign")(layers.Conv(8, name="first")(x))
        return layers.Affine(6, 4000, bias=0.5, name="last")()[0] + x.sum()


def test_one_draw_has_the_distribution_of_the_layers_and_leaves_the_others_alone():
    x = jnp.zeros((1, 8, 5))
    apart, together = Mixed().init(jax.random.key(0), x)["params"], layers.init(Mixed(), jax.random.key(0), x)
    assert set(together) == {"params"}
    together = together["params"]
    assert jax.tree.map(jnp.shape, together) == jax.tree.map(jnp.shape, apart)
    np.testing.assert_array_equal(together["foreign"]["kernel"], apart["foreign"]["kernel"])
    np.testing.assert_array_equal(together["last"]["bias"], 0.5)
    for kernel, inputs in ((together["first"]["taps"]["kernel"], 15), (together["last"]["kernel"], 6)):
        bound = 1 / np.sqrt(inputs)
        assert 0.9 * bound < np.abs(kernel).max() <= bound and abs(kernel.std() / bound - 1 / np.sqrt(3)) < 0.06
    assert len(np.unique(together["last"]["kernel"])) > 20_000  # no number twice


def test_no_layer_of_the_network_starts_at_zero():
    params = jax.tree_util.tree_leaves_with_path(build()[0].init(jax.random.key(0))["params"])
    kernels = [leaf for path, leaf in params if path[-1].key == "kernel"]
    assert len(kernels) > 20 and all(np.asarray(leaf).any() for leaf in kernels)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 9])
def test_conv_equals_lax_conv_with_padding_one(stride, size):
    conv = layers.Conv(5, 3, stride)
    x = jax.random.normal(jax.random.key(0), (2, size, 4))
    variables = layers.init(conv, jax.random.key(2), x)
    kernel = variables["params"]["taps"]["kernel"].reshape(3, 4, 5)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (stride,), [(1, 1)], dimension_numbers=("NHC", "HIO", "NHC")
    )  # fmt: skip
    np.testing.assert_allclose(conv.apply(variables, x), expected, atol=1e-5)


def test_group_norm_by_hand():
    x = jnp.array([[[1.0, 3.0], [5.0, 7.0], [100.0, 100.0]]])
    valid = jnp.array([[True, True, False]])
    norm = layers.GroupNorm(groups=1, epsilon=0.0)
    got = norm.apply(norm.init(jax.random.key(0), x, valid), x, valid)
    np.testing.assert_allclose(got[0, :2], (np.array([[1, 3], [5, 7]]) - 4) / np.sqrt(5), rtol=1e-5)


def test_masked_softmax():
    got = layers.masked_softmax(
        jnp.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]), jnp.array([[True, False, True], [False] * 3])
    )
    np.testing.assert_allclose(got[0], [1 / (1 + np.e**2), 0, np.e**2 / (1 + np.e**2)], rtol=1e-5)
    np.testing.assert_array_equal(got[1], np.zeros(3))


def test_self_attention_by_loops():
    attention = layers.SelfAttention(2)
    x = jax.random.normal(jax.random.key(0), (1, 5, 4))
    valid = jnp.array([[True, True, False, True, True]])
    variables = layers.init(attention, jax.random.key(2), x, valid)
    weights = {name: (np.asarray(p["kernel"]), np.asarray(p["bias"])) for name, p in variables["params"].items()}
    q, k, v = (np.asarray(x[0]) @ weights[n][0] + weights[n][1] for n in ("query", "key", "value"))
    joined = np.zeros((5, 4))
    for head in range(2):
        part = slice(2 * head, 2 * head + 2)
        for i in range(5):
            e = np.array([np.exp(q[i, part] @ k[j, part] / np.sqrt(2)) * bool(valid[0, j]) for j in range(5)])
            joined[i, part] = (e / e.sum()) @ v[:, part]
    expected = joined @ weights["out"][0] + weights["out"][1]
    np.testing.assert_allclose(attention.apply(variables, x, valid)[0], expected, atol=1e-5)


def test_a_head_does_not_see_masked_positions():
    """Positions past the end of a short video change nothing: a head says the same without them."""
    branch = network.Branch(8, 2, 2, 2, 3, 2, 0.02, ("interval", "class"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 8)).astype(np.float32)
    x[:, 5:] = 0
    valid = np.broadcast_to(np.arange(8) < 5, (2, 8))
    params = branch.init(jax.random.key(0), x, valid)
    params = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32), params)
    whole = branch.apply(params, x, valid)
    alone = branch.apply(params, x[:, :5], valid[:, :5])
    for masked, short in zip(whole, alone, strict=True):
        np.testing.assert_allclose(masked[:, :5], short, atol=1e-5)
