"""Segments: hand-made numbers, an oracle on sets of frames, edge cases, properties."""

import doctest
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core import errors
from fedn_jax.evaluation import metrics, segmental

OVERLAPS = (0.1, 0.25, 1 / 3, 0.5, 1.0)


def labels(text):
    """'..aab' -> [0, 0, 1, 1, 2]: a point is the background."""
    return np.array([0 if c == "." else ord(c) - ord("a") + 1 for c in text], int)


# --- from intervals to labels ---


def test_segments_by_hand():
    got = segmental.segments(labels("aab..bb.c"), 0)
    assert got.label.tolist() == [1, 2, 2, 3] and got.interval.tolist() == [[0, 2], [2, 3], [5, 7], [8, 9]]
    assert segmental.segments(labels("aab"), 1).interval.tolist() == [[2, 3]]  # any label may be the background
    for text in "", ".", "....":
        got = segmental.segments(labels(text), 0)
        assert got.label.shape == (0,) and got.interval.shape == (0, 2)
    with pytest.raises(errors.UserError, match=r"labels must have shape \[any\]; got \[2, 2\]"):
        segmental.segments(np.zeros((2, 2), int), 0)


def test_to_labels_by_hand():
    interval = np.array([[1, 5], [3, 8], [7, 7.4], [-3, 1], [9, 40], [2, 6]], np.float32)
    emotion, valid = np.array([0, 1, 2, 3, 0, 4]), np.array([1, 1, 1, 1, 1, 0], bool)
    score = np.array([0.9, 0.5, 0.7, 0.1, 0.2, 1.0], np.float32)
    got = segmental.to_labels(interval, emotion, valid, 10, 9, score)
    assert got.tolist() == [3, 0, 0, 0, 0, 1, 1, 2, 9, 0]  # the shortest interval still has its frame
    # Without scores the latest onset wins, then the last of the list.
    assert segmental.to_labels(interval, emotion, valid, 10, 9).tolist() == [3, 0, 0, 1, 1, 1, 1, 2, 9, 0]
    twice = segmental.to_labels(interval[[0, 0]], emotion[:2], valid[:2], 6, 9)
    assert twice.tolist() == [9, 1, 1, 1, 1, 9] and twice.dtype == np.int64
    assert segmental.to_labels(np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, bool), 3, 0).tolist() == [0, 0, 0]
    outside = segmental.to_labels(np.array([[-9.0, -4], [12, 20]]), np.zeros(2, int), np.ones(2, bool), 4, 5)
    assert outside.tolist() == [5, 5, 5, 5]


def test_to_labels_bad_input():
    one = np.zeros((1, 2)), np.zeros(1, int), np.ones(1, bool)
    with pytest.raises(errors.UserError, match="background must not be the emotion of an expression; got 0"):
        segmental.to_labels(*one, 4, 0)
    assert segmental.to_labels(one[0], one[1], ~one[2], 2, 0).tolist() == [0, 0]  # padding may have any emotion
    with pytest.raises(errors.UserError, match=r"score must have shape \[1\]; got \[2\]"):
        segmental.to_labels(*one, 4, 9, np.zeros(2))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(0, 2), st.integers(0, 3)), max_size=6))
def test_to_labels_is_the_best_of_each_frame(rows):
    interval = np.array([(onset, onset + length) for onset, length, _, _ in rows], float).reshape(-1, 2)
    emotion, score = np.array([row[2] for row in rows], int), np.array([row[3] for row in rows], float)
    got = segmental.to_labels(interval, emotion, np.ones(len(rows), bool), 15, 3, score)
    for t in range(15):
        over = [(s, a, i) for i, (a, n, _, s) in enumerate(rows) if a <= t < a + n]
        assert got[t] == (rows[max(over)[2]][2] if over else 3)


def test_labels_that_do_not_touch_come_back():
    interval, emotion = np.array([[2, 5], [5, 9], [12, 13]], np.float32), np.array([1, 0, 1])
    got = segmental.segments(segmental.to_labels(interval, emotion, np.ones(3, bool), 20, 2), 2)
    assert np.array_equal(got.interval, interval) and np.array_equal(got.label, emotion)


# --- numbers by hand ---

TRUE = labels("..aaaa....bbbb..cc..")
FOUND = labels("...aaaa.aabb....cc.d")  # a: IoU 3/5, a second a: 0, b: 2/4, c: 1, d: nothing


def test_numbers_by_hand():
    assert segmental.frame_accuracy([FOUND], [TRUE]) == 13 / 20
    # a b c against a a b c d: two insertions.
    assert segmental.edit_score([FOUND], [TRUE], 0) == pytest.approx(100 * (1 - 2 / 5))
    counts = segmental.counts_at([FOUND], [TRUE], 0, (0.5, 0.51, 0.61))
    assert [x.tolist() for x in counts] == [[[3, 2, 1]], [[5, 5, 5]], [[3, 3, 3]]]
    got = segmental.f1_at([FOUND], [TRUE], 0, (0.5, 0.51, 0.61))
    assert got == {0.5: 6 / 8, 0.51: 4 / 8, 0.61: 2 / 8}
    assert list(segmental.f1_at([FOUND], [TRUE], 0)) == [0.1, 0.25, 0.5]


def test_a_segment_gets_no_second_choice():
    # Both come closest to the first a (IoU 3/10 and 5/12); the second is free, and its IoU of 1/7 would do.
    true, found = labels("aaaaaaaaaa.a"), labels("aaa..aaaaaaa")
    counts = segmental.counts_at([found], [true], 0, (0.1,))
    assert [x.item() for x in counts] == [1, 2, 2]
    # Equal IoUs: the first.
    true, found = labels(".a.a."), labels("aaaaa")
    assert segmental.counts_at([found], [true], 0, (0.2,)).tp.item() == 1


def test_pooling_and_means():
    videos = [FOUND, labels("a."), labels("..")], [TRUE, labels("ab"), labels("..")]
    assert segmental.frame_accuracy(*videos) == (13 + 1 + 2) / 24  # frames weigh the same
    assert segmental.edit_scores(*videos, 0) == pytest.approx([60, 50, 100])
    assert segmental.edit_score(*videos, 0) == pytest.approx(70)  # videos weigh the same
    assert segmental.f1_at(*videos, 0, (0.5,)) == {0.5: 2 * 4 / (6 + 5)}  # segments weigh the same
    assert [x.tolist() for x in segmental.counts_at(*videos, 0, (0.5,))] == [
        [[3], [1], [0]],
        [[5], [1], [0]],
        [[3], [2], [0]],
    ]


@pytest.mark.parametrize(
    "found, true, accuracy, edit, f1",
    [
        ("....", "....", 1, 100, 0),  # nothing to find, nothing found
        ("....", ".aa.", 0.5, 0, 0),
        (".aa.", "....", 0.5, 0, 0),
        ("aaaa", "aaaa", 1, 100, 1),
        ("", "", 0, 100, 0),
        ("abab", "a.bb", 0.5, 50, 4 / 6),
    ],
)
def test_edge_cases(found, true, accuracy, edit, f1):
    videos = [labels(found)], [labels(true)]
    assert segmental.frame_accuracy(*videos) == accuracy
    assert segmental.edit_score(*videos, 0) == edit
    assert segmental.f1_at(*videos, 0, (0.5,)) == {0.5: pytest.approx(f1)}


def test_bad_input_is_refused():
    for got, true in ([FOUND], [TRUE, TRUE]), ([FOUND[:-1]], [TRUE]), ([], []), ([FOUND[None]], [TRUE[None]]):
        for measure in (segmental.frame_accuracy, segmental.edit_score, segmental.f1_at):
            more = () if measure is segmental.frame_accuracy else (0,)
            with pytest.raises(
                errors.UserError, match=r"labels must be \[T\] for the same videos, at least one; got \["
            ):
                measure(got, true, *more)
    for overlap in (0, 1.5):
        with pytest.raises(errors.UserError, match="overlaps must be above 0 and at most 1; got"):
            segmental.f1_at([FOUND], [TRUE], 0, (0.5, overlap))


# --- oracle ---


def runs(sequence):
    """(label, set of frames) of each segment, background 0."""
    found = []
    for t, label in enumerate(sequence):
        if t and label == sequence[t - 1]:
            found[-1][1].add(t)
        else:
            found.append((label, {t}))
    return [(label, frames) for label, frames in found if label]


def distance(a, b):
    @functools.cache
    def of(i, j):
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return of(len(a), len(b))


def oracle(found, true, overlap):
    """TP, FP, FN and edit score of one video."""
    found, true = runs(found), runs(true)
    used, false = set(), 0
    for label, frames in found:
        ious = [len(frames & other) / len(frames | other) if name == label else 0 for name, other in true]
        best = max(range(len(true)), key=lambda j: ious[j], default=None)
        if best is None or ious[best] < overlap or best in used:
            false += 1
        else:
            used.add(best)
    names = [[name for name, _ in group] for group in (found, true)]
    longest = max(map(len, names))
    edit = 100 - 100 * distance(*map(tuple, names)) / longest if longest else 100
    return len(used), false, len(true) - len(used), edit


PAIRS = st.integers(1, 16).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 2), min_size=size, max_size=size)] * 2)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=3))
def test_oracle(videos):
    found, true = ([np.array(video[i]) for video in videos] for i in (0, 1))
    counts = segmental.counts_at(found, true, 0, OVERLAPS)
    for k, overlap in enumerate(OVERLAPS):
        table = np.array([oracle(*video, overlap) for video in videos])
        tp, fp, fn = table.T[:3]
        assert np.array_equal([x[:, k] for x in counts], [tp, tp + fp, tp + fn])
        total = 2 * tp.sum() + fp.sum() + fn.sum()
        f1 = 2 * tp.sum() / total if total else 0
        assert segmental.f1_at(found, true, 0, OVERLAPS)[overlap] == pytest.approx(f1)
    assert segmental.edit_scores(found, true, 0) == pytest.approx(table[:, 3])
    flat = [pair for video in videos for pair in zip(*video, strict=True)]
    assert segmental.frame_accuracy(found, true) == pytest.approx(np.mean([a == b for a, b in flat]))


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_properties(pair):
    found, true = (np.array(x) for x in pair)
    got = np.array(list(segmental.f1_at([found], [true], 0, OVERLAPS).values()))
    assert (np.diff(got) <= 0).all() and got.max() <= 1  # a harder overlap never helps
    assert segmental.edit_score([found], [true], 0) == segmental.edit_score([true], [found], 0)
    itself = segmental.counts_at([true], [true], 0, OVERLAPS)
    assert (itself.tp == itself.gt).all() and (itself.tp == itself.n).all()
    # Each frame three times: nothing changes. Classes by other numbers: nothing changes.
    slow, named = ([x.repeat(3) for x in pair] for pair in [(found, true)] * 2)
    named = [7 - x for x in named]
    for a, b, background in ((*slow, 0), (*named, 7)):
        assert segmental.frame_accuracy([a], [b]) == pytest.approx(segmental.frame_accuracy([found], [true]))
        assert segmental.edit_score([a], [b], background) == segmental.edit_score([found], [true], 0)
        assert list(segmental.f1_at([a], [b], background, OVERLAPS).values()) == got.tolist()


def test_counts_serve_the_other_measures():
    counts = segmental.counts_at([FOUND], [TRUE], 0)
    assert np.allclose(metrics.recall(counts), 1)
    assert np.allclose(metrics.precision(counts), 3 / 5)


def test_doctests():
    assert doctest.testmod(segmental).failed == 0
