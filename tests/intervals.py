"""Detections and expressions made by hand or at random."""

import numpy as np

from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import matching

C = 3
# One shape for all random cases: nothing recompiles.
VIDEOS, N, E = 4, 16, 8


def detections(rows):
    """Detections of one video from (onset, offset, score, emotion)."""
    table = np.array(rows, np.float64).reshape(-1, 4)
    return Detections(
        table[:, :2].astype(np.float32),
        table[:, 2].astype(np.float32),
        table[:, 3].astype(np.int32),
        np.ones(len(table), bool),
    )


def events(rows):
    """Expressions of one video from (onset, offset, emotion)."""
    table = np.array(rows, np.float64).reshape(-1, 3)
    count = len(table)
    return Events(
        table[:, :2].astype(np.float32),
        np.full(count, -1, np.float32),
        table[:, 2].astype(np.int32),
        np.zeros(count, np.int32),
        np.ones(count, bool),
    )


def padded(found, true):
    return matching.pad([detections(rows) for rows in found]), matching.pad([events(rows) for rows in true])


def random_case(rng, ties=True):
    """Padded random videos: some empty, some classes empty, duplicates, zero lengths, score ties."""
    num_classes = rng.integers(1, C + 1)
    num_det, num_gt = rng.integers(0, N + 1, VIDEOS), rng.integers(0, E + 1, VIDEOS)
    if rng.random() < 0.3:
        num_det[rng.integers(VIDEOS)] = 0
    if rng.random() < 0.3:
        num_gt[rng.integers(VIDEOS)] = 0
    if rng.random() < 0.03:
        num_gt[:] = 0
    if rng.random() < 0.03:
        num_det[:] = 0
    scale = rng.choice([1.0, 0.25])
    gt = rng.integers(0, 60, (VIDEOS, E, 2)) * scale
    gt[..., 1] = gt[..., 0] + rng.integers(0, 21, (VIDEOS, E)) * scale
    source = np.take_along_axis(gt, rng.integers(0, E, (VIDEOS, N))[..., None], 1)
    det = source + rng.integers(-3, 4, (VIDEOS, N, 2)) * rng.integers(0, 2, (VIDEOS, N, 1)) * scale
    det[..., 1] = np.maximum(det[..., 1], det[..., 0])
    score = rng.integers(1, 8, (VIDEOS, N)) / 8 if ties else rng.permutation(VIDEOS * N).reshape(VIDEOS, N) / 64
    emotion = np.take_along_axis(
        np.tile(rng.integers(0, num_classes, E), (VIDEOS, 1)), rng.integers(0, E, (VIDEOS, N)), 1
    )
    found = Detections(
        det.astype(np.float32),
        score.astype(np.float32),
        emotion.astype(np.int32),
        np.arange(N) < num_det[:, None],
    )
    true = Events(
        gt.astype(np.float32),
        np.full((VIDEOS, E), -1, np.float32),
        rng.integers(0, num_classes, (VIDEOS, E)).astype(np.int32),
        np.zeros((VIDEOS, E), np.int32),
        np.arange(E) < num_gt[:, None],
    )
    return found, true
