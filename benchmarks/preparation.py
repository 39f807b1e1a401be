"""How many frames per second does each step of `fedn prepare` take, and how far is the whole from its slowest part?

Peer: decoding alone, which nothing that reads the videos can beat. With ResNet18 at 224 px the whole is bound by the
embedding; with the slim one, by the alignment. Peak memory must not grow with the length of a video.

    python benchmarks/preparation.py
"""

import functools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _timing
import numpy as np

from data_prep import synthetic
from data_prep.backbones import embed
from data_prep.faces import decode
from data_prep.media import frames
from data_prep.media.sources import Source
from data_prep.shards import videos
from data_prep.sheets import annotations
from fedn_jax.models import resnet

SECONDS, VIDEOS = 20, 4


def rate(name: str, count: int, work, limit: float | None = None) -> float:
    """Runs once to warm up and once for the figure; prints and returns frames per second."""
    work()
    start = time.perf_counter()
    work()
    value = count / (time.perf_counter() - start)
    print(f"{name:<44}{value:>10.0f} frames/s" + (f"{value / limit:>10.2f} x decoding" if limit else ""))
    return value


def full_backbone() -> embed.Backbone:
    """ResNet18 at the paper's size, untrained: its speed does not depend on its weights."""
    import jax

    network = resnet.ResNet18(resnet.FULL)
    params = network.init(jax.random.key(0), np.zeros((1, 224, 224, 3), np.float32))["params"]
    return embed.Backbone(params, resnet.FULL, (0.5,) * 3, (0.25,) * 3, 224, "0" * 64, "UNTRAINED ResNet18")


# Prepares one video and prints the peak memory of the process in GB.
ALONE = """
import pathlib, resource, sys
from data_prep.backbones import embed
from data_prep.faces import decode
from data_prep.media.sources import Source
faces = decode.Faces(Source(pathlib.Path(sys.argv[1])), decode.Options("cascade", 112))
backbone = embed.load_backbone("slim")
assert sum(len(part) for part in backbone.features(face.image for face in faces))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def peak_memory(base: Path) -> None:
    """Prints the peak memory for a short and a long video, each in a process of its own."""
    for seconds in (10, 60):
        synthetic.write(base / f"{seconds}", 2, 1, seconds, progress=False)
        video = sorted((base / f"{seconds}" / "videos").glob("*.mp4"))[0]
        done = subprocess.run([sys.executable, "-c", ALONE, video], check=True, capture_output=True, text=True)
        print(f"{f'peak memory, video of {seconds} s':<44}{float(done.stdout):>10.2f} GB")


def main() -> None:
    """Prints the table."""
    print(_timing.machine())
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        synthetic.write(base / "source", VIDEOS // 2, 2, SECONDS, progress=False)
        paths = sorted((base / "source" / "videos").glob("*.mp4"))
        path, count = paths[0], SECONDS * 30
        print(f"videos of {count} frames, {frames.probe(path).width} x {frames.probe(path).height}")
        limit = rate("decode", count, lambda: sum(1 for _ in frames.stream(path)))
        source, options = Source(path), decode.Options("cascade", 112)
        rate("decode, align to 112 px", count, lambda: sum(1 for _ in decode.Faces(source, options)), limit)
        rng = np.random.default_rng(0)
        for backbone, size, number in ((embed.load_backbone("slim"), 112, 1024), (full_backbone(), 224, 96)):
            pictures = rng.integers(0, 255, (number, size, size, 3), np.uint8)
            name = f"embed, ResNet18 {backbone.widths[0]} to {backbone.widths[-1]}, {size} px"
            rate(name, number, lambda: list(embed.embed(pictures, backbone)), limit)  # noqa: B023
        sheet = annotations.read_folder(base / "source" / "annotations.csv", base / "source" / "videos")
        slim = embed.load_backbone("slim")
        outs = iter(range(9))

        def whole(workers: int) -> None:
            out = base / f"out{next(outs)}"
            videos.prepare(sheet.items, out, sheet.classes, slim, workers=workers)

        for workers in (1, 2):
            work = functools.partial(whole, workers)
            rate(f"whole, videos to shards, {workers} worker(s)", count * len(paths), work, limit)
        peak_memory(base)


if __name__ == "__main__":
    main()
