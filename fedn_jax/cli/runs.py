"""What the commands of ``fedn`` do: wiring and printing. Everything heavy is imported inside them.

Here are those of a run, and what commands share; ``detecting``, ``comparing`` and ``experiments`` hold the others.
"""

import argparse
import os
import shutil
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from data_prep import cli as prepare
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import progress_bar
from fedn_jax.core.types import Config

ONLY_CSV = ("predictions", "ground_truth", "protocol", "iou", "threshold", "kind", "fps", "allow")  # of evaluate
CACHE = "JAX_COMPILATION_CACHE_DIR"  # where JAX keeps compiled programs; empty: nowhere
OVERRIDES = "--config.KEY=VALUE changes one option, e.g. --config.train.epochs=3"


def keep_compiled(environment: MutableMapping[str, str]) -> None:
    """Lets JAX keep compiled programs between runs: the same training then starts in seconds.

    Call it before JAX is imported. Programs that compile in less than a second are not kept (JAX's own limit). A
    directory that was chosen in ``JAX_COMPILATION_CACHE_DIR`` stays; without a place to write nothing is kept.

    Args:
      environment: of the process, ``os.environ``; changed.
    """
    if CACHE in environment:
        return
    try:
        base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        directory = Path(base) / "fedn_jax"
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only, or a user without a home
        return
    if os.access(directory, os.W_OK):
        environment[CACHE] = str(directory)


def load_config(spec: str, overrides: Sequence[str]) -> Config:
    """Reads a configuration file and applies overrides.

    Args:
      spec: "FILE" or "FILE:row".
      overrides: "--config.section.key=value" each.

    Returns:
      A locked ConfigDict.

    Raises:
      UserError: no such file, row or key, or a value of the wrong type.
    """
    from fedn_jax.core import config as configs

    path, _, row = spec.partition(":")
    if not Path(path).is_file():
        raise UserError(f"--config {path}: no such file; expected a file with get_config(row), as those in configs/")
    try:
        config = config_module(path).get_config(row)
    except UserError:
        raise
    except Exception as error:  # the file is the user's program
        reason = " ".join(str(error).split())
        raise UserError(f"--config {spec}: {type(error).__name__}: {reason}") from error
    override(config, overrides)
    return configs.validate(config)


def override(config: Config, overrides: Sequence[str], sections: Sequence[str] = ()) -> None:
    """Applies options of the command line.

    Args:
      config: changed.
      overrides: "--config.section.key=value" each.
      sections: the only ones that may be changed; empty: all.

    Raises:
      UserError: another argument, no such option, or a value of the wrong type.
    """
    from fedn_jax.core import config as configs

    for text in overrides:
        key, equals, value = text.removeprefix("--config.").partition("=")
        if not text.startswith("--config.") or not equals:
            raise UserError(f"unknown argument {text}; {OVERRIDES}")
        if sections and key.partition(".")[0] not in sections:
            raise UserError(f"{text} needs another training; here only {' and '.join(sections)} options may be changed")
        configs.override(config, key, value)


def config_module(path: str) -> Any:
    """The module that a configuration file is.

    Args:
      path: the file.

    Returns:
      The module; it has ``get_config``.

    Raises:
      UserError: not a Python file, or without ``get_config``.
    """
    from importlib import util

    spec = util.spec_from_file_location("config", path)
    if spec is None:
        raise UserError(f"--config {path}: expected a Python file, ending in .py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"--config {path}: has no get_config(row); see configs/casme2.py")
    return module


def _load_data(directory: Path) -> Any:
    from fedn_jax.data import shards

    return shards.load(directory)


def train(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn train``: all folds at once; started again, it goes on.

    Args:
      args: config, data, out.
      overrides: options for the configuration.
    """
    from fedn_jax.engine import fit

    member = fit.Member(args.out, load_config(args.config, overrides))
    fit.fit([member], _load_data(args.data), progress_bar())
    keep_backbone(args.data, args.out)
    print(f"trained: {args.out}; next: fedn evaluate {args.out} --data {args.data}")


def report(args: argparse.Namespace) -> None:
    """``fedn report``: figures and tables as files, and, of several runs, a page that compares them.

    Args:
      args: runs, out, data.
    """
    from fedn_jax.reports import compare_page

    timelines = _timelines(args.runs[0], args.data) if args.data else ()
    print(f"written: {compare_page.write(args.out, args.runs, timelines)}")


def _timelines(run: Path, data: Path) -> Any:
    """Layouts of all timelines of a run, with the post-processing of its last evaluation."""
    from fedn_jax.core import config as configs
    from fedn_jax.engine import run_dir
    from fedn_jax.evaluation import run_evaluation
    from fedn_jax.reports import run_page

    config, last = run_dir.load_config(run), run_dir.read_json(run / "metrics.json")["config"]
    config.update_from_flattened_dict(configs.flatten(last))
    results = run_evaluation.evaluate_run(run, config, _load_data(data), progress_bar())
    return run_page.timelines(results.metrics, run_page.videos(results), results.problem.classes, _thumbnails(data))


def keep_backbone(source: Path, run: Path) -> None:
    """A run carries the weights that its inputs were made with, so that it works on new videos wherever it goes.

    Args:
      source: directory made by `fedn prepare`.
      run: directory of the run.
    """
    from fedn_jax.core import schema
    from fedn_jax.data import shards

    weights, kept = shards.backbone_file(source), run / schema.BACKBONE
    if weights is not None and not kept.exists():
        part = kept.with_suffix(".part")
        shutil.copyfile(weights, part)
        part.replace(kept)


def evaluate(args: argparse.Namespace, overrides: Sequence[str] = ()) -> None:
    """``fedn evaluate``: numbers and a page, from the raw outputs that training saved; or numbers of CSV files.

    Args:
      args: run and data, or predictions and ground_truth with protocol, iou, threshold, kind, fps, allow; json.
      overrides: options of the sections predict and evaluate, other than those of the training.

    Raises:
      UserError: neither a run nor files, or both.
    """
    asked = [name for name in ONLY_CSV if getattr(args, name)]
    if args.run is None:
        if not (args.predictions and args.ground_truth) or args.data or overrides:
            raise UserError("give a run and its --data, or --predictions CSV and --ground-truth CSV; see --help")
        _evaluate_files(args)
        return
    if asked or not args.data:
        name = f"--{asked[0].replace('_', '-')} belongs to CSV files" if asked else "a run needs --data DIR"
        raise UserError(f"{name}; a run is evaluated with `fedn evaluate {args.run} --data DIR [--config.KEY=VALUE]`")
    _evaluate_run(args, overrides)


def _evaluate_files(args: argparse.Namespace) -> None:
    from fedn_jax.engine import run_dir
    from fedn_jax.evaluation import csv_evaluation
    from fedn_jax.formats import csv_files, pairing
    from fedn_jax.reports import run_tables

    found, truth = csv_files.read(args.predictions, "predictions"), csv_files.read(args.ground_truth, "ground truth")
    result = csv_evaluation.score(
        pairing.join(found, truth, set(args.allow)), args.protocol or "megc", args.iou or 0.5, args.threshold,
        args.kind or "all", args.fps,
    )  # fmt: skip
    print(run_tables.csv_text(result))
    if args.json:
        run_dir.write_json(args.json, result)


def convert(args: argparse.Namespace) -> None:
    """``fedn convert``: predictions or ground truth in another format.

    Args:
      args: input, output, source, target, ground_truth, fps, first_frame.
    """
    from fedn_jax.core import errors
    from fedn_jax.formats import converters

    for name, value in (("--from", args.source), ("--to", args.target)):
        errors.one_of(name, value, converters.FORMATS)
    options = converters.Options(args.fps, first_frame=args.first_frame, truth=args.ground_truth)
    what = "ground truth" if args.ground_truth else "predictions"
    table = converters.FORMATS[args.source].read(args.input, what, options)
    for note in [*table.notes, *converters.FORMATS[args.target].write(args.output, table, options)]:
        print(f"note: {note}")
    print(f"{len(table.rows)} rows of {len(table.videos)} videos: {args.output}")


def _thumbnails(data: Path) -> Any:
    """(subject, video, frame indices) -> aligned faces, or None where there are no previews."""
    from data_prep.media import frames
    from fedn_jax.core import files

    def thumbnail(subject: str, video: str, indices: list[int]) -> Any:
        path = data / "previews" / f"{files.file_name(subject, video)}.mp4"
        return frames.pick(path, indices) if path.exists() else None

    return thumbnail


def _evaluate_run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    from fedn_jax.core import config as configs
    from fedn_jax.engine import run_dir
    from fedn_jax.evaluation import run_evaluation
    from fedn_jax.reports import run_page, run_tables

    dataset = _load_data(args.data)
    config = run_dir.load_config(args.run)
    override(config, overrides, ("predict", "evaluate"))
    results = run_evaluation.evaluate_run(args.run, configs.validate(config), dataset, progress_bar())
    page = run_page.write_report(args.run, results, _thumbnails(args.data))
    print(run_tables.run_text(results.metrics))
    if args.json:
        run_dir.write_json(args.json, results.metrics)
    print(f"\nnumbers: {args.run / 'metrics.json'}\npage:    {page}\nfound:   {args.run / 'detections.csv'}")


def line(error: Exception) -> str:
    """An error as one line.

    Args:
      error: a UserError or an OSError.

    Returns:
      What is wrong, for the command line.
    """
    named = isinstance(error, OSError) and error.filename
    return f"{error.filename}: {error.strerror}" if named else str(error)


def built_in(out: Path, subjects: int, videos: int, seconds: float, seed: int = 0, workers: int | None = None) -> Path:
    """Draws and prepares the built-in data set, as far as it is not there.

    Args:
      out: directory for the videos and the shards.
      subjects: faces.
      videos: of each.
      seconds: length of a video.
      seed: of everything.
      workers: processes; None: one per core.

    Returns:
      The directory of the shards.
    """
    from data_prep import synthetic

    source = out / "source"
    synthetic.write(source, subjects, videos, seconds, seed=seed, workers=workers)
    command = ["prepare", "folder", "--videos", source / "videos", "--annotations", source / "annotations.csv"]
    command += ["--classes", ",".join(synthetic.CLASSES), "--out", out / "data"]
    command += ["--workers", workers] if workers else []
    prepare.run(prepare.parse([str(word) for word in command]))
    return out / "data"


def demo(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn demo``: the whole way on built-in videos; what is done already is kept.

    Args:
      args: out, subjects, videos, seconds, seed, workers, config.
      overrides: options for the configuration.
    """
    load_config(args.config, overrides)  # a mistake in the options shows before the work begins
    out = args.out

    def say(step: int, text: str) -> None:
        print(f"[{step}/3] {text}", flush=True)

    say(1, "drawing videos of faces with known expressions, and preparing them")
    built_in(out, args.subjects, args.videos, args.seconds, args.seed, args.workers)
    say(2, "training every leave-one-subject-out fold, in one program")
    train(argparse.Namespace(config=args.config, data=out / "data", out=out / "run"), overrides)
    say(3, "evaluating on the subjects that each fold has not seen")
    _evaluate_run(argparse.Namespace(run=out / "run", data=out / "data", json=None), [])
