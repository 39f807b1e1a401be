"""A run's evaluation: where each threshold comes from, what it changes, and what it does not look at."""

import csv
import html
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from toys import TINY, quiet, toy_data

from fedn_jax.core import config as configs
from fedn_jax.core.types import Detections, Events, VideoMeta
from fedn_jax.data import shards, standardization
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import run_evaluation, thresholds
from fedn_jax.ops import windows
from fedn_jax.reports import run_page, run_tables

SCORE = np.float32(0.7)  # lies below 0.7 in float64, and is 0.7 in float32


def detections(*rows):
    """(onset, offset, score) each."""
    table = np.array(rows, np.float32).reshape(-1, 3)
    return Detections(table[:, :2], table[:, 2], np.zeros(len(table), int), np.ones(len(table), bool))


GEOMETRY = windows.Geometry(64, 8, 2)
FLOOR = 0.45  # of inner folds: the score below which candidates were not kept
HIT, MISS = (0, 10), (50, 60)  # of the only expression of every video, [0, 10)
OUTER = {name: detections((*HIT, SCORE), (*MISS, 0.3)) for name in ("a", "b", "c")}
INNER = {
    "a/inner": detections((*HIT, 0.6), (*MISS, 0.2)),  # the best threshold is 0.4
    "b/inner": detections((*MISS, 0.9), (*MISS, 0.1)),  # finds nothing: no threshold is better than another
    "c/inner": detections((*HIT, 0.6), (*MISS, 0.2)),
}


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Evaluates a run of three subjects whose networks said what stands above."""
    config = configs.default()
    config.evaluate.threshold_rule = "best"
    metas = [VideoMeta(name, "v", 100, 30.0, 1, 0, 100) for name in "abc"]
    interval = np.array([HIT], np.float32)
    one = Events(interval, interval[:, 0], np.zeros(1, int), np.zeros(1, int), np.ones(1, bool))
    run = tmp_path / "run"
    run_dir.write_record(run / "run.json", {"data": "x", "versions": {}})
    run_dir.write_record(run / "config.json", json.loads(config.to_json()))
    for name, meta in zip("abc", metas, strict=True):
        for path in (run_dir.outputs_path(run, name, meta), run_dir.candidates_path(run, f"{name}/inner")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    known = {run_dir.outputs_path(run, name, meta): OUTER[name] for name, meta in zip("abc", metas, strict=True)}
    known |= {run_dir.candidates_path(run, name): ([found], np.float32([FLOOR])) for name, found in INNER.items()}
    monkeypatch.setattr(run_evaluation.output_files, "load", lambda path, starts, shapes: known[path])
    monkeypatch.setattr(run_evaluation.candidates, "load", lambda path, videos: known[path])
    monkeypatch.setattr(run_evaluation.candidates, "suppress", lambda found, *options: found)
    monkeypatch.setattr(
        run_evaluation, "_problem", lambda config, dataset: (dataset.problem, lambda outputs, frames: outputs, {})
    )

    def evaluated(inner=True, typed=(), out=None, **changes):
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(changes)
        names = [name + ending for name in "abc" for ending in ("", "/inner")[: 1 + inner]]
        folds = SimpleNamespace(name=names, test=[("abc".index(name[0]),) for name in names])
        problem = SimpleNamespace(
            folds=folds,
            metas=metas,
            geometry=GEOMETRY,
            events=[one] * 3,
            classes=["expression"],
            task=SimpleNamespace(whole=False),
            label="none",
            left_out="2 micro-expressions left out (data.kind=macro)",
        )
        dataset = SimpleNamespace(
            problem=problem, metadata={"signature": "x", "classes": ["expression"]}, flow=np.zeros((1, 12, 2)),
            store=SimpleNamespace(valid=np.ones(1, bool)),
        )  # fmt: skip
        results = run_evaluation.evaluate_run(run, changed, dataset, quiet, typed)
        run_evaluation.write(results, out or run)
        return results

    evaluated.run = run
    return evaluated


def text_of(page):
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


def told(results, tmp_path):
    """What terminal and page say."""
    page = run_page.write(tmp_path / "page", results.metrics, run_page.videos(results), ["expression"])
    return " ".join(run_tables.run_text(results.metrics).split()), text_of(page.read_text())


def test_an_inner_fold_that_finds_nothing_falls_back_and_says_so(evaluate, tmp_path):
    results = evaluate()
    found = results.metrics
    assert found["definition"]["gt"].startswith("annotated expressions; 2 micro-expressions left out (data.kind=macro)")
    assert found["thresholds"] == pytest.approx({"a": 0.4, "b": 0.5, "c": 0.4})
    assert found["threshold_origins"] == {"a": "best", "b": "no hit", "c": "best"}
    assert found["other_options"] == {}
    assert found["leaks"]["threshold"]["f1"] == 1 and found["leaks"]["threshold"]["gain"] == 0
    for text in told(results, tmp_path):
        assert "What leaks are worth" in text and "One threshold, on test labels" in text
        assert (
            "of 2 folds picked on its inner fold" in text and "of 1 fold (b) evaluate.threshold of the config" in text
        )
        assert "on its inner fold no detection finds an expression" in text
    assert f"b 0.5: {thresholds.MEANING['no hit']}" in told(results, tmp_path)[1]  # fold by fold, at the page's end
    assert {name: one.value for name, one in thresholds.of_training(found).items()} == found["thresholds"]


@pytest.mark.parametrize(("inner", "typed"), [(True, ()), (True, ("evaluate.threshold",)), (False, ())])
def test_a_threshold_that_is_given_counts_for_every_fold(evaluate, tmp_path, inner, typed):
    value = 0.5 if typed else 0.25  # as typed it counts even where it is the training's
    results = evaluate(inner, typed, **{"evaluate.threshold": value})
    found = results.metrics
    assert set(found["thresholds"].values()) == {value} and set(found["threshold_origins"].values()) == {"given"}
    assert found["other_options"] == {"evaluate.threshold": value}
    assert found["spotting"]["n"] == (3 if typed else 6)
    for text in told(results, tmp_path):
        assert "evaluate.threshold as given for this evaluation" in text and "training subjects" not in text
        assert "picked" not in text
    assert thresholds.of_training(found) == {}  # nothing that a detection in new videos should take over


def test_without_inner_folds_it_is_not_tuned(evaluate, tmp_path):
    results = evaluate(inner=False)
    assert set(results.metrics["threshold_origins"].values()) == {"configured"}
    for text in told(results, tmp_path):
        assert "the run has no inner folds, so it is not tuned" in text and "picked" not in text


@pytest.mark.parametrize("changes", [{"evaluate.iou": 0.3}, {"predict.nms_iou": 0.2}])
def test_an_evaluation_with_other_options_is_not_the_trainings(evaluate, changes):
    found = evaluate(**changes).metrics
    assert found["other_options"] == changes and set(found["threshold_origins"].values()) > {"best"}
    assert thresholds.of_training(found) == {}


def test_thresholds_below_what_was_kept_are_named_where_suppression_differs(evaluate, caplog):
    evaluate()
    evaluate(**{"evaluate.iou": 0.3})
    assert not caplog.text  # with the training's suppression what was kept gives the threshold exactly
    evaluate(**{"predict.nms_iou": 0.2})
    assert "a (0.450), c (0.450); with the training's options" in caplog.text and "b (" not in caplog.text


def test_another_directory_leaves_the_runs_files_as_they_are(evaluate, tmp_path):
    evaluate()
    before = {path.name: path.read_bytes() for path in evaluate.run.iterdir() if path.is_file()}
    evaluate(out=tmp_path / "other", **{"evaluate.threshold": 0.9})
    assert {path.name: path.read_bytes() for path in evaluate.run.iterdir() if path.is_file()} == before
    assert {path.name for path in (tmp_path / "other").iterdir()} == {
        "metrics.json", "detections.csv", "candidates.csv",
    }  # fmt: skip


def test_a_score_that_is_the_threshold_counts_everywhere(evaluate, tmp_path):
    """0.7 as a number of 64 bits lies above 0.7 as a score of 32 bits: they are compared as scores."""
    assert float(SCORE) < 0.7
    results = evaluate(**{"evaluate.threshold": 0.7})
    with (evaluate.run / "detections.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == results.metrics["spotting"]["n"] == results.metrics["spotting"]["tp"] == 3
    drawn = run_page.timelines(results.metrics, run_page.videos(results), ["expression"])
    assert [one["correct"] for one in drawn] == [1, 1, 1]


def test_words_name_a_few_folds_only():
    origins = {f"s{number}": "best" for number in range(20)} | {f"t{number}": "no hit" for number in range(8)}
    text = thresholds.describe(origins)
    assert "of 20 folds picked" in text and "of 8 folds (t0, t1, t2, t3, t4, t5 and 2 more)" in text
    assert thresholds.describe({}) == "score threshold of each fold"


def test_inputs_are_not_looked_at_and_the_decoder_is_compiled_once(monkeypatch):
    """Of runs that differ in their seed the decoder is the same, and no input is standardised or copied."""
    store, metas, events = toy_data()
    metadata = {"classes": ["x", "y"], "frames_per_row": 2, "signature": "x"}
    metas = [meta._replace(num_frames=2 * meta.num_rows) for meta in metas]
    dataset = shards.Dataset(store._replace(inputs=store.inputs[:0]), metas, events, np.zeros(1), metadata)
    monkeypatch.setattr(standardization, "standardize", None)
    decoders = []
    for seed in (0, 1):
        config = configs.default()
        config.update_from_flattened_dict(TINY | {"data.standardize": "video", "seed": seed})
        problem, decode, _ = run_evaluation._problem(config, dataset)
        assert problem.store is dataset.store and config.data.standardize == "video"
        decoders.append(decode)
    assert decoders[0] is decoders[1]


def test_runs_on_the_same_data_and_folds_share_the_baselines(evaluate, monkeypatch):
    monkeypatch.setattr(run_evaluation, "_BASELINES", {})
    calls, compute = [], run_evaluation._score_baselines
    monkeypatch.setattr(run_evaluation, "_score_baselines", lambda *all: calls.append(1) or compute(*all))
    first = evaluate().metrics["baselines"]
    kept = json.dumps(first)
    first["position"]["spotting"]["f1"] = -1.0  # what a caller does to its numbers is its own
    assert json.dumps(evaluate().metrics["baselines"]) == kept and len(calls) == 1
    other = evaluate(**{"evaluate.iou": 0.9}).metrics["baselines"]
    assert len(calls) == 2 and other["position"]["iou"] == 0.9
