"""The command ``fedn configs``: which configurations there are, and what one holds."""

import argparse
import textwrap
from typing import Any

from fedn_jax.cli import command, config_files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import COLUMNS

EXAMPLES = (
    "fedn configs                          all of them, with their rows",
    "fedn configs casme2:table4/coupled    one in full",
    "fedn configs --options                what every option means",
)
MARK = "*"  # beside a value that is not the default


def add_arguments(commands: Any) -> None:
    """Adds ``configs`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "configs", "list the configurations, or print one in full", configs, EXAMPLES)
    one.add_argument("spec", nargs="?", metavar="SPEC", help="NAME[:ROW], or FILE.py[:ROW]: print it in full")
    one.add_argument("--options", action="store_true", help="every option, with its default and what it means")


def configs(args: argparse.Namespace) -> None:
    """``fedn configs``: the list, one configuration, or all options.

    Args:
      args: spec, options.

    Raises:
      UserError: a configuration and ``--options``, or no such configuration.
    """
    if args.spec and args.options:
        raise UserError("--options lists the options of every configuration; give it alone")
    lines = option_lines() if args.options else full_lines(args.spec) if args.spec else list_lines()
    print("\n".join(lines))


def list_lines() -> list[str]:
    """Every configuration of the package: what it is for, and its rows.

    Returns:
      Lines of at most 80 columns.
    """
    from fedn_jax.core.config import PAPER_ROWS
    from fedn_jax.models.fesnet.presets import FESNET_ROWS

    papers = {"those of the paper": PAPER_ROWS, "those of FESNet": FESNET_ROWS}
    lines, width = [], 2 + max(map(len, config_files.names()))
    for name in config_files.names():
        rows, groups = list(config_files.rows(name)), []
        for title, known in papers.items():
            if set(known) <= set(rows):
                groups, rows = [*groups, title], [row for row in rows if row not in known]
        lines += _wrapped(f"{name:<{width}}", config_files.docstring(name).partition("\n")[0])
        lines += _wrapped(f"{'':<{width}}", f"rows: {', '.join([*groups, *rows]) or 'none'}")
    lines += ["", "A row is a named set of changes: --config NAME:ROW."]
    for title, known in papers.items():
        lines += [f"T{title[1:]}:", *_wrapped("  ", ", ".join(known))]
    return [*lines, "", "In full: fedn configs NAME[:ROW]"]


def full_lines(spec: str) -> list[str]:
    """Every option of a configuration with its value.

    Args:
      spec: "NAME[:ROW]" or "FILE[:ROW]".

    Returns:
      Lines; those whose value is not the default begin with a star and name it.
    """
    from fedn_jax.core import config as core

    default, chosen = core.flatten(core.default()), core.flatten(config_files.load(spec))
    path = config_files.find(config_files.split(spec)[0])
    lines = [spec, str(path), "", config_files.docstring(str(path)).rstrip(), ""]
    for key in core.comments():
        same = chosen[key] == default[key]
        note = "" if same else f"   (default: {_shown(default[key])})"
        lines += _wrapped(f"{' ' if same else MARK} {key:<32}", f"{_shown(chosen[key])}{note}")
    module = config_files.module(str(path))
    if hasattr(module, "SPACE"):
        from fedn_jax.experiments import search_space

        with config_files.running(spec, path):
            search_space.check_space(module.SPACE, core.default())
        lines += ["", "`fedn sweep` searches:"]
        lines += [line for key, space in module.SPACE.items() for line in _wrapped(f"  {key:<32}", str(space))]
    return [*lines, "", f"{MARK} differs from the default; what options mean: fedn configs --options"]


def option_lines() -> list[str]:
    """Every option with its default and the comment beside it in the source.

    Returns:
      Lines of at most 80 columns.
    """
    from fedn_jax.core import config as core

    default, lines = core.flatten(core.default()), []
    for key, comment in core.comments().items():
        lines += [f"{key} = {_shown(default[key])}", *_wrapped("    ", comment)]
    explained = "section and eq.: of the FEDN paper; open: the paper does not say, the default is a choice"
    return [*lines, "", *_wrapped("", explained), "Change one on the command line: --config.train.epochs=3"]


def _shown(value: Any) -> str:
    """A value as the command line takes it."""
    return str(value.to_list() if hasattr(value, "to_list") else list(value) if isinstance(value, tuple) else value)


def _wrapped(head: str, text: str) -> list[str]:
    """Lines of at most 80 columns; the first begins with ``head``, the others below its end."""
    indent = " " * len(head)
    return textwrap.wrap(text, COLUMNS, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False) or [
        head.rstrip()
    ]
