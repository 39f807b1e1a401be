"""Configurations by name from any directory, and what ``fedn configs`` prints."""

import pytest

from fedn_jax.cli import config_files, configs
from fedn_jax.cli.main import main
from fedn_jax.core import config as core
from fedn_jax.core.errors import UserError


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys, *words):
    assert main(["configs", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_names_are_found_from_any_directory(elsewhere):
    assert config_files.names() == [
        "casme2", "casme3", "demo", "demo_tables", "own_data", "samm", "sweep_demo"
    ]  # fmt: skip
    for name in config_files.names():
        assert config_files.load(name).is_locked
    assert config_files.load("casme2:table4/coupled").model.head == "coupled"
    assert config_files.load("demo:shuffled", ["--config.train.epochs=3"]).train.epochs == 3


def test_a_file_or_a_directory_of_that_name_changes_nothing(elsewhere):
    (elsewhere / "demo").mkdir()
    assert config_files.find("demo").parent == config_files.directory()


def test_a_path_is_taken_too(elsewhere):
    text = config_files.find("demo").read_text().replace("epochs = 14", "epochs = 15")
    (elsewhere / "my.py").write_text(text)
    assert config_files.load("my.py:shuffled").train.epochs == 15
    assert config_files.rows("my.py") == config_files.rows("demo")


@pytest.mark.parametrize(
    "name, near", [("casmee2", "casme2"), ("configs/demo.py", "demo"), ("sweepdemo", "sweep_demo")]
)
def test_an_unknown_name_lists_the_known_and_the_nearest(elsewhere, name, near):
    with pytest.raises(UserError, match=f"no such file.*did you mean {near}") as error:
        config_files.load(name)
    assert all(known in str(error.value) for known in config_files.names())


def test_what_is_no_configuration_is_refused(elsewhere):
    (elsewhere / "notes.txt").write_text("")
    with pytest.raises(UserError, match="expected a Python file"):
        config_files.load("notes.txt")
    (elsewhere / "empty.py").write_text("")
    with pytest.raises(UserError, match="has no get_config"):
        config_files.load("empty.py")


def test_the_list_names_every_configuration_and_row(elsewhere, capsys):
    lines = printed(capsys)
    assert max(map(len, lines)) <= 80
    for name in config_files.names():
        assert sum(line.startswith(f"{name} ") for line in lines) == 1  # what it is for, in one line
        assert all(row in " ".join(lines) for row in config_files.rows(name))


def test_one_in_full_marks_what_differs(elsewhere, capsys):
    lines = printed(capsys, "casme2:table4/coupled")
    values = {line[2:].split()[0]: line for line in lines if line[2:].split()[:1] and line[2:].split()[0] in OPTIONS}
    assert set(values) == OPTIONS
    assert values["model.head"].startswith(configs.MARK) and "default: decoupled" in values["model.head"]
    assert [line for line in values.values() if line.startswith(configs.MARK)] == [values["model.head"]]
    assert values["train.epochs"].split() == ["train.epochs", "30"]


def test_the_search_space_is_shown(elsewhere, capsys):
    assert "low=0.0003" in " ".join(printed(capsys, "sweep_demo"))


def test_a_docstring_says_what_to_think_about(elsewhere, capsys):
    text = " ".join(printed(capsys, "own_data"))
    assert all(word in text for word in ("--fps", "Emotions", "Folds", "Reaches"))


OPTIONS = set(core.flatten(core.default()))


def test_every_option_is_explained_once(elsewhere, capsys):
    assert set(core.comments()) == OPTIONS
    lines = printed(capsys, "--options")
    assert max(map(len, lines)) <= 80
    names = [line.split(" = ")[0] for line in lines if " = " in line and not line.startswith(" ")]
    assert len(names) == len(set(names)) and set(names) == OPTIONS
    assert lines[lines.index("folds.k = 5") + 1] == "    folds of kfold"


def test_choices_in_comments_are_those_of_the_code():
    """The comment beside an option names every entry of the table that the option chooses from."""
    from fedn_jax import models
    from fedn_jax.data import problem, splits
    from fedn_jax.models.fedn import fusion, network
    from fedn_jax.ops import losses, windows

    tables = {
        "task": models.TASKS, "data.kind": core.KINDS, "data.standardize": problem.STANDARDIZATIONS,
        "window.context": windows.CONTEXTS, "model.segment_fusion": fusion.SEGMENT_FUSIONS,
        "model.window_attention": network.WINDOW_ATTENTION, "model.head": network.HEADS,
        "model.scoring": losses.SCORINGS, "loss.interval": losses.INTERVAL_LOSSES, "folds.scheme": splits.SCHEMES,
    }  # fmt: skip
    comments = core.comments()
    absent = [(key, name) for key, table in tables.items() for name in table if name not in comments[key]]
    assert absent == []


def test_options_stand_alone(capsys):
    assert main(["configs", "demo", "--options"]) == 2
    assert "--options" in capsys.readouterr().err


def test_configurations_are_short():
    for name in config_files.names():
        lines = config_files.find(name).read_text().splitlines()
        assert len(lines) <= 60, name
        assert max(map(len, config_files.docstring(name).splitlines())) <= 80, name
