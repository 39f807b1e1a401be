"""A search for options: what is proposed, scored, lost and not lost."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import optuna
import pytest
import toy_task
from quick import QUICKLY
from toys import SHALLOW, TINY, pictures, quiet, toy_config

from fedn_jax import models
from fedn_jax.cli import config_files
from fedn_jax.cli.main import main
from fedn_jax.core import config as configs
from fedn_jax.data.problem import make_problem
from fedn_jax.engine.trainer import make_trainer
from fedn_jax.experiments import search_space, sweep, sweep_results, trials
from fedn_jax.experiments.search_space import Choice, Float, Settings
from fedn_jax.reports import sweep_page, tables

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
from fedn_jax.core import config as fedn_config
from fedn_jax.experiments import search_space as space

SPACE = {{"train.learning_rate": space.Float(1e-3, 1e-2, log=True), "loss.beta": space.Float(0.5, 4.0)}}
SWEEP = space.Settings({settings})


def get_config(row=""):
    config = fedn_config.default()
    config.update_from_flattened_dict({options})
    return config
"""
OPTIONS = TINY | SHALLOW | {"train.epochs": 2, "folds.scheme": "kfold", "folds.k": 2}


def config_file(path, settings):
    path.write_text(CONFIG.format(settings=settings, options=OPTIONS))
    return path


def small(**changes):
    config = configs.default()
    config.update_from_flattened_dict(OPTIONS | changes)
    return config


def search(out, **settings):
    chosen = {"train.learning_rate": Float(1e-3, 1e-2, log=True), "loss.beta": Float(0.5, 4.0)}
    return sweep.Search(out, small(), chosen, Settings(**settings), "mine.py")


# ---- Space -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "searched, settings, match",
    [
        ({}, {}, "SPACE is empty"),
        ({"train.learnig_rate": Float(1, 2)}, {}, "did you mean train.learning_rate"),
        ({"train.learning_rate": (1, 2)}, {}, r"must be space.Float\(low, high\)"),
        ({"train.learning_rate": Float(2.0, 1.0)}, {}, "low < high"),
        ({"train.learning_rate": Float(0.0, 1.0, log=True)}, {}, "low > 0 if log"),
        ({"model.head": Choice(1, 2)}, {}, "values of type str"),
        ({"model.width": Float(16, 32)}, {}, "use space.Choice"),
        ({"data.kind": Choice("macro", "micro")}, {}, "changes what trials are scored on"),
        ({"loss.beta": Float(1, 2)}, {"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"loss.beta": Float(1, 2)}, {"objective": "f1"}, "SWEEP.objective"),
        ({"loss.beta": Float(1, 2)}, {"trials": 0}, "SWEEP.trials must be at least 1"),
        ({"loss.beta": Float(1, 2)}, {"rungs": (2,)}, "lie between 0 and train.epochs"),
        ({"loss.beta": Float(1, 2)}, {"rungs": 7}, "SWEEP.rungs must be a tuple of int; got 7"),
        ({"loss.beta": Float(1, 2)}, {"trials": "8"}, "SWEEP.trials must be of type int; got '8'"),
        ({"loss.beta": Float(1, 2)}, {"folds": ("a", 3)}, "SWEEP.folds must be a tuple of str"),
        ({"loss.beta": Float(1, 2, points="3")}, {}, "points > 0"),
        (7, {}, r"SPACE must be a dict of option -> space.Float.*; got int"),
        ({"loss.beta": Float(1, 2)}, 7, r"SWEEP must be space.Settings\(trials=..., ...\); got int"),
    ],
)
def test_mistakes_in_a_space(searched, settings, match):
    with pytest.raises(ValueError, match=match):
        search_space.check(searched, Settings(**settings) if isinstance(settings, dict) else settings, small())


def test_grid_points():
    assert Float(0.0, 1.0).grid() == [0.0, 0.5, 1.0]
    assert Float(1e-4, 1e-2, log=True, points=2).grid() == [1e-4, 1e-2]
    points = search_space.grid({"a": Choice("x", "y"), "b": Float(0.0, 1.0, points=2)})
    assert points == [{"a": "x", "b": 0.0}, {"a": "x", "b": 1.0}, {"a": "y", "b": 0.0}, {"a": "y", "b": 1.0}]


def test_a_trials_configuration_is_a_copy():
    base = small()
    changed = search_space.apply(base, {"loss.beta": 3, "model.head": "coupled"})
    assert (changed.loss.beta, changed.model.head, base.loss.beta, base.model.head) == (
        3.0,
        "coupled",
        2.0,
        "decoupled",
    )


def test_only_inner_folds_score():
    names = ("s1", "s1/inner", "s2", "s2/inner")
    assert trials.inner_folds(names, ()) == [1, 3]
    assert trials.inner_folds(names, ("s2",)) == [3]
    with pytest.raises(ValueError, match="no fold 's3'; the folds are s1, s2"):
        trials.inner_folds(names, ("s3",))
    with pytest.raises(ValueError, match="folds.inner=0 leaves none"):
        search_space.check({"loss.beta": Float(1, 2)}, Settings(), small(**{"folds.inner": 0.0}))


def stub_trainers(monkeypatch, **problem):
    """Trainers without a network; training does nothing."""
    folds = SimpleNamespace(name=("a", "a/inner"), test=((0,), (0,)))
    known = SimpleNamespace(folds=folds, **problem)
    monkeypatch.setattr(trials, "make_problem", lambda *_: known)
    monkeypatch.setattr(trials, "make_trainer", lambda config, problem, _: SimpleNamespace(problem=problem))
    monkeypatch.setattr(trials, "train", lambda remaining, *_: (remaining, np.ones(1, bool)))


def run_trial(trainers, **changes):
    plan = trials.Plan(1, "detection", (), ())
    return trials.run({0: small(**changes)}, plan, None, trainers, None, quiet)


def test_one_trainer_is_kept_since_each_holds_inputs(monkeypatch):
    stub_trainers(monkeypatch)
    monkeypatch.setattr(trials, "_score", lambda remaining, *_: dict.fromkeys(remaining.numbers, 0.5))
    trainers, kept = {}, []
    for head in ("decoupled", "coupled", "coupled"):
        run_trial(trainers, **{"model.head": head})
        assert list(trainers) == [configs.structure(small(**{"model.head": head}))]
        kept += trainers.values()
    assert kept[0] is not kept[1] and kept[1] is kept[2]
    waiting = {"other": {1: None}, next(iter(trainers)): {2: None}}
    assert sweep._known_first(waiting, trainers) == [{2: None}, {1: None}]


def test_held_out_videos_without_an_expression_score_nothing(monkeypatch):
    nothing = SimpleNamespace(valid=np.zeros(0, bool))
    stub_trainers(monkeypatch, events=[nothing])
    with pytest.raises(ValueError, match="hold out have no expression, so nothing scores a trial"):
        run_trial({})


# ---- The study -------------------------------------------------------------------------------------------------------


def study_of(values, rung=4):
    study = optuna.create_study(direction="maximize")
    for value in values:
        trial = study.ask()
        trial.report(value, rung)
    return study


def test_below_the_median_a_trial_leaves():
    study = study_of([0.1, 0.2, 0.3, 0.4])
    assert sweep.survivors(study, 4, {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}) == {2, 3}
    assert sweep.survivors(study_of([0.1, 0.2, 0.3]), 4, {0: 0.1, 1: 0.2, 2: 0.3}) == {0, 1, 2}  # too few to say
    assert sweep.survivors(study, 4, {0: float("nan"), 3: 0.4}) == {3}


def fake_training(monkeypatch, score=lambda params: params["loss.beta"]):
    """Scores without training."""

    def run(configurations, plan, dataset, trainers, survivors, progress):
        return {number: score(configs.flatten(config)) for number, config in configurations.items()}

    monkeypatch.setattr(trials, "run", run)


class Data:
    metadata = {"signature": "toy"}


@pytest.mark.parametrize("sampler, count", [("tpe", 6), ("random", 6), ("grid", 6)])
def test_samplers_propose_as_many_as_asked(sampler, count, tmp_path, monkeypatch):
    fake_training(monkeypatch)
    study = sweep.run(search(tmp_path, trials=count, batch=4, sampler=sampler), Data, None, quiet)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * count
    params = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(params)) == count
    if sampler == "grid":
        assert params[:2] == [(1e-3, 0.5), (1e-3, 2.25)]
    again = sweep.run(search(tmp_path, trials=count, batch=4, sampler=sampler), Data, None, quiet)
    assert len(again.trials) == count  # nothing is repeated
    with pytest.raises(ValueError, match="holds a sweep with another SWEEP"):
        sweep.run(search(tmp_path, trials=count, seeds=2), Data, None, quiet)


def test_the_same_seed_proposes_the_same_in_a_database(tmp_path, monkeypatch):
    fake_training(monkeypatch)
    studies = [
        sweep.run(search(tmp_path / name, trials=5, batch=2), Data, f"sqlite:///{tmp_path / name}.db", quiet)
        for name in "ab"
    ]
    assert [trial.params for trial in studies[0].trials] == [trial.params for trial in studies[1].trials]
    with pytest.raises(ValueError, match="cannot be used"):
        sweep.run(search(tmp_path, trials=5), Data, "nosuch://x", quiet)


def test_what_a_dead_worker_left_is_proposed_again(tmp_path, monkeypatch):
    fake_training(monkeypatch)
    what = search(tmp_path, trials=4, batch=2)
    sweep.run(what._replace(settings=what.settings._replace(trials=2)), Data, None, quiet)
    study = sweep._open(what, Data, None)
    cut = sweep._ask(study, what, "gone")  # two trials whose worker holds no lock
    finished = [trial.params for trial in study.trials[:2]]
    study = sweep.run(what, Data, None, quiet)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE"] * 2 + ["FAIL"] * 2 + ["COMPLETE"] * 2
    assert [trial.params for trial in study.trials[:2]] == finished
    assert [trial.params for trial in study.trials[4:]] == [trial.params for trial in cut]
    found = sweep_results.summary(study, what)
    assert [one["number"] for one in found["trials"]] == [0, 1, 4, 5] and found["repeated"] == 2


@pytest.mark.parametrize("dies", [False, True])
def test_a_living_worker_keeps_its_trials_and_is_waited_for(dies, tmp_path, monkeypatch, caplog):
    """Else a worker names a best trial before all are scored, and nobody is there when the other one dies."""
    from fedn_jax.core import files

    fake_training(monkeypatch)
    caplog.set_level("INFO")
    what = search(tmp_path, trials=3, batch=2)
    study = sweep._open(what, Data, None)
    with contextlib.ExitStack() as other:
        other.enter_context(files.lock(tmp_path / "workers" / "other"))
        theirs = sweep._ask(study, what, "other")

        def meanwhile(_):
            if dies:
                other.close()
            else:
                for trial in theirs:
                    study.tell(trial, 9.0)

        monkeypatch.setattr(sweep.time, "sleep", meanwhile)
        done = sweep.run(what, Data, None, quiet)  # takes the third, then waits for the two
    assert [trial.number for trial in theirs] == [0, 1]
    states = [trial.state.name for trial in done.trials]
    assert states == (["FAIL"] * 2 + ["COMPLETE"] * 3 if dies else ["COMPLETE"] * 3)
    assert [trial.value for trial in done.trials[:2]] == ([None, None] if dies else [9.0, 9.0])
    assert "2 trials left, at which other processes work; waiting, to take over if one dies" in caplog.text


def test_options_that_do_not_fit_fail_alone(tmp_path, monkeypatch):
    fake_training(monkeypatch)
    what = search(tmp_path, trials=4, batch=4, sampler="grid")
    what = what._replace(space={"model.width": Choice(16, 17), "loss.beta": Float(0.5, 1.0, points=2)})
    found = sweep_results.summary(sweep.run(what, Data, None, quiet), what)
    assert [one["state"] for one in found["trials"]] == ["complete", "complete", "fail", "fail"]
    assert "must divide model.width (17)" in found["trials"][2]["reason"]
    assert found["best"] == 1


# ---- Training --------------------------------------------------------------------------------------------------------


def test_trials_together_equal_trials_alone(monkeypatch):
    monkeypatch.setattr(models, "TASKS", models.TASKS | toy_task.MODELS)
    base = toy_config()
    base.update_from_flattened_dict({"folds.scheme": "kfold", "folds.k": 2, "folds.inner": 0.3})
    configurations = {0: base, 5: search_space.apply(base, {"train.learning_rate": 2e-3, "train.weight_decay": 0.1})}
    with jax.enable_x64(True):
        trainer = make_trainer(base, make_problem(base, pictures()))
        inner = trials.inner_folds(trainer.problem.folds.name, ())
        state = lambda *numbers: trials.train(
            trials.Remaining(list(numbers), None), configurations, 1, trainer, inner, range(1), quiet
        )[0]
        together, alone = state(0, 5), state(5)
    kept = trials.select(together, {5})
    assert kept.numbers == [5]
    for one, two in zip(jax.tree.leaves(kept.state), jax.tree.leaves(alone.state), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    first = trials.select(together, {0}).state.params
    moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (first, alone.state.params)), strict=True)]
    assert max(moved) > 1e-4


def test_the_whole_command_and_a_kill(shards, tmp_path, capsys):
    """Killed while a batch trains, it ends with every trial once, and the finished ones untouched."""
    path, out = config_file(tmp_path / "mine.py", "trials=4, batch=2, rungs=(1,)"), tmp_path / "out"
    words = ["sweep", "--config", str(path), "--data", str(shards), "--out", str(out)]
    environment = os.environ | {"XLA_FLAGS": QUICKLY, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "fedn_jax.cli.main", *words], env=environment, cwd=ROOT, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    journal = out / "journal.log"
    asked = lambda: journal.read_text().count('"worker"') if journal.exists() else 0
    while process.poll() is None and asked() < 3:  # the first batch is done, the second was proposed
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80
    found = json.loads((out / "sweep.json").read_text())
    states = [one["state"] for one in found["trials"]]
    assert len(states) == 4 and set(states) <= {"complete", "pruned"} and found["repeated"] in (1, 2)
    assert [one["number"] for one in found["trials"]][:2] == [0, 1]
    assert len({json.dumps(one["params"], sort_keys=True) for one in found["trials"]}) == 4
    config = config_files.load(str(out / "best.py"))
    best = next(one for one in found["trials"] if one["number"] == found["best"])
    assert config.loss.beta == best["params"]["loss.beta"] and config.model.width == 16
    page = (out / "report.html").read_text()
    assert "optimistic" in page and "nested" in page and page.count("<img") >= 2
    with (out / "trials.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


# ---- Page ------------------------------------------------------------------------------------------------------------


def test_a_page_of_many_trials(tmp_path):
    one = {"state": "complete", "params": {"loss.beta": 1.0, "model.head": "coupled"}, "rungs": {"4": 0.1},
           "reason": "", "replaces": None}  # fmt: skip
    shown = [one | {"number": number, "score": 0.2 + number / 10} for number in range(3)]
    shown += [one | {"number": 3, "state": "fail", "score": None, "rungs": {}, "reason": "<script>"}]
    found = {
        "trials": shown, "best": 2, "importance": {"loss.beta": 0.7, "model.head": 0.3}, "repeated": 1,
        "space": {"loss.beta": "0.5 to 4", "model.head": "coupled, decoupled"}, "epochs": 10,
        "settings": Settings(rungs=(4,))._asdict(), "objective": search_space.OBJECTIVES["detection"],
        "source": "mine.py",
    }  # fmt: skip
    text = sweep_page.write(tmp_path, found).read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text and text.count("<img") == 3
    table = tables.to_text(sweep_page.table(found))
    assert "After 4 epochs a trial leaves if" in table
    assert max(map(len, table.splitlines())) <= 80
    assert np.argmax([row[1].value or 0 for row in sweep_page.table(found).groups[0][1]]) == 0  # the best comes first


def test_a_worker_that_was_killed_while_it_wrote_the_journal_holds_up_nobody(tmp_path):
    program = (
        "import os, pathlib, signal, sys; from fedn_jax.experiments import sweep\n"
        "sweep.Turn(pathlib.Path(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == -signal.SIGKILL
    turn = sweep.Turn(tmp_path)
    turn.release()  # what was not taken can be given back: a signal may come in between
    assert turn.acquire()
    turn.release()


def test_what_a_killed_trial_reported_does_not_count_twice():
    study = optuna.create_study(direction="maximize")
    for score in (0.4, 0.2, 0.0, 0.0):  # the last two were killed after the rung, and are done again
        study.ask().report(score, 1)
    for number in (2, 3):
        study.tell(number, state=optuna.trial.TrialState.FAIL)
    for score in (0.0, 0.0):
        study.ask().report(score, 1)
    assert sweep.survivors(study, 1, {4: 0.0, 5: 0.0}) == set()  # the median of four is 0.1
