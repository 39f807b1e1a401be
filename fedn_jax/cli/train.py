"""The command ``fedn train``. Everything heavy is imported inside."""

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import command, config_files, own_code
from fedn_jax.core.text import progress_bar

EXAMPLES = (
    "fedn train --config demo --data demo/data --out run",
    "fedn train --config casme2:table4/coupled --data data --out run2",
)


def add_arguments(commands: Any) -> None:
    """Adds ``train`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "train", "train every fold; goes on where it was stopped", train, EXAMPLES, options=True
    )
    one.add_argument("--config", required=True, metavar="SPEC", help=config_files.SPEC)
    command.add_directories(one, "directory of the run")
    one.add_argument(
        "--folds", type=lambda text: text.split(","), default=[], metavar="NAMES",
        help="train only these folds, e.g. s01,s07; later calls train others",
    )  # fmt: skip
    one.add_argument("--profile", type=Path, metavar="DIR", help="write a JAX profile of one warm epoch there")
    one.add_argument(
        "--track", type=lambda text: text.split(","), default=["tensorboard"], metavar="NAMES",
        help="where curves of the metrics go: tensorboard, wandb, mlflow, or several: wandb,mlflow "
        "(default: tensorboard)",
    )  # fmt: skip


def train(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn train``: all folds at once; started again, it goes on.

    Args:
      args: config, data, out, folds, profile, track.
      overrides: options for the configuration.
    """
    train_run(args.config, args.data, args.out, overrides, args.folds, args.profile, args.track)
    print(f"trained: {args.out}; next: fedn evaluate {args.out} --data {args.data}")


def train_run(
    spec: str,
    data: Path,
    out: Path,
    overrides: Sequence[str] = (),
    folds: Sequence[str] = (),
    profile: Path | None = None,
    track: Sequence[str] = ("tensorboard",),
) -> None:
    """Trains a run, or goes on with it.

    Args:
      spec: of the configuration.
      data: directory made by `fedn prepare`.
      out: directory of the run.
      overrides: options for the configuration.
      folds: names of those to train; empty: all.
      profile: directory for a profile of one warm epoch.
      track: entries of ``tracking.TRACKERS``.

    Raises:
      UserError: options that cannot be used, or a run that cannot go on as it was begun.
    """
    from fedn_jax.data import problem
    from fedn_jax.engine import fit, parallel, tracking

    tracking.check(track)
    parallel.join_pod(os.environ)
    with own_code.noticing() as added:
        run = fit.Run(out, config_files.load(spec, overrides))
    own_code.keep(out, spec, added)
    fit.fit([run], problem.load(run.config, data), progress_bar(), folds, profile, track)
    keep_backbone(data, run)


def keep_backbone(source: Path, run: Any) -> None:
    """A run carries the weights that its inputs were made with, so that it works on new videos wherever it goes.

    Args:
      source: directory made by `fedn prepare`.
      run: a ``fit.Run``; one that reads frames has no use for the weights, and gets none.
    """
    from fedn_jax import models
    from fedn_jax.core import files, schema
    from fedn_jax.data import shards

    if models.TASKS[run.config.task].frames:
        return
    weights, kept = shards.backbone_file(source), run.directory / schema.BACKBONE
    if weights is not None and not kept.exists():
        with files.replacing(kept) as part:
            shutil.copyfile(weights, part)
