"""The command ``fedn prepare features``: arrays and tables of other tools."""

import argparse
from pathlib import Path
from typing import Any

from data_prep.cli import shared
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count, progress_bar

EXAMPLES = (
    "fedn prepare features --features i3d --annotations expressions.csv \\\n      --frames-per-row 2 --out data",
    "fedn prepare features --features openface --annotations expressions.csv \\\n"
    "      --columns 'AU*_r,AU*_c,pose_R*' --out data",
    "fedn prepare features --features i3d --dataset casme2 \\\n"
    "      --annotations sheet.xlsx --frames-per-row 2 --partial --out data",
)


def add_arguments(sources: Any) -> None:
    """Adds ``features`` to the sources of ``prepare``.

    Args:
      sources: what ``ArgumentParser.add_subparsers`` returned.
    """
    title = "arrays (I3D) or tables (OpenFace, py-feat), and a table of expressions"
    one = shared.add(sources, "features", title, run, EXAMPLES)
    one.add_argument(
        "--features", type=Path, required=True, metavar="DIR", help="folder of .npz or .npy files, or tables"
    )
    one.add_argument(
        "--columns", metavar="A,B*,...", help="of tables with a column frame: those to read; * fits anything"
    )
    shared.add_table(one)
    one.add_argument("--dataset", metavar="NAME", help=f"the annotations are its sheet: {', '.join(shared.RELEASES)}")
    shared.add_choices(one, tuple(shared.RELEASES))
    shared.add_partial(one)
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the result")
    one.add_argument("--frames-per-row", type=int, help="of arrays: frames between two clips (I3D here: 2)")
    one.add_argument(
        "--fps", type=float,
        help="frames per second of the videos; tables are resampled to it (default: 30, or the data set's)",
    )  # fmt: skip
    one.add_argument("--rate", type=float, help="frames per second of tables that say of no frame when it was shown")


def run(args: argparse.Namespace) -> None:
    """Prepares arrays or tables.

    Args:
      args: parsed arguments.

    Raises:
      UserError: input that cannot be used.
    """
    from data_prep.media.frames import check_rate
    from data_prep.shards import feature_tables, features
    from data_prep.sheets import annotations
    from data_prep.sheets.datasets import DATASETS
    from fedn_jax.core.errors import one_of

    table, per_row = None, args.frames_per_row
    if args.columns:
        if per_row not in (None, 1):
            raise UserError(f"--frames-per-row must be 1 with --columns: tables have a row per frame; got {per_row}")
        if args.rate is not None:
            check_rate("--rate", args.rate)
        per_row = 1
    elif per_row is None:
        raise UserError("give --frames-per-row for arrays, or --columns for tables")
    suffixes = feature_tables.SUFFIXES if args.columns else features.SUFFIXES
    first, how, fps = args.first_frame, {}, args.fps or 30.0
    if args.dataset:
        dataset = DATASETS[one_of("--dataset", args.dataset, shared.RELEASES)]
        items, classes, how = shared.collected(args, args.dataset, args.features, suffixes)
        first, fps = 1, args.fps or (dataset.fps if args.columns and dataset.fps else dataset.rate)
    else:
        try:
            items, classes = annotations.read_folder(
                args.annotations,
                args.features,
                shared.classes_of(args),
                first,
                suffixes,
                args.out,
                subject=args.subject,
                folders=args.subject_folders,
                reading=shared.reading(args),
            )
        except UserError as error:
            raise UserError(f"{error}{_released(args.annotations[0])}") from None
    if args.columns:
        table = feature_tables.Wanted(tuple(name.strip() for name in args.columns.split(",")), fps, args.rate)
    number, written = features.prepare(
        items, args.out, classes, per_row, fps, first, progress=progress_bar(), table=table, labels=how
    )
    print(count(number, "video"))
    shared.say_written(args.out, written)


def _released(path: Path) -> str:
    """A hint, as the end of a message, if a table is the sheet of a released data set; else ""."""
    from data_prep.sheets import release_sheets
    from data_prep.sheets.datasets import DATASETS, check

    for name, dataset in DATASETS.items():
        try:
            labels = dataset.read(release_sheets.read(path), [], check.choose(name, {}), [])
        except UserError:
            continue
        if labels.rows:
            return f"; it is the sheet of {dataset.title}: add --dataset {name}"
    return ""
