"""The command ``fedn``: puts the commands together; exit codes."""

import argparse
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from data_prep import cli as prepare
from fedn_jax.cli import (
    agree,
    config_files,
    configs,
    convert,
    demo,
    detect,
    evaluate,
    experiments,
    fetch,
    learning_curve,
    parity,
    plan,
    recognise,
    report,
    summarise,
    train,
)
from fedn_jax.core import errors, files, processes, text
from fedn_jax.core.errors import UserError

EXIT_USER = 2
CACHE = "JAX_COMPILATION_CACHE_DIR"  # where JAX keeps compiled programs; empty: nowhere
DEVICES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")  # what JAX shall run on, such as cuda
COMPUTE = {  # with JAX
    "demo", "prepare", "train-backbone", "train", "evaluate", "recognise", "report", "detect", "agree", "summarise",
    "sweep", "learning-curve", "reproduce", "parity",
}  # fmt: skip
IN_ORDER_OF_WORK = (
    demo.add_arguments, fetch.add_arguments, prepare.add_arguments, configs.add_arguments, plan.add_arguments,
    train.add_arguments, evaluate.add_arguments, recognise.add_arguments, report.add_arguments, detect.add_arguments,
    convert.add_arguments, agree.add_arguments, summarise.add_arguments, experiments.add_sweep,
    learning_curve.add_arguments, experiments.add_reproduce, parity.add_arguments,
)  # fmt: skip
EXAMPLES = """\
examples:
  fedn demo                                              everything once
  fedn prepare folder --videos videos --annotations expressions.csv --out data
  fedn train --config own_data --data data --out run
  fedn evaluate run --data data
  fedn detect new.mp4 --run run --out found
  fedn COMMAND --help                                    more about a command
"""


class _Version(argparse.Action):
    """Prints the version; it is looked up only when somebody asks."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        print(f"fedn_jax {metadata.version('fedn_jax')}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """The command line.

    Returns:
      The parser of ``fedn``.
    """
    parser = argparse.ArgumentParser(
        prog="fedn", description="Facial expression detection in long videos.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add_arguments in IN_ORDER_OF_WORK:
        add_arguments(commands)
    return parser


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
        directory = files.user_cache(environment)
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only, or a user without a home
        return
    if os.access(directory, os.W_OK):
        environment[CACHE] = str(directory)


def check_devices(environment: Mapping[str, str]) -> None:
    """Checks that there is a device of the kind that the environment asks for.

    Args:
      environment: of the process.

    Raises:
      UserError: there is none; JAX itself may say so with a failed assertion, and after hours of other work.
    """
    asked = {name: environment[name] for name in DEVICES if environment.get(name) not in (None, "", "cpu")}
    if not asked:
        return
    import jax

    try:
        jax.local_devices()
    except Exception as error:  # RuntimeError or AssertionError; other versions may differ
        reason = text.excerpt(str(error).partition("\n")[0]) or type(error).__name__
        settings = " ".join(f"{name}={value}" for name, value in asked.items())
        raise UserError(
            f"{settings}: JAX finds no such device ({reason}); leave the variable unset to use what there is, or set "
            "it to cpu"
        ) from error


def say_once() -> None:
    """Leaves an error of checkpoints to the one line of ``main``.

    Orbax logs it too, with its traceback; and tensorstore's threads, which end later, complain of Orbax's event loop.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # where Orbax logs
    if getattr(sys.unraisablehook, "func", None) is not _unraisable:
        sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)


def _unraisable(before: Callable[[Any], Any], error: Any) -> None:
    if str(error.exc_value) != "Event loop is closed":
        before(error)


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
    keep_compiled(os.environ)
    if rest and not args.takes_options:
        raise UserError(f"unknown argument {rest[0]}; see fedn {args.command} --help")
    if args.command in COMPUTE:
        check_devices(os.environ)
    try:
        return args.function(args, *([rest] if args.takes_options else [])) or 0
    except Exception as error:
        line, spec = errors.line(error, getattr(args, "out", None)), getattr(args, "config", None)
        line = line or (config_files.blame(spec, error) if spec else None)
        if line is None or isinstance(error, (UserError, BrokenPipeError)):
            raise
        raise UserError(line) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command ``fedn``.

    Args:
      argv: the arguments, without the program's name; None takes those of the process.

    Returns:
      Exit code: 0, 1 for a comparison that failed, 2 for input that cannot be used (said in one line), or 128 and the
      number of the signal that stopped it.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in argv
    text.print_anything(sys.stdout, sys.stderr)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("fedn_jax").setLevel(logging.INFO)
    if not debug:
        say_once()
    try:
        with processes.stoppable():
            return run([word for word in argv if word != "--debug"])
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        if debug:
            raise
        text.close_bars()
        print(f"fedn: {text.printable(str(error))}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt as stopped:
        text.close_bars()
        print("fedn: stopped; start the same command again to go on", file=sys.stderr)
        return 128 + (stopped.args[0] if isinstance(stopped, processes.Stopped) else signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
