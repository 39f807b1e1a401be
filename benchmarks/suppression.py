"""How fast is exact non-maximum suppression, `nms.nms` under jit, against the same algorithm in C++?

Peer: greedy NMS as torchvision and ActionFormer have it (sort by score, then drop what a kept one overlaps), written
here, compiled with `g++ -O3 -march=native`, one thread, stopping as early as ours does. Both get the same arrays and
must keep the same candidates in the same order. Target: a ratio of at least 1 (ours is not slower).

"at most 30" is what the commands run; "all" keeps whatever survives. Random intervals of 5 to 60 frames in videos of
3,000; 98 videos are one call under vmap. Without a C++ compiler only our side is printed.

    python benchmarks/suppression.py
"""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import _timing
import jax
import numpy as np

from fedn_jax.ops import nms

FRAMES = 3000
SIZES = ((1, 5_000), (98, 5_000), (1, 32_000))  # videos, candidates of each
SETTINGS = ((0.01, 30), (0.5, 30), (0.01, None), (0.5, None))  # IoU threshold, most detections
SOURCE = r"""
#include <algorithm>
#include <numeric>
#include <vector>

extern "C" void nms(const float *interval, const float *score, int count, float threshold, int most, int *kept) {
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [=](int a, int b) { return score[a] > score[b]; });
    std::vector<float> onset(count), offset(count), length(count);  // in order: memory is read in sequence
    for (int i = 0; i < count; i++) {
        onset[i] = interval[2 * order[i]];
        offset[i] = interval[2 * order[i] + 1];
        length[i] = offset[i] - onset[i];
    }
    std::vector<char> dropped(count, 0);
    int found = 0;
    for (int i = 0; i < count && found < most; i++) {
        if (dropped[i]) continue;
        kept[found++] = order[i];
        const float a = onset[i], b = offset[i], own = length[i];
        for (int j = i + 1; j < count; j++) {  // without a branch, so that the compiler vectorises it
            const float shared = std::max(std::min(b, offset[j]) - std::max(a, onset[j]), 0.0f);
            dropped[j] |= shared / (own + length[j] - shared) > threshold;
        }
    }
    for (int i = found; i < most; i++) kept[i] = -1;
}
"""


def draw(videos: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Intervals [videos, count, 2] and scores [videos, count], float32."""
    rng = np.random.default_rng(0)
    onset = rng.uniform(0, FRAMES - 60, (videos, count))
    interval = np.stack([onset, onset + rng.uniform(5, 60, onset.shape)], -1).astype(np.float32)
    return interval, rng.random((videos, count), np.float32)


def compiled(folder: str) -> Callable | None:
    """The C++ function for one list of videos, or None without a compiler."""
    compiler = next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
    if compiler is None:
        return None
    source, library = Path(folder) / "nms.cpp", Path(folder) / "nms.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
    function = ctypes.CDLL(str(library)).nms
    function.restype = None
    floats = np.ctypeslib.ndpointer(np.float32, flags="C")
    ints = np.ctypeslib.ndpointer(np.int32, flags="C")
    function.argtypes = [floats, floats, ctypes.c_int, ctypes.c_float, ctypes.c_int, ints]

    def peer(interval: np.ndarray, score: np.ndarray, threshold: float, most: int) -> np.ndarray:
        kept = np.empty((len(score), most), np.int32)
        for row in range(len(score)):
            function(interval[row], score[row], score.shape[1], threshold, most, kept[row])
        return kept

    return peer


@functools.partial(jax.jit, static_argnums=(2, 3))
def ours(interval: np.ndarray, score: np.ndarray, threshold: float, most: int) -> jax.Array:
    """Kept indices [videos, most], -1 for padding."""
    valid = np.ones(score.shape[1], bool)
    index, keep = jax.vmap(lambda one, of: nms.nms(one, of, valid, threshold, most))(interval, score)
    return jax.numpy.where(keep, index, -1)


def main() -> None:
    """Prints the table."""
    print(_timing.machine())
    print(f"{'videos x candidates, tIoU':<30}{'most':>5}{'kept':>8}{'ours':>12}{'C++':>12}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        peer = compiled(folder)
        for videos, count in SIZES:
            interval, score = draw(videos, count)
            on_device = jax.device_put((interval, score))
            for threshold, limit in SETTINGS:
                most = limit or count
                kept = np.asarray(ours(*on_device, threshold, most))
                work = [lambda: ours(*on_device, threshold, most).block_until_ready()]  # noqa: B023
                if peer:
                    same = np.array_equal(kept, peer(interval, score, threshold, most))
                    assert same, "the two disagree"
                    work.append(lambda: peer(interval, score, threshold, most))  # noqa: B023
                seconds = [time.median for time in _timing.in_turn(work)]
                line = f"{f'{videos} x {count:,}, {threshold}':<30}{limit or 'all':>5}{(kept >= 0).sum():>8,}"
                line += f"{seconds[0] * 1e3:>9.2f} ms"
                line += f"{seconds[1] * 1e3:>9.2f} ms{seconds[1] / seconds[0]:>7.1f}x" if peer else "   no compiler"
                print(line)


if __name__ == "__main__":
    main()
