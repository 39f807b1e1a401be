"""The commands of a run: ``fedn plan``, ``train``, ``evaluate`` and ``report``. Everything heavy is imported inside."""

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import command, config_files, own_code
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import progress_bar

ONLY_CSV = ("predictions", "ground_truth", "protocol", "iou", "threshold", "kind", "fps", "allow")  # of evaluate
EVALUATION = ("metrics.json", "report.html", "detections.csv", "candidates.csv")  # what evaluate writes
SHOWN = ("numbers:", "page:   ", "found:  ")
TRAIN_EXAMPLES = (
    "fedn train --config demo --data demo/data --out run",
    "fedn train --config casme2:table4/coupled --data data --out run2",
)
PLAN_EXAMPLES = (
    "fedn plan --config demo --data demo/data",
    "fedn plan --config casme2 --data data --devices 8 --memory-gb 80",
)
EVALUATE_EXAMPLES = (
    "fedn evaluate run --data data",
    "fedn evaluate run --data data --config.predict.nms_iou=0.1 --out other",
    "fedn evaluate --predictions found.csv --ground-truth truth.csv --protocol megc",
)
REPORT_EXAMPLES = (
    "fedn report run --data data --out figures",
    "fedn report run run2 --out comparison",
)


# ---- Train ----------------------------------------------------------------------------------------------------------


def add_train(commands: Any) -> None:
    """Adds ``train`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "train", "train every fold; goes on where it was stopped", train, TRAIN_EXAMPLES,
        options=True,
    )  # fmt: skip
    one.add_argument("--config", required=True, metavar="SPEC", help=config_files.SPEC)
    command.add_directories(one, "directory of the run")
    one.add_argument(
        "--folds", type=lambda text: text.split(","), default=[], metavar="NAMES",
        help="train only these folds, e.g. s01,s07; later calls train others",
    )  # fmt: skip
    one.add_argument("--profile", type=Path, metavar="DIR", help="write a JAX profile of one warm epoch there")
    one.add_argument(
        "--track", type=lambda text: text.split(","), default=["tensorboard"], metavar="NAMES",
        help="where curves of the metrics go: tensorboard, wandb, mlflow, or several: wandb,mlflow "
        "(default: tensorboard)",
    )  # fmt: skip


def train(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn train``: all folds at once; started again, it goes on.

    Args:
      args: config, data, out, folds, profile, track.
      overrides: options for the configuration.
    """
    from fedn_jax.engine import fit, parallel, tracking

    tracking.check(args.track)
    parallel.join_pod(os.environ)
    with own_code.noticing() as added:
        run = fit.Run(args.out, config_files.load(args.config, overrides))
    own_code.keep(args.out, args.config, added)
    fit.fit([run], _load_data(run.config, args.data), progress_bar(), args.folds, args.profile, args.track)
    keep_backbone(args.data, run)
    print(f"trained: {args.out}; next: fedn evaluate {args.out} --data {args.data}")


def add_plan(commands: Any) -> None:
    """Adds ``plan`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "plan", "what a training will take, before it starts", plan, PLAN_EXAMPLES, options=True
    )
    one.add_argument("--config", required=True, metavar="SPEC", help=config_files.SPEC)
    one.add_argument("--data", type=Path, required=True, metavar="DIR", help=command.DATA)
    one.add_argument("--devices", type=int, default=0, metavar="N", help="as if N devices like this one were here")
    one.add_argument("--memory-gb", type=float, default=0.0, metavar="G", help="as if each had so much memory")
    one.add_argument("--measure", action="store_true", help="train three epochs, to say how long all of them take")


def plan(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn plan``: folds, steps, memory, programs, disk.

    Args:
      args: config, data, devices, memory_gb, measure.
      overrides: options for the configuration.

    Raises:
      UserError: numbers that make no sense, or not even one fold fits.
    """
    from fedn_jax.core import errors
    from fedn_jax.engine import plan as planning

    errors.at_least("--devices", args.devices, 0)
    errors.at_least("--memory-gb", args.memory_gb, 0)
    config = config_files.load(args.config, overrides)
    found = planning.make_plan(config, _load_data(config, args.data), args.devices, args.memory_gb, args.measure)
    for what, how_much in planning.lines(found):
        print(f"{what:<20} {how_much}")


def keep_backbone(source: Path, run: Any) -> None:
    """A run carries the weights that its inputs were made with, so that it works on new videos wherever it goes.

    Args:
      source: directory made by `fedn prepare`.
      run: a ``fit.Run``; one that reads frames has no use for the weights, and gets none.
    """
    from fedn_jax import models
    from fedn_jax.core import files, schema
    from fedn_jax.data import shards

    if models.TASKS[run.config.task].frames:
        return
    weights, kept = shards.backbone_file(source), run.directory / schema.BACKBONE
    if weights is not None and not kept.exists():
        with files.replacing(kept) as part:
            shutil.copyfile(weights, part)


def _load_data(config: Any, directory: Path, inputs: bool = True) -> Any:
    from fedn_jax.data import problem

    return problem.load(config, directory, inputs)


# ---- Evaluate -------------------------------------------------------------------------------------------------------


def add_evaluate(commands: Any) -> None:
    """Adds ``evaluate`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "evaluate", "numbers and a page of a run, or numbers of CSV files", evaluate,
        EVALUATE_EXAMPLES, options=True,
    )  # fmt: skip
    one.add_argument("run", type=Path, nargs="?", metavar="RUN", help=command.RUN)
    one.add_argument("--data", type=Path, metavar="DIR", help=f"with a run: {command.DATA}")
    columns = "subject,video,onset,offset,emotion and, where known, score and kind; inclusive frames"
    one.add_argument("--config", metavar="FILE", help=f"with a run: {own_code.HELP}")
    one.add_argument("--predictions", type=Path, metavar="CSV", help=f"without a run: {columns}")
    one.add_argument("--ground-truth", type=Path, metavar="CSV", help="the same columns")
    one.add_argument("--json", type=Path, metavar="OUT", help="write the numbers to this file, too")
    one.add_argument(
        "--out", type=Path, metavar="DIR",
        help="with a run: directory for numbers, page and tables (default: the run's own, unless options are changed)",
    )  # fmt: skip
    one.add_argument("--force", action="store_true", help="replace files even where somebody changed them")
    one.add_argument("--protocol", help="CSV: megc, per_gt, pairs, strict or strs (default: megc)")
    one.add_argument("--iou", type=float, help="CSV: lowest IoU of a match (default: 0.5)")
    one.add_argument("--threshold", type=float, help="CSV: lowest score that counts (default: all count)")
    one.add_argument("--kind", help="CSV: macro, micro or all (default: all)")
    one.add_argument("--fps", type=float, help="CSV: frames per second; tells kinds by length where no column does")
    one.add_argument(
        "--allow", nargs="+", default=[], metavar="WHAT", help="CSV: unknown-emotions, duplicates, unmatched-videos"
    )


def evaluate(args: argparse.Namespace, overrides: Sequence[str] = ()) -> None:
    """``fedn evaluate``: numbers and a page, from the outputs that training saved; or numbers of CSV files.

    Args:
      args: run and data, config, out, force; or predictions and ground_truth with protocol, iou, threshold, kind, fps,
        allow; json.
      overrides: options of the sections predict and evaluate, other than those of the training.

    Raises:
      UserError: neither a run nor files, or both.
    """
    from fedn_jax.core import written

    if args.json and not args.force:
        written.check(args.json.parent, [args.json.name])
    asked = [name for name in ONLY_CSV if getattr(args, name)]
    if args.run is None:
        if not (args.predictions and args.ground_truth):
            raise UserError("give a run and its --data, or --predictions CSV and --ground-truth CSV; see --help")
        of_a_run = [f"--{name}" for name in ("data", "config", "out") if getattr(args, name)] + list(overrides)
        if of_a_run:
            raise UserError(
                f"{of_a_run[0]} belongs to a run; of --predictions and --ground-truth numbers are printed, and written "
                "where --json FILE says"
            )
        _evaluate_files(args)
        return
    if asked or not args.data:
        name = f"--{asked[0].replace('_', '-')} belongs to CSV files" if asked else "a run needs --data DIR"
        raise UserError(f"{name}; a run is evaluated with `fedn evaluate {args.run} --data DIR [--config.KEY=VALUE]`")
    evaluate_run(args, overrides)


def _evaluate_files(args: argparse.Namespace) -> None:
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
    _write_numbers(args, result)


def _write_numbers(args: argparse.Namespace, numbers: Any) -> None:
    """Writes what ``--json`` asks for."""
    from fedn_jax.core import written
    from fedn_jax.engine import run_dir

    if args.json:
        with written.file(args.json, {"command": "evaluate"}, args.force) as part:
            run_dir.write_json(part, numbers)


def evaluate_run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn evaluate RUN``: from the outputs that training saved.

    The run's own numbers are those of the options that it was trained with. With others, numbers are shown, and
    files are written only where ``out`` says.

    Args:
      args: run, data, config, out, force, json.
      overrides: options of the sections predict and evaluate, other than those of the training.

    Raises:
      UserError: ``out`` is a run, or holds files that a person wrote or changed.
    """
    from fedn_jax import models
    from fedn_jax.core import files, written
    from fedn_jax.engine import run_dir
    from fedn_jax.evaluation import run_evaluation, thresholds
    from fedn_jax.reports import run_tables

    own_code.admit(args.run, args.config)
    config = run_dir.load_config(args.run)
    dataset = _load_data(config, args.data, inputs=False)
    config_files.override(config, overrides, thresholds.SECTIONS)
    models.validate(config)
    typed = [text.removeprefix("--config.").partition("=")[0] for text in overrides]
    other = thresholds.other_options(config, run_dir.load_config(args.run), typed)
    own = args.out is None or os.path.realpath(args.out) == os.path.realpath(args.run)
    out = args.run if own else args.out
    if args.out and (other if own else (out / "run.json").exists()):
        raise UserError(f"--out {out}: holds a run, whose own numbers stay; choose a directory that is none")
    writes = not (own and other)
    if writes and not args.force:
        written.check(out, EVALUATION, own)
    with contextlib.ExitStack() as stack:
        if writes:
            out.mkdir(parents=True, exist_ok=True)
        made = stack.enter_context(files.scratch(out / "evaluation") if writes else tempfile.TemporaryDirectory())
        results = run_evaluation.evaluate_run(args.run, config, dataset, progress_bar(), typed, Path(made))
        if writes:
            save_evaluation(results, Path(made), out, args.run, args.data, args.force, own)
    print(run_tables.run_text(results.metrics))
    _write_numbers(args, results.metrics)
    if writes:
        print("\n" + "\n".join(f"{what} {out / name}" for what, name in zip(SHOWN, EVALUATION, strict=False)))
    else:
        print(f"\nwith other options ({', '.join(other)}): {args.run} keeps its own files; --out DIR writes these")


def save_evaluation(results: Any, made: Path, out: Path, run: Path, data: Path, force: bool, own: bool) -> None:
    """Writes the page, and puts all files of an evaluation in their places.

    Args:
      results: of the evaluation.
      made: directory with its files.
      out: directory that they are for.
      run: directory of the training.
      data: directory made by `fedn prepare`.
      force: replace files even where somebody changed them.
      own: ``out`` is a run's directory, so its files are results.
    """
    from fedn_jax.core import files, written
    from fedn_jax.engine import run_dir
    from fedn_jax.reports import run_page

    shown, history = (run_page.videos(results), results.problem.classes), run_dir.read_metrics(run)
    run_page.write(made, results.metrics, *shown, history, _thumbnails(data))
    with files.wait_for_lock(out):
        about = {"run": str(run)}
        with written.replacing(out, "evaluation", about, EVALUATION, force, own) as parts:
            for name, part in parts.items():
                (made / name).replace(part)


def _thumbnails(data: Path) -> Any:
    """(subject, video, frame indices) -> aligned faces, or None where there are no previews."""
    from data_prep.media import frames
    from fedn_jax.core import files

    def thumbnail(subject: str, video: str, indices: list[int]) -> Any:
        path = data / "previews" / f"{files.file_name(subject, video)}.mp4"
        return frames.pick(path, indices) if path.exists() else None

    return thumbnail


# ---- Report ---------------------------------------------------------------------------------------------------------


def add_report(commands: Any) -> None:
    """Adds ``report`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "report", "figures and tables of runs; several runs side by side", report, REPORT_EXAMPLES
    )
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
    from fedn_jax.engine import run_dir
    from fedn_jax.reports import fesnet_figures

    config, own = run_dir.load_config(run), {"fesnet": fesnet_figures.write}
    if config.task in own:
        own[config.task](out, run, config, _load_data(config, data), progress_bar())


def _timelines(run: Path, data: Path) -> Any:
    """Layouts of all timelines of a run."""
    from fedn_jax.engine import run_dir
    from fedn_jax.evaluation import run_evaluation
    from fedn_jax.reports import run_page

    config = run_dir.load_config(run)
    dataset = _load_data(config, data, inputs=False)
    with tempfile.TemporaryDirectory() as unused:  # the files of the run's own evaluation, made with the same options
        results = run_evaluation.evaluate_run(run, config, dataset, progress_bar(), (), Path(unused))
    return run_page.timelines(results.metrics, run_page.videos(results), results.problem.classes, _thumbnails(data))
