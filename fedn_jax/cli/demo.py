"""The command ``fedn demo``: everything once, on built-in videos."""

import argparse
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep import cli as prepare
from fedn_jax.cli import command, config_files, run_results, train
from fedn_jax.core.text import COLUMNS

EXAMPLES = (
    "fedn demo                                  about 3 minutes on 2 cores",
    "fedn demo --out small --subjects 3 --videos 1 --config.train.epochs=3",
    "fedn demo --config demo_fesnet --out fesnet",
)


def add_arguments(commands: Any) -> None:
    """Adds ``demo`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "demo", "draw videos of faces, prepare them, train, evaluate", demo, EXAMPLES, options=True
    )
    one.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="directory for everything (default: %(default)s)"
    )
    number = {"type": int, "metavar": "N"}
    one.add_argument("--subjects", **number, default=8, help="people to draw (default: %(default)s)")
    one.add_argument("--videos", **number, default=2, help="videos of each (default: %(default)s)")
    one.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="length of a video (default: %(default)g)"
    )
    one.add_argument("--seed", **number, default=0, help="of the drawing (default: %(default)s)")
    one.add_argument("--workers", **number, help="processes that draw and prepare (default: one per core)")
    one.add_argument("--config", default="demo", metavar="SPEC", help=f"{config_files.SPEC} (default: %(default)s)")


def demo(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn demo``: the whole way on built-in videos; what is done already is kept.

    Args:
      args: out, subjects, videos, seconds, seed, workers, config.
      overrides: options for the configuration.
    """
    config = config_files.load(args.config, overrides)  # a mistake in the options shows before the work begins
    frames = _reads_frames(config)
    if frames:  # folds are trained one after another, on each of two cores
        os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    out = args.out

    def say(step: int, text: str) -> None:
        print(f"[{step}/3] {text}", flush=True)

    say(1, "drawing videos of faces with known expressions, and preparing them")
    built_in(out, args.subjects, args.videos, args.seconds, args.seed, args.workers, frames)
    say(2, "training every fold" if frames else "training every leave-one-subject-out fold, in one program")
    train.train_run(args.config, out / "data", out / "run", overrides)
    say(3, "evaluating on the subjects that each fold has not seen")
    run_results.evaluate_run(out / "run", out / "data")
    print("\nThis is one run with one seed; other seeds and other machines give other numbers.")
    name, row = config_files.split(args.config)
    expected = getattr(config_files.module(name), "EXPECTED", {})
    if expected and not row:
        spread = ", ".join(f"{name} {mean:.1f} ± {deviation:.1f}" for name, (mean, deviation) in expected.items())
        print(textwrap.fill(f"Three seeds, without options (mean ± standard deviation, %): {spread}.", COLUMNS))


def _reads_frames(config: Any) -> bool:
    from fedn_jax import models

    return models.TASKS[config.task].frames


def built_in(
    out: Path,
    subjects: int,
    videos: int,
    seconds: float,
    seed: int = 0,
    workers: int | None = None,
    frames: bool = False,
) -> Path:
    """Draws and prepares the built-in data set, as far as it is not there.

    Args:
      out: directory for the videos and the shards.
      subjects: faces.
      videos: of each.
      seconds: length of a video.
      seed: of everything.
      workers: processes; None: one per core.
      frames: keep the aligned frames.

    Returns:
      The directory of the shards.
    """
    from data_prep import synthetic

    source = out / "source"
    synthetic.write(source, subjects, videos, seconds, seed=seed, workers=workers)
    command = ["prepare", "folder", "--videos", source / "videos", "--annotations", source / "annotations.csv"]
    command += ["--classes", ",".join(synthetic.CLASSES), "--out", out / "data", "--backbone", "slim"]
    command += ["--workers", workers] if workers else []
    command += ["--frames"] if frames else []
    args = prepare.parse([str(word) for word in command])
    args.function(args)
    return out / "data"
