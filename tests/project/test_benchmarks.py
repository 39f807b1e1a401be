"""Parts of the benchmarks, at tiny sizes: that they run and compare equal things; never how fast."""

import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from fedn_jax.core import config
from fedn_jax.torch_parity import cases, measure

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import _count  # noqa: E402
import _standin  # noqa: E402
import _timing  # noqa: E402
import apex  # noqa: E402
import preparation  # noqa: E402
import suppression  # noqa: E402
import torch_reference  # noqa: E402


def test_the_stand_in_has_the_paper_size():
    default, options = config.default(), _standin.paper()
    for section in ("model", "anchors"):
        assert default[section].to_dict() == vars(getattr(options, section))
    assert {name: default.loss[name] for name in vars(options.loss)} == vars(options.loss)


def test_the_stand_in_counts_what_it_says():
    options = _standin.paper(width=32, head_width=32, head_depth=1, heads=4)
    options.anchors.reaches = [[0, 16], [8, 64]]
    problem = _standin.make(_standin.Size(3, 4, 400, 10, 4, 16), options)
    assert len(problem.folds.name) == 3 and problem.store.inputs.shape == (1600, 16)
    budget = _count.count(problem, 4)
    assert budget.state_bytes > 3 * 4 * budget.parameters and budget.step > 2 * budget.forward > 0
    assert _count.count(problem, 8).moved == pytest.approx(budget.moved, rel=1e-3)  # of a window, not of a batch


def test_the_process_whose_memory_is_measured_finds_what_it_imports():
    exec("\n".join(line for line in preparation.ALONE.splitlines() if "import" in line))


def test_nms_in_c_keeps_the_same(tmp_path):
    peer = suppression.compiled(str(tmp_path))
    if peer is None:
        pytest.skip("no C++ compiler")
    interval, score = suppression.draw(3, 200)
    for threshold, most in ((0.01, 5), (0.5, 200)):
        np.testing.assert_array_equal(
            suppression.ours(*jax.device_put((interval, score)), threshold, most),
            peer(interval, score, threshold, most),
        )


def test_the_economical_pytorch_is_the_same_network():
    pair = cases.make(cases.configure({}))
    given = cases.batch(pair, cases.toy(gaps=False), range(4)).theirs
    args = [given[name] for name in ("frames", "frames_valid", "segments_inside")]
    with torch.no_grad():
        expected, got = pair.network(*args), torch_reference.economical(pair.network)(*args)
    for name in ("offsets", "free", "logits"):
        seen = expected["positions"].reshape(*expected["positions"].shape, *[1] * (expected[name].ndim - 2)).numpy()
        assert measure.difference(name, got[name].numpy() * seen, expected[name].numpy() * seen).relative < 1e-5


def test_speeds_are_measured_in_turn(monkeypatch):
    monkeypatch.setattr(torch_reference, "FRAMES", 400)
    given = torch_reference.setting(small=True)
    contenders = [next(torch_reference.ours(given, 1)), *torch_reference.theirs(given, "literal", 1)]
    assert [one.work for one in contenders] == ["predict", "predict", "video", "train"]
    monkeypatch.setattr(torch_reference, "WORK", ("predict",))
    lines = torch_reference.measure(contenders, rounds=1)["predict"]
    assert len(lines) == 3 and "x PyTorch literal" in lines[-1]
    assert all(float(number) > 0 for line in lines[:-1] for number in line.split()[-2:])


def test_the_machine_and_the_command_are_printed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/sweep.py", "--small"])
    command, machine = _timing.machine().splitlines()
    assert command == "python benchmarks/sweep.py --small" and "jax" in machine


def test_differences_from_the_apex_by_hand():
    """A picture that moves away from the onset and back; the frame that is farthest has the largest flow."""
    rng = np.random.default_rng(0)
    first = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 2)
    frames = np.stack([np.roll(first, shift, 1) for shift in (0, 1, 2, 1, 0)])
    moved = apex.strengths(frames, apex.dis)
    assert int(np.argmax(moved)) == 2 and moved[0] < 0.1
    found = [apex.Expression(20, 5, {"middle": 10}), apex.Expression(40, 22, {"middle": 20})]
    lines = apex.table(found)
    assert (
        "2 expressions" in lines[0]
        and "30.0 frames" in lines[0]
        and lines[2].split() == ["middle", "3.5", "3.5", "+1.5"]
    )
