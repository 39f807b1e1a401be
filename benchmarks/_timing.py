"""What the benchmarks share: the machine in words, and the median of several runs."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any


def machine() -> str:
    """The machine and the versions, one line."""
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.processor()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "numpy"))
    versions = f"Python {platform.python_version()}, {versions}"
    return f"{time.strftime('%Y-%m-%d')}, {processor}, {os.cpu_count()} cores, {versions}"


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
