"""The commands of preparation: ``fedn prepare``, ``verify`` and ``convert-backbone``, and those of the files beside."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from data_prep.cli import features, merge, shared, train_backbone
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count, progress_bar

DRAWN_ONLY = (
    "--backbone is not given: slim is taken, which has seen drawn faces only; for real faces give --backbone "
    "blendshapes (after `fedn fetch face-landmarker`), or a checkpoint of your own (fedn convert-backbone)"
)
PREPARE = (
    "fedn prepare folder --videos videos --annotations expressions.csv --out data",
    "fedn prepare casme2 --videos rawpic --annotations CASME2.xlsx --out data",
    "fedn prepare SOURCE --help",
)
FOLDER = (
    "fedn prepare folder --videos videos --annotations expressions.csv --out data",
    "fedn prepare folder --videos videos --annotations expressions.csv --out data \\\n"
    "      --fps 30 --classes positive,surprise,negative,others",
)
VERIFY = ("fedn verify data", "fedn verify casme2 --annotations CASME2.xlsx")
CONVERT = ("fedn convert-backbone net.pth --out net.safetensors --normalization imagenet",)

log = logging.getLogger(__name__)


def add_arguments(commands: Any) -> None:
    """Adds the commands of preparation to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned; its ``dest`` must be "command".
    """
    title = "videos or features with annotations -> shards; resumable"
    parser = shared.add(commands, "prepare", title, _release, PREPARE)  # a source says what else is called
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)

    for name, (title, _) in shared.RELEASES.items():
        example = f"fedn prepare {name} --videos released --annotations sheet.xlsx --out data"
        one = shared.add(sources, name, f"{title}: the released folder and sheet", _release, [example])
        one.add_argument("--videos", type=Path, required=True, metavar="DIR", help="the frames or videos as released")
        shared.add_sheet(one, (name,), required=True)
        shared.add_partial(one)
        shared.add_videos(one)

    title = "a folder of videos and a table of their expressions (CSV, Excel)"
    one = shared.add(sources, "folder", title, _folder, FOLDER)
    one.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of videos, sub-folders too")
    one.add_argument("--rate", type=float, default=30.0, help="frames per second of folders of pictures (default: 30)")
    shared.add_table(one)
    shared.add_videos(one)

    features.add_arguments(sources)
    merge.add_arguments(commands)

    one = shared.add(commands, "verify", "check and count prepared data, or a released sheet", _verify, VERIFY)
    one.add_argument(
        "what", metavar="DIR|DATASET",
        help=f"the --out of `fedn prepare`; or, with --annotations, one of {', '.join(shared.RELEASES)}",
    )  # fmt: skip
    shared.add_sheet(one, tuple(shared.RELEASES), required=False)
    one.add_argument("--json", type=Path, metavar="OUT", help="write the counts to this file, too")
    one.add_argument("--force", action="store_true", help="replace that file, whoever wrote it")

    one = shared.add(commands, "convert-backbone", "a PyTorch ResNet18 -> a file for --backbone", _convert, CONVERT)
    one.add_argument("checkpoint", type=Path, metavar="CKPT", help=".pth, .pt, .pth.tar or .safetensors")
    one.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new file, *.safetensors")
    one.add_argument(
        "--normalization", required=True,
        help="of its inputs, as its authors say: imagenet (mean and deviation of ImageNet), half (.5 and .5) or none",
    )  # fmt: skip
    one.add_argument(
        "--rename", nargs="+", default=[], metavar="REGEX=NEW", help="rules for the names of its weights"
    )  # fmt: skip
    one.add_argument("--size", type=int, default=224, help="side of its face images in pixels (default: 224)")
    one.add_argument("--description", metavar="TEXT", help="name and origin, shown in reports")
    train_backbone.add_arguments(commands)


def parse(words: list[str]) -> argparse.Namespace:
    """Parses one of these commands, for a program that calls it.

    Args:
      words: such as ["prepare", "folder", ...].

    Returns:
      Arguments for their ``function``.
    """
    parser = argparse.ArgumentParser(prog="fedn")
    add_arguments(parser.add_subparsers(dest="command", required=True))
    return parser.parse_args(words)


# ---- Verify ---------------------------------------------------------------------------------------------------------


def _verify(args: argparse.Namespace) -> None:
    from data_prep.shards import verify
    from data_prep.sheets.datasets import check
    from fedn_jax.core import files, written
    from fedn_jax.core.errors import one_of

    if args.annotations is None:
        if args.what in shared.RELEASES and not Path(args.what).exists():
            raise UserError(f"fedn verify {args.what} needs --annotations FILE, the released sheet")
        summary = verify.verify(args.what)
        text = verify.lines(summary)
    else:
        one_of("the data set", args.what, shared.RELEASES)
        summary = check.summary(args.what, args.annotations, args.emotions, shared.options_of(args, args.what))
        text = check.lines(summary)
    print("\n".join(text))
    if args.json:
        with written.file(args.json, {"command": "verify"}, args.force) as part:
            files.write_text(part, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")


def _convert(args: argparse.Namespace) -> None:
    import textwrap

    from data_prep.backbones import weights
    from fedn_jax.models import torch_weights

    rules = torch_weights.rules(args.rename)
    done = weights.convert_file(args.checkpoint, args.out, args.normalization, args.size, args.description, rules)
    print(
        f"{len(done.used)} weights of a ResNet18 with {', '.join(map(str, done.widths))} channels; names: {done.style}"
    )
    if done.unexpected:
        shown = ", ".join(done.unexpected[:12]) + (
            f" and {len(done.unexpected) - 12} more" * (len(done.unexpected) > 12)
        )
        print("\n".join(textwrap.wrap(f"left out, not part of it: {shown}", 80, subsequent_indent="  ")))
    print(f"written: {args.out}; next: fedn prepare ... --backbone {args.out}")


# ---- Prepare --------------------------------------------------------------------------------------------------------


def _release(args: argparse.Namespace) -> None:
    """A released data set: sheet and videos as they are."""
    from data_prep.sheets.datasets import DATASETS
    from data_prep.sheets.video_files import SUFFIXES

    items, classes, how = shared.collected(
        args, args.source, args.videos, SUFFIXES, args.originals, args.aligner == "openface"
    )
    fps = DATASETS[args.source].fps if args.fps is None else args.fps
    _prepare(args, items, classes, 1, args.source, how, fps or None)


def _folder(args: argparse.Namespace) -> None:
    from data_prep.sheets import annotations

    sheet = annotations.read_folder(
        args.annotations, args.videos, shared.classes_of(args), args.first_frame, skip=args.out,
        openface=args.aligner == "openface", originals=args.originals, rate=args.rate, subject=args.subject,
        folders=args.subject_folders, reading=shared.reading(args),
    )  # fmt: skip
    _prepare(args, sheet.items, sheet.classes, args.first_frame, "folder", {}, args.fps or None)


def _prepare(
    args: argparse.Namespace, items: list, classes: list[str], first_frame: int, name: str, labels: dict[str, Any],
    fps: float | None,
) -> None:  # fmt: skip
    from data_prep.backbones import kinds
    from data_prep.shards import videos

    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers must be at least 1; got {args.workers}")
    if args.originals and args.aligner != "openface":
        raise UserError("--originals belongs to --aligner openface; give --videos alone")
    runner = None
    if args.runner:
        from data_prep.shards import beam

        runner = beam.make_runner(args.runner, args.beam)
    if args.backbone is None:
        log.warning(DRAWN_ONLY)
    backbone = kinds.load(args.backbone or kinds.DRAWN)
    options = videos.Options(args.aligner or backbone.aligner, args.size or backbone.size, fps)
    done, written = videos.prepare(
        items,
        args.out,
        classes,
        backbone,
        options,
        first_frame,
        name,
        labels,
        args.workers,
        runner,
        progress_bar(),
        args.frames,
    )
    _remarks(done, fps)
    shared.say_written(args.out, written)


def _remarks(done: list, fps: float | None) -> None:
    """What is odd about the videos, then how many there are."""
    gaps = [video for video in done if video.invalid]
    for video in gaps:
        share = 100 * video.invalid / video.num_frames
        print(
            f"no face in {video.invalid} of {count(video.num_frames, 'frame')} ({share:.1f} %): "
            f"{video.subject}/{video.video}"
        )
    for video in done:
        for note in video.notes:
            print(f"{video.subject}/{video.video}: {note}")
        if video.uneven and fps is None:
            print(
                f"uneven frame rate: {video.subject}/{video.video}; frames count as they come, "
                "--fps 30 would even it out"
            )
    frames, lost = sum(video.num_frames for video in done), sum(video.invalid for video in gaps)
    kept = sum(video.cached for video in done)
    print(f"{count(len(done), 'video')}, {count(frames, 'frame')}, {lost} without a face; {kept} from the cache")
