"""How fast are training and prediction against the same network in PyTorch?

Peer: the literal network of `fedn_jax.torch_parity.reference`, and its economical form, which computes the same with
less; with one thread and with all, and with `--compile` through `torch.compile`, which takes minutes. Targets: training
at least 3 times the literal PyTorch, prediction in whole videos at least 5 times. On a machine where both see a GPU,
both use it.

Everything runs in one process, warm, float32, in turn. Timed are the network, the loss and the update for training
("train"), the network alone in a batch ("predict") and in a whole video, whose windows overlap ("video"). Cutting
windows and matching targets, which the reference does in Python loops, are left out for the reference always; for ours
they are left out in batches and counted in the video. Mapped folds count the windows of all folds; PyTorch trains folds
one after another, so its figure for one fold is that for several.

    python benchmarks/torch_reference.py            # the paper's size
    python benchmarks/torch_reference.py --small    # narrow, to try the code
"""

import argparse
import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import _timing
import jax
import jax.numpy as jnp
import torch

from fedn_jax.core import config as configs
from fedn_jax.core.types import Context
from fedn_jax.engine import predict as predictions
from fedn_jax.engine import train_step
from fedn_jax.ops import windows
from fedn_jax.torch_parity import cases
from fedn_jax.torch_parity import network as networks
from fedn_jax.torch_parity.reference import losses, training

BATCH, FOLDS = 16, 4
FRAMES, HOP = 1200, 16  # of the whole video; frames between its windows
WORK = ("train", "predict", "video")


class Contender(NamedTuple):
    """Something to time."""

    name: str
    work: str  # entry of WORK
    windows: int  # per call
    call: Callable[[], Any]  # returns when the work is done


class Setting(NamedTuple):
    """What both sides work on."""

    pair: cases.Pair
    batch: cases.Batch
    video: cases.Data
    count: int  # windows of the video


def setting(small: bool) -> Setting:
    """Two networks with the same weights, a batch and a video without gaps."""
    width = cases.WIDTH if small else 512
    pair = cases.make(cases.configure({}, networks.SMALL if small else {}), classes=4, width=width)
    video = cases.toy((FRAMES,), width=width, classes=4, gaps=False)
    count = len(windows.starts(windows.num_segments(FRAMES, pair.geometry), pair.geometry, HOP))
    return Setting(pair, cases.batch(pair, video, range(BATCH)), video, count)


def on_gpu() -> bool:
    """Whether both libraries see a GPU; else both run on the CPU."""
    return torch.cuda.is_available() and jax.default_backend() == "gpu"


# ---- Ours -----------------------------------------------------------------------------------------------------------


def ours(given: Setting, folds: int) -> Iterator[Contender]:
    """Our network, one fold or several mapped; with one fold, also prediction of a whole video."""
    pair, batch, video, count = given
    task, hyper = pair.task, configs.to_hyper(pair.config)
    targets = jax.device_get(jax.vmap(task.targets)(batch.events))
    context = Context(batch.weight, batch.valid, batch.inside, None)

    def forward(params: Any, inputs: Any) -> dict[str, Any]:
        got = windows.Gathered(inputs, batch.valid, batch.inside)
        return task.apply({"params": params}, got, batch.weight, False, jax.random.key(0))[0]

    def predict(params: Any, inputs: Any) -> tuple:
        outputs = forward(params, inputs)
        return outputs["offsets"], outputs["free"], outputs["logits"]

    def step(params: Any, moments: Any, inputs: Any) -> tuple:
        objective = lambda params: task.loss(forward(params, inputs), targets, context, hyper)[0]
        updates, moments = train_step.make_optimizer(hyper).update(jax.grad(objective)(params), moments, params)
        return jax.tree.map(jnp.add, params, updates), moments

    name, init = "JAX", train_step.make_optimizer(hyper).init
    params, inputs = jax.device_put((pair.params, batch.inputs))
    if folds > 1:
        name, init, predict, step = f"JAX, {folds} folds mapped", jax.vmap(init), jax.vmap(predict), jax.vmap(step)
        params, inputs = jax.tree.map(lambda x: jnp.stack([x] * folds), (params, inputs))
    compiled, update = jax.jit(predict), jax.jit(step, donate_argnums=(0, 1))
    state = [jax.tree.map(jnp.array, params), init(params)]

    def advance() -> None:
        state[:] = update(*state, inputs)
        jax.block_until_ready(state)

    yield Contender(name, "predict", folds * BATCH, lambda: jax.block_until_ready(compiled(params, inputs)))
    yield Contender(name, "train", folds * BATCH, advance)
    if folds == 1:
        predictor = predictions.make_predictor(task, pair.geometry, HOP, 2 * BATCH)
        store, variables = jax.device_put(video.store), {"params": params}
        yield Contender(name, "video", count, lambda: predictor(variables, store, video.metas[0]))


# ---- PyTorch --------------------------------------------------------------------------------------------------------


def economical(network: Any) -> Any:
    """The reference with our form of the segment attention; it computes the same on windows without gaps.

    Projections once per frame instead of once per segment, the mean over queries before the output projection, the
    weighted sum of frames before the reduction.
    """
    fusion, sizes = network.fusion, network.settings
    attention, heads = fusion.attention, fusion.attention.num_heads
    index = torch.arange(sizes.segments)[:, None] * sizes.stride + torch.arange(sizes.segment_frames)
    index = index.to(next(network.parameters()).device)  # [S, F]

    def fuse(frames: Any, frames_valid: Any, segments_inside: Any) -> tuple:
        width = frames.shape[-1]
        projected = torch.nn.functional.linear(frames, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (
            part[:, index].unflatten(-1, (heads, -1)).transpose(2, 3) for part in projected.chunk(3, -1)
        )  # [B, S, heads, F, D / heads]
        weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(width / heads), -1)
        summary = attention.out_proj((weights.mean(-2, keepdim=True) @ value).flatten(2))  # [B, S, D]
        importance = (frames @ fusion.score.weight[0, :width])[:, index]  # [B, S, F]
        frame = (torch.softmax(importance, -1).unsqueeze(-2) @ frames[:, index]).squeeze(-2)  # [B, S, D]
        return fusion.reduce(torch.cat([frame, summary], -1)), segments_inside

    other = copy.copy(network)  # the same parameters
    other.fuse = fuse
    return other


def theirs(given: Setting, form: str, threads: int, compiled: bool = False) -> Iterator[Contender]:
    """The reference, "literal" or "economical"."""
    pair, batch, video, count = given
    device = torch.device("cuda" if on_gpu() else "cpu")
    network = copy.deepcopy(pair.network).to(device)
    network = economical(network) if form == "economical" else network
    on_device = jax.tree.map(lambda x: x.to(device), batch.theirs)
    args = [on_device[name] for name in ("frames", "frames_valid", "segments_inside")]
    cut = cases.peers_windows(pair, video, HOP)[0]
    columns = [cut[name].to(device).split(2 * BATCH) for name in ("frames", "frames_valid", "segments_inside")]
    forward = torch.compile(network) if compiled else network
    optimizer = training.make_optimizer(network)

    def timed(work: Callable[[], Any], train: bool) -> Callable[[], None]:
        def call() -> None:
            torch.set_num_threads(threads)
            network.train(train)
            with torch.set_grad_enabled(train):
                work()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return call

    def step() -> None:
        optimizer.zero_grad()
        losses.total(forward(*args), on_device["targets"], on_device["weight"], pair.settings)[0].backward()
        optimizer.step()

    name = f"PyTorch, {form}" + (", compiled" if compiled else "") + f", {threads} thread{'s' * (threads > 1)}"
    yield Contender(name, "predict", BATCH, timed(lambda: forward(*args), False))
    yield Contender(name, "video", count, timed(lambda: [forward(*part) for part in zip(*columns, strict=True)], False))
    yield Contender(name, "train", BATCH, timed(step, True))


# ---- The table ------------------------------------------------------------------------------------------------------


def ratio(work: str, rates: dict[str, float]) -> str:
    """Our best against the literal PyTorch, and against its best form, in words."""
    best = lambda start: max(rate for name, rate in rates.items() if name.startswith(start))
    literal, other = (best("JAX") / best(name) for name in ("PyTorch, literal", "PyTorch"))
    return f"{work}: {literal:.1f} x PyTorch literal, {other:.1f} x PyTorch at its best"


def measure(contenders: Sequence[Contender], rounds: int) -> dict[str, list[str]]:
    """Times everything in turn: kind of work -> its lines of the table, the ratio last."""
    lines = {}
    for work in WORK:
        some = [one for one in contenders if one.work == work]
        seconds = _timing.in_turn([one.call for one in some], rounds)
        rates = {one.name: one.windows / taken.median for one, taken in zip(some, seconds, strict=True)}
        lines[work] = [
            f"{work:<10}{one.name:<40}{rates[one.name]:>12.1f}{one.windows / taken.best:>12.1f}"
            for one, taken in zip(some, seconds, strict=True)
        ] + [ratio(work, rates)]
    return lines


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="narrow sizes, to try the code")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes")
    args = parser.parse_args()
    print(f"{_timing.machine()}, torch {torch.__version__}")
    device = jax.devices("gpu" if on_gpu() else "cpu")[0]
    threads = sorted({1, os.cpu_count() or 1}) if device.platform == "cpu" else [1]
    with jax.default_device(device):
        given = setting(args.small)
        contenders = [*ours(given, 1), *ours(given, FOLDS)]
        for form in ("literal", "economical"):
            contenders += [one for count in threads for one in theirs(given, form, count)]
        if args.compile:
            contenders += theirs(given, "economical", threads[-1], compiled=True)
        lines = measure(contenders, rounds=2 if args.small else 5)
    print(f"{device.device_kind}; a batch of {BATCH} windows, a video of {FRAMES:,} frames with windows every {HOP}")
    print(f"{'':<50}{'windows/s':>12}{'at best':>12}")
    print("\n".join(line for work in WORK for line in lines[work][:-1]))
    print("\n".join(lines[work][-1] for work in WORK))


if __name__ == "__main__":
    main()
