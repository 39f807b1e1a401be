"""Level 1: layers, each against PyTorch's own where it has one, else against the reference's."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from fedn_jax.models import layers as ours
from fedn_jax.models.fedn import fusion
from fedn_jax.ops import windows
from fedn_jax.torch_parity import measure
from fedn_jax.torch_parity.measure import Level

LEVEL = "1 layers"
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
BATCH, LENGTH, CHANNELS, HEADS, GROUPS = 3, 10, 12, 3, 4


def _drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)  # exact in both precisions


def _linear(rng: np.random.Generator, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    return {"kernel": _drawn(rng, inputs, outputs) / np.float32(np.sqrt(inputs)), "bias": _drawn(rng, outputs)}


def _mask(rng: np.random.Generator, *shape: int) -> np.ndarray:
    valid = rng.random(shape) < 0.7
    valid[..., 0] = True
    return valid


def _apply(module: Any, params: Any, dtype: str, *args: Any) -> np.ndarray:
    """One of our layers, compiled, in a precision."""
    cast = lambda x: x.astype(dtype) if np.asarray(x).dtype.kind == "f" else x
    params, args = jax.tree.map(cast, (params, args))
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(module.apply)({"params": params}, *args))


def convolution(dtype: str, stride: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Convolution of kernel 3 against ``torch.nn.functional.conv1d(padding=1)``.

    Args:
      dtype: float32 or float64.
      stride: 1 or 2.
      length: of the sequence.

    Returns:
      (ours, theirs).
    """
    import torch

    rng = np.random.default_rng(length)
    x, taps = _drawn(rng, BATCH, length, CHANNELS), _linear(rng, 3 * CHANNELS, 5)
    got = _apply(ours.Conv(5, 3, stride), {"taps": taps}, dtype, x)
    kernel = taps["kernel"].reshape(3, CHANNELS, 5).transpose(2, 1, 0).copy()
    tensors = (torch.from_numpy(array.astype(dtype)) for array in (x.transpose(0, 2, 1).copy(), kernel, taps["bias"]))
    return got, torch.nn.functional.conv1d(*tensors, stride=stride, padding=1).numpy().transpose(0, 2, 1)


def group_norm(dtype: str, masked: bool, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Group normalisation against ``torch.nn.GroupNorm``, window by window on its valid positions.

    Args:
      dtype: float32 or float64.
      masked: leave positions out.
      size: of the inputs; small ones show what is added to the variance.

    Returns:
      (ours, theirs), zero at positions that do not count.
    """
    import torch

    rng = np.random.default_rng(7)
    x = _drawn(rng, BATCH, LENGTH, CHANNELS) * np.float32(size)
    valid = _mask(rng, BATCH, LENGTH) if masked else np.ones((BATCH, LENGTH), bool)
    params = {"scale": _drawn(rng, CHANNELS), "bias": _drawn(rng, CHANNELS)}
    got = _apply(ours.GroupNorm(GROUPS), params, dtype, x, valid) * valid[..., None]
    norm = torch.nn.GroupNorm(GROUPS, CHANNELS, dtype=getattr(torch, dtype))
    norm.load_state_dict({"weight": torch.from_numpy(params["scale"]), "bias": torch.from_numpy(params["bias"])})
    expected = np.zeros_like(got)
    for window, mask in enumerate(valid):
        alone = torch.from_numpy(x[window, mask].T[None].astype(dtype))  # [1, channels, valid positions]
        expected[window, mask] = norm(alone).detach().numpy()[0].T
    return got, expected


def self_attention(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Self-attention against ``torch.nn.MultiheadAttention``, biases and mask included.

    Args:
      dtype: float32 or float64.

    Returns:
      (ours, theirs).
    """
    import torch

    rng = np.random.default_rng(3)
    x, valid = _drawn(rng, BATCH, LENGTH, CHANNELS), _mask(rng, BATCH, LENGTH)
    params = {name: _linear(rng, CHANNELS, CHANNELS) for name in ("query", "key", "value", "out")}
    got = _apply(ours.SelfAttention(HEADS), params, dtype, x, valid)
    attention = torch.nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True, dtype=getattr(torch, dtype))
    stacked = [params[name] for name in ("query", "key", "value")]
    state = {
        "in_proj_weight": np.concatenate([one["kernel"].T for one in stacked]),
        "in_proj_bias": np.concatenate([one["bias"] for one in stacked]),
        "out_proj.weight": params["out"]["kernel"].T.copy(),
        "out_proj.bias": params["out"]["bias"],
    }
    attention.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    y = torch.from_numpy(x.astype(dtype))
    return got, attention(y, y, y, key_padding_mask=torch.from_numpy(~valid))[0].detach().numpy()


def softmax(dtype: str, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Masked softmax against ``torch.softmax`` with -inf; a row without anything valid is all zero.

    Args:
      dtype: float32 or float64.
      axis: of the sum.

    Returns:
      (ours, theirs).
    """
    import torch

    rng = np.random.default_rng(5)
    scores, valid = (30 * _drawn(rng, BATCH, LENGTH, LENGTH)).astype(dtype), _mask(rng, BATCH, LENGTH, LENGTH)
    valid[1] = False
    with jax.enable_x64(dtype == "float64"):
        got = np.asarray(jax.jit(ours.masked_softmax, static_argnums=2)(scores, valid, axis))
    filled = torch.from_numpy(scores).masked_fill(torch.from_numpy(~valid), -torch.inf)
    return got, torch.nan_to_num(torch.softmax(filled, axis)).numpy()


def segment_fusion(dtype: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames to segments against the reference's literal form.

    Args:
      dtype: float32 or float64.
      name: entry of ``fusion.SEGMENT_FUSIONS``.

    Returns:
      (ours, theirs).
    """
    import torch

    from fedn_jax.torch_parity.reference import model

    rng = np.random.default_rng(11)
    index = windows.segment_rows(windows.Geometry(LENGTH, 8, 2))
    x, valid = _drawn(rng, BATCH, index.max() + 1, CHANNELS), _mask(rng, BATCH, index.max() + 1)
    valid[1, 6:16] = False  # one segment without a face
    params: dict[str, Any] = {}
    network = model.MeanFusion()
    if name != "mean":
        params = {part: _linear(rng, CHANNELS, CHANNELS) for part in ("query", "key", "value", "out")}
        params |= {"score": _linear(rng, 2 * CHANNELS, 1), "reduce": _linear(rng, 2 * CHANNELS, CHANNELS)}
        network = model.AttentionFusion(CHANNELS, HEADS).to(getattr(torch, dtype))
        network.load_state_dict({k: torch.from_numpy(v) for k, v in _fusion_state(params).items()})
    module = fusion.SEGMENT_FUSIONS[name](HEADS)
    # the index is fixed when the program is made, as in the network
    caller = type("Bound", (), {"apply": staticmethod(lambda variables, *args: module.apply(variables, *args, index))})
    got = _apply(caller, params, dtype, x, valid)
    frames, seen = torch.from_numpy(x.astype(dtype))[:, index], torch.from_numpy(valid)[:, index]
    expected = network(frames.flatten(0, 1), seen.flatten(0, 1)).detach().numpy().reshape(got.shape)
    return got, expected


def _fusion_state(params: dict[str, Any]) -> dict[str, np.ndarray]:
    from fedn_jax.models import torch_weights

    return {name.removeprefix("fusion."): array for name, array in torch_weights.to_torch({"fusion": params}).items()}


LAYERS: dict[str, tuple[Callable[..., tuple[np.ndarray, np.ndarray]], tuple]] = {
    "convolution, stride 1": (convolution, (1, LENGTH)),
    "convolution, stride 2": (convolution, (2, LENGTH)),
    "convolution, stride 2, odd length": (convolution, (2, LENGTH + 1)),
    "group norm": (group_norm, (False, 1.0)),
    "group norm, masked": (group_norm, (True, 1.0)),
    "group norm, small inputs": (group_norm, (True, 1e-3)),
    "self-attention, masked": (self_attention, ()),
    "masked softmax, last axis": (softmax, (2,)),
    "masked softmax, middle axis": (softmax, (1,)),
    "segment fusion": (segment_fusion, ("attention",)),
    "segment fusion, mean": (segment_fusion, ("mean",)),
}


def run(precisions: tuple[str, ...] = ("float32", "float64")) -> Iterator[Level]:
    """Compares every layer.

    Args:
      precisions: of float32, float64.

    Yields:
      One line per precision; the worst layer is named.
    """
    for dtype in precisions:
        found = [measure.difference(name, *work(dtype, *args)) for name, (work, args) in LAYERS.items()]
        yield measure.judge(LEVEL, "all layers", dtype, TOLERANCES[dtype], found)
