"""What more training subjects would bring: a power law through a learning curve, and when there is none to be had.

1 - F1 is taken to fall as a n^-b with the number n of training subjects (a power law, as learning curves of many
networks show: Hestness et al. 2017), fitted in logarithms. The law has no floor: it says what more data would bring if
nothing else, such as labels on which coders disagree, stood in the way.
"""

from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core.types import Array
from fedn_jax.evaluation import bootstrap
from fedn_jax.evaluation.metrics import Counts, f1

SAMPLES = 2000  # resamples
LEVEL = 0.95  # of intervals
SHARES = 4  # points that a curve needs: three to fit, and one to try the fit on
SUBJECTS = 5  # test subjects from which on chance can be judged
AHEAD = (1.5, 2.0)  # times the subjects that there are
_LEAST = 1e-3  # of 1 - F1, whose logarithm is taken


class Resampled(NamedTuple):
    """The points of a curve."""

    value: np.ndarray  # [A] F1, mean over draws
    low: np.ndarray  # [A] of its interval
    high: np.ndarray  # [A]
    drawn: np.ndarray  # [R, A] F1 of the resamples


def points(counts: Counts, seed: int = 0) -> Resampled:
    """F1 of every share, and how sure it is: test subjects are drawn again, alike for all shares, and draws, of each.

    Args:
      counts: [A, D, S] int of A shares, D draws of training subjects and S test subjects.
      seed: of the resamples.

    Returns:
      The points.
    """
    shares, draws, subjects = np.shape(counts.tp)
    chosen = np.random.default_rng([seed, 2]).integers(0, draws, (SAMPLES, shares, draws))
    weights = bootstrap.draw(subjects, SAMPLES, seed)  # [R, S]
    each = f1(Counts(*(np.einsum("rs,ads->rad", weights, np.asarray(x)) for x in counts)))  # [R, A, D]
    drawn = np.take_along_axis(each, chosen, 2).mean(2)  # [R, A]
    value = f1(Counts(*(np.asarray(x).sum(2) for x in counts))).mean(1)
    return Resampled(value, *_interval(drawn), drawn)


def _interval(drawn: np.ndarray) -> np.ndarray:
    """[2, ...] percentiles over the first axis."""
    return np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)


def fit(size: Array, value: Array) -> tuple[np.ndarray, np.ndarray]:
    """A power law of 1 - F1, by least squares of logarithms.

    Args:
      size: [A] float, training subjects, not all equal.
      value: [..., A] float, F1.

    Returns:
      a and b [...] float, of 1 - F1 = a n^-b.
    """
    x, y = np.log(np.asarray(size, float)), np.log(np.maximum(1 - np.asarray(value), _LEAST))
    away = x - x.mean()
    slope = (away * y).sum(-1) / (away**2).sum()
    return np.exp(y.mean(-1) - slope * x.mean()), -slope


def _scatter(size: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, float, float]:
    """How far the points lie off their law, beyond what resampling sees: few points fix it badly.

    Returns:
      [R] t-distributed draws times the residual deviation; mean of log n; sum of squared distances from it.
    """
    x, (a, b) = np.log(size), fit(size, value)
    rest = np.log(np.maximum(1 - value, _LEAST)) - np.log(a) + b * x
    free = len(size) - 2
    drawn = np.random.default_rng(3).standard_t(free, SAMPLES)
    return drawn * np.sqrt((rest**2).sum() / free), x.mean(), ((x - x.mean()) ** 2).sum()


def predict(law: tuple[Array, Array], size: float) -> np.ndarray:
    """F1 that a power law promises.

    Args:
      law: of ``fit``.
      size: training subjects.

    Returns:
      [...] float.
    """
    return 1 - law[0] * size ** -np.asarray(law[1])


def extrapolate(size: Array, found: Resampled, subjects: int) -> dict[str, Any]:
    """F1 with more training subjects than there are, or why it cannot be said.

    It is said only if the law has shown here that it holds: the exponent's interval lies above 0, and the law of all
    smaller shares foretells the largest one within its interval. Intervals hold both chances: that of subjects and
    draws, and that of the points about the line (prediction interval of a regression, t with A - 2 degrees of freedom).

    Args:
      size: [A] float, mean training subjects of each share, rising.
      found: of ``points``.
      subjects: test subjects.

    Returns:
      "missing", the reason or None; "exponent" [low, high] or None; "ahead", entries of "subjects", "f1", "low" and
      "high", none with a reason.
    """
    size = np.asarray(size, float)

    def without(reason: str, exponent: list[float] | None = None) -> dict[str, Any]:
        return {"missing": reason, "exponent": exponent, "ahead": []}

    if len(set(size.tolist())) < max(SHARES, len(size)):
        return without(f"it needs {SHARES} shares with different numbers of training subjects")
    if subjects < SUBJECTS:
        return without(f"chance cannot be judged over {subjects} test subjects; it needs {SUBJECTS}")
    law, laws = fit(size, found.value), fit(size, found.drawn)
    scatter, middle, square = _scatter(size, found.value)
    exponent = _interval(laws[1] + scatter / np.sqrt(square)).tolist()
    if exponent[0] <= 0:
        return without("the rise with more subjects cannot be told from chance", exponent)
    low, high = _interval(predict(fit(size[:-1], found.drawn[:, :-1]), size[-1]))
    if not low <= found.value[-1] <= high:
        return without("the law of the smaller shares does not foretell the largest one", exponent)
    ahead = []
    for more in np.multiply(AHEAD, size[-1]).tolist():
        width = np.sqrt(1 + 1 / len(size) + (np.log(more) - middle) ** 2 / square)
        drawn = 1 - (1 - predict(laws, more)) * np.exp(width * scatter)
        low, high = np.clip(_interval(drawn), 0, 1).tolist()
        ahead.append({"subjects": more, "f1": float(predict(law, more)), "low": low, "high": high})
    return {"missing": None, "exponent": exponent, "ahead": ahead}
