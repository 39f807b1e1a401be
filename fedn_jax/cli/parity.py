"""The command ``fedn parity``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import command, config_files, demo
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import progress_bar

EXAMPLES = (
    "fedn parity --quick",
    "fedn parity --weights fedn.pth --rename '^module[.]=' --config casme2",
)


def add_arguments(commands: Any) -> None:
    """Adds ``parity`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "parity", "compare with an independent network in PyTorch", parity, EXAMPLES, options=True
    )
    one.add_argument(
        "--out", type=Path, default=Path("parity"), metavar="DIR", help="directory for the page (default: %(default)s)"
    )
    one.add_argument("--quick", action="store_true", help="two variants in float32, without a fold")
    one.add_argument("--weights", type=Path, metavar="FILE", help="compare with these weights of a PyTorch FEDN")
    one.add_argument(
        "--rename", nargs="+", default=[], metavar="REGEX=NEW", help="rules for the names of layers in --weights"
    )
    one.add_argument(
        "--config", metavar="SPEC", help=f"of --weights: {config_files.SPEC} (default: the paper's values)"
    )


def parity(args: argparse.Namespace, overrides: Sequence[str] = ()) -> int:
    """``fedn parity``: our network against an independent one.

    Args:
      args: out, quick, weights, rename, config.
      overrides: options for the configuration of ``weights``.

    Returns:
      Exit code: 0 if all differences lie within their tolerances, else 1.

    Raises:
      UserError: PyTorch is missing, or weights that do not fit.
    """
    from importlib import util

    if util.find_spec("torch") is None:
        raise UserError("fedn parity needs PyTorch: pip install torch")
    if args.weights is None:
        stray = [*overrides, *(["--config"] if args.config else []), *(["--rename"] if args.rename else [])]
        if stray:
            raise UserError(f"{stray[0]} belongs to --weights FILE; without it fixed cases are compared")
        return 0 if _compare_levels(args) else 1
    return 0 if _compare_weights(args, overrides) else 1


def _compare_levels(args: argparse.Namespace) -> bool:
    """All levels."""
    from fedn_jax.data import shards
    from fedn_jax.reports import tables
    from fedn_jax.torch_parity import levels, measure, report

    dataset = None
    if not args.quick:
        dataset = shards.load(demo.built_in(args.out / "built_in", subjects=4, videos=1, seconds=20.0))
    bar, found = progress_bar()(desc="parity", unit="case"), []
    for one in levels.run(dataset, args.quick):
        found.append(one)
        bar.set_postfix_str(one.level)
        bar.update()
    bar.close()
    print(tables.to_text(report.levels_table(found)))
    title = "fedn_jax against fedn_jax.torch_parity.reference, an independent FEDN in PyTorch"
    print(f"\npage:    {report.write(args.out, found, title)}")
    return measure.passed(found)


def _compare_weights(args: argparse.Namespace, overrides: Sequence[str]) -> bool:
    """The forward pass with somebody's weights."""
    from data_prep.backbones import weights as files
    from fedn_jax.core import config as configs
    from fedn_jax.models import torch_weights
    from fedn_jax.reports import tables
    from fedn_jax.torch_parity import measure, report, weights

    rules = torch_weights.rules(args.rename)
    config = config_files.load(args.config) if args.config else configs.default()
    config_files.override(config, overrides)
    try:
        found = list(weights.compare(torch_weights.rename(files.read(args.weights), rules), config))
    except UserError as error:
        raise UserError(f"{args.weights}: {error}") from None
    print(tables.to_text(report.levels_table(found)))
    print(f"\npage:    {report.write(args.out, found, f'The weights of {args.weights} in both networks')}")
    return measure.passed(found)
