"""What a learning curve promises: exact on a power law, silent where there is none."""

import numpy as np
import pytest

from fedn_jax.evaluation import extrapolation
from fedn_jax.evaluation.metrics import Counts

SIZE = np.array([5.0, 10.0, 15.0, 20.0])


def counts(value, subjects=40, draws=3, noise=0.0, seed=0):
    """[A, D, S] counts whose F1 is ``value`` of each share: of 200 detections and 200 expressions per subject."""
    rng = np.random.default_rng(seed)
    shape = len(value), draws, subjects
    hits = 200 * np.asarray(value)[:, None, None] + noise * rng.normal(size=(len(value), draws, 1)) + np.zeros(shape)
    tp = np.clip(np.round(hits + rng.normal(size=(1, 1, subjects))), 0, 200).astype(int)
    return Counts(tp, np.full(shape, 200), np.full(shape, 200))


def law(size):
    return 1 - 1.2 * np.asarray(size) ** -0.4


def said(value, **more):
    found = extrapolation.points(counts(value, **more))
    return found, extrapolation.extrapolate(SIZE[: len(value)], found, more.get("subjects", 40))


def test_a_power_law_is_found():
    a, b = extrapolation.fit(SIZE, [law(SIZE), 1 - 0.5 * SIZE**-0.1])
    np.testing.assert_allclose(a, [1.2, 0.5])
    np.testing.assert_allclose(b, [0.4, 0.1])
    assert extrapolation.predict((1.2, 0.4), 40.0) == pytest.approx(law(40.0))


def test_what_is_foretold_of_a_power_law():
    found, result = said(law(SIZE))
    np.testing.assert_allclose(found.value, law(SIZE), atol=0.005)
    assert result["missing"] is None and result["exponent"][0] > 0.35
    assert [one["subjects"] for one in result["ahead"]] == [30, 40]
    for one in result["ahead"]:
        assert one["low"] <= one["f1"] <= one["high"] and one["f1"] == pytest.approx(law(one["subjects"]), abs=0.02)


def test_points_off_the_line_make_it_less_sure():
    bent = law(SIZE) + [0.02, -0.02, -0.02, 0.02]
    (_, straight), (_, loose) = said(law(SIZE)), said(bent, noise=10)
    assert loose["missing"] is None
    one, other = (found["ahead"][-1] for found in (straight, loose))
    assert other["high"] - other["low"] > 3 * (one["high"] - one["low"])
    x, y = np.log(SIZE), np.log(1 - bent)
    known = np.polyfit(x, y, 1, cov="unscaled")
    residual = np.sqrt(((y - np.polyval(known[0], x)) ** 2).sum() / 2)
    scatter, middle, square = extrapolation._scatter(SIZE, bent)
    assert np.percentile(scatter, 97.5) == pytest.approx(4.303 * residual, rel=0.25)  # t of two degrees of freedom
    assert (middle, 1 / square) == pytest.approx((x.mean(), known[1][0, 0]))


def test_points_by_hand():
    one = Counts(np.array([[[1, 3], [3, 3]]]), np.full((1, 2, 2), 4), np.full((1, 2, 2), 4))
    found = extrapolation.points(one)
    assert found.value[0] == pytest.approx((4 / 8 + 6 / 8) / 2)
    assert found.drawn.min() == pytest.approx(0.25) and found.drawn.max() == pytest.approx(0.75)
    assert set(np.round(np.unique(found.drawn), 6)) <= {0.25, 0.375, 0.5, 0.625, 0.75}  # of two people and two draws


@pytest.mark.parametrize(
    ("value", "more", "reason"),
    [
        (np.full(4, 0.6), {"noise": 10}, "cannot be told from chance"),
        (law(SIZE)[::-1], {}, "cannot be told from chance"),
        ([0.2, 0.5, 0.7, 0.705], {}, "does not foretell the largest one"),
        (law(SIZE)[:3], {}, "needs 4 shares"),
        (law(SIZE), {"subjects": 4}, "over 4 test subjects; it needs 5"),
    ],
)
def test_it_says_when_it_cannot(value, more, reason):
    result = said(value, **more)[1]
    assert reason in result["missing"] and result["ahead"] == []


def test_shares_that_are_the_same_subjects_are_no_points():
    found = extrapolation.points(counts(law(SIZE)))
    assert "needs 4 shares" in extrapolation.extrapolate([5, 10, 10, 20], found, 40)["missing"]
