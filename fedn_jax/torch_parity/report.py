"""What the comparison found: tables, a page, and all numbers as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import text
from fedn_jax.engine import run_dir
from fedn_jax.reports import pages
from fedn_jax.reports.tables import Cell, Column, Table, words
from fedn_jax.torch_parity import measure
from fedn_jax.torch_parity.measure import Level


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def exponent(value: float) -> str:
    """A difference as text.

    Args:
      value: at least 0.

    Returns:
      Two digits and a power of ten; "0" for nothing at all.

    >>> exponent(0.0), exponent(1.234e-7), exponent(float("inf"))
    ('0', '1.2e-07', 'inf')
    """
    return "0" if value == 0 else f"{value:.1e}" if np.isfinite(value) else "inf"


def summary(levels: Sequence[Level]) -> list[dict[str, Any]]:
    """One row per level and precision: the worst of all cases.

    Args:
      levels: the lines.

    Returns:
      "level", "precision", "cases", "arrays", "absolute", "relative", "tolerance", "passed" each.
    """
    groups: dict[tuple[str, str], list[Level]] = {}
    for one in levels:
        groups.setdefault((one.level, one.precision.removeprefix("exact, ")), []).append(one)
    return [
        {
            "level": level, "precision": precision, "cases": len(some), "arrays": sum(one.count for one in some),
            "absolute": max(one.absolute for one in some), "relative": max(one.relative for one in some),
            "tolerance": max(one.tolerance for one in some), "passed": measure.passed(some),
        }
        for (level, precision), some in sorted(groups.items())
    ]  # fmt: skip


def _allowed(tolerance: float) -> str:
    return "equal" if tolerance == 0 else f"{tolerance:.0e}"


def _verdict(passed: bool) -> Cell:
    return words("ok" if passed else "FAILED")


def levels_table(levels: Sequence[Level]) -> Table:
    """The verdict of every level.

    Args:
      levels: the lines.

    Returns:
      A table with a row per level and precision; its notes name the first array that differs.
    """
    columns = [Column("Level", number=False), Column("Precision", number=False), Column("Cases"), Column("Arrays")]
    columns += [Column(title) for title in ("Absolute", "Relative", "Allowed")] + [Column("Verdict", number=False)]
    rows = [
        [words(row["level"]), words(row["precision"]), words(row["cases"]), words(row["arrays"]),
         words(exponent(row["absolute"])), words(exponent(row["relative"])), words(_allowed(row["tolerance"])),
         _verdict(row["passed"])]
        for row in summary(levels)
    ]  # fmt: skip
    notes = [_failure(failed) for failed in _failed(levels)]
    notes += [f"{x.level}, {x.precision}: {x.note}." for x in levels if x.level.startswith(("7", "9")) and x.note]
    notes += [
        "Absolute: the largest difference of two entries, over all cases and arrays.",
        "Relative, which the verdict rests on: that difference divided by the largest entry of PyTorch's array; for "
        "gradients and parameters, by the largest entry of the layer, since the gradient of a bias before a "
        "normalisation is a small sum of large numbers.",
    ]
    return Table("levels", "Levels", columns, [("", rows)], notes)


def _failed(levels: Sequence[Level]) -> list[list[Level]]:
    names = dict.fromkeys(one.level for one in levels if not one.passed)
    return [[one for one in levels if one.level == name and not one.passed] for name in names]


def _failure(failed: Sequence[Level]) -> str:
    """What the failed cases of a level have in common: the first array that differs."""
    one, more = failed[0], f" (and {text.count(len(failed) - 1, 'more case')})" if failed[1:] else ""
    return (
        f"FAILED: {one.level}, {one.case}, {one.precision}{more}: the first array beyond the tolerance is "
        f"{one.first or one.worst}; the worst is {one.worst}, {exponent(one.relative)} apart."
    )


def cases_table(levels: Sequence[Level]) -> Table:
    """Every case.

    Args:
      levels: the lines.

    Returns:
      A table with a row per case.
    """
    columns = [Column("Case", number=False), Column("Precision", number=False), Column("Arrays"), Column("Absolute")]
    columns += [Column("Relative"), Column("Allowed"), Column("Verdict", number=False)]
    columns += [Column("Worst array", number=False)]
    groups: dict[str, list[list[Cell]]] = {}
    for one in levels:
        sizes = (exponent(one.absolute), exponent(one.relative), _allowed(one.tolerance))
        case = words(f"{one.case}: {one.note}" if one.note else one.case)
        row = [case, words(one.precision), words(one.count), *map(words, sizes), _verdict(one.passed), words(one.worst)]
        groups.setdefault(one.level, []).append(row)
    return Table("cases", "Every case", columns, list(groups.items()))


def write(out: Path, levels: Sequence[Level], title: str) -> Path:
    """Writes ``parity.html`` and ``parity.json``.

    Args:
      out: directory; made if missing.
      levels: the lines.
      title: what was compared.

    Returns:
      Path of the page.
    """
    import torch

    versions = run_dir.versions() | {"torch": torch.__version__}
    out.mkdir(parents=True, exist_ok=True)
    rows = [one._asdict() | {"absolute": _plain(one.absolute), "relative": _plain(one.relative)} for one in levels]
    found = {"passed": measure.passed(levels), "levels": rows, "versions": versions}
    run_dir.write_json(out / "parity.json", found)
    failures = [_failure(failed) for failed in _failed(levels)]
    differ = ["The two differ.", "The first array beyond the tolerance, in the order of the computation:", *failures]
    tables = [levels_table(levels), cases_table(levels)]
    sections = [*((one.title, [one]) for one in tables), ("Versions", [versions])]
    return pages.write(
        out / "parity.html", "Comparison with PyTorch", title, sections, warning=differ if failures else (),
        lead="" if failures else f"All {text.count(len(levels), 'comparison')} lie within their tolerances.",
    )  # fmt: skip
