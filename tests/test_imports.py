"""The layers of the design, the owners of foreign libraries, and what an import costs: enforced."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [  # a module may import those of lower layers only
    {"types", "checks", "reference"},
    {"schema", "files", "config", "convert", "intervals", "paper", "drawing", "orderings", "space"},
    {
        "anchors",
        "losses",
        "nms",
        "matching",
        "metrics",
        "evaluation",
        "windows",
        "protocols",
        "segmental",
        "statistics",
        "tabular",
        "pairing",
        "exchange",
    },
    {"models", "models.layers", "models.resnet", "models.winograd", "models.fedn", "models.fusion"},
    {"train", "predict", "baseline", "cost"},
    {"folds"},
    {
        "data",
        "checkpoint",
        "runs",
        "timeline",
        "synthetic",
        "report",
        "exports",
        "viewer",
        "figures",
        "tableformats",
        "papertables",
    },
    {"problems", "scoring", "comparable", "comparison"},
    {"pipeline", "cohort", "detect", "parity"},
    {"reproduce", "sidebyside", "trials", "sweep", "sweepreport"},
    {"commands"},
    {"cli"},
]
INSIDE = [  # further order inside a layer
    ("config", "schema"), ("models", "models.fedn"), ("models.fedn", "models.layers"),
    ("models.fedn", "models.fusion"), ("models.fusion", "models.layers"), ("models.resnet", "models.winograd"),
    ("report", "timeline"), ("viewer", "exports"),
    ("protocols", "matching"), ("evaluation", "protocols"), ("figures", "timeline"), ("report", "figures"),
    ("tableformats", "report"),
    ("papertables", "report"), ("papertables", "tableformats"), ("comparison", "comparable"),
    ("space", "config"), ("sweep", "trials"), ("sidebyside", "reproduce"),
    ("evaluation", "segmental"), ("evaluation", "statistics"),
    ("protocols", "metrics"), ("segmental", "metrics"), ("exchange", "tabular"), ("pairing", "tabular"),
    ("metrics", "matching"), ("evaluation", "metrics"), ("evaluation", "matching"),
]  # fmt: skip
PACKAGES = ("synthetic", "reference", "parity", "commands")  # each is one place in the layers
PREP_MAY_IMPORT = {"types", "schema", "files", "checks", "intervals", "config", "models.resnet"}
OWNERS = {  # top-level package -> the only files that may import it
    "tensorflow_datasets": {"fedn_jax/data/shards.py", "data_prep/shards/builders.py"},
    "orbax": {"fedn_jax/engine/checkpoint.py"},
    "ml_collections": {"fedn_jax/core/config.py"},
    "tensorboardX": {"fedn_jax/engine/run_dir.py"},
    "optuna": {"fedn_jax/experiments/sweep.py"},
    "torch": {
        str(path.relative_to(ROOT)) for name in ("reference", "parity") for path in ROOT.glob(f"fedn_jax/{name}/*.py")
    },
    "tensorflow": set(),
}
FILES = sorted([*ROOT.glob("fedn_jax/**/*.py"), *ROOT.glob("data_prep/**/*.py")])


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path) for path in FILES}


def imports(path):
    """Modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & MODULES
            found |= modules | ({node.module} if len(modules) < len(names) else set())
    return found


def level(module):
    short = module.removeprefix("fedn_jax.")
    short = next((name for name in PACKAGES if short.startswith(f"{name}.")), short)
    return next((index for index, layer in enumerate(LAYERS) if short in layer), None)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_layers(path):
    module = name_of(path)
    for other in imports(path):
        if other in ("fedn_jax", "data_prep") or not other.startswith(("fedn_jax.", "data_prep.")):
            continue
        if module.startswith("data_prep"):
            drawn = module == "data_prep.pretrain" and other.startswith("fedn_jax.") and level(other) == 6
            short = other.removeprefix("fedn_jax.")
            assert other.startswith("data_prep.") or short in PREP_MAY_IMPORT or drawn, f"{module} imports {other}"
        elif other.startswith("data_prep."):
            assert module == "fedn_jax.cli" or module.startswith("fedn_jax.commands"), f"{module} imports {other}"
        else:
            assert level(module) is not None and level(other) is not None, f"{module} or {other} is in no layer"
            pair = (module.removeprefix("fedn_jax."), other.removeprefix("fedn_jax."))
            together = any(all(part.startswith(name) for part in pair) for name in PACKAGES)
            assert level(other) < level(module) or pair in INSIDE or together, f"{module} imports {other}"


@pytest.mark.parametrize("package", OWNERS)
def test_owners_of_foreign_libraries(package):
    users = {str(path.relative_to(ROOT)) for path in FILES if any(m.split(".")[0] == package for m in imports(path))}
    assert users <= OWNERS[package]


def test_pmap_is_in_folds_only():
    users = [path.name for path in FILES if "jax.pmap" in path.read_text() or "shard_map" in path.read_text()]
    assert users == ["folds.py"]


def loaded_by(statement):
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_pieces_load_without_the_rest():
    loaded = loaded_by("from fedn_jax import nms, metrics, intervals")
    heavy = {"tensorflow_datasets", "orbax", "ml_collections", "fedn_jax.config", "flax", "cv2", "av", "matplotlib"}
    assert not loaded & heavy


def test_help_loads_the_standard_library_only():
    loaded = loaded_by("from fedn_jax import cli; cli.make_parser()") - loaded_by("pass")
    foreign = {
        name for name in loaded if name.partition(".")[0] not in {*sys.stdlib_module_names, "fedn_jax", "data_prep"}
    }
    assert not foreign
    own = {name.partition(".")[2] for name in loaded if name.startswith(("fedn_jax.", "data_prep."))}
    assert {name for name in own if not name.startswith("commands")} == {"cli", "checks", "types"}


def test_configs_and_tests_are_imported_by_nobody():
    for path in FILES:
        assert not any(module.split(".")[0] in ("configs", "tests") for module in imports(path)), path
