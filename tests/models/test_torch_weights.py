"""Parameters to PyTorch and back: nothing lost, nothing guessed."""

import jax
import numpy as np
import pytest

from fedn_jax.core.errors import UserError
from fedn_jax.models import torch_weights

torch = pytest.importorskip("torch")
from fedn_jax.torch_parity import cases  # noqa: E402


def pair_of(name):
    return cases.make(cases.configure(cases.VARIANTS[name]))


@pytest.mark.parametrize("name", cases.VARIANTS)
def test_there_and_back_is_lossless(name):
    pair = pair_of(name)
    state = torch_weights.to_torch(pair.params)
    own = pair.network.state_dict()
    assert list(sorted(state)) == list(sorted(own))
    assert all(state[key].shape == tuple(own[key].shape) and state[key].flags.c_contiguous for key in state)
    back = torch_weights.from_torch(state, pair.params)
    assert jax.tree.structure(back) == jax.tree.structure(pair.params)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(pair.params), strict=True))
    again = torch_weights.to_torch(back)
    assert all(np.array_equal(again[key], state[key]) for key in state)


def test_names_by_hand():
    leaf = lambda *shape: np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    params = {
        "fusion": {part: {"kernel": leaf(2, 2) + 10 * k} for k, part in enumerate(("query", "key", "value"))},
        "blocks_1": {"Conv_0": {"taps": {"kernel": leaf(6, 1)}}, "GroupNorm_0": {"scale": leaf(1)}},
        "free_3": {"class_output": {"bias": leaf(4)}, "shared_1": {"GroupNorm_0": {"bias": leaf(5)}}},
    }
    state = torch_weights.to_torch(params)
    assert list(state) == [
        "fusion.attention.in_proj_weight", "blocks.1.conv.weight", "blocks.1.norm.weight", "free.3.class_output.bias",
        "free.3.towers.shared.1.norm.bias",
    ]  # fmt: skip
    assert state["fusion.attention.in_proj_weight"].tolist() == [[0, 2], [1, 3], [10, 12], [11, 13], [20, 22], [21, 23]]
    # taps [kernel position x input, output] -> [output, input, kernel position]
    assert state["blocks.1.conv.weight"].tolist() == [[[0, 2, 4], [1, 3, 5]]]


def test_the_map_covers_every_parameter_and_knows_no_other():
    with pytest.raises(UserError, match="no PyTorch name for the parameter free_0/gate/kernel"):
        torch_weights.names({"free_0": {"gate": {"kernel": 0}}})


def test_everything_that_does_not_fit_is_said_at_once():
    params = pair_of("fedn").params
    state = torch_weights.to_torch(params)
    state["blocks.0.convolution.weight"] = state.pop("blocks.0.conv.weight")
    state["fusion.score.bias"] = np.zeros(2, np.float32)
    state["neck.0.norm.bias"] = np.zeros(32, np.int64)
    with pytest.raises(UserError) as error:
        torch_weights.from_torch(state, params)
    for text in (
        "missing: blocks.0.conv.weight [32, 12, 3]; blocks.0.convolution.weight may be it",
        "fusion.score.bias must have shape [1]; got [2]",
        "neck.0.norm.bias must hold floats; got int64",
        "unexpected: blocks.0.convolution.weight [32, 12, 3]",
    ):
        assert text in str(error.value)


def test_a_convolution_of_kernel_one_is_a_linear_layer():
    params = pair_of("fedn").params
    state = torch_weights.to_torch(params)
    state["free.0.class_output.weight"] = state["free.0.class_output.weight"][..., None]
    back = torch_weights.from_torch(state, params)
    assert np.array_equal(back["free_0"]["class_output"]["kernel"], params["free_0"]["class_output"]["kernel"])


def test_rules_for_names():
    state = {f"module.{name}": array for name, array in torch_weights.to_torch(pair_of("fedn").params).items()}
    assert "blocks.0.conv.weight" in torch_weights.rename(state, {"^module[.]": ""})
    with pytest.raises(UserError, match="fits no name"):
        torch_weights.rename(state, {"^encoder": ""})
    with pytest.raises(UserError, match="two entries would be called"):
        torch_weights.rename(state, {"module.*": "x"})


@pytest.mark.parametrize("name", ["fedn", "table3/no_attention", "table4/coupled", "open/channels"])
def test_shapes_tell_the_configuration(name):
    pair = pair_of(name)
    found = torch_weights.options(torch_weights.to_torch(pair.params))
    assert {key: pair.config.model[key.partition(".")[2]] for key in found["options"]} == found["options"]
    assert (found["classes"], found["inputs"]) == (cases.CLASSES, cases.WIDTH)
    assert (found["levels"], found["anchors"]) == (3, 5)
