"""CEFLNet's head on both sides: logits, and the gradient of every parameter."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core.types import Tree
from fedn_jax.models import layers
from fedn_jax.models.ceflnet import PLACES, CeflNet
from fedn_jax.torch_parity import measure
from fedn_jax.torch_parity.measure import Level
from fedn_jax.torch_parity.network import TOLERANCES, cast

BATCH, WIDTH, CLASSES = 3, 16, 4
CASE = "CEFLNet"
LINEAR = {  # our layer -> the reference's
    "frame_weight": "frame_weight", "clip": "clip", "hidden_0": "classifier.0", "hidden_1": "classifier.2",
    "output": "classifier.4",
}  # fmt: skip


def to_torch(params: Tree) -> dict[str, np.ndarray]:
    """Our parameters, or their gradients, by the reference's names.

    Args:
      params: of ``CeflNet``.

    Returns:
      name -> array.
    """
    packed = [params["attention"][name] for name in ("query", "key", "value")]
    found = {
        "attention.in_proj_weight": np.concatenate([np.asarray(one["kernel"]).T for one in packed]),
        "attention.in_proj_bias": np.concatenate([one["bias"] for one in packed]),
        "attention.out_proj.weight": np.asarray(params["attention"]["out"]["kernel"]).T.copy(),
        "attention.out_proj.bias": np.asarray(params["attention"]["out"]["bias"]),
        "norm.weight": np.asarray(params["norm"]["scale"]),
        "norm.bias": np.asarray(params["norm"]["bias"]),
        "clip_score.weight": np.asarray(params["clip_score"])[None],
    }
    for ours, theirs in LINEAR.items():
        found[f"{theirs}.weight"] = np.asarray(params[ours]["kernel"]).T.copy()
        found[f"{theirs}.bias"] = np.asarray(params[ours]["bias"])
    return found


def both(dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Logits and gradients of the cross-entropy, of both sides, with the same weights.

    Args:
      dtype: float32 or float64.

    Returns:
      (ours, theirs): "logits", and "d NAME" of every parameter.
    """
    import torch

    from fedn_jax.torch_parity.reference import ceflnet

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(BATCH, PLACES, WIDTH)).astype(np.float32)
    labels = rng.integers(0, CLASSES, BATCH)
    network = CeflNet(CLASSES)
    drawn = layers.init(network, jax.random.key(0), jnp.zeros(inputs.shape), False, jnp.ones(BATCH, bool))["params"]
    # Biases and scales are moved from where they start, so that a missing one shows.
    moved = jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32), drawn)
    peer = ceflnet.CeflNet(WIDTH, CLASSES)
    peer.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(moved).items()})
    peer = peer.to(getattr(torch, dtype)).eval()
    expected = peer(torch.from_numpy(inputs.astype(dtype)))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()

    def objective(params: Tree, given: Any) -> tuple[Any, Any]:
        logits = network.apply({"params": params}, given, False, jnp.ones(BATCH, bool))
        return -jax.nn.log_softmax(logits)[jnp.arange(BATCH), labels].mean(), logits

    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        program = jax.jit(jax.grad(objective, has_aux=True))
        gradients, got = program(cast(moved, dtype), inputs.astype(dtype))
    theirs = {name: one.grad.numpy().copy() for name, one in peer.named_parameters()}
    # The softmax removes the bias of the key: its gradient is 0, which PyTorch gives as rounding noise.
    theirs["attention.in_proj_bias"][WIDTH : 2 * WIDTH] = 0
    ours = {f"d {name}": array for name, array in to_torch(jax.device_get(gradients)).items()}
    return {"logits": got, **ours}, {
        "logits": expected.detach().numpy(),
        **{f"d {name}": array for name, array in theirs.items()},
    }


def run(precisions: tuple[str, ...] = ("float32", "float64")) -> Iterator[Level]:
    """Compares the recognisers.

    Args:
      precisions: of float32, float64.

    Yields:
      A line for the logits and one for the gradients, per precision.
    """
    for dtype in precisions:
        found = measure.differences(*both(dtype))
        for level, chosen in (("2 forward", found[:1]), ("5 gradients", found[1:])):
            yield measure.judge(level, CASE, dtype, TOLERANCES[level][dtype], chosen)
