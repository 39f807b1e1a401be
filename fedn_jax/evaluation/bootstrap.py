"""How sure a number is: people are drawn again, not expressions.

Expressions of one person are alike, so the unit of chance is the subject: its counts stay together. A number is given
as a function of what is summed over subjects, such as ``metrics.f1`` of ``Counts``, or ``metrics.accuracy`` of a
confusion matrix; it is called once, with all resampled sums.

    >>> from fedn_jax.evaluation.metrics import Counts, f1
    >>> ours = {"anna": Counts(8, 10, 9), "ben": Counts(1, 4, 3), "cleo": Counts(5, 6, 8)}
    >>> base = {"anna": Counts(4, 10, 9), "ben": Counts(1, 6, 3), "cleo": Counts(4, 9, 8)}
    >>> print("%.2f [%.2f, %.2f]" % interval(ours, f1))
    0.70 [0.29, 0.84]
    >>> print("%.2f [%.2f, %.2f], p = %.2f" % paired(ours, base, f1))
    0.30 [0.06, 0.42], p = 0.25
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from fedn_jax.core import errors
from fedn_jax.core.types import Array, Tree

SAMPLES = 10000  # resamples, unless told otherwise
EXACT = 16  # subjects up to which every one of the 2^S swaps is tried
SLACK = 1e-12  # relative above 1: differences this close are equal, the same fractions rounded on another way

Statistic = Callable[[Tree], Array]  # tree of sums [R, ...] -> [R]


class Interval(NamedTuple):
    """A number and its confidence interval."""

    value: float  # of all subjects
    low: float
    high: float


class Paired(NamedTuple):
    """The difference of two runs on the same subjects."""

    difference: float  # first less second, of all subjects
    low: float  # confidence interval of the difference
    high: float
    p: float  # two-sided, of the hypothesis that the two runs are exchangeable within subjects


def by_subject(subjects: list[str] | tuple[str, ...], statistics: Tree) -> dict[str, Tree]:
    """Statistics with a leading axis of subjects -> one entry per subject.

    Args:
      subjects: S names, all different.
      statistics: tree of arrays [S, ...], such as ``metrics.spotting`` gives for groups.

    Returns:
      name -> tree of arrays [...].

    Raises:
      UserError: lengths that differ, or a name twice.
    """
    for array in jax.tree.leaves(statistics):
        errors.shape("statistics", array, (len(subjects), *np.shape(array)[1:]))
    if len(set(subjects)) < len(subjects):
        raise errors.UserError(f"subjects must differ; got {', '.join(sorted(subjects))}")
    return {name: jax.tree.map(lambda x, s=s: x[s], statistics) for s, name in enumerate(subjects)}


def _stack(per_subject: Mapping[str, Tree]) -> Tree:
    """Tree of arrays [S, ...], subjects in the order of their names."""
    if len(per_subject) < 2:
        raise errors.UserError(f"chance is judged over subjects, at least 2; got {len(per_subject)}")
    trees = [jax.tree.map(np.asarray, per_subject[name]) for name in sorted(per_subject)]
    kinds = {str(jax.tree.map(lambda x: list(x.shape), tree)) for tree in trees}
    if len(kinds) > 1:
        raise errors.UserError(f"all subjects must have the same statistics; got {', '.join(sorted(kinds))}")
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _check(samples: int, level: float) -> None:
    """Raises unless the options of resampling can be used."""
    errors.at_least("samples", samples, 1)
    if not 0 < level < 1:
        raise errors.UserError(f"level must be between 0 and 1; got {level}")


def _weigh(weights: np.ndarray, stacked: Tree) -> Tree:
    """Sums over subjects [R, ...] with weights [R, S]; exact for integers."""
    return jax.tree.map(lambda x: np.tensordot(weights, x, 1), stacked)


def _evaluate(statistic: Statistic, sums: Tree, count: int, partial: bool = False) -> np.ndarray:
    """[R] float64; with ``partial`` without NaN, if that is less than half."""
    values = np.asarray(statistic(sums), np.float64)
    errors.shape("the result of statistic", values, (count,))
    if partial and np.isnan(values).sum() * 2 < count:
        values = values[~np.isnan(values)]
    if not np.isfinite(values).all():
        raise errors.UserError(f"statistic must be finite on every resample; got {values[~np.isfinite(values)][0]}")
    return values


def draw(units: int, samples: int, seed: int = 0) -> np.ndarray:
    """Draws with replacement, as many as there are.

    Args:
      units: S subjects, or whatever stays together.
      samples: R resamples.
      seed: of the draws.

    Returns:
      [R, S] int, how often each unit is drawn.
    """
    return np.random.default_rng([seed, 0]).multinomial(units, np.full(units, 1 / units), samples)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval(
    per_subject: Mapping[str, Tree],
    statistic: Statistic,
    samples: int = SAMPLES,
    seed: int = 0,
    level: float = 0.95,
    partial: bool = False,
) -> Interval:
    """Percentile bootstrap over subjects (Efron 1979): all subjects are drawn again with replacement.

    The same seed and subjects give the same interval, whatever the order of the subjects.

    Args:
      per_subject: subject -> tree of numbers or arrays that may be summed over subjects, such as ``Counts``.
      statistic: tree of sums [R, ...] -> [R] float.
      samples: R, resamples.
      seed: of the draws.
      level: of confidence.
      partial: resamples on which the statistic is NaN, because there is no such number, are left out.

    Returns:
      The number of all subjects, and the interval that holds the middle share ``level`` of its resamples.

    Raises:
      UserError: fewer than two subjects, statistics that differ in shape, options that cannot be, or a statistic that
        is not one finite number per resample; with ``partial``, NaN on all subjects or on half of the resamples.
    """
    _check(samples, level)
    stacked = _stack(per_subject)
    count = len(per_subject)
    value = _evaluate(statistic, _weigh(np.ones((1, count), int), stacked), 1)[0]
    values = _evaluate(statistic, _weigh(draw(count, samples, seed), stacked), samples, partial)
    return Interval(float(value), *_percentiles(values, level))


def _swaps(subjects: int, samples: int, seed: int) -> np.ndarray:
    """[M, S] int, 1 where the two runs are swapped: every choice, or ``samples`` random ones behind none."""
    if subjects <= EXACT:
        return np.arange(2**subjects)[:, None] >> np.arange(subjects) & 1
    drawn = np.random.default_rng([seed, 1]).integers(0, 2, (samples, subjects))
    return np.concatenate([np.zeros((1, subjects), drawn.dtype), drawn])


def paired(
    a: Mapping[str, Tree],
    b: Mapping[str, Tree],
    statistic: Statistic,
    samples: int = SAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """Compares two runs on the same subjects.

    The interval is a percentile bootstrap of the difference, with the same subjects drawn for both. p is the share of
    the swaps of the two runs within subjects whose difference is at least as large, in either direction: of all 2^S
    swaps up to 16 subjects, beyond that of ``samples`` random ones and the runs as they are (Phipson and Smyth 2010).
    With five subjects it cannot fall below 2 / 2^5 = .0625, however large the difference.

    Args:
      a: subject -> statistics of one run, see ``interval``.
      b: subject -> statistics of the other, same subjects.
      statistic: tree of sums [R, ...] -> [R] float.
      samples: R, resamples.
      seed: of the draws.
      level: of confidence.

    Returns:
      The difference, its interval, and p.

    Raises:
      UserError: subjects that only one has, or as for ``bootstrap``.
    """
    _check(samples, level)
    if set(a) != set(b):
        lists = [", ".join(sorted(set(x) - set(y))) or "none" for x, y in ((a, b), (b, a))]
        raise errors.UserError(f"both runs must have the same subjects; only in a: {lists[0]}; only in b: {lists[1]}")
    count = len(a)
    both = [_stack(a), _stack(b)]
    kinds = [str(jax.tree.map(lambda x: list(x.shape), tree)) for tree in both]
    if kinds[0] != kinds[1]:
        raise errors.UserError(f"both runs must have the same statistics; got {kinds[0]} and {kinds[1]}")

    def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Weights of the two runs [M, S] in what is compared, and the other way round in what it is compared with."""
        one, other = (
            jax.tree.map(np.add, _weigh(x, both[0]), _weigh(y, both[1])) for x, y in ((first, second), (second, first))
        )
        return _evaluate(statistic, one, len(first)) - _evaluate(statistic, other, len(first))

    weights, swaps = draw(count, samples, seed), _swaps(count, samples, seed)
    drawn, swapped = differences(weights, 0 * weights), np.abs(differences(1 - swaps, swaps))
    difference = differences(np.ones((1, count), int), np.zeros((1, count), int))[0]
    p = np.mean(swapped >= abs(difference) - SLACK * max(1, abs(difference)))
    return Paired(float(difference), *_percentiles(drawn, level), float(p))
