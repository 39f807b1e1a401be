"""How a score threshold is picked on held-out videos."""

import numpy as np
from intervals import padded, random_case

from fedn_jax.evaluation import matching, metrics, threshold_rules
from fedn_jax.evaluation.threshold_rules import one_error


def best(found, true):
    return threshold_rules.best(threshold_rules.rank(found, true))


def test_best_threshold_by_hand():
    found, true = padded(
        [[(0, 10, 0.9, 0), (50, 60, 0.8, 0), (20, 30, 0.7, 0), (80, 90, 0.6, 0)]], [[(0, 10, 0), (20, 30, 0)]]
    )
    assert np.isclose(best(found, true), 0.65)  # F1: 2/3, 1/2, 4/5, 2/3
    alone = true._replace(valid=np.array([[True, False]]))
    assert np.isclose(best(found, alone), 0.85)
    lowest = found._replace(score=found.score[:, [3, 2, 1, 0]])
    assert np.isclose(best(lowest, true), 0.6)  # there is no score below


def test_where_nothing_is_found_no_threshold_is_better_than_another():
    found, true = padded([[(0, 10, 0.9, 0), (50, 60, 0.8, 0)]], [[(100, 110, 0)]])
    for nothing in (found, found._replace(valid=np.zeros_like(found.valid))):
        assert best(nothing, true) is None
    assert best(found, true._replace(valid=np.zeros_like(true.valid))) is None


def test_best_threshold_between_neighbouring_floats():
    low, high = np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(1))
    found, true = padded([[(0, 10, high, 0), (50, 60, low, 0)]], [[(0, 10, 0)]])
    threshold = best(found, true)
    assert threshold == high and matching.above(found, threshold).valid.tolist() == [[True, False]]


def test_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(2)

    def f1(threshold):
        return metrics.f1(metrics.spotting(matching.above(found, threshold), true))

    for _ in range(30):
        found, true = random_case(rng)
        scores = {*found.score[found.valid].tolist()}
        if scores:
            highest = max(f1(score) for score in scores)
            threshold = best(found, true)
            assert (threshold is None) == (highest == 0)
            if threshold is None:
                continue
            assert f1(threshold) == highest
            kept = min(score for score in scores if score >= threshold)
            assert kept == max(score for score in scores if f1(score) == highest)


def videos(*outcomes):
    """A video each: an expression, and what is said of it: the score of a hit, or of a miss beside it."""
    rows = [[(0, 10, score, 0) if hit else (50, 60, score, 0)] for hit, score in outcomes]
    return threshold_rules.rank(*padded(rows, [[(0, 10, 0)]] * len(rows)))


def test_counts_at_every_threshold_by_hand():
    ranked = videos((True, 0.9), (False, 0.7), (True, 0.7), (True, 0.2))
    assert np.allclose(threshold_rules.cuts(ranked), [0.8, 0.45, 0.2])
    tp, n, gt = threshold_rules.count(ranked, [[1, 1, 1, 1], [2, 0, 0, 2]])
    assert tp.tolist() == [[1, 2, 3], [2, 2, 4]] and n.tolist() == [[1, 3, 4], [2, 2, 4]]
    assert gt.tolist() == [[4] * 3, [4] * 3]


def test_few_videos_leave_the_usual_threshold():
    ranked = videos((True, 0.99), (True, 0.98), (False, 0.96), (True, 0.3))
    assert threshold_rules.best(ranked) == np.float32(0.3)
    assert one_error(ranked, 0.5) == 0.5  # F1 4/7 there and 6/8 at best: within the error of four videos


def test_many_videos_move_it():
    hits, misses = ([(hit, score) for score in np.linspace(*span, 200)] for hit, span in
                    ((True, (0.7, 0.9)), (False, (0.1, 0.6))))  # fmt: skip
    ranked = videos(*hits, *misses)
    assert 0.6 < threshold_rules.best(ranked) < 0.7
    moved = one_error(ranked, 0.1)
    assert 0.5 < moved < 0.65 and moved <= threshold_rules.best(ranked)
    assert one_error(ranked, 0.65) == 0.65 and one_error(ranked, 0.99) < 0.75


def test_what_is_picked_is_as_good_as_the_error_allows():
    rng = np.random.default_rng(3)
    for _ in range(30):
        found, true = random_case(rng)
        ranked = threshold_rules.rank(found, true)
        chosen = one_error(ranked, 0.5)
        assert (chosen is None) == (best(found, true) is None)
        if chosen is None:
            continue

        def f1(threshold, found=found, true=true):
            return metrics.f1(metrics.spotting(matching.above(found, threshold), true))

        assert 0 < f1(chosen) <= f1(best(found, true))
        assert abs(chosen - 0.5) <= abs(best(found, true) - 0.5) + 1e-6 or f1(chosen) == f1(best(found, true))
        assert one_error(ranked, 0.5) == chosen  # nothing in it is random


def test_few_expressions_draw_the_best_towards_the_usual_one():
    few = videos(*[(True, 0.9)] * 5, *[(False, 0.7)] * 5)
    assert np.isclose(threshold_rules.best(few), 0.8)
    assert np.isclose(threshold_rules.shrunk(few, 0.5), 1 / (1 + 4**-0.5))  # ten expressions: half way to log(4)
    many = videos(*[(True, 0.9)] * 500, *[(False, 0.7)] * 500)
    assert 0.79 < threshold_rules.shrunk(many, 0.5) < 0.8
    assert threshold_rules.shrunk(videos((False, 0.9)), 0.5) is None


def test_it_does_not_depend_on_padding():
    ranked = videos((True, 0.9), (False, 0.7), (True, 0.6))
    assert len(ranked.expressions) == 3 and ranked.video.tolist() == [0, 1, 2]  # padded to four
