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
        "casme2", "casme3", "demo", "demo_fesnet", "demo_tables", "fesnet", "lse_gfe", "own_data", "samm",
        "sweep_demo",
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
    from fedn_jax.data import problem, splits, standardization
    from fedn_jax.engine import train_step
    from fedn_jax.evaluation import threshold_rules
    from fedn_jax.models.fedn import fusion, network
    from fedn_jax.models.fesnet import losses as fesnet_losses
    from fedn_jax.models.fesnet import task as fesnet_task
    from fedn_jax.ops import losses, nms, windows

    tables = {
        "task": models.TASKS, "data.kind": core.KINDS, "data.standardize": standardization.STANDARDIZATIONS,
        "window.context": windows.CONTEXTS, "model.segment_fusion": fusion.SEGMENT_FUSIONS,
        "model.window_attention": network.WINDOW_ATTENTION, "model.head": network.HEADS,
        "model.scoring": losses.SCORINGS, "loss.interval": losses.INTERVAL_LOSSES, "folds.scheme": splits.SCHEMES,
        "data.label": set(problem.LABELS) - {"none"}, "train.schedule": train_step.SCHEDULES,
        "loss.lsdm_form": fesnet_losses.LSDM_FORMS, "loss.lsdm_mean": fesnet_losses.MEANS,
        "loss.smooth": fesnet_losses.SMOOTHINGS, "loss.supervise": fesnet_task.SUPERVISED,
        "fesnet.refinement": fesnet_task.REFINEMENTS, "evaluate.threshold_rule": threshold_rules.RULES,
        "predict.suppression": nms.KINDS,
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


FILE = """from fedn_jax.core import config as c

def get_config(row=""):
    x = c.default()
    {}
    return x
"""


@pytest.mark.parametrize(
    "body, expected",
    [
        ("x.seedx = 3", "line 5: no option 'seedx'; did you mean seed.; fedn configs --options lists"),
        ("x.train.epochz = 3", "line 5: no option 'epochz'; did you mean train.epochs?"),
        ("x.update_from_flattened_dict({'train.epochz': 3})", "no option 'epochz'; did you mean train.epochs?"),
        ("x.trian.epochs = 3", "no option 'trian'; did you mean train?"),
        ("x.model.head_depth = [[]]", "line 5: head_depth must be of type int; got list"),
        ("x.train = 5", "train must be a section of options; got int"),
        ("x.train.epochs = None", "option train.epochs must be of type int, such as 30; got None"),
        ("x.anchors.reaches = [['a', 3]]", r"anchors.reaches must be a list of \[low, high\]"),
        ("return None", "expected a configuration that starts from default.*; got NoneType"),
        ("return c.ConfigDict()", "option .* is missing; expected a configuration that starts from default"),
        ("x.unlock(); x.more = 3", "no option 'more'"),
        ("raise SystemExit('bye')", "line 5: SystemExit: bye; expected a Python file whose get_config"),
        ("raise ValueError('a\\n' * 1000)", "line 5: ValueError: a a a"),
        ("{}[3]", "line 5: KeyError: 3; expected"),
        ("x = = 3", "line 5: SyntaxError: invalid syntax; expected a Python file"),
    ],
)
def test_mistakes_in_a_file_are_one_short_line(elsewhere, body, expected):
    (elsewhere / "mine.py").write_text(FILE.format(body))
    with pytest.raises(UserError, match=f"(--config mine.py: )?.*{expected}") as error:
        config_files.load("mine.py")
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


def test_an_option_that_does_not_exist_is_named_in_the_same_words_everywhere(elsewhere):
    said = "no option 'train.epochz'; did you mean train.epochs?; fedn configs --options lists all of them"
    assert core.no_option("train.epochz") == said
    with pytest.raises(UserError) as typed:
        config_files.load("demo", ["--config.train.epochz=3"])
    with pytest.raises(UserError) as of_row:
        core.with_row(core.default(), {"mine": {"train.epochz": 3}}, "mine")
    (elsewhere / "mine.py").write_text(FILE.format("x.train.epochz = 3"))
    with pytest.raises(UserError) as written:
        config_files.load("mine.py")
    assert (str(typed.value), str(of_row.value)) == (said, f"row mine: {said}")
    assert str(written.value) == f"--config mine.py: line 5: {said.replace('train.epochz', 'epochz')}"


def test_a_file_that_fails_as_it_is_read(elsewhere):
    for text, expected in (("raise SystemExit(3)", "line 1: SystemExit: 3"), ("\n1 / 0", "line 2: ZeroDivisionError")):
        (elsewhere / "mine.py").write_text(text)
        for function in (config_files.load, config_files.rows):
            with pytest.raises(UserError, match=f"--config mine.py: {expected}"):
                function("mine.py")
    (elsewhere / "mine.py").write_text("get_config = 3")
    with pytest.raises(UserError, match="has no get_config"):
        config_files.load("mine.py")


@pytest.mark.parametrize(
    "space, expected",
    [
        ("7", "--config mine.py: SPACE must be a dict of option -> .*; got int"),
        ("{'seedx': 3}", "SPACE: no option 'seedx'; did you mean seed"),
    ],
)
def test_a_search_space_that_is_none(elsewhere, space, expected):
    (elsewhere / "mine.py").write_text(f"{FILE.format('')}\nSPACE = {space}\n")
    with pytest.raises(UserError, match=expected):
        configs.full_lines("mine.py")


def test_a_file_in_another_encoding(elsewhere):
    text = '# coding: latin-1\n"""Für Jürgen."""\n' + FILE.format("")
    (elsewhere / "mine.py").write_bytes(text.encode("latin-1"))
    assert "Für Jürgen." in configs.full_lines("mine.py")
