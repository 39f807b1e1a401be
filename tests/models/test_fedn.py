import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import literal_attention
import numpy as np
import pytest
from toys import only_weight, outputs_of, tiny_config

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core.types import Events, Task
from fedn_jax.models import layers
from fedn_jax.models.fedn import fusion, network
from fedn_jax.ops import losses, windows
from fedn_jax.torch_parity.measure import HASTY

WIDTH, CLASSES, BATCH = 8, 3, 2
SMALL = {"window.segments": 16, "anchors.reaches": [[0, 16], [8, 64]]}  # 6 positions of 6 intervals


class Built(NamedTuple):
    """A network, its parameters and random inputs."""

    task: Task
    variables: Any
    inputs: np.ndarray  # [BATCH, rows, WIDTH]
    geometry: windows.Geometry
    program: Any  # (variables, inputs, valid, inside) -> outputs, compiled


def task_of(frames_per_row=1, **changes):
    config = tiny_config()
    config.update_from_flattened_dict(SMALL | changes)
    geometry = windows.Geometry(config.window.segments, 8, 2, frames_per_row)
    return models.make_task(config, geometry, CLASSES, (WIDTH,)), geometry


def initial(init):
    """Random variables of the right shapes, without compiling anything; no bias is zero."""
    rng = np.random.default_rng(0)
    draw = lambda leaf: (0.3 * rng.normal(size=leaf.shape) + (leaf.ndim < 2) * 0.5).astype(np.float32)
    return jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0)))


@functools.cache
def build(frames_per_row=1, **changes):
    task, geometry = task_of(frames_per_row, **changes)
    inputs = np.random.default_rng(1).normal(size=(BATCH, geometry.rows, WIDTH)).astype(np.float32)

    def forward(variables, inputs, valid, inside):
        return outputs_of(task, variables, inputs, valid, inside)

    return Built(task, initial(task.init), inputs, geometry, jax.jit(forward, compiler_options=HASTY))


@pytest.fixture(autouse=True, scope="module")
def networks_are_dropped():
    yield
    build.cache_clear()


def forward(built, inputs=None, valid=None, inside=None):
    inputs = built.inputs if inputs is None else inputs
    valid = np.ones(inputs.shape[:2], bool) if valid is None else valid
    inside = np.ones((BATCH, built.geometry.segments), bool) if inside is None else inside
    return jax.device_get(built.program(built.variables, inputs, valid, inside))


# ---- Segments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
def test_the_economical_form_equals_the_literal_one(dtype, tolerance):
    task, geometry = task_of()
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(3, geometry.rows, WIDTH)).astype(dtype)
    valid = np.ones(inputs.shape[:2], bool)
    valid[1, 3:20], valid[2] = False, False  # segments with some and segments without any valid frame
    variables = jax.tree.map(lambda leaf: leaf.astype(dtype), initial(task.init))
    expected = literal_attention.fuse(
        variables["params"]["fusion"], inputs, valid, windows.segment_rows(geometry), tiny_config().model.heads
    )
    with jax.enable_x64(dtype == "float64"):
        got = np.asarray(jax.jit(task.encoding.encode, compiler_options=HASTY)(variables, inputs, valid))
    assert got.dtype == expected.dtype == dtype and np.abs(expected[:2]).max() > 0.1 and not got[2].any()
    assert np.abs(got - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


def test_the_score_of_the_global_vector_cancels():
    task, geometry = task_of()
    params = initial(task.init)["params"]["fusion"]
    moved = params | {"score": {**params["score"], "kernel": params["score"]["kernel"].copy()}}
    moved["score"]["kernel"][WIDTH:] += 3.0
    inputs = np.random.default_rng(1).normal(size=(1, geometry.rows, WIDTH)).astype(np.float32)
    given = (inputs, np.ones(inputs.shape[:2], bool), windows.segment_rows(geometry), 2)
    np.testing.assert_allclose(literal_attention.fuse(params, *given), literal_attention.fuse(moved, *given), atol=1e-5)


def test_clip_features_pass_through():
    task, geometry = task_of(2, **{"model.segment_fusion": "none"})
    inputs = np.random.default_rng(1).normal(size=(BATCH, geometry.rows, WIDTH)).astype(np.float32)
    valid = np.ones(inputs.shape[:2], bool)
    valid[0, 4] = False
    got = task.encoding.encode(initial(task.init), inputs, valid)
    np.testing.assert_array_equal(got[0, 4], np.zeros(WIDTH))
    np.testing.assert_array_equal(got[1], inputs[1])


# ---- The network ----------------------------------------------------------------------------------------------------


def test_shapes_at_the_papers_size():
    config = models.validate(configs.default())
    task = models.make_task(config, windows.Geometry(64, 8, 2), 4, (512,))

    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(task.init, jax.random.key(0))))
    assert round(size / 1e6, 1) == 23.4

    def whole(key, inputs):
        variables = task.init(key)
        return outputs_of(task, variables, inputs, segments=64)

    out = jax.eval_shape(whole, jax.random.key(0), jnp.zeros((2, 134, 512)))
    shapes = {name: value.shape[1:] for name, value in out.items()}
    assert shapes["segments"] == (64, 512) and shapes["window_scores"] == (64, 1)
    assert shapes["block_0"] == (32, 512) and shapes["block_1"] == (16, 512)
    assert [shapes[f"level_{level}"] for level in range(4)] == [(16, 512), (8, 512), (4, 512), (2, 512)]
    assert shapes["offsets"] == (30, 5, 2) and shapes["free"] == (30, 2) and shapes["logits"] == (30, 6, 4)


ROWS = [  # together they hold every entry of every table
    {},
    {
        "model.segment_fusion": "mean", "model.window_attention_channels": 0, "model.head": "coupled",
        "model.scoring": "confidence",
    },
    {"model.window_attention": "literal"},
    {"model.window_attention": "none", "model.segment_fusion": "mean"},
]  # fmt: skip


def test_the_rows_hold_every_entry():
    default = tiny_config()
    for key, table in (
        ("model.segment_fusion", set(fusion.SEGMENT_FUSIONS) - {"none"}),
        ("model.window_attention", network.WINDOW_ATTENTION),
        ("model.head", network.HEADS),
        ("model.scoring", losses.SCORINGS),
    ):
        section, _, option = key.partition(".")
        assert {changes.get(key, default[section][option]) for changes in ROWS} == set(table)


@pytest.mark.parametrize("changes", ROWS, ids=str)
def test_every_entry_gives_finite_losses_gradients_and_detections(changes):
    built = build(**changes)
    task, interval = built.task, np.array([[[10, 30], [0, 0]]] * BATCH, np.float32)
    zeros, valid = np.zeros((BATCH, 2), np.int32), np.array([[True, False]] * BATCH)
    events = Events(interval, zeros.astype(np.float32), zeros + 1, zeros, valid)
    hyper = configs.to_hyper(tiny_config())

    def loss(params, inputs, events):
        out = outputs_of(task, {"params": params}, inputs, segments=built.geometry.segments)
        return task.loss(out, jax.vmap(task.targets)(events), only_weight(jnp.ones(BATCH)), hyper)[0], out

    program = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=HASTY)
    (value, out), grads = program(built.variables["params"], built.inputs, events)
    assert np.isfinite(value) and value > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert ("window_scores" in out) == (changes.get("model.window_attention") != "none")
    assert out["logits"].shape[-1] == CLASSES + (changes.get("model.scoring") == "confidence")
    found = jax.jit(task.decode)(out, np.array([0.0, 16.0]), np.array([True, False]), np.float32(30))
    assert found.interval.shape == (BATCH * 6 * 6, 2) and (found.interval >= 0).all() and (found.interval <= 30).all()
    assert ((found.score >= 0) & (found.score <= 1)).all() and (found.emotion < CLASSES).all()
    assert not found.valid[6 * 6 :].any() and found.valid[: 6 * 6].any()


def test_scaled_window_attention_is_the_literal_one_times_the_segments():
    scaled, literal = build(), build(**{"model.window_attention": "literal"})
    one, two = forward(literal), forward(scaled)
    np.testing.assert_allclose(one["window_scores"].sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(one["window_scores"], two["window_scores"])
    block = layers.ConvBlock(16, stride=2, groups=4)
    variables = {"params": scaled.variables["params"]["blocks_0"]}
    inside = np.ones(one["segments"].shape[:2], bool)
    for out, gain in ((one, 1), (two, 16)):
        expected, _ = block.apply(variables, out["segments"] * out["window_scores"] * gain, inside)
        np.testing.assert_allclose(out["block_0"], expected, atol=1e-5)


def test_padding_and_gaps_do_not_change_the_rest():
    """What lies past the video's end, or in frames without a face, has no influence."""
    built = build()
    valid, inputs = np.ones(built.inputs.shape[:2], bool), built.inputs.copy()
    valid[:, 24:], inputs[:, 24:] = False, np.nan
    inside = np.broadcast_to(np.arange(16) < 12, (BATCH, 16))
    one, two = forward(built, valid=valid, inside=inside), forward(built, inputs, valid, inside)
    for name in ("offsets", "free", "logits"):
        np.testing.assert_array_equal(one[name], two[name])
        assert np.isfinite(one[name]).all()


def test_positions_past_the_end_of_a_short_video_neither_learn_nor_detect():
    built = build()
    task, inside = built.task, np.broadcast_to(np.arange(16) < 6, (BATCH, 16))
    out = forward(built, inside=inside)  # of 4 and 2 positions, 2 and 1 see a valid segment
    assert out["positions"].sum(1).tolist() == [2 + 1] * BATCH
    found = jax.jit(task.decode)(out, np.zeros(BATCH), np.ones(BATCH, bool), np.float32(12))
    seen = np.repeat(out["positions"].reshape(-1), 6)
    assert not found.valid[~seen].any() and found.valid[seen].any()
    zero = np.zeros((BATCH, 1), np.int32)
    empty = Events(np.zeros((BATCH, 1, 2), np.float32), zero.astype(np.float32), zero, zero, zero > 0)
    hyper = configs.to_hyper(tiny_config())

    def loss(logits):
        return task.loss(out | {"logits": logits}, jax.vmap(task.targets)(empty), only_weight(jnp.ones(BATCH)), hyper)[
            0
        ]

    gradient = np.abs(jax.jit(jax.grad(loss))(out["logits"])).sum((2, 3))
    assert (gradient[out["positions"]] > 0).all() and not gradient[~out["positions"]].any()


def test_windows_do_not_influence_one_another():
    built = build()
    other = built.inputs.copy()
    other[1] *= -2
    one, two = forward(built), forward(built, other)
    np.testing.assert_array_equal(one["logits"][0], two["logits"][0])
    assert (one["logits"][1] != two["logits"][1]).any()


def test_dropout_only_in_training():
    task, geometry = task_of(**{"model.dropout": 0.5})
    variables = initial(task.init)
    inputs = np.random.default_rng(1).normal(size=(1, geometry.rows, WIDTH)).astype(np.float32)

    @functools.partial(jax.jit, static_argnums=0, compiler_options=HASTY)
    def logits(train, key):
        return outputs_of(task, variables, inputs, train=train, key=key, segments=geometry.segments)["logits"]

    (one, two), (three, four) = ([logits(train, jax.random.key(n)) for n in (0, 1)] for train in (False, True))
    np.testing.assert_array_equal(one, two)
    assert (three != four).any()


def test_the_initial_probability_is_the_prior():
    variables = jax.jit(task_of(**{"model.prior": 0.1})[0].init, compiler_options=HASTY)(jax.random.key(0))
    bias = variables["params"]["free_0"]["class_output"]["bias"]
    np.testing.assert_allclose(jax.nn.sigmoid(bias), 0.1, rtol=1e-5)


def test_the_coupled_head_shares_its_tower():
    shapes = lambda **changes: jax.eval_shape(task_of(**changes)[0].init, jax.random.key(0))["params"]
    decoupled, coupled = shapes(), shapes(**{"model.head": "coupled"})
    assert {"interval_0", "class_0"} <= set(decoupled["free_0"]) and "shared_0" in coupled["free_0"]
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert count(coupled) < count(decoupled)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model.head": "coupeld"}, "did you mean 'coupled'"),
        ({"model.segment_fusion": "none"}, "does not fit data with 1 frame"),
        ({"loss.interval": "ciou"}, "loss.interval must be one of iou, giou, diou"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        task_of(**changes)


def test_heads_that_do_not_divide_the_features_become_fewer():
    changes = {"model.width": 24, "model.head_width": 12, "model.groups": 2}
    (task, _), (fewer, _) = task_of(**changes, **{"model.heads": 2}), task_of(**changes, **{"model.heads": 3})
    shapes = [jax.eval_shape(one.init, jax.random.key(0)) for one in (task, fewer)]
    assert jax.tree.map(lambda leaf: leaf.shape, shapes[0]) == jax.tree.map(lambda leaf: leaf.shape, shapes[1])
    assert fusion.fitting_heads(174, 4) == 3 and fusion.fitting_heads(37, 8) == 1 and fusion.fitting_heads(512, 8) == 8
    (note,) = fewer.notes
    assert not task.notes and "has 2 heads instead of 3 (model.heads), which do not divide the data's 8" in note


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
    params = jax.tree_util.tree_leaves_with_path(build()[1]["params"])
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
    branch = network.Branch(8, 1, 2, 2, 3, 2, 0.02, ("interval", "class"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 8)).astype(np.float32)
    x[:, 5:] = 0
    valid = np.broadcast_to(np.arange(8) < 5, (2, 8))
    params = initial(lambda key: branch.init(key, x, valid))
    apply = jax.jit(branch.apply, compiler_options=HASTY)
    for masked, short in zip(apply(params, x, valid), apply(params, x[:, :5], valid[:, :5]), strict=True):
        np.testing.assert_allclose(masked[:, :5], short, atol=1e-5)
