"""More epochs for a run that is finished: the bits of a run that was begun with all of them, or one line why not."""

import jax
import numpy as np
import pytest
import toy_task
from safetensors import safe_open
from toys import pictures, quiet, toy_config

from fedn_jax import models
from fedn_jax.core.errors import UserError
from fedn_jax.engine import fit, parameters, programs, run_dir

FOLDS = ("s0", "s1")


@pytest.fixture
def dataset(monkeypatch):
    """Two subjects; the toy model with both drivers."""
    monkeypatch.setattr(models, "TASKS", models.TASKS | toy_task.MODELS)
    return pictures(subjects=2)


def train(run, dataset, epochs, **changes):
    config = toy_config()
    config.train.update(epochs=epochs, keep_state=True, checkpoint_minutes=10.0)
    config.update_from_flattened_dict(changes)
    fit.fit([fit.Run(run, config)], dataset, quiet)


def networks(run):
    """Epochs and digest of the network of each fold; how their files are put in order differs from time to time."""
    found = []
    for fold in FOLDS:
        with safe_open(parameters.path_of(run, fold), "np") as file:
            found.append((file.metadata()["epochs"], file.metadata()["digest"]))
    return found


@pytest.mark.parametrize("task", ["toy", "toy_by_steps"])
def test_it_ends_with_the_bits_of_a_run_that_was_begun_with_all_epochs(dataset, tmp_path, task):
    run, whole, off = tmp_path / "run", tmp_path / "whole", {"task": task, "train.keep_state": False}
    train(whole, dataset, 5, **off)
    assert not programs.checkpoints(whole, 0).exists()
    train(run, dataset, 3, task=task)
    early = networks(run)
    run_dir.write_json(run / "metrics.json", {})  # as if it had been evaluated
    assert [path.name for path in programs.checkpoints(run, 0).iterdir()] == ["3"]
    train(run, dataset, 3, **off)  # nothing to do, so the state stays
    train(run, dataset, 5, **off)
    assert networks(run) == networks(whole) != early
    assert run_dir.load_config(run).train.epochs == 5
    assert [entry["epoch"] for entry in run_dir.read_metrics(run)] == [1, 2, 3, 4, 5]
    assert [entry["loss"] for entry in run_dir.read_metrics(run)] == [e["loss"] for e in run_dir.read_metrics(whole)]
    predicted = [sorted((base / "outputs").rglob("*.npz")) for base in (run, whole)]
    for one, two in zip(*predicted, strict=True):
        for name, value in np.load(one).items():
            np.testing.assert_array_equal(value, np.load(two)[name])
    old = run / "after_3_epochs"
    assert networks(old) == early and (old / "metrics.json").exists() and list((old / "outputs").rglob("*.npz"))
    assert not (run / "metrics.json").exists() and not programs.checkpoints(run, 0).exists()


def test_cut_before_its_networks_are_written_it_has_them_from_its_state(dataset, tmp_path):
    train(tmp_path, dataset, 2)
    before = networks(tmp_path)
    for fold in FOLDS:
        parameters.path_of(tmp_path, fold).unlink()
        for path in (tmp_path / "outputs" / fold).iterdir():
            path.unlink()
    train(tmp_path, dataset, 2)
    assert networks(tmp_path) == before


@pytest.mark.parametrize(
    "begun, changes, said",
    [
        ({"train.schedule": "cosine"}, {}, "train.schedule=cosine depends on their number"),
        ({"train.keep_state": False}, {}, "moments.* was not kept, as it is with --config.train.keep_state=True"),
        ({}, {"train.batch_size": 8}, "another configuration .train.batch_size was 16, now 8."),
        ({}, {"train.epochs": 1}, "another configuration .train.epochs was 2, now 1."),
    ],
)
def test_where_it_cannot_one_line_says_why_and_nothing_moves(dataset, tmp_path, begun, changes, said):
    train(tmp_path, dataset, 2, **begun)
    before = networks(tmp_path)
    with pytest.raises(UserError, match=said) as error:
        train(tmp_path, dataset, 4, **begun | changes)
    assert "\n" not in str(error.value)
    assert networks(tmp_path) == before and not list(tmp_path.glob("after*"))


def test_a_state_that_is_damaged_is_noticed_before_anything_moves(dataset, tmp_path):
    train(tmp_path, dataset, 2)
    before = networks(tmp_path)
    (programs.checkpoints(tmp_path, 0) / "2" / "info" / "metadata").write_text("{}")
    with pytest.raises(UserError, match="its training state in .* cannot be used .*: the run stays as it is") as error:
        train(tmp_path, dataset, 4)
    assert "\n" not in str(error.value)
    assert networks(tmp_path) == before and not list(tmp_path.glob("after*"))
    train(tmp_path, dataset, 2)


def test_a_network_that_is_not_finite_is_not_kept(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(fit.train_step, "trained", lambda state: jax.tree.map(lambda x: x * np.nan, state[:2]))
    with pytest.raises(UserError, match="network of fold s0 is not finite after 1 epoch; lower train.learning_rate"):
        train(tmp_path, dataset, 1)
    assert not list(tmp_path.rglob("*.safetensors"))
