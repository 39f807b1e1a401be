"""How long does a whole leave-one-subject-out training take on a GPU, against its arithmetic and against PyTorch?

Stand-in embeddings of the size of CAS(ME)^2 (98 videos x 2,940 frames, 300 expressions, 22 folds x 30 epochs) or of
CAS(ME)^3 (100 folds), FEDN at the paper's size, through `parallel.run` as `fedn train` calls it. Peers: the arithmetic
(counted FLOP and bytes at the matmul rate and the bandwidth that this run measures), and the literal network in PyTorch
(`fedn_jax.torch_parity.reference`), fold by fold: some hundred steps, multiplied up. Targets on one H100: CAS(ME)^2 in
60 s and 20 times PyTorch; CAS(ME)^3 in 30 min. Needs jax, flax, optax and numpy only; torch for the peer.

    python benchmarks/gpu.py [--data casme3] [--profile DIR] [--batch 64] [--epochs 30] [--peer-steps 200]
    python benchmarks/gpu.py --precision BF16_BF16_F32      # of matrix products; losses and parameters stay float32
    python benchmarks/gpu.py --small        # a rehearsal on any machine: narrow layers, few folds and steps
"""

import argparse
import time
from pathlib import Path

import _count
import _standin
import _timing
import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core.types import Context
from fedn_jax.data import splits
from fedn_jax.engine import memory, parallel, train_step
from fedn_jax.ops import windows

DATA = {"casme2": _standin.CASME2, "casme3": _standin.CASME3}
SMALL = _standin.Size(subjects=3, videos=3, frames=900, expressions=12, classes=4, width=64)
H100 = "data sheet of an H100 SXM: 495 TFLOP/s in TF32, dense, 3.35 TB/s"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, default="casme2")
    parser.add_argument("--small", action="store_true", help="a rehearsal")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--memory", type=float, default=0.0, help="GB that states may fill; 0 asks the device")
    parser.add_argument("--peer-steps", type=int, default=200)
    parser.add_argument("--precision", help="of matrix products, as of jax_default_matmul_precision; default: TF32")
    parser.add_argument("--profile", type=Path, help="directory for a profile of one epoch (TensorBoard, Perfetto)")
    args = parser.parse_args()
    args.epochs = args.epochs or (2 if args.small else 30)
    if args.small:
        args.batch, args.peer_steps = 8, 3
    return args


def limits(small: bool) -> tuple[float, float]:
    """(FLOP/s of a plain matrix product, bytes/s of a plain pass over memory), measured here."""
    side = 1024 if small else 8192
    square, many = jnp.ones((side, side)), [jnp.ones(16 * 1024**2 if small else 1024**3)]
    product, bump = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + 1, donate_argnums=0)

    def pass_over() -> None:
        many[0] = bump(many[0]).block_until_ready()  # in place: no new memory is asked for

    seconds = _timing.in_turn([lambda: product(square).block_until_ready(), pass_over], rounds=5)
    return 2 * side**3 / seconds[0].best, 2 * many[0].nbytes / seconds[1].best


def train_all(programs: list[parallel.Program], compiling: float, budget: _count.Budget, args: argparse.Namespace):
    """Trains every fold; prints what it takes; returns the seconds of all, with and without compilation.

    Args:
      programs: of all folds.
      compiling: seconds that were spent on compiling them.
      budget: what they count.
      args: of the command line.
    """
    begin, running, number_of_folds = time.perf_counter() - compiling, [], 0
    for number, program in enumerate(programs):
        folds = program.slots.num_folds
        number_of_folds += folds
        stream, seconds = parallel.run(program, range(args.epochs)), []
        for index in range(args.epochs):
            traced = args.profile is not None and (number, index) == (0, 1)
            if traced:
                jax.profiler.start_trace(str(args.profile))
            start = time.perf_counter()
            _, metrics, _ = next(stream)
            seconds.append(time.perf_counter() - start)
            if traced:
                jax.profiler.stop_trace()
        steady = float(np.median(seconds[1:] or seconds))
        compiling += max(0.0, seconds[0] - steady)
        running.append(steady)
        print(f"program {number + 1}: {folds} folds, {steady:.3f} s per epoch, loss {metrics['loss'].mean():.3f}")
        stream.close()
    total, epoch_seconds = time.perf_counter() - begin, sum(running)
    print(f"all folds, {args.epochs} epochs: {total:.1f} s, of which {compiling:.1f} s before the first step")
    print(
        f"{epoch_seconds / number_of_folds * 1e3:.1f} ms per fold and epoch, "
        f"{budget.windows / epoch_seconds:,.0f} windows/s, {budget.flops / epoch_seconds / 1e12:.3g} TFLOP/s"
    )
    return total, args.epochs * epoch_seconds


def parts(problem: _standin.Problem, count: int, batch: int) -> None:
    """Prints where the time of a step goes: the gather, forward, with backward, and the whole step; mapped folds."""
    step = train_step.make_train_step(problem.task, problem.geometry)
    chosen = _standin.first_of_each(problem.folds, count)
    fold = jax.tree.map(jnp.asarray, train_step.Fold(chosen.key, chosen.positive, chosen.negative, chosen.census))
    state = jax.jit(jax.vmap(problem.init, in_axes=(0, None)))(fold, _standin.hyper())
    first = jax.tree.map(lambda column: column[0], fold)
    store, plan = jax.tree.map(jnp.asarray, (problem.store, problem.windows))
    batches = jnp.broadcast_to(jnp.arange(batch, dtype=jnp.int32), (count, batch))
    key = jax.random.key(0)

    def gather(batch):
        cut = jax.vmap(windows.gather, in_axes=(None, 0, 0, 0, 0, None))
        columns = (column[batch] for column in (plan.row, plan.num_rows, plan.start, plan.num_segments))
        return cut(store, *columns, problem.geometry)

    def loss(params, batch):
        got, targets = gather(batch), jax.vmap(problem.task.targets)(jax.tree.map(lambda c: c[batch], plan.events))
        weight = jnp.ones(len(batch))
        outputs, _ = problem.task.apply({"params": params}, got, weight, True, key)
        return problem.task.loss(outputs, targets, Context(weight, got.valid, got.inside, None), _standin.hyper())[0]

    programs = {
        "gather": lambda state, batch: gather(batch),
        "gather, forward": lambda state, batch: loss(state.params, batch),
        "gather, forward, backward": lambda state, batch: jax.grad(loss)(state.params, batch),
        "whole step": lambda state, batch: step(state, key, batch, first, _standin.hyper(), store, plan)[0],
    }
    print(f"one step of {count} folds, batch {batch}:")
    for name, program in programs.items():
        mapped = jax.jit(jax.vmap(program))
        seconds = _timing.in_turn([lambda: jax.block_until_ready(mapped(state, batches))], 5)[0]  # noqa: B023
        print(f"  {name:<28}{seconds.median * 1e3:>10.2f} ms")


def peer(problem: _standin.Problem, args: argparse.Namespace) -> float | None:
    """Seconds of one step of the literal network in PyTorch, or None without torch (or its GPU beside ours)."""
    try:
        import torch
    except ImportError:
        return None
    cuda = torch.cuda.is_available()
    if jax.default_backend() == "gpu" and not cuda:
        return None
    from fedn_jax.torch_parity.reference import model, training

    torch.set_default_device("cuda" if cuda else "cpu")
    torch.set_float32_matmul_precision("high")
    ours, names = options(args), ("width", "head_width", "head_depth", "heads", "groups")
    sizes = {name: getattr(ours.model, name) for name in names}
    settings = model.Settings(reaches=tuple(map(tuple, ours.anchors.reaches)), **sizes)
    meta, events = problem.metas[0], problem.windows.events
    classes = DATA[args.data].classes if not args.small else SMALL.classes
    rows = torch.as_tensor(np.asarray(problem.store.inputs[: meta.num_frames], np.float32))
    cut = training.windows(rows, torch.ones(len(rows), dtype=torch.bool), meta.num_frames, 32, settings)
    interval = torch.as_tensor(np.asarray(events.interval[0]))
    chosen = [number % len(cut["starts"]) for number in range(args.batch)]
    batch = training.make_batch(cut, chosen, interval, torch.zeros(len(interval), dtype=torch.int64), settings, classes)
    net = model.Fedn(rows.shape[1], classes, settings)
    optimizer = training.make_optimizer(net)
    for _ in range(max(1, args.peer_steps // 10)):
        training.step(net, optimizer, batch, settings)
    begin = time.perf_counter()
    for _ in range(args.peer_steps):
        loss = training.step(net, optimizer, batch, settings)
    float(loss)  # waits for the device
    return (time.perf_counter() - begin) / args.peer_steps


def options(args: argparse.Namespace):
    """What the network is built from."""
    if not args.small:
        return _standin.paper()
    small = _standin.paper(width=64, head_width=32, head_depth=1, heads=4, groups=8)
    small.anchors.reaches = [[0, 16], [8, 64]]
    return small


def main() -> None:
    """Prints everything."""
    args = arguments()
    if args.precision:
        jax.config.update("jax_default_matmul_precision", args.precision)
    device = jax.local_devices()[0]
    print(f"{_timing.machine()}, matrix products in {args.precision or 'the default precision'}")
    print(device.device_kind if device.platform == "gpu" else f"{device.platform}: a rehearsal, not measured on a GPU")
    problem = _standin.make(SMALL if args.small else DATA[args.data], options(args))
    budget = _count.count(problem, args.batch)
    print(_count.describe(budget))
    allowed = memory.allowed([device], args.memory)
    epoch = train_step.make_train_epoch(problem.task, problem.geometry, args.batch, _count.NEGATIVES, budget.steps)

    def program_of(folds: range) -> parallel.Program:
        return _standin.program(problem, epoch, splits.take(problem.folds, folds), [device])

    start = time.perf_counter()
    bytes_of = lambda size: parallel.memory_needed(program_of(range(size)))
    programs = [program_of(folds) for folds in memory.pack(len(problem.folds.name), 1, allowed, bytes_of)]
    needed = max(parallel.memory_needed(one)[0] for one in programs)
    compiling, largest = time.perf_counter() - start, max(one.slots.num_folds for one in programs)
    print(
        f"memory: {allowed / 1e9:.1f} GB allowed: {len(programs)} program(s) of at most {largest} folds, "
        f"{needed / 1e9:.1f} GB as compiled, inputs {problem.store.inputs.nbytes / 1e9:.2f} GB"
    )
    rate, bandwidth = limits(args.small)
    floor = args.epochs * (budget.flops / rate + budget.traffic / bandwidth)
    print(f"matmul {rate / 1e12:.3g} TFLOP/s, memory {bandwidth / 1e12:.3g} TB/s (measured; {H100})")
    total, running = train_all(programs, compiling, budget, args)
    print(
        f"floor, counted arithmetic at these rates: {floor:.1f} s; distance {total / floor:.1f}x, "
        f"{running / floor:.1f}x without compilation"
    )
    stats = device.memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        print(f"peak memory of the device: {stats['peak_bytes_in_use'] / 1e9:.1f} GB")
    parts(problem, largest, args.batch)
    step = peer(problem, args)
    if step is not None:
        theirs = step * budget.steps * args.epochs * len(problem.folds.name)
        print(
            f"PyTorch, literal: {step * 1e3:.1f} ms per step ({args.peer_steps} measured), {theirs:,.0f} s for all "
            f"folds one after the other: {theirs / total:.1f}x, {theirs / running:.1f}x without compilation"
        )
    else:
        print("PyTorch, literal: not measured, torch is missing or does not see this device")


if __name__ == "__main__":
    main()
