"""The command ``fedn compare``."""

import argparse
from collections.abc import Sequence

from fedn_jax.cli import runs
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import progress_bar


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

    from fedn_jax.core import errors

    errors.one_of("--with", args.peer, ("torch",))
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
    from fedn_jax.data import shards
    from fedn_jax.reports import tables
    from fedn_jax.torch_parity import levels, measure, report, speed

    dataset = None
    if not (args.quick or args.broken):
        dataset = shards.load(runs.built_in(args.out / "built_in", subjects=4, videos=1, seconds=20.0))
    total = levels.count(dataset is not None, args.quick)
    bar, found = progress_bar()(total=total, desc="compare", unit="case"), []
    for one in levels.run(dataset, args.broken, args.quick):
        found.append(one)
        bar.set_postfix_str(one.level)
        bar.update()
    bar.close()
    print(tables.to_text(report.levels_table(found)))
    speeds, notes = ([], []) if args.quick or args.broken else speed.run()
    if speeds:
        print(tables.to_text(report.speeds_table(speeds, notes)))
    title = "fedn_jax against fedn_jax.reference, an independent FEDN in PyTorch"
    if args.broken:
        title += f"; {args.broken} of fedn_jax is broken on purpose"
    print(f"\npage:    {report.write(args.out, found, speeds, notes, title)}")
    return measure.passed(found)


def _compare_weights(args: argparse.Namespace, overrides: Sequence[str]) -> bool:
    """The forward pass with somebody's weights."""
    from data_prep.backbones import weights as files
    from fedn_jax.core import config as configs
    from fedn_jax.models import torch_weights
    from fedn_jax.reports import tables
    from fedn_jax.torch_parity import measure, report, weights

    for rule in args.rename:
        if "=" not in rule:
            raise UserError(f"--rename {rule}: expected REGEX=NEW, such as '^module[.]='")
    rules = dict(rule.rpartition("=")[::2] for rule in args.rename)
    config = runs.load_config(args.config, ()) if args.config else configs.default()
    runs.override(config, overrides)
    try:
        found = list(weights.compare(torch_weights.rename(files.read(args.weights), rules), config))
    except UserError as error:
        raise UserError(f"{args.weights}: {error}") from None
    print(tables.to_text(report.levels_table(found)))
    print(f"\npage:    {report.write(args.out, found, [], [], f'The weights of {args.weights} in both networks')}")
    return measure.passed(found)
