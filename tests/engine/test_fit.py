"""Runs of one structure as one program: the same numbers as alone, whatever is cut in between."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
import toy_task
from toys import SHALLOW, TINY, pictures, quiet, toy_config

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.data import shards as data
from fedn_jax.data import splits
from fedn_jax.data.problem import make_problem
from fedn_jax.engine import checkpoint, fit, parallel, parameters, plan, programs, run_dir
from fedn_jax.engine.fit import Run
from fedn_jax.engine.trainer import make_program, make_trainer, shape_of_variables


def small(**changes):
    config = configs.default()
    values = (
        TINY
        | SHALLOW
        | {"train.epochs": 2, "train.learning_rate": 3e-3, "folds.scheme": "kfold", "folds.k": 2}
        | changes
    )
    config.update_from_flattened_dict(values)
    return config


def small_toy(**changes):
    """The same folds of a model that compiles in a moment: what is tested does not look into the network."""
    config = toy_config()
    config.update_from_flattened_dict({"folds.scheme": "kfold", "folds.k": 2, "folds.inner": 0.3} | changes)
    return config


def params(run, dataset, names=("fold1of2", "fold2of2")):
    """Final parameters of a run, by fold."""
    config = run_dir.load_config(run)
    expected = shape_of_variables(make_problem(config, dataset).task)
    found = {name: parameters.load(parameters.path_of(run, name), expected, name) for name in names}
    assert all(facts["epochs"] == str(config.train.epochs) for _, facts in found.values())
    return {name: variables for name, (variables, _) in found.items()}


@pytest.fixture(scope="module")
def dataset(shards):
    return data.load(shards)


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(models, "TASKS", models.TASKS | toy_task.MODELS)
    return pictures()


def test_a_run_alone_equals_the_run_among_others_on_any_number_of_devices(dataset, tmp_path, monkeypatch):
    other = {"train.learning_rate": 1e-3, "train.weight_decay": 0.1, "loss.beta": 1.0, "seed": 7}
    with jax.enable_x64(True):
        runs = [Run(tmp_path / "a", small()), Run(tmp_path / "b", small(**other))]
        fit.fit(runs, dataset, quiet)  # 8 folds on four devices
        monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        fit.fit([Run(tmp_path / "alone", small(**other))], dataset, quiet)
        first, among, alone = (params(tmp_path / name, dataset) for name in ("a", "b", "alone"))
    worst = lambda one, two: max(np.abs(x - y).max() for x, y in zip(*map(jax.tree.leaves, (one, two)), strict=True))
    assert worst(among, alone) <= 1e-6
    assert worst(among, first) > 1e-3
    files = [
        sorted(path.relative_to(run) for path in (run / "outputs").rglob("*.npz"))
        for run in (tmp_path / "b", tmp_path / "alone")
    ]
    assert files[0] == files[1] and files[0]
    assert len(run_dir.read_metrics(tmp_path / "b")) == 2


def test_cut_between_two_checkpoints_it_ends_with_the_same_bits(toys, tmp_path, monkeypatch):
    def runs(base, minutes=0.0):
        changes = {"train.epochs": 4, "train.checkpoint_minutes": minutes}
        return [Run(base / "a", small_toy(**changes)), Run(base / "b", small_toy(seed=1, **changes))]

    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    fit.fit(runs(tmp_path / "whole", 10.0), toys, quiet)
    save, saved, start = checkpoint.save, [], checkpoint.Writer.start

    def start_and_wait(writer, *rest):  # or epochs would pass while one is saved
        start(writer, *rest)
        writer.wait()

    def cut(directory, *rest):
        if len(saved) == 3:  # of four: the second run lacks the second epoch
            raise KeyboardInterrupt
        save(directory, *rest)
        saved.append(directory)

    monkeypatch.setattr(checkpoint.Writer, "start", start_and_wait)
    monkeypatch.setattr(checkpoint, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(runs(tmp_path / "cut"), toys, quiet)
    monkeypatch.setattr(checkpoint, "save", save)
    fit.fit(runs(tmp_path / "cut"), toys, quiet)
    for name in "ab":
        one, two = (params(tmp_path / base / name, toys) for base in ("whole", "cut"))
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_array_equal(x, y)
        assert [entry["epoch"] for entry in run_dir.read_metrics(tmp_path / "cut" / name)] == [1, 2, 3, 4]
        assert not list((tmp_path / "cut" / name / "checkpoints").iterdir())  # nothing to go on from is left
    before = run_dir.metrics_path(tmp_path / "cut" / "a", 0).stat().st_mtime_ns
    monkeypatch.setattr(parallel, "run", None)  # what is finished is not trained again
    fit.fit(runs(tmp_path / "cut"), toys, quiet)
    assert run_dir.metrics_path(tmp_path / "cut" / "a", 0).stat().st_mtime_ns == before


def test_only_numbers_may_differ(dataset, tmp_path):
    with pytest.raises(ValueError, match="may differ in train.learning_rate"):
        fit.fit([Run(tmp_path / "a", small()), Run(tmp_path / "b", small(**{"model.width": 32}))], dataset, quiet)
    moved = [small(seed=seed, **{"data.shuffle_labels": True}) for seed in (0, 1)]
    assert configs.structure(moved[0]) != configs.structure(moved[1])  # the seed moves the labels
    assert configs.structure(small(seed=0)) == configs.structure(small(seed=1))


def test_a_program_is_mapped_over_runs_times_folds(dataset):
    configurations = [small(), small(seed=3)]
    trainer = make_trainer(configurations[0], make_problem(configurations[0], dataset))
    plan = trainer.problem.folds
    chosen, program = make_program(trainer, configurations, [(0, [0, 2]), (1, [1])], jax.devices()[:1])
    assert chosen.name == (plan.name[0], plan.name[2], plan.name[1])
    np.testing.assert_array_equal(program.hyper.seed, [[0, 0, 3]])
    np.testing.assert_array_equal(program.fold.key, plan.key[[0, 2, 1]][None])


def test_only_the_second_epoch_is_profiled(monkeypatch, tmp_path):
    """An epoch is computed when the next item is asked for."""
    happened = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda path: happened.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: happened.append("stop"))

    def epochs(count):
        for number in range(count):
            happened.append(number)
            yield number

    assert list(fit._profiled(epochs(3), tmp_path)) == [0, 1, 2] and happened == [0, "start", 1, "stop", 2]
    happened.clear()
    assert list(fit._profiled(epochs(1), tmp_path)) == [0] and happened == [0, "start", "stop"]
    happened.clear()
    assert list(fit._profiled(epochs(2), None)) == [0, 1] == happened


def test_what_a_kill_left_of_a_finished_program_is_removed(toys, tmp_path, monkeypatch):
    """Training states, and networks that only pick thresholds, take much space and are of no use any more."""
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    run = Run(tmp_path / "a", small_toy(**{"train.epochs": 2}))
    fit.fit([run], toys, quiet)
    left = [parameters.path_of(run.directory, "fold1of2/inner"), programs.checkpoints(run.directory, 0) / "1" / "state"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    fit.fit([run], toys, quiet)
    assert not any(path.exists() for path in left) and not programs.checkpoints(run.directory, 0).exists()
    assert len(params(run.directory, toys)) == 2


def test_a_plan_says_what_a_run_takes(toys, tmp_path):
    config = small_toy(**{"train.epochs": 1, "folds.programs": 2})
    said = plan.make_plan(config, toys, measure=True)
    fit.fit([Run(tmp_path / "run", config)], toys, quiet)
    recorded = run_dir.read_record(tmp_path / "run" / "run.json")
    assert (said.folds, said.inner, said.epochs) == (4, 2, 1) and len(recorded["folds"]) == 4
    assert said.programs == tuple(len(program["folds"]) for program in recorded["programs"]) == (2, 2)
    kept = [*(tmp_path / "run" / "parameters").iterdir(), *(tmp_path / "run" / "outputs").rglob("*/*.npz")]
    size = sum(path.stat().st_size for path in kept)
    assert said.disk_finished < size < said.disk_finished + 3000 * len(kept)  # headers of files come on top
    network = params(tmp_path / "run", toys)["fold1of2"]
    learned, moving = (sum(map(np.size, jax.tree.leaves(network[part]))) for part in ("params", "batch_stats"))
    assert said.parameters == learned + moving
    assert said.state_bytes == 4 * (3 * learned + moving + 2)  # Adam's two moments; two counts of steps
    assert 0 < said.seconds < 600 and said.needed > said.data_bytes > 0
    small_device = plan.make_plan(config, toys, 1, 1.2 * said.needed / 1e9)  # all on one device
    assert len(small_device.programs) == 4 or max(small_device.programs) < 4
    words = dict(plan.lines(said))
    assert words["folds"] == "4, 2 of them inner" and words["programs"].startswith("2, of 2, 2 folds, on 4 devices")
    assert words["steps"].startswith(f"1 epoch of {said.steps} step")


def test_what_will_be_trained_fits_a_terminal():
    folds = SimpleNamespace(name=[f"s{k:02d}{ending}" for k in range(50) for ending in ("", splits.INNER)])
    windows = SimpleNamespace(events=SimpleNamespace(valid=np.ones((12345, 3), bool)), start=np.zeros(12345))
    left_out = "4206 expressions of the data are not macro and are left out (data.kind)"
    problem = SimpleNamespace(folds=folds, windows=windows, left_out=left_out)
    agreed = [[SimpleNamespace(folds=range(k, k + 10))] for k in range(0, 100, 10)]
    text = fit._describe(12, agreed, SimpleNamespace(problem=problem, state_bytes=123.4e6))
    assert "12 runs, 100 folds (50 of them inner) on " in text and "in 10 programs of at most 10" in text.replace(
        "\n  ", " "
    )
    assert all(len(line) <= 80 for line in text.splitlines())
