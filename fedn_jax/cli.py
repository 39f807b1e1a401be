"""The command ``fedn``: wiring, printing, exit codes. Everything heavy is imported inside the commands."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep import cli as prepare
from fedn_jax.checks import UserError
from fedn_jax.types import Config

EXIT_USER = 2
DEMO_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "demo.py"
OVERRIDES = "--config.KEY=VALUE changes one option, e.g. --config.train.epochs=3"


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
        config = _config_module(path).get_config(row)
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


def _config_module(path: str) -> Any:
    """The module that a configuration file is."""
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
    from fedn_jax import pipeline

    config = load_config(args.config, overrides)
    pipeline.fit(args.out, config, _load_data(args.data), prepare.progress())
    print(f"trained: {args.out}; next: fedn evaluate {args.out} --data {args.data}")


def evaluate(args: argparse.Namespace, overrides: Sequence[str] = ()) -> None:
    """``fedn evaluate``: numbers and a page, from the raw outputs that training saved.

    Args:
      args: run, data.
      overrides: options of the sections predict and evaluate, other than those of the training.
    """
    from data_prep import frames
    from fedn_jax import config as configs
    from fedn_jax import files, pipeline, report, runs

    dataset = _load_data(args.data)
    config = runs.load_config(args.run)
    _override(config, overrides, ("predict", "evaluate"))
    results = pipeline.evaluate(args.run, configs.validate(config), dataset, prepare.progress())

    def thumbnail(subject: str, video: str, indices: list[int]) -> Any:
        path = args.data / "previews" / f"{files.file_name(subject, video)}.mp4"
        return frames.pick(path, indices) if path.exists() else None

    page = pipeline.write_report(args.run, results, thumbnail)
    print(report.table(results.metrics, results.metrics["baseline"]))
    print(f"\nnumbers: {args.run / 'metrics.json'}\npage:    {page}\nfound:   {args.run / 'detections.csv'}")


def demo(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn demo``: the whole way on built-in videos; what is done already is kept.

    Args:
      args: out, subjects, videos, seconds, seed, workers, config.
      overrides: options for the configuration.
    """
    from fedn_jax import synthetic

    load_config(args.config, overrides)  # a mistake in the options shows before the work begins
    out = args.out

    def say(step: int, text: str) -> None:
        print(f"[{step}/4] {text}", flush=True)

    say(1, "drawing videos of faces with known expressions")
    synthetic.write(out / "source", args.subjects, args.videos, args.seconds, seed=args.seed, workers=args.workers)
    say(2, "preparing: decode, align, embed, write shards")
    source = out / "source"
    command = ["prepare", "folder", "--videos", source / "videos", "--annotations", source / "annotations.csv"]
    command += ["--classes", ",".join(synthetic.CLASSES), "--out", out / "data"]
    if args.workers:
        command += ["--workers", args.workers]
    prepare.run(make_parser().parse_args([str(word) for word in command]))
    say(3, "training every leave-one-subject-out fold, in one program")
    train(argparse.Namespace(config=args.config, data=out / "data", out=out / "run"), overrides)
    say(4, "evaluating on the subjects that each fold has not seen")
    evaluate(argparse.Namespace(run=out / "run", data=out / "data"))


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
    return parser


def run(argv: Sequence[str]) -> None:
    """Runs one command.

    Args:
      argv: the arguments, without the program's name.

    Raises:
      UserError: input or options that cannot be used.
    """
    args, rest = make_parser().parse_known_args(list(argv))
    configurable = {"train": train, "demo": demo, "evaluate": evaluate}
    if args.command in configurable:
        configurable[args.command](args, rest)
    elif rest:
        raise UserError(f"unknown argument {rest[0]}; see fedn {args.command} --help")
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
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
        print(f"fedn: {text}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("fedn: stopped; start the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
