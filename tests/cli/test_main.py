"""What a user types, and the one line that comes back when it cannot be done."""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from media import write_video

from data_prep import cli as prepare
from fedn_jax.cli import config_files, train
from fedn_jax.cli import main as program
from fedn_jax.cli.main import main
from fedn_jax.core import config as defaults
from fedn_jax.core import schema
from fedn_jax.engine import fit

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "configs" / "demo.py")


def refused(capsys, *words):
    """Runs a command that must be refused; returns the line."""
    assert main([str(word) for word in words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fedn: ")]
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    return lines[0]


COMMANDS = [
    "demo", "fetch", "prepare", "merge", "verify", "convert-backbone", "train-backbone", "configs", "plan", "train",
    "evaluate", "recognise", "report", "detect", "convert", "agree", "summarise", "sweep",
    "learning-curve", "reproduce", "parity",
]  # fmt: skip


def test_commands_stand_in_the_order_of_work(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = program.make_parser().format_help().splitlines()
    assert [line.split()[0] for line in lines if re.match("    [a-z]", line)] == COMMANDS


def parsers(parser, name="fedn"):
    """(words, parser) of a command and of all commands below it."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from parsers(inner, f"{name} {word}")


def test_every_help_ends_with_examples_that_can_be_parsed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    known = dict(parsers(program.make_parser()))
    assert len(known) == 1 + len(COMMANDS) + 5  # sources of prepare
    for name, parser in known.items():
        text = parser.format_help()
        assert max(map(len, text.splitlines())) <= 80, name
        examples = re.findall(r"^  (fedn .*)$", parser.epilog.replace("\\\n", ""), re.MULTILINE)
        assert examples and (name == "fedn" or any(one.startswith(name) for one in examples)), name
        for one in examples:
            words = shlex.split(re.sub(r"  +[a-z0-9 ,]+$", "", one))[1:]  # without the remark at its end
            if words[-1] != "--help":
                program.make_parser().parse_known_args(words)


def test_help_comes_quickly():
    done = subprocess.run(
        [sys.executable, "-m", "fedn_jax.cli.main", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0 and "COMMAND" in done.stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0 and re.match(r"fedn_jax \d+\.\d+", capsys.readouterr().out)


@pytest.mark.parametrize(
    "words, expected",
    [
        (["train", "--config", "nowhere.py", "--data", "d", "--out", "o"], "nowhere.py: no such file"),
        (["train", "--config", f"{DEMO}:shufled", "--data", "d", "--out", "o"], "did you mean 'shuffled'"),
        (["train", "--config", DEMO, "--data", "d", "--out", "o", "--config.train.epoch=3"], "epoch"),
        (["train", "--config", DEMO, "--data", "d", "--out", "o", "--config.train.epochs=abc"], "abc"),
        (["train", "--config", DEMO, "--data", "d", "--out", "o", "--epochs=3"], "unknown argument --epochs=3"),
        (["train", "--config", DEMO, "--data", "no_data", "--out", "o"], "no_data: no such directory"),
        (["evaluate", "no_run", "--data", "no_data"], "no_run/config.json: no such file"),
        (["verify", "no_data"], "no_data: no such directory"),
        (["verify", "no_data", "--verbose"], "unknown argument --verbose"),
    ],
)
def test_mistakes_on_the_command_line(capsys, words, expected):
    assert expected in refused(capsys, *words)


@pytest.mark.parametrize("setting", [{"JAX_PLATFORMS": "cuda"}, {"JAX_PLATFORM_NAME": "gpu", "JAX_PLATFORMS": ""}])
@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend: no such\nthing")])
def test_a_device_that_is_not_there(capsys, monkeypatch, setting, error):
    import jax

    def devices():
        raise error

    monkeypatch.setattr(jax, "local_devices", devices)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    line = refused(capsys, "detect", "a.mp4", "--run", "run", "--out", "o")
    name, value = next(iter(setting.items()))
    assert f"{name}={value}: JAX finds no such device" in line and "leave the variable unset" in line
    assert "no such directory" in refused(capsys, "verify", "nowhere")  # needs no device


def test_a_full_disk_is_one_line_whichever_library_says_so(capsys, monkeypatch):
    def full(*_):
        try:
            raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device")
        except ValueError as error:
            raise RuntimeError("threads failed") from error

    monkeypatch.setattr("fedn_jax.data.problem.load", full)
    assert refused(capsys, "train", "--config", DEMO, "--data", "d", "--out", "T/run") == (
        "fedn: T/run: no space left; free some and start the same command again: what is finished is kept"
    )


def test_other_errors_of_libraries_are_not_hidden(monkeypatch):
    def fail(*_):
        raise RuntimeError("a mistake in the code")

    monkeypatch.setattr("fedn_jax.data.problem.load", fail)
    with pytest.raises(RuntimeError, match="a mistake in the code"):
        main(["train", "--config", DEMO, "--data", "d", "--out", "o"])


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_stopped_by_a_signal(capsys, monkeypatch, name, code):
    monkeypatch.setattr("fedn_jax.data.problem.load", lambda *_: os.kill(os.getpid(), getattr(signal, name)))
    assert main(["train", "--config", DEMO, "--data", "d", "--out", "o"]) == code
    assert capsys.readouterr().err == "fedn: stopped; start the same command again to go on\n"


def test_names_of_any_bytes_on_any_terminal():
    name = b"J\xfcrgen.csv"
    words = [sys.executable, "-m", "fedn_jax.cli.main", "convert", name, "o.csv", "--to", "megc"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, cwd=ROOT, env=environment)
    assert done.returncode == 2 and done.stderr.startswith(b"fedn: J\\udcfcrgen.csv: no such file")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "body, spec, expected",
    [
        ("config.model.widht = 3", "", "widht"),
        ("1 / 0", "", "ZeroDivisionError"),
        ("", ":row", "row row: no option"),
        ("config.train.epochs = 0", "", "train.epochs must be at least 1"),
    ],
)
def test_mistakes_in_a_configuration_file(capsys, tmp_path, body, spec, expected):
    path = tmp_path / "mine.py"
    path.write_text(
        "from fedn_jax.core import config as c\n\ndef get_config(row=''):\n    config = c.default()\n    "
        + (body or "pass")
        + "\n    return c.with_row(config, {'row': {'model.widht': 3}}, row)\n"
    )
    assert expected in refused(capsys, "train", "--config", f"{path}{spec}", "--data", "d", "--out", "o")


@pytest.mark.parametrize(("task", "kept"), [("fedn", True), ("fesnet", False)])
def test_a_run_carries_the_weights_that_its_inputs_were_made_with(tmp_path, monkeypatch, task, kept):
    weights = tmp_path / "weights"
    weights.write_bytes(b"weights")
    monkeypatch.setattr("fedn_jax.data.shards.backbone_file", lambda _: weights)
    config = defaults.default()
    config.task = task
    train.keep_backbone(tmp_path, fit.Run(tmp_path / "run", config))
    assert (tmp_path / "run" / schema.BACKBONE).is_file() == kept


def test_a_file_where_a_directory_should_be(capsys, tmp_path):
    (tmp_path / "out").write_text("")
    sheet = tmp_path / "sheet.csv"
    np.savez(tmp_path / "x.npz", feature=np.zeros((1, 20, 4), np.float32))
    sheet.write_text("subject,video,onset,offset,emotion\ns1,x,2,9,happy\n")
    words = ["prepare", "features", "--features", tmp_path, "--annotations", sheet, "--frames-per-row", "2"]
    assert str(tmp_path / "out") in refused(capsys, *words, "--out", tmp_path / "out")


def test_debug_shows_the_traceback():
    for words in (["--debug", "verify", "nowhere"], ["verify", "nowhere", "--debug"]):
        with pytest.raises(ValueError, match="no such directory"):
            main(words)


def test_overrides_are_typed():
    config = config_files.load(f"{DEMO}:shuffled", ["--config.train.epochs=3", "--config.loss.alpha=2"])
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
    assert main([str(word) for word in folder(tmp_path, ["s1,v,8,3,happy", "s1,v,x,9,happy"])]) == 2
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


def test_a_reader_that_has_seen_enough():
    line = f'"{sys.executable}" -m fedn_jax.cli.main --help | true'
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True)
    assert b"Traceback" not in done.stderr and b"Errno" not in done.stderr


TABLE = "subject,video,onset,offset,emotion\ns1,a,1,10,joy\ns1,b,,,\n"


def test_evaluate_files_and_convert_them(tmp_path, capsys):
    truth, found, out = tmp_path / "truth.csv", tmp_path / "found.csv", tmp_path / "numbers.json"
    truth.write_text(TABLE)
    found.write_text("subject,video,onset,offset,emotion,score\ns1,a,2,10,joy,0.9\ns1,b,5,9,joy,0.4\n")
    words = ["evaluate", "--predictions", found, "--ground-truth", truth, "--json", out]
    assert main([str(word) for word in words]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    numbers = json.loads(out.read_text())
    assert numbers["spotting"] | {"f1": 2 / 3} == numbers["spotting"] and numbers["protocol"] == "megc"
    assert main([str(word) for word in [*words, "--protocol", "strict", "--threshold", 0.5, "--iou", 0.9]]) == 0
    assert json.loads(out.read_text())["spotting"]["tp"] == 0
    assert "must be above 0 and at most 1; got 0.0" in refused(capsys, *words, "--iou", 0)
    for more, name in (
        (["--out", tmp_path / "x"], "--out"),
        (["--config.evaluate.iou=0.4"], "--config.evaluate.iou=0.4"),
    ):
        assert f"fedn: {name} belongs to a run; of --predictions" in refused(capsys, *words, *more)
    found.write_text("subject,video,onset,offset,emotion,score\ns1,a,12,10,joy,0.9\ns2,c,5,9,anger,x\n")
    line = refused(capsys, *words)
    assert "2 problems" in line
    capsys.readouterr()
    for source, target, name in (("csv", "activitynet", "a.json"), ("activitynet", "csv", "b.csv")):
        place = truth if source == "csv" else tmp_path / "a.json"
        line = ["convert", place, tmp_path / name, "--from", source, "--to", target, "--fps", 30, "--ground-truth"]
        assert main([str(word) for word in line]) == 0
    assert (tmp_path / "b.csv").read_text() == TABLE
    assert "--to must be one of csv, excel, elan, srt, vtt, bids, strs" in refused(
        capsys, "convert", truth, "x", "--to", "xml"
    )


def test_evaluate_wants_a_run_or_files(tmp_path, capsys):
    assert "give a run and its --data" in refused(capsys, "evaluate")
    assert "a run needs --data" in refused(capsys, "evaluate", tmp_path)
    line = refused(capsys, "evaluate", tmp_path, "--data", tmp_path, "--protocol", "megc")
    assert "--protocol belongs to CSV files" in line


def test_convert_backbone_needs_to_know_the_normalisation(tmp_path, capsys):

    with pytest.raises(SystemExit):
        prepare.parse(["convert-backbone", "x.pth", "--out", "y.safetensors"])
    line = refused(capsys, "convert-backbone", tmp_path / "x.pth", "--out", "y.safetensors", "--normalization", "half")
    assert "x.pth: no such" in line


def test_compiled_programs_are_kept_where_the_user_says(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    program.keep_compiled(environment)
    assert environment[program.CACHE] == str(tmp_path / "fedn_jax")
    for chosen in ("", "/elsewhere"):  # JAX's own variable stays; empty turns it off
        environment = {program.CACHE: chosen}
        program.keep_compiled(environment)
        assert environment == {program.CACHE: chosen}
    (tmp_path / "file").touch()
    environment = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    program.keep_compiled(environment)
    assert program.CACHE not in environment


def test_training_goes_on_where_nothing_can_be_kept(tmp_path):
    (tmp_path / "file").touch()
    code = "import jax, numpy as np; print(jax.jit(lambda x: x + 1)(np.float32(1)))"
    script = f"import os; from fedn_jax.cli import main; main.keep_compiled(os.environ); {code}"
    environment = {name: value for name, value in os.environ.items() if name != program.CACHE}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "file")
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True,
                          env=environment, cwd=ROOT)  # fmt: skip
    assert done.stdout.strip() == "2.0", done.stderr
