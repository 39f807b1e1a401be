"""Levels 3 and 4: what windows and targets are, exactly, and what outputs cost."""

import itertools
from collections.abc import Iterator

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.types import Context, Events
from fedn_jax.ops import windows
from fedn_jax.ops.targets import Targets
from fedn_jax.torch_parity import cases, measure
from fedn_jax.torch_parity import network as networks
from fedn_jax.torch_parity.measure import Difference, Level

LOSS_TOLERANCES = {"float32": 1e-6, "float64": 1e-12}
REACHES = {  # at the paper's size
    "CAS(ME)^2": [[0, 10], [8, 32], [16, 64], [64, 128]],
    "CAS(ME)^3": [[0, 16], [8, 32], [12, 64], [32, 128]],
}
ROOM = 4  # expressions of a window


def draw(rng: np.random.Generator, count: int, frames: int, classes: int, whole: bool) -> Events:
    """Random expressions of windows, with many ties: equal ones, mirrored ones, those that are anchors themselves.

    Args:
      rng: of all that is random.
      count: windows.
      frames: of a window.
      classes: C.
      whole: whole frames, as in data sets; else any number.

    Returns:
      [count, ROOM] expressions.
    """
    length = rng.choice([2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, frames], (count, ROOM))
    onset = rng.integers(0, frames - 1, (count, ROOM))
    onset = np.where(rng.random((count, ROOM)) < 0.5, onset // 4 * 4, onset)  # on the grid of the anchors
    offset = np.minimum(onset + length, frames)
    interval = np.stack([onset, offset], -1).astype(np.float64)
    interval[: count // 4, 1] = interval[: count // 4, 0]  # the same one twice
    interval[count // 4 : count // 2, 1] = frames - interval[count // 4 : count // 2, 0, ::-1]  # mirrored
    if not whole:
        interval += rng.random(interval.shape)
    emotion = rng.integers(0, classes, (count, ROOM)).astype(np.int32)
    valid = np.arange(ROOM) < rng.integers(0, ROOM + 1, (count, 1))
    apex = np.full((count, ROOM), -1, np.float32)
    return Events(interval, apex, emotion, np.zeros_like(emotion), valid)


def _assign(pair: cases.Pair, events: Events, dtype: str) -> tuple[Targets, dict[str, np.ndarray]]:
    """(ours, theirs)."""
    import torch

    from fedn_jax.torch_parity.reference import targets as reference

    events = events._replace(interval=events.interval.astype(dtype))
    with jax.enable_x64(dtype == "float64"):
        ours = jax.device_get(jax.jit(jax.vmap(pair.task.targets), compiler_options=measure.HASTY)(events))
    each = [
        reference.assign(interval, emotion, valid, pair.settings, pair.classes)
        for interval, emotion, valid in zip(events.interval, events.emotion, events.valid, strict=True)
    ]
    return ours, {name: torch.stack([one[name] for one in each]).numpy() for name in each[0]}


def _equal(name: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    return measure.difference(name, ours, theirs, scale=1.0)


def assignment(count: int = 120) -> Iterator[Level]:
    """Targets of random expressions: equal.

    Args:
      count: windows of each kind.

    Yields:
      One line per set of reaches and precision.
    """
    for (name, reaches), whole in itertools.product(REACHES.items(), (True, False)):
        dtype = "float32" if whole else "float64"  # the reference counts in float64 always
        pair = cases.make(cases.configure({"anchors.reaches": reaches, "window.segments": 64}))
        events = draw(np.random.default_rng(len(name) + whole), count, 128, cases.CLASSES, whole)
        ours, theirs = _assign(pair, events, dtype)
        positive = theirs["positive"]
        found = [_equal(part, getattr(ours, part), theirs[part]) for part in ("positive", "counted", "label")]
        found.append(_equal("interval", ours.interval * positive[..., None], theirs["interval"]))
        note = f"{count} windows, {int(positive.sum())} positives, {'whole frames, ties' if whole else 'any numbers'}"
        yield measure.judge("3 targets", f"reaches of {name}", f"exact, {dtype}", 0.0, found, note)


def cutting() -> Iterator[Level]:
    """Windows of videos, planned and cut by both sides: equal.

    Yields:
      One line per kind of input.
    """
    for context, rows in (("video", 1), ("window", 1), ("video", 2)):
        changes = {"window.context": context, "model.segment_fusion": "none" if rows == 2 else "mean"}
        pair = cases.make(cases.configure(changes))
        data = cases.toy((201, 200, 64, 65, 40), frames_per_row=rows)
        plan = windows.plan(data.metas, data.events, pair.geometry, 16, 0.9)
        got = cases.batch(pair, data, range(len(plan.start)))
        theirs = {name: got.theirs[name].numpy() for name in ("frames", "frames_valid", "segments_inside")}
        seen = theirs["frames_valid"][:, windows.segment_rows(pair.geometry)].any(-1)
        found = [
            _equal("frames", got.inputs, theirs["frames"]),
            _equal("frames_valid", got.valid, theirs["frames_valid"]),
            _equal("segments_inside", got.inside, theirs["segments_inside"] & seen),
        ]
        starts = [start for one in cases.peers_windows(pair, data, 16) for start in one["starts"].tolist()]
        found.append(_equal("starts", plan.start * pair.geometry.stride, np.array(starts)))
        note = f"{len(starts)} windows of 5 videos, with gaps, odd and short ones; {rows} frame(s) per row"
        yield measure.judge("3 targets", f"windows, context {context}", "exact", 0.0, found, note)


def costs(precisions: tuple[str, ...] = ("float32", "float64")) -> Iterator[Level]:
    """Losses of random outputs, with padding in the batch, and their gradients.

    Args:
      precisions: of float32, float64.

    Yields:
      One line per precision; the worst combination of options is named.
    """
    rng = np.random.default_rng(2)
    options = list(itertools.product(("iou", "giou", "diou"), ("binary", "confidence"), (True, False)))
    pairs = {}
    for interval, scoring, normalize in options:
        changes = {"loss.interval": interval, "model.scoring": scoring, "loss.normalize": normalize}
        name = f"{interval}, {scoring}, {'normalised' if normalize else 'plain sum'}"
        pairs[name] = cases.make(cases.configure(changes))
    first = next(iter(pairs.values()))
    events = draw(rng, 6, first.geometry.frames, cases.CLASSES, True)
    positions, slots = len(networks.grid(first).centre), len(first.config.anchors.widths)
    outputs = {
        "offsets": rng.normal(size=(6, positions, slots, 2)), "free": 3 * rng.random((6, positions, 2)),
        "logits": 2 * rng.normal(size=(6, positions, slots + 1, cases.CLASSES + 1)),
    }  # fmt: skip
    outputs = {name: array.astype(np.float32) for name, array in outputs.items()}
    outputs["positions"] = rng.random((6, positions)) < 0.8
    weight = np.array([1, 1, 0, 1, 1, 0], np.float32)
    for dtype in precisions:
        found, given, right = [], networks.cast(outputs, dtype), _assign(first, networks.cast(events, dtype), dtype)
        for name, pair in pairs.items():
            ours, theirs = _costs(pair, given, right, weight.astype(dtype), dtype)
            found += measure.differences(
                {f"{key} ({name})": value for key, value in ours.items()},
                {f"{key} ({name})": value for key, value in theirs.items()},
            )
        yield measure.judge("4 losses", "random outputs, all options", dtype, LOSS_TOLERANCES[dtype], found)


def _costs(pair: cases.Pair, outputs: dict, targets: tuple, weight: np.ndarray, dtype: str) -> tuple[dict, dict]:
    """Losses and gradients with respect to the outputs, given the targets of both sides: (ours, theirs)."""
    import torch

    from fedn_jax.torch_parity.reference import losses

    confidence = pair.config.model.scoring == "confidence"
    outputs = outputs | {"logits": outputs["logits"][..., : pair.classes + confidence]}
    hyper = configs.to_hyper(pair.config)
    floats = ("offsets", "free", "logits")

    def objective(free: dict):
        loss, parts = pair.task.loss(
            free | {"positions": outputs["positions"]}, targets[0], Context(weight, None, None, None), hyper
        )
        return loss, {"loss": loss, **parts}

    with jax.enable_x64(dtype == "float64"):
        program = jax.jit(jax.grad(objective, has_aux=True), compiler_options=measure.HASTY)
        gradients, ours = jax.device_get(program({n: outputs[n] for n in floats}))
    tensors = {name: torch.from_numpy(array.copy()) for name, array in outputs.items()}
    for name in floats:
        tensors[name].requires_grad_()
    right = {name: torch.from_numpy(array) for name, array in targets[1].items()}
    loss, parts = losses.total(tensors, right, torch.from_numpy(weight), pair.settings)
    loss.backward()
    theirs = {name: value.detach().numpy() for name, value in {"loss": loss, **parts}.items()}
    slopes = {name: tensors[name].grad.numpy() for name in floats}
    ours |= {f"gradient of {name}": gradients[name] for name in floats}
    return ours, theirs | {f"gradient of {name}": slopes[name] for name in floats}


def run(precisions: tuple[str, ...] = ("float32", "float64")) -> Iterator[Level]:
    """Levels 3 and 4.

    Args:
      precisions: of float32, float64.

    Yields:
      The lines.
    """
    yield from cutting()
    yield from assignment()
    yield from costs(precisions)
