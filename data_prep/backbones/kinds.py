"""The kinds of backbones, and several of them together: loading by name, storing, and which frames they see."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from data_prep.backbones import blendshapes, embed
from fedn_jax.core import files
from fedn_jax.core.errors import UserError

DRAWN = "slim"  # the one that is installed
SEVERAL = "fedn_jax.several"  # entry of the metadata of a file that holds several backbones
_BATCH = 32  # frames that several backbones look at together
_MOST = 8  # backbones together

Stored = tuple[dict[str, np.ndarray], dict[str, str]]  # arrays and metadata of a safetensors file, by name


class Backbone(Protocol):
    """What turns aligned faces into vectors."""

    size: int  # side of the face image in pixels that it was made for
    width: int  # numbers of a vector, D
    aligner: str  # the usual one, of align.ALIGNERS
    sha: str  # sha256 over all that a stored vector depends on
    description: str  # name, origin
    features: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]  # [H, W, 3] uint8 -> [batch, D] float16
    stored: Callable[[], Stored]


class Several(NamedTuple):
    """Several backbones, whose vectors stand side by side."""

    parts: tuple[Any, ...]  # of Backbone

    @property
    def size(self) -> int:
        """Side of the face image in pixels: the largest of the parts'."""
        return max(part.size for part in self.parts)

    @property
    def width(self) -> int:
        """Numbers of a vector, D."""
        return sum(part.width for part in self.parts)

    @property
    def aligner(self) -> str:
        """The one that a part needs."""
        return next(
            (part.aligner for part in self.parts if part.aligner != embed.Backbone.aligner), self.parts[0].aligner
        )

    @property
    def sha(self) -> str:
        """Of those of the parts, in order."""
        return hashlib.sha256(" ".join(part.sha for part in self.parts).encode()).hexdigest()

    @property
    def description(self) -> str:
        """Of the parts, in order."""
        return " + ".join(part.description for part in self.parts)

    def features(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Aligned faces to vectors; each part sees the images at its own size.

        Args:
          images: [side, side, 3] uint8 RGB each.

        Yields:
          [at most a batch, D] float16, in order; NaN where a part sees no face.
        """
        import cv2

        images = iter(images)
        while batch := list(itertools.islice(images, _BATCH)):
            columns = []
            for part in self.parts:
                side = (part.size, part.size)
                scaled = [cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in batch]
                columns.append(np.concatenate(list(part.features(scaled))))
            yield np.concatenate(columns, 1)

    def stored(self) -> Stored:
        """What a file holds.

        Returns:
          Arrays and metadata, by name, as safetensors stores them.
        """
        contents = [part.stored() for part in self.parts]
        tensors = {f"{i}/{name}": leaf for i, (one, _) in enumerate(contents) for name, leaf in one.items()}
        return tensors, {"format": SEVERAL, "parts": json.dumps([metadata for _, metadata in contents])}


KINDS: dict[str, Callable[[Path, dict[str, np.ndarray], dict[str, str]], Any]] = {
    embed.FORMAT: embed.from_stored,
    blendshapes.FORMAT: blendshapes.from_stored,
}


def load(name: str | Path) -> Backbone:
    """Loads a backbone, or several.

    Args:
      name: "blendshapes", a name of ``embed.NAMES``, "random" or "random:<seed>", or a file of ``save``; several of
        them joined by "+".

    Returns:
      The backbone.

    Raises:
      UserError: no such name or file, or a file of something else.
    """
    names = [str(name)] if Path(name).is_file() else str(name).split("+")
    if len(names) > _MOST:
        raise UserError(f"backbone {name}: at most {_MOST} together; got {len(names)}")
    parts = tuple(_load(one) for one in names)
    return parts[0] if len(parts) == 1 else Several(parts)


def _load(name: str) -> Backbone:
    if name == "blendshapes":
        return blendshapes.load()
    path = Path(name)
    if not path.is_file():
        return embed.load_backbone(name)
    tensors, metadata = embed.read_stored(path)
    if metadata.get("format") != SEVERAL:
        return _of_kind(path, tensors, metadata)
    try:
        contents = json.loads(metadata["parts"])
    except (KeyError, ValueError, RecursionError):
        contents = None
    if (
        not isinstance(contents, list)
        or not 1 < len(contents) <= _MOST
        or not all(isinstance(x, dict) for x in contents)
    ):
        raise UserError(f"backbone {path}: metadata has no usable list of parts; prepare the data again")
    parts = []
    for i, one in enumerate(contents):
        own = {key.removeprefix(f"{i}/"): leaf for key, leaf in tensors.items() if key.startswith(f"{i}/")}
        parts.append(_of_kind(path, own, one))
    return Several(tuple(parts))


def _of_kind(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Backbone:
    return KINDS.get(metadata.get("format", ""), embed.from_stored)(path, tensors, metadata)


def save(path: Path, backbone: Backbone) -> None:
    """Writes a backbone file, which ``load`` reads.

    Args:
      path: the file, .safetensors.
      backbone: of any kind.
    """
    from safetensors.numpy import save as packed

    tensors, metadata = backbone.stored()
    files.write_bytes(path, packed(tensors, metadata=metadata))


def seen(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parts rows from gaps: a backbone gives NaN where it sees no face.

    Args:
      inputs: [T, D] float16, or pictures [T, side, side, 3] uint8, which have no gaps.

    Returns:
      The same with zeros in gaps, and [T] uint8, 1 where a face was seen.
    """
    there = ~np.isnan(inputs).reshape(len(inputs), -1).any(1)
    shown = there.reshape(-1, *[1] * (inputs.ndim - 1))
    return np.where(shown, inputs, inputs.dtype.type(0)), there.astype(np.uint8)


def seen_at_all(path: Path, valid: np.ndarray) -> np.ndarray:
    """Refuses a video in which a backbone sees no face.

    Args:
      path: the video, for the message.
      valid: [T] uint8, 1 where a face was seen.

    Returns:
      The same.

    Raises:
      UserError: no frame is left.
    """
    if not valid.any():
        raise UserError(f"{path}: the backbone sees no face in any of its {len(valid)} frames; look at its preview")
    return valid
