"""Standardised inputs: what is left of a video or of a subject is change, whatever the face looks like at rest."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from fedn_jax.core import errors
from fedn_jax.core.types import Store, VideoMeta

_PIECE = 8192  # rows that are read at a time
FLOOR = 0.1  # of all features' deviation: what one that hardly moves is divided by at least

Statistics = tuple[np.ndarray, np.ndarray | float]  # what is subtracted [D], and what is divided by [D] or []


def _moments(inputs: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, Callable[[], Iterator[np.ndarray]]]:
    """([D] float64 mean of the valid rows, their differences from it, piece by piece)."""
    pieces = [slice(start, start + _PIECE) for start in range(0, len(valid), _PIECE)]

    def parts() -> Iterator[np.ndarray]:
        return (np.asarray(inputs[piece], np.float64)[valid[piece]] for piece in pieces)

    mean = sum((part.sum(0) for part in parts()), np.zeros(inputs.shape[1])) / max(int(valid.sum()), 1)
    return mean, lambda: (part - mean for part in parts())


def root_mean_square(inputs: np.ndarray, valid: np.ndarray) -> Statistics:
    """The mean input, and the root mean square of what is left without it: one number for all features.

    Args:
      inputs: [R, D] float16; may be a memory-mapped file, of which a part is read at a time.
      valid: [R] bool.

    Returns:
      ([D] float32, float).
    """
    mean, rest = _moments(inputs, valid)
    count = max(int(valid.sum()), 1) * inputs.shape[1]
    square = sum(float((part**2).sum()) for part in rest()) / count
    return mean.astype(np.float32), max(float(np.sqrt(square)), 1e-6)


def deviations(inputs: np.ndarray, valid: np.ndarray) -> Statistics:
    """The mean input, and the standard deviation of each feature: for tables whose columns have different units.

    Args:
      inputs: [R, D] float16; may be a memory-mapped file.
      valid: [R] bool.

    Returns:
      ([D] float32, [D] float32), the latter at least ``FLOOR`` of the root mean square over all features.
    """
    mean, rest = _moments(inputs, valid)
    square = sum(((part**2).sum(0) for part in rest()), np.zeros(inputs.shape[1])) / max(int(valid.sum()), 1)
    lowest = max(FLOOR * np.sqrt(square.mean()), 1e-6)
    return mean.astype(np.float32), np.maximum(np.sqrt(square), lowest).astype(np.float32)


class Standardization(NamedTuple):
    """Whose rows are taken together, and what is computed of them. No other's take part in their numbers."""

    unit: Callable[[VideoMeta], tuple[str, ...]]
    statistics: Callable[[np.ndarray, np.ndarray], Statistics]


STANDARDIZATIONS: dict[str, Standardization | None] = {
    "none": None,
    "video": Standardization(lambda meta: (meta.subject, meta.video), root_mean_square),
    "subject": Standardization(lambda meta: (meta.subject,), deviations),
}


def standardize(inputs: np.ndarray, statistics: Statistics) -> np.ndarray:
    """Applies the numbers of a video or a subject to some of its inputs.

    Args:
      inputs: [R, D] float16.
      statistics: of an entry of ``STANDARDIZATIONS``.

    Returns:
      [R, D] float16.
    """
    shift, scale = statistics
    return ((np.asarray(inputs, np.float32) - shift) / np.float32(scale)).astype(np.float16)


def standardized(store: Store, metas: list[VideoMeta], name: str) -> Store:
    """All inputs as the network sees them.

    Args:
      store: all inputs (NumPy).
      metas: V videos.
      name: entry of ``STANDARDIZATIONS``.

    Returns:
      The store, float16.

    Raises:
      UserError: no such entry.
    """
    chosen = STANDARDIZATIONS[errors.one_of("data.standardize", name, STANDARDIZATIONS)]
    if chosen is None:
        return store
    units: dict[tuple[str, ...], list[slice]] = {}
    for meta in metas:
        units.setdefault(chosen.unit(meta), []).append(slice(meta.row, meta.row + meta.num_rows))
    inputs = np.array(store.inputs)
    for rows in units.values():
        seen = [np.concatenate([column[one] for one in rows]) for column in (inputs, store.valid)]
        numbers = chosen.statistics(*seen)
        for one in rows:
            inputs[one] = standardize(inputs[one], numbers)
    return store._replace(inputs=inputs)
