"""The commands that train many runs: ``fedn reproduce``, ``fedn sweep``. Everything heavy is imported inside them."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import command, config_files, own_code, recognise, train
from fedn_jax.core import errors
from fedn_jax.core.text import progress_bar

TABLES = {"table2": 2, "table3": 3, "table4": 4}  # of the FEDN paper
FESNET_TABLES = {"fesnet-table3": 3, "fesnet-table4": 4}
SWEEP_EXAMPLES = (
    "fedn sweep --config sweep_demo --data demo/data --out sweep",
    "fedn train --config sweep/best.py --data demo/data --out run",
)
REPRODUCE_EXAMPLES = (
    "fedn reproduce table3 --data demo/data --out tables",
    "fedn reproduce table4 --config casme2 --data data --out tables --seeds 5",
    "fedn reproduce fesnet-table4 --data frames --out tables --seeds 1",
)


def add_sweep(commands: Any) -> None:
    """Adds ``sweep`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "sweep", "search for better options, judged on inner folds", sweep, SWEEP_EXAMPLES, options=True
    )
    one.add_argument("--config", required=True, metavar="SPEC", help=f"one with SPACE and SWEEP: {config_files.SPEC}")
    command.add_directories(one, "directory for the study, the page and best.py")
    one.add_argument(
        "--fold", metavar="NAME", help="nested: only the inner fold of this outer one judges (default: all of them)"
    )
    one.add_argument(
        "--storage", metavar="URL", help="a database, e.g. sqlite:///FILE (default: a journal file in --out)"
    )


def add_reproduce(commands: Any) -> None:
    """Adds ``reproduce`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(
        commands, "reproduce", "a table of the paper, several seeds, beside its numbers", reproduce,
        REPRODUCE_EXAMPLES, options=True,
    )  # fmt: skip
    one.add_argument("table", metavar="TABLE", help="table2, table3, table4, fesnet-table3 or fesnet-table4")
    command.add_directories(one, "directory for runs, tables and pages; tables may share it")
    one.add_argument(
        "--config", metavar="SPEC",
        help="the rows that are trained: NAME of `fedn configs`, or FILE.py (default: demo_tables or demo_fesnet)",
    )  # fmt: skip
    one.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each row (default: %(default)s)")


def use_all_cores() -> None:
    """Makes every core of a CPU a device, so that folds are spread over them; accelerators are not touched.

    It has no effect once JAX has started, and none where the user has set XLA_FLAGS.
    """
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={os.cpu_count()}")


def reproduce(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn reproduce``: a table of the paper, all rows and seeds, with ours beside it.

    Args:
      args: table, config, data, out, seeds.
      overrides: options for the configuration of every row.

    Raises:
      UserError: no such table, or a configuration without rows of it.
    """
    use_all_cores()
    from fedn_jax.cascade.recognisers import RECOGNISERS
    from fedn_jax.data import problem
    from fedn_jax.experiments import paper_tables
    from fedn_jax.reports import reproduce_page, tables

    errors.one_of("table", args.table, TABLES | FESNET_TABLES)
    of_fesnet = args.table in FESNET_TABLES
    args.config = args.config or ("demo_fesnet" if of_fesnet else "demo_tables")
    if config_files.split(args.config)[1]:
        raise errors.UserError(f"--config {args.config}: all rows of the table are trained; give it without a row")
    config = config_files.load(args.config, overrides)  # a mistake shows before the data are read
    names = config_files.rows(args.config)
    dataset = problem.load(config, args.data)
    if of_fesnet:
        _reproduce_fesnet(args, names, overrides, dataset)
        return
    number = TABLES[args.table]
    several = paper_tables.rows(
        number, names, lambda row: config_files.load(f"{args.config}:{row}", overrides),
        int(dataset.metadata["frames_per_row"]), bool(dataset.metadata.get("frames")),
    )  # fmt: skip
    recognisers = [row.config.cascade.recogniser for row in several if not row.obstacle]
    needs_flow = any(RECOGNISERS[name].frames for name in recognisers if name)
    flow = recognise.flow_of(args.data, dataset) if needs_flow else None
    backbone = _backbone(args.data)
    result = paper_tables.run(args.out, number, several, args.seeds, dataset, backbone, progress_bar(), flow)
    page = reproduce_page.write(args.out, result)
    for one in reproduce_page.result_tables(result):
        print(tables.to_text(one))
    for row in several:
        if not row.obstacle:
            for run in paper_tables.runs_of(args.out, row, args.seeds):
                train.keep_backbone(args.data, run)
    print(f"page:    {page}\nnumbers: {args.out / f'table{number}.json'}")


def _reproduce_fesnet(args: argparse.Namespace, names: Any, overrides: Sequence[str], dataset: Any) -> None:
    """A table of the FESNet paper."""
    from fedn_jax.experiments import fesnet_tables
    from fedn_jax.reports import fesnet_page, tables

    number = FESNET_TABLES[args.table]
    several = fesnet_tables.rows(
        number, list(names), lambda row: config_files.load(f"{args.config}:{row}" if row else args.config, overrides)
    )
    result = fesnet_tables.run(args.out, number, several, args.seeds, dataset, progress_bar())
    page = fesnet_page.write(args.out, result)
    print(tables.to_text(fesnet_page.result_table(result)))
    print(f"page:    {page}\nnumbers: {args.out / f'fesnet-table{number}.json'}")


def _backbone(source: Path) -> Any:
    """What one frame costs in the ResNet18 of some data; None for features of another kind."""
    from data_prep.backbones import embed, kinds
    from fedn_jax.data import shards
    from fedn_jax.experiments import flops

    weights = shards.backbone_file(source)
    if weights is None:
        return None
    known = kinds.load(weights)
    return flops.backbone(known.widths, known.size) if isinstance(known, embed.Backbone) else None


def sweep(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """``fedn sweep``: a search for options, judged on inner folds; started again, or twice, it goes on.

    Args:
      args: config, data, out, storage, fold.
      overrides: options for the configuration that trials change.

    Raises:
      UserError: a configuration without a search space, or one that does not fit the study in ``args.out``.
    """
    use_all_cores()
    from importlib.util import decode_source

    from fedn_jax.data import problem
    from fedn_jax.experiments import search_space, sweep, sweep_results
    from fedn_jax.reports import sweep_page, tables

    with own_code.noticing() as added:
        config = config_files.load(args.config, overrides)
    module = config_files.module(config_files.split(args.config)[0])
    for name in ("SPACE", "SWEEP"):
        if not hasattr(module, name):
            raise errors.UserError(
                f"--config {args.config}: has no {name}; `fedn configs sweep_demo` names a file that has"
            )
    with config_files.running(args.config, Path(module.__file__)):
        search_space.check(module.SPACE, module.SWEEP, config)
    settings = module.SWEEP._replace(folds=(args.fold,)) if args.fold else module.SWEEP
    own = decode_source(config_files.read(config_files.split(args.config)[0])) if added else ""
    search = sweep.Search(args.out, config, module.SPACE, settings, args.config, own)
    study = sweep.run(search, problem.load(config, args.data), args.storage, progress_bar())
    found = sweep_results.summary(study, search)
    page = sweep_page.write(args.out, found)
    print(tables.to_text(sweep_page.table(found)))
    if found["best"] is not None:
        print(f"best:    {args.out / 'best.py'}; next: fedn train --config {args.out / 'best.py'} --data {args.data}")
    print(f"page:    {page}")
