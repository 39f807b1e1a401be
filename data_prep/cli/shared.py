"""What the commands of preparation share: arguments, and a released data set as a list of videos."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedn_jax.core.errors import UserError

# Data sets whose releases are read as they are, and the choices that their readers offer; the readers themselves
# (data_prep.sheets.datasets.DATASETS, the first choice is the default) are not imported for --help.
RELEASES = {
    "casme2": ("CAS(ME)^2", {"labels": "annotated or self-reported", "zero-offset": "apex, apex+20, mirror or drop"}),
    "casme3": ("CAS(ME)^3, part A", {}),
    "samm": ("SAMM Long Videos", {"zero-onset": "first or drop"}),
}


def add(
    commands: Any, name: str, title: str, function: Callable[..., Any], examples: Sequence[str],
    more: Sequence[str] = (),
) -> argparse.ArgumentParser:  # fmt: skip
    """Adds a command, or a source of ``prepare``.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
      name: what the user types.
      title: what it does, in one line of the help above it.
      function: does it; called with the arguments. It returns None, or an exit code.
      examples: lines for the end of the help.
      more: lines below them.

    Returns:
      The parser, for arguments.
    """
    lines = ["examples:" if len(examples) > 1 else "example:", *(f"  {one}" for one in examples), *more]
    parser = commands.add_parser(
        name, help=title, description=f"{title[0].upper()}{title[1:]}.", epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(function=function, takes_options=False)
    return parser


def add_partial(parser: argparse.ArgumentParser) -> None:
    """Adds ``--partial``.

    Args:
      parser: of the command.
    """
    parser.add_argument(
        "--partial", action="store_true",
        help="of a released data set: go on without videos that are missing, and cut expressions at their video's end",
    )  # fmt: skip


def add_sheet(parser: argparse.ArgumentParser, names: tuple[str, ...], required: bool) -> None:
    """Adds the arguments of a released sheet.

    Args:
      parser: of the command.
      names: of the data sets that it may be of.
      required: it must be given.
    """
    parser.add_argument(
        "--annotations", type=Path, required=required, metavar="FILE", help="the released sheet: .xlsx, .xls or .csv"
    )
    add_choices(parser, names)


def add_choices(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    """Adds how released sheets may be read.

    Args:
      parser: of the command.
      names: of the data sets.
    """
    if "casme3" in names:
        parser.add_argument(
            "--emotions", type=Path, nargs="+", default=[], metavar="FILE",
            help="casme3: sheets with an emotion per expression; without one, spotting only",
        )  # fmt: skip
    for name in names:
        for option, choices in RELEASES[name][1].items():
            parser.add_argument(f"--{option}", metavar="CHOICE", help=f"{name}: {choices} (default: the first)")


def add_videos(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of everything that begins with pictures.

    Args:
      parser: of the command.
    """
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the result")
    parser.add_argument(
        "--backbone",
        help="blendshapes (real faces; `fedn fetch face-landmarker`), a .safetensors file, slim (drawn faces only), "
        "random for untrained weights, or several joined by + (default: slim, with a warning)",
    )
    parser.add_argument(
        "--aligner",
        help="cascade; landmarker; openface for a folder that OpenFace wrote; none for aligned faces (default: "
        "landmarker with blendshapes, else cascade)",
    )  # fmt: skip
    parser.add_argument(
        "--originals",
        type=Path,
        metavar="DIR",
        help="openface: the pictures that it was given, unless video files",
    )
    parser.add_argument(
        "--frames", action="store_true", help="keep the aligned frames, lossless, for models that read pictures"
    )
    parser.add_argument("--size", type=int, help="side of the aligned face in pixels (default: the backbone's)")
    parser.add_argument(
        "--fps", type=float, help="resample to this rate; 0: keep all frames (default: 30 for samm, else keep)"
    )
    parser.add_argument("--workers", type=int, help="processes that decode and align (default: one per core)")
    parser.add_argument(
        "--runner", metavar="NAME", help="an Apache Beam runner instead, such as DaskRunner for several machines"
    )
    parser.add_argument(
        "--beam", nargs="+", default=[], metavar="OPTION", help="options of the runner, without their leading --"
    )


def add_table(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of a table of expressions.

    Args:
      parser: of the command.
    """
    parser.add_argument(
        "--annotations", type=Path, nargs="+", required=True, metavar="FILE",
        help="CSV or Excel with columns subject,video,onset,offset,emotion, optional apex, kind; inclusive frame "
        "numbers, or times such as 0:12.5; or ELAN documents (.eaf), subtitles, events.tsv",
    )  # fmt: skip
    add_elan(parser)
    add_subject(parser)
    parser.add_argument("--classes", metavar="A,B,...", help="the emotions in order (default: those found, sorted)")
    parser.add_argument("--first-frame", type=int, default=1, help="number of a video's first frame (default: 1)")


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say who is seen.

    Args:
      parser: of a command.
    """
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--subject", metavar="NAME", default="", help="who is seen, where no table says it")
    who.add_argument(
        "--subject-folders", action="store_true",
        help="who is seen there is the name of the folder that the video lies in",
    )  # fmt: skip


def add_elan(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how an ELAN document is read.

    Args:
      parser: of a command.
    """
    parser.add_argument("--tiers", nargs="+", default=[], metavar="NAME", help="ELAN: tiers that hold expressions")
    parser.add_argument(
        "--label", default="value",
        help="ELAN: the emotion is the value of an annotation, or the name of its tier (default: %(default)s)",
    )  # fmt: skip


def reading(args: argparse.Namespace) -> Any:
    """How files of annotations are read.

    Args:
      args: parsed arguments.

    Returns:
      ``converters.Options``.
    """
    from fedn_jax.formats import converters

    return converters.Options(tiers=tuple(args.tiers), label=args.label)


def options_of(args: argparse.Namespace, name: str) -> dict[str, str]:
    """The choices of a released data set.

    Args:
      args: parsed arguments.
      name: of the data set.

    Returns:
      option -> choice.
    """
    from data_prep.sheets.datasets import check

    return check.choose(name, {key: getattr(args, key.replace("-", "_")) for key in RELEASES[name][1]})


def collected(
    args: argparse.Namespace, name: str, directory: Path, suffixes: Sequence[str], originals: Path | None = None,
    openface: bool = False,
) -> tuple[list, list[str], dict[str, Any]]:  # fmt: skip
    """A released data set; prints what is odd.

    Args:
      args: parsed arguments.
      name: of the data set.
      directory: its videos or features.
      suffixes: of these files.
      originals: the pictures that OpenFace was given.
      openface: ``directory`` is OpenFace's output.

    Returns:
      Items, classes, and how the sheet was read.

    Raises:
      UserError: all problems of the sheet and the folder.
    """
    from data_prep.sheets.datasets import DATASETS, check, collect
    from data_prep.sheets.datasets.collect import count

    options, emotions = options_of(args, name), getattr(args, "emotions", [])
    sheets = args.annotations if isinstance(args.annotations, list) else [args.annotations]
    if len(sheets) != 1:
        raise UserError(f"--annotations must be one sheet of {DATASETS[name].title}; got {len(sheets)}")
    labels, problems = check.read(name, sheets[0], emotions, options)
    collection = collect.collect(
        DATASETS[name], labels, directory, originals, openface, args.partial, args.out, problems, suffixes
    )
    notes = [note._asdict() for note in labels.notes]
    print("\n".join([*check.published(check.compare(name, options, count(labels.rows))), *check.noted(notes)]))
    print("\n".join(["", *collection.remarks]).rstrip())
    how = {"sheet": sheets[0].name, "emotions": [path.name for path in emotions], "options": options}
    return collection.items, labels.classes, how | {"notes": notes, "remarks": collection.remarks}


def say_written(out: Path, written: bool) -> None:
    """Prints where the shards are.

    Args:
      out: directory of the result.
      written: they were written; False: they were there already.
    """
    print(f"{'shards written' if written else 'shards are up to date, nothing to do'}: {out}; next: fedn verify {out}")


def classes_of(args: argparse.Namespace) -> list[str] | None:
    """The emotions that the user named.

    Args:
      args: parsed arguments.

    Returns:
      In order; None if none were named.
    """
    return [name.strip() for name in args.classes.split(",")] if args.classes else None
