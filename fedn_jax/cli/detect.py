"""The command ``fedn detect``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import command
from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Whole, beside_bars, count, printable, progress_bar

EXAMPLES = (
    "fedn detect holiday.mp4 interview.mov --run run --out found",
    "fedn detect videos --run run --out found --threshold 0.3",
)


def add_arguments(commands: Any) -> None:
    """Adds ``detect`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "detect", "find the expressions in new videos", detect, EXAMPLES)
    one.add_argument(
        "videos", type=Path, nargs="+", metavar="VIDEO",
        help="video files, folders of pictures, or folders of either, sub-folders too",
    )  # fmt: skip
    one.add_argument("--run", type=Path, required=True, metavar="RUN", help=command.RUN)
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the results")
    one.add_argument(
        "--fold", default="ensemble", metavar="NAME",
        help="the network of one fold (default: %(default)s, the mean of all)",
    )  # fmt: skip
    one.add_argument("--threshold", type=float, help="lowest score to report (default: the run's own)")
    one.add_argument("--subject", metavar="NAME", default="", help="who is seen, for the tables (default: nobody)")
    one.add_argument(
        "--subject-folders", action="store_true", help="who is seen is the name of the folder that a video lies in"
    )
    one.add_argument("--backbone", type=Path, metavar="FILE", help="weights of the features (default: the run's own)")
    one.add_argument("--aligner", help="another alignment than that of the run's data")
    one.add_argument(
        "--rate", type=float, default=30.0, help="frames per second of folders of pictures (default: %(default)g)"
    )
    one.add_argument("--no-video", action="store_true", help="pages without the video, to be sent by mail")
    one.add_argument("--force", action="store_true", help="replace results even where somebody changed them")


def detect(args: argparse.Namespace) -> None:
    """``fedn detect``: the expressions of new videos.

    Args:
      args: videos, run, out, fold, threshold, subject, subject_folders, backbone, aligner, rate, no_video,
        force.

    Raises:
      UserError: a run that cannot be used; or, after all videos, that some could not be.
    """
    from fedn_jax.inference import new_video as detection
    from fedn_jax.inference import results

    model = detection.load(args.run, args.fold)
    threshold, origin = detection.choose_threshold(model, args.threshold)
    detector = detection.make_detector(model, threshold)
    options, backbone = _preparation(args, model.recorded)
    about = {
        "run": str(args.run), "folds": ", ".join(model.folds), "score threshold": f"{threshold:.3f}, {origin}",
        "trained on": model.recorded["metadata"]["dataset"], "features": model.recorded["metadata"]["backbone"],
        "faces": f"{options.aligner}, {options.size} px, {options.fps:g} frames per second",
        "fedn_jax": model.recorded["versions"]["fedn_jax"],
    }  # fmt: skip
    if args.subject and args.subject_folders:
        raise UserError("--subject and --subject-folders both say who is seen; give one of them")
    if not args.force:
        results.check_all(args.out)
    failed = 0
    videos = _videos(args.videos, args.out, options.aligner == "openface")
    bar = Whole([_frames(video) for video in videos], "detect", "frame") if len(videos) > 1 else None
    for video in videos:
        place = results.Place(args.out, video, videos, args.force)
        subject = video.resolve().parent.name if args.subject_folders else args.subject
        try:
            _detect_one(
                video, place, args.rate, model, detector, options, backbone, threshold, about, subject,
                not args.no_video, bar or progress_bar(),
            )  # fmt: skip
        except Exception as error:
            line = errors.line(error, args.out)
            if len(videos) == 1 or line is None:
                raise
            failed += 1
            with beside_bars():
                print(f"fedn: {printable(line)}", file=sys.stderr, flush=True)
        if bar:
            bar.next()
    if bar:
        bar.close()
    if failed < len(videos):
        print(f"all videos: {results.write_all(args.out, args.force)}")
    if failed:
        done = len(videos) - failed
        rest = f"{count(done, 'video')} done, in {args.out}" if done else "no video is left"
        raise UserError(f"{failed} of {len(videos)} videos could not be used, for the reasons above; {rest}")


def _videos(paths: list[Path], out: Path, openface: bool) -> list[Path]:
    """Files, and what is in folders that are no videos themselves."""
    from data_prep.media import images
    from data_prep.sheets import video_files

    found: list[Path] = []
    for path in paths:
        inside = []
        if path.is_dir() and not images.is_folder(path):
            inside = video_files.index(path, video_files.SUFFIXES, out, openface).videos
        found += inside or [path]
    return list(dict.fromkeys(found))


def _frames(video: Path) -> int:
    """About how many frames a video has, for the progress bar."""
    from data_prep.media import frames

    try:
        info = frames.probe(video)
        return max(round(info.seconds * info.fps), 1)
    except (UserError, OSError):  # is named when its turn comes; or a folder
        return sum(1 for _ in video.iterdir()) if video.is_dir() else 1


def _preparation(args: argparse.Namespace, recorded: dict[str, Any]) -> tuple[Any, Any]:
    """(options of the preparation, backbone) that the run was trained with."""
    from data_prep.backbones import embed
    from data_prep.faces.decode import Options
    from fedn_jax.core import schema

    made = recorded["metadata"]["preparation"]
    if not made:
        raise UserError(
            f"{args.run}: was trained on features that were given; detection needs a run on prepared videos"
        )
    backbone = embed.load_backbone(args.backbone or args.run / schema.BACKBONE)
    if backbone.sha != made["backbone"]:
        raise UserError(
            f"{args.run}: was trained on features of {recorded['metadata']['backbone']}; got other weights, "
            f"{backbone.description} ({backbone.sha[:16]}): give that file with --backbone"
        )
    return Options(args.aligner or made["aligner"], made["size"], round(recorded["fps"], 3)), backbone


def _detect_one(
    video, place, rate, model, detector, options, backbone, threshold, about, subject, show, progress
) -> None:
    """Detects in one video, writes all files, prints what was found."""
    from data_prep.media import frames, images, sources
    from data_prep.media.sources import Source
    from data_prep.shards import extract
    from fedn_jax.formats import detection_files
    from fedn_jax.inference import new_video as detection
    from fedn_jax.reports import video_page

    if video.is_dir() and not images.is_folder(video):
        raise UserError(f"{video}: holds no numbered pictures; give video files, or folders of pictures")
    if options.aligner == "openface" and not video.is_dir():
        raise UserError(
            f"{video}: the run was trained on faces that OpenFace aligned; run OpenFace on the video and give its "
            "NAME_aligned folder, or try --aligner cascade"
        )
    source = Source(video, rate, options.aligner == "openface")
    sources.rate(source)  # a file that is none is refused here
    place.find(sources.fingerprint(source._replace(rate=0.0)))
    got = extract.extract(source, options, backbone, place.out / "cache", progress)
    facts = got.facts
    looked = detection.Frames(facts.source, facts.seconds, facts.valid > 0, facts.fps, facts.ends)
    result = detector(got.inputs, facts.valid)
    notes = {"this video": "; ".join(facts.notes)} if facts.notes else {}
    found = detection.present(result, model, video, looked, 1, threshold, about | notes, subject)
    pictures = frames.pick(got.faces, result.apex.tolist()) if found.expressions else []
    with place.writing() as parts:
        for suffix, write in detection_files.FORMATS.items():
            write(parts[suffix], found)
        per_frame = detection.per_frame(result, looked)
        detection_files.write_frames(parts[detection_files.FRAMES], found, per_frame)
        first = found.expressions[0].apex - found.first_frame if found.expressions else 0
        (poster,) = frames.pick(got.media, [first])
        video_page.write(parts["html"], found, got.media if show else None, "video/mp4", pictures, poster)
    with beside_bars():
        _tell(video, found, int((~per_frame.valid).sum()), facts.notes, place)


def _tell(video: Path, found: Any, lost: int, notes: Sequence[str], place: Any) -> None:
    """Prints what was found."""
    gap = f", {lost} of them without a face" if lost else ""
    print(
        f"\n{video}: {count(len(found.expressions), 'expression')} in {found.seconds:.1f} s, "
        f"{count(found.num_frames, 'frame')}{gap}"
    )
    for note in notes:
        print(f"  note: {note}")
    for one in found.expressions:
        print(f"  {one.begin:>8.2f} to {one.end:>8.2f} s  {one.emotion:<14} {one.score:.2f}")
    print(f"  {place.path('html')}")
    if place.note:
        print(f"  ({place.note})")
