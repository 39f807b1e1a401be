"""What a user gets: the wheel, built, installed without the source tree, and used from an empty directory."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ["fedn_jax", "data_prep", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE"]


def copy(name, target):
    """Copies a file or a folder of the source tree, without compiled files."""
    path = ROOT / name
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and "__pycache__" not in file.parts:
            new = target / file.relative_to(ROOT)
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(file.read_bytes())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a clean copy of the source tree: what lies in build/ of the tree itself cannot slip in."""
    base = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy(name, base / "source")
    words = ["wheel", base / "source", "--no-deps", "--no-build-isolation", "--no-index", "-w", base / "wheels"]
    subprocess.run([sys.executable, "-m", "pip", *map(str, words)], check=True, capture_output=True)
    return next((base / "wheels").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel in a directory of its own, and an empty one to work in; dependencies are those of the tests."""
    base = tmp_path_factory.mktemp("installed")
    words = ["install", wheel, "--no-deps", "--no-index", "--no-compile", "--target", base / "site"]
    subprocess.run([sys.executable, "-m", "pip", *map(str, words)], check=True, capture_output=True)
    (base / "empty").mkdir()
    return base


def run(installed, *words):
    """Runs Python with the wheel in an empty directory; returns (exit code, text)."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(installed / "site")}
    done = subprocess.run(
        [sys.executable, *words], cwd=installed / "empty", env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_every_file_is_in_the_wheel(wheel):
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {str(path.relative_to(ROOT)) for room in ("fedn_jax", "data_prep") for path in (ROOT / room).rglob("*.py")}
    configs = {f"fedn_jax/{path.relative_to(ROOT)}" for path in (ROOT / "configs").glob("*.py")}
    assets = {
        str(path.relative_to(ROOT))
        for folder, ending in (
            ("fedn_jax/reports/templates", "*"),
            ("data_prep/backbones/assets", "*"),
            ("fedn_jax/experiments", "*.json"),
        )
        for path in (ROOT / folder).glob(ending)
    }
    assert code | configs | assets == shipped
    assert len(configs) >= 7 and len(assets) >= 5


def test_it_is_the_wheel_that_runs(installed):
    program = str(installed / "site" / "bin" / "fedn")
    code, text = run(installed, program, "configs", "casme2:table4/coupled")
    assert code == 0 and str(installed / "site" / "fedn_jax" / "configs" / "casme2.py") in text
    assert run(installed, program, "--version")[0] == 0


COMMANDS = ("train --config casme2:table4/coupled", "sweep --config sweep_demo", "reproduce table4")
SCRIPT = f"""
from fedn_jax.cli.main import main
print([main([*words.split(), "--data", "nowhere", "--out", "out"]) for words in {COMMANDS}])
"""  # in one process, which imports JAX once


def test_configurations_are_found_by_name(installed):
    """Every command goes as far as its data, which are not there."""
    text = run(installed, "-c", SCRIPT)[1]
    assert text.startswith("[2, 2, 2]") and text.count("fedn: nowhere: no such directory") == 3
    assert not list((installed / "empty").iterdir())
