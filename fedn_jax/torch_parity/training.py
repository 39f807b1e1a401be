"""Levels 6 and 7: the optimiser alone, and training on the same batches."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.types import Hyper, TrainState, Windows
from fedn_jax.engine import train_step
from fedn_jax.models import torch_weights
from fedn_jax.ops import windows
from fedn_jax.torch_parity import cases, measure
from fedn_jax.torch_parity import network as networks
from fedn_jax.torch_parity.measure import Level

ADAM_STEPS, ADAM_TOLERANCE = 2000, 1e-12
STEPS, TOLERANCES = 100, {"float32": 1e-4, "float64": 1e-9}
NOTE = (
    "gradients that a softmax removes are 0 on both sides (key biases; what scores a segment as a whole): rounding "
    "leaves noise there, and Adam scales noise to full steps"
)
DRIFT = (
    "losses are judged; parameters end {:.1e} apart (of their norm): where rounding moves a number across the kink of "
    "a ReLU or a minimum, the two sides get different gradients; in float64 they are judged, too"
)


def adam(steps: int = ADAM_STEPS) -> Iterator[Level]:
    """Adam with L2 in the gradient on a quadratic, float64; the last entries have gradients near Adam's epsilon.

    Args:
      steps: updates.

    Yields:
      One line.
    """
    import torch

    from fedn_jax.torch_parity.reference import training

    rng = np.random.default_rng(0)
    start, slope = rng.normal(size=64), np.geomspace(1, 1e-9, 64)
    noise = rng.normal(size=(steps, 64)) * slope
    hyper = configs.to_hyper(configs.default())  # float32 numbers, so the peer gets these very numbers
    with jax.enable_x64(True):
        optimizer = train_step.make_optimizer(hyper)

        def step(carry: tuple, wobble: Any) -> tuple:
            x, state = carry
            updates, state = optimizer.update(slope * x + wobble, state, x)
            return (x + updates, state), x

        x = jnp.asarray(start)
        (_, _), path = jax.jit(lambda x: jax.lax.scan(step, (x, optimizer.init(x)), jnp.asarray(noise)))(x)
        path = np.asarray(path)
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.from_numpy(start.copy()))])
    peer = training.make_optimizer(model, float(hyper.learning_rate), float(hyper.weight_decay))
    expected = []
    for wobble in torch.from_numpy(noise):
        expected.append(model[0].detach().numpy().copy())
        model[0].grad = torch.from_numpy(slope) * model[0].detach() + wobble
        peer.step()
    found = [measure.difference(f"step {n}", path[n], expected[n], 1.0) for n in range(0, steps, max(1, steps // 20))]
    found.append(measure.difference(f"step {steps - 1}", path[-1], expected[-1], 1.0))
    yield measure.judge("6 optimiser", f"Adam, {steps:,} steps", "float64", ADAM_TOLERANCE, found)


def start(params: Any, hyper: Hyper) -> TrainState:
    """Our state before the first step.

    Args:
      params: in the precision of the training.
      hyper: the numbers.

    Returns:
      TrainState of one fold.
    """
    return TrainState(params, {}, train_step.make_optimizer(hyper).init(params), jnp.int32(0))


def take(batch: dict[str, Any], index: Sequence[int]) -> dict[str, Any]:
    """Some windows of a batch of the reference.

    Args:
      batch: as ``reference.training.step`` takes it.
      index: windows; -1 pads: the first one, with weight 0.

    Returns:
      The same for these windows.
    """
    import torch

    index = torch.as_tensor(np.asarray(index))
    chosen = index.clamp(min=0)
    part = {name: batch[name][chosen] for name in ("frames", "frames_valid", "segments_inside")}
    targets = {name: array[chosen] for name, array in batch["targets"].items()}
    return part | {"targets": targets, "weight": (index >= 0).to(batch["weight"].dtype)}


def peer_steps(pair: cases.Pair, every: dict[str, Any], batches: np.ndarray, dtype: str) -> tuple[Any, list[float]]:
    """Trains the reference on given batches.

    Args:
      pair: the networks; they are left as they are.
      every: all windows, as a batch of the reference.
      batches: [steps, B] int, windows; -1 pads.
      dtype: float32 or float64.

    Returns:
      (the trained network, the loss before each step).
    """
    import torch

    from fedn_jax.torch_parity.reference import training

    hyper = configs.to_hyper(pair.config)
    network = copy.deepcopy(pair.network).to(getattr(torch, dtype))
    optimizer = training.make_optimizer(network, float(hyper.learning_rate), float(hyper.weight_decay))
    return network, [float(training.step(network, optimizer, take(every, b), pair.settings)) for b in batches]


def steps(precisions: tuple[str, ...] = ("float32", "float64"), count: int = STEPS) -> Iterator[Level]:
    """Training steps on the same batches, one of them with padding, one of padding only.

    Args:
      precisions: of float32, float64.
      count: steps.

    Yields:
      One line per precision: losses of all steps and, in float64, all parameters.
    """
    pair = cases.make(cases.configure({}, networks.SMALL))
    data = cases.toy()
    hop = pair.config.window.train_hop
    plan = windows.plan(data.metas, data.events, pair.geometry, hop, pair.config.window.inside)
    batches = np.random.default_rng(1).integers(0, len(plan.start), (count, 8)).astype(np.int32)
    batches[1, 5:], batches[2] = -1, -1
    for dtype in precisions:
        state, losses = our_steps(pair, data, plan, batches, dtype)
        every = cases.batch(pair, data, range(len(plan.start)), dtype).theirs
        network, expected = peer_steps(pair, every, batches, dtype)
        ours, theirs = (
            torch_weights.to_torch(state.params),
            {n: p.detach().numpy() for n, p in network.named_parameters()},
        )
        found = [
            measure.difference(f"loss of step {n}", a, b) for n, (a, b) in enumerate(zip(losses, expected, strict=True))
        ]
        note = DRIFT.format(apart(ours, theirs))
        if dtype == "float64":
            note = NOTE
            found += measure.differences(ours, theirs, networks.layer_scales(theirs))
        yield measure.judge("7 training", f"{count} steps", dtype, TOLERANCES[dtype], found, note)


def our_steps(
    pair: cases.Pair, data: cases.Data, plan: Windows, batches: np.ndarray, dtype: str
) -> tuple[TrainState, np.ndarray]:
    """Trains our network on given batches.

    Args:
      pair: the networks.
      data: the videos.
      plan: all windows.
      batches: [steps, B] int, windows; -1 pads.
      dtype: float32 or float64.

    Returns:
      (the state after the last step, the loss before each step).
    """
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        step, hyper = train_step.make_train_step(pair.task, pair.geometry), configs.to_hyper(pair.config)
        store = data.store._replace(inputs=data.store.inputs.astype(dtype))
        fold = train_step.Fold(np.uint32(0), np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))

        def one(state: TrainState, batch: Any) -> tuple:
            state, means, _ = step(state, jax.random.key(0), batch, fold, hyper, store, plan)
            return state, means["loss"]

        begun = start(networks.cast(pair.params, dtype), hyper)
        program = jax.jit(lambda state, batches: jax.lax.scan(one, state, batches), compiler_options=measure.HASTY)
        return jax.device_get(program(begun, batches))


def apart(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray]) -> float:
    """How far two sets of parameters are apart.

    Args:
      one: name -> array.
      two: the same names.

    Returns:
      Euclidean norm of the difference over that of ``two``.
    """
    square = sum(float(((np.float64(one[name]) - two[name]) ** 2).sum()) for name in two)
    return float(np.sqrt(square / sum(float((np.float64(array) ** 2).sum()) for array in two.values())))
