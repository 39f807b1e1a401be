"""What the documents show must exist: links, files, tests, commands, options, configurations, names to import."""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from fedn_jax.cli import main
from fedn_jax.core import config as configs
from fedn_jax.core.types import Task
from fedn_jax.models.fedn import task

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / name for name in ("README.md", "BUILD_NOTES.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))
PRESENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]  # of what is now; changes name what is gone
FOLDERS = ("fedn_jax", "data_prep", "tests", "configs", "benchmarks", "docs", "abuse")
OPTIONS = configs.flatten(configs.default())


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(path):
    """Lines of code: in fences, or indented after an empty line; lines that go on with a backslash are joined."""
    lines, fenced, before = [], False, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or (line.startswith("    ") and (not before.strip() or before.startswith("    "))):
            lines.append(line.strip())
        before = line
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def quoted(path):
    """What stands in backticks."""
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)]


def commands(path):
    """Words of every call of fedn, in blocks and in backticks."""
    for line in [*blocks(path), *quoted(path)]:
        if line.startswith("fedn "):
            yield shlex.split(line, comments=True)[1:]


def anchors(path):
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"(?m)^#+ (.*)$", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def subcommands(parser):
    """name -> parser, of a parser's commands; {} if it has none."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return groups[0].choices if groups else {}


def known_options(parser):
    return {option for action in parser._actions for option in action.option_strings}


def functions(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PRESENT, ids=name_of)
def test_files_and_tests_that_are_named_exist(path):
    missing = []
    for word in " ".join([*quoted(path), *blocks(path)]).replace("<br/>", " ").split():
        word = word.strip("(),:;'\"]")
        if word.split("/")[0] not in FOLDERS or "/" not in word:
            continue
        file, _, test = word.partition("::")
        if not (ROOT / file).exists() or (test and test not in functions(ROOT / file)):
            missing.append(word)
    assert missing == []


def test_decisions_that_are_cited_exist():
    """In code and documents, "decision 5", "decisions 9 and 10" or "docs/decisions.md, 1 to 9 and 15"."""
    numbers = [int(n) for n in re.findall(r"(?m)^(\d+)\. \*\*", (ROOT / "docs" / "decisions.md").read_text())]
    assert numbers == list(range(1, len(numbers) + 1))
    code = [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.py") if path != Path(__file__)]
    cited = {}
    for path in [*DOCUMENTS, *code]:
        for found in re.findall(
            r"\bdecisions?(?:\.md,)?\s+(\d+(?:(?:, | and | to )\d+)*)", path.read_text(encoding="utf-8")
        ):
            cited.setdefault(name_of(path), []).extend(map(int, re.findall(r"\d+", found)))
    assert {"CHANGELOG.md", "configs/fesnet.py", "fedn_jax/torch_parity/reference/model.py"} <= set(cited)
    assert {name: found for name, found in cited.items() if not set(found) <= set(numbers)} == {}
    assert [name_of(path) for path in code if "BUILD_NOTES" in path.read_text()] == []


def test_every_part_of_a_task_is_described():
    assert set(Task._fields) <= set(quoted(ROOT / "docs" / "new-model.md"))


def test_files_in_figures_exist():
    named = [re.findall(r"(?:fedn_jax|data_prep)/[\w/.]+", path.read_text()) for path in ROOT.glob("docs/images/*.svg")]
    assert named
    assert [word for words in named for word in words if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("path", PRESENT, ids=name_of)
def test_commands_and_their_options_are_known(path):
    wrong = []
    for words in commands(path):
        parser, options = main.make_parser(), []
        options += known_options(parser)
        for word in words:
            if word in subcommands(parser):
                parser = subcommands(parser)[word]
                options += known_options(parser)
            elif subcommands(parser) and not word.startswith("-") and not word.isupper():
                wrong.append(" ".join(words))
                break
        for word in words:
            option, _, _ = word.partition("=")
            if option.startswith("--config.") and "*" not in option and "KEY" not in option:
                wrong += [word] if option.removeprefix("--config.") not in OPTIONS else []
            elif option.startswith("--") and not option.startswith("--config.") and option not in options:
                wrong.append(f"{option} of {' '.join(words)}")
    assert wrong == []


@pytest.mark.parametrize("path", PRESENT, ids=name_of)
def test_configurations_are_there(path):
    wrong = []
    for words in commands(path):
        for spec in [value for word, value in zip(words, words[1:], strict=False) if word == "--config"]:
            name, _, row = spec.partition(":")
            file = ROOT / "configs" / f"{name}.py"
            if name.endswith(".py"):  # somebody's own
                continue
            if not file.exists():
                wrong.append(spec)
                continue
            module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, file))
            module.__spec__.loader.exec_module(module)
            wrong += [spec] if row and row not in module.ROWS else []
    assert wrong == []


@pytest.mark.parametrize("path", PRESENT, ids=name_of)
def test_options_in_backticks_exist(path):
    sections = {key.partition(".")[0] for key in OPTIONS if "." in key}
    named = [word for text in quoted(path) for word in [re.split("[= ]", text)[0]] if word.count(".") == 1]
    named = [word for word in named if word.split(".")[0] in sections and not word.endswith((".*", ".md", ".py"))]
    assert [word for word in named if word not in OPTIONS] == []


@pytest.mark.parametrize("path", PRESENT, ids=name_of)
def test_python_runs_and_packages_exist(path):
    for code in re.findall(r"(?ms)^```python\n(.*?)^```", path.read_text(encoding="utf-8")):
        exec(compile(code, str(path), "exec"), {})
    names = [word for word in quoted(path) if re.fullmatch(r"(?:fedn_jax|data_prep)(\.\w+)+", word)]
    assert [name for name in names if not importlib.util.find_spec(name)] == []


@pytest.mark.parametrize("path", PRESENT, ids=name_of)
def test_options_of_benchmarks_exist(path):
    lines = [line for line in [*quoted(path), *blocks(path)] if line.removeprefix("python ").startswith("benchmarks/")]
    calls = [line.removeprefix("python ").split() for line in lines]
    assert [
        call for call in calls for word in call[1:] if word[:2] == "--" and word not in (ROOT / call[0]).read_text()
    ] == []


def test_targets_of_make_exist():
    targets = set(re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text()))
    named = {text.split()[1] for path in PRESENT for text in quoted(path) if re.match(r"make [\w-]+$", text)}
    assert named
    assert named <= targets


def test_every_package_and_command_is_described():
    packages = {f"{path.parent.parent.name}.{path.parent.name}" for path in ROOT.glob("*/*/__init__.py")}
    packages = {name for name in packages if name.startswith(("fedn_jax.", "data_prep."))}
    assert packages <= set(quoted(ROOT / "docs" / "architecture.md"))
    shown = {words[0] for path in PRESENT for words in commands(path)}
    assert set(subcommands(main.make_parser())) <= shown


def test_the_figure_of_the_rooms_is_what_imports_say():
    arrows = {}
    for path in (path for path in ROOT.glob("*/**/*.py") if name_of(path).startswith(("fedn_jax/", "data_prep/"))):
        room = ".".join(path.relative_to(ROOT).with_suffix("").parts[:2])
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("fedn_jax", "data_prep")):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                arrows.setdefault(room, set()).update(".".join(name.split(".")[:2]) for name in names)
    arrows = {room: others - {room} for room, others in arrows.items()}

    def reached(room):
        return arrows.get(room, set()).union(*(reached(other) for other in arrows.get(room, set())))

    needed = {
        (a, b) for a, others in arrows.items() for b in others if not any(b in reached(c) for c in others - {b})
    }  # what does not follow from others
    figure = (ROOT / "docs" / "architecture.md").read_text().partition("```mermaid")[2].partition("```")[0]
    pairs = re.findall(r"(\w+)(?:\[.*?\])? --> (\w+)", figure)

    def full(name):
        package = "fedn_jax" if (ROOT / "fedn_jax" / name).is_dir() else "data_prep"
        return "data_prep.cli" if name == "prepcli" else f"{package}.{name}"

    assert {(full(a), full(b)) for a, b in pairs} == needed


def test_every_configuration_is_described():
    names = {path.stem for path in (ROOT / "configs").glob("*.py") if not path.stem.startswith("_")}
    assert names <= set(quoted(ROOT / "docs" / "training.md"))


def test_every_array_of_the_outputs_is_described():
    assert {*task.SAVED, "starts"} <= set(quoted(ROOT / "docs" / "training.md"))


def test_the_readme_is_one_screen_with_a_small_picture():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 85
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures
    assert all(path.stat().st_size < 200_000 for path in pictures)
