"""Code that a configuration file adds to the tables of docs/new-model.md, such as a model: kept with the run.

A run is handed on, and code that is read from it would run with the rights of whoever evaluates it. So it is run only
where the user names the file (``--config FILE``), and only if it is, byte for byte, what the run was trained with.
"""

import contextlib
import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedn_jax.cli import config_files
from fedn_jax.core import files
from fedn_jax.core.errors import UserError

CODE, RECORD = "own_code.py", "own_code.json"  # in the directory of a run
HELP = "the file whose own code the run was trained with (RUN/own_code.py is a copy); it will be run"
TABLES = (  # (module, name): where a configuration file may add entries
    ("fedn_jax.models", "TASKS"),
    ("fedn_jax.models.fedn.fusion", "SEGMENT_FUSIONS"),
    ("fedn_jax.models.fedn.network", "WINDOW_ATTENTION"),
    ("fedn_jax.models.fedn.network", "HEADS"),
    ("fedn_jax.ops.losses", "INTERVAL_LOSSES"),
    ("fedn_jax.ops.losses", "SCORINGS"),
    ("fedn_jax.ops.nms", "KINDS"),
    ("fedn_jax.data.splits", "SCHEMES"),
    ("fedn_jax.data.standardization", "STANDARDIZATIONS"),
    ("fedn_jax.engine.train_step", "SCHEDULES"),
    ("fedn_jax.evaluation.protocols", "PROTOCOLS"),
    ("fedn_jax.evaluation.threshold_rules", "RULES"),
    ("fedn_jax.cascade.recognisers", "RECOGNISERS"),
)


def _entries() -> dict[tuple[str, str], Any]:
    """(table, name) -> entry, of all tables."""
    tables = {table: getattr(importlib.import_module(module), table) for module, table in TABLES}
    return {(table, name): entry for table, entries in tables.items() for name, entry in entries.items()}


@contextlib.contextmanager
def noticing() -> Iterator[list[str]]:
    """Notices what is added to the tables, or replaced in them.

    Yields:
      A list, which names the entries at the end.
    """
    before, added = _entries(), []
    yield added
    added += [f"{table}[{name!r}]" for (table, name), entry in _entries().items()
              if before.get((table, name), added) is not entry]  # fmt: skip


def keep(run: Path, spec: str, added: list[str]) -> None:
    """Puts a copy of a configuration file with own code into the directory of a run, before its training begins.

    Args:
      run: directory of the run.
      spec: of the configuration.
      added: of ``noticing``.

    Raises:
      UserError: the run was begun with other code, or without.
    """
    from fedn_jax.engine import run_dir

    record, begun = run / RECORD, (run / "run.json").exists()
    before = str(run_dir.read_record(record).get("sha256")) if record.exists() and begun else ""
    if not added:
        if before:
            raise UserError(f"{run} was begun with code of its own; give --config {run / CODE}, or another --out")
        if not begun:
            record.unlink(missing_ok=True)
        return
    content = config_files.read(config_files.split(spec)[0])
    sha = hashlib.sha256(content).hexdigest()
    if begun and sha != before:
        how = f"other code ({run / CODE} is a copy)" if before else "no code of its own"
        raise UserError(f"--config {spec}: adds {added[0]}, and {run} was begun with {how}; choose another --out")
    if not begun:
        files.write_bytes(run / CODE, content)
        run_dir.write_record(record, {"sha256": sha, "adds": added})


def admit(run: Path, spec: str | None) -> None:
    """Runs the own code of a run, if it has any and the user has named it.

    Args:
      run: directory of a run, of any origin.
      spec: what the user gave as ``--config``; None: nothing, and then nothing is run.

    Raises:
      UserError: the run has own code and the user did not name it, named another file, or named one without need.
    """
    from fedn_jax.engine import run_dir

    record = run / RECORD
    if not record.exists():
        if spec and (run / "run.json").exists():
            raise UserError(f"--config {spec}: {run} was trained without code of its own; leave --config out")
        return
    expected = run_dir.read_record(record).get("sha256")
    if not spec:
        raise UserError(
            f"{run}: was trained with code of its own, which is not run unasked; read {run / CODE}, and if you trust "
            f"it add --config {run / CODE}"
        )
    name, _ = config_files.split(spec)
    content = config_files.read(name)
    if hashlib.sha256(content).hexdigest() != expected:
        raise UserError(f"--config {spec}: is not what {run} was trained with; {run / CODE} should be a copy of that")
    config_files.module(name, content)
