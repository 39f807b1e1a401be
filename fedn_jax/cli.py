"""The command ``fedn``: arguments and exit codes."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep import cli as prepare
from fedn_jax import commands as work
from fedn_jax.checks import UserError
from fedn_jax.commands import OVERRIDES

EXIT_USER = 2
DEMO_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "demo.py"


def make_parser() -> argparse.ArgumentParser:
    """The command line.

    Returns:
      The parser of ``fedn``.
    """
    parser = argparse.ArgumentParser(prog="fedn", description="Facial expression detection in long videos.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    one = commands.add_parser("demo", help="the whole way on built-in videos", epilog=OVERRIDES)
    one.add_argument("--out", type=Path, default=Path("demo"), help="directory for everything (default: demo)")
    one.add_argument("--subjects", type=int, default=8, help="faces to draw (default: 8)")
    one.add_argument("--videos", type=int, default=2, help="videos per face (default: 2)")
    one.add_argument("--seconds", type=float, default=20.0, help="length of a video (default: 20)")
    one.add_argument("--seed", type=int, default=0, help="of the videos (default: 0)")
    one.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    one.add_argument("--config", default=str(DEMO_CONFIG), help="FILE[:row] (default: configs/demo.py)")

    prepare.add_arguments(commands)

    one = commands.add_parser("train", help="train all folds; goes on where it was stopped", epilog=OVERRIDES)
    one.add_argument("--config", required=True, help="FILE[:row], e.g. configs/casme2.py:table4/coupled")
    one.add_argument("--data", type=Path, required=True, help="directory made by `fedn prepare`")
    one.add_argument("--out", type=Path, required=True, help="directory of the run")

    one = commands.add_parser("evaluate", help="numbers, tables and a page of a run", epilog=OVERRIDES)
    one.add_argument("run", type=Path, help="directory made by `fedn train`")
    one.add_argument("--data", type=Path, required=True, help="directory made by `fedn prepare`")

    one = commands.add_parser("detect", help="find the expressions in new videos")
    one.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="video files, or folders of pictures")
    one.add_argument("--run", type=Path, required=True, help="directory made by `fedn train`")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the results")
    one.add_argument("--fold", default="ensemble", help="one fold's network (default: ensemble, the mean of all)")
    one.add_argument("--threshold", type=float, help="lowest score to report (default: the run's own)")
    one.add_argument("--backbone", type=Path, metavar="FILE", help="weights of the features (default: the run's own)")
    one.add_argument("--aligner", help="another alignment than that of the run's data")
    one.add_argument("--rate", type=float, default=30.0, help="frames per second of folders of pictures (default: 30)")
    return parser


def run(argv: Sequence[str]) -> None:
    """Runs one command.

    Args:
      argv: the arguments, without the program's name.

    Raises:
      UserError: input or options that cannot be used.
    """
    args, rest = make_parser().parse_known_args(list(argv))
    configurable = {"train": work.train, "demo": work.demo, "evaluate": work.evaluate}
    if args.command in configurable:
        configurable[args.command](args, rest)
    elif rest:
        raise UserError(f"unknown argument {rest[0]}; see fedn {args.command} --help")
    elif args.command == "detect":
        work.detect(args)
    else:
        prepare.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command ``fedn``.

    Args:
      argv: the arguments, without the program's name; None takes those of the process.

    Returns:
      Exit code: 0, or 2 for input that cannot be used (said in one line).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in argv
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("fedn_jax").setLevel(logging.INFO)
    try:
        run([word for word in argv if word != "--debug"])
        return 0
    except (UserError, OSError) as error:
        if debug:
            raise
        print(f"fedn: {work.line(error)}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("fedn: stopped; start the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
