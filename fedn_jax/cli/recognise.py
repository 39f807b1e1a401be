"""The command ``fedn recognise``: a recogniser behind the spotter of a run."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import command, config_files, own_code, run_results
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import progress_bar

EXAMPLES = (
    "fedn recognise run --data data --with ceflnet --out run+ceflnet",
    "fedn report run run+ceflnet --out comparison",
)


def add_arguments(commands: Any) -> None:
    """Adds ``recognise`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "recognise", "train a recogniser that names what a run has spotted", recognise, EXAMPLES, options=True
    )
    one.add_argument("run", type=Path, metavar="RUN", help=f"{command.RUN}: the spotter")
    one.add_argument(
        "--with",
        dest="recogniser",
        required=True,
        metavar="NAME",
        help="the recogniser: ceflnet, str, str-joint or frozen-features",
    )
    one.add_argument(
        "--config", metavar="FILE",
        help=f"{own_code.HELP}; of a run without own code: a file that adds a recogniser",
    )  # fmt: skip
    command.add_directories(one, "directory of the cascade, which is a run for `fedn report`")
    one.add_argument("--force", action="store_true", help="replace files even where somebody changed them")


def recognise(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn recognise``: trains a recogniser per fold and names the intervals of the run; started again, it goes on.

    Args:
      args: run, recogniser, config, data, out, force.
      overrides: options of the section train, of the recogniser.

    Raises:
      UserError: ``out`` is the run, or holds files that a person changed.
    """
    from fedn_jax.cascade import recognise as cascade
    from fedn_jax.cascade.recognisers import RECOGNISERS
    from fedn_jax.core import written
    from fedn_jax.data import shards
    from fedn_jax.engine import run_dir
    from fedn_jax.reports import run_tables

    if args.out.resolve() == args.run.resolve():
        raise UserError(f"--out {args.out}: is the run itself, whose own numbers stay; choose another directory")
    with own_code.noticing() as added:
        if args.config and not (args.run / own_code.RECORD).exists():
            config_files.module(args.config)
        else:
            own_code.admit(args.run, args.config)
    config = cascade.training_config(run_dir.load_config(args.run), args.recogniser)
    config_files.override(config, overrides, (cascade.SECTION,))
    if not args.force:
        written.check(args.out, run_results.FILES)
    own_code.keep(args.out, args.config or "", added)
    dataset = shards.load(args.data)
    flow = flow_of(args.data, dataset) if RECOGNISERS[args.recogniser].frames else None
    results = cascade.recognise(args.run, args.recogniser, config, dataset, progress_bar(), args.out, flow)
    training = args.out / cascade.TRAINING
    run_results.save_evaluation(results, args.out, training, args.data, args.force, own=True)
    print(f"Emotions: {args.recogniser}. Intervals, scores and thresholds: {args.run}.\n")
    print(f"{run_tables.run_text(results.metrics)}\n\n{run_results.lines(args.out)}")
    print(f"next:    fedn report {args.run} {args.out} --out comparison")


def flow_of(data: Path, dataset: Any) -> Any:
    """Optical flow between frames of the data, kept beside them.

    Args:
      data: directory made by `fedn prepare`.
      dataset: what it holds.

    Returns:
      A ``samplers.Flow``.

    Raises:
      UserError: data without frames, or faces of an aligner that does not say where the eyes are.
    """
    from data_prep.faces import flow
    from fedn_jax.core import schema
    from fedn_jax.data import shards

    frames = shards.load(data, side=0).store.inputs
    cache = schema.find(data).parent / f"flow-{dataset.metadata['signature']}"
    return flow.make_samples(frames, dataset.metadata["preparation"]["aligner"], cache, progress_bar())
