"""Programs are agreed on once and claimed by one process at a time; three processes end as one does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from quick import QUICKLY
from toys import SHALLOW, options

from fedn_jax.cli.main import main
from fedn_jax.core.errors import UserError
from fedn_jax.engine import fit, parameters, programs, run_dir
from fedn_jax.engine.programs import Share

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["s1", "s1/inner", "s2", "s2/inner"]


def agree(runs, wanted, *sizes):
    """With programs of these sizes."""
    recorded = []
    for run in runs:
        run.mkdir(exist_ok=True)
        if not (run / "run.json").exists():
            run_dir.write_record(run / "run.json", {"folds": NAMES})
        recorded.append(run_dir.read_record(run / "run.json"))
    edges = np.cumsum([0, *sizes])
    split = lambda fresh: [range(a, b) for a, b in zip(edges, edges[1:]) if b <= len(fresh)]  # noqa: B905
    return programs.agree(runs, recorded, wanted, split)


def test_an_axis_of_runs_times_folds_becomes_shares(tmp_path):
    runs = [tmp_path / "a", tmp_path / "b"]
    got = agree(runs, [0, 1, 2, 3], 5, 3)
    assert got == [[Share(0, 0, (0, 1, 2, 3)), Share(1, 0, (0,))], [Share(1, 1, (1, 2, 3))]]
    assert json.loads((runs[1] / "run.json").read_text())["programs"][1]["folds"] == [1, 2, 3]


def test_what_nobody_began_is_divided_anew_and_what_was_begun_stays(tmp_path):
    run = tmp_path / "a"
    assert len(agree([run], [0, 1, 2, 3], 4)) == 1
    assert len(agree([run], [0, 1, 2, 3], 2, 2)) == 2
    run_dir.metrics_path(run, 1).parent.mkdir()
    run_dir.metrics_path(run, 1).touch()
    assert agree([run], [0, 1, 2, 3], 4) == [[Share(0, 0, (0, 1))], [Share(0, 1, (2, 3))]]


def test_what_another_process_holds_stays(tmp_path):
    run = tmp_path / "a"
    shares = agree([run], [0, 1, 2, 3], 2, 2)
    held = "import sys, pathlib, time; from fedn_jax.core import files\n" \
           "with files.lock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", held, str(run / ".locks" / "program1")], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout.readline().strip() == b"held"
    assert agree([run], [0, 1, 2, 3], 4) == shares
    with programs.claim([run], shares[0]) as one, programs.claim([run], shares[1]) as two:
        assert one and not two
    process.kill()  # -9: the system gives the lock back
    process.wait()
    process.stdout.close()
    with programs.claim([run], shares[1]) as again:
        assert again


def test_some_folds_now_and_others_later(tmp_path):
    run = tmp_path / "a"
    assert agree([run], [2, 3], 2) == [[Share(0, 0, (2, 3))]]
    run_dir.metrics_path(run, 0).parent.mkdir()
    run_dir.metrics_path(run, 0).touch()
    assert agree([run], [0, 1, 2, 3], 2) == [[Share(0, 0, (2, 3))], [Share(0, 1, (0, 1))]]
    assert agree([run], [0, 1], 2) == [[Share(0, 1, (0, 1))]]
    assert fit._chosen(NAMES, ["s2"]) == [2, 3] and fit._chosen(NAMES, []) == [0, 1, 2, 3]
    with pytest.raises(UserError, match="--folds must be one of s1, s2; got 's3'"):
        fit._chosen(NAMES, ["s3"])


def words_of(data, out, number):
    changes = SHALLOW | {"train.epochs": 6, "train.learning_rate": 3e-3, "folds.scheme": "kfold", "folds.k": 2}
    words = ["train", "--config", "demo", "--data", data, "--out", out]
    return [str(word) for word in [*words, *options(**changes | {"folds.programs": number})]]


def start(words):
    environment = os.environ | {"JAX_ENABLE_X64": "1", "XLA_FLAGS": QUICKLY}
    return subprocess.Popen(
        [sys.executable, "-m", "fedn_jax.cli.main", *words], cwd=ROOT, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_three_processes_of_which_one_is_killed_end_as_one_does(shards, tmp_path):
    out = tmp_path / "shared"
    words = words_of(shards, out, 4)
    first = start(words)
    while first.poll() is None and not run_dir.metrics_path(out, 0).exists():
        time.sleep(0.01)
    others = [start(words), start(words)]
    assert first.poll() is None
    first.kill()
    first.communicate()
    with jax.enable_x64(True):
        assert main(words_of(shards, tmp_path / "alone", 1)) == 0
    for process in others:
        assert process.wait() == 0, process.communicate()[1].decode()
        process.stderr.close()
    assert len(run_dir.read_record(out / "run.json")["programs"]) == 4
    for entry in run_dir.read_metrics(out):
        assert len(entry["folds"]) == 1
    names = [name for name in run_dir.read_record(out / "run.json")["folds"] if not name.endswith("inner")]
    for name in names:
        from safetensors.numpy import load_file

        one, two = (load_file(parameters.path_of(run, name)) for run in (out, tmp_path / "alone"))
        assert max(np.abs(x - y).max() for x, y in zip(*map(jax.tree.leaves, (one, two)), strict=True)) <= 1e-6
    files = [
        sorted(path.relative_to(run) for path in run.rglob("outputs/**/*.npz")) for run in (out, tmp_path / "alone")
    ]
    assert files[0] == files[1] and len(files[0]) > len(names)
