"""What a run is worth in a video: what it was trained on, how good it is there, and whether these faces look alike.

A score is the network's own opinion, and on faces unlike those that it has seen it is as high as on others.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core import schema
from fedn_jax.core.text import count, percent
from fedn_jax.data import likeness
from fedn_jax.engine import run_dir


class Verdict(NamedTuple):
    """What to say before any detection."""

    text: str  # sentences
    alike: bool | None  # the faces look like those of the run's data; None: not known
    numbers: str = ""  # that this is judged by


def make_judge(run: Path, features: str) -> Callable[[np.ndarray, np.ndarray], Verdict]:
    """Reads what a run knows of itself, once for all videos.

    Args:
      run: directory of the run that will detect.
      features: what it reads, in words.

    Returns:
      judge(inputs [T, ...] of a video, as the run's preparation makes them, valid [T] bool) -> Verdict. ``inputs`` may
      be a memory-mapped file.

    Raises:
      UserError: a file of the run is damaged.
    """
    metadata = run_dir.read_run(run)["metadata"]
    about = f"Trained on {schema.dataset(metadata)}, features {features}. {_own_numbers(run)}. "
    path = run_dir.likeness_path(run)
    known = likeness.load(path) if path.exists() else None
    limit = known and likeness.limit(known)

    def judge(inputs: np.ndarray, valid: np.ndarray) -> Verdict:
        far = likeness.distance(known, inputs, valid) if known else None
        if limit is None or far is None:
            return Verdict(f"{about}Whether the faces of this video look like those is not known.", None)
        alike = far <= limit
        be = "look like those" if alike else "do not look like those: what follows means little"
        numbers = f"distance {far:.1f}; of its own people up to {limit:.1f}"
        return Verdict(f"{about}The faces of this video {be} ({numbers}).", alike, numbers)

    return judge


def _own_numbers(run: Path) -> str:
    """How good the run was on its test videos, in words."""
    path = run / "metrics.json"
    spotting: Mapping[str, Any] = run_dir.read_record(path)["spotting"] if path.exists() else {}
    if not spotting.get("gt"):
        return "How good it is was not measured (fedn evaluate)"
    if not spotting["n"]:
        return f"On its test videos it found none of {count(spotting['gt'], 'expression')}"
    right, recall, precision = spotting["tp"], percent(spotting["recall"]), percent(spotting["precision"])
    return (
        f"On its test videos it found {right} of {count(spotting['gt'], 'expression')} ({recall} %), and {right} of "
        f"its {count(spotting['n'], 'detection')} {'was' if right == 1 else 'were'} right ({precision} %)"
    )
