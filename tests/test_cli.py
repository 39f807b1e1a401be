"""What a user types, and the one line that comes back when it cannot be done."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from media import write_video

from fedn_jax import cli

ROOT = Path(__file__).resolve().parents[1]
DEMO = str(ROOT / "configs" / "demo.py")


def refused(capsys, *words):
    """Runs a command that must be refused; returns the line."""
    assert cli.main([str(word) for word in words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fedn: ")]
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    return lines[0]


def test_help_is_quick_and_names_the_commands():
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "fedn_jax.cli", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert time.perf_counter() - start < 5  # a machine under load; what it loads is tested in test_imports
    assert done.returncode == 0
    for command in ("demo", "prepare", "verify", "train", "evaluate"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "words, expected",
    [
        (["train", "--config", "nowhere.py", "--data", "d", "--out", "o"], "nowhere.py: no such file"),
        (["train", "--config", f"{DEMO}:shufled", "--data", "d", "--out", "o"], "did you mean 'shuffled'"),
        (["train", "--config", DEMO, "--data", "d", "--out", "o", "--config.train.epoch=3"], "epoch"),
        (["train", "--config", DEMO, "--data", "d", "--out", "o", "--config.train.epochs=abc"], "abc"),
        (["train", "--config", DEMO, "--data", "d", "--out", "o", "--epochs=3"], "unknown argument --epochs=3"),
        (["train", "--config", DEMO, "--data", "no_data", "--out", "o"], "no_data: no such directory"),
        (["evaluate", "no_run", "--data", "no_data"], "no_data: no such directory"),
        (["verify", "no_data"], "no_data: no such directory"),
        (["verify", "no_data", "--verbose"], "unknown argument --verbose"),
    ],
)
def test_mistakes_on_the_command_line(capsys, words, expected):
    assert expected in refused(capsys, *words)


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="no such directory"):
        cli.main(["--debug", "verify", "nowhere"])


def test_overrides_are_typed():
    config = cli.load_config(f"{DEMO}:shuffled", ["--config.train.epochs=3", "--config.loss.alpha=2"])
    assert config.data.shuffle_labels is True and config.train.epochs == 3 and config.loss.alpha == 2.0


# ---- Input that cannot be used --------------------------------------------------------------------------------------


def folder(tmp_path, rows, name="v.mp4"):
    (tmp_path / "videos").mkdir(exist_ok=True)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("subject,video,onset,offset,emotion\n" + "".join(f"{row}\n" for row in rows))
    return ["prepare", "folder", "--videos", tmp_path / "videos", "--annotations", sheet, "--out", tmp_path / "out",
            "--backbone", "random", "--workers", "1"]  # fmt: skip


def test_offset_before_onset(capsys, tmp_path):
    write_video(tmp_path / "videos" / "v.mp4", [np.zeros((64, 64, 3), np.uint8)] * 10)
    assert cli.main([str(word) for word in folder(tmp_path, ["s1,v,8,3,happy", "s1,v,x,9,happy"])]) == 2
    text = capsys.readouterr().err
    assert "onset 8" in text and "offset 3" in text and "'x'" in text  # all mistakes at once


def test_a_video_without_a_face(capsys, tmp_path):
    write_video(tmp_path / "videos" / "v.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 12)
    line = refused(capsys, *folder(tmp_path, ["s1,v,2,9,happy"]))
    assert "v.mp4" in line and "face" in line


def test_a_truncated_video(capsys, tmp_path):
    path = tmp_path / "videos" / "v.mp4"
    write_video(path, [np.full((96, 96, 3), shade, np.uint8) for shade in range(0, 200, 5)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "v.mp4" in refused(capsys, *folder(tmp_path, ["s1,v,2,9,happy"]))


def test_a_missing_sheet(capsys, tmp_path):
    words = folder(tmp_path, [])
    (tmp_path / "sheet.csv").unlink()
    assert "sheet.csv" in refused(capsys, *words)
