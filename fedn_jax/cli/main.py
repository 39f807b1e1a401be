"""The command ``fedn``: arguments and exit codes."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep import cli as prepare
from fedn_jax.cli import detect, experiments, parity
from fedn_jax.cli import runs as work
from fedn_jax.cli.runs import OVERRIDES
from fedn_jax.core.errors import UserError

EXIT_USER = 2
CONFIGS = Path(__file__).resolve().parents[1] / "configs"


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
    one.add_argument("--config", default=str(CONFIGS / "demo.py"), help="FILE[:row] (default: configs/demo.py)")

    prepare.add_arguments(commands)

    one = commands.add_parser("train", help="train all folds; goes on where it was stopped", epilog=OVERRIDES)
    one.add_argument("--config", required=True, help="FILE[:row], e.g. configs/casme2.py:table4/coupled")
    one.add_argument("--data", type=Path, required=True, help="directory made by `fedn prepare`")
    one.add_argument("--out", type=Path, required=True, help="directory of the run")

    one = commands.add_parser(
        "evaluate", help="numbers, tables and a page of a run; or numbers of any method's CSV", epilog=OVERRIDES
    )
    one.add_argument("run", type=Path, nargs="?", help="directory made by `fedn train`")
    one.add_argument("--data", type=Path, help="with a run: directory made by `fedn prepare`")
    table = "subject,video,onset,offset,emotion and, where known, score and kind; inclusive frames"
    one.add_argument("--predictions", type=Path, metavar="CSV", help=f"without a run: {table}")
    one.add_argument("--ground-truth", type=Path, metavar="CSV", help="the same columns")
    one.add_argument("--json", type=Path, metavar="OUT", help="write the numbers to this file, too")
    one.add_argument("--protocol", help="CSV: megc, per_gt, pairs, strict or strs (default: megc)")
    one.add_argument("--iou", type=float, help="CSV: lowest IoU of a match (default: 0.5)")
    one.add_argument("--threshold", type=float, help="CSV: lowest score that counts (default: all count)")
    one.add_argument("--kind", help="CSV: macro, micro or all (default: all)")
    one.add_argument("--fps", type=float, help="CSV: frames per second; tells kinds by length where no column does")
    one.add_argument(
        "--allow", nargs="+", default=[], metavar="WHAT", help="CSV: unknown-emotions, duplicates, unmatched-videos"
    )

    one = commands.add_parser("convert", help="predictions or ground truth between the formats of the field")
    one.add_argument("input", type=Path, metavar="IN", help="the file")
    one.add_argument("output", type=Path, metavar="OUT", help="the new file")
    formats = "csv (of `fedn evaluate`), strs, megc or activitynet"
    one.add_argument("--from", dest="source", default="csv", metavar="FORMAT", help=f"{formats} (default: csv)")
    one.add_argument("--to", dest="target", default="csv", metavar="FORMAT", help="the same (default: csv)")
    one.add_argument("--ground-truth", action="store_true", help="activitynet: a ground truth, not predictions")
    one.add_argument("--fps", type=float, help="activitynet: frames per second, since it counts seconds")
    one.add_argument("--first-frame", type=int, default=1, help="activitynet: frame of second 0 (default: 1)")

    one = commands.add_parser("report", help="figures and tables of runs as files; several runs side by side")
    one.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="evaluated runs; the first is compared with")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for figures, tables and page")
    one.add_argument("--data", type=Path, help="directory made by `fedn prepare`: adds the timelines of the first run")

    one = commands.add_parser(
        "reproduce", help="a table of the paper: all rows, several seeds, beside what is printed", epilog=OVERRIDES
    )
    one.add_argument("table", metavar="TABLE", help="table2, table3 or table4")
    one.add_argument("--data", type=Path, required=True, help="directory made by `fedn prepare`")
    one.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for runs, tables and page; tables share it"
    )
    one.add_argument(
        "--config",
        default=str(CONFIGS / "demo_tables.py"),
        help="FILE whose rows are trained (default: demo_tables.py)",
    )
    one.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each row (default: 3)")

    one = commands.add_parser(
        "sweep", help="search for options: trials x inner folds x seeds in one program", epilog=OVERRIDES
    )
    one.add_argument("--config", required=True, help="FILE[:row] with SPACE and SWEEP, e.g. configs/sweep_demo.py")
    one.add_argument("--data", type=Path, required=True, help="directory made by `fedn prepare`")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="for storage, page and best.py")
    one.add_argument("--fold", help="nested: only the inner fold of this outer one judges (default: all of them)")
    one.add_argument("--storage", help="URL of a database, e.g. sqlite:///FILE (default: a journal file in --out)")

    one = commands.add_parser(
        "compare", help="this implementation against an independent one, level by level", epilog=OVERRIDES
    )
    one.add_argument("--with", dest="peer", required=True, metavar="PEER", help="torch: FEDN in PyTorch")
    one.add_argument("--out", type=Path, default=Path("comparison"), help="directory (default: comparison)")
    one.add_argument("--quick", action="store_true", help="two variants, float32, without a fold")
    one.add_argument("--weights", type=Path, metavar="FILE", help="compare on these weights of a PyTorch FEDN")
    one.add_argument("--rename", nargs="+", default=[], metavar="REGEX=NEW", help="rules for the names in --weights")
    one.add_argument("--config", help="FILE[:row] that fits --weights (default: the paper's values)")

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


def run(argv: Sequence[str]) -> int:
    """Runs one command.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      Exit code: 0, or 1 for a comparison that failed.

    Raises:
      UserError: input or options that cannot be used.
    """
    args, rest = make_parser().parse_known_args(list(argv))
    work.keep_compiled(os.environ)
    others = {"detect": detect.detect, "convert": work.convert, "report": work.report}
    configurable = {
        "train": work.train, "demo": work.demo, "evaluate": work.evaluate,
        "reproduce": experiments.reproduce, "sweep": experiments.sweep,
    }  # fmt: skip
    if args.command == "compare":
        return 0 if parity.compare(args, rest) else 1
    if args.command in configurable:
        configurable[args.command](args, rest)
    elif rest:
        raise UserError(f"unknown argument {rest[0]}; see fedn {args.command} --help")
    elif args.command in others:
        others[args.command](args)
    else:
        prepare.run(args)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command ``fedn``.

    Args:
      argv: the arguments, without the program's name; None takes those of the process.

    Returns:
      Exit code: 0, 1 for a comparison that failed, or 2 for input that cannot be used (said in one line).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in argv
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("fedn_jax").setLevel(logging.INFO)
    try:
        return run([word for word in argv if word != "--debug"])
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
