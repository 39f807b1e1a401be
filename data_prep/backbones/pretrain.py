"""Trains the backbone "slim" on drawn faces: ``python -m data_prep.backbones.pretrain --out FILE.safetensors``.

A ResNet18 with a sixteenth of the usual multiplications learns to tell the expressions of drawn people, none of whom
is a subject of the built-in data set, and how strong they are. It goes through the same face finder and crop as videos
do. About ten minutes on two cores. Real faces deserve weights that were trained on real faces.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.backbones import training
from fedn_jax.core import processes
from fedn_jax.core.types import Array, Tree

SIZE = 112  # side of the input, pixels
MARGIN = 4  # pixels around it that a random shift may show
MEAN, STD = (0.5, 0.4, 0.35), (0.25, 0.25, 0.25)  # of drawn faces, roughly; [0, 1]
CLASSES = 5  # no expression, then those of synthetic.CLASSES


class Stills(NamedTuple):
    """Cropped pictures; N of them."""

    images: np.ndarray  # [N, SIZE + 2 MARGIN, SIZE + 2 MARGIN, 3] uint8
    label: np.ndarray  # [N] int32, 0 for no expression
    strength: np.ndarray  # [N] float32, 0 to 1
    person: np.ndarray  # [N] int32, number of who is drawn


def person(seed: int, per_identity: int, number: int) -> Stills:
    """Draws and crops the pictures of one person.

    Args:
      seed: of the drawing.
      per_identity: pictures to draw.
      number: of the person.

    Returns:
      The pictures in which the detector finds a face.
    """
    import cv2

    from data_prep import synthetic
    from data_prep.faces.align import cut
    from data_prep.faces.find import Finder

    cv2.setNumThreads(1)
    finder, side = Finder(), SIZE + 2 * MARGIN
    images, labels, strengths = [], [], []
    for frame, label, strength in synthetic.stills(seed, number, 1, per_identity):
        pose = finder.find(frame)
        if pose is None:
            continue
        # The same crop as in a video, and a margin around it.
        wide = pose.copy()
        wide[:, :2] *= side / SIZE
        wide[:, 2] -= pose[:, :2] @ (MARGIN / SIZE, MARGIN / SIZE)
        images.append(cut(frame, wide, side, side / float(np.linalg.norm(wide[:, 0]))).image)
        labels.append(label + 1)
        strengths.append(strength)
    pictures = np.array(images, np.uint8).reshape(len(images), side, side, 3)
    who = np.full(len(images), number, np.int32)
    return Stills(pictures, np.array(labels, np.int32), np.array(strengths, np.float32), who)


def draw(seed: int, first: int, num_identities: int, per_identity: int, workers: int) -> Stills:
    """Draws many people.

    Args:
      seed: of the drawing.
      first: number of the first person.
      num_identities: people.
      per_identity: pictures of each.
      workers: processes; the result does not depend on it.

    Returns:
      All pictures, in the order of the people.
    """
    numbers = range(first, first + num_identities)
    with processes.pool(workers) as pool:
        parts = list(pool.map(partial(person, seed, per_identity), numbers, chunksize=4))
    return Stills(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def crop(images: np.ndarray) -> np.ndarray:
    """The middle, without augmentation.

    Args:
      images: [B, SIZE + 2 MARGIN, SIZE + 2 MARGIN, 3] uint8.

    Returns:
      [B, SIZE, SIZE, 3] uint8.
    """
    return images[:, MARGIN : MARGIN + SIZE, MARGIN : MARGIN + SIZE]


def cost(out: Array, label: Array, strength: Array) -> Array:
    """What training lowers.

    Args:
      out: [B, CLASSES + 1] float, of the linear layer.
      label: [B] int.
      strength: [B] float.

    Returns:
      [] float.
    """
    import jax
    import optax

    target = optax.smooth_labels(jax.nn.one_hot(label, CLASSES), 0.05)
    loss = optax.softmax_cross_entropy(out[:, :CLASSES], target).mean()
    return loss + ((out[:, CLASSES] - strength) ** 2).mean()


def accuracy(data: Stills, backbone: Any, head: Tree) -> tuple[float, float]:
    """Tests the backbone as it will be used: folded, through ``embed``.

    Args:
      data: pictures of other people.
      backbone: the ``embed.Backbone``.
      head: "kernel" [D, CLASSES + 1] and "bias".

    Returns:
      Accuracy over all classes, and over pictures with a strength of at least one half (and those without any).
    """
    out = training.outputs_of(crop(data.images), backbone, head)
    right = out[:, :CLASSES].argmax(1) == data.label
    clear = (data.strength >= 0.5) | (data.label == 0)
    return float(right.mean()), float(right[clear].mean())


def main(argv: list[str] | None = None) -> None:
    """Runs the command.

    Args:
      argv: arguments; None takes those of the process.
    """
    from data_prep import synthetic
    from data_prep.backbones.embed import load_backbone, save_backbone
    from fedn_jax.models.resnet import SLIM

    parser = argparse.ArgumentParser(prog="python -m data_prep.backbones.pretrain", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--identities", type=int, default=400, help="people to train on (default: 400)")
    parser.add_argument("--held-out", type=int, default=64, help="people to test on (default: 64)")
    parser.add_argument("--per-identity", type=int, default=20, help="pictures of each (default: 20)")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the pictures (default: 10)")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures per step (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="drawing processes (default: one per core)")
    args = parser.parse_args(argv)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    first = synthetic.FIRST_STILL
    data = draw(args.seed, first, args.identities, args.per_identity, args.workers)
    held_out = draw(args.seed, first + args.identities, args.held_out, args.per_identity, args.workers)
    drawn = (args.identities + args.held_out) * args.per_identity
    say(f"{drawn} pictures drawn, a face found in {len(data.label) + len(held_out.label)}")
    plan = training.Plan(SLIM, SIZE, MEAN, STD, args.epochs, args.batch_size, args.seed)
    variables = training.train(data.images, (data.label, data.strength), CLASSES + 1, cost, plan, say)
    settings = (training.folded(variables), SLIM, MEAN, STD, SIZE)
    save_backbone(args.out, *settings, {"description": "not tested yet"})
    every, clear = accuracy(held_out, load_backbone(args.out), variables["head"])
    options = " ".join(
        f"--{name.replace('_', '-')} {value}" for name, value in vars(args).items() if name not in ("out", "workers")
    )
    save_backbone(args.out, *settings, {
        "description": "slim ResNet18, pretrained on drawn faces",
        "command": f"python -m data_prep.backbones.pretrain --out FILE {options}",
        "data": f"{len(data.label)} pictures of {args.identities} drawn people, none of the built-in data set",
        "accuracy": f"{every:.4f} of {len(held_out.label)} pictures of {args.held_out} other drawn people, 5 classes; "
        f"{clear:.4f} of those of strength 0.5 and more or without an expression",
        "licence": "made from code of this project alone; same licence",
    })  # fmt: skip
    say(f"held-out accuracy {every:.3f}, of clear expressions {clear:.3f}; {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
