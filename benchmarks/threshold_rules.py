"""How near do the rules that pick a score threshold come to the best one, which only the test labels know?

Runs that differ in their seed, of one data set, with inner folds. Spotting F1 of all folds together, in percent: mean
and standard deviation over the runs. "usual" is `evaluate.threshold` for every fold, "oracle" the one threshold that is
best on the test labels.

    python benchmarks/threshold_rules.py --data data run0 run1 run2
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from fedn_jax.core.text import progress_bar
from fedn_jax.data import problem
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import run_evaluation, threshold_rules, thresholds


def main() -> None:
    """Prints a line per rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    found: dict[str, list[float]] = {}
    for run in args.runs:
        config = run_dir.load_config(run)
        dataset = problem.load(config, args.data, inputs=False)
        for rule in (*threshold_rules.RULES, "usual"):
            changed = config.copy_and_resolve_references()
            changed.evaluate.threshold_rule = config.evaluate.threshold_rule if rule == "usual" else rule
            typed = [thresholds.OPTION] if rule == "usual" else []
            with tempfile.TemporaryDirectory() as out:
                result = run_evaluation.evaluate_run(run, changed, dataset, progress_bar(), typed, Path(out)).metrics
            found.setdefault(rule, []).append(100 * (result["spotting"]["f1"] or 0))
        found.setdefault("oracle", []).append(100 * (result["oracle"]["spotting"]["f1"] or 0))
    for rule, values in found.items():
        spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
        gap = np.mean(found["oracle"]) - np.mean(values)
        print(f"{rule:<10} F1 {np.mean(values):5.1f} +- {spread:3.1f}   below the oracle {gap:4.1f}")


if __name__ == "__main__":
    main()
