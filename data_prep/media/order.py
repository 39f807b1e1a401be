"""In which order OpenFace read a folder of pictures: the order in which neighbours look alike, if that is clear."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.media import images

WIDTHS = (1, 3, 4)  # digits to which names of pictures are padded: 37.jpg, img037.jpg, 006_1_0037.jpg
_SIDE = 16  # pixels of the thumbnails that are compared
_PAIRS = 500  # pairs of neighbours that are looked at per set
# Standard errors. In 15,000 comparisons of filmed and drawn faces the right order was ahead by 3 at least from 24
# pictures on, by 18 from 300 on (just above 999, where few pairs tell %03d from %04d, by 2). Of pictures that differ by
# noise or jitter alone, no wrong order was ahead by 4, and one in a hundred by 2.
_CLEAR = 4.0  # to put another order in the place of OpenFace's
_KEEP = 2.0  # to keep OpenFace's
_STILL = 4.0  # grey levels: nothing moves where no pixel of a thumbnail changes by more
_FLOOR = 0.02  # grey levels, the least spread: rounding

Order = tuple[int, ...]  # number of the picture at each of OpenFace's positions
Thumb = Callable[[int], np.ndarray | None]  # position, from 0 -> [_SIDE, _SIDE] float32; None: no face there


class _Evidence(NamedTuple):
    margin: float  # standard errors by which the first of two orders is smoother
    largest: float  # grey levels, the largest change of a thumbnail's pixel between the pictures looked at


def decide(simple: Order, thumb: Thumb) -> tuple[Order, str] | None:
    """The order in which neighbours look alike.

    Args:
      simple: the order if OpenFace read the pictures by their numbers.
      thumb: gives thumbnails.

    Returns:
      The order and what to note about it ("" for nothing); None where it cannot be told.
    """
    orders = _orders(simple)
    against = [_compare(simple, other, thumb) for other in orders[1:]]
    if all(evidence.margin >= _KEEP for evidence in against):
        return simple, ""
    for order in orders[1:]:
        if all(_compare(order, other, thumb).margin >= _CLEAR for other in orders if other != order):
            return order, "order repaired: names were sorted as text"
    if all(evidence.largest <= _STILL for evidence in against):
        return simple, "nothing moves, so the order cannot be checked, and does not matter"
    return None


def contradicted(order: Order, thumb: Thumb) -> bool:
    """Whether the faces clearly move more smoothly in another order.

    Args:
      order: the order to check.
      thumb: gives thumbnails.

    Returns:
      True if so.
    """
    return any(_compare(order, other, thumb).margin <= -_CLEAR for other in _orders(order)[1:])


def thumbnails(faces: dict[int, Path]) -> Thumb:
    """Reads thumbnails, each once; as few are asked for as there are pairs, so that memory stays bounded.

    Args:
      faces: OpenFace's frame, from 1 -> aligned picture.

    Returns:
      A function from positions, from 0, to thumbnails.
    """

    @functools.cache
    def thumb(position: int) -> np.ndarray | None:
        path = faces.get(position + 1)
        image = None if path is None else images.decode(path)
        if image is None or not image.any():
            return None
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)

    return thumb


def _orders(first: Order) -> list[Order]:
    """Orders in which pictures of these numbers may have been read, different ones, ``first`` first."""
    numbers = sorted(first)
    # The dot of the suffix sorts before the digits.
    texts = [tuple(sorted(numbers, key=lambda n, width=width: f"{n:0{width}d}.")) for width in WIDTHS]
    return list(dict.fromkeys([first, tuple(numbers), *texts]))


def _compare(first: Order, second: Order, thumb: Thumb) -> _Evidence:
    """Which order is smoother, by the pairs that are neighbours in one of them only.

    Pairs that are neighbours in both show how much neighbours differ; they give the spread.
    """
    one, two = _neighbours(first), _neighbours(second)
    own = [_changes(np.setdiff1d(a, b), len(first), thumb) for a, b in ((one, two), (two, one))]
    both = _changes(np.intersect1d(one, two), len(first), thumb)
    if min(map(len, own)) < 2:
        return _Evidence(0.0, math.inf)  # too many pictures are missing
    mean = [float(changes[:, 0].mean()) for changes in own]
    spread = np.concatenate([own[mean[0] > mean[1]][:, 0], both[:, 0]]).std() + _FLOOR
    error = spread * math.sqrt(1 / len(own[0]) + 1 / len(own[1]))
    return _Evidence((mean[1] - mean[0]) / error, float(np.concatenate([*own, both])[:, 1].max()))


def _neighbours(order: Order) -> np.ndarray:
    """Pairs of positions whose numbers follow one another: low * N + high, int64."""
    positions = np.argsort(order)
    return np.minimum(positions[:-1], positions[1:]) * len(order) + np.maximum(positions[:-1], positions[1:])


def _changes(pairs: np.ndarray, count: int, thumb: Thumb) -> np.ndarray:
    """Mean and largest difference, grey levels, of pairs that are evenly chosen and both there; [n, 2]."""
    if len(pairs) > _PAIRS:
        pairs = pairs[np.linspace(0, len(pairs) - 1, _PAIRS).astype(int)]
    shown = [(thumb(int(pair) // count), thumb(int(pair) % count)) for pair in pairs]
    differences = [np.abs(a - b) for a, b in shown if a is not None and b is not None]
    return np.array([(d.mean(), d.max()) for d in differences]).reshape(-1, 2)
