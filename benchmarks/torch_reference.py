"""How fast are training and prediction against the same network in PyTorch?

Peer: the literal network of `fedn_jax.reference`, and its economical form, which computes the same with less; with one
thread and with all, and with `torch.compile` where it works. Targets: training at least 3 times the literal PyTorch,
prediction in whole videos at least 5 times. On a machine where both see a GPU, both use it.

    python benchmarks/torch_reference.py [--small] [--no-compile]
"""

import argparse

import _timing

from fedn_jax.reports import tables
from fedn_jax.torch_parity import report, speed


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="narrow sizes, to try the code")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which takes minutes")
    args = parser.parse_args()
    print(_timing.machine())
    print(tables.to_text(report.speeds_table(*speed.run(args.small, compiled=not args.no_compile))))


if __name__ == "__main__":
    main()
