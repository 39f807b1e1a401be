"""The command ``fedn report``. Everything heavy is imported inside."""

import argparse
from pathlib import Path
from typing import Any

from fedn_jax.cli import command, own_code, run_results
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import progress_bar

EXAMPLES = (
    "fedn report run --data data --out figures",
    "fedn report run run2 --out comparison",
)


def add_arguments(commands: Any) -> None:
    """Adds ``report`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "report", "figures and tables of runs; several runs side by side", report, EXAMPLES)
    one.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="evaluated runs; the others are compared with the first"
    )
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for figures, tables and page")
    one.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help=f"{command.DATA}; adds timelines of the first run, and FESNet's Figures 6 to 8",
    )
    one.add_argument("--config", metavar="FILE", help=f"with --data: {own_code.HELP}")


def report(args: argparse.Namespace) -> None:
    """``fedn report``: figures and tables as files, and, of several runs, a page that compares them.

    Args:
      args: runs, out, data, config.

    Raises:
      UserError: ``--config`` without ``--data``.
    """
    from fedn_jax.reports import compare_page

    if args.data:
        own_code.admit(args.runs[0], args.config)
    elif args.config:
        raise UserError("--config belongs to --data: without it no network is looked at")
    timelines = _timelines(args.runs[0], args.data) if args.data else ()
    page = compare_page.write(args.out, args.runs, timelines)
    if args.data:
        _own_figures(args.out / "figures", args.runs[0], args.data)
    print(f"written: {page}")


def _own_figures(out: Path, run: Path, data: Path) -> None:
    """Figures that only runs of some model have."""
    from fedn_jax.data import problem
    from fedn_jax.engine import run_dir
    from fedn_jax.reports import fesnet_figures

    config, own = run_dir.load_config(run), {"fesnet": fesnet_figures.write}
    if config.task in own:
        own[config.task](out, run, config, problem.load(config, data), progress_bar())


def _timelines(run: Path, data: Path) -> Any:
    """Layouts of all timelines of a run."""
    from fedn_jax.data import problem
    from fedn_jax.engine import run_dir
    from fedn_jax.evaluation import run_evaluation
    from fedn_jax.reports import run_page

    config = run_dir.load_config(run)
    dataset = problem.load(config, data, inputs=False)
    results = run_evaluation.evaluate_run(run, config, dataset, progress_bar())
    shown, pictures = run_page.videos(results), run_results.thumbnails(data)
    return run_page.timelines(results.metrics, shown, results.problem.classes, pictures)
