"""Faces to vectors: a frozen ResNet18 over the aligned frames of one video."""

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt
from fedn_jax.core.types import Tree

NAMES = {"slim": Path(__file__).parent / "assets" / "slim_resnet18.safetensors"}
FORMAT = "fedn_jax.resnet18"  # entry of the file's metadata that says what it is
_NEEDED = ("widths", "mean", "std", "size")


class Backbone(NamedTuple):
    """A feature extractor: weights and what must be done to an image before them."""

    params: Tree  # of models.resnet.ResNet18(widths), batch normalisation folded, float32
    widths: tuple[int, ...]  # channels of the four stages; the last is D
    mean: tuple[float, ...]  # of R, G, B, in [0, 1]; subtracted
    std: tuple[float, ...]  # of R, G, B; divided by
    size: int  # side of the face image in pixels that the weights were trained with
    sha: str  # sha256 over weights and settings: what a stored embedding depends on
    description: str  # name, origin
    aligner = "cascade"  # the usual one, of align.ALIGNERS

    @property
    def width(self) -> int:
        """Numbers of a feature vector, D."""
        return self.widths[-1]

    def features(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Aligned faces to vectors; see :func:`embed`.

        Args:
          images: [size, size, 3] uint8 RGB each.

        Yields:
          [at most a batch, D] float16, in order.
        """
        return embed(images, self)

    def stored(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """What a file holds.

        Returns:
          Arrays and metadata, by name, as safetensors stores them.
        """
        return _pack(*self[:5], {"description": self.description}, "float32")


def flatten(params: Tree) -> dict[str, np.ndarray]:
    """Names the leaves of a weights tree.

    Args:
      params: nested dicts of arrays.

    Returns:
      "stem.conv.kernel" -> array, and so on.
    """
    from flax.traverse_util import flatten_dict

    return {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep=".").items()}


def save_backbone(
    path: str | Path,
    params: Tree,
    widths: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    size: int,
    provenance: dict[str, str],
    dtype: str = "float16",
) -> None:
    """Writes a backbone file: safetensors, with the settings as metadata.

    Args:
      path: the file.
      params: weights of ``ResNet18(widths)``, folded.
      widths: channels of the four stages.
      mean: of R, G, B, in [0, 1].
      std: of R, G, B.
      size: side of the face image in pixels.
      provenance: where the weights come from; text by name.
      dtype: of the stored weights.
    """
    from safetensors.numpy import save

    tensors, metadata = _pack(params, widths, mean, std, size, provenance, dtype)
    files.write_bytes(Path(path), save(tensors, metadata=metadata))


def _pack(
    params: Tree, widths: tuple[int, ...], mean: tuple[float, ...], std: tuple[float, ...], size: int,
    provenance: dict[str, str], dtype: str,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:  # fmt: skip
    settings = {"widths": widths, "mean": mean, "std": std, "size": size}
    metadata = {"format": FORMAT, **{name: json.dumps(value) for name, value in settings.items()}, **provenance}
    return {name: np.ascontiguousarray(leaf.astype(dtype)) for name, leaf in flatten(params).items()}, metadata


def load_backbone(name: str | Path) -> Backbone:
    """Loads a ResNet18; ``kinds.load`` loads any kind of backbone.

    Args:
      name: a name of ``NAMES``, a backbone file, or "random" / "random:<seed>" for an untrained slim network
        (tests, and a baseline; its description says so).

    Returns:
      The backbone.

    Raises:
      UserError: no such name or file, or a file that is not a backbone.
    """
    match = re.fullmatch(r"random(?::(\d+))?", str(name))
    if match:
        return _random(int(match[1] or 0))
    path = NAMES.get(str(name), Path(name))
    if not path.is_file():
        raise UserError(f"backbone {name}: no such file or name; give a .safetensors file or one of {', '.join(NAMES)}")
    return from_stored(path, *read_stored(path))


def from_stored(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Backbone:
    """A ResNet18 of what a file holds.

    Args:
      path: the file, for messages.
      tensors: arrays by name.
      metadata: text by name.

    Returns:
      The backbone.

    Raises:
      UserError: weights or settings of something else.
    """
    if metadata.get("format") != FORMAT:
        raise UserError(f"backbone {path}: not a backbone of this project; convert the weights with save_backbone")
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    try:
        widths, mean, std, size = (json.loads(metadata[entry]) for entry in _NEEDED)
    except (KeyError, ValueError) as error:
        raise UserError(f"backbone {path}: metadata has no usable {error}; write it with save_backbone") from None
    params = _unflatten(tensors)
    _check(path, params, tuple(widths))
    origin = metadata.get("description", path.name)
    return _backbone(params, tuple(widths), tuple(mean), tuple(std), int(size), f"{origin}")


def embed(frames: Iterable[np.ndarray], backbone: Backbone, batch_size: int | None = None) -> Iterator[np.ndarray]:
    """Embeds the aligned faces of a video, in batches of one fixed shape and in constant memory.

    Args:
      frames: T images [size, size, 3] uint8 RGB, all of one size.
      backbone: the feature extractor.
      batch_size: images per step; None: 4 on a CPU, whose caches then hold what is between layers, 32 elsewhere.

    Yields:
      [at most batch_size, D] float16, in order.
    """
    import jax

    run, pending = _compiled(backbone.widths), None
    batch_size = batch_size or (4 if jax.default_backend() == "cpu" else 32)
    params = jax.device_put(backbone.params)
    mean, std = (np.asarray(value, np.float32) for value in (backbone.mean, backbone.std))
    for batch, count in _batches(frames, batch_size):
        result = run(params, batch, mean, std)  # runs while the next batch is being read
        if pending is not None:
            yield np.asarray(pending[0])[: pending[1]]
        pending = result, count
    if pending is not None:
        yield np.asarray(pending[0])[: pending[1]]


def _batches(frames: Iterable[np.ndarray], batch_size: int):
    """Yields ([batch_size, size, size, 3] uint8, number of real images); the last batch is padded with zeros."""
    batch, count = None, 0
    for image in frames:
        if count == 0:
            batch = np.zeros((batch_size, *image.shape), np.uint8)  # a new one: the last may still be in use
        batch[count] = image
        count += 1
        if count == batch_size:
            yield batch, count
            count = 0
    if count:
        yield batch, count


@functools.cache
def _compiled(widths: tuple[int, ...]):
    """(params, images [B, H, W, 3] uint8, mean [3], std [3]) -> [B, D] float16, compiled once per shape."""
    import jax
    import jax.numpy as jnp

    from fedn_jax.models.resnet import FULL, ResNet18

    model = ResNet18(widths, winograd=jax.default_backend() == "cpu" and widths == FULL)

    def run(params, images, mean, std):
        return model.apply({"params": params}, (images.astype(jnp.float32) / 255 - mean) / std).astype(jnp.float16)

    return jax.jit(run)


def _backbone(params: Tree, widths, mean, std, size: int, description: str) -> Backbone:
    digest = hashlib.sha256(json.dumps([widths, mean, std, size]).encode())
    for name, leaf in sorted(flatten(params).items()):
        digest.update(name.encode() + leaf.astype(np.float32).tobytes())
    return Backbone(params, widths, mean, std, size, digest.hexdigest(), description)


def _random(seed: int) -> Backbone:
    from fedn_jax.models.resnet import SLIM

    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in sorted(_shapes(SLIM).items()):
        deviation = np.sqrt(2 / np.prod(shape[:-1])) if name.endswith("kernel") else 0.0
        tensors[name] = rng.normal(0, deviation, shape).astype(np.float32)
    text = f"UNTRAINED slim ResNet18, random weights, seed {seed}"
    return _backbone(_unflatten(tensors), SLIM, (0.5,) * 3, (0.25,) * 3, 112, text)


def read_stored(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads a file of a backbone, of any kind.

    Args:
      path: the file.

    Returns:
      Arrays and metadata, by name.

    Raises:
      UserError: not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"backbone {path}: not a safetensors file ({excerpt(error)}); expected one of save_backbone"
        ) from None


def _unflatten(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    from flax.traverse_util import unflatten_dict

    return unflatten_dict(tensors, sep=".")


def _check(path: Path, params: Tree, widths: tuple[int, ...]) -> None:
    """Compares names and shapes with those of the network."""
    wanted = _shapes(widths)
    got = {name: leaf.shape for name, leaf in flatten(params).items()}
    wrong = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
    if wrong:
        name = wrong[0]
        raise UserError(
            f"backbone {path}: weights that do not fit widths {list(widths)}: {len(wrong)}; first {excerpt(name)}: "
            f"expected {wanted.get(name, 'none')}, got {got.get(name, 'none')}"
        )
    if not all(np.isfinite(leaf).all() for leaf in flatten(params).values()):
        raise UserError(f"backbone {path}: holds NaN or infinity; write the file again")


def _shapes(widths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights of the network."""
    import jax
    from flax.traverse_util import flatten_dict

    from fedn_jax.models.resnet import ResNet18

    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    tree = jax.eval_shape(ResNet18(widths).init, jax.random.key(0), images)["params"]
    return {name: leaf.shape for name, leaf in flatten_dict(tree, sep=".").items()}
