"""The command ``fedn plan``. Everything heavy is imported inside."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import command, config_files

EXAMPLES = (
    "fedn plan --config demo --data demo/data",
    "fedn plan --config casme2 --data data --devices 8 --memory-gb 80",
)


def add_arguments(commands: Any) -> None:
    """Adds ``plan`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "plan", "what a training will take, before it starts", plan, EXAMPLES, options=True)
    one.add_argument("--config", required=True, metavar="SPEC", help=config_files.SPEC)
    one.add_argument("--data", type=Path, required=True, metavar="DIR", help=command.DATA)
    one.add_argument("--devices", type=int, default=0, metavar="N", help="as if N devices like this one were here")
    one.add_argument("--memory-gb", type=float, default=0.0, metavar="G", help="as if each had so much memory")
    one.add_argument("--measure", action="store_true", help="train three epochs, to say how long all of them take")


def plan(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn plan``: folds, steps, memory, programs, disk.

    Args:
      args: config, data, devices, memory_gb, measure.
      overrides: options for the configuration.

    Raises:
      UserError: numbers that make no sense, or not even one fold fits.
    """
    from fedn_jax.core import errors
    from fedn_jax.data import problem
    from fedn_jax.engine import plan as planning

    errors.at_least("--devices", args.devices, 0)
    errors.at_least("--memory-gb", args.memory_gb, 0)
    config = config_files.load(args.config, overrides)
    dataset = problem.load(config, args.data)
    found = planning.make_plan(config, dataset, args.devices, args.memory_gb, args.measure)
    for what, how_much in planning.lines(found):
        print(f"{what:<20} {how_much}")
