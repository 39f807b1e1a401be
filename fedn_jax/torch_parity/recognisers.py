"""The recognisers of cascades on both sides: logits, and the gradient of every parameter."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core.types import Tree
from fedn_jax.models import layers
from fedn_jax.models.ceflnet import PLACES, CeflNet
from fedn_jax.models.strnet import StrNet
from fedn_jax.torch_parity import measure
from fedn_jax.torch_parity.measure import Level
from fedn_jax.torch_parity.network import TOLERANCES, cast

BATCH, WIDTH, CLASSES = 3, 16, 4
LINEAR = {  # CEFLNet's layer -> the reference's
    "frame_weight": "frame_weight", "clip": "clip", "hidden_0": "classifier.0", "hidden_1": "classifier.2",
    "output": "classifier.4",
}  # fmt: skip
KEY_BIAS = "attention.in_proj_bias"


class Case(NamedTuple):
    """A recogniser twice."""

    network: nn.Module
    shape: tuple[int, ...]  # of a sample
    peer: Callable[[], Any]
    to_torch: Callable[[Tree], dict[str, np.ndarray]]  # parameters, or their gradients, by the reference's names


def _plain(layer: Tree) -> dict[str, np.ndarray]:
    """A linear layer as PyTorch holds it."""
    return {"weight": np.asarray(layer["kernel"]).T.copy(), "bias": np.asarray(layer["bias"])}


def ceflnet_to_torch(params: Tree) -> dict[str, np.ndarray]:
    """CEFLNet's parameters by the reference's names.

    Args:
      params: of ``CeflNet``.

    Returns:
      name -> array.
    """
    packed = [_plain(params["attention"][name]) for name in ("query", "key", "value")]
    found = {
        "attention.in_proj_weight": np.concatenate([one["weight"] for one in packed]),
        KEY_BIAS: np.concatenate([one["bias"] for one in packed]),
        "norm.weight": np.asarray(params["norm"]["scale"]),
        "norm.bias": np.asarray(params["norm"]["bias"]),
        "clip_score.weight": np.asarray(params["clip_score"])[None],
    }
    ours = {"attention.out_proj": params["attention"]["out"], **{LINEAR[name]: params[name] for name in LINEAR}}
    return found | {f"{name}.{part}": array for name, layer in ours.items() for part, array in _plain(layer).items()}


def strnet_to_torch(params: Tree) -> dict[str, np.ndarray]:
    """STR's parameters by the reference's names.

    Args:
      params: of ``StrNet``.

    Returns:
      name -> array.
    """
    streams, top = params["streams"], params["top"]
    found = {f"output.{part}": array for part, array in _plain(top["output"]).items()}
    convolutions = {f"streams.{i}.0": streams[f"stream_{i}"] for i in range(3)} | {"joint": top["joint"]}
    for theirs, layer in convolutions.items():
        taps = np.asarray(layer["kernel"])
        found[f"{theirs}.weight"] = taps.reshape(5, 5, -1, taps.shape[-1]).transpose(3, 2, 0, 1).copy()
        found[f"{theirs}.bias"] = np.asarray(layer["bias"])
    for i in range(3):
        found[f"streams.{i}.2.weight"] = np.asarray(streams[f"norm_{i}"]["scale"])
        found[f"streams.{i}.2.bias"] = np.asarray(streams[f"norm_{i}"]["bias"])
    return found


def _ceflnet() -> Any:
    from fedn_jax.torch_parity.reference import ceflnet

    return ceflnet.CeflNet(WIDTH, CLASSES)


def _strnet() -> Any:
    from fedn_jax.torch_parity.reference import strnet

    return strnet.StrNet(CLASSES)


CASES = {
    "CEFLNet": Case(CeflNet(CLASSES), (PLACES, WIDTH), _ceflnet, ceflnet_to_torch),
    "STR's recogniser": Case(StrNet(CLASSES), (42, 42, 3), _strnet, strnet_to_torch),
}


def both(name: str, dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Logits and gradients of the cross-entropy, of both sides, with the same weights.

    Args:
      name: entry of ``CASES``.
      dtype: float32 or float64.

    Returns:
      (ours, theirs): "logits", and "d NAME" of every parameter.
    """
    import torch

    case, rng, counted = CASES[name], np.random.default_rng(0), jnp.ones(BATCH, bool)
    inputs = rng.normal(size=(BATCH, *case.shape)).astype(np.float32)
    labels = rng.integers(0, CLASSES, BATCH)
    init = lambda key: layers.init(case.network, key, jnp.zeros(inputs.shape), False, counted)
    # Biases, scales and statistics are moved from where they start, so that a missing one shows.
    drawn = jax.device_get(jax.jit(init)(jax.random.key(0)))
    moved = jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.random(x.shape, np.float32), drawn)
    params, others = moved.pop("params"), moved
    peer, state = case.peer(), case.to_torch(params)
    statistics = others.get("batch_stats", {}).get("streams", {})
    for index in range(len(statistics)):
        kept = statistics[f"norm_{index}"]
        state |= {f"streams.{index}.2.running_mean": kept["mean"], f"streams.{index}.2.running_var": kept["variance"]}
    state = {key: torch.from_numpy(np.array(array)) for key, array in state.items()}
    missing, unknown = peer.load_state_dict(state, strict=False)
    assert not unknown and all(key.endswith("num_batches_tracked") for key in missing)
    peer = peer.to(getattr(torch, dtype)).eval()
    expected = peer(torch.from_numpy(inputs.astype(dtype)))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()

    def objective(params: Tree, others: Tree, given: Any) -> tuple[Any, Any]:
        logits = case.network.apply({"params": params, **others}, given, False, counted)
        return -jax.nn.log_softmax(logits)[jnp.arange(BATCH), labels].mean(), logits

    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        program = jax.jit(jax.grad(objective, has_aux=True))
        gradients, got = program(*cast((params, others, inputs), dtype))
    theirs = {key: one.grad.numpy().copy() for key, one in peer.named_parameters()}
    if KEY_BIAS in theirs:  # the softmax removes the bias of the key: its gradient is 0, of PyTorch rounding noise
        theirs[KEY_BIAS][WIDTH : 2 * WIDTH] = 0
    ours = {f"d {key}": array for key, array in case.to_torch(jax.device_get(gradients)).items()}
    theirs = {f"d {key}": array for key, array in theirs.items()}
    return {"logits": got, **ours}, {"logits": expected.detach().numpy(), **theirs}


def run(precisions: tuple[str, ...] = ("float32", "float64")) -> Iterator[Level]:
    """Compares the recognisers.

    Args:
      precisions: of float32, float64.

    Yields:
      A line for the logits and one for the gradients, per recogniser and precision.
    """
    for name in CASES:
        for dtype in precisions:
            found = measure.differences(*both(name, dtype))
            for level, chosen in (("2 forward", found[:1]), ("5 gradients", found[1:])):
                yield measure.judge(level, name, dtype, TOLERANCES[level][dtype], chosen)
