"""What the benchmarks share: the machine in words, and the median of several runs."""

import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple


def machine() -> str:
    """The command that was given; the machine and the versions: two lines."""
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.processor()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "numpy"))
    versions = f"Python {platform.python_version()}, {versions}"
    return f"{command}\n{time.strftime('%Y-%m-%d')}, {processor}, {os.cpu_count()} cores, {versions}"


def _cpuinfo() -> list[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return file.read().splitlines()
    except OSError:
        return []


def median_of(work: Callable[[], Any], repeats: int = 7) -> float:
    """Median of the seconds that ``work`` takes, after one run to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Seconds(NamedTuple):
    """What a piece of work took."""

    median: float
    best: float


def in_turn(works: Sequence[Callable[[], Any]], rounds: int = 7) -> list[Seconds]:
    """Seconds of several pieces of work, measured in turn, so that a busy machine is fair to all.

    Each runs once before, to warm up; each must wait for its own results.
    """
    for work in works:
        work()
    seconds = [[] for _ in works]
    for _ in range(rounds):
        for work, taken in zip(works, seconds, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [Seconds(statistics.median(taken), min(taken)) for taken in seconds]
