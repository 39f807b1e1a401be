"""What the comparison found: a table of 80 columns, a page, and all numbers as JSON."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import files
from fedn_jax.engine import run_dir
from fedn_jax.reports import run_page
from fedn_jax.torch_parity import measure
from fedn_jax.torch_parity.measure import Level

COLUMNS = 80


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


def table(levels: Sequence[Level]) -> str:
    """The verdict for a terminal.

    Args:
      levels: the lines.

    Returns:
      Text of at most 80 columns; where a level failed, the first array that differs is named.
    """
    head = f"{'level':<13}{'precision':<11}{'cases':>5}{'arrays':>8}{'absolute':>11}{'relative':>10}{'allowed':>10}"
    lines = [head + "  verdict", "-" * COLUMNS]
    for row in summary(levels):
        numbers = "".join(f"{exponent(row[name]):>{size}}" for name, size in (("absolute", 11), ("relative", 10)))
        allowed = "equal" if row["tolerance"] == 0 else f"{row['tolerance']:.0e}"
        counts = f"{row['cases']:>5}{row['arrays']:>8}"
        verdict = "ok" if row["passed"] else "FAILED"
        lines.append(f"{row['level']:<13}{row['precision']:<11}{counts}{numbers}{allowed:>10}  {verdict}")
    for name in dict.fromkeys(one.level for one in levels if not one.passed):
        failed = [one for one in levels if one.level == name and not one.passed]
        one, more = failed[0], f" (and {len(failed) - 1} more cases)" if failed[1:] else ""
        text = (
            f"FAILED: {one.level}, {one.case}, {one.precision}{more}: the first array beyond the tolerance is "
            f"{one.first or one.worst}; the worst is {one.worst}, {exponent(one.relative)} apart"
        )
        lines += ["", *textwrap.wrap(text, COLUMNS, subsequent_indent="  ")]
    for one in levels:
        if one.level.startswith(("7", "9")) and one.note:
            lines += textwrap.wrap(f"{one.level}, {one.precision}: {one.note}.", COLUMNS, subsequent_indent="  ")
    lines += textwrap.wrap(
        "Worst differences over all cases and arrays; relative: in units of the largest entry of PyTorch's array "
        "(of its layer, for gradients and parameters).",
        COLUMNS, subsequent_indent="  ",
    )  # fmt: skip
    return "\n".join(lines)


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
    text = run_page.page(
        "parity.html.j2", title=title, passed=measure.passed(levels), levels=levels, summary=summary(levels),
        versions=versions, exponent=exponent,
    )  # fmt: skip
    files.write_text(out / "parity.html", text)
    return out / "parity.html"
