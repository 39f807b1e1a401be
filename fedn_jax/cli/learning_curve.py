"""The command ``fedn learning-curve``: how much more annotated people would bring."""

import argparse
from collections.abc import Sequence
from typing import Any

from fedn_jax.cli import command, config_files
from fedn_jax.core.errors import UserError

EXAMPLES = (
    "fedn learning-curve --config demo --data demo/data --out curve",
    "fedn learning-curve --config own_data --data data --out curve --draws 5",
)


def add_arguments(commands: Any) -> None:
    """Adds ``learning-curve`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "learning-curve", "how F1 grows with the training subjects", learning_curve, EXAMPLES, options=True
    )
    one.add_argument("--config", required=True, metavar="SPEC", help=config_files.SPEC)
    command.add_directories(one, "directory for the training, the page and the numbers")
    one.add_argument(
        "--shares", default="0.25,0.5,0.75,1", metavar="A,B,...",
        help="of the training subjects of every fold, rising (default: %(default)s)",
    )  # fmt: skip
    one.add_argument(
        "--draws", type=int, default=3, metavar="N", help="random choices of subjects for each share (default: 3)"
    )


def learning_curve(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn learning-curve``: every fold with growing shares of its training subjects; started again, it goes on.

    Args:
      args: config, data, out, shares, draws.
      overrides: options for the configuration.

    Raises:
      UserError: shares that are no numbers, or options that do not fit the data.
    """
    from fedn_jax.core.text import progress_bar
    from fedn_jax.data import problem
    from fedn_jax.experiments import learning_curve as curves
    from fedn_jax.reports import learning_curve_page, tables

    try:
        shares = [float(text) for text in args.shares.split(",")]
    except ValueError:
        raise UserError(f"--shares must be numbers, such as 0.25,0.5,0.75,1; got {args.shares}") from None
    config = config_files.load(args.config, overrides)
    dataset = problem.load(config, args.data)
    found = curves.run(args.out, config, dataset, shares, args.draws, progress_bar())
    print(tables.to_text(learning_curve_page.table(found)))
    print(f"page:    {learning_curve_page.write(args.out, found)}\nnumbers: {args.out / curves.FILE}")
