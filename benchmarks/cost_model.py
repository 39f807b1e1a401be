"""What would a training cost on machines that are not here? A model from counted FLOP and bytes, fitted here.

Seconds of one step = c + folds per device x (batch x FLOP per window / F + bytes of parameters, gradients and moments
/ M + batch x bytes per window that operations read and write / A). The last are counted before fusion, so A may exceed
the bandwidth. Folds share nothing, so devices divide the folds and nothing else. c, F, M and A are fitted (least
squares of the relative error, none negative) to measured steps of narrow networks; one point is left out and predicted,
as a check. What F, M and A are of this machine's measured matrix product and bandwidth is taken over to data sheets of
other machines. Those predictions are a model, not a measurement.

    python benchmarks/cost_model.py [--small]     # --small: four points and the check
"""

import argparse
from typing import NamedTuple

import _count
import _standin
import _timing
import jax
import jax.numpy as jnp
import numpy as np
from gpu import limits
from scipy.optimize import nnls

from fedn_jax.engine import train_step


class Point(NamedTuple):
    """One step that is measured."""

    folds: int
    width: int  # d1 and D; d2 is half of it
    batch: int


FITTED = (Point(1, 64, 8), Point(4, 128, 8), Point(1, 512, 2), Point(1, 256, 16), Point(1, 128, 32), Point(2, 256, 4))
CHECK = Point(3, 192, 16)
EPOCHS = 30
# name -> devices, FLOP/s (dense TF32 of an H100, bfloat16 of a TPU), bytes/s: data sheets
MACHINES = {"1 x H100": (1, 495e12, 3.35e12), "8 x H100": (8, 495e12, 3.35e12), "256 x TPU v5p": (256, 459e12, 2.77e12)}


def work(point: Point) -> tuple[_standin.Problem, np.ndarray]:
    """The problem of a point, and what its step counts: (1, FLOP, bytes of the state, bytes of the windows)."""
    options = _standin.paper(width=point.width, head_width=point.width // 2, head_depth=1)
    options.anchors.reaches = [[0, 16], [8, 64]]  # two levels: half the time to compile
    problem = _standin.make(_standin.Size(2, 4, 900, 40, 4, point.width), options)
    budget = _count.count(problem, point.batch)
    moved = budget.parameters * _count.NUMBER * (_count.ADAM + _count.NETWORK)
    samples = point.folds * point.batch
    return problem, np.array([1.0, samples * budget.step, point.folds * moved, samples * budget.moved])


def step_of(problem: _standin.Problem, point: Point):
    """A function that runs one step of all folds and waits for it."""
    shapes = _count.abstract_state(problem)
    state = jax.tree.map(lambda leaf: jnp.full((point.folds, *leaf.shape), 0.01).astype(leaf.dtype), shapes)
    store, plan = jax.tree.map(jnp.asarray, (problem.store, problem.windows))
    step = train_step.make_train_step(problem.task, problem.geometry)
    batch = jnp.arange(point.batch, dtype=jnp.int32)
    program = jax.jit(jax.vmap(lambda state: step(state, jax.random.key(0), batch, store, plan, _standin.hyper())[0]))
    return lambda: jax.block_until_ready(program(state))


def predict(fit: np.ndarray, shares: list[float]) -> None:
    """Prints what whole trainings would take."""
    data = {"CAS(ME)^2": _standin.CASME2, "CAS(ME)^3": _standin.CASME3}
    budgets = {name: (_count.count(_standin.make(size, _standin.paper()), 64), size) for name, size in data.items()}
    rows = [(name, budget, size.subjects) for name, (budget, size) in budgets.items()]
    budget, subjects = rows[-1][1:]  # ten times the subjects: ten times the folds, each with ten times the windows
    more = budget._replace(
        steps=10 * budget.steps, windows=100 * budget.windows, flops=100 * budget.flops, traffic=100 * budget.traffic
    )
    rows.append(("1,000 subjects", more, 10 * subjects))
    print(f"\npaper size, {EPOCHS} epochs, outer folds only: a model, not a measurement")
    for name, budget, count in rows:
        for machine, (devices, rate, bandwidth) in MACHINES.items():
            share = -(-count // devices) / count  # of the folds that the fullest device has
            seconds = budget.steps * fit[0] + share * (
                budget.flops / (rate * shares[0])
                + budget.traffic / (bandwidth * shares[1])
                + budget.windows * budget.moved / (bandwidth * shares[2])
            )
            print(f"  {name:<16}{machine:<16}{EPOCHS * seconds:>12,.0f} s{EPOCHS * seconds / 3600:>10.2f} h")


def main() -> None:
    """Fits, checks, predicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="four points and the check")
    small = parser.parse_args().small
    print(_timing.machine())
    points = [*(FITTED[:4] if small else FITTED), CHECK]
    problems, counted = zip(*(work(point) for point in points), strict=True)
    works = [step_of(problem, point) for problem, point in zip(problems, points, strict=True)]
    measured = np.array([seconds.best for seconds in _timing.in_turn(works)])
    table = np.array(counted)
    scale = table[:-1].max(0)
    fit = nnls(table[:-1] / scale / measured[:-1, None], np.ones(len(points) - 1))[0] / scale
    for point, seconds, row in zip(points, measured, table, strict=True):
        said = row @ fit
        note = "  not fitted to" if point == CHECK else ""
        print(f"{str(tuple(point)):<16}measured {seconds * 1e3:>8.1f} ms   model {said * 1e3:>8.1f} ms"
              f"{said / seconds - 1:>+8.0%}{note}")  # fmt: skip
    rate, bandwidth = limits(small=True)
    shares = [
        1 / (cost * limit) if cost else 1.0 for cost, limit in zip(fit[1:], (rate, *2 * [bandwidth]), strict=True)
    ]
    shares[:2] = np.minimum(shares[:2], 1.0)  # neither is faster than what it consists of
    cut = ["" if cost * limit >= 1 else ", cut" for cost, limit in zip(fit[1:3], (rate, bandwidth), strict=True)]
    print(f"fit: c {fit[0] * 1e3:.2f} ms, F {shares[0]:.0%}{cut[0]} of a matrix product's {rate / 1e9:.0f} GFLOP/s, "
          f"M {shares[1]:.0%}{cut[1]} and A {shares[2]:.0%} of {bandwidth / 1e9:.1f} GB/s")  # fmt: skip
    predict(fit, shares)


if __name__ == "__main__":
    main()
