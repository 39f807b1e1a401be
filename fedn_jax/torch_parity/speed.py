"""Speed side by side: one process, one machine, one batch, the same mathematics, warm; rounds in turn.

What is timed: the network, the loss and the update for training; the network alone for prediction in a batch and in a
whole video, whose windows overlap. Cutting windows and matching targets, which the reference does in Python loops, are
left out for the reference always; for ours they are left out in batches and counted in the video.
"""

import contextlib
import copy
import ctypes
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.engine import predict as predictions
from fedn_jax.engine import train_step as train
from fedn_jax.ops import windows
from fedn_jax.torch_parity import cases, economical

BATCH, FOLDS, ROUNDS = 16, 4, 5
FRAMES, HOP = 1200, 16  # of the whole video; frames between its windows
WORK = ("train", "predict", "video")
COMPILE_LIMIT = 180.0  # seconds that torch.compile may take


class Contender(NamedTuple):
    """Something to time."""

    name: str
    work: str  # entry of WORK
    windows: int  # per call
    call: Callable[[], Any]  # returns when the work is done
    flops: float | None  # of matrix products and convolutions, per window; None: not counted


class Speed(NamedTuple):
    """What was measured."""

    name: str
    work: str
    windows: float  # per second, median of the rounds
    best: float  # per second, fastest round
    mflop: float | None  # of matrix products and convolutions, per window
    megabytes: float | None  # that a call needs beyond what lies in memory before and after it; None: not measured


def count_flops(jaxpr: Any) -> float:
    """Multiplications and additions of all matrix products of a program.

    Args:
      jaxpr: of ``jax.make_jaxpr``.

    Returns:
      Twice the number of multiplications, as PyTorch counts.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * np.prod([shape[axis] for axis in contracted])
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += count_flops(inner)
    return total


def _setting(fusion: str, small: bool) -> tuple[cases.Pair, cases.Batch, cases.Data]:
    base = cases.NARROW if small else {}
    width = cases.WIDTH if small else 512
    pair = cases.make(cases.configure({"model.segment_fusion": fusion}, base), classes=4, width=width)
    data = cases.toy((FRAMES,), width=width, classes=4, gaps=False)
    return pair, cases.batch(pair, data, range(BATCH)), data


def ours(fusion: str, folds: int, small: bool) -> Iterator[Contender]:
    """Our network, one fold or several mapped.

    Args:
      fusion: entry of ``fusion.SEGMENT_FUSIONS``.
      folds: 1, or how many folds are mapped.
      small: narrow sizes.

    Yields:
      Prediction, then training; with one fold and without the literal form, also prediction of a whole video.
    """
    pair, batch, video = _setting(fusion, small)
    task, hyper = pair.task, configs.to_hyper(pair.config)
    targets = jax.device_get(jax.vmap(task.targets)(batch.events))

    def forward(params: Any, inputs: Any) -> dict[str, Any]:
        features = task.features({"params": params}, inputs, batch.valid)
        return task.outputs({"params": params}, features, batch.inside, False, jax.random.key(0))[0]

    def predict(params: Any, inputs: Any) -> tuple:
        outputs = forward(params, inputs)
        return outputs["offsets"], outputs["free"], outputs["logits"]

    def step(params: Any, moments: Any, inputs: Any) -> tuple:
        objective = lambda params: task.loss(forward(params, inputs), targets, batch.weight, hyper)[0]
        updates, moments = train.make_optimizer(hyper).update(jax.grad(objective)(params), moments, params)
        return jax.tree.map(jnp.add, params, updates), moments

    form = "literal" if fusion.endswith("literal") else "economical"
    name = f"JAX, {form}" + (f", {folds} folds mapped" if folds > 1 else "")
    flops = {
        "predict": count_flops(jax.make_jaxpr(predict)(pair.params, batch.inputs).jaxpr) / BATCH,
        "train": count_flops(
            jax.make_jaxpr(step)(pair.params, train.make_optimizer(hyper).init(pair.params), batch.inputs).jaxpr
        ) / BATCH,
    }  # fmt: skip
    params, inputs = jax.device_put((pair.params, batch.inputs))
    if folds > 1:
        predict, step = jax.vmap(predict), jax.vmap(step)
        params, inputs = jax.tree.map(lambda x: jnp.stack([x] * folds), (params, inputs))
    compiled = jax.jit(predict)
    yield Contender(
        name, "predict", folds * BATCH, lambda: jax.block_until_ready(compiled(params, inputs)), flops["predict"]
    )
    init = train.make_optimizer(hyper).init
    state = [jax.tree.map(jnp.array, params), (jax.vmap(init) if folds > 1 else init)(params)]
    update = jax.jit(step, donate_argnums=(0, 1))

    def advance() -> None:
        state[:] = update(*state, inputs)
        jax.block_until_ready(state)

    yield Contender(name, "train", folds * BATCH, advance, flops["train"])
    if folds > 1 or fusion.endswith("literal"):
        return
    predictor = predictions.make_predictor(task, pair.geometry, HOP, 2 * BATCH)
    store, variables, count = jax.device_put(video.store), {"params": params}, _count_windows(pair)
    yield Contender(name, "video", count, lambda: predictor(variables, store, video.metas[0]), None)


def _count_windows(pair: cases.Pair) -> int:
    return len(windows.starts(windows.num_segments(FRAMES, pair.geometry), pair.geometry, HOP))


def theirs(form: str, threads: int, small: bool, compiled: bool = False) -> Iterator[Contender]:
    """The reference.

    Args:
      form: "literal" or "economical".
      threads: of PyTorch.
      small: narrow sizes.
      compiled: with ``torch.compile``.

    Yields:
      Prediction in a batch and in a whole video, then training.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from fedn_jax.torch_parity.reference import losses
    from fedn_jax.torch_parity.reference import training as reference

    pair, batch, video = _setting("attention", small)
    device = torch.device("cuda" if on_gpu() else "cpu")
    network = copy.deepcopy(pair.network).to(device)
    network = economical.make(network) if form == "economical" else network
    given = jax.tree.map(lambda x: x.to(device), batch.theirs)
    args = (given["frames"], given["frames_valid"], given["segments_inside"])
    forward = torch.compile(network) if compiled else network
    optimizer = reference.make_optimizer(network)

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def predict() -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            forward(*args)
        finish()

    def step() -> None:
        torch.set_num_threads(threads)
        optimizer.zero_grad()
        losses.total(forward(*args), given["targets"], given["weight"], pair.settings)[0].backward()
        optimizer.step()
        finish()

    flops = {}
    for work, call in (("predict", predict), ("train", step)):
        with FlopCounterMode(display=False) as counter:
            with contextlib.nullcontext() if not compiled else torch.compiler.set_stance("force_eager"):
                network.train()  # evaluation has a fused attention that is not counted
                call()
        flops[work] = counter.get_total_flops() / BATCH
    name = f"PyTorch, {form}" + (", compiled" if compiled else "") + f", {threads} thread{'s' * (threads > 1)}"

    def prediction() -> None:
        network.eval()
        predict()

    cut = cases.peers_windows(pair, video, HOP)[0]
    columns = [cut[part].to(device).split(2 * BATCH) for part in ("frames", "frames_valid", "segments_inside")]

    def whole() -> None:
        torch.set_num_threads(threads)
        network.eval()
        with torch.no_grad():
            for part in zip(*columns, strict=True):
                forward(*part)
        finish()

    def train_step() -> None:
        network.train()
        step()

    yield Contender(name, "predict", BATCH, prediction, flops["predict"])
    yield Contender(name, "video", _count_windows(pair), whole, None)
    yield Contender(name, "train", BATCH, train_step, flops["train"])


def on_gpu() -> bool:
    """Whether both libraries see a GPU; else both run on the CPU.

    Returns:
      True or False.
    """
    import torch

    return torch.cuda.is_available() and jax.default_backend() == "gpu"


def can_compile(small: bool) -> str:
    """Tries ``torch.compile`` on the prediction.

    Args:
      small: narrow sizes.

    Returns:
      "" if it works within the limit, else why not.
    """
    start = time.perf_counter()
    try:
        next(theirs("economical", os.cpu_count() or 1, small, compiled=True)).call()
    except Exception as error:  # whatever its compiler raises
        return f"torch.compile failed: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    seconds = time.perf_counter() - start
    return f"torch.compile took {seconds:.0f} s" if seconds > COMPILE_LIMIT else ""


def peak(call: Callable[[], Any]) -> float | None:
    """Memory of the process that a call needs for a time.

    Args:
      call: what to run.

    Returns:
      Megabytes at the peak beyond those before; None where the system does not tell (it is Linux that does).
    """
    memory = Path("/proc/self/status")

    def read(name: str) -> float:
        return next(int(line.split()[1]) for line in memory.read_text().splitlines() if line.startswith(name)) / 1e3

    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # gives back what is free, so that it counts when it is used again
        before = read("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        return None
    call()
    return read("VmHWM") - before


def measure(contenders: Sequence[Contender], rounds: int = ROUNDS, seconds: float = 45.0) -> list[Speed]:
    """Times all in turn, so that what else the machine does hits all alike.

    Args:
      contenders: what to time.
      rounds: calls of each, after one to warm up and one to measure memory.
      seconds: stop the rounds when they have taken so long, but not before three.

    Returns:
      One figure per contender.
    """
    needed = []
    for one in contenders:
        one.call()
        needed.append(None if on_gpu() else peak(one.call))
    taken: list[list[float]] = [[] for _ in contenders]
    begun = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - begun > seconds:
            break
        for one, times in zip(contenders, taken, strict=True):
            start = time.perf_counter()
            one.call()
            times.append(time.perf_counter() - start)
    return [
        Speed(one.name, one.work, one.windows / statistics.median(times), one.windows / min(times),
              None if one.flops is None else one.flops / 1e6, megabytes)
        for one, times, megabytes in zip(contenders, taken, needed, strict=True)
    ]  # fmt: skip


def ratios(speeds: Sequence[Speed]) -> list[str]:
    """The two numbers that people ask for.

    Args:
      speeds: of ``run``.

    Returns:
      One line per kind of work: our best against the literal PyTorch, and against its best form.
    """
    lines = []
    for work in WORK:
        best = {
            start: max((one.windows for one in speeds if one.work == work and one.name.startswith(start)), default=0)
            for start in ("JAX", "PyTorch, literal", "PyTorch")
        }
        if all(best.values()):
            literal, other = (best["JAX"] / best[name] for name in ("PyTorch, literal", "PyTorch"))
            lines.append(f"{work}: {literal:.1f} x PyTorch literal, {other:.1f} x PyTorch at its best")
    return lines


def run(small: bool = False, rounds: int = ROUNDS, compiled: bool = False) -> tuple[list[Speed], list[str]]:
    """All figures.

    Args:
      small: narrow sizes, to try the code.
      rounds: calls of each.
      compiled: try ``torch.compile``, too, which takes minutes.

    Returns:
      (figures, what to know about them).
    """
    import torch

    device = jax.devices("gpu" if on_gpu() else "cpu")[0]
    why_not = can_compile(small) if compiled else "not asked for; benchmarks/torch_reference.py does"
    threads = sorted({1, os.cpu_count() or 1}) if device.platform == "cpu" else [1]
    before, speeds = torch.get_num_threads(), []
    with jax.default_device(device):
        makers = [
            functools.partial(ours, fusion, folds, small)
            for fusion, folds in (("attention_literal", 1), ("attention", 1), ("attention", FOLDS))
        ]
        makers += [functools.partial(theirs, form, n, small) for form in ("literal", "economical") for n in threads]
        if not why_not:
            makers.append(functools.partial(theirs, "economical", threads[-1], small, compiled=True))
        contenders = [one for maker in makers for one in maker()]
        for work in WORK:
            speeds += measure([one for one in contenders if one.work == work], rounds)
    torch.set_num_threads(before)
    notes = [
        f"{device.device_kind}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; jax {jax.__version__}, torch "
        f"{torch.__version__}; float32; {'narrow' if small else 'paper size'}; medians, in turn",
        f"train, predict: a batch of {BATCH} windows; video: {FRAMES:,} frames, windows every {HOP}",
        "mapped folds count the windows of all folds; PyTorch trains folds one after another, so its figure for one "
        "fold is that for several",
        "MFLOP: matrix products and convolutions per window, 2 per multiplication; other operations are not counted",
        "MB: memory of the process during a call, beyond what lies there before and after; rough, since what the "
        "allocator has kept from earlier calls is not seen",
    ]
    return speeds, notes + ([f"no torch.compile here: {why_not}"] if why_not else [])
