"""Parts of the benchmarks, at tiny sizes: that they run and compare equal things; never how fast."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from fedn_jax.core import config

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import _count  # noqa: E402
import _standin  # noqa: E402
import suppression  # noqa: E402


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
