"""The whole network on both sides: every intermediate, the loss, the gradient of every parameter."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.types import Array, Context
from fedn_jax.models import torch_weights
from fedn_jax.ops import anchors, windows
from fedn_jax.ops.windows import Gathered
from fedn_jax.torch_parity import cases, measure
from fedn_jax.torch_parity.cases import Batch, Pair
from fedn_jax.torch_parity.measure import Difference, Level

TOLERANCES = {"2 forward": {"float32": 1e-5, "float64": 1e-12}, "5 gradients": {"float32": 1e-5, "float64": 1e-9}}
TOLERANCES["4 losses"] = {"float32": 1e-6, "float64": 1e-12}
SMALL = cases.NARROW | {"anchors.reaches": [[0, 16], [8, 64]], "model.head_depth": 1}  # of all cases but the first
PAPER = "paper's size"


class Outcome(NamedTuple):
    """What one side computed; names and order are those of the reference."""

    outputs: dict[str, np.ndarray]  # intermediates in the order of the computation
    losses: dict[str, np.ndarray]  # "loss", "interval_loss", "class_loss"
    gradients: dict[str, np.ndarray]  # by PyTorch's names of parameters


def cast(tree: Any, dtype: str) -> Any:
    """Floating point arrays of a tree in another precision.

    Args:
      tree: of NumPy arrays.
      dtype: float32 or float64.

    Returns:
      The same structure.
    """
    return jax.tree.map(lambda x: x.astype(dtype) if np.asarray(x).dtype.kind == "f" else x, tree)


def named(outputs: Mapping[str, Any], inside: np.ndarray, pair: Pair) -> dict[str, np.ndarray]:
    """Intermediates, cut into pieces that tell where a difference arose; what is not valid is left out.

    Args:
      outputs: of either side, in our conventions.
      inside: [B, S] bool, valid segments.
      pair: the networks.

    Returns:
      Name -> array, in the order of the computation; of every level the outputs of both branches.
    """
    got = {name: np.asarray(array) for name, array in outputs.items()}
    levels = range(len(pair.config.anchors.reaches))
    counts = [pair.geometry.frames // (4 * pair.geometry.stride * 2**level) for level in levels]  # positions
    edges = np.cumsum([0, *counts])
    found = {"segments": got["segments"] * inside[..., None]}
    for name in ("window_scores", *(f"block_{i}" for i in range(2)), *(f"level_{i}" for i in range(len(counts)))):
        if name in got:
            found[name] = got[name]
    found["positions"] = got["positions"].astype(float)
    for level, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        seen = got["positions"][:, a:b, None]
        found[f"free.{level} distances"] = got["free"][:, a:b] * seen
        found[f"free.{level} logits"] = got["logits"][:, a:b, 0] * seen
        found[f"anchored.{level} offsets"] = got["offsets"][:, a:b] * seen[..., None]
        found[f"anchored.{level} logits"] = got["logits"][:, a:b, 1:] * seen[..., None]
    return found


def _forward(pair: Pair, params: Any, inputs: Array, valid: Array, inside: Array) -> dict[str, Array]:
    got, weight = Gathered(inputs, valid, inside), jnp.ones(len(inside))
    return pair.task.apply({"params": params}, got, weight, False, jax.random.key(0))[0]


def make_ours(pair: Pair, hasty: bool = False) -> Callable[..., tuple[Any, Any, Any]]:
    """Our network as one compiled program.

    Args:
      pair: the networks.
      hasty: compile as ``measure.HASTY`` says.

    Returns:
      program(params, inputs, valid, inside, events, weight) -> (outputs, losses, gradients).
    """
    task, hyper = pair.task, configs.to_hyper(pair.config)

    def objective(params: Any, inputs: Array, valid: Array, inside: Array, events: Any, weight: Array):
        outputs = _forward(pair, params, inputs, valid, inside)
        loss, parts = task.loss(outputs, jax.vmap(task.targets)(events), Context(weight, valid, inside, None), hyper)
        return loss, (outputs, {"loss": loss, **parts})

    @functools.partial(jax.jit, compiler_options=measure.HASTY if hasty else None)
    def program(*args: Any):
        gradients, (outputs, losses) = jax.grad(objective, has_aux=True)(*args)
        return outputs, losses, gradients

    return program


def ours(pair: Pair, program: Callable[..., Any], batch: Batch, dtype: str) -> Outcome:
    """Runs our side.

    Args:
      pair: the networks.
      program: of ``make_ours``.
      batch: the windows.
      dtype: float32 or float64.

    Returns:
      The outcome.
    """
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        params = cast(pair.params, dtype)
        outputs, losses, gradients = jax.device_get(program(params, *cast(batch[:-1], dtype)))
    return Outcome(named(outputs, batch.inside, pair), losses, torch_weights.to_torch(gradients))


def theirs(pair: Pair, batch: Batch, dtype: str) -> Outcome:
    """Runs the reference.

    Args:
      pair: the networks.
      batch: the windows.
      dtype: float32 or float64.

    Returns:
      The outcome; gradients as ``backward`` leaves them, rounding noise included.
    """
    import torch

    from fedn_jax.torch_parity.reference import losses

    network = copy.deepcopy(pair.network).to(getattr(torch, dtype)).train()
    given = batch.theirs
    outputs = network(given["frames"], given["frames_valid"], given["segments_inside"])
    loss, parts = losses.total(outputs, given["targets"], given["weight"], pair.settings)
    loss.backward()
    arrays = {name: value.detach().numpy() for name, value in outputs.items()}
    gradients = {name: value.grad.numpy() for name, value in network.named_parameters()}
    sums = {name: value.detach().numpy() for name, value in {"loss": loss, **parts}.items()}
    return Outcome(named(arrays, batch.inside, pair), sums, gradients)


def cleared(gradients: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gradients without what a softmax removes: those entries are 0 but for rounding.

    Args:
      gradients: by PyTorch's names.

    Returns:
      The same with zeros at the key's biases and at what scores a segment as a whole.
    """
    result = {}
    for name, array in gradients.items():
        array = array.copy()
        if name.endswith("in_proj_bias"):
            array[len(array) // 3 : 2 * len(array) // 3] = 0
        if name == "fusion.score.bias":
            array[:] = 0
        if name == "fusion.score.weight":
            array[:, array.shape[1] // 2 :] = 0
        result[name] = array
    return result


def layer_scales(gradients: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What differences of gradients are divided by: the largest gradient of the layer.

    A bias before a normalisation is nearly removed by it, so its own gradient is a small sum of large numbers.

    Args:
      gradients: by PyTorch's names.

    Returns:
      Name of a parameter -> the largest gradient of its weight and its bias.
    """
    layer = lambda name: name.removesuffix("bias").removesuffix("weight")
    largest: dict[str, float] = {}
    for name, array in gradients.items():
        largest[layer(name)] = max(largest.get(layer(name), 0.0), float(np.abs(array).max()))
    return {name: largest[layer(name)] for name in gradients}


def grid(pair: Pair) -> anchors.Grid:
    """Our positions.

    Args:
      pair: the networks.

    Returns:
      The grid.
    """
    anchor = pair.config.anchors
    strides = [pair.geometry.stride * 4 * 2**level for level in range(len(anchor.reaches))]
    return anchors.make_grid(pair.geometry.frames, strides, list(anchor.widths), [list(one) for one in anchor.reaches])


def compare(name: str, changes: Mapping[str, Any], dtype: str) -> dict[str, list[Difference]]:
    """One variant in one precision, on whole windows and on such that end with their video or have no face in parts.

    Args:
      name: of the variant; the first, "fedn", is deeper than the others and, in float32, compiled as in training.
      changes: options.
      dtype: float32 or float64.

    Returns:
      "2 forward", "4 losses" and "5 gradients" -> differences in the order of the computation.
    """
    first = name == "fedn"
    pair = cases.make(cases.configure(changes, cases.NARROW if first else SMALL))
    data = cases.toy(frames_per_row=pair.geometry.frames_per_row)
    every = cases.batch(pair, data, range(num_windows(pair, data)), dtype)
    whole = every.inside.all(1)
    program = make_ours(pair, hasty=not (first and dtype == "float32"))
    found: dict[str, list[Difference]] = {"2 forward": [], "4 losses": [], "5 gradients": []}
    for kind, mask in (("", whole), (" (in part)", ~whole)):
        batch = cases.batch(pair, data, np.resize(np.flatnonzero(mask), 6), dtype)  # one size: compiled once
        one, two = ours(pair, program, batch, dtype), theirs(pair, batch, dtype)
        expected = cleared(two.gradients)
        parts = (
            measure.differences(one.outputs, two.outputs),
            measure.differences(one.losses, two.losses),
            measure.differences(cleared(one.gradients), expected, layer_scales(expected)),
        )
        for level, differences in zip(found, parts, strict=True):
            found[level] += [difference._replace(name=difference.name + kind) for difference in differences]
    return found


def num_windows(pair: Pair, data: cases.Data) -> int:
    """Training windows of toy videos.

    Args:
      pair: the networks.
      data: the videos.

    Returns:
      How many there are.
    """
    return len(windows.plan(data.metas, data.events, pair.geometry, pair.config.window.train_hop, 0.9).start)


def forward(pair: Pair, batch: Batch, dtype: str) -> list[Difference]:
    """Forward pass of both.

    Args:
      pair: the networks; the reference's precision is changed.
      batch: the windows.
      dtype: float32 or float64.

    Returns:
      Differences of all intermediates.
    """
    import torch

    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"), torch.no_grad():
        params, args = cast(pair.params, dtype), cast(batch[:3], dtype)
        program = jax.jit(lambda params, x, valid, inside: _forward(pair, params, x, valid, inside))
        one = jax.device_get(program(params, *args))
        network = pair.network.to(getattr(torch, dtype))
        given = (batch.theirs[name] for name in ("frames", "frames_valid", "segments_inside"))
        two = {name: value.numpy() for name, value in network(*given).items()}
    return measure.differences(named(one, batch.inside, pair), named(two, batch.inside, pair))


def paper(dtype: str) -> list[Difference]:
    """Forward at the paper's size, two windows.

    Args:
      dtype: float32 or float64.

    Returns:
      Differences of all intermediates.
    """
    pair = cases.make(cases.configure({}, {}), classes=4, width=512)
    data = cases.toy((300,), width=512, classes=4)
    return forward(pair, cases.batch(pair, data, [0, 2], dtype), dtype)


def run(
    precisions: tuple[str, ...] = ("float32", "float64"),
    variants: Mapping[str, Mapping[str, Any]] = cases.VARIANTS,
    at_papers_size: bool = True,
) -> Iterator[Level]:
    """Levels 2, 4 and 5 of whole networks.

    Args:
      precisions: of float32, float64.
      variants: name -> options.
      at_papers_size: compare the forward pass at the paper's size, too.

    Yields:
      Three lines per variant and precision.
    """
    for name, changes in variants.items():
        for dtype in precisions:
            for level, found in compare(name, changes, dtype).items():
                yield measure.judge(level, name, dtype, TOLERANCES[level][dtype], found)
    for dtype in precisions if at_papers_size else ():
        yield measure.judge("2 forward", PAPER, dtype, TOLERANCES["2 forward"][dtype], paper(dtype))
