"""The whole network on both sides: every intermediate, the loss, the gradient of every parameter."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax import anchors, convert
from fedn_jax import config as configs
from fedn_jax.parity import cases
from fedn_jax.parity.cases import Batch, Pair
from fedn_jax.types import Array

# What a softmax removes has a gradient of 0 but for rounding (BUILD_NOTES 4, 5); both sides set it to 0 in training.
REMOVED = ("in_proj_bias", "fusion.score.weight", "fusion.score.bias")


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
    counts = [len(level) for level in level_slices(pair)]
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
        found[f"anchored.{level} raw"] = got["raw"][:, a:b] * seen[..., None]
        found[f"anchored.{level} logits"] = got["logits"][:, a:b, 1:] * seen[..., None]
    return found


def level_slices(pair: Pair) -> list[range]:
    """Positions of every level.

    Args:
      pair: the networks.

    Returns:
      One range of positions per level.
    """
    frames, stride = pair.geometry.frames, 4 * pair.geometry.stride
    counts = [frames // (stride * 2**level) for level in range(len(pair.config.anchors.reaches))]
    edges = np.cumsum([0, *counts])
    return [range(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def make_ours(pair: Pair) -> Callable[..., tuple[Any, Any, Any]]:
    """Our network as one compiled program.

    Args:
      pair: the networks.

    Returns:
      program(params, inputs, valid, inside, events, weight) -> (outputs, losses, gradients).
    """
    task, hyper = pair.task, configs.to_hyper(pair.config)

    def objective(params: Any, inputs: Array, valid: Array, inside: Array, events: Any, weight: Array):
        features = task.features({"params": params}, inputs, valid)
        outputs, _ = task.detect({"params": params}, features, inside, False, jax.random.key(0))
        loss, parts = task.loss(outputs, jax.vmap(task.encode)(events), weight, hyper)
        return loss, (outputs, {"loss": loss, **parts})

    @jax.jit
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
    if "window_scores" in outputs and pair.config.model.window_attention == "scaled":
        outputs["window_scores"] = outputs["window_scores"] * batch.inside.sum(1)[:, None, None]  # as the reference
    gradients = cases.reordered(convert.to_torch(gradients), pair.config, pair.classes)
    return Outcome(named(outputs, batch.inside, pair), losses, gradients)


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

    from fedn_jax.reference import losses

    network = copy.deepcopy(pair.network).to(getattr(torch, dtype)).train()
    given = batch.theirs
    outputs = network(given["frames"], given["frames_valid"], given["segments_inside"])
    loss, parts = losses.total(outputs, given["targets"], given["weight"], pair.settings)
    loss.backward()
    arrays = {name: value.detach().numpy() for name, value in outputs.items()}
    if pair.config.model.scoring == "confidence":
        arrays["logits"] = np.roll(arrays["logits"], 1, axis=-1)
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


def noise(gradients: Mapping[str, np.ndarray]) -> float:
    """How large the entries are that ``cleared`` clears.

    Args:
      gradients: by PyTorch's names.

    Returns:
      The largest of them, in units of the largest gradient of all.
    """
    largest = max(float(np.abs(array).max()) for array in gradients.values())
    kept = cleared(gradients)
    left = max(float(np.abs(array - kept[name]).max()) for name, array in gradients.items())
    return left / largest


def decoded(outputs: Mapping[str, np.ndarray], pair: Pair) -> np.ndarray:
    """Our intervals from raw outputs.

    Args:
      outputs: with "raw" and "free".
      pair: the networks.

    Returns:
      [..., L, A, 2] frames of the window.
    """
    return np.asarray(anchors.decode(jnp.asarray(outputs["raw"]), grid(pair), jnp.asarray(outputs["free"])))


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
