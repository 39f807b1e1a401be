"""How far from the annotated apex is the estimated one?

    python benchmarks/apex.py DATA [DATA ...]      made by `fedn prepare --frames`, with annotated apexes
    python benchmarks/apex.py DATA --flow tvl1     with STR's own flow, 0.2 s per frame of an expression

Of every annotated expression the apex is estimated from the frames between its onset and its offset: as ``fedn
detect`` and STR's recogniser do, by the embedding that is farthest from that of the onset; as the middle; and as the
frame with the largest mean optical flow from the onset. A difference above 0 is late.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import _timing
import numpy as np

from data_prep.faces import flow
from fedn_jax.data import shards
from fedn_jax.ops import apex

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (first, second) [S, S] uint8 -> [S, S, 2]


class Expression(NamedTuple):
    """One annotated expression, in frames from its onset."""

    length: int
    apex: int
    estimates: dict[str, int]  # method -> apex


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A fast flow (Kroeger et al. 2016)."""
    import cv2

    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)


FLOWS: dict[str, Flow] = {"dis": dis, "tvl1": flow.tvl1}


def strengths(frames: np.ndarray, estimate: Flow) -> list[float]:
    """Mean length of the flow from the first of some frames [N, S, S, 3] to each of them."""
    grey = [flow.grey(frame) for frame in frames]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda one: float(np.linalg.norm(estimate(grey[0], one), axis=-1).mean()), grey))


def expressions(data: Path, estimate: Flow) -> Iterator[Expression]:
    """Every expression of a data set whose apex is annotated."""
    dataset, frames = shards.load(data), shards.load(data, side=0).store.inputs
    for meta, events in zip(dataset.metas, dataset.events, strict=True):
        rows = slice(meta.row, meta.row + meta.num_rows)
        valid, inputs = dataset.store.valid[rows], dataset.store.inputs[rows]
        farthest = apex.farthest(inputs, valid, np.asarray(events.interval, float))
        for (onset, offset), peak, estimated in zip(events.interval.astype(int), events.apex, farthest, strict=True):
            if peak < 0 or not valid[onset:offset].all():
                continue
            moved = strengths(frames[meta.row + onset : meta.row + offset], estimate)
            found = {
                "embeddings": estimated - onset, "middle": (offset - onset) // 2, "largest flow": int(np.argmax(moved)),
            }  # fmt: skip
            yield Expression(offset - onset, int(peak) - onset, found)


def table(found: list[Expression]) -> list[str]:
    """Lines with the differences of every method."""
    length = np.mean([one.length for one in found])
    lines = [f"{len(found)} expressions with an apex, {length:.1f} frames long on average"]
    lines.append(f"{'':<14}{'mean |d|':>10}{'median |d|':>12}{'median d':>10}   frames")
    for method in found[0].estimates:
        difference = np.array([one.estimates[method] - one.apex for one in found])
        size = np.abs(difference)
        lines.append(f"{method:<14}{size.mean():>10.1f}{np.median(size):>12.1f}{np.median(difference):>+10.1f}")
    return lines


def main() -> None:
    """Prints a table per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="made by `fedn prepare --frames`")
    parser.add_argument("--flow", choices=FLOWS, default="dis", help="default: %(default)s")
    args = parser.parse_args()
    print(_timing.machine())
    for data in args.data:
        print("\n" + "\n".join([str(data), *table(list(expressions(data, FLOWS[args.flow])))]))


if __name__ == "__main__":
    main()
