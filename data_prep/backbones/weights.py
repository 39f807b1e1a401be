"""Checkpoints of ResNet18 from PyTorch to a backbone file: formats, ways to name the weights, and what is refused."""

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from data_prep.backbones import embed
from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt
from fedn_jax.core.types import Tree

_DEEPEST = 4  # dicts inside one another
CONTAINERS = ("state_dict", "model_state_dict", "model", "net")  # entries of a checkpoint that may hold the weights


class Normalization(NamedTuple):
    """What was done to images in [0, 1] when a checkpoint was trained."""

    mean: tuple[float, float, float]  # of R, G, B; subtracted
    std: tuple[float, float, float]  # of R, G, B; divided by


NORMALIZATIONS = {  # a checkpoint does not say which; its authors do
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


class Converted(NamedTuple):
    """A checkpoint as a backbone, and what became of its entries (by the names in the file, renamed if they were)."""

    params: Tree  # of models.resnet.ResNet18(widths), batch normalisations folded, float32
    widths: tuple[int, ...]  # channels of the four stages
    used: tuple[str, ...]
    unexpected: tuple[str, ...]  # not used: classifiers and other heads
    style: str  # how the names were read, such as module. or torchvision


# ---- Files ----------------------------------------------------------------------------------------------------------

_SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16}
_SAFETENSORS |= {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the weights of a checkpoint; the content decides on the format, not the name. No code in it is run.

    Files of ``torch.save`` need the extra ``torch``; safetensors do not.

    Args:
      path: safetensors, or a file of ``torch.save``: a state dict, alone, as an entry of ``CONTAINERS``, or, without
        such an entry, as any other, whose name comes before those of its weights then.

    Returns:
      The tensors by name; what is not a tensor is left out.

    Raises:
      UserError: no such file, another format, a damaged one, or one that holds objects beside tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a checkpoint (.pth, .pt, .pth.tar or .safetensors)")
    try:
        with path.open("rb") as file:
            head = file.read(9)
            safe = head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
            data = head + file.read() if safe else b""
        return _read_safetensors(data) if safe else _state_dict(_load(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); see to its permissions") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise UserError(f"damaged or cut off ({excerpt(error)}); download it again, or save it again") from None
    tensors = {}
    for name, entry in entries:
        dtype = _SAFETENSORS[errors.one_of(f"type of {_shown([name])}", entry["dtype"], _SAFETENSORS)]
        tensors[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    return tensors


def _load(path: Path) -> Any:
    """What ``torch.save`` wrote; PyTorch's own reader for weights, which refuses whatever could run code."""
    try:
        import torch
    except ImportError:
        raise UserError(
            "is not a safetensors file, and other checkpoints need PyTorch: pip install 'fedn_jax[torch]'"
        ) from None
    scalar = np._core.multiarray.scalar  # the metrics that checkpoints carry are often NumPy values
    known = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype]
    known += [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "?")]
    try:
        with torch.serialization.safe_globals(known), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file PyTorch raises nearly anything
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named:
            raise UserError(
                f"needs {named[1][:80]}: it holds objects beside tensors and could run any code, so it is not read; "
                "if you trust it, load it in PyTorch and save only model.state_dict()"
            ) from None
        reason = excerpt(str(error).rpartition("WeightsUnpickler error:")[2]) or type(error).__name__
        raise UserError(
            f"not readable as weights of PyTorch ({reason}); download it again, or in PyTorch save model.state_dict()"
        ) from None


def _state_dict(saved: Any) -> dict[str, np.ndarray]:
    """The tensors of what a file holds, out of their container; bfloat16 becomes float32."""
    import torch

    if not isinstance(saved, dict):
        raise UserError(f"holds a {type(saved).__name__}; expected a state dict: in PyTorch, save model.state_dict()")
    inner = next((saved[name] for name in CONTAINERS if isinstance(saved.get(name), dict)), saved)
    found = {name: value.detach() for name, value in inner.items() if isinstance(value, torch.Tensor)}
    found = found or {name: value.detach() for name, value in _nested(inner) if isinstance(value, torch.Tensor)}
    if other := [name for name, value in found.items() if value.is_quantized or value.layout != torch.strided]:
        raise UserError(f"{_shown(other)} is quantised or sparse; expected floats, as before its compression")
    tensors = {
        name: (value.float() if value.dtype == torch.bfloat16 else value).numpy() for name, value in found.items()
    }
    if not tensors or not all(type(name) is str for name in tensors):
        raise UserError(
            f"has no weights at its top level, which holds {_shown(saved)}; expected tensors by name, or under one of "
            f"{', '.join(CONTAINERS)}"
        )
    return tensors


def _nested(saved: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Entries of dicts in dicts under joint names, such as teacher.conv1.weight."""
    for name, value in saved.items():
        if isinstance(name, str) and isinstance(value, dict) and prefix.count(".") < _DEEPEST:
            yield from _nested(value, f"{prefix}{name}.")
        elif isinstance(name, str):
            yield f"{prefix}{name}", value


def _shown(names: Iterable[Any], most: int = 6) -> str:
    """Names from a file, for one line: the first of them, printable and short."""
    names = list(names)
    listed = ", ".join(ascii(name)[:60].strip("'") for name in names[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed or "nothing"


# ---- Names ----------------------------------------------------------------------------------------------------------

_CHILDREN = {"conv1": "0", "bn1": "1", **{f"layer{stage}": str(stage + 3) for stage in (1, 2, 3, 4)}}
_STEM = "conv1.weight"
_NETWORK = r"(conv1|bn1|layer\d+)\."  # torchvision's names before the classifier
_OTHERS = {  # what a name gives away -> the architecture
    r"(^|\.)layer1\.0\.conv3\.": "ResNet50 or deeper (bottleneck blocks)",
    r"(^|\.)layer1\.2\.": "ResNet34 (more than two blocks in a stage)",
    r"(^|\.)layer1\.0\.prelu\.": "the IResNet of InsightFace (PReLU)",
    r"(^|\.)_?conv_stem\.|(^|\.)features\.\d+\.\d+\.block\.": "EfficientNet",
    r"(^|\.)(patch_embed|cls_token|class_token)": "a vision transformer",
}


class _Style(NamedTuple):
    """A way to name the weights."""

    prefix: str  # before each name: module. (DataParallel), _orig_mod. (torch.compile), model. (Lightning), ...
    numbered: bool  # nn.Sequential(*resnet.children()) counts what torchvision names

    def __str__(self) -> str:
        return f"{self.prefix}N." if self.numbered else self.prefix or "torchvision"

    def name(self, ours: str) -> str:
        """The name in the file of a weight that torchvision calls ``ours``."""
        child, _, rest = ours.partition(".")
        return self.prefix + (f"{_CHILDREN[child]}.{rest}" if self.numbered else ours)

    def inside(self, names: Iterable[str]) -> dict[str, str]:
        """torchvision's name -> name in the file, of the weights before the classifier."""
        children = {number: child for child, number in _CHILDREN.items()} if self.numbered else None
        found = {}
        for name in [name for name in names if name.startswith(self.prefix)]:
            child, _, rest = name.removeprefix(self.prefix).partition(".")
            ours = f"{child if children is None else children.get(child)}.{rest}"
            if re.match(_NETWORK, ours):
                found[ours] = name
        return found


def _styles(names: Iterable[str]) -> Iterator[_Style]:
    """Every way of naming in which a stem has its name."""
    for name in names:
        for numbered in (False, True):
            stem = _Style("", numbered).name(_STEM)
            prefix = name.removesuffix(stem)
            if name.endswith(stem) and (not prefix or prefix.endswith(".")):
                yield _Style(prefix, numbered)


def _reading(names: Iterable[str], root: bool) -> tuple[str, dict[str, str]]:
    """The way to read the names that gives a whole ResNet18: (its name, torchvision's name -> name in the file).

    With ``root`` names as torchvision's are preferred to others.
    """
    names = set(names)
    wanted = [name for unit in _units((0,) * 4) for name in unit.names()]
    missing = {style: [ours for ours in wanted if style.name(ours) not in names] for style in _styles(sorted(names))}
    # 0.weight is in any nn.Sequential: a network needs more than that.
    missing = {style: lost for style, lost in missing.items() if not style.numbered or 2 * len(lost) < len(wanted)}
    whole = [style for style in missing if not missing[style]]
    plain = _Style("", numbered=False)
    if len(whole) > 1 and not (root and plain in whole):
        choice = f"--rename '^{re.escape(whole[0].prefix)}='"
        raise UserError(
            f"holds {len(whole)} networks, with names as {' and '.join(map(str, whole))}; choose one by its prefix, "
            f"such as {choice}"
        )
    style = plain if root and plain in whole else min(missing, key=lambda style: len(missing[style]), default=None)
    own = style.inside(names) if style else dict.fromkeys(names)
    other = next((text for rule, text in _OTHERS.items() if any(re.search(rule, name) for name in own)), None)
    if other or style is None:
        looks = f"looks like {other}" if other else f"has no {_STEM}; its names are {_shown(sorted(names))}"
        raise UserError(
            f"{looks}; expected a ResNet18, its weights named as torchvision does, behind any one prefix (see --rename)"
        )
    if missing[style]:
        lost = _shown(map(style.name, missing[style]))
        raise UserError(f"lacks {len(missing[style])} of {len(wanted)} weights: {lost}; expected a whole ResNet18")
    extra = sorted(own[name] for name in own.keys() - set(wanted) if not name.endswith(".num_batches_tracked"))
    if extra:
        raise UserError(f"has weights that an ordinary ResNet18 has not: {_shown(extra)}; no other can be converted")
    return str(style), own


# ---- Conversion -----------------------------------------------------------------------------------------------------

_STATISTICS = ("weight", "bias", "running_mean", "running_var")  # of a batch normalisation


class _Unit(NamedTuple):
    """A convolution and its batch normalisation."""

    path: tuple[str, ...]  # in our weights
    conv: str  # torchvision's names
    norm: str
    shape: tuple[int, ...]  # [out, in, height, width] of the kernel

    def names(self) -> list[str]:
        return [f"{self.conv}.weight", *(f"{self.norm}.{part}" for part in _STATISTICS)]


def _units(widths: tuple[int, ...]) -> Iterator[_Unit]:
    """The convolutions of ResNet18; see models.resnet for ours."""
    yield _Unit(("stem",), "conv1", "bn1", (widths[0], 3, 7, 7))
    before = widths[0]
    for stage, width in enumerate(widths, 1):
        for block in (1, 2):
            ours, theirs = f"stage{stage}_block{block}", f"layer{stage}.{block - 1}"
            yield _Unit((ours, "conv1"), f"{theirs}.conv1", f"{theirs}.bn1", (width, before, 3, 3))
            yield _Unit((ours, "conv2"), f"{theirs}.conv2", f"{theirs}.bn2", (width, width, 3, 3))
            if stage > 1 and block == 1:
                shortcut = f"{theirs}.downsample"
                yield _Unit((ours, "shortcut"), f"{shortcut}.0", f"{shortcut}.1", (width, before, 1, 1))
            before = width


def convert(tensors: Mapping[str, np.ndarray], rules: Mapping[str, str] | None = None) -> Converted:
    """Maps a ResNet18 of PyTorch onto this project's, of any widths, and folds its batch normalisations.

    Args:
      tensors: the weights by name: torchvision's, or counted as in nn.Sequential, behind any one prefix.
      rules: of ``torch_weights.rename``, applied first; a network that then has torchvision's names is taken even if
        there is another.

    Returns:
      The weights, and what was used. Entries outside the network, as of a classifier, are not.

    Raises:
      UserError: another architecture, missing weights, or numbers that cannot be.
    """
    from flax.traverse_util import unflatten_dict

    from fedn_jax.models import torch_weights
    from fedn_jax.models.resnet import fold

    tensors = torch_weights.rename(tensors, rules or {})
    style, names = _reading(tensors, root=bool(rules))
    widths = tuple((tensors[names[f"layer{stage}.0.conv1.weight"]].shape or (0,))[0] for stage in (1, 2, 3, 4))
    params, statistics, used = {}, {}, []
    for unit in _units(widths):
        shapes = [unit.shape] + [unit.shape[:1]] * len(_STATISTICS)
        wanted = {names[name]: shape for name, shape in zip(unit.names(), shapes, strict=True)}
        kernel, scale, bias, mean, var = (_values(name, tensors[name], shape) for name, shape in wanted.items())
        if var.min() < 0:
            shown = _shown([names[f"{unit.norm}.running_var"]])
            raise UserError(f"{shown} holds negative variances; the checkpoint is damaged, download it again")
        used += wanted
        kernel = kernel.transpose(2, 3, 1, 0)  # [out, in, height, width] -> [height, width, in, out]
        params |= {(*unit.path, "conv", "kernel"): kernel}
        params |= {(*unit.path, "norm", "scale"): scale, (*unit.path, "norm", "bias"): bias}
        statistics |= {(*unit.path, "norm", "mean"): mean, (*unit.path, "norm", "var"): var}
    with np.errstate(over="ignore"):
        folded = fold({"params": unflatten_dict(params), "batch_stats": unflatten_dict(statistics)})["params"]
    if not all(np.isfinite(leaf).all() for leaf in embed.flatten(folded).values()):
        raise UserError("has weights so large that they overflow; the checkpoint is damaged, download it again")
    rest = tuple(sorted(name for name in tensors.keys() - set(used) if not name.endswith("num_batches_tracked")))
    return Converted(folded, widths, tuple(used), rest, style)


def _values(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of one tensor as float32, checked."""
    shown = _shown([name])
    if array.shape != shape or 0 in shape:
        raise UserError(f"{shown} has shape {list(array.shape)}; expected {list(shape)}: an ordinary ResNet18 on RGB")
    if array.dtype.kind != "f" and array.dtype != ml_dtypes.bfloat16:
        raise UserError(f"{shown} holds {array.dtype}; expected floats, so give the checkpoint before its quantisation")
    with np.errstate(over="ignore", invalid="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{shown} holds NaN or infinity; the checkpoint is damaged or its training failed")
    return values


def convert_file(
    source: str | Path,
    out: str | Path,
    normalization: str,
    size: int = 224,
    description: str | None = None,
    rules: Mapping[str, str] | None = None,
) -> Converted:
    """Converts a checkpoint to a backbone file.

    Args:
      source: the checkpoint; see :func:`read`.
      out: the new file, .safetensors.
      normalization: a name of ``NORMALIZATIONS``, as the checkpoint's authors say.
      size: side of the face images in pixels that it was trained with.
      description: name and origin; None: made of the file's name, style and normalisation.
      rules: for the names of the weights; see :func:`convert`.

    Returns:
      The weights, and what was used.

    Raises:
      UserError: an option that cannot be, or a checkpoint that cannot be read or is no ResNet18.
    """
    source, out = Path(source), Path(out)
    row = NORMALIZATIONS[errors.one_of("normalization", normalization, NORMALIZATIONS)]
    errors.at_least("size", size, 32)
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: a backbone file is named *.safetensors; got {out.suffix or 'no suffix'}")
    if out.exists():
        raise UserError(f"{out}: exists already and is not replaced; remove it or choose another name")
    tensors = read(source)
    try:
        converted = convert(tensors, rules)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    with source.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    about = description or f"{source.name}, {converted.style}, normalization {normalization}"
    provenance = {"description": about, "source_sha256": sha}
    embed.save_backbone(out, converted.params, converted.widths, *row, size, provenance, dtype="float32")
    return converted
