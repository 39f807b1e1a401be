"""What all commands share: how one is added to the command line."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.cli import shared
from fedn_jax.core.errors import ALL_OPTIONS

OVERRIDES = "--config.KEY=VALUE changes one option, e.g. --config.train.epochs=3"
DATA = "directory made by `fedn prepare`"
RUN = "directory made by `fedn train`"


def add(
    commands: Any, name: str, title: str, function: Callable[..., Any], examples: Sequence[str], options: bool = False
) -> argparse.ArgumentParser:
    """Adds a command.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
      name: what the user types.
      title: what it does, in one line of ``fedn --help``.
      function: does it; called with the arguments and, with ``options``, the words "--config.KEY=VALUE". It returns
        None, or an exit code.
      examples: lines for the end of the help.
      options: it takes options of the configuration.

    Returns:
      The parser, for arguments.
    """
    more = ["", f"{OVERRIDES};", ALL_OPTIONS] if options else []
    parser = shared.add(commands, name, title, function, examples, more)
    parser.set_defaults(takes_options=options)
    return parser


def add_directories(parser: argparse.ArgumentParser, out: str) -> None:
    """Adds ``--data`` and ``--out``, both required.

    Args:
      parser: of the command.
      out: what the directory ``--out`` is for.
    """
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=DATA)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)
