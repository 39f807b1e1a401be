"""ResNet18 against convolutions written by hand, folding, and the stream of batches."""

import itertools

import jax
import numpy as np
import pytest

from data_prep.backbones import embed
from fedn_jax.core.errors import UserError
from fedn_jax.models import resnet


def conv(x, kernel, bias, stride, padding):
    """[H, W, c] by [h, w, c, d], the slow way."""
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    size = kernel.shape[0]
    high, wide = ((n - size) // stride + 1 for n in x.shape[:2])
    out = np.zeros((high, wide, kernel.shape[-1]))
    for i, j in itertools.product(range(high), range(wide)):
        patch = x[i * stride : i * stride + size, j * stride : j * stride + size]
        out[i, j] = np.tensordot(patch, kernel, 3) + bias
    return out


def pool(x):
    """3 x 3 maximum, stride 2, padding 1."""
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    high, wide = ((n - 3) // 2 + 1 for n in x.shape[:2])
    return np.array([[x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(wide)] for i in range(high)])


def norm(x, layer, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * layer["scale"] + layer["bias"]


def oracle(params, stats, image):
    """ResNet18 of one image [H, W, 3], torchvision's definition, with batch normalisation where there is one."""

    def unit(x, where, name, stride, padding):
        layer = where[0][name]
        bias = layer["conv"].get("bias", 0.0)
        y = conv(x, np.asarray(layer["conv"]["kernel"], np.float64), bias, stride, padding)
        return norm(y, layer["norm"], where[1][name]["norm"]) if "norm" in layer else y

    root = params, stats
    x = pool(np.maximum(unit(image, root, "stem", 2, 3), 0))
    for stage, block in itertools.product(range(1, 5), (1, 2)):
        name = f"stage{stage}_block{block}"
        here = params[name], stats.get(name, {})
        stride = 2 if stage > 1 and block == 1 else 1
        y = np.maximum(unit(x, here, "conv1", stride, 1), 0)
        y = unit(y, here, "conv2", 1, 1)
        x = np.maximum(y + (unit(x, here, "shortcut", stride, 0) if "shortcut" in params[name] else x), 0)
    return x.mean((0, 1))


def embedded(faces, backbone, *batch_size):
    """All batches, one after the other."""
    return np.concatenate(list(embed.embed(faces, backbone, *batch_size)))


IMAGES = np.random.default_rng(1).normal(size=(2, 37, 45, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    """Variables of a tiny network with batch normalisations that do something."""
    model = resnet.ResNet18((4, 6, 8, 10), norm=True)
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    rng = np.random.default_rng(0)

    def fill(leaf):
        kernel = len(leaf.shape) == 4
        values = rng.normal(0, 0.3, leaf.shape) if kernel else rng.uniform(0.5, 1.5, leaf.shape)
        return values.astype(np.float32)

    return model, jax.tree.map(fill, shapes)


def test_network_against_slow_convolutions(trained):
    model, variables = trained
    expected = [oracle(variables["params"], variables["batch_stats"], image) for image in IMAGES]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, IMAGES), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (5, 8), (6, 7), (9, 3)])
def test_fewer_multiplications_give_the_same_convolution(shape):
    rng = np.random.default_rng(3)
    x, kernel = rng.normal(size=(2, *shape, 5)), rng.normal(size=(3, 3, 5, 4))
    expected = [conv(image, kernel, 0, 1, 1) for image in x]
    with jax.enable_x64(True):
        np.testing.assert_allclose(resnet.winograd_convolve(x, kernel), expected, rtol=1e-12, atol=1e-12)


def test_network_with_fewer_multiplications_is_the_same_network():
    plain = resnet.ResNet18((4, 4, 4, 4))
    fewer = plain.clone(winograd=True)
    variables = plain.init(jax.random.key(0), IMAGES)
    lowered = [jax.jit(net.apply).lower(variables, IMAGES) for net in (plain, fewer)]
    counts = [one.as_text().count("convolution(") for one in lowered]
    assert counts[0] - counts[1] == 4  # all of stage 1
    expected, got = (one.compile()(variables, IMAGES) for one in lowered)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_folding_changes_nothing(trained):
    model, variables = trained
    folded = resnet.fold(variables)
    plain = resnet.ResNet18(model.widths)
    np.testing.assert_allclose(
        jax.jit(plain.apply)(folded, IMAGES), jax.jit(model.apply)(variables, IMAGES), rtol=1e-4, atol=1e-5
    )
    expected = [oracle(folded["params"], {}, image) for image in IMAGES]
    np.testing.assert_allclose(jax.jit(plain.apply)(folded, IMAGES), expected, rtol=1e-4, atol=1e-5)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), IMAGES)
    assert jax.tree.map(np.shape, folded) == jax.tree.map(np.shape, shapes)


def test_fold_batchnorm_by_hand():
    kernel = np.full((1, 1, 1, 1), 3.0, np.float32)
    folded = resnet.fold_batchnorm(kernel, np.array([2.0]), np.array([1.0]), np.array([4.0]), np.array([0.25]), 0.0)
    assert folded["kernel"].item() == pytest.approx(12.0) and folded["bias"].item() == pytest.approx(-15.0)


def test_network_with_norm_can_be_trained(trained):
    model, variables = trained
    run = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))
    out, updated = run(variables, IMAGES)
    assert out.shape == (2, 10)
    assert not np.allclose(
        updated["batch_stats"]["stem"]["norm"]["mean"], variables["batch_stats"]["stem"]["norm"]["mean"]
    )


def test_against_transformers(trained):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.ResNetConfig(
        layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[4, 6, 8, 10], embedding_size=4
    )
    other = transformers.ResNetModel(config).eval()
    torch_of = lambda leaf: torch.from_numpy(np.array(leaf))
    params, stats = trained[1]["params"], trained[1]["batch_stats"]

    def put(layer, where, seen):
        layer.convolution.weight.data = torch_of(where["conv"]["kernel"].transpose(3, 2, 0, 1))
        layer.normalization.weight.data, layer.normalization.bias.data = map(
            torch_of, (where["norm"]["scale"], where["norm"]["bias"])
        )
        layer.normalization.running_mean.data = torch_of(seen["norm"]["mean"])
        layer.normalization.running_var.data = torch_of(seen["norm"]["var"])

    put(other.embedder.embedder, params["stem"], stats["stem"])
    for stage, block in itertools.product(range(4), range(2)):
        layer, name = other.encoder.stages[stage].layers[block], f"stage{stage + 1}_block{block + 1}"
        put(layer.layer[0], params[name]["conv1"], stats[name]["conv1"])
        put(layer.layer[1], params[name]["conv2"], stats[name]["conv2"])
        if "shortcut" in params[name]:
            put(layer.shortcut, params[name]["shortcut"], stats[name]["shortcut"])
    with torch.no_grad():
        expected = other(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2))).pooler_output[:, :, 0, 0].numpy()
    np.testing.assert_allclose(jax.jit(trained[0].apply)(trained[1], IMAGES), expected, rtol=1e-4, atol=1e-5)


# ---- Backbones ------------------------------------------------------------------------------------------------------

FACES = np.random.default_rng(2).integers(0, 255, (7, 48, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def backbone():
    return embed.load_backbone("random:3")


def test_batches_do_not_matter(backbone):
    whole = embedded(FACES, backbone, 7)
    assert whole.shape == (7, 128) and whole.dtype == np.float16
    for batch_size in (1, 3, 16):
        np.testing.assert_allclose(embedded(iter(FACES), backbone, batch_size), whole, rtol=2e-3, atol=1e-2)


def test_no_frames(backbone):
    assert list(embed.embed([], backbone)) == []


def test_normalisation(backbone):
    model = resnet.ResNet18(backbone.widths)
    images = (FACES.astype(np.float32) / 255 - np.float32(backbone.mean)) / np.float32(backbone.std)
    expected = jax.jit(model.apply)({"params": backbone.params}, images)
    np.testing.assert_allclose(embedded(FACES, backbone), expected, rtol=2e-3, atol=1e-2)


def test_random_says_so_and_depends_on_the_seed(backbone):
    assert "UNTRAINED" in backbone.description and "3" in backbone.description
    assert embed.load_backbone("random:3").sha == backbone.sha
    assert embed.load_backbone("random").sha == embed.load_backbone("random:0").sha != backbone.sha


def test_file_round_trip(backbone, tmp_path):
    path = tmp_path / "b.safetensors"
    embed.save_backbone(
        path, backbone.params, backbone.widths, backbone.mean, backbone.std, 112, {"description": "d"}, "float32"
    )
    loaded = embed.load_backbone(path)
    assert loaded[1:5] == backbone[1:5] and loaded.description == "d" and loaded.sha == backbone.sha
    jax.tree.map(np.testing.assert_array_equal, loaded.params, backbone.params)


def test_sha_depends_on_weights_and_settings(backbone, tmp_path):
    path, shas = tmp_path / "b.safetensors", set()
    changed = jax.tree.map(lambda leaf: leaf + 0.25, backbone.params)
    for params, mean in ((backbone.params, (0.5,) * 3), (backbone.params, (0.4,) * 3), (changed, (0.5,) * 3)):
        embed.save_backbone(path, params, backbone.widths, mean, backbone.std, 112, {})
        shas.add(embed.load_backbone(path).sha)
    assert len(shas) == 3


def test_wrong_files(backbone, tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(UserError, match="no such file or name"):
        embed.load_backbone("resnet1000")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="not a safetensors file"):
        embed.load_backbone(tmp_path / "text")
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    with pytest.raises(UserError, match="not a backbone"):
        embed.load_backbone(tmp_path / "other")
    wrong = {**backbone.params, "stem": backbone.params["stage1_block1"]["conv1"]}
    embed.save_backbone(tmp_path / "wrong", {"x": wrong}, backbone.widths, (0,) * 3, (1,) * 3, 112, {})
    with pytest.raises(UserError, match="do not fit widths"):
        embed.load_backbone(tmp_path / "wrong")


def test_shipped_backbone():
    path = embed.NAMES["slim"]
    assert path.is_file() and path.stat().st_size < 3e6
    slim = embed.load_backbone("slim")
    assert slim.widths == resnet.SLIM and slim.size == 112 and "drawn faces" in slim.description
