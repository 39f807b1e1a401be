"""The rule that says what was seen, on hand-made numbers."""

import pytest

from fedn_jax.core import config as configs
from fedn_jax.experiments import orderings, published
from fedn_jax.experiments.orderings import judge


@pytest.mark.parametrize(
    "better, worse, word",
    [
        ([0.5, 0.5, 0.5], [0.4, 0.41, 0.39], "seen"),
        ([0.4, 0.41, 0.39], [0.5, 0.5, 0.5], "not seen"),
        ([0.5, 0.5, 0.5], [0.4, 0.4, 0.51], "undecided"),  # one difference has the other sign
        ([0.50, 0.41, 0.42], [0.40, 0.40, 0.40], "undecided"),  # one sign, but within two standard errors
        ([0.5, 0.5], [0.5, 0.5], "undecided"),
        ([0.9], [0.1], "undecided"),  # one seed says nothing
    ],
)
def test_the_rule(better, worse, word):
    assert judge(better, worse).word == word


def test_mean_and_error():
    got = judge([3.0, 5.0], [1.0, 1.0])
    assert (got.mean, got.error, got.n) == (3.0, 1.0, 2)
    assert judge([1.0], [0.0]).error is None


def test_chance_falls_with_seeds():
    assert orderings.chance(1) is None
    assert [round(orderings.chance(n), 3) for n in (2, 3, 5)] == [0.295, 0.184, 0.116]


def test_rows_that_were_not_run_have_no_verdict():
    values = {"": {name: [0.5, 0.6] for name in orderings.NUMBERS}}
    assert all(not one["verdicts"] for one in orderings.judge_all(3, values))
    values["table2/spotting_only"] = {"f1_s": [0.4, 0.5], "map_s": [0.4, 0.6], "map_d": [None, None]}
    one, *cascades = orderings.judge_all(2, values)
    assert set(one["verdicts"]) == {"f1_s", "map_s"}
    assert cascades and all(not other["verdicts"] for other in cascades)


def test_every_ordering_names_rows_that_exist_in_the_papers_table():
    for one in orderings.ORDERINGS:
        printed = [row.options for row in published.rows("casme2", "annotated", one.table) if row.options is not None]
        printed = [{key: value for key, value in row.items() if key != "features"} for row in printed]
        for name in (one.better, one.worse):
            assert configs.PAPER_ROWS.get(name, {}) in printed
