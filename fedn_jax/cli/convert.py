"""The command ``fedn convert``."""

import argparse
from pathlib import Path
from typing import Any

from fedn_jax.cli import command

EXAMPLES = (
    "fedn convert found.csv found.json --to activitynet --fps 30",
    "fedn convert theirs.csv found.csv --from strs",
)


def add_arguments(commands: Any) -> None:
    """Adds ``convert`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "convert", "predictions or ground truth in another format", convert, EXAMPLES)
    one.add_argument("input", type=Path, metavar="IN", help="the file")
    one.add_argument("output", type=Path, metavar="OUT", help="the new file")
    formats = "csv (of `fedn evaluate`), strs, megc or activitynet"
    one.add_argument("--from", dest="source", default="csv", metavar="FORMAT", help=f"{formats} (default: %(default)s)")
    one.add_argument("--to", dest="target", default="csv", metavar="FORMAT", help="the same (default: %(default)s)")
    one.add_argument("--ground-truth", action="store_true", help="activitynet: a ground truth, not predictions")
    one.add_argument("--fps", type=float, help="activitynet: frames per second, where the file has none")
    one.add_argument(
        "--first-frame", type=int, default=1, metavar="N",
        help="activitynet: number of the frame at second 0 (default: %(default)s)",
    )  # fmt: skip
    one.add_argument("--subject", metavar="NAME", help="who is seen in the videos that name no subject")


def convert(args: argparse.Namespace) -> None:
    """``fedn convert``: predictions or ground truth in another format.

    Args:
      args: input, output, source, target, ground_truth, fps, first_frame, subject.
    """
    from fedn_jax.core import errors
    from fedn_jax.core.errors import UserError
    from fedn_jax.formats import converters, predictions

    for name, value in (("--from", args.source), ("--to", args.target)):
        errors.one_of(name, value, converters.FORMATS)
    options = converters.Options(args.fps, first_frame=args.first_frame, truth=args.ground_truth)
    what = "ground truth" if args.ground_truth else "predictions"
    table = converters.FORMATS[args.source].read(args.input, what, options)
    if args.subject:
        if predictions.has_subjects(table):
            raise UserError(f"{args.input}: names subjects; --subject is for files without them")
        table = predictions.with_subjects(table, dict.fromkeys(table.videos, args.subject))
    for note in [*table.notes, *converters.FORMATS[args.target].write(args.output, table, options)]:
        print(f"note: {note}")
    print(f"{len(table.rows)} rows of {len(table.videos)} videos: {args.output}")
