"""Trackers get the same numbers, go on with the same run, and never stop a training; their libraries are faked."""

import logging
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from fedn_jax.cli.main import main
from fedn_jax.core.errors import UserError
from fedn_jax.engine import run_dir, tracking

VALUES = {"loss": np.array([1.0, 3.0])}
TOLD = {"mean/loss": 2.0, "a/loss": 1.0, "b+/loss": 3.0}


@pytest.fixture
def wandb(monkeypatch):
    """A module that notes what it is told."""
    fake = ModuleType("wandb")
    fake.runs, fake.Settings = [], lambda **options: options

    def init(**options):
        run = SimpleNamespace(options=options, logged=[], finished=0)
        run.log = lambda numbers, step: run.logged.append((step, numbers))
        run.finish = lambda: setattr(run, "finished", run.finished + 1)
        fake.runs.append(run)
        return run

    fake.init = init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def mlflow(monkeypatch):
    """The part of MLflow's client that is used, with a store in memory."""
    fake, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)
    entities.Param = lambda key, value: (key, value)
    fake.stored = {}

    class MlflowClient:
        def get_experiment_by_name(self, name):
            return SimpleNamespace(experiment_id="7") if name in fake.stored else None

        def create_experiment(self, name):
            fake.stored[name] = []
            return "7"

        def search_runs(self, experiments, filter_string, max_results):
            runs = [run for runs in fake.stored.values() for run in runs]
            return [run for run in runs if experiments == ["7"] and filter_string == run.filter][:max_results]

        def create_run(self, experiment, tags, run_name):
            ((tag, key),) = tags.items()
            run = SimpleNamespace(info=SimpleNamespace(run_id=f"r{len(fake.stored['fedn_jax'])}"), name=run_name)
            run.filter, run.metrics, run.params, run.ended = f"tags.`{tag}` = '{key}'", [], [], 0
            fake.stored["fedn_jax"].append(run)
            return run

        def log_batch(self, run_id, metrics=(), params=()):
            assert len(metrics) <= 1000 and len(params) <= 100  # MLflow's limits
            run = fake.stored["fedn_jax"][int(run_id[1:])]
            run.metrics += metrics
            run.params += params

        def set_terminated(self, run_id):
            fake.stored["fedn_jax"][int(run_id[1:])].ended += 1

    fake.MlflowClient, fake.entities = MlflowClient, entities
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return fake


def log(run, track, done=0, epochs=(1, 2), program=0):
    kept = run_dir.MetricsLog(run, program, done, track, {"train": {"epochs": 2}})
    for epoch in epochs:
        kept.write(epoch, ("a", "b+"), VALUES)
    kept.close()


def test_all_get_the_same_numbers_and_go_on_with_the_same_run(tmp_path, wandb, mlflow):
    run = tmp_path / "run"
    log(run, tuple(tracking.TRACKERS))
    log(run, tuple(tracking.TRACKERS), done=1, epochs=(2, 3))
    log(run, ("wandb", "mlflow"), program=1, epochs=(1,))
    first, again, other = wandb.runs
    assert first.logged == [(1, TOLD), (2, TOLD)] and again.logged == [(2, TOLD), (3, TOLD)]
    assert first.options["config"] == {"train.epochs": 2} and first.options["name"] == "run/program0"
    assert first.options["id"] == again.options["id"] != other.options["id"] and first.options["resume"] == "allow"
    assert [one.finished for one in wandb.runs] == [1, 1, 1]
    one, two = mlflow.stored["fedn_jax"]
    safe = [("mean/loss", 2.0), ("a/loss", 1.0), ("b_/loss", 3.0)]  # MLflow takes few signs
    assert one.metrics == [(*pair, step) for step in (1, 2, 2, 3) for pair in safe]
    assert one.params == [("train.epochs", "2")] and (one.ended, two.ended) == (2, 1) and two.name == "run/program1"
    assert list((run / "tensorboard" / "program0").iterdir())
    assert [entry["epoch"] for entry in run_dir.read_metrics(run)] == [1, 2, 3, 1]


def test_many_folds_and_options_come_in_pieces(tmp_path, mlflow):
    names, options = tuple(f"s{number}" for number in range(1100)), {str(number): number for number in range(250)}
    kept = run_dir.MetricsLog(tmp_path, 0, 0, ("mlflow",), options)
    kept.write(1, names, {"loss": np.arange(1100.0)})
    kept.close()
    (run,) = mlflow.stored["fedn_jax"]
    assert len(run.params) == 250 and run.metrics[-1] == ("s1099/loss", 1099.0, 1) and len(run.metrics) == 1101


def test_one_that_fails_is_left_out(tmp_path, wandb, mlflow, caplog, monkeypatch):
    def broken(*args, **options):
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", broken)
    with pytest.raises(UserError, match="--track mlflow: cannot begin .nobody answers."):
        log(tmp_path, ("wandb", "mlflow"))
    assert wandb.runs[0].finished == 1
    monkeypatch.setattr(wandb, "init", lambda **_: SimpleNamespace(log=broken, finish=broken))
    with caplog.at_level(logging.WARNING):
        log(tmp_path / "run", ("wandb",))
    assert [entry["epoch"] for entry in run_dir.read_metrics(tmp_path / "run")] == [1, 2]
    assert len(caplog.records) == 1 and "wandb: failed in epoch 1 (nobody answers); going on" in caplog.text


def test_a_missing_package_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    words = ["train", "--config", "demo", "--data", str(tmp_path), "--out", str(tmp_path / "run"), "--track"]
    assert main([*words, "wandb"]) == 2
    said = capsys.readouterr().err
    assert "--track wandb" in said and "`pip install wandb`" in said and said.count("\n") == 1
    assert main([*words, "tensorboard,weights"]) == 2
    assert "--track must be one of tensorboard, wandb, mlflow; got 'weights'" in capsys.readouterr().err
