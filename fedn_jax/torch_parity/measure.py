"""How far two implementations are apart, and what is made of it: differences by name, verdicts by level."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

# Compiles faster, runs slower: for programs that run once. The first case is compiled as always.
HASTY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


class Difference(NamedTuple):
    """How far two arrays of one name are apart."""

    name: str
    absolute: float  # largest difference of two entries
    relative: float  # the same in units of the largest entry of the peer's array
    size: int = 1  # entries that were compared


class Level(NamedTuple):
    """One line of the comparison."""

    level: str  # such as "2 forward"
    case: str  # what was compared
    precision: str  # float32, float64 or exact
    tolerance: float  # of the relative difference; 0: equal
    count: int  # arrays that were compared
    absolute: float  # worst absolute difference
    relative: float  # worst relative difference
    worst: str  # name of the array with the worst relative difference
    first: str  # first array, in the order of the computation, beyond the tolerance; "" if none is
    passed: bool
    note: str = ""


def difference(name: str, ours: Any, theirs: Any, scale: float | None = None) -> Difference:
    """Compares two arrays.

    Args:
      name: of both.
      ours: an array.
      theirs: the peer's, of the same shape.
      scale: what a difference is divided by; None: the largest entry of ``theirs``.

    Returns:
      The difference; infinite where shapes differ or one of them is not finite.

    >>> difference("x", [1.0, 2.0], [1.0, 4.0])
    Difference(name='x', absolute=2.0, relative=0.5, size=2)
    """
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape:
        return Difference(f"{name}: shape {list(a.shape)} instead of {list(b.shape)}", np.inf, np.inf)
    if not a.size:
        return Difference(name, 0.0, 0.0, 0)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Difference(f"{name}: not finite", np.inf, np.inf)
    absolute = float(np.abs(a - b).max())
    scale = float(np.abs(b).max()) if scale is None else scale
    relative = absolute / scale if scale > 0 else (np.inf if absolute else 0.0)
    return Difference(name, absolute, relative, a.size)


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], scales: Mapping[str, float] | None = None
) -> list[Difference]:
    """Compares two dicts of arrays; a name that only one of them has is an infinite difference.

    Args:
      ours: name -> array.
      theirs: name -> array, in the order of the computation.
      scales: name -> what its difference is divided by; others by the largest entry of the peer's array.

    Returns:
      One difference per name.
    """
    scales = scales or {}
    found = [difference(n, ours[n], theirs[n], scales.get(n)) for n in theirs if n in ours]
    alone = [n for n in (*theirs, *ours) if (n in ours) != (n in theirs)]
    return found + [Difference(f"{name}: one side only", np.inf, np.inf) for name in alone]


def judge(
    level: str, case: str, precision: str, tolerance: float, found: Iterable[Difference], note: str = ""
) -> Level:
    """The verdict on some differences.

    Args:
      level: such as "2 forward".
      case: what was compared.
      precision: float32, float64 or exact.
      tolerance: of the relative difference; 0: equal.
      found: differences, in the order of the computation; at least one of arrays that are not empty.
      note: what a reader should know.

    Returns:
      The line; it fails if any relative difference exceeds the tolerance, or if nothing was compared.
    """
    found = list(found)
    if not any(one.size for one in found):
        return Level(level, case, precision, tolerance, 0, np.inf, np.inf, "nothing was compared", "", False, note)
    worst = max(found, key=lambda one: one.relative)
    beyond = [one.name for one in found if not one.relative <= tolerance]
    absolute = max(one.absolute for one in found)
    first = beyond[0] if beyond else ""
    return Level(
        level, case, precision, tolerance, len(found), absolute, worst.relative, worst.name, first, not beyond, note
    )


def passed(levels: Iterable[Level]) -> bool:
    """Whether all is well.

    Args:
      levels: the lines.

    Returns:
      True if there are some and none of them failed.
    """
    levels = list(levels)
    return bool(levels) and all(one.passed for one in levels)
