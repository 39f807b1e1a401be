"""The command ``fedn convert``."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.cli import shared
from fedn_jax.cli import command

EXAMPLES = (
    "fedn convert anna.eaf labels.csv --videos anna.mp4",
    "fedn convert coder1/*.eaf coder1.csv --videos videos --tiers emotion",
    "fedn convert labels.csv documents --to elan --videos videos",
    "fedn convert found.csv found.json --to activitynet --fps 30",
)


def add_arguments(commands: Any) -> None:
    """Adds ``convert`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "convert", "annotations or detections in another format", convert, EXAMPLES)
    one.add_argument("inputs", type=Path, nargs="+", metavar="IN", help="the file, or several of one format")
    one.add_argument(
        "output", type=Path, metavar="OUT",
        help="the new file; of elan, srt, vtt and bids, which hold one video, also a directory",
    )  # fmt: skip
    formats = "csv, excel, elan, srt, vtt, bids, strs, megc or activitynet"
    one.add_argument("--from", dest="source", metavar="FORMAT", help=f"{formats} (default: by the ending, else csv)")
    one.add_argument("--to", dest="target", metavar="FORMAT", help="the same")
    one.add_argument(
        "--videos", type=Path, metavar="PATH",
        help="the video, or the folder of the videos: its time stamps turn seconds into frames, and back",
    )  # fmt: skip
    one.add_argument("--fps", type=float, help="frames per second, instead of --videos")
    one.add_argument(
        "--first-frame", type=int, default=1, metavar="N",
        help="number of the frame at second 0 (default: %(default)s)",
    )  # fmt: skip
    shared.add_subject(one)
    shared.add_elan(one)
    one.add_argument("--ground-truth", action="store_true", help="activitynet: a ground truth, not predictions")
    one.add_argument("--force", action="store_true", help="replace files, whoever wrote them")


def convert(args: argparse.Namespace) -> None:
    """``fedn convert``: annotations or detections in another format.

    Args:
      args: inputs, output, source, target, videos, fps, first_frame, subject, subject_folders, tiers, label,
        ground_truth, force.

    Raises:
      UserError: files that cannot be read, or would be replaced.
    """
    from fedn_jax.core import errors, written
    from fedn_jax.core.errors import UserError
    from fedn_jax.formats import converters, exchange, predictions

    for name, value in (("--from", args.source), ("--to", args.target)):
        if value:
            errors.one_of(name, value, exchange.FORMATS)
    if args.videos and args.fps:
        raise UserError("--videos and --fps both say when frames are shown; give one of them")
    if args.subject_folders and not args.videos:
        raise UserError("--subject-folders needs --videos, the folder of the folders")
    target = args.target or exchange.format_of(args.output)
    options = converters.Options(
        args.fps, first_frame=args.first_frame, truth=args.ground_truth, tiers=tuple(args.tiers), label=args.label
    )
    what = "ground truth" if args.ground_truth else "annotations or detections"
    table = exchange.merge([exchange.read(path, what, args.source, options) for path in args.inputs])
    if args.subject:
        if predictions.has_subjects(table):
            raise UserError(f"{table.path}: names subjects; --subject is for files without them")
        table = predictions.renamed(table, {video: (args.subject, video[1]) for video in table.videos})
    unit = exchange.FORMATS[target].unit
    known = exchange.steady(table, options)
    if args.videos:
        turned = {row.video for row in table.rows if row.timed != (unit == "seconds")}
        media, known = clocks_of(args.videos, table, args.first_frame, turned)
        if args.subject_folders:
            names = _by_folder(media)
            table = predictions.renamed(table, names)
            media, known = ({names.get(video, video): x for video, x in one.items()} for one in (media, known))
        options = options._replace(media=media)
    table = exchange.in_unit(table, unit, known)
    notes = list(table.notes)
    for path, part in exchange.places(args.output, target, table).items():
        sidecar = exchange.FORMATS[target].sidecar
        beside = [path.with_suffix(".json").name] if sidecar else []
        with written.group(path, [path.name, *beside], {"command": "convert"}, args.force) as parts:
            notes += exchange.write(parts[path.name], target, part, options)
            for name in beside:
                parts[name].write_text(sidecar(part), encoding="utf-8")
    for note in dict.fromkeys(notes):
        print(f"note: {note}")
    print(f"{exchange.described(table)}: {args.output}")


def _by_folder(media: Mapping[tuple[str, str], Path]) -> dict[tuple[str, str], tuple[str, str]]:
    """Videos of nobody -> the folder and the name of their files."""
    paths = {video: path.resolve() for video, path in media.items() if video[0] in ("", video[1])}
    return {video: (path.parent.name, path.name if path.is_dir() else path.stem) for video, path in paths.items()}


def clocks_of(videos: Path, table: Any, first_frame: int, wanted: Any = None) -> tuple[dict, dict]:
    """The videos of a table, and the time stamps of their frames.

    Args:
      videos: a video, or a folder of all of them.
      table: of ``exchange.read``.
      first_frame: number of a video's first frame.
      wanted: the (subject, video) whose time stamps are needed; None: of all.

    Returns:
      (subject, video) -> file, and (subject, video) -> clock of those that are wanted.

    Raises:
      UserError: videos that are not there, or cannot be read.
    """
    from data_prep.media import sources
    from data_prep.media.sources import Source
    from data_prep.sheets import video_files
    from fedn_jax.core import errors
    from fedn_jax.core.errors import UserError
    from fedn_jax.core.text import progress_bar
    from fedn_jax.formats.cells import shown

    if not videos.exists():
        raise UserError(f"{videos}: no such file or folder; expected the video, or the folder of the videos")
    if videos.is_dir() and not video_files.has_pictures(videos):
        index = video_files.index(videos, video_files.SUFFIXES, None, openface=False)
        found = {video: video_files.find(video[1], index, video[0]) for video in table.videos}
        problems = [
            f"video {shown(video[1])}: {why} below {videos}" for video, (path, why) in found.items() if not path
        ]
        errors.report(f"{table.path}", problems)
        media = {video: path for video, (path, _) in found.items()}
    elif len(table.videos) == 1:
        media = {table.videos[0]: videos}
    else:
        raise UserError(f"{videos}: is one video, and {table.path} has {len(table.videos)}; give their folder")
    chosen = media if wanted is None else {video: path for video, path in media.items() if video in wanted}
    paths, bar = list(dict.fromkeys(chosen.values())), progress_bar()
    if len(paths) < 2:
        stamps = {path: sources.clock(Source(path), first_frame, bar) for path in paths}
    else:
        each = bar(paths, desc="time stamps", unit="video")
        stamps = {path: sources.clock(Source(path), first_frame) for path in each}
    return media, {video: stamps[path] for video, path in chosen.items()}
