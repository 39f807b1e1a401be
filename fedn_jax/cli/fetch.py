"""The command ``fedn fetch``: files of others that this package does not hold."""

import argparse
from pathlib import Path
from typing import Any

from fedn_jax.cli import command
from fedn_jax.core import errors

EXAMPLES = ("fedn fetch face-landmarker", "fedn fetch face-landmarker --from face_landmarker.task")
KNOWN = ("face-landmarker",)


def add_arguments(commands: Any) -> None:
    """Adds ``fetch`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "fetch", "get the face landmarker for real faces, once", fetch, EXAMPLES)
    one.add_argument("what", metavar="WHAT", help=f"one of {', '.join(KNOWN)} (3.8 MB, Apache License 2.0, Google)")
    one.add_argument("--from", dest="given", type=Path, metavar="FILE", help="a copy; nothing is downloaded")


def fetch(args: argparse.Namespace) -> None:
    """``fedn fetch``: brings a file into the user's cache.

    Args:
      args: what, given.

    Raises:
      UserError: no such thing, another file, or no origin that can be reached.
    """
    from data_prep.faces import landmarker_file

    errors.one_of("what to fetch", args.what, KNOWN)
    print(f"the face landmarker is in {landmarker_file.fetch(args.given)}")
