"""What the fields of run.json are: a checksum can be forged, so their types are checked when they are read."""

from collections.abc import Mapping
from typing import Any

FACTS: dict[str, Any] = {  # types of the fields of run.json that are read, see ``_fits``
    "data": str, "folds": [str], "classes": [str], "input_shape": [int], "fps": (int, float),
    "versions": {"fedn_jax": str}, "programs": [{"plan": str, "index": int, "folds": [int]}],
    "metadata": {"dataset": str, "backbone": str, "aligner": str, "frames_per_row": int, "preparation": dict},
}  # fmt: skip


def wrong(found: Mapping[str, Any]) -> str:
    """The first field of another type than the writer gives it; fields may be missing.

    Args:
      found: content of run.json.

    Returns:
      Its name; "" if there is none.
    """
    return next((name for name in sorted(set(found) & set(FACTS)) if not _fits(found[name], FACTS[name])), "")


def _fits(value: Any, layout: Any) -> bool:
    """Whether a value is of a type; a list of such; or a dict of which all known entries are."""
    if isinstance(layout, list):
        return isinstance(value, list) and all(_fits(one, layout[0]) for one in value)
    if isinstance(layout, dict):
        return isinstance(value, dict) and all(_fits(value[name], layout[name]) for name in set(layout) & set(value))
    return isinstance(value, layout) and not isinstance(value, bool)
