"""Checkpoints of PyTorch and safetensors to backbones: formats, what is refused, names, numbers."""

import os
import pickle
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save as save_safetensors

from data_prep.backbones import embed, weights
from fedn_jax.core.errors import UserError
from fedn_jax.models import resnet

WIDTHS = (3, 4, 5, 6)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


def shapes(widths=WIDTHS, blocks=(2, 2, 2, 2)):
    """torchvision's names and shapes of a ResNet of basic blocks."""
    units = [("conv1", "bn1", (widths[0], 3, 7, 7))]
    for stage, width in enumerate(widths):
        for block in range(blocks[stage]):
            before = width if block else widths[max(stage - 1, 0)]
            units.append((f"layer{stage + 1}.{block}.conv1", f"layer{stage + 1}.{block}.bn1", (width, before, 3, 3)))
            units.append((f"layer{stage + 1}.{block}.conv2", f"layer{stage + 1}.{block}.bn2", (width, width, 3, 3)))
            if stage and not block:
                short = f"layer{stage + 1}.{block}.downsample"
                units.append((f"{short}.0", f"{short}.1", (width, before, 1, 1)))
    found = {}
    for conv, norm, shape in units:
        found[f"{conv}.weight"] = shape
        found |= {f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")}
        found[f"{norm}.num_batches_tracked"] = ()
    return found | {"fc.weight": (8, widths[-1]), "fc.bias": (8,)}


def state(widths=WIDTHS, blocks=(2, 2, 2, 2)):
    rng = np.random.default_rng(0)
    make = lambda name, shape: (
        np.array(7) if name.endswith("tracked") else rng.uniform(0.1, 1, shape).astype(np.float32)
    )
    return {name: make(name, shape) for name, shape in shapes(widths, blocks).items()}


@pytest.fixture(scope="module")
def tensors():
    return state()


@pytest.fixture
def file(tmp_path):
    """Content -> path; the name says nothing about the format."""

    def write(content):
        path = tmp_path / "checkpoint"
        path.write_bytes(content)
        return path

    return write


def same(got, expected):
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        assert got[key].dtype == array.dtype and got[key].shape == array.shape, key
        np.testing.assert_array_equal(got[key], array)


# ---- Formats --------------------------------------------------------------------------------------------------------


def test_safetensors(tensors, file):
    same(weights.read(file(save_safetensors(tensors))), tensors)
    small = {"a": np.array([1.5, -2], ml_dtypes.bfloat16), "b": np.zeros((0, 3), np.float16), "c": np.array(True)}
    same(weights.read(file(save_safetensors(small))), small)
    with pytest.raises(UserError, match="type of a must be one of F64, .*got 'U32'"):
        weights.read(file(save_safetensors({"a": np.zeros(2, np.uint32)})))


@pytest.mark.parametrize("container", [None, *weights.CONTAINERS])
def test_containers(container, torch, tmp_path):
    values = {"w": torch.ones(3)}
    content = values if container is None else {"epoch": 1, container: values, "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "x")
    same(weights.read(tmp_path / "x"), {"w": np.ones(3, np.float32)})


def test_other_containers_are_prefixes(torch, tensors, tmp_path):
    values = {name: torch.tensor(array) for name, array in tensors.items()}
    torch.save({"ema": {"net": values}, "optimizer": {"state": {0: {"step": 1}}}}, tmp_path / "x")
    assert weights.convert(weights.read(tmp_path / "x")).style == "ema.net."
    torch.save({"teacher": values, "student": values}, tmp_path / "x")
    assert "as student. and teacher.; choose one" in refused(weights.read(tmp_path / "x"))


def test_not_a_checkpoint(torch, file, tmp_path):
    def refused(content):
        path = tmp_path / "checkpoint"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        message = pytest.raises(UserError, weights.read, path).value.args[0]
        assert message.startswith(f"{path}: ") and "\n" not in message
        return message

    assert "no such file" in pytest.raises(UserError, weights.read, tmp_path / "none.pth").value.args[0]
    assert "top level, which holds epoch, weird" in refused({"epoch": 1, "weird": [torch.ones(2)]})
    assert "holds a list" in refused([torch.ones(2)])
    assert "holds a Tensor" in refused(torch.ones(2))
    assert "w is quantised or sparse" in refused({"w": torch.eye(3).to_sparse()})
    torch.save({"w": torch.ones(500)}, tmp_path / "whole")
    cut_off = (tmp_path / "whole").read_bytes()[:900]
    for content in (b"<!DOCTYPE html>", b"", b"PK\x03\x04", pickle.dumps({1, 2}), cut_off, os.urandom(99)):
        assert "not readable as weights" in refused(content) or "holds a" in refused(content)
    assert "damaged or cut off" in refused(save_safetensors({"w": np.ones(500, np.float32)})[:300])


class Runs:
    """What an attacker pickles."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("new", [True, False, None], ids=["zip", "legacy", "bare pickle"])
@pytest.mark.parametrize("attack", ["os.system", "nested", "eval", "Popen"])
def test_attacks_are_refused_and_do_not_run(torch, attack, new, tmp_path):
    sentinel, path = tmp_path / "sentinel", tmp_path / "x.pth"
    shell = f"touch {sentinel}"
    value = {
        "os.system": Runs(os.system, shell),
        "nested": {"state_dict": {"w": Runs(os.system, shell)}},
        "eval": Runs(eval, f"open({str(sentinel)!r}, 'w').close()"),
        "Popen": Runs(subprocess.check_call, ["touch", str(sentinel)]),
    }[attack]
    path.write_bytes(pickle.dumps(value, 2)) if new is None else torch.save(
        value, path, _use_new_zipfile_serialization=new
    )
    with pytest.raises(UserError) as error:
        weights.read(path)
    assert not sentinel.exists()
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    pickle.loads(pickle.dumps(value, 2))  # the attack is a real one
    assert sentinel.exists()


def test_without_torch(file, tensors, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"other checkpoints need PyTorch: pip install 'fedn_jax\[torch\]'"):
        weights.read(file(b"PK\x03\x04"))
    same(weights.read(file(save_safetensors(tensors))), tensors)


# ---- Names ----------------------------------------------------------------------------------------------------------

CHILDREN = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def of_children(name):
    first, _, rest = name.partition(".")
    return f"features.{CHILDREN[first]}.{rest}" if first in CHILDREN else name


RENAMES = {
    "torchvision": lambda name: name,
    "module.": lambda name: f"module.{name}",
    "base.": lambda name: name if name.startswith("fc") else f"base.{name}",
    "backbone.": lambda name: f"backbone.{name}",
    "encoder.": lambda name: f"encoder.{name}",
    "features.N.": of_children,
    "module.base.": lambda name: f"module.base.{name}",
    "module.features.N.": lambda name: f"module.{of_children(name)}",
    "backbone.N.": lambda name: of_children(name).replace("features", "backbone"),
    "module.module.encoder.": lambda name: f"module.module.encoder.{name}",
    "model.": lambda name: f"model.{name}",  # Lightning
    "module._orig_mod.": lambda name: f"module._orig_mod.{name}",  # torch.compile
    "module.encoder_q.": lambda name: f"module.encoder_q.{name}",  # MoCo
    "net.backbone.0.": lambda name: f"net.backbone.0.{name}",
    "student.backbone.N.": lambda name: of_children(name).replace("features", "student.backbone"),
}


@pytest.fixture(scope="module")
def plain(tensors):
    return weights.convert(tensors)


@pytest.mark.parametrize("style", RENAMES)
def test_styles(style, tensors, plain):
    rename = RENAMES[style]
    renamed = {rename(name): array for name, array in tensors.items()}
    got = weights.convert(renamed)
    assert got.style == style and got.widths == WIDTHS
    assert got.used == tuple(map(rename, plain.used))
    assert got.unexpected == tuple(sorted(map(rename, ("fc.bias", "fc.weight"))))
    jax.tree.map(np.testing.assert_array_equal, got.params, plain.params)


def test_params_fit_the_network(plain, tensors):
    images = np.zeros((1, 32, 32, 3), np.float32)
    wanted = jax.eval_shape(resnet.ResNet18(WIDTHS).init, jax.random.key(0), images)["params"]
    assert jax.tree.map(np.shape, plain.params) == jax.tree.map(np.shape, wanted)
    assert len(plain.used) == 100 and not any("num_batches" in name for name in (*plain.used, *plain.unexpected))
    gain = tensors["layer2.0.downsample.1.weight"] / np.sqrt(tensors["layer2.0.downsample.1.running_var"] + 1e-5)
    got = plain.params["stage2_block1"]["shortcut"]["conv"]
    kernel = tensors["layer2.0.downsample.0.weight"][:, :, 0, 0] * gain[:, None]  # [out, in]
    np.testing.assert_allclose(got["kernel"][0, 0], kernel.T, rtol=1e-5)
    bias = tensors["layer2.0.downsample.1.bias"] - tensors["layer2.0.downsample.1.running_mean"] * gain
    np.testing.assert_allclose(got["bias"], bias, rtol=1e-5)


def test_heads_are_listed_and_counters_not_needed(tensors):
    more = {**tensors, "cat_head0.sa.conv1.0.weight": np.ones(3, np.float32), "layer4_1.0.conv1.weight": np.ones(3)}
    fewer = {name: array for name, array in more.items() if not name.endswith("num_batches_tracked")}
    unexpected = ("cat_head0.sa.conv1.0.weight", "fc.bias", "fc.weight", "layer4_1.0.conv1.weight")
    assert weights.convert(more).unexpected == weights.convert(fewer).unexpected == unexpected


# ---- Refused architectures and numbers ------------------------------------------------------------------------------


def refused(tensors):
    with pytest.raises(UserError) as error:
        weights.convert(tensors)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_weights(tensors):
    lost = {name: array for name, array in tensors.items() if not name.startswith("layer3")}
    assert "lacks 25 of 100 weights: layer3.0.conv1.weight, layer3.0.bn1.weight" in refused(lost)
    assert "and 19 more" in refused(lost)
    del (one := dict(tensors))["bn1.running_var"]
    assert "lacks 1 of 100 weights: bn1.running_var; expected" in refused(one)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_other_architectures(tensors, prefix):
    looks = lambda names: refused({prefix + name: np.ones(2, np.float32) for name in names})
    assert "looks like ResNet34" in refused({prefix + n: a for n, a in state(blocks=(3, 4, 6, 3)).items()})
    assert "looks like ResNet50" in looks([*tensors, "layer1.0.conv3.weight"])
    assert "looks like EfficientNet" in looks(["conv_stem.weight", "blocks.0.0.conv_dw.weight"])
    assert "looks like EfficientNet" in looks(["features.0.0.weight", "features.1.0.block.0.0.weight"])
    assert "looks like the IResNet" in looks([*tensors, "layer1.0.prelu.weight", "prelu.weight"])
    assert "vision transformer" in looks(["cls_token", "patch_embed.proj.weight"])
    assert "has no conv1.weight" in looks(["a.b", "c.d"]) and f"{prefix}a.b, {prefix}c.d" in looks(["a.b", "c.d"])
    assert "has not: " in looks([*tensors, "layer1.0.se.fc1.weight"])
    assert "layer2.0.conv1.bias" in looks([*tensors, "layer2.0.conv1.bias"])


def test_two_networks(tensors):
    both = {f"{prefix}.{name}": array for prefix in ("base", "encoder") for name, array in tensors.items()}
    assert "holds 2 networks, with names as base. and encoder." in refused(both)
    part = {name: array for name, array in both.items() if not name.startswith("encoder.layer2")}
    assert weights.convert(part).style == "base."
    assert "such as --rename '^base\\.='" in refused(both)
    chosen = weights.convert(both, {r"^encoder\.": ""})
    assert chosen.style == "torchvision" and chosen.used[0] == "conv1.weight"
    assert len([name for name in chosen.unexpected if name.startswith("base.")]) == 102


def test_any_names_can_be_made_to_fit(tensors, plain):
    odd = {name.replace("layer", "stage_").replace("conv1", "first"): array for name, array in tensors.items()}
    assert "has no conv1.weight" in refused(odd)
    got = weights.convert(odd, {"stage_": "layer", "first": "conv1"})
    jax.tree.map(np.testing.assert_array_equal, got.params, plain.params)
    for rule, message in (("[", "no regular expression"), ("nothing", "fits no name")):
        with pytest.raises(UserError, match=message):
            weights.convert(odd, {rule: ""})


@pytest.mark.parametrize(
    "name, shape, expected",
    [
        ("conv1.weight", (3, 3, 3, 3), [3, 3, 7, 7]),
        ("conv1.weight", (3, 1, 7, 7), [3, 3, 7, 7]),
        ("layer2.1.bn2.bias", (7,), [4]),
        ("layer1.0.conv1.weight", (9, 3, 3, 3), [9, 3, 7, 7]),
        ("layer3.0.conv1.weight", (), [0, 4, 3, 3]),
    ],
)
def test_shapes(tensors, name, shape, expected):
    text = refused({**tensors, name: np.ones(shape, np.float32)})
    assert f"expected {expected}" in text and "has shape" in text


def test_empty_network():
    empty = {name: np.zeros([0 if size in WIDTHS else size for size in shape]) for name, shape in shapes().items()}
    assert "has shape" in refused(empty)


def test_numbers(tensors):
    ones = np.ones(3, np.float32)
    for value in (np.nan, np.inf, -np.inf):
        assert "bn1.running_var holds NaN or infinity" in refused({**tensors, "bn1.running_var": ones * value})
    assert "holds NaN or infinity" in refused({**tensors, "bn1.running_mean": np.full(3, 1e300)})
    assert "bn1.running_var holds negative variances" in refused({**tensors, "bn1.running_var": -ones})
    assert "bn1.bias holds int8" in refused({**tensors, "bn1.bias": ones.astype(np.int8)})
    large = {"bn1.weight": ones * 3e38, "bn1.running_var": ones * 0}
    assert "overflow" in refused({**tensors, **large})


def test_narrow_numbers(tensors, plain):
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
        got = weights.convert({name: array.astype(dtype) for name, array in tensors.items()})
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.05, atol=0.05), got.params, plain.params)


# ---- Backbone files -------------------------------------------------------------------------------------------------


def test_file_to_backbone(tensors, plain, file, tmp_path):
    source, out = file(save_safetensors(tensors)), tmp_path / "made" / "b.safetensors"
    got = weights.convert_file(source, out, "imagenet")
    loaded = embed.load_backbone(out)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, plain.params)
    assert got.widths == loaded.widths == WIDTHS and loaded.size == 224
    assert (loaded.mean, loaded.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert loaded.description == "checkpoint, torchvision, normalization imagenet"
    assert next(embed.embed(np.zeros((1, 32, 32, 3), np.uint8), loaded)).shape == (1, 6)


def test_settings_are_kept(tensors, file, tmp_path):
    from hashlib import sha256

    from safetensors import safe_open

    source, out = file(save_safetensors(tensors)), tmp_path / "b.safetensors"
    weights.convert_file(source, out, "half", size=112, description="DMUE, AffectNet")
    loaded = embed.load_backbone(out)
    assert loaded[2:5] == ((0.5,) * 3, (0.5,) * 3, 112) and loaded.description == "DMUE, AffectNet"
    with safe_open(out, "numpy") as stored:
        assert stored.metadata()["source_sha256"] == sha256(source.read_bytes()).hexdigest()
    assert weights.NORMALIZATIONS["none"] == ((0.0,) * 3, (1.0,) * 3)


def test_nothing_is_overwritten_or_half_written(tensors, file, tmp_path):
    source, out = file(save_safetensors(tensors)), tmp_path / "b.safetensors"
    with pytest.raises(UserError, match="normalization must be one of imagenet, half, none; got 'imagnet'.*'imagenet'"):
        weights.convert_file(source, out, "imagnet")
    with pytest.raises(UserError, match="size must be at least 32"):
        weights.convert_file(source, out, "none", size=8)
    with pytest.raises(UserError, match=r"named \*.safetensors; got .pth"):
        weights.convert_file(source, tmp_path / "b.pth", "none")
    with pytest.raises(UserError, match="checkpoint: lacks"):
        weights.convert_file(file(save_safetensors({"conv1.weight": np.ones(2, np.float32)})), out, "none")
    assert list(tmp_path.iterdir()) == [source]
    out.write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        weights.convert_file(file(save_safetensors(tensors)), out, "none")
    assert out.read_text() == "precious"


def test_torch_is_not_needed():
    code = (
        "import sys; from data_prep.backbones import weights; sys.exit('torch' in sys.modules or 'jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- Files that torch wrote -----------------------------------------------------------------------------------------


def torch_resnet(torch, widths):
    """ResNet18 as its paper and torchvision define it, with statistics as after training."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before, width, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
            self.downsample = None
            if stride > 1 or before != width:
                self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])
            before = widths[0]
            for stage, width in enumerate(widths):
                blocks = Block(before, width, 2 if stage else 1), Block(width, width, 1)
                setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
                before = width
            self.fc = nn.Linear(before, 8)

        def forward(self, x):
            x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))

    torch.manual_seed(0)
    net = Net().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_files_of_torch(torch, new, tmp_path):
    square = torch.arange(24.0).reshape(2, 3, 4)
    values = {
        "plain": square,
        "turned": square.permute(2, 0, 1),
        "part": square[1, :, ::2],
        "last": torch.ones(2, 3, 4, 5).cumsum(1).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "half": square.half(),
        "brain": square.bfloat16(),
        "double": square.double(),
        "flag": square > 5,
        "parameter": torch.nn.Parameter(square + 1),
    }
    rest = {"epoch": 3, "best": np.float64(0.5), "optimizer": torch.optim.SGD([values["parameter"]], 0.1).state_dict()}
    path = tmp_path / "x.pth.tar"
    content = {**rest, "state_dict": values}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    got = weights.read(path)
    assert got.keys() == values.keys()
    for name, value in values.items():
        assert got[name].shape == tuple(value.shape) and str(got[name].dtype) == {"brain": "float32"}.get(
            name, str(value.dtype).removeprefix("torch.")
        )
        np.testing.assert_array_equal(got[name].astype(np.float64), value.detach().double().numpy())


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_pickled_model_of_torch(torch, new, tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    torch.save({"model": model}, tmp_path / "x", _use_new_zipfile_serialization=new)
    with pytest.raises(UserError, match=r"needs torch\.nn.*: .*save only model.state_dict\(\)"):
        weights.read(tmp_path / "x")


def outputs(torch, net, path, tmp_path, size, count=2):
    """Embeddings of the same images: from PyTorch, and from the converted file."""
    images = np.random.default_rng(0).normal(size=(count, size, size, 3)).astype(np.float32)
    out = tmp_path / "b.safetensors"
    weights.convert_file(path, out, "none")
    backbone = embed.load_backbone(out)
    with torch.no_grad():
        expected = net.float()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    return jax.jit(resnet.ResNet18(backbone.widths).apply)({"params": backbone.params}, images), expected


def test_parity_with_torch_at_full_size(torch, tmp_path):
    net = torch_resnet(torch, resnet.FULL)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "x.pth")
    got, expected = outputs(torch, net, tmp_path / "x.pth", tmp_path, 224)
    assert got.shape == (2, 512) and np.abs(expected).mean() > 0.05
    assert np.abs(got - expected).max() <= 1e-4


@pytest.mark.parametrize("case", ["legacy module.", "channels last", "half", "children"])
def test_parity_with_torch(torch, case, tmp_path):
    net = torch_resnet(torch, (8, 16, 24, 32))
    content, new = net.state_dict(), case != "legacy module."
    if case == "legacy module.":
        content = {"state_dict": torch.nn.DataParallel(net).state_dict(), "best_acc": np.float32(0.6)}
    if case == "channels last":
        content = net.to(memory_format=torch.channels_last).state_dict()
    if case == "half":
        content = net.half().state_dict()
    if case == "children":
        parts = [net.conv1, net.bn1, torch.nn.ReLU(), torch.nn.MaxPool2d(3), net.layer1, net.layer2, net.layer3]
        features = torch.nn.Sequential(*parts, net.layer4)
        content = {"model_state_dict": torch.nn.ModuleDict({"features": features, "fc": net.fc}).state_dict()}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    got, expected = outputs(torch, net, tmp_path / "x.pth", tmp_path, 64)
    assert np.abs(expected).mean() > 0.05 and np.abs(got - expected).max() <= 1e-4
