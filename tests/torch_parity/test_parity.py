"""The comparison with PyTorch: it passes, it fails where it should, and it says where."""

import functools
import json
import re
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from fedn_jax.cli.main import main
from fedn_jax.core.types import Detections
from fedn_jax.engine import train_step
from fedn_jax.models import ceflnet, torch_weights
from fedn_jax.models import layers as ours
from fedn_jax.torch_parity import reference

torch = pytest.importorskip("torch")
from fedn_jax.torch_parity import (  # noqa: E402
    cases,
    detections,
    fesnet,
    fold,
    layers,
    levels,
    measure,
    network,
    recognisers,
    targets,
    training,
    weights,
)

SMALL = network.SMALL


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with levels.one_thread():
        yield


def verdicts(lines):
    lines = list(lines)
    assert lines
    return [(one.level, one.case, one.precision, one.first) for one in lines if not one.passed]


# ---- Levels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers(dtype):
    assert not verdicts(layers.run((dtype,)))


def test_windows_and_targets_are_equal():
    assert not verdicts(targets.cutting())
    assert not verdicts(targets.assignment(40))


def test_losses():
    assert not verdicts(targets.costs(("float64",)))


ELSEWHERE = {  # `test_losses`; and both at once in table3/no_attention
    "table4/iou", "table4/giou", "table3/no_segment_attention", "table3/no_window_attention",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(cases.VARIANTS) - ELSEWHERE))
def test_forward_losses_and_gradients_of_every_variant(name):
    few = {name: cases.VARIANTS[name]}
    assert not verdicts(network.run(("float32", "float64") if name == "fedn" else ("float64",), few, False))


def test_the_recognisers():
    assert not verdicts(recognisers.run())


def test_a_changed_recogniser_is_noticed(monkeypatch):
    monkeypatch.setattr(ceflnet, "HEADS", 2)  # shapes stay
    assert verdicts(recognisers.run(("float32",)))


def test_optimiser():
    assert not verdicts(training.adam(400))


def test_training_steps():
    assert not verdicts(training.steps(("float64",), count=12))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_detections(dtype):
    assert not verdicts(detections.run((dtype,), windows=6))


@pytest.mark.parametrize(
    ("name", "train", "dtype", "refine"),
    [
        ("LSDM", True, "float64", fesnet.REFINE), ("MTAM", True, "float64", fesnet.REFINE),
        ("MTAM", True, "float32", 0), ("LSDM", False, "float32", fesnet.REFINE),
    ],
)  # fmt: skip
def test_fesnet(name, train, dtype, refine):
    assert not verdicts(fesnet.compare(name, train, dtype, refine))


# ---- What is broken is found ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program():
    return network.make_ours(cases.make(cases.configure({}, SMALL)), hasty=True)


@pytest.fixture
def compiled_once(program, monkeypatch):
    """Our side of a whole network is one program for all tests that change its parameters only."""
    monkeypatch.setattr(network, "make_ours", lambda pair, hasty: program)


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.parametrize(
    ("layer", "first"),
    [("fusion.reduce", "segments"), ("blocks.1.conv", "block_1"), ("anchored.0.class_output", "anchored.0 logits")],
)
def test_a_changed_layer_is_located(monkeypatch, layer, first):
    make = cases.make

    def changed(*args, **options):
        pair = make(*args, **options)
        state = torch_weights.to_torch(pair.params)
        state[f"{layer}.weight"] = state[f"{layer}.weight"] + np.float32(1e-3)
        return pair._replace(params=torch_weights.from_torch(state, pair.params))

    monkeypatch.setattr(cases, "make", changed)
    lines = list(network.run(("float64",), {"x": {}}, False))
    assert [one.passed for one in lines] == [False, False, False]
    assert lines[0].first == first


def test_a_changed_layer_of_fesnet_is_located(monkeypatch):
    whole = fesnet.to_torch

    def changed(variables):
        state = whole(variables)
        state["temporal.weight"] = state["temporal.weight"] + np.float32(1e-3)
        return state

    monkeypatch.setattr(fesnet, "_theirs", functools.partial(_theirs_of, changed, fesnet._theirs))
    lines = list(fesnet.compare("MTAM", False, "float64"))
    assert not lines[0].passed and lines[0].first == "temporal"


def _theirs_of(changed, theirs, module, variables, *rest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fesnet, "to_torch", changed)
        return theirs(module, variables, *rest)


class Same(nn.Module):
    """A convolution with Flax's padding, which differs from PyTorch's at stride 2."""

    features: int
    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x):
        kernel, bias = ours.Affine(self.kernel * x.shape[-1], self.features, name="taps")()
        kernel = kernel.reshape(self.kernel, x.shape[-1], self.features)
        y = jax.lax.conv_general_dilated(x, kernel, (self.stride,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return y + bias


@pytest.mark.parametrize(
    ("name", "wrong", "work", "args"),
    [
        ("Conv", Same, layers.convolution, (2, layers.LENGTH)),
        ("GroupNorm", functools.partial(ours.GroupNorm, epsilon=1e-6), layers.group_norm, (True, 1e-3)),
        ("masked_softmax", lambda x, valid, axis: jax.nn.softmax(x, axis) * valid, layers.softmax, (2,)),
    ],
)
def test_traps_of_layers(monkeypatch, name, wrong, work, args):
    right, expected = work("float64", *args)
    assert measure.difference(name, right, expected).relative < layers.TOLERANCES["float64"]
    monkeypatch.setattr(ours, name, wrong)
    got, expected = work("float64", *args)
    assert measure.difference(name, got, expected).relative > 1e-3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda hyper: optax.adamw(hyper.learning_rate, weight_decay=hyper.weight_decay),
        lambda hyper: optax.adam(hyper.learning_rate),
        lambda hyper: optax.chain(
            optax.add_decayed_weights(hyper.weight_decay), optax.adam(hyper.learning_rate, eps=1e-7)
        ),
        lambda hyper: optax.chain(
            optax.add_decayed_weights(hyper.weight_decay), optax.adam(hyper.learning_rate, eps=0.0, eps_root=1e-16)
        ),
    ],
    ids=["decoupled decay", "no decay", "another epsilon", "epsilon inside the root"],
)
def test_traps_of_the_optimiser(monkeypatch, wrong):
    monkeypatch.setattr(train_step, "make_optimizer", wrong)
    assert verdicts(training.adam(200))


@pytest.mark.usefixtures("compiled_once")
def test_the_order_of_the_packed_projections_matters(monkeypatch):
    monkeypatch.setattr(torch_weights, "IN_PROJ", ("key", "query", "value"))
    lines = list(network.run(("float64",), {"x": {}}, False))
    assert not lines[0].passed and lines[0].first == "segments"


def test_biases_of_the_attention_are_compared():
    pair = cases.make(cases.configure({}, SMALL))
    for name, array in torch_weights.to_torch(pair.params).items():
        assert (array != 0).all(), name  # a zero would hide a bias that one side ignores


def test_initial_weights_are_uniform_as_pytorchs():
    pair = cases.make(cases.configure({"model.width": 64, "model.head_width": 64, "model.groups": 4}, SMALL), width=64)
    params = jax.jit(pair.task.init)(jax.random.key(0))["params"]
    peer = torch.nn.Conv1d(64, 64, 3)
    limit = 1 / np.sqrt(3 * 64)
    kernel = np.asarray(params["blocks_0"]["Conv_0"]["taps"]["kernel"])
    for drawn in (kernel, peer.weight.detach().numpy()):
        assert 0.98 * limit < np.abs(drawn).max() <= limit
        assert np.std(drawn) == pytest.approx(limit / np.sqrt(3), rel=0.05)


# ---- Differences and verdicts ---------------------------------------------------------------------------------------


def test_differences():
    assert measure.difference("x", [1.0, 2.0], [1.0, 4.0], scale=8.0).relative == 0.25
    assert measure.difference("x", [0.0], [0.0]).relative == 0
    assert measure.difference("x", [1e-30], [0.0]).relative == np.inf
    assert measure.difference("x", [1.0], [np.nan]).relative == np.inf
    assert "shape [1] instead of [2]" in measure.difference("x", [1.0], [1.0, 2.0]).name
    alone = measure.differences({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0})
    assert [(one.name, one.relative) for one in alone] == [
        ("a", 0), ("c: one side only", np.inf), ("b: one side only", np.inf),
    ]  # fmt: skip


def test_verdicts():
    near, far = measure.difference("near", 1.0, 1.0 + 1e-7), measure.difference("far", 1.0, 2.0)
    line = measure.judge("2 forward", "x", "float32", 1e-5, [near, far])
    assert (line.passed, line.first, line.worst, line.count) == (False, "far", "far", 2)
    assert measure.judge("2 forward", "x", "float32", 1e-5, [near]).passed
    assert not measure.judge("2 forward", "x", "float32", 1e-5, []).passed  # nothing compared is no success
    assert not measure.passed([])


# ---- The command ----------------------------------------------------------------------------------------------------


def lines_of(passed):
    good = measure.judge("2 forward", "fedn", "float32", 1e-5, [measure.difference("block_0", 1.0, 1.0)])
    bad = measure.judge("2 forward", "x", "float32", 1e-5, [measure.difference("block_0", 1.0, 2.0)], "a note")
    return [good] if passed else [good, bad]


@pytest.mark.parametrize("passed", [True, False])
def test_the_command_says_what_it_found(monkeypatch, tmp_path, capsys, passed):
    monkeypatch.setattr(levels, "run", lambda *args: iter(lines_of(passed)))
    code = main(["parity", "--quick", "--out", str(tmp_path)])
    assert code == (0 if passed else 1)
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80
    assert ("block_0" in printed) == (not passed)
    assert json.loads((tmp_path / "parity.json").read_text())["passed"] is passed
    page = (tmp_path / "parity.html").read_text()
    assert ("The two differ" in page) == (not passed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.model.heads=4"], "belongs to --weights"),
        (["--rename", "a=b"], "belongs to --weights"),
        (["--weights", "missing.pth"], "no such file"),
    ],
)
def test_mistakes_take_one_line(words, message, capsys, tmp_path):
    assert main(["parity", *words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_ones_own_weights(tmp_path, capsys, ending):
    pair = cases.make(cases.configure({"model.head": "coupled"}))
    state = {f"module.{name}": torch.from_numpy(array) for name, array in torch_weights.to_torch(pair.params).items()}
    path = tmp_path / f"own.{ending}"
    if ending == "pth":
        torch.save({"state_dict": state}, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    words = ["parity", "--weights", str(path), "--out", str(tmp_path), "--config.model.heads=2"]
    words += [
        "--config.model.groups=2",
        "--config.window.segments=32",
        "--config.anchors.reaches=[[0,9],[8,32],[9,64]]",
    ]
    assert main([*words, "--rename", "^module[.]="]) == 0
    assert "float64" in capsys.readouterr().out
    assert main(words) == 2
    assert "missing: blocks.0.conv.weight" in capsys.readouterr().err
    assert main([*words, "--rename", "module"]) == 2
    assert "expected REGEX=NEW" in capsys.readouterr().err


def test_the_configuration_says_what_shapes_do_not_tell():
    for value in ("literal", "scaled"):
        config = cases.configure({"model.window_attention": value})
        state = torch_weights.to_torch(cases.make(config).params)
        fitted, classes, width = weights.fit(state, cases.configure({"model.window_attention": value}))
        assert (fitted.model.window_attention, classes, width) == (value, cases.CLASSES, cases.WIDTH)


def test_without_pytorch_it_says_what_to_install(monkeypatch, capsys):
    from importlib import util

    monkeypatch.setattr(util, "find_spec", lambda name: None)
    assert main(["parity"]) == 2
    assert "pip install torch" in capsys.readouterr().err


def test_the_reference_imports_nothing_of_ours():
    files = sorted(Path(reference.__file__).parent.glob("*.py"))
    imported = {name for file in files for name in re.findall(r"(?:from|import) (fedn_jax[a-z_.]*)", file.read_text())}
    assert len(files) > 4 and imported == {"fedn_jax.torch_parity.reference", "fedn_jax.torch_parity.reference.model"}


# ---- The fold -------------------------------------------------------------------------------------------------------


def fold_numbers(f1=0.5, **changes):
    return dict.fromkeys((*fold.NUMBERS, "Score threshold"), 0.25) | {fold.SPOTTED: f1} | changes


def fold_verdict(*values):
    found = fold.compare([(seed, *pair) for seed, pair in enumerate(values)])
    return measure.judge("9 fold", "metrics", "float64", fold.TOLERANCE, found)


def test_a_fold_that_spots_nothing_compares_nothing():
    good, nothing = fold_numbers(), fold_numbers(0.0, **{"Recognition accuracy": None})
    assert fold_verdict((good, good), (good, good)).passed
    failed = fold_verdict((good, good), (nothing, nothing))
    assert not failed.passed and failed.first == "Spotting F1, seed 1: nothing is spotted, nothing to compare"


def test_a_number_that_is_never_above_0_compares_nothing():
    good, silent = fold_numbers(), fold_numbers(**{"Detection mAP": 0.0})
    assert fold_verdict((good, good), (silent, silent)).passed
    assert fold_verdict((silent, silent)).first == "Detection mAP: 0 with every seed, nothing to compare"


def test_a_number_of_one_side_only_is_a_difference():
    good, less = fold_numbers(), fold_numbers(**{"Recognition accuracy": None})
    assert fold_verdict((good, good), (less, less)).passed
    assert not fold_verdict((good, less)).passed and not fold_verdict((less, good)).passed


def test_empty_arrays_compare_nothing():
    empty = measure.difference("x", [], [])
    assert not measure.judge("2 forward", "x", "float32", 1e-5, [empty]).passed
    assert measure.judge("2 forward", "x", "float32", 1e-5, [empty, measure.difference("y", [1.0], [1.0])]).passed
    none = Detections(np.zeros((0, 2)), np.zeros(0), np.zeros(0, int), np.zeros(0, bool))
    assert any(not np.isfinite(one.relative) for one in detections.compare("x", none, none))
