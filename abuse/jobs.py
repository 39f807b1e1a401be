"""The commands that work for long, small: what each starts from, reads and makes."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from abuse import commands, digests, seeds
from fedn_jax.core import written

CONFIG = "configs/of_videos.py"


class Job(NamedTuple):
    """A command on a copy of everything."""

    name: str
    words: Sequence[str]
    made: Sequence[str]  # what it makes; removed for a fresh start
    digest: Callable[[Path], str]  # of the working directory
    shared: Callable[[Path], str] | None = None  # instead of ``digest`` where the command meets itself
    batch: int = 1  # files that it is given
    replaces: bool = True  # False: it refuses to write over what is there


def _in(name: str, of: Callable[[Path], str]) -> Callable[[Path], str]:
    return lambda directory: of(directory / name)


def _prepare(workers: int) -> list[str]:
    return commands.prepare_videos("videos", "annotations/sheet.csv", "data", workers)


_TRAIN = ["train", "--config", CONFIG, "--data", "data", "--out", "run"]
_VIDEOS = [f"videos/{subject}_v1.mp4" for subject in seeds.SUBJECTS]
_FOUND = digests.files("*.csv", "*.eaf", "*.vtt", "*.json")
JOBS = {
    one.name: one
    for one in (
        Job("prepare", _prepare(1), ["data"], _in("data", digests.data)),
        Job("prepare, 2 workers", _prepare(2), ["data"], _in("data", digests.data)),
        Job("verify", ["verify", "data", "--json", "counts.json"], ["counts.json"], digests.files("counts.json")),
        Job("train", _TRAIN, ["run"], _in("run", digests.run)),
        Job("predict", _TRAIN, ["run/outputs"], _in("run", digests.run)),
        Job(
            "evaluate",
            ["evaluate", "run", "--data", "data"],
            ["run/metrics.json", "run/detections.csv", "run/candidates.csv", "run/report.html"],
            _in("run", digests.files("metrics.json", "*.csv")),
        ),
        Job("report", ["report", "run", "--out", "report"], ["report"], _in("report", digests.files("*.csv", "*.tex"))),
        Job(
            "detect",
            ["detect", *_VIDEOS, "--run", "run", "--out", "found", "--threshold", "0.02"],
            ["found"],
            _in("found", _FOUND),
            batch=len(_VIDEOS),
        ),
        Job(
            "sweep",
            ["sweep", "--config", CONFIG, "--data", "data", "--out", "sweep", "--config.folds.inner=0.5"],
            ["sweep"],
            _in("sweep", digests.search),
            _in("sweep", digests.trials),
        ),
        Job(
            "convert",
            ["convert", "predictions/found.csv", "converted.json", "--to", "activitynet", "--fps", "30"],
            ["converted.json"],
            digests.files("converted.json"),
        ),
        Job(
            "convert-backbone",
            [
                "convert-backbone",
                "weights/net.safetensors",
                "--out",
                "net.safetensors",
                "--normalization",
                "half",
                "--size",
                "32",
            ],
            ["net.safetensors"],
            digests.backbone,
            replaces=False,
        ),
    )
}
ORDER = ("prepare", "verify", "train", "evaluate", "report", "detect", "sweep", "convert", "convert-backbone")


def whole(valid: Path, directory: Path) -> Path:
    """A directory in which every command was run once, alone; what later ends are compared with.

    Args:
      valid: of ``seeds.make``.
      directory: made, unless it is there.

    Returns:
      The directory.
    """
    if not (directory / "whole").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name in ("videos", "annotations", "configs", "predictions", "weights"):
            shutil.copytree(valid / name, directory / name)
        for name in ORDER:
            commands.run(directory, *JOBS[name].words)
        (directory / "whole").touch()
    return directory


def fresh(whole_directory: Path, directory: Path, jobs: Sequence[Job]) -> None:
    """A copy in which some commands are still to be done.

    Args:
      whole_directory: of ``whole``.
      directory: replaced.
      jobs: the commands.
    """
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(whole_directory, directory, symlinks=True)
    for record in directory.rglob(written.LIST):  # as if it had been made here: results belong to videos at a path
        record.write_text(record.read_text().replace(str(whole_directory.absolute()), str(directory.absolute())))
    for made in [path for job in jobs for path in job.made]:
        path = directory / made
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
