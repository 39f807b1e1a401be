"""Do the faces of a video look like those of a data set? A probabilistic PCA of the features of frames.

A network says something about faces like those that it was trained on, and numbers of the same look about all others.
The distance of a video is the root mean square of its features in the units of the data set: along the main directions
their deviation there, beside them what the training frames have left over (Tipping and Bishop 1999: up to constants,
the negative log-likelihood). It is judged by the distances of the data set's own subjects, left out in turn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedn_jax.core import arrays, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Store, VideoMeta

AGAIN = "delete it, and start the training again with the same words, which writes it anew"
FRAMES = 100  # of a video that are looked at, evenly spaced
MOST = 20_000  # frames of a data set that are looked at
DIRECTIONS = 24  # main directions, at most
GROUPS = 12  # of subjects that are left out together, at most
FENCE = 1.5  # times the range between the quartiles above the upper one: from there on a value is an outlier (Tukey)


class Likeness(NamedTuple):
    """What the frames of a data set look like."""

    mean: np.ndarray  # [D] float64
    scale: np.ndarray  # [D] float64
    directions: np.ndarray  # [k, D] float64
    deviations: np.ndarray  # [k] float64, along the directions, of scaled features
    rest: np.ndarray  # [] float64, root mean square of a scaled feature beside them
    own: np.ndarray  # [V] float64, distances of the videos to the other subjects; empty for a single subject


def _frames(inputs: np.ndarray, valid: np.ndarray, most: int = FRAMES) -> np.ndarray:
    """[at most ``most``, D] float64: evenly spaced rows with a face."""
    rows = np.flatnonzero(valid)
    chosen = np.asarray(inputs[rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]])
    return chosen.astype(np.float64)


def _fit(frames: np.ndarray) -> Likeness:
    mean, spread = frames.mean(0), frames.std(0)
    scale = spread + max(0.1 * frames.std(), 1e-6)
    scaled = (frames - mean) / scale
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    count = min(DIRECTIONS, len(values) - 1, len(frames) - 1)
    values = np.maximum(values[::-1], 1e-12)
    rest = np.sqrt(max(values[count:].mean(), 1e-12))
    return Likeness(mean, scale, vectors.T[::-1][:count], np.sqrt(values[:count]), np.float64(rest), np.zeros(0))


def _distance(known: Likeness, frames: np.ndarray) -> float:
    scaled = (frames - known.mean) / known.scale
    along = scaled @ known.directions.T
    beside = (scaled - along @ known.directions) / known.rest
    return float(np.sqrt((((along / known.deviations) ** 2).sum(1) + (beside**2).sum(1)).mean() / len(known.mean)))


def learn(store: Store, metas: Sequence[VideoMeta]) -> Likeness | None:
    """What the frames of a data set look like.

    Args:
      store: all inputs [R, D], as they are in the shards.
      metas: V videos.

    Returns:
      The likeness; None where fewer than two frames have a face, or where inputs are pictures: by pixels two people of
      one data set differ as much as drawn faces and real ones.
    """
    if np.ndim(store.inputs) != 2:
        return None
    rows = [slice(meta.row, meta.row + meta.num_rows) for meta in metas]
    most = min(FRAMES, max(1, MOST // len(metas)))
    videos = [_frames(store.inputs[row], np.asarray(store.valid[row]), most) for row in rows]
    subjects = np.array([meta.subject for meta in metas])
    if sum(map(len, videos)) < 2:
        return None
    own = np.full(len(metas), np.nan)
    names = np.unique(subjects)
    for group in np.array_split(names, min(GROUPS, len(names))):
        left_out = np.isin(subjects, group)
        others = [frames for frames, out in zip(videos, left_out, strict=True) if not out]
        if sum(map(len, others)) >= 2:
            known = _fit(np.concatenate(others))
            for index in np.flatnonzero(left_out):
                own[index] = _distance(known, videos[index]) if len(videos[index]) else np.nan
    return _fit(np.concatenate(videos))._replace(own=own[np.isfinite(own)])


def distance(known: Likeness, inputs: np.ndarray, valid: np.ndarray) -> float | None:
    """How far the frames of a video are from those of a data set.

    Args:
      known: of ``learn``.
      inputs: [R, D] of the video; may be a memory-mapped file.
      valid: [R] bool.

    Returns:
      The distance: about 1 for frames of the data set itself; None without a face, or for features of another width.
    """
    frames = _frames(inputs, valid)
    return _distance(known, frames) if len(frames) and frames.shape[1:] == known.mean.shape else None


def limit(known: Likeness) -> float | None:
    """The distance from which on faces do not look like those of the data set.

    Args:
      known: of ``learn``.

    Returns:
      Tukey's fence of the data set's own distances; None with fewer than 4 of them.
    """
    if len(known.own) < 4:
        return None
    low, high = np.quantile(known.own, (0.25, 0.75))
    return float(high + FENCE * (high - low))


def save(path: Path, known: Likeness) -> None:
    """Writes a likeness, whole or not at all.

    Args:
      path: an .npz file.
      known: of ``learn``.
    """
    with files.replacing(path) as part:
        np.savez(part, **known._asdict())


def load(path: Path) -> Likeness:
    """Reads a likeness.

    Args:
      path: written by ``save``.

    Returns:
      The likeness.

    Raises:
      UserError: the file is damaged.
    """
    known = Likeness(**arrays.load_npz(path, Likeness._fields, remedy=AGAIN))
    count, width = len(known.deviations.ravel()), len(known.mean.ravel())
    shapes = Likeness((width,), (width,), (count, width), (count,), (), known.own.shape[:1])
    fits = all(array.shape == shape for array, shape in zip(known, shapes, strict=True))
    if not fits or not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in known):
        raise UserError(f"{path}: its arrays do not fit one another; {AGAIN}")
    return known
