"""The command ``fedn merge``: several prepared data sets as one."""

import argparse
from pathlib import Path
from typing import Any

from data_prep.cli import shared
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count, progress_bar

EXAMPLES = (
    "fedn merge casme2=data casme3=data3 --emotions emotions.csv --out both",
    "fedn train --config own_data --data both --out run \\\n      --config.folds.scheme=leave-one-dataset-out",
)


def add_arguments(commands: Any) -> None:
    """Adds ``merge`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    title = "several prepared data sets as one, for training across data sets"
    one = shared.add(commands, "merge", title, run, EXAMPLES)
    one.add_argument(
        "sources", nargs="+", metavar="NAME=DIR",
        help="a name, and the --out of `fedn prepare`; subjects will be named NAME/SUBJECT",
    )  # fmt: skip
    one.add_argument(
        "--emotions", type=Path, metavar="FILE",
        help="CSV or Excel with columns dataset,emotion,as: new words; an empty one drops these expressions (default: "
        "words stay as they are)",
    )  # fmt: skip
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the result")


def run(args: argparse.Namespace) -> None:
    """Merges prepared data sets, and says what each of them brings.

    Args:
      args: sources, emotions, out.

    Raises:
      UserError: data that do not fit one another.
    """
    from data_prep.shards import merge

    sources: dict[str, Path] = {}
    for text in args.sources:
        name, sign, directory = text.partition("=")
        if not sign or name in sources:
            what = "is there twice" if sign else "has no name"
            raise UserError(f"{text}: {what}; expected NAME=DIR, such as casme2=data, each with a name of its own")
        sources[name] = Path(directory)
    done = merge.merge(sources, args.out, args.emotions, progress_bar())
    if done is None:
        shared.say_written(args.out, False)
        return
    for name, one in done.items():
        kept = count(one.expressions.total(), "expression")
        print(f"{name}: {count(one.videos, 'video')}, {kept}, dropped {one.dropped}")
    for word in dict.fromkeys(word for one in done.values() for word in one.expressions if word):
        lacking = [name for name, one in done.items() if not one.expressions[word]]
        if lacking:
            print(f"emotion {word}: not in {', '.join(lacking)}")
    shared.say_written(args.out, True)
