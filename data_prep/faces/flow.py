"""Optical flow between two aligned faces, as STR's recogniser sees it (Liong et al., SPIC 110, 2023, and its code)."""

import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import arrays, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress

WIDTH, HEIGHT = 42, 21  # of a region
EYES = {"cascade": (0.5, 0.405, 1 / 3.5)}  # aligner -> middle of the eyes (x, y) and their distance, in sides
# Left, top, right, bottom of a region, in distances between the eyes from their middle: brows and eyes, mouth.
REGIONS = ((-1.16, -0.72, 1.16, 0.33), (-0.73, 0.68, 0.73, 1.56))
TVL1 = dict(
    tau=0.25, lambda_=0.15, theta=0.3, nscales=5, warps=5, epsilon=0.01, innnerIterations=30, outerIterations=10,
    scaleStep=0.8, gamma=0.0, medianFiltering=5, useInitialFlow=False,
)  # fmt: skip
KEPT_EVERY = 200  # pairs of a file of the cache
AGAIN = "remove it, and it is computed again"


def tvl1(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """TV-L1 flow (Zach et al. 2007).

    Args:
      first: [S, S] uint8.
      second: of the same shape.

    Returns:
      [S, S, 2] float32, pixels to the right and downwards.

    Raises:
      UserError: this OpenCV has no such flow.
    """
    import cv2

    if not hasattr(cv2, "optflow"):
        raise UserError(
            "this OpenCV has no TV-L1 flow, since another package of it lies over the one with contributions: `pip "
            "uninstall opencv-python opencv-python-headless`, then `pip install --force-reinstall "
            "opencv-contrib-python-headless`"
        )
    return cv2.optflow.DualTVL1OpticalFlow_create(**TVL1).calc(first, second, None)


def channels(flow: np.ndarray) -> np.ndarray:
    """Flow and its strain, each scaled to [0, 1] by its own lowest and highest value.

    Args:
      flow: [S, S, 2] float, u and v.

    Returns:
      [S, S, 3] float32; a constant channel is 0. Differences are to the left and upper neighbour.
    """
    u, v = np.moveaxis(np.asarray(flow, np.float32), -1, 0)
    across = lambda x: np.diff(x, axis=1, prepend=x[:, :1])
    down = lambda x: np.diff(x, axis=0, prepend=x[:1])
    strain = np.sqrt(across(u) ** 2 + down(v) ** 2 + (down(u) + across(v)) ** 2 / 2)
    stacked = np.stack([u, v, strain], -1)
    low, high = stacked.min((0, 1)), stacked.max((0, 1))
    return (stacked - low) / np.where(high > low, high - low, 1)


def boxes(side: int, eyes: tuple[float, float, float]) -> list[tuple[int, int, int, int]]:
    """Where the regions lie.

    Args:
      side: of the aligned face, pixels.
      eyes: entry of ``EYES``.

    Returns:
      (left, top, right, bottom) each, pixels.
    """
    x, y, apart = eyes
    middle = np.array([x, y, x, y])
    return [tuple(np.round((middle + apart * np.array(region)) * side).astype(int).tolist()) for region in REGIONS]


def regions(picture: np.ndarray, eyes: tuple[float, float, float]) -> np.ndarray:
    """Brows and eyes above the mouth.

    Args:
      picture: [S, S, 3] float32.
      eyes: entry of ``EYES``.

    Returns:
      [42, 42, 3] float32.
    """
    import cv2

    cut = [picture[top:bottom, left:right] for left, top, right, bottom in boxes(len(picture), eyes)]
    return np.concatenate([cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for part in cut])


def grey(picture: np.ndarray) -> np.ndarray:
    """A picture without colours.

    Args:
      picture: [S, S, 3] uint8 RGB.

    Returns:
      [S, S] uint8.
    """
    import cv2

    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)


def make_samples(
    frames: Any, aligner: str, cache: Path | None, progress: Progress, flow: Callable[..., np.ndarray] = tvl1
) -> Callable[[np.ndarray], np.ndarray]:
    """Samples of pairs of frames, which are kept, since a pair takes a fifth of a second.

    Args:
      frames: [R, S, S, 3] uint8 RGB, aligned; may be mapped from a file, or a dict of those that are wanted.
      aligner: that aligned them.
      cache: a directory; what depends on the data must be part of its name. None: nothing is kept on the disk.
      progress: bars.
      flow: (first, second) -> flow.

    Returns:
      samples(pairs [N, 2] int, rows of ``frames``) -> [N, 42, 42, 3] float16.

    Raises:
      UserError: faces of another aligner, whose eyes lie elsewhere.
    """
    if aligner not in EYES:
        raise UserError(
            f"str cuts brows and mouth out of faces aligned by {', '.join(EYES)}; got the aligner {aligner!r}: prepare "
            "the data again with --aligner cascade"
        )

    def one(pair: Sequence[int]) -> np.ndarray:
        found = channels(flow(*(grey(frames[row]) for row in pair)))
        return regions(found, EYES[aligner]).astype(np.float16)

    known = _read(cache) if cache else {}

    def samples(pairs: np.ndarray) -> np.ndarray:
        wanted = [tuple(pair) for pair in np.asarray(pairs).tolist()]
        missing = [pair for pair in dict.fromkeys(wanted) if pair not in known]
        if not missing:
            return np.stack([known[pair] for pair in wanted])
        bar = progress(total=len(missing), desc="optical flow", unit="pair", leave=False)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(missing), KEPT_EVERY):
                chosen, part = missing[start : start + KEPT_EVERY], {}
                for pair, sample in zip(chosen, pool.map(one, chosen), strict=True):
                    part[pair] = sample
                    bar.update()
                if cache:
                    _write(cache, part)
                known.update(part)
        bar.close()
        return np.stack([known[pair] for pair in wanted])

    return samples


def _read(cache: Path) -> dict[tuple[int, int], np.ndarray]:
    """Samples that were computed before."""
    known = {}
    for path in sorted(cache.glob("*.npz")):
        found = arrays.load_npz(path, ("pairs", "samples"), remedy=AGAIN)
        pairs, samples = found["pairs"], found["samples"]
        if pairs.shape != (len(samples), 2) or samples.shape[1:] != (2 * HEIGHT, WIDTH, 3):
            raise UserError(f"{path}: is no part of a cache of optical flow; {AGAIN}")
        known |= dict(zip(map(tuple, pairs.tolist()), samples, strict=True))
    return known


def _write(cache: Path, part: dict[tuple[int, int], np.ndarray]) -> None:
    """Keeps some, in a file of their own, whole or not at all."""
    pairs = np.array(list(part), np.int64)
    with files.replacing(cache / f"{zlib.crc32(pairs.tobytes()):08x}.npz") as beside:
        np.savez(beside, pairs=pairs, samples=np.stack(list(part.values())))
