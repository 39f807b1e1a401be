"""How many folds fit on a device: the memory that they may fill, and the folds packed into programs that fill it."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from fedn_jax.core.errors import UserError

SHARE = 0.8  # of a device's memory that folds may fill; of a CPU, of the machine's


def allowed(devices: Sequence[jax.Device], limit_gb: float) -> float:
    """Memory that folds may fill on one device.

    Args:
      devices: the devices that will run.
      limit_gb: the user's limit; 0 asks the devices; CPU devices share the memory of the machine.

    Returns:
      Bytes.
    """
    if limit_gb > 0:
        return limit_gb * 1e9
    stats = [device.memory_stats() or {} for device in devices]
    return SHARE * min(known.get("bytes_limit") or _machine_memory() / len(devices) for known in stats)


def _machine_memory(root: Path = Path("/")) -> float:
    """Bytes of this machine, or of the part of it that the job may use, as schedulers set it by control groups."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            base = root / "sys/fs/cgroup" / ("memory" if controllers else "")
            for group in (base / name.lstrip("/"), *(base / name.lstrip("/")).parents):  # a limit holds for all below
                with contextlib.suppress(OSError, ValueError):  # "max": none
                    limits.append(int((group / ("memory.limit_in_bytes" if controllers else "memory.max")).read_text()))
    return float(min(limits))


def pack(
    num_folds: int, num_devices: int, memory: float, bytes_of: Callable[[int], tuple[int, int]], programs: int = 1
) -> list[range]:
    """Packs folds into as few programs as fit the devices' memory.

    Args:
      num_folds: K.
      num_devices: D.
      memory: bytes of one device that folds may fill.
      bytes_of: number of folds of a program -> (bytes of one device that it needs, those that do not grow with
        folds), as its compiler says.
      programs: at least so many.

    Returns:
      Ranges of folds, one per program, as equal as can be.

    Raises:
      UserError: not even one fold fits.
    """
    number = min(programs, num_folds)
    while True:
        edges = np.linspace(0, num_folds, number + 1).round().astype(int)
        largest = int(np.diff(edges).max())
        needed, fixed = bytes_of(largest)
        if needed <= memory:
            return [range(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        per_device = -(-largest // num_devices)
        if per_device == 1:
            raise UserError(
                f"one fold needs {needed / 1e9:.2f} GB of device memory; {memory / 1e9:.2f} GB are allowed: raise "
                "folds.memory_gb, or make train.batch_size or the model smaller"
            )
        # As many as would fit if all but the fixed part grew with the folds; the compiler has the last word.
        fit = int(per_device * (memory - fixed) / (needed - fixed)) if memory > fixed else 1
        fit = min(max(fit, 1), per_device - 1)
        number = max(number + 1, -(-num_folds // (fit * num_devices)))
