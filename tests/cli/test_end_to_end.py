"""All commands in order, from features and from drawn videos to a page; and what is left when a training is killed."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from media import REAL, needs_real
from quick import QUICKLY
from toys import SHALLOW, SMALL_DEMO, TINY, WIDE, options

from fedn_jax.cli.main import main
from fedn_jax.core import files
from fedn_jax.engine import run_dir

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "configs" / "demo.py")


def train(data, out, **changes):
    words = ["train", "--config", DEMO, "--data", data, "--out", out, *options(**SHALLOW, **changes)]
    return [str(word) for word in words]


def final_digests(run):
    """Digests of the trained networks, by fold."""
    from safetensors import safe_open

    found = {}
    for path in sorted((run / "parameters").iterdir()):
        with safe_open(path, "np") as file:
            found[path.name] = file.metadata()["digest"]
    assert len(found) == 4  # the inner folds' are gone
    return found


def test_killed_three_times_it_ends_the_same(shards, tmp_path):
    environment = os.environ | {"XLA_FLAGS": QUICKLY}
    command = [sys.executable, "-m", "fedn_jax.cli.main"]
    command += train(shards, tmp_path / "cut", **{"train.checkpoint_minutes": 0.0})
    assert main(train(shards, tmp_path / "whole")) == 0
    rng, killed = random.Random(0), 0
    for goal in (1, 3, 4):
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(run_dir.read_metrics(tmp_path / "cut")) < goal:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))  # in the middle of an epoch, or of a checkpoint
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed == 3
    assert main(train(shards, tmp_path / "cut")) == 0
    assert final_digests(tmp_path / "cut") == final_digests(tmp_path / "whole")
    epochs = [[entry["epoch"] for entry in run_dir.read_metrics(tmp_path / name)] for name in ("cut", "whole")]
    assert epochs[0] == epochs[1] == list(range(1, 7))
    one, two = (sorted((tmp_path / name / "outputs").rglob("*/*.npz")) for name in ("cut", "whole"))
    assert len(one) >= 8
    for path, other in zip(one, two, strict=True):  # all that an evaluation reads
        first, second = dict(np.load(path)), dict(np.load(other))
        assert first.keys() == second.keys()
        jax.tree.map(np.testing.assert_array_equal, first, second)


def test_train_and_evaluate_write_everything(shards, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", "--config", DEMO, "--data", shards, "--out", run]
    words += options(**SHALLOW | WIDE | {"train.epochs": 20, "train.learning_rate": 3e-3})
    assert main([str(word) for word in words]) == 0
    assert main(["evaluate", str(run), "--data", str(shards)]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines() if str(run) not in line) <= 80
    numbers = json.loads((run / "metrics.json").read_text())
    for key in ("spotting", "recognition", "map", "per_subject", "per_class", "baselines", "definition", "versions"):
        assert key in numbers
    assert set(numbers["spotting"]) >= {"tp", "n", "gt", "precision", "recall", "f1"}
    assert numbers["spotting"]["gt"] == 24
    assert list(numbers["baselines"]) == ["position"]  # clip features have no pictures, hence no flow
    assert set(numbers["thresholds"]) == {"s0", "s1", "s2", "s3"}
    assert numbers["spotting"]["f1"] > 0.5  # the toy says where its expressions are
    with (run / "detections.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["subject", "video", "onset", "offset", "score", "emotion"]
    assert len(rows) == numbers["spotting"]["n"]
    assert all(1 <= int(row["onset"]) <= int(row["offset"]) <= 400 for row in rows)
    assert (run / "report.html").stat().st_size > 10_000
    assert list((run / "tensorboard").rglob("events*"))

    # post-processing is tuned on the saved outputs, without the network
    more = ["evaluate", str(run), "--data", str(shards), "--config.predict.max_detections=1"]
    assert main([*more, "--out", str(tmp_path / "one")]) == 0
    assert json.loads((tmp_path / "one" / "metrics.json").read_text())["spotting"]["n"] <= 8
    assert (tmp_path / "one" / "report.html").stat().st_size > 10_000
    assert main([*more[:-1], "--config.model.width=32"]) == 2
    assert "needs another training" in capsys.readouterr().err
    check_that_files_stay(run, more, tmp_path, capsys)

    # the same command again has nothing to do; another configuration is refused
    before = run_dir.metrics_path(run, 0).read_text()
    assert main([str(word) for word in words]) == 0
    assert run_dir.metrics_path(run, 0).read_text() == before
    assert main([str(word) for word in words[:-1]] + ["--config.window.train_hop=64"]) == 2
    assert "another configuration" in capsys.readouterr().err


def check_that_files_stay(run, more, tmp_path, capsys):
    """Options that are tried write nothing into the run, and what a person changed stays."""
    own = [run / name for name in ("metrics.json", "report.html", "detections.csv", "candidates.csv")]
    before = [path.read_bytes() for path in own]
    for other in (more[-1], "--config.evaluate.threshold=0.9", "--config.evaluate.threshold=0.5"):
        assert main([*more[:-1], other, "--json", str(tmp_path / "tried.json")]) == 0
        assert "keeps its own files; --out DIR writes these" in capsys.readouterr().out
        assert (tmp_path / "tried.json").exists()
    for words in ([*more, "--out", str(run)], [*more[:-1], "--out", str(tmp_path / "other")]):
        (tmp_path / "other").mkdir(exist_ok=True)
        run_dir.write_record(tmp_path / "other" / "run.json", {})
        assert main(words) == 2 and "holds a run, whose own numbers stay" in capsys.readouterr().err
    assert [path.read_bytes() for path in own] == before and not list(run.glob(f"{files.PART}*"))
    own[2].write_text("corrected")
    assert main(more[:-1]) == 2 and "detections.csv: was changed since it was written" in capsys.readouterr().err
    assert own[2].read_text() == "corrected"
    assert main([*more[:-1], "--force"]) == 0
    assert [path.read_bytes() for path in own][2:] == before[2:]


def test_the_demo_in_small(small_demo, capsys):
    """Drawn videos, decoded, aligned, embedded, trained on, evaluated; then again, with nothing left to do."""
    page = small_demo / "run" / "report.html"
    assert "data:image/jpeg" in page.read_text()
    before = (small_demo / "run" / "metrics.json").read_text()
    stamps = {path: path.stat().st_mtime_ns for path in small_demo.rglob("*.mp4")}
    assert len(stamps) == 8  # four videos, four previews of their aligned faces
    assert main(["demo", "--out", str(small_demo), *SMALL_DEMO]) == 0
    again = capsys.readouterr().out
    assert "nothing to do" in again and "4 from the cache" in again
    assert "All subjects" in again and "Flow baseline" in again and "Position prior" in again
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert (small_demo / "run" / "metrics.json").read_text() == before


def test_report_of_runs(small_demo, tmp_path, capsys):
    """Figures and tables as files, timelines, and two runs side by side; the evaluation stays as it was."""
    run, out = small_demo / "run", tmp_path / "out"
    shutil.copytree(run, tmp_path / "other")
    before = (run / "metrics.json").read_text()
    words = ["report", run, tmp_path / "other", "--out", out, "--data", small_demo / "data"]
    assert main([str(word) for word in words]) == 0
    assert "comparison.html" in capsys.readouterr().out and (out / "comparison.html").stat().st_size > 10_000
    for suffix in ("svg", "png", "pdf"):
        for name in ("curves", "subjects", "confusion-run", "timelines/s01__s01_v1"):
            assert (out / "figures" / f"{name}.{suffix}").stat().st_size > 1000
    assert (out / "tables" / "table2.csv").exists() and (out / "tables" / "table2.tex").exists()
    assert (run / "metrics.json").read_text() == before
    assert main(["report", str(tmp_path), "--out", str(out)]) == 2
    assert "expected the directory of a run" in capsys.readouterr().err


@needs_real
def test_real_clip_features_of_casme2(tmp_path):
    """I3D features of two real CAS(ME)^2 videos with their annotated expressions: shards, two epochs, prediction."""
    from openpyxl import load_workbook

    sheet = load_workbook(REAL / "annotations" / "CAS(ME)^2code_final.xlsx").worksheets[0]  # read_only leaves it open
    videos = {"disgust1": "30_0101disgustingteeth-rgb", "disgust2": "30_0102eatingworms-rgb"}
    rows = []
    for participant, name, onset, apex, offset, _, emotion, kind, *_ in sheet.iter_rows(values_only=True):
        if participant == 13 and name.rsplit("_", 1)[0] in videos:  # participant 13 is subject s30
            video = videos[name.rsplit("_", 1)[0]]
            rows.append(["s30", video, onset, offset or apex, emotion.strip(), kind.split("-")[0]])
    assert rows
    with (tmp_path / "sheet.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "video", "onset", "offset", "emotion", "kind"], *rows])
    words = ["prepare", "features", "--features", REAL / "i3d", "--annotations", tmp_path / "sheet.csv"]
    assert main([str(w) for w in [*words, "--out", tmp_path / "data", "--frames-per-row", "2"]]) == 0
    row = f"{ROOT}/configs/casme2.py:table3/i3d"
    words = ["train", "--config", row, "--data", tmp_path / "data", "--out", tmp_path / "run"]
    changes = TINY | SHALLOW | WIDE | {"train.epochs": 2, "data.kind": "all"}
    changes |= {"folds.scheme": "kfold", "folds.k": 2, "folds.inner": 0.0}
    assert main([str(w) for w in words] + [f"--config.{key}={value}" for key, value in changes.items()]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "data")]) == 0
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert numbers["spotting"]["gt"] == len(rows)
