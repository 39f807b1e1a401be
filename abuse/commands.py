"""Calls of commands that several parts of the campaign share."""

import os
import shutil
from pathlib import Path

from abuse import sandbox

SIDE = 32  # of a face, in pixels: the smallest


def run(directory: Path, *words: object, seconds: float = 120) -> None:
    """Runs a command that must succeed.

    Args:
      directory: its working directory.
      *words: its arguments.
      seconds: it may take.

    Raises:
      RuntimeError: it failed.
    """
    limits = sandbox.Limits(seconds=seconds)
    started = sandbox.start(sandbox.command([str(word) for word in words]), directory, directory / ".records", limits)
    ended = started.wait()
    if ended.code:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit code {ended.code}\n{ended.err[-3000:]}")
    shutil.rmtree(directory / ".records")


def prepare_features(source: object, sheet: object, out: object) -> list[str]:
    """The command for clip features.

    Args:
      source: folder of features.
      sheet: annotations.
      out: directory for the result.

    Returns:
      Words.
    """
    words = ["prepare", "features", "--features", source, "--annotations", sheet, "--out", out, "--frames-per-row", 2]
    return [str(word) for word in words]


def prepare_videos(source: object, sheet: object, out: object, workers: int = 1, aligner: str = "none") -> list[str]:
    """The command for videos, with the smallest faces.

    Args:
      source: folder of videos.
      sheet: annotations.
      out: directory for the result.
      workers: processes.
      aligner: of faces.

    Returns:
      Words.
    """
    words = ["prepare", "folder", "--videos", source, "--annotations", sheet, "--out", out, "--workers", workers]
    return [str(word) for word in [*words, "--aligner", aligner, "--size", SIDE]]


def preload() -> None:
    """Imports what commands import, so that processes that are forked from this one do not; JAX is not started."""
    os.environ |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    import av  # noqa: F401
    import cv2  # noqa: F401
    import jinja2  # noqa: F401
    import optuna  # noqa: F401
    import python_calamine  # noqa: F401
    import tensorboardX  # noqa: F401
    import tensorflow_datasets  # noqa: F401

    from data_prep.shards import features, verify, videos  # noqa: F401
    from data_prep.sheets.datasets import check, collect  # noqa: F401
    from fedn_jax.cli import main  # noqa: F401
    from fedn_jax.engine import checkpoint, fit  # noqa: F401
    from fedn_jax.experiments import sweep  # noqa: F401
    from fedn_jax.inference import new_video  # noqa: F401
    from fedn_jax.reports import compare_page, run_page, sweep_page, video_page  # noqa: F401
