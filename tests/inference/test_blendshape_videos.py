"""Videos by way of blendshapes: actions without a run, and a run that was trained on blendshapes, on drawn faces."""

import csv
import json
import re

import cv2
import media
import numpy as np
import pytest
from toys import SHALLOW

from data_prep.synthetic import faces, people
from fedn_jax.cli.main import main
from fedn_jax.core import schema
from fedn_jax.inference import actions

COUNT, SMILE = 60, (20, 40)  # frames of a video; those of a full smile in it


@pytest.fixture(scope="module")
def videos(landmarker, tmp_path_factory):
    """Two people who smile once, for frames 20 to 39."""
    folder = tmp_path_factory.mktemp("videos")
    for person in (1, 2):
        who, drawn = people.identity(3, person), []
        for t in range(COUNT):
            action = np.zeros(len(people.ACTIONS))
            if SMILE[0] <= t < SMILE[1]:
                action[[people.INDEX["smile_l"], people.INDEX["smile_r"]]] = 1
            drawn.append(faces.render(who, action, noise_key=t))
        media.write_video(folder / f"p{person}.mp4", drawn)
    return folder


def run(*words):
    return main([str(word) for word in words])


def test_a_smile_without_training(videos, tmp_path, capsys):
    assert run("detect", videos / "p1.mp4", "--out", tmp_path, "--subject", "p1") == 0
    assert "smile (AU12)" in capsys.readouterr().out
    with (tmp_path / "p1.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"] == "smile (AU12)"]
    (row,) = rows
    assert abs(int(row["onset"]) - 1 - SMILE[0]) <= 3 and abs(int(row["offset"]) - SMILE[1]) <= 3
    assert row["subject"] == "p1" and 0.5 <= float(row["score"]) < 1
    written = json.loads((tmp_path / "p1.json").read_text())
    assert written["classes"] == [one.label for one in actions.ACTIONS] and written["label"] == "action"
    page = (tmp_path / "p1.html").read_text()
    assert "strength of the action" in page and re.search(r"\d facial actions? found", page)
    assert "<th>Action</th>" in page and "no emotions" in page


def test_what_belongs_to_a_run_is_refused(videos, tmp_path, capsys, monkeypatch):
    for words, message in [
        (("--fold", "s1"), "--fold belongs to --run"),
        (("--backbone", "slim"), "--backbone belongs to --run"),
        (("--threshold", "0.2"), "--threshold of facial actions must be a number from 0.5 to 1; got 0.2"),
    ]:
        assert run("detect", videos / "p1.mp4", "--out", tmp_path, *words) == 2
        assert message in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "one.png"), media.face_frames(1, 1)[0])
    assert run("detect", tmp_path / "one.png", "--out", tmp_path) == 2
    assert "one.png: is a single picture; expressions take time" in capsys.readouterr().err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert run("detect", videos / "p1.mp4", "--out", tmp_path) == 2
    said = capsys.readouterr().err.strip()
    assert said == "fedn: the face landmarker is not on this machine; run `fedn fetch face-landmarker` once (3.8 MB)"


def test_a_run_trained_on_blendshapes(videos, tmp_path, monkeypatch, landmarker):
    """It detects in a new video with what it keeps, also where the landmarker was never fetched."""
    rows = [f"{one},{one}.mp4,{SMILE[0] + 1},{SMILE[1]},joy" for one in ("p1", "p2")]
    (tmp_path / "s.csv").write_text("\n".join(["subject,video,onset,offset,emotion", *rows]) + "\n")
    data, out = tmp_path / "data", tmp_path / "run"
    assert run("prepare", "folder", "--videos", videos, "--annotations", tmp_path / "s.csv", "--out", data,
               "--backbone", "blendshapes+random:1", "--workers", 1) == 0  # fmt: skip
    small = SHALLOW | {"folds.inner": 0, "train.epochs": 1, "data.recognition": False, "data.standardize": "video"}
    small |= {"model.width": 16, "model.head_width": 16, "model.heads": 4, "model.groups": 4, "model.head_depth": 1}
    options = [f"--config.{key}={value}" for key, value in small.items()]
    assert run("train", "--config", "own_data", "--data", data, "--out", out, *options) == 0
    assert (out / schema.BACKBONE).stat().st_size > landmarker.stat().st_size
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert run("detect", videos / "p2.mp4", "--run", out, "--out", tmp_path / "found", "--threshold", 0.01) == 0
    written = json.loads((tmp_path / "found" / "p2.json").read_text())
    assert written["label"] == "emotion" and "blendshapes" in written["about"]["features"]
    assert "landmarker, 256 px" in written["about"]["faces"]


def test_a_table_for_each_person(tmp_path, capsys, landmarker):
    """Two people side by side: the right one smiles."""
    drawn, acting = [], np.zeros(len(people.ACTIONS))
    acting[[people.INDEX["smile_l"], people.INDEX["smile_r"]]] = 1
    for t in range(COUNT):
        smiling = acting if SMILE[0] <= t < SMILE[1] else np.zeros(len(people.ACTIONS))
        pair = [faces.render(people.identity(3, 1), np.zeros(len(people.ACTIONS)), noise_key=t)]
        pair.append(faces.render(people.identity(3, 2), smiling, noise_key=t + 1000))
        drawn.append(np.hstack(pair))
    media.write_video(tmp_path / "two.mp4", drawn)
    assert (
        run("detect", tmp_path / "two.mp4", "--out", tmp_path / "found", "--persons", "all", "--subject", "pair") == 0
    )
    assert "two.mp4: 2 persons" in capsys.readouterr().out
    smiles = []
    for number in (1, 2):
        with (tmp_path / "found" / f"two__person{number}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["subject"] for row in rows} == {f"pair person{number}"}
        smiles.append([row for row in rows if row["emotion"] == "smile (AU12)"])
    assert not smiles[0] and len(smiles[1]) == 1
    assert abs(int(smiles[1][0]["onset"]) - 1 - SMILE[0]) <= 3
    assert run("detect", tmp_path / "two.mp4", "--out", tmp_path / "other", "--persons", "one") == 2
    assert "--persons must be all, largest, or a number" in capsys.readouterr().err
    assert run("detect", tmp_path / "two.mp4", "--out", tmp_path / "other", "--persons", "2", "--aligner", "none") == 2
    assert "--persons 2 needs faces that the face landmarker finds" in capsys.readouterr().err
