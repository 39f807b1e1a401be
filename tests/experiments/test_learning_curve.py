"""A learning curve from shards to its page; which subjects each share has."""

import json

import numpy as np
import pytest
from toys import SHALLOW, TINY, WIDE, quiet

from fedn_jax.core import config as configs
from fedn_jax.data import shards as data
from fedn_jax.data import splits
from fedn_jax.engine import parallel
from fedn_jax.experiments import learning_curve
from fedn_jax.reports import learning_curve_page, tables


def small(**changes):
    config = configs.default()
    config.update_from_flattened_dict(TINY | SHALLOW | {"train.epochs": 1} | changes)
    return config


@pytest.fixture(scope="module")
def dataset(shards):
    return data.load(shards)


def test_a_larger_share_holds_the_smaller_ones_and_no_test_subject(dataset):
    curve = learning_curve.plan(small(**WIDE), dataset, (0.5, 1.0), 2)
    problem = curve.problem
    assert curve.outer == ("s0", "s1", "s2", "s3") and curve.counts.tolist() == [[2] * 4, [3] * 4]
    seen = {}
    for k, name in enumerate(problem.folds.name):
        rows = [w for w in (*problem.folds.positive[k], *problem.folds.negative[k]) if w >= 0]
        trained = {problem.metas[problem.windows.video[w]].subject for w in rows}
        tested = {problem.metas[video].subject for video in problem.folds.test[k]}
        outer = name.partition("@")[0]
        assert not trained & tested and outer not in trained
        if name.endswith(splits.INNER):
            assert trained | tested == seen[name.removesuffix(splits.INNER)]
        else:
            assert tested == {outer}
            seen[name] = trained
    for fold in curve.outer:
        for draw in (0, 1):
            few, all_of_them = (seen[splits.share_name(fold, share, draw)] for share in (0.5, 1.0))
            assert few < all_of_them and len(few) == 2 and len(all_of_them) == 3
    assert any(seen[f"{fold}@50.0"] != seen[f"{fold}@50.1"] for fold in curve.outer)
    assert len(problem.folds.name) == 4 * 2 * 2 * 2


@pytest.mark.parametrize(
    ("changes", "shares", "draws", "message"),
    [
        ({}, (0.5, 0.2), 1, "--shares must rise"),
        ({}, (0.5, 1.5), 1, "--shares must rise, above 0 and at most 1; got 0.5, 1.5"),
        ({}, (0.5,), 0, "--draws must be at least 1"),
        ({"folds.scheme": "kfold"}, (0.5,), 1, "set folds.scheme to loso"),
    ],
)
def test_mistakes(dataset, changes, shares, draws, message):
    with pytest.raises(ValueError, match=message):
        learning_curve.plan(small(**changes), dataset, shares, draws)


def test_from_shards_to_the_page(dataset, tmp_path, monkeypatch):
    found = learning_curve.run(tmp_path, small(**{"folds.inner": 0.0}), dataset, (0.34, 1.0), 1, quiet)
    assert [one["subjects"] for one in found["points"]] == [1, 3] and found["test_subjects"] == 4
    for one in found["points"]:
        assert 0 <= one["low"] <= one["f1"] <= one["high"] <= 1 and one["draws"] == [one["f1"]]
    assert "needs 4 shares" in found["extrapolation"]["missing"]
    assert json.loads((tmp_path / learning_curve.FILE).read_text())["points"] == found["points"]
    text = tables.to_text(learning_curve_page.table(found))
    assert "cannot be said: it needs 4 shares" in " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines())
    page = learning_curve_page.write(tmp_path, found).read_text()
    assert "cannot be said" in page and (tmp_path / "learning_curve.png").exists()
    monkeypatch.setattr(parallel, "run", None)  # what is finished is not trained again
    again = learning_curve.run(tmp_path, small(**{"folds.inner": 0.0}), dataset, (0.34, 1.0), 1, quiet)
    assert again["points"] == found["points"]


def test_what_is_foretold_is_shown(tmp_path):
    point = {"share": 1.0, "subjects": 20.0, "f1": 0.6, "low": 0.5, "high": 0.7, "draws": [0.58, 0.62]}
    ahead = [{"subjects": 40.0, "f1": 0.7, "low": 0.6, "high": 0.75}]
    what = {"missing": None, "exponent": [0.1, 0.4], "ahead": ahead}
    found = {"points": [point], "extrapolation": what, "draws": 2, "test_subjects": 21}
    text = " ".join(tables.to_text(learning_curve_page.table(found)).split())
    alone = " ".join(learning_curve_page.table(found | {"draws": 1}).notes)
    assert "and draws." in text and "and not over draws, of which there is one" in alone
    assert "40 – 70.0 60.0 75.0" in text and "between 60.0 and 75.0 %" in text
    assert np.isclose(learning_curve_page.figure(found).axes[0].get_ylim()[0], 0)
    assert "would lie between" in learning_curve_page.write(tmp_path, found).read_text()
