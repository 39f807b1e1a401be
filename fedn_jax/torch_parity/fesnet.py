"""Level 10: FESNet's modules against the reference, with equal weights, in training and with running statistics."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from fedn_jax.core.types import Tree
from fedn_jax.models import layers
from fedn_jax.models.fesnet.network import Lsdm, Mtam
from fedn_jax.torch_parity import measure
from fedn_jax.torch_parity.measure import Level

LEVEL = "10 FESNet"
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
GRADIENTS = {"float32": 1e-4, "float64": 1e-11}
BATCH, LENGTH, SIDE, CLASSES, PLACES = 2, 12, 32, 3, 16
SIZES = {"widths": (8, 12, 12, 16, 16), "strides": (2, 2, 1, 2, 1), "depth": 2, "heads": 3, "mlp": 2.0}
STEM, WIDTH, REFINE, STAGES, LAYERS = (6, 5), 10, 7, 2, 4


def to_torch(variables: Tree) -> dict[str, np.ndarray]:
    """Our variables of a module under the reference's names, in PyTorch's layouts.

    Args:
      variables: {"params": ..., "batch_stats": ...} of ``Lsdm`` or ``Mtam``.

    Returns:
      A state dict, without PyTorch's counters of batches.
    """
    flat = traverse_util.flatten_dict(variables["params"])
    flat |= traverse_util.flatten_dict(variables.get("batch_stats", {}))
    found: dict[str, np.ndarray] = {}
    attention: dict[str, dict[str, np.ndarray]] = {}
    for path, leaf in flat.items():
        *parts, last = (part for part in path if part != "taps")
        name = ".".join(_module(part) for part in parts)
        array = np.asarray(leaf)
        if "attention" in parts and parts[-1] != "out":
            attention.setdefault(".".join(_module(part) for part in parts[:-1]), {})[f"{parts[-1]} {last}"] = array
            continue
        if last == "kernel":
            array = array[::-1, ::-1].transpose(2, 3, 0, 1) if parts[-1] == "deconvolution" else _weight(array)
        kind = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "variance": "running_var"}
        name = name.replace("attention.out", "attention.out_proj")
        found[".".join(filter(None, (name, kind.get(last, last))))] = np.ascontiguousarray(array)
    for name, parts in attention.items():
        order = ("query", "key", "value")
        found[f"{name}.in_proj_weight"] = np.concatenate([parts[f"{one} kernel"].T for one in order])
        found[f"{name}.in_proj_bias"] = np.concatenate([parts[f"{one} bias"] for one in order])
    return found


def _module(part: str) -> str:
    """The reference's name of a module: what we number stands in lists there."""
    stem, _, number = part.rpartition("_")
    lists = {
        "ResidualBlock": "blocks", "encoder": "encoders", "scale": "scales", "scale_norm": "scale_norms",
        "block": "blocks", "layer": "layers", "proposal": "proposals",
    }  # fmt: skip
    if stem == "norm":  # the first layer of a block has none
        return f"norms.{int(number) - 1}"
    return f"{lists[stem]}.{number}" if number.isdigit() and stem in lists else part


def _weight(kernel: np.ndarray) -> np.ndarray:
    """[..., inputs, outputs] -> [outputs, inputs, ...]."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _variables(module: Any, *args: Any) -> Tree:
    """Ours, none of them zero or one."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: layers.init(module, key, *args), jax.random.key(0))

    def draw(path: tuple, leaf: Any) -> np.ndarray:
        inputs = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 1
        drawn = rng.normal(size=leaf.shape) / np.sqrt(inputs)
        name = path[-1].key
        return (np.abs(drawn) + 0.5 if name in ("scale", "variance") else drawn).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _pairs(refine: int) -> dict[str, tuple[Any, Any, list[np.ndarray]]]:
    """name -> (our module, the reference's, inputs [B, N, ...])."""
    from fedn_jax.torch_parity.reference import fesnet as reference

    rng = np.random.default_rng(1)
    frames = rng.uniform(-1, 1, (BATCH, LENGTH, SIDE, SIDE, 3)).astype(np.float32)
    vectors, logits = (rng.normal(size=(BATCH, LENGTH, n)).astype(np.float32) for n in (SIZES["widths"][2], CLASSES))
    mtam = reference.Mtam(SIZES["widths"][2], WIDTH, refine, STAGES, LAYERS, CLASSES)
    return {
        "LSDM": (
            Lsdm(*STEM, classes=CLASSES, **SIZES),
            reference.Lsdm(STEM, places=PLACES, classes=CLASSES, **SIZES), [frames],
        ),
        "MTAM": (Mtam(WIDTH, refine, STAGES, LAYERS, CLASSES), mtam, [vectors, logits]),
    }  # fmt: skip


def _ours(module: Any, variables: Tree, inputs: list, train: bool, dtype: str) -> tuple[dict, dict, dict]:
    """(outputs, gradients of their sum of squares, running statistics) of our side."""
    mask = np.ones((BATCH, LENGTH), bool)
    cast = lambda tree: jax.tree.map(lambda x: np.asarray(x, dtype), tree)

    def objective(params: Tree) -> tuple[Any, Any]:
        out, others = module.apply(variables | {"params": params}, *inputs, mask, mask, train, mutable=["batch_stats"])
        return sum((value**2).sum() for name, value in out.items() if name != "final"), (out, others)

    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        variables, inputs = cast(variables), cast(inputs)
        gradient, (out, others) = jax.jit(jax.grad(objective, has_aux=True))(variables["params"])
        return jax.device_get((out, to_torch({"params": gradient}), to_torch({"params": {}, **others})))


def _theirs(module: Any, variables: Tree, inputs: list, train: bool, dtype: str) -> tuple[dict, dict, dict]:
    """The same of the reference; its running variance is unbiased, and made biased here."""
    import torch

    state = {name: torch.from_numpy(array.astype(dtype)) for name, array in to_torch(variables).items()}
    module = module.to(getattr(torch, dtype)).train(train)
    missing = module.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and all("num_batches" in name for name in missing.missing_keys), missing
    sizes: dict[str, int] = {}
    for name, one in module.named_modules():
        if isinstance(one, torch.nn.modules.batchnorm._BatchNorm):
            one.register_forward_hook(
                lambda _, x, __, name=name: sizes.__setitem__(name, x[0].numel() // x[0].shape[1])
            )
    given = [torch.from_numpy(x.astype(dtype)) for x in inputs]
    given = [x.permute(0, 1, 4, 2, 3) if x.ndim == 5 else x for x in given]
    out = module(*given)
    sum((value**2).sum() for value in out.values()).backward()
    found = {name: value.detach().numpy() for name, value in out.items()}
    if "x" in found:
        found["x"] = found["x"].transpose(0, 1, 3, 4, 2)
    gradients = {name: value.grad.numpy() for name, value in module.named_parameters()}
    running = {name: value.numpy() for name, value in module.named_buffers() if "running" in name}
    for name, count in sizes.items():
        key, before = f"{name}.running_var", to_torch(variables)[f"{name}.running_var"].astype(dtype)
        if train:
            running[key] = 0.9 * before + (running[key] - 0.9 * before) * (count - 1) / count
    return found, gradients, running


def _frozen(name: str) -> bool:
    """Biases whose exact gradient is 0, where ours stops what differentiation gives."""
    layer = name.removesuffix(".bias")
    return name.endswith(".bias") and (
        layer == "join" or layer.startswith("scales.") or (".layers." in layer and not layer.endswith(".0"))
    )


def compare(name: str, train: bool, dtype: str, refine: int = REFINE) -> Iterator[Level]:
    """Compares one module.

    Args:
      name: "LSDM" or "MTAM".
      train: with the batch's statistics, or running ones.
      dtype: float32 or float64.
      refine: width of refinement; 0: literal.

    Yields:
      A line for values and running statistics, and one for gradients.
    """
    ours, theirs, inputs = _pairs(refine)[name]
    mask = np.ones((BATCH, LENGTH), bool)
    variables = _variables(ours, *inputs, mask, mask, False)
    one, two = _ours(ours, variables, inputs, train, dtype), _theirs(theirs, variables, inputs, train, dtype)
    case = f"{name}, {'training' if train else 'prediction'}{', literal' if name == 'MTAM' and not refine else ''}"
    out = {key: value for key, value in one[0].items() if key != "final"} | one[2]
    yield measure.judge(LEVEL, case, dtype, TOLERANCES[dtype], measure.differences(out, two[0] | two[2]))
    gradients = [{key: value for key, value in each.items() if not _frozen(key)} for each in (one[1], two[1])]
    gradients = [_without_keys(each) for each in gradients]
    scales = {key: max(float(np.abs(value).max()), 1e-3) for key, value in gradients[1].items()}
    found = measure.differences(*gradients, scales)
    yield measure.judge(f"{LEVEL}, gradients", case, dtype, GRADIENTS[dtype], found)


def _without_keys(gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the key's part of the biases of attention, see ``layers.attention_parameters``."""
    found = {}
    for name, value in gradients.items():
        if name.endswith("in_proj_bias"):
            value = np.concatenate([value[: len(value) // 3], value[-(len(value) // 3) :]])
        found[name] = value
    return found


def run(precisions: tuple[str, ...]) -> Iterator[Level]:
    """The level.

    Args:
      precisions: float32, float64 or both.

    Yields:
      Two lines per module, way of normalising and precision.
    """
    for dtype in precisions:
        for train in (True, False):
            yield from compare("LSDM", train, dtype)
            yield from compare("MTAM", train, dtype)
        yield from compare("MTAM", True, dtype, refine=0)
