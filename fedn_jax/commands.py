"""What the commands of ``fedn`` do: wiring and printing. Everything heavy is imported inside them."""

import argparse
import os
import shutil
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from data_prep import cli as prepare
from fedn_jax.checks import UserError
from fedn_jax.types import Config

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
    from fedn_jax import config as configs

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
    _override(config, overrides)
    return configs.validate(config)


def _override(config: Config, overrides: Sequence[str], sections: Sequence[str] = ()) -> None:
    """Applies "--config.section.key=value" each; ``sections`` limits what may be changed."""
    from fedn_jax import config as configs

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
    from fedn_jax import data

    return data.load(directory)


def train(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn train``: all folds at once; started again, it goes on.

    Args:
      args: config, data, out.
      overrides: options for the configuration.
    """
    from fedn_jax import cohort

    member = cohort.Member(args.out, load_config(args.config, overrides))
    cohort.fit([member], _load_data(args.data), prepare.progress())
    keep_backbone(args.data, args.out)
    print(f"trained: {args.out}; next: fedn evaluate {args.out} --data {args.data}")


def report(args: argparse.Namespace) -> None:
    """``fedn report``: figures and tables as files, and, of several runs, a page that compares them.

    Args:
      args: runs, out, data.
    """
    from fedn_jax import comparison

    timelines = _timelines(args.runs[0], args.data) if args.data else ()
    print(f"written: {comparison.write(args.out, args.runs, timelines)}")


def _timelines(run: Path, data: Path) -> Any:
    """Layouts of all timelines of a run, with the post-processing of its last evaluation."""
    from fedn_jax import config as configs
    from fedn_jax import pipeline, report, runs

    config, last = runs.load_config(run), runs.read_json(run / "metrics.json")["config"]
    config.update_from_flattened_dict(configs.flatten(last))
    results = pipeline.evaluate(run, config, _load_data(data), prepare.progress())
    return report.timelines(results.metrics, pipeline.videos(results), results.problem.classes, _thumbnails(data))


def keep_backbone(source: Path, run: Path) -> None:
    """A run carries the weights that its inputs were made with, so that it works on new videos wherever it goes.

    Args:
      source: directory made by `fedn prepare`.
      run: directory of the run.
    """
    from fedn_jax import data, schema

    weights, kept = data.backbone_file(source), run / schema.BACKBONE
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
    from fedn_jax import pairing, runs, scoring, tabular

    found, truth = tabular.read(args.predictions, "predictions"), tabular.read(args.ground_truth, "ground truth")
    result = scoring.score(
        pairing.join(found, truth, set(args.allow)), args.protocol or "megc", args.iou or 0.5, args.threshold,
        args.kind or "all", args.fps,
    )  # fmt: skip
    print("\n".join(scoring.lines(result)))
    if args.json:
        runs.write_json(args.json, result)


def convert(args: argparse.Namespace) -> None:
    """``fedn convert``: predictions or ground truth in another format.

    Args:
      args: input, output, source, target, ground_truth, fps, first_frame.
    """
    from fedn_jax import checks, exchange

    for name, value in (("--from", args.source), ("--to", args.target)):
        checks.one_of(name, value, exchange.FORMATS)
    options = exchange.Options(args.fps, first_frame=args.first_frame, truth=args.ground_truth)
    what = "ground truth" if args.ground_truth else "predictions"
    table = exchange.FORMATS[args.source].read(args.input, what, options)
    for note in [*table.notes, *exchange.FORMATS[args.target].write(args.output, table, options)]:
        print(f"note: {note}")
    print(f"{len(table.rows)} rows of {len(table.videos)} videos: {args.output}")


def _thumbnails(data: Path) -> Any:
    """(subject, video, frame indices) -> aligned faces, or None where there are no previews."""
    from data_prep import frames
    from fedn_jax import files

    def thumbnail(subject: str, video: str, indices: list[int]) -> Any:
        path = data / "previews" / f"{files.file_name(subject, video)}.mp4"
        return frames.pick(path, indices) if path.exists() else None

    return thumbnail


def _evaluate_run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    from fedn_jax import config as configs
    from fedn_jax import pipeline, report, runs

    dataset = _load_data(args.data)
    config = runs.load_config(args.run)
    _override(config, overrides, ("predict", "evaluate"))
    results = pipeline.evaluate(args.run, configs.validate(config), dataset, prepare.progress())
    page = pipeline.write_report(args.run, results, _thumbnails(args.data))
    print(report.table(results.metrics, results.metrics["baseline"]))
    if args.json:
        runs.write_json(args.json, results.metrics)
    print(f"\nnumbers: {args.run / 'metrics.json'}\npage:    {page}\nfound:   {args.run / 'detections.csv'}")


def detect(args: argparse.Namespace) -> None:
    """``fedn detect``: the expressions of new videos.

    Args:
      args: videos, run, out, fold, threshold, backbone, aligner, rate.

    Raises:
      UserError: a run that cannot be used; or, after all videos, that some could not be.
    """
    from fedn_jax import detect as detection

    model = detection.load(args.run, args.fold)
    threshold, origin = detection.choose_threshold(model, args.threshold)
    detector = detection.make_detector(model, threshold)
    options, backbone = _preparation(args, model.recorded)
    about = {
        "run": str(args.run), "folds": ", ".join(model.folds), "score threshold": f"{threshold:.3f}, {origin}",
        "trained on": model.recorded["metadata"]["dataset"], "features": model.recorded["metadata"]["backbone"],
        "faces": f"{options.aligner}, {options.size} px, {options.fps:g} frames per second",
        "fedn_jax": model.recorded["versions"]["fedn_jax"],
    }  # fmt: skip
    failed = []
    for video, name in zip(args.videos, _names(args.videos), strict=True):
        try:
            _detect_one(video, args.out / name, args.out / "cache", args.rate, model, detector, options, backbone,
                        threshold, about)  # fmt: skip
        except (UserError, OSError) as error:
            failed.append(video)
            print(f"fedn: {line(error)}", file=sys.stderr, flush=True)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(args.videos)} videos could not be used (see above); the others are done"
        )


def _preparation(args: argparse.Namespace, recorded: dict[str, Any]) -> tuple[Any, Any]:
    """(options of the preparation, backbone) that the run was trained with."""
    from data_prep import embed
    from data_prep.decode import Options
    from fedn_jax import schema

    made = recorded["metadata"]["preparation"]
    if not made:
        raise UserError(
            f"{args.run}: was trained on features that were given; detection needs a run on prepared videos"
        )
    backbone = embed.load_backbone(args.backbone or args.run / schema.BACKBONE)
    if backbone.sha != made["backbone"]:
        raise UserError(
            f"{args.run}: was trained on features of {recorded['metadata']['backbone']}; got other weights, "
            f"{backbone.description} ({backbone.sha[:16]}): give that file with --backbone"
        )
    return Options(args.aligner or made["aligner"], made["size"], round(recorded["fps"], 3)), backbone


def _names(videos: Sequence[Path]) -> list[str]:
    """A name per video for its files: its own, with its folder's where two are called alike."""
    from fedn_jax import files

    stems = [video.resolve().stem for video in videos]
    names = [
        files.file_name(stem) if stems.count(stem) == 1 else files.file_name(video.resolve().parent.name, stem)
        for video, stem in zip(videos, stems, strict=True)
    ]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"several videos would be written as {twice[0]}; give them in separate calls")
    return names


def _detect_one(video, out, cache, rate, model, detector, options, backbone, threshold, about) -> None:
    """Detects in one video, writes all files, prints what was found."""
    from data_prep import extract, frames, images
    from data_prep.sources import Source
    from fedn_jax import detect as detection
    from fedn_jax import exports, viewer

    if video.is_dir() and not images.is_folder(video):
        raise UserError(f"{video}: holds no numbered pictures; give video files, or folders of pictures")
    if options.aligner == "openface" and not video.is_dir():
        raise UserError(
            f"{video}: the run was trained on faces that OpenFace aligned; run OpenFace on the video and give its "
            "NAME_aligned folder, or try --aligner cascade"
        )
    source = Source(video, rate, options.aligner == "openface")
    got = extract.extract(source, options, backbone, cache, prepare.progress())
    facts = got.facts
    looked = detection.Frames(facts.source, facts.seconds, facts.valid > 0, facts.fps)
    result = detector(got.inputs, facts.valid)
    notes = {"this video": "; ".join(facts.notes)} if facts.notes else {}
    found = detection.present(result, model, video, looked, 1, threshold, about | notes)
    for suffix, write in exports.FORMATS.items():
        write(out.with_name(f"{out.name}.{suffix}"), found)
    pictures = frames.pick(got.faces, result.apex.tolist()) if found.expressions else []
    page = out.with_name(f"{out.name}.html")
    viewer.write(page, found, got.media, "video/mp4", pictures)
    lost = int((facts.valid == 0).sum())
    count = len(found.expressions)
    print(f"\n{video}: {count} expression{'s' * (count != 1)} in {found.seconds:.1f} s, {len(facts.valid)} frames"
          f"{f', {lost} of them without a face' if lost else ''}")  # fmt: skip
    for one in found.expressions:
        print(f"  {one.begin:>8.2f} to {one.end:>8.2f} s  {one.emotion:<14} {one.score:.2f}")
    print(f"  {page}")


def line(error: Exception) -> str:
    """An error as one line.

    Args:
      error: a UserError or an OSError.

    Returns:
      What is wrong, for the command line.
    """
    named = isinstance(error, OSError) and error.filename
    return f"{error.filename}: {error.strerror}" if named else str(error)


def compare(args: argparse.Namespace, overrides: Sequence[str] = ()) -> bool:
    """``fedn compare``: our network against an independent one.

    Args:
      args: peer, out, quick, broken, weights, rename, config.
      overrides: options for the configuration of ``weights``.

    Returns:
      Whether all differences lie within their tolerances.

    Raises:
      UserError: no such peer, PyTorch is missing, or weights that do not fit.
    """
    from importlib import util

    from fedn_jax import checks

    checks.one_of("--with", args.peer, ("torch",))
    if util.find_spec("torch") is None:
        raise UserError("--with torch needs PyTorch: pip install -e '.[torch]', or pip install torch")
    if args.weights is None:
        stray = [*overrides, *(["--config"] if args.config else []), *(["--rename"] if args.rename else [])]
        if stray:
            raise UserError(f"{stray[0]} belongs to --weights FILE; without it fixed cases are compared")
        return _compare_levels(args)
    return _compare_weights(args, overrides)


def _compare_levels(args: argparse.Namespace) -> bool:
    """All levels, then speeds."""
    from fedn_jax.parity import levels, measure, report, speed

    dataset = None
    if not (args.quick or args.broken):
        dataset = _load_data(_built_in(args.out / "built_in", subjects=4, videos=1, seconds=20.0))
    total = levels.count(dataset is not None, args.quick)
    bar, found = prepare.progress()(total=total, desc="compare", unit="case"), []
    for one in levels.run(dataset, args.broken, args.quick):
        found.append(one)
        bar.set_postfix_str(one.level)
        bar.update()
    bar.close()
    print(report.table(found))
    speeds, notes = ([], []) if args.quick or args.broken else speed.run()
    if speeds:
        print(f"\n{report.speeds_table(speeds, notes)}")
    title = "fedn_jax against fedn_jax.reference, an independent FEDN in PyTorch"
    if args.broken:
        title += f"; {args.broken} of fedn_jax is broken on purpose"
    print(f"\npage:    {report.write(args.out, found, speeds, notes, title)}")
    return measure.passed(found)


def _compare_weights(args: argparse.Namespace, overrides: Sequence[str]) -> bool:
    """The forward pass with somebody's weights."""
    from data_prep import weights as files
    from fedn_jax import config as configs
    from fedn_jax import convert
    from fedn_jax.parity import measure, report, weights

    for rule in args.rename:
        if "=" not in rule:
            raise UserError(f"--rename {rule}: expected REGEX=NEW, such as '^module[.]='")
    rules = dict(rule.rpartition("=")[::2] for rule in args.rename)
    config = load_config(args.config, ()) if args.config else configs.default()
    _override(config, overrides)
    try:
        found = list(weights.compare(convert.rename(files.read(args.weights), rules), config))
    except UserError as error:
        raise UserError(f"{args.weights}: {error}") from None
    print(report.table(found))
    print(f"\npage:    {report.write(args.out, found, [], [], f'The weights of {args.weights} in both networks')}")
    return measure.passed(found)


def _built_in(out: Path, subjects: int, videos: int, seconds: float, seed: int = 0, workers: int | None = None) -> Path:
    """Draws and prepares the built-in data set, as far as it is not there; returns the directory of its shards."""
    from fedn_jax import synthetic

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
    _built_in(out, args.subjects, args.videos, args.seconds, args.seed, args.workers)
    say(2, "training every leave-one-subject-out fold, in one program")
    train(argparse.Namespace(config=args.config, data=out / "data", out=out / "run"), overrides)
    say(3, "evaluating on the subjects that each fold has not seen")
    _evaluate_run(argparse.Namespace(run=out / "run", data=out / "data", json=None), [])
