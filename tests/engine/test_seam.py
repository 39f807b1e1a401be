"""The seam that models are put in: a toy that shares nothing with FEDN goes the whole way, from fit to detection."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task
from quick import QUICKLY, run_as_users_compile
from safetensors.numpy import load_file
from toys import FRAMES, pictures, quiet, toy_config

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core.types import Context
from fedn_jax.data.problem import make_problem
from fedn_jax.engine import fit, parameters, programs, run_dir, train_step, trainer
from fedn_jax.evaluation import run_evaluation
from fedn_jax.inference import new_video

HERE = Path(__file__).parent


@pytest.fixture
def config(monkeypatch):
    """Of the toy, which is known with both drivers."""
    monkeypatch.setattr(models, "TASKS", models.TASKS | toy_task.MODELS)
    return toy_config()


def leaves(run, template):
    folds = run_dir.read_record(run / "run.json")["folds"]
    return [parameters.load(parameters.path_of(run, fold), template, fold)[0] for fold in folds]


def test_the_toy_goes_the_whole_way(config, tmp_path, monkeypatch):
    dataset = pictures()
    run, other = tmp_path / "run", tmp_path / "other"
    config.train.checkpoint_minutes = 10.0
    fit.fit([fit.Run(run, config)], dataset, quiet)
    config.train.checkpoint_minutes = 0.0
    results = run_evaluation.evaluate_run(run, run_dir.load_config(run), dataset, quiet)
    assert results.metrics["spotting"]["f1"] > 0.8 and results.metrics["recognition"]["accuracy"] > 0.8
    logged = run_dir.read_metrics(run)
    assert sum(logged[-1]["loss"]) < 0.5 * sum(logged[0]["loss"])
    assert logged[0]["labelled"] == logged[1]["labelled"]  # all windows with an expression, every epoch

    # A detection in the videos of one fold is what its evaluation found.
    model = new_video.load(run, "s0")
    found = new_video.make_detector(model, 0.0)(dataset.store.inputs[:FRAMES], dataset.store.valid[:FRAMES])
    expected = results.detections[0]
    order = np.argsort(expected.interval[expected.valid][:, 0])
    np.testing.assert_array_equal(found.detections.interval, expected.interval[expected.valid][order])
    monkeypatch.setattr(new_video, "WINDOWS", 3)  # in pieces, through the middle of expressions
    again = new_video.make_detector(model, 0.0)(dataset.store.inputs[:FRAMES], dataset.store.valid[:FRAMES])
    np.testing.assert_array_equal(found.detections.interval, again.detections.interval)

    # Stopped in the middle, it goes on to the same bits, running statistics included.
    with monkeypatch.context() as patch:
        write = fit.checkpoint.Writer.start

        def stop_at_3(writer, directories, step, *rest):
            write(writer, directories, step, *rest)
            if step == 3:
                raise KeyboardInterrupt

        patch.setattr(fit.checkpoint.Writer, "start", stop_at_3)
        with pytest.raises(KeyboardInterrupt):
            fit.fit([fit.Run(other, config)], dataset, quiet)
    assert programs.checkpoints(other, 0).exists()
    config.train.checkpoint_minutes = 10.0
    fit.fit([fit.Run(other, config)], dataset, quiet)
    template = jax.eval_shape(make_problem(config, dataset).task.init, jax.random.key(0))
    one, two = leaves(run, template), leaves(other, template)
    assert "batch_stats" in one[0]
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert float(np.abs(one[0]["batch_stats"]["BatchNorm_0"]["mean"]).max()) > 0.01  # it moved


def trained(maker, config, folds, devices, epochs, state=None):
    """(state of the folds after some epochs, metrics of each epoch)."""
    _, program = trainer.make_program(maker, [config], [(0, folds)], devices)
    metrics = []
    for _, values, get_state in maker.driver.run(program, epochs, state):
        metrics.append(values)
        final = get_state()
    return final, metrics


def test_both_drivers_give_the_same_bits():
    """One fold on one device: the loop on the device and the loop on the host, which move windows alike."""
    run_as_users_compile(__file__, "compare_drivers")


def compare_drivers():
    models.TASKS |= toy_task.MODELS
    config, dataset = toy_config(), pictures()
    config.train.phase = True
    one, scanned = trained(
        trainer.make_trainer(config, make_problem(config, dataset)), config, [0], jax.devices()[:1], range(3)
    )
    config.task = "toy_by_steps"
    two, stepped = trained(
        trainer.make_trainer(config, make_problem(config, dataset)), config, [0], jax.devices()[:1], range(3)
    )
    jax.tree.map(np.testing.assert_array_equal, one, two)
    for a, b in zip(scanned, stepped, strict=True):
        assert a.keys() == b.keys() and a["windows"] == b["windows"] and a["labelled"] == b["labelled"]
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-6)


def test_steps_on_any_number_of_devices_and_from_any_epoch(config):
    """Three folds in two columns of slots, stopped and gone on with to the same bits; a fold is the same alone."""
    devices, config.task = jax.devices(), "toy_by_steps"
    given = trainer.make_trainer(config, make_problem(config, pictures())), config
    alone, _ = trained(*given, [1], devices[:1], range(4))
    several, metrics = trained(*given, [0, 1, 2], devices[:2], range(4))
    half, _ = trained(*given, [0, 1, 2], devices[:2], range(2))
    resumed, _ = trained(*given, [0, 1, 2], devices[:2], range(2, 4), half)
    jax.tree.map(np.testing.assert_array_equal, several, resumed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[1], atol=2e-5), alone, several)
    assert metrics[0]["loss"].shape == (3,) and len(set(metrics[0]["loss"].tolist())) == 3


def test_by_steps_the_whole_way_from_a_file_that_is_mapped(config, tmp_path):
    dataset = pictures()
    path = tmp_path / "frames.u8"
    path.write_bytes(dataset.store.inputs.tobytes())
    mapped = np.memmap(path, np.uint8, "r", shape=dataset.store.inputs.shape)
    dataset = dataset._replace(store=dataset.store._replace(inputs=mapped))
    config.task = "toy_by_steps"
    fit.fit([fit.Run(tmp_path / "run", config)], dataset, quiet)
    found = run_evaluation.evaluate_run(tmp_path / "run", config, dataset, quiet)
    assert found.metrics["spotting"]["f1"] > 0.8


def test_a_killed_training_by_steps_goes_on_to_the_same_bits(config, tmp_path):
    """Other processes, killed inside a save, between two, and in prediction, against one that ran here."""
    script = tmp_path / "train.py"
    script.write_text(KILLED)
    run, whole = tmp_path / "run", tmp_path / "whole"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])}
    environment["XLA_FLAGS"] = f"{QUICKLY} --xla_force_host_platform_device_count=1"

    def start(when):
        command = [sys.executable, str(script), str(run), when]
        return subprocess.run(command, env=environment, capture_output=True, text=True).returncode

    checkpoints = programs.checkpoints(run, 0)
    assert start("saving") == -signal.SIGKILL and list(checkpoints.glob("*tmp*"))  # half a checkpoint
    assert start("between") == -signal.SIGKILL and checkpoints.exists()
    assert start("predicting") == -signal.SIGKILL and len(list((run / "outputs").rglob("*.npz"))) == 1
    config.task, config.train.epochs = "toy_by_steps", 6
    for directory in (run, whole):
        fit.fit([fit.Run(directory, config)], pictures(), quiet)
    files = sorted((whole / "parameters").iterdir())
    assert len(files) == 3
    for file in files:
        one, two = (load_file(directory / "parameters" / file.name) for directory in (whole, run))
        jax.tree.map(np.testing.assert_array_equal, one, two)


KILLED = """
import os, signal, sys, threading
from pathlib import Path
import toys, toy_task
from toys import quiet
from fedn_jax import models
from fedn_jax.engine import checkpoint, fit, output_files, programs
models.TASKS |= toy_task.MODELS
config = toys.toy_config()
config.task, config.train.epochs = "toy_by_steps", 6
run, when = Path(sys.argv[1]), sys.argv[2]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
start, number = checkpoint.Writer.start, []
def until_half():
    while not list(programs.checkpoints(run, 0).glob("*tmp*")):
        pass
    die()
def begin(writer, *rest):
    number.append(0)
    if when == "saving" and len(number) == 3:
        threading.Thread(target=until_half).start()
    if when == "between" and len(number) == 3:
        die()
    start(writer, *rest)
checkpoint.Writer.start = begin
save = output_files.save
def save_one(*rest):
    save(*rest)
    die()
if when == "predicting":
    output_files.save = save_one
fit.fit([fit.Run(run, config)], toys.pictures(), quiet)
"""


def test_padding_shows_a_model_no_window_but_the_folds_own(config):
    """In one fold window 0 is of the test subject: nothing of it may reach a batch, not even with weight 0."""
    dataset = pictures()
    problem = make_problem(config, dataset)
    fold = train_step.Fold(*(x[0] for x in (problem.folds.key, *problem.folds[2:4], problem.folds.census)))
    tests = problem.folds.test[0]
    assert problem.windows.video[0] in tests and (fold.positive >= 0).any()
    inputs = dataset.store.inputs.copy()
    for video in tests:
        meta = problem.metas[video]
        inputs[meta.row : meta.row + meta.num_rows] = 255  # nowhere else is a picture all white
    seen = []

    def apply(variables, got, weight, train, key):
        jax.debug.callback(seen.append, got.inputs.min((1, 2, 3, 4)))
        return problem.task.apply(variables, got, weight, train, key)

    step = train_step.make_train_step(problem.task._replace(apply=apply), problem.geometry)
    hyper = configs.to_hyper(config)
    state = train_step.init_state(problem.task, fold, hyper)
    batch = np.array([fold.positive[1], fold.negative[0], -1, -1, -1], np.int32)
    jax.jit(step)(state, jax.random.key(0), batch, fold, hyper, problem.store._replace(inputs=inputs), problem.windows)
    jax.effects_barrier()
    assert (np.asarray(seen[-1]) < 255).all() and len(seen[-1]) == 5


def test_padding_leaves_batch_statistics_alone(config):
    """Bit for bit: a padded batch against itself with other padding; a batch of padding against nothing."""
    problem = make_problem(config, pictures())
    fold = train_step.Fold(*(x[0] for x in (problem.folds.key, *problem.folds[2:4], problem.folds.census)))
    hyper = configs.to_hyper(config)
    step = jax.jit(train_step.make_train_step(problem.task, problem.geometry))
    state = train_step.init_state(problem.task, fold, hyper)
    given = (hyper, problem.store, problem.windows)
    batch = np.array([fold.positive[1], fold.negative[0], -1, -1], np.int32)
    swapped = fold._replace(positive=np.roll(fold.positive, 2))  # padding gathers another window
    assert fold.positive[0] != swapped.positive[0]
    one, *numbers = step(state, jax.random.key(0), batch, fold, *given)
    two, *others = step(state, jax.random.key(0), batch, swapped, *given)
    jax.tree.map(np.testing.assert_array_equal, (one, numbers), (two, others))
    assert (one.extra["batch_stats"]["BatchNorm_0"]["mean"] != 0).any()
    after, _, sums = step(one, jax.random.key(1), np.full(4, -1, np.int32), fold, *given)
    jax.tree.map(np.testing.assert_array_equal, one, after)
    assert sums["windows"] == 0


def test_the_census_is_of_the_training_windows_only(config):
    """Moving the expressions of the test subject changes what other folds count, and not its own fold."""
    dataset = pictures()
    problem = make_problem(config, dataset)
    longer = [
        events._replace(interval=events.interval + np.array([-5, 5], np.float32) * (meta.subject == "s1"))
        for meta, events in zip(dataset.metas, dataset.events, strict=True)
    ]
    other = make_problem(config, dataset._replace(events=longer))
    assert problem.folds.name == ("s0", "s1", "s2") and problem.folds.census.shape == (3, 3)
    np.testing.assert_array_equal(problem.folds.census[1], other.folds.census[1])
    assert (problem.folds.census[[0, 2]] != other.folds.census[[0, 2]]).any(1).all()
    for k, tests in enumerate(problem.folds.test):  # counted once more, by hand
        counted = np.zeros(3)
        for row in np.flatnonzero(~np.isin(problem.windows.video, tests)):
            label, events = np.zeros(16, int), problem.windows.events
            for (a, b), c, valid in zip(events.interval[row], events.emotion[row], events.valid[row], strict=True):
                if valid:
                    label[int(a) : int(b)] = c + 1
            counted += np.bincount(label, minlength=3)
        np.testing.assert_array_equal(problem.folds.census[k], counted)


def test_the_model_is_an_entry_of_one_table(config):
    assert json.loads(config.to_json())["task"] == "toy"
    context = Context(jnp.zeros(2), None, jnp.ones((2, 16), bool), jnp.ones(3))
    task = models.make_task(config, make_problem(config, pictures()).geometry, 2, (6, 6, 3))
    logits, targets = jnp.zeros((2, 16, 3)), jnp.zeros((2, 16), int)
    assert task.loss({"logits": logits}, targets, context, configs.to_hyper(config))[0] == 0  # padding alone, no NaN
