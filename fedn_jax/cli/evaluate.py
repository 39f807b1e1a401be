"""The command ``fedn evaluate``: of a run, or of CSV files. Everything heavy is imported inside."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import command, own_code, run_results
from fedn_jax.core.errors import UserError

ONLY_RUN = ("data", "config", "out")
ONLY_FILES = ("predictions", "ground_truth", "protocol", "iou", "threshold", "kind", "fps", "allow")
EXAMPLES = (
    "fedn evaluate run --data data",
    "fedn evaluate run --data data --config.predict.nms_iou=0.1 --out other",
    "fedn evaluate --predictions found.csv --ground-truth truth.csv --protocol megc",
)


def add_arguments(commands: Any) -> None:
    """Adds ``evaluate`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "evaluate", "numbers and a page of a run, or numbers of CSV files", evaluate, EXAMPLES, options=True
    )
    one.add_argument("--json", type=Path, metavar="OUT", help="write the numbers to this file, too")
    one.add_argument("--force", action="store_true", help="replace files even where somebody changed them")
    run = one.add_argument_group("a run")
    run.add_argument("run", type=Path, nargs="?", metavar="RUN", help=command.RUN)
    run.add_argument("--data", type=Path, metavar="DIR", help=command.DATA)
    run.add_argument("--config", metavar="FILE", help=own_code.HELP)
    run.add_argument(
        "--out", type=Path, metavar="DIR",
        help="directory for numbers, page and tables (default: the run's own, unless options are changed)",
    )  # fmt: skip
    table = one.add_argument_group("CSV files")
    columns = "subject,video,onset,offset,emotion and, where known, score and kind; inclusive frames"
    table.add_argument("--predictions", type=Path, metavar="CSV", help=columns)
    table.add_argument("--ground-truth", type=Path, metavar="CSV", help="the same columns")
    table.add_argument("--protocol", help="megc, per_gt, pairs, strict or strs (default: megc)")
    table.add_argument("--iou", type=float, help="lowest IoU of a match (default: 0.5)")
    table.add_argument("--threshold", type=float, help="lowest score that counts (default: all count)")
    table.add_argument("--kind", help="macro, micro or all (default: all)")
    table.add_argument("--fps", type=float, help="frames per second; tells kinds by length where no column does")
    table.add_argument(
        "--allow", nargs="+", default=[], metavar="WHAT", help="unknown-emotions, duplicates, unmatched-videos"
    )


def evaluate(args: argparse.Namespace, overrides: Sequence[str] = ()) -> None:
    """``fedn evaluate``: numbers and a page, from the outputs that training saved; or numbers of CSV files.

    Args:
      args: those of ``ONLY_RUN`` with run, or those of ``ONLY_FILES``; json, force.
      overrides: options of the sections predict and evaluate, other than those of the training.

    Raises:
      UserError: neither a run nor files, or both.
    """
    from fedn_jax.core import written

    if args.json and not args.force:
        written.check(args.json.parent, [args.json.name])
    of_run, of_files = ([name for name in names if getattr(args, name)] for names in (ONLY_RUN, ONLY_FILES))
    if args.run is None:
        if not (args.predictions and args.ground_truth):
            raise UserError("give a run and its --data, or --predictions CSV and --ground-truth CSV; see --help")
        if belong := [*(f"--{name}" for name in of_run), *overrides]:
            raise UserError(
                f"{belong[0]} belongs to a run; of --predictions and --ground-truth numbers are printed, and written "
                "where --json FILE says"
            )
        numbers = _of_files(args)
    else:
        if of_files or not args.data:
            wrong = f"--{of_files[0].replace('_', '-')} belongs to CSV files" if of_files else "a run needs --data DIR"
            how = f"a run is evaluated with `fedn evaluate {args.run} --data DIR [--config.KEY=VALUE]`"
            raise UserError(f"{wrong}; {how}")
        numbers = run_results.evaluate_run(args.run, args.data, overrides, args.config, args.out, args.force)
    if args.json:
        _write_json(args.json, numbers, args.force)


def _of_files(args: argparse.Namespace) -> dict[str, Any]:
    from fedn_jax.evaluation import csv_evaluation
    from fedn_jax.formats import converters, exchange, predictions
    from fedn_jax.reports import run_tables

    found, truth = (
        exchange.in_unit(table, "", exchange.steady(table, converters.Options(args.fps)))
        for table in (exchange.read(args.predictions, "predictions"), exchange.read(args.ground_truth, "ground truth"))
    )
    result = csv_evaluation.score(
        predictions.join(found, truth, set(args.allow)), args.protocol or "megc",
        0.5 if args.iou is None else args.iou, args.threshold,
        args.kind or "all", args.fps,
    )  # fmt: skip
    print(run_tables.csv_text(result))
    return result


def _write_json(path: Path, numbers: dict[str, Any], force: bool) -> None:
    from fedn_jax.core import written
    from fedn_jax.engine import run_dir

    with written.file(path, {"command": "evaluate"}, force) as part:
        run_dir.write_json(part, numbers)
