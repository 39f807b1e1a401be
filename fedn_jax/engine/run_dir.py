"""A run's directory: what lies where, and the files that say what was run.

RUN/config.json      the configuration               RUN/parameters/       trained networks, one file per fold
RUN/run.json         data, folds, versions           RUN/outputs/          network outputs per fold and video
RUN/metrics/         one line per epoch, by program  RUN/detections.csv    what was found
RUN/tensorboard/     the same, as curves             RUN/candidates.csv    all that survived NMS
RUN/checkpoints/     training state, until trained   RUN/metrics.json, RUN/report.html
"""

import json
import logging
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Config, VideoMeta

log = logging.getLogger(__name__)

MAY_CHANGE = {"folds.memory_gb", "folds.programs", "train.checkpoint_minutes"}  # options that a resumed run may change
PACKAGES = ("fedn_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, indented, whole or not at all.

    Args:
      path: the file.
      value: anything that JSON can say.
    """
    files.write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Args:
      path: the file.

    Returns:
      Its content.

    Raises:
      UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected the directory of a run (made by `fedn train`)") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); restore the file, or train into another --out") from None


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


def open_run(run: Path, config: Config, facts: dict[str, Any]) -> dict[str, Any]:
    """Starts a run, or goes on with the one that the directory holds.

    Args:
      run: the directory; made if missing.
      config: the configuration.
      facts: what must not change between two starts of a run: data, folds.

    Returns:
      The content of ``run.json``: ``facts`` and the versions. Of an earlier start, if there was one.

    Raises:
      UserError: the directory holds a run with another configuration or other data.
    """
    settings = json.loads(config.to_json())
    if (run / "run.json").exists():
        old_settings, old = read_json(run / "config.json"), read_json(run / "run.json")
        now, then = configs.flatten(settings), configs.flatten(old_settings)
        changed = sorted(key for key in now if now[key] != then.get(key) and key not in MAY_CHANGE)
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
        before, here = old["versions"], versions()
        if before != here:
            changed = [name for name in here if before.get(name) != here[name]]
            differs = ", ".join(f"{name} {before.get(name)} -> {here[name]}" for name in changed)
            log.warning(f"{run} was started with other versions: {differs}; results may differ in the last places")
        return old
    write_json(run / "config.json", settings)
    whole = facts | {"versions": versions(), "command": " ".join(Path(sys.argv[0]).name.split() + sys.argv[1:])}
    write_json(run / "run.json", whole)
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
    config, saved = configs.default(), configs.flatten(read_json(run / "config.json"))
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
    """Appends metrics to the file of a program and to TensorBoard; drops what a resumed run does again."""

    def __init__(self, run: Path, program: int, done: int):
        """Opens the log of the folds of a run that one program trains.

        Args:
          run: directory of the run.
          program: its number among those of the run.
          done: its epochs that are kept.
        """
        import tensorboardX

        self.path = metrics_path(run, program)
        self.program = program
        if self.path.exists():
            kept = [entry for entry in _read_lines(self.path) if entry["epoch"] <= done]
            files.write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in kept))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.board = tensorboardX.SummaryWriter(str(run / "tensorboard" / f"program{program}"), purge_step=done + 1)

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
        for name, values in metrics.items():
            self.board.add_scalar(f"mean/{name}", float(values.mean()), epoch)
            for fold, value in zip(names, values, strict=True):
                self.board.add_scalar(f"{fold}/{name}", float(value), epoch)
        self.board.flush()

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self.board.close()


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
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
