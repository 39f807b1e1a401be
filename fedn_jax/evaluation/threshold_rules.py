"""Rules that pick a score threshold by the F1 that it gives on held-out videos of the training subjects."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedn_jax.core.types import Array, Detections, Events
from fedn_jax.evaluation import bootstrap
from fedn_jax.evaluation.matching import matched
from fedn_jax.evaluation.metrics import Counts, f1

SAMPLES = 1000  # resamples behind a standard error
PRIOR = 10  # held-out expressions that weigh as much as the usual threshold


class Ranked(NamedTuple):
    """All detections of some videos by falling score. A threshold only cuts off the tail of the matching."""

    score: np.ndarray  # [N] float
    hit: np.ndarray  # [N] bool, finds an expression
    video: np.ndarray  # [N] int
    expressions: np.ndarray  # [V] int, of each video


def rank(detections: Detections, ground_truth: Events, iou_threshold: float = 0.5) -> Ranked:
    """Matches detections and sorts them.

    Args:
      detections: [V, N], not thresholded.
      ground_truth: [V, E].
      iou_threshold: lowest IoU of a match.

    Returns:
      The ranking; rows without anything, such as padding, are no videos.
    """
    valid, annotated = np.asarray(detections.valid), np.asarray(ground_truth.valid).sum(1)
    score = np.asarray(detections.score)[valid]
    hit = matched(detections, ground_truth, iou_threshold)[valid] >= 0
    order = np.argsort(-score, kind="stable")
    row = np.repeat(np.arange(len(valid)), valid.sum(1))[order]
    rows = used(detections, ground_truth)
    return Ranked(score[order], hit[order], np.searchsorted(rows, row), annotated[rows])


def used(detections: Detections, ground_truth: Events) -> np.ndarray:
    """The rows that are videos of a ranking: something is detected or annotated there.

    Args:
      detections: [V', N].
      ground_truth: [V', E].

    Returns:
      [V] int, rising.
    """
    return np.flatnonzero(np.asarray(detections.valid).any(1) | np.asarray(ground_truth.valid).any(1))


def cuts(ranked: Ranked) -> np.ndarray:
    """All thresholds that differ: the middles between neighbouring scores, and below them the lowest score.

    Args:
      ranked: N detections.

    Returns:
      [K] float, falling. A detection counts if its score is not below the threshold.
    """
    score = ranked.score[_last(ranked)]
    following = np.append(score[1:], score[-1:])
    middle = following + (score - following) / 2
    return np.where(middle > following, middle, score)


def count(ranked: Ranked, weights: Array) -> Counts:
    """Counts at every threshold.

    Args:
      ranked: of V videos.
      weights: [R, V] int, how often each video counts.

    Returns:
      [R, K] counts, at the thresholds of ``cuts``.
    """
    weights = np.asarray(weights)
    each, last = weights[:, ranked.video], _last(ranked)
    annotated = np.broadcast_to((weights @ ranked.expressions)[:, None], (len(weights), last.sum()))
    return Counts(np.cumsum(each * ranked.hit, 1)[:, last], np.cumsum(each, 1)[:, last], annotated)


def _last(ranked: Ranked) -> np.ndarray:
    """[N] bool: equal scores stand or fall together."""
    return np.append(ranked.score[1:] != ranked.score[:-1], np.ones(min(len(ranked.score), 1), bool))


def _pooled(ranked: Ranked) -> np.ndarray:
    """[K] F1 over all videos."""
    return f1(count(ranked, np.ones((1, len(ranked.expressions)), int)))[0]


def best(ranked: Ranked) -> float | None:
    """The threshold of highest F1.

    Args:
      ranked: of held-out videos.

    Returns:
      A threshold; of equally good ones the highest, which asks for the fewest detections. None where no detection
      finds an expression: F1 is 0 at any threshold.
    """
    return float(cuts(ranked)[np.argmax(_pooled(ranked))]) if ranked.hit.any() else None


def one_error(ranked: Ranked, usual: float) -> float | None:
    """Of the thresholds that are as good as the best within one standard error, the one nearest to the usual one.

    With few held-out expressions the best threshold is almost random, and the error large; the usual one is then
    taken. The rule is that of one standard error (Breiman et al. 1984, section 3.4.3), the error that of the F1 at the
    best threshold over resampled videos.

    Args:
      ranked: of held-out videos.
      usual: the threshold that would be taken without them.

    Returns:
      A threshold; None where no detection finds an expression.
    """
    if not ranked.hit.any():
        return None
    scores = _pooled(ranked)
    top = int(np.argmax(scores))
    drawn = f1(count(ranked, bootstrap.draw(len(ranked.expressions), SAMPLES)))
    good = np.flatnonzero(scores >= scores[top] - drawn[:, top].std())
    upper = ranked.score[_last(ranked)]
    lower = np.append(upper[1:], -np.inf)
    if ((lower < usual) & (usual <= upper))[good].any():
        return float(usual)
    near = cuts(ranked)[good]
    return float(near[np.argmin(abs(near - usual))])


def shrunk(ranked: Ranked, usual: float) -> float | None:
    """The best threshold, drawn towards the usual one: the more so, the fewer held-out expressions there are.

    The mean of their log odds, the best one weighted by the held-out expressions and the usual one by ``PRIOR``.

    Args:
      ranked: of held-out videos, scores in (0, 1).
      usual: the threshold that would be taken without them.

    Returns:
      A threshold; None where no detection finds an expression.
    """
    found = best(ranked)
    if found is None:
        return None
    share = ranked.expressions.sum() / (ranked.expressions.sum() + PRIOR)
    odds = [np.log(x / (1 - x)) for x in np.clip([found, usual], 1e-6, 1 - 1e-6)]
    return float(1 / (1 + np.exp(-share * odds[0] - (1 - share) * odds[1])))


class Rule(NamedTuple):
    """A rule, and what it does."""

    pick: Callable[[Ranked, float], float | None]  # (held-out videos, threshold that is taken without them)
    meaning: str


_ON = "on training videos that the inner network has not seen"
RULES = {
    "best": Rule(
        lambda ranked, usual: best(ranked), f"picked on its inner fold: the threshold of highest spotting F1 {_ON}"
    ),
    "one_error": Rule(
        one_error,
        f"picked on its inner fold: of the thresholds whose spotting F1 {_ON} is within one standard error of the "
        "highest, the one nearest to evaluate.threshold",
    ),
    "shrunk": Rule(
        shrunk,
        f"picked on its inner fold: the threshold of highest spotting F1 {_ON}, drawn towards evaluate.threshold as by "
        f"{PRIOR} more expressions",
    ),
}
