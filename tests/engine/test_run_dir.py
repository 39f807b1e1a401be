import json

import numpy as np
import pytest
from toys import tiny_config

from fedn_jax.engine import run_dir


def test_a_run_is_found_again(tmp_path):
    config = tiny_config()
    first = run_dir.open_run(tmp_path / "run", config, {"data": "abc", "folds": ["a", "b"]})
    assert (
        first["versions"]["jax"]
        and run_dir.open_run(tmp_path / "run", config, {"data": "abc", "folds": ["a", "b"]}) == first
    )
    again = run_dir.load_config(tmp_path / "run")
    assert again.to_json() == config.to_json() and again.is_locked


def test_another_configuration_or_other_data_are_refused(tmp_path):
    config = tiny_config()
    run_dir.open_run(tmp_path, config, {"data": "abc"})
    with pytest.raises(run_dir.UserError, match=r"another configuration \(train.epochs was 2, now 9\)"):
        other = tiny_config()
        other.train.epochs = 9
        run_dir.open_run(tmp_path, other, {"data": "abc"})
    with pytest.raises(run_dir.UserError, match=r"other data \(data changed\)"):
        run_dir.open_run(tmp_path, config, {"data": "xyz"})


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(run_dir.UserError, match="no such file; expected the directory of a run"):
        run_dir.load_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(run_dir.UserError, match="not valid JSON"):
        run_dir.load_config(tmp_path)


def test_records_that_were_changed_or_are_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "metrics.json"
    value = {"a": 0.1, "b": [1, None, {"ü": 1e-300}], "c": {10: 1, 2: 3}}
    run_dir.write_record(path, value)
    found = run_dir.read_record(path)
    assert found == {"a": 0.1, "b": [1, None, {"ü": 1e-300}], "c": {"10": 1, "2": 3}}
    run_dir.write_record(path, found | {"a": 2})  # what was read can be written again
    assert run_dir.read_record(path)["a"] == 2
    whole = path.read_text()
    for text, message in (
        (whole.replace('"a": 2', '"a": 3'), "was changed or is damaged"), (whole[:-3], "not valid JSON"),
        ('{"a": 1}', "written by another version"), ("[]", "written by another version"),
        ("[" * 100_000, "nested too deep"), ("\udcff", "not valid JSON"),
    ):  # fmt: skip
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(run_dir.UserError, match=f"metrics.json: .*{message}"):
            run_dir.read_record(path)


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "\udcff", '{"epoch": 1}', '{"epoch": 1, "folds": ["a"], "loss": [1, 2]}',
        '{"epoch": 1, "folds": ["a"], "x": 3}',
    ],
)  # fmt: skip
def test_lines_that_are_no_metrics_are_refused(tmp_path, line):
    path = run_dir.metrics_path(tmp_path, 0)
    path.parent.mkdir()
    path.write_bytes(line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(run_dir.UserError, match="program0.jsonl: not lines of metrics"):
        run_dir.read_metrics(tmp_path)


def test_metrics_of_epochs_that_are_done_again_are_dropped(tmp_path):
    log = run_dir.MetricsLog(tmp_path, 0, 0)
    for epoch in (1, 2, 3):
        log.write(epoch, ("a", "b"), {"loss": np.array([1.0, 2.0])})
    log.close()
    other = run_dir.MetricsLog(tmp_path, 1, 0)
    other.write(1, ("c",), {"loss": np.array([3.0])})
    other.close()
    with run_dir.metrics_path(tmp_path, 0).open("a") as file:
        file.write('{"epoch": 4, "pro')  # killed while writing
    run_dir.MetricsLog(tmp_path, 0, 1).close()
    got = [(entry["program"], entry["epoch"]) for entry in run_dir.read_metrics(tmp_path)]
    assert got == [(0, 1), (1, 1)]
    assert json.loads(run_dir.metrics_path(tmp_path, 0).read_text().splitlines()[0])["folds"] == ["a", "b"]
