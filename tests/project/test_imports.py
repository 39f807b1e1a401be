"""Who may import whom, who owns a foreign library, and what an import costs: enforced."""

import ast
import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = [  # a package imports itself and those above it
    "fedn_jax.core",
    "fedn_jax.ops",
    "fedn_jax.formats",
    "fedn_jax.models",
    "fedn_jax.data",
    "fedn_jax.engine",
    "fedn_jax.evaluation",
    "fedn_jax.cascade",
    "fedn_jax.inference",
    "fedn_jax.experiments",
    "fedn_jax.reports",
    "fedn_jax.torch_parity",
    "data_prep.synthetic",
    "data_prep.media",
    "data_prep.faces",
    "data_prep.backbones",
    "data_prep.sheets",
    "data_prep.shards",
    "data_prep.cli",
    "fedn_jax.cli",
]
OWNERS = {  # top-level package -> the only files that may import it
    "tensorflow_datasets": {"fedn_jax/data/shards.py", "data_prep/shards/builders.py"},
    "orbax": {"fedn_jax/engine/checkpoint.py"},
    "ml_collections": {"fedn_jax/core/config.py", "fedn_jax/models/fesnet/presets.py"},
    "tensorboardX": {"fedn_jax/engine/tracking.py"},
    "wandb": {"fedn_jax/engine/tracking.py"},
    "mlflow": {"fedn_jax/engine/tracking.py"},
    "optuna": {"fedn_jax/experiments/sweep.py"},
    "tensorflow": set(),
}
FILES = sorted([*ROOT.glob("fedn_jax/**/*.py"), *ROOT.glob("data_prep/**/*.py")])


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(path):
    """Dotted names that a file imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def package(name):
    """The place in ORDER of a module, or of a name in it."""
    return next((place for place, known in enumerate(ORDER) if f"{name}.".startswith(f"{known}.")), None)


def arrows():
    for path in FILES:
        for other in imports(path):
            if other.partition(".")[0] in ("fedn_jax", "data_prep"):
                yield name_of(path), other


def test_packages_import_those_above_them():
    known = [(module, other) for module, other in arrows() if package(module) is not None]
    assert len(known) > 200
    assert [f"{a} imports {b}" for a, b in known if package(b) is None or package(b) > package(a)] == []
    assert {name_of(path) for path in FILES if package(name_of(path)) is None} == {"fedn_jax", "data_prep"}


@pytest.mark.parametrize("library", OWNERS)
def test_owners_of_foreign_libraries(library):
    users = {str(path.relative_to(ROOT)) for path in FILES if any(n.split(".")[0] == library for n in imports(path))}
    assert users <= OWNERS[library]


def test_configs_and_tests_are_imported_by_nobody():
    found = [path for path in FILES if any(name.split(".")[0] in ("configs", "tests") for name in imports(path))]
    assert found == []


def loaded_by(statement):
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_pieces_load_without_the_rest():
    loaded = loaded_by("from fedn_jax.ops import nms, intervals; from fedn_jax.evaluation import metrics")
    heavy = {
        "tensorflow_datasets",
        "orbax",
        "ml_collections",
        "fedn_jax.core.config",
        "flax",
        "cv2",
        "av",
        "matplotlib",
    }
    assert not loaded & heavy


def test_help_loads_the_standard_library_only():
    loaded = loaded_by("from fedn_jax.cli import main; main.make_parser()") - loaded_by("pass")
    own = {"fedn_jax", "data_prep"}
    assert not {name for name in loaded if name.partition(".")[0] not in {*sys.stdlib_module_names, *own}}
