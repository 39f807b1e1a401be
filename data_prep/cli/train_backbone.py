"""The command ``fedn train-backbone``: a backbone of one's own, from labelled pictures of faces."""

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.cli import shared
from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import count, progress_bar

EXAMPLES = (
    "fedn train-backbone faces --out mine.safetensors",
    "fedn train-backbone faces.csv --out mine.safetensors --aligner none",
    "fedn train-backbone --drawn 60 --out mine.safetensors",
)
LARGEST = 1024  # pixels of a side: more than any network of faces reads


def add_arguments(commands: Any) -> None:
    """Adds ``train-backbone`` to the command line.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    one = shared.add(commands, "train-backbone", "labelled pictures of faces -> a file for --backbone", run, EXAMPLES)
    one.add_argument(
        "pictures", type=Path, nargs="?", metavar="DIR|TABLE",
        help="DIR/LABEL/PICTURE or DIR/LABEL/PERSON/PICTURE; or CSV or Excel: path,label and, where known, person",
    )  # fmt: skip
    one.add_argument("--drawn", type=int, metavar="N", help="instead: 20 pictures of each of N drawn people")
    one.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new file, *.safetensors")
    one.add_argument("--force", action="store_true", help="replace that file, whoever wrote it")
    one.add_argument(
        "--widths", default="slim", help="slim: a sixteenth of the multiplications (default), or full: ResNet18"
    )
    one.add_argument("--aligner", default="cascade", help="what finds the face; none: pictures are cropped already")
    one.add_argument("--size", type=int, default=112, help="side of the face images in pixels (default: 112)")
    one.add_argument(
        "--held-out", type=float, default=0.2, metavar="SHARE",
        help="of the persons, or, where nobody says who is seen, of the pictures, to test on (default: 0.2)",
    )  # fmt: skip
    one.add_argument("--epochs", type=int, default=10, help="passes over the pictures (default: 10)")
    one.add_argument("--batch-size", type=int, default=64, help="pictures per step (default: 64)")
    one.add_argument("--seed", type=int, default=0, help="of everything (default: 0)")
    one.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one per core)")


def run(args: argparse.Namespace) -> None:
    """Trains on some persons, tests on the others, writes the backbone that was tested.

    Args:
      args: pictures, drawn, out, force, widths, aligner, size, held_out, epochs, batch_size, seed, workers.

    Raises:
      UserError: options or pictures that cannot be used.
    """
    import numpy as np

    from data_prep.backbones import embed, training
    from fedn_jax.core import files, written
    from fedn_jax.models.resnet import FULL, SLIM

    widths = {"slim": SLIM, "full": FULL}
    errors.one_of("--widths", args.widths, widths)
    for name, lowest in (("epochs", 1), ("batch_size", 2), ("size", 32), ("workers", 1), ("seed", 0)):
        errors.at_least(f"--{name.replace('_', '-')}", getattr(args, name), lowest)
    if args.size > LARGEST:
        raise UserError(f"--size must be at most {LARGEST}; got {args.size}")
    if not 0 < args.held_out < 1:
        raise UserError(f"--held-out must lie between 0 and 1; got {args.held_out}")
    if (args.pictures is None) == (args.drawn is None):
        raise UserError("give a folder or a table of pictures, or --drawn N; see --help")
    if args.out.suffix != ".safetensors":
        raise UserError(f"--out {args.out}: expected a name that ends in .safetensors")
    if not args.force:
        written.check(args.out.parent, [args.out.name])
    files.check_place(args.out)
    faces, tests, labels = _drawn(args) if args.pictures is None else _own(args)
    mean, std = training.light(faces.images)
    batch = min(args.batch_size, len(faces.label))
    plan = training.Plan(widths[args.widths], args.size, mean, std, args.epochs, batch, args.seed)
    variables = training.train(faces.images, (faces.label,), len(labels), _cost, plan, partial(print, flush=True))
    settings = (training.folded(variables), plan.widths, mean, std, args.size)
    usual = int(np.bincount(faces.label).argmax())
    always = float((tests.label == usual).mean())
    learned, tested = (f"{count(len(part.label), 'picture')}{_persons(part)}" for part in (faces, tests))
    about = {"description": f"{args.widths} ResNet18, trained on {learned} ({', '.join(labels)})"}
    with written.file(args.out, {"command": "train-backbone"}, args.force) as part:
        embed.save_backbone(part, *settings, about)
        found = training.outputs_of(tests.images, embed.load_backbone(part), variables["head"]).argmax(1)
        right = float((found == tests.label).mean())
        about["accuracy"] = f"{right:.4f} of {tested}, held out; {always:.4f} by the most frequent label"
        embed.save_backbone(part, *settings, about)
    print(f"trained on {learned}; held out: {tested}")
    print(
        f"right: {100 * right:.1f} % of those held out; always {labels[usual]!r}, the usual one: {100 * always:.1f} %"
    )
    print(f"written: {args.out}; next: fedn prepare ... --backbone {args.out} --aligner {args.aligner}")


def _persons(part: Any) -> str:
    """How many are seen, where somebody says so."""
    return f" of {count(len(set(part.person)), 'person')}" if part.person[0] else ""


def _cost(out: Any, label: Any) -> Any:
    """Cross entropy of outputs [B, C] and labels [B]."""
    import optax

    return optax.softmax_cross_entropy_with_integer_labels(out, label).mean()


def _own(args: argparse.Namespace) -> tuple[Any, Any, list[str]]:
    """(faces to train on, faces to test on, labels) of the user's pictures."""
    from data_prep.backbones import pictures
    from data_prep.faces.align import ALIGNERS

    errors.one_of("--aligner", args.aligner, ALIGNERS)
    found = pictures.find(args.pictures)
    held, labels = pictures.hold_out(found, args.held_out, args.seed), sorted(set(found.label))
    parts, lost = [], 0
    for part in (found.take(~held), found.take(held)):
        faces, left_out = pictures.crop(part, labels, args.aligner, args.size, args.workers, progress_bar())
        parts.append(faces)
        lost += left_out
    gone = f"; {lost} left out: damaged, or without a face" if lost else ""
    print(f"{count(len(found.path), 'picture')}, labels {', '.join(labels)}{gone}")
    return *parts, labels


def _drawn(args: argparse.Namespace) -> tuple[Any, Any, list[str]]:
    """The same of drawn people, of whom the last are held out."""
    from data_prep import synthetic
    from data_prep.backbones import pretrain
    from data_prep.backbones.pictures import Faces

    errors.at_least("--drawn", args.drawn, 2)
    if args.size != pretrain.SIZE or args.aligner != "cascade":
        raise UserError(f"--drawn: drawn people have faces of {pretrain.SIZE} pixels, found by cascade")
    held = min(max(round(args.held_out * args.drawn), 1), args.drawn - 1)
    parts, first = [], synthetic.FIRST_STILL
    for number in (args.drawn - held, held):
        drawn = pretrain.draw(args.seed, first, number, 20, args.workers)
        parts.append(Faces(pretrain.crop(drawn.images), drawn.label, drawn.person.astype(str)))
        first += number
    return *parts, ["none", *synthetic.CLASSES]
