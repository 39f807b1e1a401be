"""A run's directory: what lies where, and the files that say what was run.

RUN/config.json      the configuration               RUN/parameters/       trained networks, one file per fold
RUN/run.json         data, folds, versions           RUN/outputs/          network outputs per fold and video
RUN/metrics/         one line per epoch, by program  RUN/detections.csv    what was found
RUN/tensorboard/     the same, as curves             RUN/candidates.csv    all that survived NMS
RUN/checkpoints/     training state, until trained   RUN/metrics.json, RUN/report.html
RUN/likeness.npz     what the faces looked like      RUN/own_code.py       of a configuration, where it adds any
RUN/after_N_epochs/  networks and results of before it was trained for longer
"""

import json
import logging
import os
import platform
import sys
import zlib
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt
from fedn_jax.core.types import Config, VideoMeta
from fedn_jax.engine import tracking

log = logging.getLogger(__name__)

CHECKSUM = "checksum"  # field of a record
LARGEST = 100_000_000  # bytes of a record, or of the metrics of a program, that are read
MAY_CHANGE = {  # options that a resumed run may change
    "folds.memory_gb", "folds.programs", "train.checkpoint_minutes", "train.keep_state",
}  # fmt: skip
RESULTS = ("outputs", "metrics.json", "report.html", "detections.csv", "candidates.csv")  # of trained networks
PACKAGES = ("fedn_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, indented, whole or not at all.

    Args:
      path: the file.
      value: anything that JSON can say.
    """
    files.write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_record(path: Path, value: dict[str, Any]) -> None:
    """Writes what commands know of a run, with a checksum: run.json, config.json, metrics.json.

    Args:
      path: the file.
      value: what JSON can say.
    """
    plain = json.loads(json.dumps({name: entry for name, entry in value.items() if name != CHECKSUM}))
    write_json(path, plain | {CHECKSUM: _checksum(plain)})


def read_record(path: Path) -> dict[str, Any]:
    """Reads what ``write_record`` wrote.

    Runs are handed on: nothing is believed of a file whose checksum does not fit, so what is returned has the fields
    and types that the writer gave it.

    Args:
      path: the file.

    Returns:
      Its content, without the checksum.

    Raises:
      UserError: the file is missing, is not JSON, was changed or damaged, or was written by another version.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; expected the directory of a run (made by `fedn train`)")
    try:
        value = json.loads(files.read_bytes(path, LARGEST).decode())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise UserError(f"{path}: not valid JSON ({reason}); restore the file, or train into another --out") from None
    if not isinstance(value, dict) or CHECKSUM not in value:
        raise UserError(f"{path}: was written by another version, or by another program; train into another --out")
    found = value.pop(CHECKSUM)
    if found != _checksum(value):
        raise UserError(
            f"{path}: was changed or is damaged (its checksum does not fit); restore the file, or write it again: "
            "metrics.json with `fedn evaluate`, others by training into another --out"
        )
    return value


def _checksum(value: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"


def versions() -> dict[str, str]:
    """What a result depends on beside code and data.

    Returns:
      name -> version; "device" names the accelerators.
    """
    import jax

    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    kinds = [device.device_kind for device in jax.local_devices()]
    found["device"] = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
    return found


def check_unchanged(run: Path, config: Config, facts: dict[str, Any], free: Collection[str] = ()) -> dict[str, Any]:
    """Refuses to go on with a run that was begun with another configuration, or on other data.

    Args:
      run: the directory; it holds a run.
      config: the configuration.
      facts: what must not change between two starts of a run: data, folds.
      free: options that may differ, beside ``MAY_CHANGE``.

    Returns:
      The content of ``run.json``.

    Raises:
      UserError: says what changed.
    """
    now, old = configs.flatten(json.loads(config.to_json())), read_record(run / "run.json")
    # An option that did not exist then was off, as its default is.
    then = configs.flatten(json.loads(configs.default().to_json())) | configs.flatten(read_record(run / "config.json"))
    changed = sorted(key for key in now if now[key] != then.get(key) and key not in {*MAY_CHANGE, *free})
    if changed:
        key = changed[0]
        raise UserError(
            f"{run} holds a run with another configuration ({key} was {then.get(key)}, now {now[key]}); choose "
            "another --out, or remove that directory"
        )
    other = sorted(key for key in facts if old.get(key) != facts[key])
    if other:
        raise UserError(
            f"{run} holds a run on other data ({', '.join(other)} changed); choose another --out, or remove that "
            "directory"
        )
    return old


def open_run(run: Path, config: Config, facts: dict[str, Any]) -> dict[str, Any]:
    """Starts a run, or goes on with the one that the directory holds.

    Args:
      run: the directory; made if missing.
      config: the configuration.
      facts: see ``check_unchanged``.

    Returns:
      The content of ``run.json``: ``facts`` and the versions. Of an earlier start, if there was one.

    Raises:
      UserError: the directory holds a run with another configuration or other data.
    """
    if (run / "run.json").exists():
        old = check_unchanged(run, config, facts)
        before, here = old["versions"], versions()
        if before != here:
            changed = [name for name in here if before.get(name) != here[name]]
            differs = ", ".join(f"{name} {before.get(name)} -> {here[name]}" for name in changed)
            log.warning(f"{run} was started with other versions: {differs}; results may differ in the last places")
        return old
    write_record(run / "config.json", json.loads(config.to_json()))
    whole = facts | {"versions": versions(), "command": " ".join(Path(sys.argv[0]).name.split() + sys.argv[1:])}
    write_record(run / "run.json", whole)
    return whole


def load_config(run: Path) -> Config:
    """The configuration of a run.

    Args:
      run: its directory.

    Returns:
      A locked ConfigDict.

    Raises:
      UserError: the directory holds no run.
    """
    config, saved = configs.default(), configs.flatten(read_record(run / "config.json"))
    unknown = sorted(set(saved) - set(configs.flatten(config)))
    if unknown:
        raise UserError(f"{run}/config.json: unknown option {unknown[0]}; it was written by another version")
    config.update_from_flattened_dict(saved)
    return config


def outputs_path(run: Path, fold: str, meta: VideoMeta) -> Path:
    """Where the network outputs of a fold for a video lie.

    Args:
      run: directory of the run.
      fold: name of the fold.
      meta: the video.

    Returns:
      A path below ``run``.
    """
    return run / "outputs" / files.file_name(fold) / f"{files.file_name(meta.subject, meta.video)}.npz"


def candidates_path(run: Path, fold: str) -> Path:
    """Where the candidates of an inner fold lie, which stand for the network outputs of its test videos.

    Args:
      run: directory of the run.
      fold: name of the fold.

    Returns:
      A path below ``run``.
    """
    return run / "outputs" / f"{files.file_name(fold)}.npz"


def likeness_path(run: Path) -> Path:
    """Where a run says what the faces of its data look like, see ``data.likeness``.

    Args:
      run: the directory.

    Returns:
      The path of an .npz file.
    """
    return run / "likeness.npz"


def metrics_path(run: Path, program: int) -> Path:
    """Where the metrics of the epochs of a program lie.

    Args:
      run: directory of the run.
      program: its number among those of the run.

    Returns:
      A path below ``run``.
    """
    return run / "metrics" / f"program{program}.jsonl"


class MetricsLog:
    """Appends metrics to the file of a program and tells trackers; drops what a resumed run does again."""

    def __init__(self, run: Path, program: int, done: int, track: Sequence[str] = (), options: Config | None = None):
        """Opens the log of the folds of a run that one program trains.

        Args:
          run: directory of the run.
          program: its number among those of the run.
          done: its epochs that are kept.
          track: entries of ``tracking.TRACKERS``.
          options: the configuration, for trackers.

        Raises:
          UserError: a tracker cannot begin.
        """
        self.path = metrics_path(run, program)
        self.program = program
        if self.path.exists():
            kept = [entry for entry in _read_lines(self.path) if entry["epoch"] <= done]
            files.write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in kept))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.tracker = tracking.open_all(track, tracking.Start(run, program, done, configs.flatten(options or {})))

    def write(self, epoch: int, names: tuple[str, ...], metrics: dict[str, np.ndarray]) -> None:
        """Adds one epoch.

        Args:
          epoch: epochs done, from 1.
          names: K fold names.
          metrics: name -> [K] values.
        """
        entry = {"epoch": epoch, "program": self.program, "folds": list(names)}
        entry |= {name: [float(value) for value in values] for name, values in metrics.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        numbers = {}
        for name, values in metrics.items():
            numbers[f"mean/{name}"] = float(values.mean())
            numbers |= {f"{fold}/{name}": float(value) for fold, value in zip(names, values, strict=True)}
        self.tracker.write(epoch, numbers)

    def close(self) -> None:
        """Closes the trackers."""
        self.tracker.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The metrics of all epochs.

    Args:
      run: directory of the run.

    Returns:
      One dict per epoch and program, by program; half a line, left by a process that was killed, is not read.
    """
    paths = sorted((run / "metrics").glob("program*.jsonl"), key=lambda path: (len(path.name), path.name))
    return [entry for path in paths for entry in _read_lines(path)]


def _read_lines(path: Path) -> list[dict[str, Any]]:
    lines = files.read_bytes(path, LARGEST).splitlines(keepends=True)
    try:
        return [_entry(json.loads(line)) for line in lines if line.endswith(b"\n")]
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not lines of metrics ({excerpt(error)}); remove the file, it is for curves only"
        ) from None


def _entry(found: Any) -> dict[str, Any]:
    """One line of metrics, if it is one."""
    if not isinstance(found, dict) or not isinstance(found.get("epoch"), int) or found.get("folds") in (None, []):
        raise ValueError("a line has no epoch, or no folds")
    size = len(found["folds"])
    for name, values in found.items():
        numbers = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
        if name not in ("epoch", "program", "folds") and not (numbers and len(values) == size):
            raise ValueError(f"{name} is not one number per fold")
    return found
