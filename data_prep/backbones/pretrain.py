"""Trains the backbone "slim" on drawn faces: ``python -m data_prep.backbones.pretrain --out FILE.safetensors``.

A ResNet18 with a sixteenth of the usual multiplications learns to tell the expressions of drawn people, none of whom
is a subject of the built-in data set, and how strong they are. It goes through the same face finder and crop as videos
do. About ten minutes on two cores. Real faces deserve weights that were trained on real faces.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
    return Stills(pictures, np.array(labels, np.int32), np.array(strengths, np.float32))


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


def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves, mirrors, lights and blurs pictures as the aligner's rest and cameras do.

    Args:
      images: [B, SIZE + 2 MARGIN, SIZE + 2 MARGIN, 3] uint8.
      rng: source of the variation.

    Returns:
      [B, SIZE, SIZE, 3] uint8.
    """
    import cv2

    result = np.empty((len(images), SIZE, SIZE, 3), np.uint8)
    for i, image in enumerate(images):
        angle, scale = rng.normal(0, 0.02), np.exp(rng.normal(0, 0.025))
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        mirror = -1 if rng.random() < 0.5 else 1
        linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
        centre = (len(image) - 1) / 2 + rng.normal(0, 1.2, 2)
        transform = np.column_stack([linear, centre - linear @ ((SIZE - 1) / 2, (SIZE - 1) / 2)])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        face = cv2.warpAffine(image, transform, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        if rng.random() < 0.3:
            face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.4, 1.0))
        result[i] = cv2.convertScaleAbs(face, alpha=rng.uniform(0.8, 1.2), beta=0)
    return result


def crop(images: np.ndarray) -> np.ndarray:
    """The middle, without augmentation.

    Args:
      images: [B, SIZE + 2 MARGIN, SIZE + 2 MARGIN, 3] uint8.

    Returns:
      [B, SIZE, SIZE, 3] uint8.
    """
    return images[:, MARGIN : MARGIN + SIZE, MARGIN : MARGIN + SIZE]


def make_step(model: Any, optimizer: Any) -> Callable[..., tuple[Tree, Tree, Array]]:
    """Builds the training step.

    Args:
      model: ``ResNet18(norm=True)``.
      optimizer: of optax.

    Returns:
      Jitted (variables, opt_state, images [B, H, W, 3] uint8, label [B], strength [B]) -> (variables, opt_state, loss).
      ``variables`` hold "backbone" (params), "batch_stats" and "head".
    """
    import jax
    import jax.numpy as jnp
    import optax

    def loss_of(trained: Tree, stats: Tree, images: Array, label: Array, strength: Array) -> Any:
        x = normalise(images)
        state = {"params": trained["backbone"], "batch_stats": stats}
        features, updated = model.apply(state, x, train=True, mutable=["batch_stats"])
        out = features @ trained["head"]["kernel"] + trained["head"]["bias"]  # [B, CLASSES + 1]
        target = optax.smooth_labels(jax.nn.one_hot(label, CLASSES), 0.05)
        loss = optax.softmax_cross_entropy(out[:, :CLASSES], target).mean()
        return loss + ((out[:, CLASSES] - strength) ** 2).mean(), updated["batch_stats"]

    def step(variables: Tree, opt_state: Tree, images: Array, label: Array, strength: Array) -> Any:
        trained = {"backbone": variables["backbone"], "head": variables["head"]}
        grad = jax.value_and_grad(loss_of, has_aux=True)
        (loss, stats), grads = grad(trained, variables["batch_stats"], images, label, strength)
        updates, opt_state = optimizer.update(grads, opt_state, trained)
        return {**optax.apply_updates(trained, updates), "batch_stats": stats}, opt_state, loss

    def normalise(images: Array) -> Array:
        return (images.astype(jnp.float32) / 255 - jnp.array(MEAN)) / jnp.array(STD)

    return jax.jit(step, donate_argnums=(0, 1))


def train(data: Stills, epochs: int, batch_size: int, seed: int, say: Callable[[str], None]) -> Tree:
    """Trains from scratch.

    Args:
      data: pictures.
      epochs: passes over them.
      batch_size: pictures per step.
      seed: of weights, order and augmentation.
      say: receives a line per epoch.

    Returns:
      Variables, see :func:`make_step`.
    """
    import jax
    import optax

    from fedn_jax.models.resnet import SLIM, ResNet18

    model, steps = ResNet18(SLIM, norm=True), len(data.label) // batch_size
    backbone = jax.jit(model.init)(jax.random.key(seed), np.zeros((1, SIZE, SIZE, 3), np.float32))
    head = {"kernel": np.zeros((SLIM[-1], CLASSES + 1), np.float32), "bias": np.zeros(CLASSES + 1, np.float32)}
    variables = {"backbone": backbone["params"], "batch_stats": backbone["batch_stats"], "head": head}
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(epochs * steps, 3e-3, 0.15), weight_decay=1e-2)
    opt_state = optimizer.init({"backbone": variables["backbone"], "head": head})
    step = make_step(model, optimizer)
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        order, losses = rng.permutation(len(data.label)), []
        for i in range(steps):
            rows = order[i * batch_size : (i + 1) * batch_size]
            images = augment(data.images[rows], rng)
            variables, opt_state, loss = step(variables, opt_state, images, data.label[rows], data.strength[rows])
            losses.append(loss)
        say(f"epoch {epoch + 1}/{epochs}: loss {np.mean(jax.device_get(losses)):.3f}")
    return jax.device_get(variables)


def accuracy(data: Stills, backbone: Any, head: Tree) -> tuple[float, float]:
    """Tests the backbone as it will be used: folded, through ``embed``.

    Args:
      data: pictures of other people.
      backbone: the ``embed.Backbone``.
      head: "kernel" [D, CLASSES + 1] and "bias".

    Returns:
      Accuracy over all classes, and over pictures with a strength of at least one half (and those without any).
    """
    from data_prep.backbones.embed import embed

    out = embed(crop(data.images), backbone).astype(np.float32) @ head["kernel"] + head["bias"]
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
    from fedn_jax.models.resnet import SLIM, fold

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
    variables = train(data, args.epochs, args.batch_size, args.seed, say)
    params = fold({"params": variables["backbone"], "batch_stats": variables["batch_stats"]})["params"]
    settings = (params, SLIM, MEAN, STD, SIZE)
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
