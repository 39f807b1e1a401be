"""The command ``fedn agree``."""

import argparse
from pathlib import Path
from typing import Any

from data_prep.cli import shared
from fedn_jax.cli import command

EXAMPLES = (
    "fedn agree anna.csv ben.csv --videos videos --out agreement",
    "fedn agree coder1 coder2 coder3 --videos videos --tiers emotion",
    "fedn agree coder1.csv found/detections.csv --fps 30",
)
TABLES = ("agreement", "differences", "amounts", "persons")
FILES = (*(f"{name}.{kind}" for name in TABLES for kind in ("csv", "tex")), "agreement.json")


def add_arguments(commands: Any) -> None:
    """Adds ``agree`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "agree", "how well coders, or a coder and detections, agree", agree, EXAMPLES)
    one.add_argument(
        "coders", type=Path, nargs="+", metavar="CODER",
        help="what each coder made: a file of any format of `fedn convert`, or a folder of them",
    )  # fmt: skip
    one.add_argument("--videos", type=Path, metavar="PATH", help="the video, or the folder of the videos; gives kappa")
    one.add_argument("--fps", type=float, help="frames per second, instead of --videos")
    one.add_argument(
        "--first-frame", type=int, default=1, metavar="N", help="number of a video's first frame (default: 1)"
    )
    one.add_argument("--iou", type=float, default=0.5, help="lowest temporal IoU of a pair (default: %(default)s)")
    shared.add_elan(one)
    one.add_argument("--out", type=Path, metavar="DIR", help="directory for the tables (csv, LaTeX, JSON)")
    one.add_argument("--force", action="store_true", help="replace files even where somebody changed them")


def agree(args: argparse.Namespace) -> None:
    """``fedn agree``: agreement of coders, by emotion and person.

    Args:
      args: coders, videos, fps, first_frame, iou, tiers, label, out, force.

    Raises:
      UserError: files that cannot be read, or that have no video in common.
    """
    import json

    from fedn_jax.cli import convert
    from fedn_jax.core import files, written
    from fedn_jax.core.errors import UserError
    from fedn_jax.evaluation import coders
    from fedn_jax.formats import converters, exchange
    from fedn_jax.reports import agreement_tables, tables

    if args.videos and args.fps:
        raise UserError("--videos and --fps both say when frames are shown; give one of them")
    if args.out and not args.force:
        written.check(args.out, FILES)
    options = converters.Options(args.fps, first_frame=args.first_frame, tiers=tuple(args.tiers), label=args.label)
    read = {name: _read(path, options) for name, path in _names(args.coders).items()}
    known: dict = {}
    for table in read.values():
        known |= exchange.steady(table, options)
    if args.videos:
        known = convert.clocks_of(args.videos, exchange.merge_videos(list(read.values())), args.first_frame)[1]
    framed = {name: exchange.in_unit(table, "frames", known) for name, table in read.items()}
    result = coders.compare(coders.gather(framed, known), args.iou)
    print(agreement_tables.text(result), end="")
    if not args.out:
        return
    args.out.mkdir(parents=True, exist_ok=True)
    with files.wait_for_lock(args.out), written.replacing(args.out, "agreement", {}, FILES, args.force) as parts:
        for make in (
            agreement_tables.events,
            agreement_tables.times,
            agreement_tables.amounts,
            agreement_tables.persons,
        ):
            table = make(result)
            for kind in ("csv", "tex"):
                parts[f"{table.name}.{kind}"].write_text(tables.FORMATS[kind](table), encoding="utf-8")
        content = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
        parts["agreement.json"].write_text(content + "\n", encoding="utf-8")
    print(f"written: {args.out}")


def _names(paths: list[Path]) -> dict[str, Path]:
    """A short, different name for each coder."""
    from fedn_jax.core.errors import UserError

    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise UserError(f"{path} is given twice; give each coder once")
    short = [path.stem if path.is_file() else path.name for path in paths]
    names = short if len(set(short)) == len(paths) else [str(path) for path in paths]
    return dict(zip(names, paths, strict=True))


def _read(path: Path, options: Any) -> Any:
    """The table of one coder."""
    from fedn_jax.core.errors import UserError
    from fedn_jax.formats import exchange
    from fedn_jax.inference import results

    if not path.is_dir():
        return exchange.read(path, "annotations", options=options)
    if (path / results.ALL).exists():
        raise UserError(
            f"{path}: `fedn detect` wrote several files of every video there; give {path / results.ALL}, or a folder "
            "with the corrected files alone"
        )
    suffixes = (*exchange.BY_SUFFIX, ".csv")
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in suffixes and not one.name.startswith("."))
    if not found:
        raise UserError(f"{path}: holds no annotations; expected files that end in {' '.join(suffixes)}")
    return exchange.merge([exchange.read(one, "annotations", options=options) for one in found])
