"""How long until the first step of a training, without and with compiled programs kept from an earlier run?

Each figure is a process of its own: from the first call of `parallel.run` to the end of an epoch of one step, which
holds tracing, lowering and compiling (or reading what was kept); running is subtracted. The commands keep programs in
`JAX_COMPILATION_CACHE_DIR`, by default `fedn_jax` in the user's cache directory. Targets, two quiet cores: 30 s
without, 5 s with. Both runs must give the same losses, bit for bit.

    python benchmarks/compilation.py [--small]     # --small: the demo's program only
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import _standin
import _timing

PROGRAMS = {"demo": (_standin.DEMO, _standin.demo, 16), "paper": (_standin.CASME2, _standin.paper, 1)}  # and folds


def child(name: str) -> None:
    """Trains one step and prints seconds and losses."""
    import jax

    from fedn_jax.engine import parallel, train_step

    size, options, count = PROGRAMS[name]
    problem = _standin.make(size._replace(videos=min(size.videos, 44)), options())
    chosen = _standin.first_of_each(problem.folds, count)
    epoch = train_step.make_train_epoch(problem.task, problem.geometry, batch_size=16, negatives=3, steps=1)
    start = time.perf_counter()
    stream = parallel.run(_standin.program(problem, epoch, chosen, jax.local_devices()), range(2))
    seconds, losses = [], []
    for _, metrics, _ in stream:
        seconds.append(time.perf_counter() - start)
        losses.append(metrics["loss"].tolist())
    print(json.dumps({"first": 2 * seconds[0] - seconds[1], "cpu": time.process_time(), "losses": losses}))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the demo's program only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    print(_timing.machine())
    print(f"{'program':<28}{'cold':>10}{'warm':>10}{'cold, CPU':>12}{'warm, CPU':>12}   of the whole process")
    for name in ("demo",) if args.small else PROGRAMS:
        results = []
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                done = subprocess.run(
                    [sys.executable, __file__, "--child", name], check=True, capture_output=True, text=True,
                    env=os.environ | {"JAX_COMPILATION_CACHE_DIR": folder},
                )  # fmt: skip
                results.append(json.loads(done.stdout.splitlines()[-1]))
            size = sum(entry.stat().st_size for entry in os.scandir(folder)) / 1e6
        cold, warm = results
        assert cold["losses"] == warm["losses"], "a kept program gives other results"
        label = f"{name}, {PROGRAMS[name][2]} fold(s), {size:.1f} MB"
        times = (cold["first"], warm["first"], cold["cpu"], warm["cpu"])
        print(
            f"{label:<28}"
            + "".join(f"{value:>{width}.1f} s" for value, width in zip(times, (8, 8, 10, 10), strict=True))
        )


if __name__ == "__main__":
    main()
