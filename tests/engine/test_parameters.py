import numpy as np
import pytest

from fedn_jax.core.errors import UserError
from fedn_jax.engine import parameters

TREE = {"params": {"head": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}, "stats": {"mean": np.ones(2)}}


def test_round_trip(tmp_path):
    path = parameters.path_of(tmp_path, "s01/inner")
    parameters.save(path, TREE, {"fold": "s01/inner", "epochs": 30})
    variables, facts = parameters.load(path, TREE, "s01/inner")
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], TREE["params"]["head"]["kernel"])
    assert variables["stats"]["mean"].dtype == np.float64 and facts["epochs"] == "30"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("where", [3, 40, -2])
def test_a_flipped_byte_is_noticed(tmp_path, where):
    path = parameters.path_of(tmp_path, "s01")
    parameters.save(path, TREE, {"fold": "s01"})
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="s01.safetensors: "):
        parameters.load(path, TREE, "s01")


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_half_a_file_is_refused(tmp_path, size):
    path = parameters.path_of(tmp_path, "s01")
    parameters.save(path, TREE, {"fold": "s01"})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="not a whole .safetensors file"):
        parameters.load(path, TREE, "s01")


def test_what_differs_from_the_code_is_named(tmp_path):
    path = parameters.path_of(tmp_path, "s01")
    parameters.save(path, TREE, {"fold": "s01"})
    wider = {**TREE, "params": {"head": {"kernel": np.zeros((2, 4), np.float32)}}}
    with pytest.raises(UserError, match="another version.*params/head/kernel is .*2, 3"):
        parameters.load(path, wider, "s01")
    with pytest.raises(UserError, match="it has no params/bias"):
        parameters.load(path, {**TREE, "params": TREE["params"] | {"bias": np.zeros(1)}}, "s01")
    with pytest.raises(UserError, match="s02.safetensors: no such file; start `fedn train` again"):
        parameters.load(parameters.path_of(tmp_path, "s02"), TREE, "s02")


def test_the_network_of_another_fold_is_refused(tmp_path):
    parameters.save(parameters.path_of(tmp_path, "s01"), TREE, {"fold": "s01"})
    swapped = parameters.path_of(tmp_path, "s01").rename(parameters.path_of(tmp_path, "s02"))
    with pytest.raises(UserError, match="s02.safetensors: holds the network of fold s01, expected s02; restore it"):
        parameters.load(swapped, TREE, "s02")
