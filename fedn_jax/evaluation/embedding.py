"""How features lie among each other: t-SNE to look at, silhouettes to judge by."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy.spatial import distance

EXAGGERATION, EARLY = 12.0, 0.25  # of the attraction, for this share of the iterations (van der Maaten 2014)
MOMENTUM = (0.5, 0.8)  # during these iterations, and after them


def _affinities(x: Float[np.ndarray, "N D"], perplexity: float) -> Float[np.ndarray, "N N"]:
    """Symmetric probabilities of pairs: around each point a Gaussian with this many neighbours, by bisection."""
    squares = distance.squareform(distance.pdist(x, "sqeuclidean"))
    np.fill_diagonal(squares, np.inf)
    squares -= squares.min(1, keepdims=True)  # changes no share, and keeps the largest weight at 1
    low, high = np.zeros((len(x), 1)), np.full((len(x), 1), np.inf)
    scale = 1 / np.maximum(np.median(np.where(np.isfinite(squares), squares, 0), 1, keepdims=True), 1e-12)
    for _ in range(60):
        weights = np.exp(-squares * scale)
        share = weights / weights.sum(1, keepdims=True)
        entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(1, keepdims=True)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, scale, low), np.where(wide, high, scale)
        scale = np.where(np.isfinite(high), (low + high) / 2, 2 * scale)
    return (share + share.T) / (2 * len(x))


def _gradient(
    y: Float[np.ndarray, "N 2"], pairs: Float[np.ndarray, "N N"], exaggeration: float = 1.0
) -> Float[np.ndarray, "N 2"]:
    """Of the divergence between affinities and those of places with Student's t (eq. 5 of the paper)."""
    near = 1 / (1 + distance.squareform(distance.pdist(y, "sqeuclidean").astype(y.dtype)))
    np.fill_diagonal(near, 0)
    force = (exaggeration * pairs - near / near.sum()) * near
    return 4 * (force.sum(1, keepdims=True) * y - force @ y)


def tsne(x: Float[np.ndarray, "N D"], perplexity: float = 30.0, iterations: int = 500) -> Float[np.ndarray, "N 2"]:
    """Exact t-SNE (van der Maaten and Hinton 2008), begun with the two first principal components: nothing is drawn.

    Args:
      x: [N, D] float, N >= 3.
      perplexity: neighbours that count; at most (N - 1) / 3.
      iterations: steps of gradient descent.

    Returns:
      [N, 2] float32 places, whose unit means nothing.
    """
    centred = np.asarray(x, np.float64) - np.mean(x, 0, dtype=np.float64)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    first = np.zeros((len(x), 2))
    first[:, : min(2, len(size))] = (left * size)[:, :2]
    y = (1e-4 * first / max(first[:, 0].std(), 1e-12)).astype(np.float32)
    pairs = _affinities(centred, min(perplexity, (len(x) - 1) / 3)).astype(np.float32)
    early, rate = int(EARLY * iterations), max(len(x) / EXAGGERATION, 50.0)
    step, gain = np.zeros_like(y), np.ones_like(y)
    for number in range(iterations):
        gradient = _gradient(y, pairs, EXAGGERATION if number < early else 1.0)
        gain = np.maximum(np.where(np.sign(gradient) == np.sign(step), 0.8 * gain, gain + 0.2), 0.01)
        step = MOMENTUM[number >= early] * step - rate * gain * gradient
        y = y + step
        y -= y.mean(0)
    return y


def silhouette(x: Float[np.ndarray, "N D"], groups: Shaped[np.ndarray, " N"]) -> float | None:
    """Mean silhouette (Rousseeuw 1987): 1, groups lie apart; 0, they touch; below 0, points lie nearer to another.

    Args:
      x: [N, D] float.
      groups: [N], the group of each point.

    Returns:
      In [-1, 1]; a point that is alone in its group counts 0. None with fewer than two groups.
    """
    names, index, number = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return None
    away = distance.squareform(distance.pdist(np.asarray(x, np.float64)))
    total = np.stack([away[:, index == group].sum(1) for group in range(len(names))], 1)  # [N, groups]
    rows = np.arange(len(x))
    own = total[rows, index] / np.maximum(number[index] - 1, 1)
    mean = total / number
    mean[rows, index] = np.inf
    other = mean.min(1)
    largest = np.maximum(np.maximum(own, other), 1e-300)
    return float(np.where(number[index] > 1, (other - own) / largest, 0.0).mean())
