"""Bootstrap and permutation test: small cases by enumeration, simulated coverage, symmetry."""

import doctest
import itertools
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core import errors
from fedn_jax.evaluation import bootstrap, metrics
from fedn_jax.evaluation.metrics import Counts, f1

OURS = {"anna": Counts(8, 10, 9), "ben": Counts(1, 4, 3), "cleo": Counts(5, 6, 8)}
BASE = {"anna": Counts(4, 10, 9), "ben": Counts(1, 6, 3), "cleo": Counts(5, 9, 8)}


def exact_f1(rows):
    tp, n, gt = (sum(column) for column in zip(*rows, strict=True))
    return Fraction(2 * int(tp), int(n + gt)) if n + gt else Fraction(0)


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def random_run(rng, subjects):
    gt = rng.integers(0, 5, subjects)
    return {f"s{i}": Counts(rng.integers(0, g + 1), g + rng.integers(0, 3), g) for i, g in enumerate(gt)}


# --- bootstrap ---


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_bootstrap_is_the_enumeration_of_all_resamples(level):
    subjects = [*OURS.values(), Counts(2, 9, 4)]
    runs = sorted(float(exact_f1(rows)) for rows in itertools.product(subjects, repeat=4))  # 256 equally likely
    got = bootstrap.interval(dict(zip("abcd", subjects, strict=True)), f1, samples=40000, level=level)
    assert got.value == float(exact_f1(subjects))
    for number, share in (got.low, (1 - level) / 2), (got.high, (1 + level) / 2):
        # A resample of the enumeration, whose share of smaller ones is right within the noise of 40000 draws.
        assert np.min(np.abs(np.array(runs) - number)) < 1e-9
        below, upto = np.mean(np.array(runs) < number - 1e-9), np.mean(np.array(runs) < number + 1e-9)
        assert below - 0.01 <= share <= upto + 0.01


def test_bootstrap_by_hand():
    two = {"a": Counts(1, 1, 1), "b": Counts(0, 1, 1)}  # F1 of the four resamples: 1, 1/2, 1/2, 0
    assert bootstrap.interval(two, f1) == (0.5, 0.0, 1.0)
    assert bootstrap.interval(two, f1, level=0.4) == (0.5, 0.5, 0.5)
    same = {name: Counts(3, 4, 5) for name in "abc"}
    value = 6 / 9
    assert bootstrap.interval(same, f1) == pytest.approx((value, value, value))


def test_any_statistic_of_sums():
    rng = np.random.default_rng(0)
    confusions = {f"s{i}": rng.integers(0, 9, (3, 3)) for i in range(5)}
    pooled = sum(confusions.values())
    got = bootstrap.interval(confusions, metrics.accuracy, 500)
    assert got.value == metrics.accuracy(pooled) and got.low < got.value < got.high
    both = {name: {"confusion": x, "counts": Counts(1, 2, 3)} for name, x in confusions.items()}
    assert bootstrap.interval(both, lambda sums: metrics.accuracy(sums["confusion"]), 500) == got
    lazy = bootstrap.interval(confusions, lambda sums: metrics.macro_f1(jnp.asarray(sums)), 500)
    assert lazy.value == pytest.approx(metrics.macro_f1(pooled))
    floats = {name: np.array([x[0, 0] / 7, 1.0]) for name, x in confusions.items()}  # a mean over subjects
    assert bootstrap.interval(floats, mean).value == pytest.approx(np.mean([x[0, 0] / 7 for x in confusions.values()]))


def test_the_seed_decides_and_the_order_does_not():
    got = bootstrap.interval(random_run(np.random.default_rng(1), 9), f1, 300, seed=5)
    run = random_run(np.random.default_rng(1), 9)
    assert bootstrap.interval(dict(reversed(run.items())), f1, 300, seed=5) == got
    assert bootstrap.interval(run, f1, 300, seed=6) != got
    wide = bootstrap.interval(run, f1, 300, seed=5, level=0.99)
    assert wide.low <= got.low <= got.high <= wide.high and wide.value == got.value


def test_coverage():
    """95 % intervals of the mean of 30 subjects hold the true mean about 95 % of the time."""
    rng, hits = np.random.default_rng(2), 0
    for run in range(400):
        values = rng.exponential(1.0, 30)
        run = bootstrap.interval({f"{i:02}": np.array([x, 1.0]) for i, x in enumerate(values)}, mean, 400, run)
        hits += run.low <= 1.0 <= run.high
    assert 0.88 <= hits / 400 <= 0.97  # the percentile method covers a little less on skewed data


def test_subjects_are_what_is_drawn():
    """Twenty expressions of one subject that stand or fall together say as little as one."""
    rng = np.random.default_rng(3)
    found = rng.integers(0, 2, 12)
    many = bootstrap.interval({f"s{i:02}": Counts(20 * x, 20, 20) for i, x in enumerate(found)}, f1, 2000)
    few = bootstrap.interval({f"s{i:02}": Counts(x, 1, 1) for i, x in enumerate(found)}, f1, 2000)
    assert many == pytest.approx(few) and many.high - many.low > 0.4


def test_by_subject():
    counts = Counts(*(np.array(x) for x in zip(*OURS.values(), strict=True)))
    got = bootstrap.by_subject(list(OURS), counts)
    assert got == OURS and bootstrap.interval(got, f1) == bootstrap.interval(OURS, f1)
    with pytest.raises(errors.UserError, match=r"statistics must have shape \[2\]; got \[3\]"):
        bootstrap.by_subject(["a", "b"], counts)
    with pytest.raises(errors.UserError, match="subjects must differ; got a, a, b"):
        bootstrap.by_subject(["b", "a", "a"], counts)


# --- two runs ---


def swapped(a, b):
    """Differences of all 2^S swaps, as fractions."""
    pairs = [(a[name], b[name]) for name in a]
    for choice in itertools.product((0, 1), repeat=len(pairs)):
        yield exact_f1([p[c] for p, c in zip(pairs, choice, strict=True)]) - exact_f1(
            [p[1 - c] for p, c in zip(pairs, choice, strict=True)]
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_p_is_the_enumeration_of_all_swaps(seed, subjects):
    rng = np.random.default_rng(seed)
    a, b = random_run(rng, subjects), random_run(rng, subjects)
    observed = exact_f1(a.values()) - exact_f1(b.values())
    expected = Fraction(sum(abs(x) >= abs(observed) for x in swapped(a, b)), 2**subjects)
    got = bootstrap.paired(a, b, f1, 200)
    assert got.p == float(expected) and got.p >= 2 / 2**subjects
    assert got.difference == pytest.approx(float(observed), abs=1e-12)
    back = bootstrap.paired(b, a, f1, 200)
    assert np.allclose(back, (-got.difference, -got.high, -got.low, got.p), atol=1e-12)


def test_paired_by_hand():
    got = bootstrap.paired(OURS, BASE, f1)
    assert got.difference == pytest.approx(28 / 40 - 20 / 45)
    # Ours is the better one for every subject that differs, so only no swap or all swaps are as far apart: 2 of 8.
    assert got.p == sum(abs(x) >= Fraction(28, 40) - Fraction(20, 45) for x in swapped(OURS, BASE)) / 8 == 0.25
    # The same subjects are drawn for both: only-Ben gives 2/7 - 2/9, only-Anna 16/19 - 8/19.
    assert (got.low, got.high) == pytest.approx((2 / 7 - 2 / 9, 8 / 19))


@pytest.mark.parametrize("subjects", [2, 16, 17, 30])
def test_equal_runs(subjects):
    run = random_run(np.random.default_rng(4), subjects)
    assert bootstrap.paired(run, dict(reversed(run.items())), f1, 500) == (0, 0, 0, 1)


def test_random_swaps_are_close_to_all_swaps(monkeypatch):
    rng = np.random.default_rng(5)
    a, b = random_run(rng, 10), random_run(rng, 10)
    exact = bootstrap.paired(a, b, f1, 4000)
    monkeypatch.setattr(bootstrap, "EXACT", 9)
    drawn = bootstrap.paired(a, b, f1, 4000)
    assert drawn[:3] == exact[:3] and drawn.p != exact.p
    assert abs(drawn.p - exact.p) < 4 * np.sqrt(exact.p * (1 - exact.p) / 4000)
    assert bootstrap.paired(b, a, f1, 4000).p == drawn.p
    assert bootstrap.paired(a, b, f1, 4000, seed=1).p != drawn.p


def test_p_is_never_zero():
    good, bad = ({f"s{i:02}": Counts(tp, 9, 9) for i in range(20)} for tp in (9, 0))
    assert bootstrap.paired(good, bad, f1, 99) == (1, 1, 1, 1 / 100)  # the runs as they are count as one swap


def test_p_does_not_hang_on_rounding():
    """.3 - .1 - .2 + .5 and .1 + .2 - .3 + .5 are equal, though their floats are not."""
    for order in itertools.permutations((0.3, -0.1, -0.2, 0.5)):
        a, b = ({f"s{i}": np.array([sign * x, 1]) for i, x in enumerate(order)} for sign in (1, 0))
        assert bootstrap.paired(a, b, mean, 10).p == 10 / 16


def test_p_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(6)
    ps = []
    for _ in range(300):
        values = rng.normal(size=(2, 8))
        a, b = ({f"{i}": np.array([x, 1.0]) for i, x in enumerate(row)} for row in values)
        ps.append(bootstrap.paired(a, b, mean, 2).p)
    assert abs(np.mean(np.array(ps) <= 0.25) - 0.25) < 0.08 and abs(np.mean(np.array(ps) <= 0.5) - 0.5) < 0.09


def test_bad_input_is_refused():
    other = {"anna": Counts(1, 2, 3), "dora": Counts(1, 2, 3), "emil": Counts(1, 2, 3)}
    with pytest.raises(errors.UserError, match="same subjects; only in a: ben, cleo; only in b: dora, emil$"):
        bootstrap.paired(OURS, other, f1)
    with pytest.raises(errors.UserError, match="only in a: none; only in b: anna$"):
        bootstrap.paired({"ben": OURS["ben"], "cleo": OURS["cleo"]}, BASE, f1)
    with pytest.raises(errors.UserError, match="chance is judged over subjects, at least 2; got 1"):
        bootstrap.interval({"anna": Counts(1, 2, 3)}, f1)
    with pytest.raises(errors.UserError, match="must have the same statistics; got"):
        bootstrap.interval({"anna": np.zeros(2), "ben": np.zeros(3)}, f1)
    with pytest.raises(errors.UserError, match="must have the same statistics; got"):
        bootstrap.paired({"a": 1, "b": 1}, {"a": np.zeros(2), "b": np.zeros(2)}, mean)
    with pytest.raises(errors.UserError, match=r"the result of statistic must have shape \[1\]; got \[\]"):
        bootstrap.interval(OURS, lambda sums: 0.5)
    with pytest.raises(errors.UserError, match="statistic must be finite on every resample; got nan"):
        bootstrap.interval(OURS, lambda sums: np.where(sums.tp == 3, np.nan, 0.0))
    for level in (0, 1, 95):
        with pytest.raises(errors.UserError, match="level must be between 0 and 1; got"):
            bootstrap.interval(OURS, f1, level=level)
    with pytest.raises(errors.UserError, match="samples must be at least 1; got 0"):
        bootstrap.paired(OURS, BASE, f1, samples=0)


def test_doctests():
    assert doctest.testmod(bootstrap).failed == 0
