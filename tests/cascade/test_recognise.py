"""A recogniser behind a spotter: it learns, what is spotted does not move by a bit, and a kill changes nothing."""

import csv
import json

import numpy as np
import pytest
from cascades import draw_networks, draw_streams, made_problem, toy_cascade
from safetensors.numpy import load_file
from toys import quiet

from fedn_jax.cascade import recognise, streams
from fedn_jax.cascade.recognisers import RECOGNISERS
from fedn_jax.cli.main import main
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Detections
from fedn_jax.engine import checkpoint, fit, run_dir
from fedn_jax.engine.trainer import make_trainer
from fedn_jax.evaluation import all_metrics, matching

WIDTH = 32  # features of an embedding
TRAINING = {
    "ceflnet": {"train.epochs": 14, "train.learning_rate": 1e-2, "train.batch_size": 6},
    "frozen-features": {"train.epochs": 20, "train.learning_rate": 0.1, "train.batch_size": 6},
    "str": {"train.epochs": 40, "train.learning_rate": 1e-2, "train.batch_size": 6, "cascade.grid": 40},
}


def named_by(name, out, emotions=None, change=lambda toy: toy, **changes):
    """(toy, what its recognisers say of what was spotted), after a training in ``out``."""
    toy = change(toy_cascade(out / "spotter", emotions, WIDTH))
    draw_networks(toy)
    config = recognise.training_config(toy.config, name)
    config.update_from_flattened_dict(TRAINING[name] | changes)
    problem = made_problem(toy, name, config)
    facts = fit.facts_of(problem, toy.dataset)
    fit.fit_problem([fit.Run(out / "own", config)], make_trainer(config, problem), facts, quiet)
    return toy, recognise._named(out / "own", problem, toy.found)


def numbers(toy, found):
    """What an evaluation says of them."""
    subjects, classes = [meta.subject for meta in toy.dataset.metas], toy.named.classes
    events = matching.pad(toy.named.events)
    return all_metrics.evaluate_detections(matching.pad(found), events, subjects, classes, 0.0)


@pytest.mark.parametrize("name", ["ceflnet", "frozen-features", "str"])
def test_it_learns_what_there_is_to_learn(name, tmp_path, monkeypatch):
    """Of every fold; with labels dealt out anew nothing is left to learn but the share of the largest class."""
    as_drawn = RECOGNISERS["str"]._replace(first=draw_streams)  # their own training has a test of its own
    monkeypatch.setitem(RECOGNISERS, "str", as_drawn)
    toy, found = named_by(name, tmp_path / "right")
    result = numbers(toy, found)
    assert result["recognition"]["accuracy"] > 0.9
    assert all(np.array_equal(a.interval, b.interval) and np.array_equal(a.score, b.score)
               for a, b in zip(found, toy.found, strict=True))  # fmt: skip
    count = sum(len(one.emotion) for one in toy.named.events)
    shuffled = np.random.default_rng(1).permutation(np.arange(count) % 4 == 0)  # a quarter, whoever it was before
    toy, found = named_by(name, tmp_path / "shuffled", emotions=shuffled)
    assert numbers(toy, found)["recognition"]["accuracy"] <= 0.75 + 0.1


@pytest.mark.parametrize("name", ["ceflnet", "frozen-features", "str"])
def test_a_fold_is_the_same_bits_whatever_its_subject_is(name, tmp_path, monkeypatch):
    """Faces, expressions and emotions of one subject are others: only folds that learn from it change."""
    monkeypatch.setattr(streams, "TRAINING", streams.TRAINING | {"train.epochs": 1, "train.batch_size": 8})
    changed = "s2"

    def change(toy):
        rng, inputs = np.random.default_rng(5), toy.dataset.store.inputs.copy()
        events, found = list(toy.dataset.events), list(toy.found)
        for video, meta in enumerate(toy.dataset.metas):
            if meta.subject == changed:
                inputs[meta.row : meta.row + meta.num_rows] += rng.normal(size=(meta.num_rows, WIDTH)).astype(
                    np.float16
                )
                one = events[video]
                events[video] = one._replace(interval=one.interval + [-3, 4], emotion=1 - one.emotion)
                found[video] = found[video]._replace(interval=one.interval - 2)
        store = toy.dataset.store._replace(inputs=inputs)
        dataset = toy.dataset._replace(store=store, events=events)
        return toy._replace(dataset=dataset, named=recognise.with_emotions(toy.config, dataset), found=found)

    named_by(name, tmp_path / "one", **{"train.epochs": 1})
    named_by(name, tmp_path / "other", change=change, **{"train.epochs": 1})
    rooms = {"own/parameters"} | ({"spotter/recogniser/streams/parameters"} if name == "str" else set())
    for room in rooms:
        files = {path.name: path for path in (tmp_path / "one" / room).iterdir()}
        assert set(files) == {f"s{i}.safetensors" for i in range(4)}
        for file, path in files.items():
            one, other = load_file(path), load_file(tmp_path / "other" / room / file)
            same = all(np.array_equal(one[key], other[key]) for key in one)
            assert same == (file == f"{changed}.safetensors"), (room, file)


def test_a_kill_changes_nothing(tmp_path, monkeypatch):
    changes = {"train.epochs": 4, "train.checkpoint_minutes": 0.0}
    _, whole = named_by("frozen-features", tmp_path / "whole", **changes)
    save = checkpoint.save

    def stopped(*args):
        save(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        named_by("frozen-features", tmp_path / "cut", **changes)
    monkeypatch.setattr(checkpoint, "save", save)
    _, again = named_by("frozen-features", tmp_path / "cut", **changes)
    paths = sorted((tmp_path / "whole" / "own" / "parameters").iterdir())
    for path in paths:
        one, other = (load_file(tmp_path / name / "own" / "parameters" / path.name) for name in ("whole", "cut"))
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert len(paths) == 4 and all(np.array_equal(a.emotion, b.emotion) for a, b in zip(whole, again, strict=True))
    epochs = [entry["epoch"] for entry in run_dir.read_metrics(tmp_path / "cut" / "own")]
    assert epochs == [1, 2, 3, 4]


def test_a_recogniser_that_returns_the_annotation_is_always_right(tmp_path):
    toy = toy_cascade(tmp_path)
    found = [one._replace(emotion=events.emotion) for one, events in zip(toy.found, toy.named.events, strict=True)]
    right, wrong = numbers(toy, found), numbers(toy, [one._replace(emotion=1 - one.emotion) for one in found])
    assert right["recognition"]["accuracy"] == 1 and wrong["recognition"]["accuracy"] == 0
    assert right["map"]["coco"]["detection"] == pytest.approx(1)
    for number in ("spotting", "protocols", "oracle"):
        assert right[number] == wrong[number]


def test_names_are_those_of_the_right_interval(tmp_path):
    """Detections that are no detections lie anywhere among the others."""
    toy = toy_cascade(tmp_path)
    padded = [Detections(np.insert(one.interval, [0, 2], 0, 0), np.insert(one.score, [0, 2], 0),
                         np.insert(one.emotion, [0, 2], 0), np.insert(one.valid, [0, 2], False))
              for one in toy.found]  # fmt: skip
    problem = made_problem(toy._replace(found=padded), "ceflnet")
    task = problem.task._replace(decode=lambda outputs, *rest: Detections(None, None, outputs["number"], None))
    outputs = lambda path, starts, shapes: {"number": 5 + np.arange(len(starts), dtype=np.int32)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognise.output_files, "load", outputs)
        found = recognise._named(tmp_path, problem._replace(task=task), padded)
    assert [one.emotion.tolist() for one in found] == [[0, 5, 6, 0, 7]] * len(padded)


# ---- The command ----------------------------------------------------------------------------------------------------


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_what_is_spotted_stays(small_demo, small_cascade, capsys):
    run, whole = small_cascade / "run", small_cascade / "named"
    one, other = (json.loads((place / "metrics.json").read_text()) for place in (run, whole))
    for number in ("spotting", "thresholds", "threshold_origins", "oracle", "protocols"):
        assert one[number] == other[number]
    assert one["map"]["coco"]["spotting"] == other["map"]["coco"]["spotting"]
    assert one["map"]["all_point"]["spotting"] == other["map"]["all_point"]["spotting"]
    assert other["cascade"]["recogniser"] == other["config"]["cascade"]["recogniser"] == "frozen-features"
    page = (whole / "report.html").read_text()
    assert f"{run}; the emotions are those of the recogniser frozen-features" in " ".join(page.split())
    spotted = [[{**row, "emotion": ""} for row in table(place / "candidates.csv")] for place in (run, whole)]
    assert spotted[0] == spotted[1] and spotted[0]
    files = [path for path in (small_demo / "run").iterdir() if path.is_file()]
    assert len(files) > 5 and all((run / path.name).read_bytes() == path.read_bytes() for path in files)
    capsys.readouterr()
    for words, said in (
        (["evaluate", whole, "--data", small_demo / "data"], "a cascade, whose numbers"),
        (["recognise", run, "--data", small_demo / "data", "--with", "str2", "--out", whole], "--with must be one of"),
        (["recognise", run, "--data", small_demo / "data", "--with", "ceflnet", "--out", run], "is the run itself"),
        (["recognise", run, "--data", small_demo / "data", "--with", "ceflnet", "--out", whole], "another config"),
    ):
        assert main([str(word) for word in words]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("fedn: ") and said in line


def test_a_cascade_is_not_trained_as_a_network(tmp_path):
    toy = toy_cascade(tmp_path)
    with pytest.raises(UserError, match="fedn recognise RUN"):
        fit.fit([fit.Run(tmp_path / "run", recognise.cascade_config(toy.config, "ceflnet"))], toy.dataset, quiet)
