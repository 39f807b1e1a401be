"""The command ``fedn summarise``."""

import argparse
from pathlib import Path
from typing import Any

from fedn_jax.cli import command

EXAMPLES = (
    "fedn summarise found/detections.csv --design design.csv --out summary",
    "fedn summarise found/*.csv --design design.csv --out summary",
)
TABLES, FIGURE = ("persons", "conditions", "tests"), "conditions"
FILES = (
    *(f"{name}.{kind}" for name in TABLES for kind in ("csv", "tex")),
    *(f"{FIGURE}.{kind}" for kind in ("svg", "png", "pdf")),
)


def add_arguments(commands: Any) -> None:
    """Adds ``summarise`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "summarise", "expressions per person and condition, and tests", summarise, EXAMPLES)
    one.add_argument(
        "tables", type=Path, nargs="+", metavar="FILE",
        help="detections.csv of `fedn detect`, and files of videos that were corrected: CSV with seconds, .eaf, .srt",
    )  # fmt: skip
    one.add_argument(
        "--design", type=Path, required=True, metavar="CSV",
        help="columns video,condition; subject, if the detections name none; start,end, for a part of a video",
    )  # fmt: skip
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for tables and figure")
    one.add_argument("--force", action="store_true", help="replace files even where somebody changed them")


def summarise(args: argparse.Namespace) -> None:
    """``fedn summarise``: expressions per person and condition, with intervals and paired tests.

    Args:
      args: tables, design, out, force.
    """
    from fedn_jax.core import files, written
    from fedn_jax.evaluation import summary
    from fedn_jax.formats import design
    from fedn_jax.reports import figures, summary_tables, tables

    if not args.force:
        written.check(args.out, FILES)
    videos = design.read(args.tables)
    parts = design.read_design(args.design, videos)
    cells = summary.persons(videos, parts)
    result = summary.compare(cells)
    print(summary_tables.text(result, design.left_out(parts, videos)), end="")
    made = [summary_tables.persons(cells), summary_tables.conditions(result), summary_tables.tests(result)]
    args.out.mkdir(parents=True, exist_ok=True)
    with files.wait_for_lock(args.out), written.replacing(args.out, "summary", {}, FILES, args.force) as targets:
        for table in made:
            for kind in ("csv", "tex"):
                targets[f"{table.name}.{kind}"].write_text(tables.FORMATS[kind](table), encoding="utf-8")
        with files.scratch(args.out / FIGURE) as folder:
            for path in figures.save(summary_tables.figure(result), folder / FIGURE):
                path.replace(targets[path.name])
    print(f"written: {args.out}; each emotion by itself is in its tables")
