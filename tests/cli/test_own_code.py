"""Code of a configuration file: it goes with the run, and is run again only where the user names it."""

import os
import py_compile
import sys

import pytest
from toys import SHALLOW, options

from fedn_jax.cli import config_files, own_code
from fedn_jax.cli.main import main
from fedn_jax.engine import run_dir
from fedn_jax.experiments import search_space, sweep, sweep_results
from fedn_jax.ops import losses

FILE = """
import jax.numpy as jnp
from fedn_jax.core import config as c
from fedn_jax.ops import losses

losses.INTERVAL_LOSSES["edges"] = lambda found, true: jnp.abs(found - true).max(-1)

def get_config(row=""):
    config = c.default()
    config.loss.interval = "edges"
    return config
"""
FEW = {"train.epochs": 1, "folds.scheme": "kfold", "folds.k": 2, "folds.inner": 0.0}


def words(*parts):
    return [str(part) for part in parts]


def train(shards, out, config):
    return main(words("train", "--config", config, "--data", shards, "--out", out, *options(**SHALLOW | FEW)))


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """What a test adds to the table is gone after it."""
    monkeypatch.setattr(losses, "INTERVAL_LOSSES", dict(losses.INTERVAL_LOSSES))


def forget():
    """What another process would not know."""
    losses.INTERVAL_LOSSES.pop("edges")


def test_it_goes_with_the_run_and_is_run_where_it_is_named(shards, tmp_path, capsys):
    run, own = tmp_path / "run", tmp_path / "mine.py"
    own.write_text(FILE)
    assert train(shards, run, own) == 0
    assert (run / own_code.CODE).read_bytes() == own.read_bytes()
    forget()
    capsys.readouterr()
    for command in (
        ["evaluate", run, "--data", shards],
        ["report", run, "--data", shards, "--out", tmp_path / "figures"],
        ["detect", tmp_path / "any.mp4", "--run", run, "--out", tmp_path / "found"],
        ["recognise", run, "--with", "frozen-features", "--data", shards, "--out", tmp_path / "c"],
    ):
        assert main(words(*command)) == 2
        said = capsys.readouterr().err
        assert f"add --config {run / own_code.CODE}" in said and said.count("\n") == 1
        assert "edges" not in losses.INTERVAL_LOSSES
    assert main(words("evaluate", run, "--data", shards, "--config", run / own_code.CODE)) == 0
    own_code.admit(run, str(own))
    own_code.keep(run, str(own), ["it goes on"])
    own.write_text(FILE.replace(".max(-1)", ".min(-1)"))
    capsys.readouterr()
    assert main(words("evaluate", run, "--data", shards, "--config", own)) == 2
    assert f"is not what {run} was trained with" in capsys.readouterr().err
    assert train(shards, run, own) == 2 and "was begun with other code" in capsys.readouterr().err
    assert train(shards, run, "demo") == 2 and "was begun with code of its own" in capsys.readouterr().err


def test_configurations_without_code_keep_none(shards, tmp_path, capsys):
    run, own = tmp_path / "run", tmp_path / "mine.py"
    own.write_text(FILE)
    own_code.keep(run, str(own), [])
    assert not run.exists()
    own_code.keep(run, str(own), ["of a start that ended before run.json was written"])
    own_code.keep(run, str(own), [])
    run_dir.write_record(run / "run.json", {})
    assert main(words("evaluate", run, "--data", shards, "--config", own)) == 2
    assert "trained without code of its own" in capsys.readouterr().err
    assert train(shards, run, own) == 2 and "no code of its own" in capsys.readouterr().err


def test_an_entry_that_is_replaced_is_noticed():
    with own_code.noticing() as added:
        losses.INTERVAL_LOSSES["iou"] = losses.INTERVAL_LOSSES["diou"]
    assert added == ["INTERVAL_LOSSES['iou']"]


def test_a_compiled_file_beside_the_code_is_not_run(tmp_path, monkeypatch):
    """Python would take it for the file that the user has read; a stranger can send one along."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    run, evil = tmp_path / "run", tmp_path / "evil.py"
    run.mkdir()
    evil.write_text(FILE + f"raise SystemExit({'x' * 3!r})\n")
    (run / own_code.CODE).write_text(FILE + "#" * (len(evil.read_text()) - len(FILE)))
    os.utime(evil, (1, 1))
    os.utime(run / own_code.CODE, (1, 1))
    (run / "__pycache__").mkdir()
    compiled = run / "__pycache__" / f"own_code.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(evil), str(compiled), doraise=True)
    own_code.keep(run, str(run / own_code.CODE), ["something"])
    os.utime(run / own_code.CODE, (1, 1))
    own_code.admit(run, str(run / own_code.CODE))
    assert "edges" in losses.INTERVAL_LOSSES


def test_the_best_trial_of_a_sweep_brings_the_code_along(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    settings, best = search_space.Settings(), {"number": 3, "score": 0.5, "params": {"train.learning_rate": 0.02}}
    space = {"train.learning_rate": search_space.Float(0.01, 0.1)}
    search = sweep.Search(tmp_path, config_files.load(str(tmp_path / "mine.py")), space, settings, "mine.py", FILE)
    (tmp_path / "best.py").write_text(sweep_results.best_config(search, best))
    losses.INTERVAL_LOSSES.pop("edges")
    with own_code.noticing() as added:
        config = config_files.load(str(tmp_path / "best.py"))
    assert added == ["INTERVAL_LOSSES['edges']"]
    assert config.loss.interval == "edges" and config.train.learning_rate == 0.02


def test_an_error_in_own_code_is_one_line_that_names_its_place(shards, tmp_path, capsys):
    own = tmp_path / "mine.py"
    own.write_text(FILE.replace("jnp.abs(found - true)", "jnp.abs(found - nothing)"))
    assert train(shards, tmp_path / "run", own) == 2
    said = capsys.readouterr().err
    assert f"--config {own}: line 6: NameError: name 'nothing' is not defined; correct that code" in said
    assert "Traceback" not in said
    own.write_text("raise SystemExit")
    assert train(shards, tmp_path / "run", own) == 2
    assert ": line 1: SystemExit; expected a Python file" in capsys.readouterr().err
