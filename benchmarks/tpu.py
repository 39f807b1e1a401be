"""Does the program of folds compile for TPUs, what does it need there, and how long does compiling take?

No TPU is needed: the compiler comes with the package libtpu (`pip install libtpu`) and is told a topology. Shapes are
those of CAS(ME)^2 (98 videos x 2,940 frames, 22 folds), FEDN at the paper's size, batch 64; the program is that of
`fedn train`, mapped over the devices of the topology. Nothing is run, so nothing is said of speed.

    python benchmarks/tpu.py [--topology v5e:2x2 v6e:2x2 v5p:2x2x1] [--folds 6 1] [--small] [--effort -1]
"""

import argparse
import os
import time

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _standin  # noqa: E402
import _timing  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402

from fedn_jax.data import splits  # noqa: E402
from fedn_jax.engine import parallel, train_step  # noqa: E402

BATCH, NEGATIVES = 64, 3
SMALL = _standin.Size(subjects=3, videos=3, frames=900, expressions=12, classes=4, width=64)


def compiled(problem: _standin.Problem, devices: list, per_device: int, batch: int, effort: float) -> tuple:
    """(program, seconds of lowering, of compiling, of all cores for that); ``per_device`` folds on each device."""
    steps = splits.steps_per_epoch(problem.folds, batch, NEGATIVES)
    epoch = train_step.make_train_epoch(problem.task, problem.geometry, batch, NEGATIVES, steps)
    folds = _standin.first_of_each(problem.folds, per_device * len(devices))
    start = time.perf_counter()
    lowered = parallel.lower(_standin.program(problem, epoch, folds, devices))
    middle, cores = time.perf_counter(), time.process_time()
    program = lowered.compile({"exec_time_optimization_effort": effort} if effort else None)
    return program, middle - start, time.perf_counter() - middle, time.process_time() - cores


def main() -> None:
    """Prints one line per topology and number of folds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", nargs="+", default=["v5e:2x2", "v6e:2x2", "v5p:2x2x1"])
    parser.add_argument("--folds", nargs="+", type=int, default=[6, 1], help="on each device")
    parser.add_argument("--effort", type=float, default=0.0, help="of XLA, from -1, the least, to 1 (default: its own)")
    parser.add_argument("--small", action="store_true", help="a narrow network and few windows")
    args = parser.parse_args()
    options = _standin.paper(width=64, head_width=32, heads=4, groups=8) if args.small else _standin.paper()
    problem = _standin.make(SMALL if args.small else _standin.CASME2, options)
    print(f"{_timing.machine()}\nload before: {os.getloadavg()[0]:.1f}; compiled, not run")
    print(f"{'topology':<12}{'folds':>6}{'lower s':>9}{'compile s':>11}{'CPU s':>7}{'arguments':>11}{'temporary':>11}"
          f"{'code':>9}{'products':>10}{'fusions':>9}{'TFLOP':>8}{'GB moved':>10}")  # fmt: skip
    for name in args.topology:
        devices = list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
        for per_device in args.folds:
            batch = 8 if args.small else BATCH
            program, lowering, compiling, cores = compiled(problem, devices, per_device, batch, args.effort)
            said, cost, text = program.memory_analysis(), program.cost_analysis(), program.as_text()
            cost = cost[0] if isinstance(cost, list) else cost
            print(
                f"{name:<12}{per_device:>6}{lowering:>9.1f}{compiling:>11.1f}{cores:>7.0f}"
                f"{said.argument_size_in_bytes / 1e9:>8.2f} GB{said.temp_size_in_bytes / 1e9:>8.2f} GB"
                f"{said.generated_code_size_in_bytes / 1e6:>6.0f} MB"
                f"{text.count(' convolution('):>10}{text.count(' fusion('):>9}{cost.get('flops', np.nan) / 1e12:>8.2f}"
                f"{cost.get('bytes accessed', np.nan) / 1e9:>10.1f}",
                flush=True,
            )
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
