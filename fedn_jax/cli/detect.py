"""The command ``fedn detect``."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.cli import shared
from fedn_jax.cli import command, own_code
from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Whole, beside_bars, count, printable, progress_bar

EXAMPLES = (
    "fedn detect holiday.mp4 interview.mov --run run --out found",
    "fedn detect holiday.mp4 --out found    facial actions, without training",
    "fedn detect videos --run run --out found --threshold 0.3",
)

LARGEST = "largest"


class Detector(NamedTuple):
    """What looks at videos: a trained run, or the rules of facial actions."""

    detect: Callable[..., Any]  # (inputs [T, ...], decode.Facts, flow between frames) -> new_video.Detected
    classes: list[str]
    label: str  # what the classes are
    options: Any  # of the preparation
    backbone: Any
    threshold: float  # lowest score of a detection
    about: dict[str, str]  # how it was made, in words
    judge: Callable[..., Any] | None = None  # (inputs, valid [T] bool) -> trust.Verdict; None: nothing was trained
    any_face: bool = False  # detect whatever the verdict is


def add_arguments(commands: Any) -> None:
    """Adds ``detect`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = command.add(commands, "detect", "find expressions, or facial actions, in new videos", detect, EXAMPLES)
    one.add_argument(
        "videos", type=Path, nargs="+", metavar="VIDEO",
        help="video files, folders of pictures, or folders of either, sub-folders too",
    )  # fmt: skip
    one.add_argument(
        "--run", type=Path, metavar="RUN",
        help="made by `fedn train` or `fedn recognise`; without it: facial actions of real faces (smile, brow raise "
        "...), no emotions",
    )  # fmt: skip
    one.add_argument("--config", metavar="FILE", help=f"with --run: {own_code.HELP}")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the results")
    one.add_argument("--fold", metavar="NAME", help="the network of one fold (default: ensemble, the mean of all)")
    one.add_argument(
        "--threshold", type=float, help="lowest score to report (default: the run's own; of actions 0.5, the lowest)"
    )
    shared.add_subject(one)
    one.add_argument(
        "--persons", metavar="WHO", default=LARGEST,
        help="all, or a number: a table for each person, or for those of whom there is most; %(default)s: one table, "
        "of the largest face (default)",
    )  # fmt: skip
    one.add_argument("--backbone", type=Path, metavar="FILE", help="weights of the features (default: the run's own)")
    one.add_argument("--aligner", help="another alignment than that of the run's data")
    one.add_argument(
        "--rate", type=float, default=30.0, help="frames per second of folders of pictures (default: %(default)g)"
    )
    one.add_argument("--no-video", action="store_true", help="pages without the video, to be sent by mail")
    one.add_argument(
        "--any-face", action="store_true", help="detect in faces, too, that look unlike those the run was trained on"
    )
    one.add_argument("--force", action="store_true", help="replace results even where somebody changed them")


def detect(args: argparse.Namespace) -> None:
    """``fedn detect``: the expressions, or facial actions, of new videos.

    Args:
      args: videos, run, config, out, fold, threshold, subject, subject_folders, persons, backbone, aligner, rate,
        no_video, any_face, force.

    Raises:
      UserError: a run that cannot be used; or, after all videos, that some could not be.
    """
    from fedn_jax.inference import results

    detector = _of_actions(args) if args.run is None else _of_run(args)
    if not args.force:
        results.check_all(args.out)
    failed = 0
    videos = _videos(args.videos, args.out, detector.options.aligner == "openface")
    bar = Whole([_frames(video) for video in videos], "detect", "frame") if len(videos) > 1 else None
    for video in videos:
        given = video.resolve().parent.name if args.subject_folders else args.subject
        try:
            source = _source(video, args.rate, detector)
            for person in _people(source, args.persons, detector):
                tag = f"person{person.number}" if person else ""
                place = results.Place(args.out, video, videos, args.force, tag)
                subject = " ".join(filter(None, (given, tag)))
                _detect_one(source, place, detector, subject, person, not args.no_video, bar or progress_bar())
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


def _of_run(args: argparse.Namespace) -> Detector:
    """The networks of a run, with the preparation that they were trained with."""
    from fedn_jax.core import schema
    from fedn_jax.inference import new_video as detection
    from fedn_jax.inference import trust

    own_code.admit(args.run, args.config)
    model = detection.load(args.run, args.fold or detection.ENSEMBLE)
    threshold, origin = detection.choose_threshold(model, args.threshold)
    networks = detection.make_detector(model, threshold)
    options, backbone, features = _preparation(args, model)
    behind = {"emotions": f"{model.cascade.recogniser}, behind the spotter {model.run}"} if model.cascade else {}
    about = {
        "run": str(args.run), **behind, "folds": ", ".join(model.folds),
        "score threshold": f"{threshold:.3f}, {origin}",
        "trained on": schema.dataset(model.recorded["metadata"]), "features": features,
        "faces": _faces(options), "fedn_jax": model.recorded["versions"]["fedn_jax"],
    }  # fmt: skip
    run = lambda inputs, facts, flow: networks(inputs, facts.valid > 0, flow)
    judge = trust.make_judge(model.run, features, args.run)
    label = model.config.data.label if model.config.data.recognition else "emotion"
    return Detector(run, model.classes, label, options, backbone, threshold, about, judge, args.any_face)


def _of_actions(args: argparse.Namespace) -> Detector:
    """The rules of facial actions, on blendshapes."""
    from importlib import metadata

    from data_prep.backbones import blendshapes
    from data_prep.faces import landmarker
    from data_prep.faces.decode import Options
    from fedn_jax.inference import actions

    given = [name for name in ("config", "fold", "backbone", "any_face") if getattr(args, name)]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')} belongs to --run; facial actions are found without training")
    threshold = actions.WEAKEST if args.threshold is None else args.threshold
    if not actions.WEAKEST <= threshold <= 1:
        raise UserError(f"--threshold of facial actions must be a number from {actions.WEAKEST} to 1; got {threshold}")
    backbone = blendshapes.load()
    options = Options(args.aligner or backbone.aligner, backbone.size, actions.RATE)
    about = {
        "method": "facial actions without training: blendshapes against the person's own rest; no emotions",
        "score threshold": f"{threshold:.3f}; 0.5 is the least, 0.75 is twice as far from rest",
        "features": backbone.description, "faces": _faces(options), "fedn_jax": metadata.version("fedn_jax"),
    }  # fmt: skip
    run = lambda inputs, facts, flow: actions.spot(
        inputs, facts.valid > 0, landmarker.NAMES, facts.fps, threshold, facts.shot
    )
    return Detector(run, [one.label for one in actions.ACTIONS], "action", options, backbone, threshold, about)


def _faces(options: Any) -> str:
    return f"{options.aligner}, {options.size} px, {options.fps:g} frames per second"


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


def _preparation(args: argparse.Namespace, model: Any) -> tuple[Any, Any, str]:
    """(options of the preparation, backbone, what it is in words) that the run was trained with."""
    from data_prep.backbones import kinds
    from data_prep.backbones.aligned_frames import AlignedFrames
    from data_prep.faces.decode import Options
    from fedn_jax import models
    from fedn_jax.core import schema

    recorded = model.recorded
    made = recorded["metadata"]["preparation"]
    if not made:
        raise UserError(
            f"{args.run}: was trained on features that were given; detection needs a run on prepared videos"
        )
    options = Options(args.aligner or made["aligner"], made["size"], round(recorded["fps"], 3))
    if models.TASKS[model.config.task].frames:
        if args.backbone:
            raise UserError(f"{args.run}: reads the frames themselves; --backbone changes nothing, leave it out")
        frames = AlignedFrames(made["size"], recorded["input_shape"][0])
        return options, frames, frames.description
    backbone = kinds.load(args.backbone or model.run / schema.BACKBONE)
    if backbone.sha != made["backbone"]:
        raise UserError(
            f"{args.run}: was trained on features of {recorded['metadata']['backbone']}; got other weights, "
            f"{backbone.description} ({backbone.sha[:16]}): give that file with --backbone"
        )
    return options, backbone, recorded["metadata"]["backbone"]


def _source(video: Path, rate: float, detector: Detector) -> Any:
    """The frames of a video."""
    from data_prep.media import images, sources

    if video.is_dir() and not images.is_folder(video):
        raise UserError(f"{video}: holds no numbered pictures; give video files, or folders of pictures")
    if video.suffix.lower() in images.SUFFIXES and video.is_file():
        raise UserError(f"{video}: is a single picture; expressions take time: give a video, or a folder of pictures")
    if detector.options.aligner == "openface" and not video.is_dir():
        raise UserError(
            f"{video}: the run was trained on faces that OpenFace aligned; run OpenFace on the video and give its "
            "NAME_aligned folder, or try --aligner cascade"
        )
    source = sources.Source(video, rate, detector.options.aligner == "openface")
    sources.rate(source)  # a file that is none is refused here
    return source


def _people(source: Any, wanted: str, detector: Detector) -> list[Any]:
    """The persons to look at; None stands for the largest face, whoever it is."""
    from data_prep.faces import persons
    from data_prep.media import sources

    if wanted == LARGEST:
        return [None]
    persons.choose([], wanted)
    if detector.options.aligner != "landmarker":
        raise UserError(
            f"--persons {wanted} needs faces that the face landmarker finds; these are aligned by "
            f"{detector.options.aligner}: try --aligner landmarker"
        )
    first = sources.first_frame(source)
    people = persons.follow(sources.stream(source, sources.listing(source, first), first))
    if not people:
        raise UserError(f"{source.path}: nobody is seen for a second or longer")
    with beside_bars():
        print(f"{source.path}: {count(len(people), 'person')}", flush=True)
    return persons.choose(people, wanted)


def _detect_one(
    source: Any, place: Any, detector: Detector, subject: str, person: Any, show: bool, progress: Any
) -> None:
    """Detects in one video, writes all files, prints what was found."""
    from data_prep.media import frames, sources
    from data_prep.shards import extract
    from fedn_jax.formats import detection_files
    from fedn_jax.inference import new_video as detection
    from fedn_jax.reports import video_page

    video = source.path
    who = [f"person {person.number}"] if person else []
    fingerprint = sources.fingerprint(source._replace(rate=0.0))
    place.find([fingerprint, *who] if who else fingerprint)
    got = extract.extract(source, detector.options, detector.backbone, place.out / "cache", progress, person)
    facts = got.facts
    looked = detection.Frames(facts.source, facts.seconds, facts.valid > 0, facts.fps, facts.ends)
    verdict = detector.judge and detector.judge(got.inputs, looked.valid)
    if verdict and verdict.alike is False and not detector.any_face:
        raise UserError(
            f"{video}: its faces do not look like those that the run was trained on ({verdict.numbers}), so detections "
            "would mean little; add --any-face to detect all the same"
        )
    result = detector.detect(got.inputs, facts, _flow(source, detector.options, person, progress))
    notes = {"verdict": verdict.text} if verdict else {}
    notes |= {"this video": "; ".join(facts.notes)} if facts.notes else {}
    found = detection.present(
        result, detector.classes, video, looked, sources.first_frame(source), detector.threshold,
        detector.about | notes, subject, detector.label,
    )  # fmt: skip
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
        _tell(", ".join([str(video), *who]), found, int((~per_frame.valid).sum()), facts.notes, place)


def _flow(source: Any, options: Any, person: Any, progress: Any) -> Callable[[Any], Any]:
    """Optical flow between aligned frames of a video, which are decoded again: most recognisers never ask."""
    from data_prep.faces import flow
    from data_prep.shards import extract

    known: dict[bytes, Any] = {}  # every fold asks for the same pairs

    def samples(pairs: Any) -> Any:
        if pairs.tobytes() not in known:
            frames = extract.pictures(source, options, pairs.ravel().tolist(), person)
            known[pairs.tobytes()] = flow.make_samples(frames, options.aligner, None, progress)(pairs)
        return known[pairs.tobytes()]

    return samples


def _tell(video: str, found: Any, lost: int, notes: Sequence[str], place: Any) -> None:
    """Prints what was found."""
    from fedn_jax.formats import detection_files

    gap = f", {lost} of them without a face" if lost else ""
    print(
        f"\n{video}: {count(len(found.expressions), detection_files.NOUNS[found.label])} in "
        f"{found.seconds:.1f} s, {count(found.num_frames, 'frame')}{gap}"
    )
    if "verdict" in found.about:
        print(textwrap.fill(found.about["verdict"], 80, initial_indent="  ", subsequent_indent="  "))
    for note in notes:
        print(textwrap.fill(f"note: {note}", 80, initial_indent="  ", subsequent_indent="    "))
    width = max([14, *(len(one.emotion) for one in found.expressions)])
    for one in found.expressions:
        print(f"  {one.begin:>8.2f} to {one.end:>8.2f} s  {one.emotion:<{width}} {one.score:.2f}")
    print(f"  {place.path('html')}")
    if place.note:
        print(f"  ({place.note})")
