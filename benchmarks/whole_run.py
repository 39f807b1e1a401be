"""What does a whole run take, as users call it: `fedn train`, `fedn evaluate`, and the start of `fedn detect`?

Stand-in shards with the counts of a data set, random features. Each command is a process of its own; it says itself
where its seconds went ("seconds: ..."), the system says its peak memory and what it wrote.

    python benchmarks/whole_run.py --overhead    # two CPU cores: 44 networks of the paper's size, one step per epoch
    python benchmarks/whole_run.py --narrow      # counts of CAS(ME)^2, width 64, two epochs
    python benchmarks/whole_run.py --paper       # a GPU: counts of CAS(ME)^2, the paper's network and epochs
    python benchmarks/whole_run.py --casme3      # a GPU: counts of CAS(ME)^3
    python benchmarks/whole_run.py --small       # a rehearsal on any machine

Further options are those of `fedn train`: `--narrow --config.train.negatives=0 --config.window.train_hop=128` has few
steps and the same networks, predictions and files.
"""

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import _standin
import _timing
import numpy as np

SMALL = _standin.Size(22, 22, 256, 22, 4, 512)  # every fold has few windows: an epoch is one step
TINY = {"model.width": 16, "model.head_width": 16, "model.heads": 2, "model.groups": 4, "model.head_depth": 1}
SIZES = {  # name -> counts, options
    "small": (_standin.Size(3, 3, 512, 9, 2, 16), TINY | {"train.epochs": 2, "train.batch_size": 8}),
    "overhead": (SMALL, {"train.negatives": 0, "train.batch_size": 8, "window.train_hop": 128, "train.epochs": 30}),
    "narrow": (_standin.CASME2, {"model.width": 64, "model.head_width": 64, "train.epochs": 2}),
    "paper": (_standin.CASME2, {}),
    "casme3": (_standin.CASME3, {}),
}


class Taken(NamedTuple):
    """What one command took."""

    seconds: float
    peak: float  # bytes of memory
    written: float  # bytes to disk
    text: str


def write_features(size: _standin.Size, folder: Path) -> Path:
    """One .npz per video and a sheet; returns the sheet."""
    rng = np.random.default_rng(0)
    words, rows = [f"emotion{number}" for number in range(size.classes)], []
    counts = np.full(size.videos, size.expressions // size.videos)
    counts[: size.expressions % size.videos] += 1
    if size is SMALL:  # eight subjects with expressions: training lists stay short, and no inner fold takes all of them
        counts = np.where(np.arange(size.videos) < 8, 1, 0)
    for video, count in enumerate(counts):
        name, subject = f"v{video:04d}", f"s{video % size.subjects:03d}"
        inputs = rng.standard_normal((size.frames, size.width), np.float32).astype(np.float16)
        np.savez(folder / f"{subject}_{name}.npz", feature=inputs[None])
        part = size.frames // max(count, 1)
        for number in range(count):
            length = int(rng.integers(15, min(60, part)))
            onset = number * part + int(rng.integers(0, part - length)) + 1
            rows.append([subject, f"{subject}_{name}", onset, onset + length - 1, words[rng.integers(size.classes)]])
        if count == 0:
            rows.append([subject, f"{subject}_{name}", "", "", ""])
    sheet = folder.parent / "expressions.csv"
    with sheet.open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "video", "onset", "offset", "emotion"], *rows])
    return sheet


def run(*words: object) -> Taken:
    """One command of `fedn`; what it prints goes to the terminal, too."""
    code = (
        "import resource, sys; from fedn_jax.cli.main import main; code = main(sys.argv[1:]); "
        "used = resource.getrusage(resource.RUSAGE_SELF); "
        "print(f'taken: {used.ru_maxrss * 1024} {used.ru_oublock * 512}', file=sys.stderr); sys.exit(code)"
    )
    start = time.perf_counter()
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"fedn {words[0]} failed:\n{done.stderr[-2000:]}")
    peak, written = map(float, re.search(r"taken: (\d+) (\d+)", done.stderr).groups())
    return Taken(time.perf_counter() - start, peak, written, done.stderr)


def size_of(path: Path) -> int:
    """Bytes of the files below a directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def show(name: str, taken: Taken) -> None:
    """One command as lines."""
    print(f"{name:<10}{taken.seconds:8.1f} s{taken.peak / 1e9:8.2f} GB peak{taken.written / 1e9:8.2f} GB written")
    if said := re.search(r"^seconds: (.*)$", taken.text, re.MULTILINE):
        print(f"          {said.group(1)}")


def main() -> None:
    """Prints what each command took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group(required=True)
    for name in SIZES:
        chosen.add_argument(f"--{name}", dest="size", action="store_const", const=name)
    args, own = parser.parse_known_args()
    size, changes = SIZES[args.size]
    options = [f"--config.{key}={value}" for key, value in changes.items()] + own
    os.chdir(Path(__file__).parents[1])  # the commands of this checkout, wherever it was started
    print(f"{_timing.machine()}\nload before: {os.getloadavg()[0]:.1f}; {args.size}: {size}; {' '.join(options)}")
    with tempfile.TemporaryDirectory(prefix="whole-run-") as base:
        data, out = Path(base, "data"), Path(base, "run")
        features = Path(base, "features")
        features.mkdir()
        sheet = write_features(size, features)
        words = ["prepare", "features", "--features", features, "--annotations", sheet, "--out", data]
        show("prepare", run(*words, "--frames-per-row", 1))
        show("train", run("train", "--config", "own_data", "--data", data, "--out", out, *options))
        show("evaluate", run("evaluate", out, "--data", data))
        again = run("train", "--config", "own_data", "--data", data, "--out", out, *options)
        show("again", again)
        networks = size_of(out / "parameters")
        print(f"disk of the finished run: {size_of(out) / 1e6:.0f} MB, of it networks {networks / 1e6:.0f} MB, which")
        print(
            f"`fedn detect` reads: {networks / max(1, len(list((out / 'parameters').iterdir()))) / 1e6:.1f} MB per fold"
        )
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
