"""The orderings that the paper's tables claim, and whether runs with several seeds show them.

The rule is stated once, here: the two rows of an ordering are compared seed by seed. If all differences have one sign
and their mean is more than two standard errors from zero, the ordering is "seen", or "not seen" where the sign is the
other one; else, and always with one seed, it is "undecided".
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

ERRORS = 2.0  # standard errors that the mean difference must exceed
RULE = (
    "Rows are compared seed by seed. If all differences have one sign and their mean exceeds two standard errors, the "
    "ordering is seen, or not seen where the sign is the other one; else it is undecided, and with one seed always"
)
NUMBERS = ("f1_s", "map_s", "map_d")  # of the headline: what is compared; the last needs emotions
NAMING = ("f1_r", "map_d")  # of the headline: what a recogniser changes


class Ordering(NamedTuple):
    """One claim: a row is better than another, or as good."""

    table: int  # of the paper
    claim: str
    better: str  # row of a configuration; "" is FEDN
    worse: str
    numbers: tuple[str, ...] = NUMBERS  # that are compared


ORDERINGS = (
    Ordering(2, "recognising too helps spotting", "", "table2/spotting_only"),
    Ordering(2, "joint beats spotting, then CEFLNet", "", "table2/spotting_only_ceflnet", ("f1_s", *NAMING)),
    Ordering(2, "joint beats spotting, then STR", "", "table2/spotting_only_str", ("f1_s", *NAMING)),
    Ordering(2, "its own emotions beat CEFLNet's", "", "table2/ceflnet", NAMING),
    Ordering(2, "its own emotions beat STR's", "", "table2/str", NAMING),
    Ordering(3, "segment attention helps", "", "table3/no_segment_attention"),
    Ordering(3, "window attention helps", "", "table3/no_window_attention"),
    Ordering(3, "both attentions help", "", "table3/no_attention"),
    Ordering(3, "end-to-end features help", "", "table3/i3d"),
    Ordering(4, "DIoU is as good as GIoU or better", "", "table4/giou"),
    Ordering(4, "GIoU is as good as IoU or better", "table4/giou", "table4/iou"),
    Ordering(4, "DIoU is as good as IoU or better", "", "table4/iou"),
    Ordering(4, "a decoupled head helps", "", "table4/coupled"),
    Ordering(4, "classes beat a confidence branch", "", "table4/confidence"),
)


class Verdict(NamedTuple):
    """What the differences of one number over n seeds say."""

    word: str  # "seen", "not seen" or "undecided"
    mean: float  # of better - worse
    error: float | None  # standard error of the mean; None for one seed
    n: int


def judge(better: Sequence[float], worse: Sequence[float]) -> Verdict:
    """Applies the rule to one number.

    Args:
      better: n values, one per seed, of the row that is claimed to be better.
      worse: those of the other row, of the same seeds.

    Returns:
      The verdict.

    >>> judge([0.50, 0.52, 0.51], [0.40, 0.43, 0.41]).word
    'seen'
    >>> judge([0.40, 0.52], [0.41, 0.43]).word, judge([0.5], [0.4]).word
    ('undecided', 'undecided')
    """
    difference = np.subtract(better, worse)
    mean, n = float(difference.mean()), len(difference)
    if n < 2:
        return Verdict("undecided", mean, None, n)
    error = float(difference.std(ddof=1) / np.sqrt(n))
    clear = abs(np.sign(difference).sum()) == n and abs(mean) > ERRORS * error
    return Verdict(("seen" if mean > 0 else "not seen") if clear else "undecided", mean, error, n)


def chance(n: int) -> float | None:
    """How often, at most, the rule calls two equally good rows different, if seeds scatter normally.

    Args:
      n: seeds.

    Returns:
      Probability of a Student's t with n - 1 degrees of freedom beyond two; None for one seed.

    >>> round(chance(3), 2)
    0.18
    """
    from scipy import stats

    return float(2 * stats.t.sf(ERRORS, n - 1)) if n > 1 else None


def judge_all(table: int, values: Mapping[str, Mapping[str, Sequence[float | None]]]) -> list[dict]:
    """Every ordering of a table.

    Args:
      table: of the paper.
      values: row -> number of the headline -> one value per seed; None where a number does not exist.

    Returns:
      One dict per ordering: its fields, and "verdicts", number -> Verdict; empty where a row was not run.
    """
    found = []
    for one in (each for each in ORDERINGS if each.table == table):
        verdicts = {}
        if one.better in values and one.worse in values:
            for number in one.numbers:
                pairs = list(zip(values[one.better][number], values[one.worse][number], strict=True))
                if all(value is not None for pair in pairs for value in pair):
                    verdicts[number] = judge(*zip(*pairs, strict=True))
        found.append({**one._asdict(), "verdicts": verdicts})
    return found
