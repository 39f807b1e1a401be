"""Do K folds in one program cost less per fold than K runs of one?

Peer: ourselves with K = 1. Each K is one compiled program (`parallel.run`, as `fedn train` calls it) that trains epochs
of a few steps; all are measured in turn. Target: time per fold never above 1.05 of a fold alone, and falling with K.

    python benchmarks/folds.py            # the demo's size, K = 1, 4, 8, 22; batch 16
    python benchmarks/folds.py --paper    # the paper's size, K = 1, 4: 4 GB
    python benchmarks/folds.py --small    # the demo's size, K = 1, 4
"""

import argparse

import _standin
import _timing
import jax

from fedn_jax.engine import parallel, train_step

BATCH, STEPS = 16, 2


def trainer(problem: _standin.Problem, count: int):
    """A function that trains all folds for one epoch and waits for it."""
    epoch = train_step.make_train_epoch(problem.task, problem.geometry, BATCH, negatives=3, steps=STEPS)
    chosen = _standin.first_of_each(problem.folds, count)
    stream = parallel.run(_standin.program(problem, epoch, chosen, jax.local_devices()[:1]), range(10**6))
    return lambda: next(stream)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--paper", action="store_true", help="the paper's size")
    size.add_argument("--small", action="store_true", help="fewer folds")
    args = parser.parse_args()
    counts = (1, 4) if args.paper else (1, 4) if args.small else (1, 4, 8, 22)
    data = (_standin.CASME2 if args.paper else _standin.DEMO)._replace(videos=44, frames=600, subjects=22)
    problem = _standin.make(data, _standin.paper() if args.paper else _standin.demo())
    print(_timing.machine())
    print(f"{'paper' if args.paper else 'demo'} size, {STEPS} steps of {BATCH} windows per epoch")
    times = _timing.in_turn([trainer(problem, count) for count in counts], rounds=5 if args.paper else 7)
    alone = times[0]
    print(f"{'folds':>6}{'ms per fold and step':>22}{'best':>10}{'windows/s':>12}{'of one alone':>14}{'best':>8}")
    for count, taken in zip(counts, times, strict=True):
        median, best = (value * 1e3 / count / STEPS for value in taken)
        ratios = f"{taken.median / count / alone.median:>13.2f}x{taken.best / count / alone.best:>7.2f}x"
        print(f"{count:>6}{median:>22.1f}{best:>10.1f}{BATCH * 1e3 / median:>12.0f}{ratios}")


if __name__ == "__main__":
    main()
