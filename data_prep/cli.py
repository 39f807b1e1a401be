"""The commands ``fedn prepare`` and ``fedn verify``: arguments and printing."""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

from fedn_jax.checks import UserError


def add_arguments(commands: Any) -> None:
    """Adds ``prepare`` and ``verify`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned; its ``dest`` must be "command".
    """
    parser = commands.add_parser("prepare", help="videos or features with annotations -> shards; resumable")
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)

    one = sources.add_parser("folder", help="a folder of videos and a CSV file")
    one.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of videos, sub-folders too")
    _common(one)
    one.add_argument("--backbone", default="slim", help="slim, a .safetensors file, or random (default: slim)")
    one.add_argument("--aligner", default="cascade", help="cascade, or none for aligned videos (default: cascade)")
    one.add_argument("--size", type=int, help="side of the aligned face in pixels (default: the backbone's)")
    one.add_argument("--fps", type=float, help="resample to this rate (default: the videos' own frames)")
    one.add_argument("--workers", type=int, help="processes that decode and align (default: one per core)")

    one = sources.add_parser("features", help="a folder of .npz clip features (I3D ...) and a CSV file")
    one.add_argument("--features", type=Path, required=True, metavar="DIR", help="folder of .npz files")
    _common(one)
    one.add_argument("--frames-per-row", type=int, required=True, help="frames between two clips (I3D here: 2)")
    one.add_argument("--fps", type=float, default=30.0, help="frames per second of the videos (default: 30)")

    one = commands.add_parser("verify", help="check prepared data, count what is in it")
    one.add_argument("directory", type=Path, help="the --out of `fedn prepare`")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="CSV",
        help="columns subject,video,onset,offset,emotion; optional apex, kind; inclusive frame numbers",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the result")
    parser.add_argument("--classes", metavar="A,B,...", help="the emotions in order (default: those found, sorted)")
    parser.add_argument("--first-frame", type=int, default=1, help="number of a video's first frame (default: 1)")


def run(args: argparse.Namespace) -> None:
    """Runs ``prepare`` or ``verify``.

    Args:
      args: parsed arguments.

    Raises:
      UserError: input that cannot be used.
    """
    if args.command == "verify":
        from data_prep import verify

        print("\n".join(verify.lines(verify.verify(args.directory))))
        return
    {"folder": _folder, "features": _features}[args.source](args)


def progress() -> Any:
    """Progress bars: on a terminal they move, in a log they say now and then how far it is.

    Returns:
      tqdm with settings.
    """
    from tqdm import tqdm

    return functools.partial(tqdm, mininterval=0.2 if sys.stderr.isatty() else 10, dynamic_ncols=True)


def _classes(args: argparse.Namespace) -> list[str] | None:
    return [name.strip() for name in args.classes.split(",")] if args.classes else None


def _folder(args: argparse.Namespace) -> None:
    from data_prep import annotations, embed, videos

    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers must be at least 1; got {args.workers}")
    sheet = annotations.read_folder(args.annotations, args.videos, _classes(args), args.first_frame, skip=args.out)
    backbone = embed.load_backbone(args.backbone)
    options = videos.Options(args.aligner, args.size or backbone.size, args.fps)
    done, written = videos.prepare(
        sheet.items, args.out, sheet.classes, backbone, options, args.first_frame, workers=args.workers,
        progress=progress(),
    )  # fmt: skip
    frames, gaps = sum(one.num_frames for one in done), [one for one in done if one.invalid]
    for one in gaps:
        share = 100 * one.invalid / one.num_frames
        print(f"no face in {one.invalid} of {one.num_frames} frames ({share:.1f} %): {one.subject}/{one.video}")
    for one in done:
        if one.uneven and args.fps is None:
            print(
                f"uneven frame rate: {one.subject}/{one.video}; frames count as they come, --fps 30 would even it out"
            )
    kept = sum(one.cached for one in done)
    lost = sum(one.invalid for one in gaps)
    print(f"{len(done)} videos, {frames} frames, {lost} without a face; {kept} from the cache")
    _finish(args.out, written)


def _features(args: argparse.Namespace) -> None:
    from data_prep import annotations, features

    sheet = annotations.read_folder(
        args.annotations, args.features, _classes(args), args.first_frame, features.SUFFIXES, args.out
    )
    count, written = features.prepare(
        sheet.items, args.out, sheet.classes, args.frames_per_row, args.fps, args.first_frame, progress=progress()
    )
    print(f"{count} videos")
    _finish(args.out, written)


def _finish(out: Path, written: bool) -> None:
    print(f"{'shards written' if written else 'shards are up to date, nothing to do'}: {out}")
