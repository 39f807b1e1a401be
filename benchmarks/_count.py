"""The budget of a training: what must be computed and moved at least, counted before anything is measured."""

from typing import NamedTuple

import _standin
import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.data import splits
from fedn_jax.engine import train_step
from fedn_jax.ops.windows import Gathered

NUMBER = 4  # bytes of a float32
ADAM = 7  # passes over the parameters: reads parameter, gradient and two moments, writes parameter and two moments
NETWORK = 3  # passes over them for one batch: read forward and backward, gradient written
NEGATIVES = 3  # negative windows per positive one


class Budget(NamedTuple):
    """One training, all folds and epochs."""

    parameters: int  # of one fold
    state_bytes: int  # of one fold: parameters and Adam's moments
    forward: float  # FLOP per window
    step: float  # FLOP per window, forward and backward
    moved: float  # bytes per window that operations read and write, forward and backward, before any are fused
    windows: int  # per epoch, all folds
    steps: int  # per epoch, each fold
    flops: float  # per epoch, all folds
    traffic: float  # bytes per epoch, all folds: parameters, gradients, moments


def abstract_state(problem: _standin.Problem):
    """Shapes of one fold's state."""
    fold = train_step.Fold(np.uint32(0), np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(0, np.float32))
    return jax.eval_shape(problem.init, fold, _standin.hyper())


def count(problem: _standin.Problem, batch: int) -> Budget:
    """Counts; FLOP and bytes as XLA counts them in the program before it is optimised."""
    state = abstract_state(problem)
    leaves = jax.tree.leaves(state)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    rows, width = problem.geometry.rows, problem.store.inputs.shape[1]

    def forward(params, inputs, valid):
        got = Gathered(inputs, valid, jnp.ones((len(inputs), problem.geometry.segments), bool))
        outputs, _ = problem.task.apply({"params": params}, got, jnp.ones(len(inputs)), True, jax.random.key(0))
        return sum(outputs[name].sum() for name in ("offsets", "free", "logits"))

    def cost(program, size: int) -> dict[str, float]:
        inputs = jax.ShapeDtypeStruct((size, rows, width), jnp.float32)
        return jax.jit(program).lower(state.params, inputs, jax.ShapeDtypeStruct((size, rows), bool)).cost_analysis()

    steps = splits.steps_per_epoch(problem.folds, batch, NEGATIVES)
    positive, negative = (problem.folds.positive >= 0).sum(1), (problem.folds.negative >= 0).sum(1)
    windows = int((positive + np.minimum(negative, NEGATIVES * positive)).sum())
    one, two = cost(jax.grad(forward), batch), cost(jax.grad(forward), 2 * batch)
    both, number = one["flops"] / batch, len(problem.folds.name)
    moved = (two["bytes accessed"] - one["bytes accessed"]) / batch  # what belongs to the parameters cancels
    return Budget(
        parameters, sum(leaf.size * leaf.dtype.itemsize for leaf in leaves), cost(forward, batch)["flops"] / batch,
        both, moved, windows, steps, windows * both, number * steps * parameters * NUMBER * (ADAM + NETWORK),
    )  # fmt: skip


def describe(budget: Budget) -> str:
    """The budget in words."""
    return (
        f"{budget.parameters / 1e6:.1f} M parameters, state of a fold {budget.state_bytes / 1e9:.3f} GB; "
        f"per window {budget.forward / 1e9:.2f} GFLOP forward, {budget.step / 1e9:.2f} with backward, "
        f"which read and write {budget.moved / 1e6:.0f} MB before fusion;\n"
        f"per epoch, all folds: {budget.windows:,} windows in {budget.steps} steps, {budget.flops / 1e12:.3g} TFLOP, "
        f"{budget.traffic / 1e12:.3g} TB of parameters, gradients and moments"
    )
