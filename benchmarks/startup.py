"""How long does `fedn --help` take before it prints?

Peer: `python -c pass`, which no Python program can beat. Target: at most 0.3 s. The last column is what importing JAX,
Flax, orbax and TFDS would add if the command line needed them: they are imported inside commands.

    python benchmarks/startup.py
"""

import subprocess
import sys

import _timing

HELP = "import sys; from fedn_jax.cli.main import main; sys.exit(main(['--help']))"
HEAVY = "import jax, flax.linen, orbax.checkpoint, tensorflow_datasets"


def main() -> None:
    """Prints the table."""
    print(_timing.machine())

    def start(code: str):
        return lambda: subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    names = ("python -c pass", "fedn --help", "the heavy imports")
    works = [start(code) for code in ("pass", HELP, HEAVY)]
    for name, seconds in zip(names, _timing.in_turn(works, rounds=5), strict=True):
        print(f"{name:<24}median {seconds.median:>6.3f} s   best {seconds.best:>6.3f} s")


if __name__ == "__main__":
    main()
