"""How well coders agree: F1 of events, Cohen's kappa of frames, ICC of amounts, limits of agreement of times.

Each is a function of what can be summed over persons, so that ``bootstrap.interval`` gives its interval: people are
drawn again, since expressions of one person are alike. A number that does not exist is NaN.

    >>> table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    >>> sums = moments(np.array(table, float))  # Shrout and Fleiss 1979, Table 2
    >>> print("%.2f %.2f" % (icc_absolute(sums), icc_consistency(sums)))
    0.29 0.71
    >>> print("%.2f" % kappa(np.array([20, 5, 10, 15])))
    0.40
"""

from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # of a normal distribution, 95 % two-sided


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """A quotient; NaN where it does not exist."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)


def f1(sums: np.ndarray) -> np.ndarray:
    """F1 of events: twice the pairs, divided by the events of both.

    Args:
      sums: [..., 3] numbers of pairs, of events of one coder, and of the other.

    Returns:
      [...] float in [0, 1].
    """
    return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def kappa(sums: np.ndarray) -> np.ndarray:
    """Cohen's kappa of two coders who mark frames (Cohen 1960): (po - pe) / (1 - pe).

    po is the share of frames on which they say the same, pe the share that their marginals would give by chance.

    Args:
      sums: [..., 4] frames that both mark, only the first, only the second, none.

    Returns:
      [...] float, at most 1; NaN where both mark all frames or none.
    """
    both, first, second, none = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    total = both + first + second + none
    observed = _ratio(both + none, total)
    chance = _ratio((both + first) * (both + second) + (none + first) * (none + second), total**2)
    return _ratio(observed - chance, 1 - chance)


# ---- Intraclass correlation ------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """What an analysis of variance of targets by raters rests on; sums over targets."""

    targets: np.ndarray  # [...] number of targets, n
    by_rater: np.ndarray  # [..., k] sum of each rater's values
    squares: np.ndarray  # [...] sum of all squared values
    rows: np.ndarray  # [...] sum of the squared sums of each target


def moments(values: np.ndarray) -> Moments:
    """Sums of a table.

    Args:
      values: [n, k] float, a value per target and rater.

    Returns:
      The sums.
    """
    values = np.asarray(values, np.float64)
    return Moments(
        np.float64(len(values)), values.sum(0), np.float64((values**2).sum()), np.float64((values.sum(1) ** 2).sum())
    )


def _mean_squares(sums: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """(of targets, of raters, residual, n, k); Shrout and Fleiss 1979, Table 3: BMS, JMS, EMS."""
    n, k = np.asarray(sums.targets, np.float64), np.asarray(sums.by_rater).shape[-1]
    total = np.asarray(sums.by_rater).sum(-1)
    correction = _ratio(total**2, n * k)
    between = np.asarray(sums.rows) / k - correction
    raters = _ratio((np.asarray(sums.by_rater) ** 2).sum(-1), n) - correction
    residual = np.maximum(np.asarray(sums.squares) - correction - between - raters, 0)
    tiny = 1e-12 * np.maximum(np.asarray(sums.squares), 1)  # what rounding leaves of a difference that is zero
    clean = lambda x: np.where(x < tiny, 0.0, x)
    return _ratio(clean(between), n - 1), clean(raters) / (k - 1), _ratio(clean(residual), (n - 1) * (k - 1)), n, k


def icc_absolute(sums: Moments) -> np.ndarray:
    """ICC(2,1): absolute agreement of single coders, targets and coders drawn at random (Shrout and Fleiss 1979).

    (BMS - EMS) / (BMS + (k - 1) EMS + k (JMS - EMS) / n).

    Args:
      sums: see ``Moments``.

    Returns:
      [...] float, at most 1; NaN with fewer than two targets, or where all values are equal.
    """
    between, raters, residual, n, k = _mean_squares(sums)
    return _ratio(between - residual, between + (k - 1) * residual + k * _ratio(raters - residual, n))


def icc_consistency(sums: Moments) -> np.ndarray:
    """ICC(3,1): consistency of these coders, whatever each one's level (Shrout and Fleiss 1979).

    (BMS - EMS) / (BMS + (k - 1) EMS).

    Args:
      sums: see ``Moments``.

    Returns:
      [...] float, at most 1; NaN as for ``icc_absolute``.
    """
    between, _, residual, _, k = _mean_squares(sums)
    return _ratio(between - residual, between + (k - 1) * residual)


# ---- Limits of agreement ---------------------------------------------------------------------------------------------


def differences(values: np.ndarray) -> np.ndarray:
    """Sums of differences between two coders.

    Args:
      values: [N] float.

    Returns:
      [3] float: their number, their sum, the sum of their squares.
    """
    values = np.asarray(values, np.float64)
    return np.array([len(values), values.sum(), (values**2).sum()])


def bias(sums: np.ndarray) -> np.ndarray:
    """Mean difference (Bland and Altman 1986).

    Args:
      sums: [..., 3], see ``differences``.

    Returns:
      [...] float; NaN without a difference.
    """
    return _ratio(sums[..., 1], sums[..., 0])


def deviation(sums: np.ndarray) -> np.ndarray:
    """Standard deviation of the differences, with N - 1.

    Args:
      sums: [..., 3], see ``differences``.

    Returns:
      [...] float; NaN with fewer than two differences.
    """
    mean = bias(sums)
    return np.sqrt(_ratio(np.maximum(sums[..., 2] - sums[..., 0] * mean**2, 0), sums[..., 0] - 1))


def lower_limit(sums: np.ndarray) -> np.ndarray:
    """Lower 95 % limit of agreement: bias less 1.96 standard deviations (Bland and Altman 1986).

    Args:
      sums: [..., 3], see ``differences``.

    Returns:
      [...] float; NaN with fewer than two differences.
    """
    return bias(sums) - Z * deviation(sums)


def upper_limit(sums: np.ndarray) -> np.ndarray:
    """Upper 95 % limit of agreement.

    Args:
      sums: [..., 3], see ``differences``.

    Returns:
      [...] float; NaN with fewer than two differences.
    """
    return bias(sums) + Z * deviation(sums)
