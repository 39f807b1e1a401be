"""How much faster is `metrics.mean_average_precision` than pycocotools on the same detections?

Peer: `COCOeval.evaluate` and `accumulate`; reading the data is not counted. Theirs is the mAP of detection, 101-point;
ours is that, spotting and the all-point definition besides, from what users hand in to what they get back.

    python benchmarks/mean_average_precision.py
"""

import contextlib
import functools
import io
import time

import _timing
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import matching, metrics

FRAMES, EXPRESSIONS = 3000, 300
CASES = ((100, 100, 10), (10, 1000, 10), (98, 3000, 7))  # videos, detections of each, classes


def intervals(rng: np.random.Generator, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Whole frames, one interval of 10 to 60 frames inside each of [first, last)."""
    length = rng.integers(10, 61, len(first))
    onset = rng.integers(first, last - length + 1)
    return np.stack([onset, onset + length], -1).astype(np.float32)


def draw(videos: int, each: int, classes: int) -> tuple[Detections, Events]:
    """Expressions one after the other; a third of the detections lies about one of them, the rest anywhere."""
    rng = np.random.default_rng(0)
    found, true = [], []
    for count in np.bincount(rng.integers(0, videos, EXPRESSIONS), minlength=videos):
        emotion, unknown = rng.integers(0, classes, count).astype(np.int32), np.full(count, -1, np.int32)
        parts = np.linspace(0, FRAMES, count + 1).astype(int)
        truth = Events(intervals(rng, parts[:-1], parts[1:]), unknown, emotion, unknown, np.ones(count, bool))
        true.append(truth)
        interval = intervals(rng, np.zeros(each, int), np.full(each, FRAMES))
        guess = rng.integers(0, classes, each).astype(np.int32)
        source = rng.integers(0, max(count, 1), each)
        near = np.flatnonzero(rng.random(each) < (1 / 3 if count else 0))
        interval[near] = truth.interval[source[near]] + rng.integers(-4, 5, (len(near), 2))
        guess[near[::2]] = emotion[source[near[::2]]]
        found.append(Detections(interval, rng.random(each, np.float32).round(4), guess, np.ones(each, bool)))
    return matching.pad(found), matching.pad(true)


def boxes(group: Detections | Events) -> list[dict]:
    """Intervals as boxes of height 1, one image per video, as pycocotools reads them."""
    rows = []
    for number, (video, i) in enumerate(zip(*np.nonzero(group.valid), strict=True), 1):
        onset, offset = group.interval[video, i].tolist()
        box = {"id": number, "image_id": int(video), "category_id": int(group.emotion[video, i]), "iscrowd": 0}
        rows.append(box | {"bbox": [onset, 0.0, offset - onset, 1.0], "area": offset - onset})
        if isinstance(group, Detections):
            rows[-1]["score"] = float(group.score[video, i])
    return rows


def peer(found: Detections, true: Events, videos: int, classes: int) -> COCOeval:
    """pycocotools with the data read in, no limit of detections and no ranges of area."""
    sides = COCO(), COCO()
    for side, group in zip(sides, (true, found), strict=True):
        images, categories = ([{"id": i} for i in range(count)] for count in (videos, classes))
        side.dataset = {"images": images, "categories": categories, "annotations": boxes(group)}
        side.createIndex()
    judge = COCOeval(*sides, "bbox")
    judge.params.maxDets = [found.valid.shape[1]]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    return judge


def main() -> None:
    """Prints the table."""
    print(_timing.machine())
    print(f"{'videos x detections x classes':<32}{'ours':>9}{'compiling':>11}{'pycocotools':>13}{'ratio':>9}")
    for case in CASES:
        found, true = draw(*case)
        scoring = functools.partial(metrics.mean_average_precision, found, true, case[2])
        start = time.perf_counter()
        result = scoring()
        compiling = time.perf_counter() - start
        ours = _timing.median_of(scoring)
        with contextlib.redirect_stdout(io.StringIO()):
            judge = peer(found, true, case[0], case[2])
            theirs = _timing.median_of(lambda: (judge.evaluate(), judge.accumulate()), repeats=3)  # noqa: B023
        curves = judge.eval["precision"][..., 0, 0]  # [10, 101, C], -1 for classes without expressions
        assert abs(curves[curves >= 0].mean() - result["coco"]["detection"]) < 1e-6, "the two disagree"
        shape = " x ".join(f"{size:,}" for size in case)
        print(f"{shape:<32}{ours:>8.4f}s{compiling - ours:>10.2f}s{theirs:>12.3f}s{theirs / ours:>8.1f}x")


if __name__ == "__main__":
    main()
