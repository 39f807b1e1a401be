"""Rules of counting: hand-made numbers, brute force with fractions, published scores, properties."""

import csv
import doctest
from fractions import Fraction

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import REAL, needs_real

from fedn_jax.core import errors
from fedn_jax.core.types import Detections, Events
from fedn_jax.evaluation import matching, metrics, protocols

N, E = 5, 4  # one shape for all random cases: nothing recompiles


def video(found, true, size=None):
    """One video, [1, N] and [1, E], from (onset, offset, score, emotion, kind) and (onset, offset, emotion, kind)."""
    n, e = size or (max(len(found), 1), max(len(true), 1))
    det, gt = np.zeros((1, n, 5)), np.zeros((1, e, 4))
    det[0, : len(found)], gt[0, : len(true)] = np.reshape(found, (-1, 5)), np.reshape(true, (-1, 4))
    emotion, kind = (gt[..., i].astype(np.int32) for i in (2, 3))
    detections = Detections(
        det[..., :2].astype(np.float32),
        det[..., 2].astype(np.float32),
        det[..., 3].astype(np.int32),
        np.arange(n)[None] < len(found),
    )
    events = Events(gt[..., :2].astype(np.float32), -np.ones((1, e)), emotion, kind, np.arange(e)[None] < len(true))
    return detections, events, det[..., 4].astype(np.int32)


def count(name, detections, events, iou=0.5):
    return protocols.counts(name, protocols.find(name, detections, events, iou), detections, events)


# --- by hand ---

# One prediction over two expressions, two predictions on one, one with an IoU of exactly 0.5, one on nothing.
FOUND = [(4, 24, 0.5, 0, 0), (100, 109, 0.6, 0, 0), (100, 110, 0.9, 0, 0), (200, 205, 0.7, 0, 0), (300, 309, 0.8, 0, 0)]
TRUE = [(0, 20, 0, 0), (8, 28, 0, 0), (100, 110, 0, 0), (200, 210, 0, 0)]


@pytest.mark.parametrize(
    "name, expected, pairs",
    [
        ("megc", (3, 5, 4), [[0, 1], [2, 2], [3, 3]]),
        ("per_gt", (4, 5, 4), [[0, 0], [0, 1], [2, 2], [3, 3]]),
        ("pairs", (5, 5, 4), [[0, 0], [0, 1], [1, 2], [2, 2], [3, 3]]),
        ("strict", (2, 5, 4), [[0, 1], [2, 2]]),
        ("strs", (4, 6, 4), [[0, 0], [0, 1], [1, 2], [3, 3]]),
    ],
)
def test_five_rules_give_five_counts(name, expected, pairs):
    detections, events, _ = video(FOUND, TRUE)
    got = protocols.find(name, detections, events)
    assert got.dtype == np.int64 and got[:, 1:].tolist() == pairs and not got[:, 0].any()
    assert protocols.counts(name, got, detections, events) == expected
    # Alone or with a second video in front, per group or pooled.
    two = tuple(jax.tree.map(lambda x: np.concatenate([x[:, ::-1], x]), group) for group in (detections, events))
    got = protocols.find(name, *two)
    assert got[got[:, 0] == 1, 1:].tolist() == pairs
    by_group = protocols.counts(name, got, *two, np.array([2, 0]), 3)
    assert [int(x[0]) for x in by_group] == list(expected) and not any(x[1] for x in by_group)
    assert protocols.counts(name, got, *two) == tuple(int(x.sum()) for x in by_group)


def test_ties():
    detections, events, _ = video([(0, 10, 0.5, 0, 0)] * 3, [(0, 10, 0, 0)] * 2)
    expected = {"megc": [[0, 1], [1, 0]], "strict": [[0, 1], [1, 0]], "per_gt": [[0, 0], [0, 1]]}
    expected |= {"strs": expected["per_gt"], "pairs": [[i, j] for i in range(3) for j in range(2)]}
    for name, pairs in expected.items():
        assert protocols.find(name, detections, events)[:, 1:].tolist() == pairs
    assert metrics.f1(count("pairs", detections, events)) == 2 * 6 / 5  # F1 above 1: why nobody should use it


def test_strict_at_the_bound():
    for k, (onset, offset) in {0.5: (0, 5), 0.3: (0, 3), 0.7: (3, 10), 1.0: (0, 10), 0.1: (9, 10)}.items():
        detections, events, _ = video([(onset, offset, 0.5, 0, 0)], [(0, 10, 0, 0)])
        assert count("megc", detections, events, k).tp == 1 and count("strict", detections, events, k).tp == 0
        assert count("strict", detections, events, np.nextafter(k, 0)).tp == 1


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_nothing(name):
    for found, true in ([], []), (FOUND, []), ([], TRUE):
        detections, events, kind = video(found, true)
        assert count(name, detections, events) == (0, len(found), len(true))
        assert set(protocols.by_kind(name, detections, kind, events)) == {"macro", "micro", "all"}
    detections, events, _ = video(FOUND, TRUE)
    none = jax.tree.map(lambda x: x[:, :0], detections), jax.tree.map(lambda x: x[:, :0], events)
    assert count(name, none[0], events) == (0, 0, 4) and count(name, detections, none[1]) == (0, 5, 0)
    assert count(name, *none) == (0, 0, 0)
    outside = video([(5, 5, 0.9, 0, 0)], [(5, 5, 0, 0)])  # empty intervals match nothing
    assert count(name, *outside[:2], 1e-9).tp == 0


def test_definitions_are_sentences():
    texts = [rule.definition for rule in protocols.PROTOCOLS.values()]
    assert len(set(texts)) == 5 and all(text.endswith(").") and "IoU >" in text for text in texts)


def test_bad_input_is_refused():
    detections, events, kind = video(FOUND, TRUE)
    with pytest.raises(errors.UserError, match="protocol must be one of megc, per_gt, pairs, strict, strs; got 'megs'"):
        protocols.find("megs", detections, events)
    with pytest.raises(errors.UserError, match="protocol must be one of"):
        protocols.counts("x", np.zeros((0, 3), int), detections, events)
    for bound in (0, -1, 1.01, float("nan")):
        with pytest.raises(errors.UserError, match="iou_threshold must be above 0 and at most 1; got"):
            protocols.find("megc", detections, events, bound)
    with pytest.raises(errors.UserError, match=r"events.valid must have shape \[1, any\]; got \[2, 4\]"):
        protocols.find("strs", detections, jax.tree.map(lambda x: np.concatenate([x, x]), events))
    with pytest.raises(errors.UserError, match=r"det_kind must have shape \[1, 5\]; got \[1, 4\]"):
        protocols.by_kind("megc", detections, kind[:, :4], events)
    with pytest.raises(errors.UserError, match=r"det_kind must be in 0..1; got 2"):
        protocols.by_kind("megc", detections, kind + 2, events)
    with pytest.raises(ValueError, match="emotion must be in 0..0; got"):
        protocols.recognition(np.zeros((0, 3), int), detections._replace(emotion=kind + 1), events, 1)


# --- kinds ---


def test_kinds_by_length():
    lengths = [15, 16, 100, 101, 15.5, 0]
    detections, _, _ = video([(3, 3 + n, 0.5, 0, 0) for n in lengths], [])
    assert protocols.kinds(detections, 30)[0].tolist() == [1, 0, 0, 0, 0, 1]
    assert protocols.kinds(detections, np.array([200.0]))[0].tolist() == [1, 1, 1, 0, 1, 1]


def test_by_kind_by_hand():
    # A micro-detection on a macro-expression, one of each kind that fits, and a false micro-detection.
    found = [(0, 12, 0.9, 0, 1), (20, 30, 0.8, 0, 1), (40, 80, 0.7, 0, 0), (90, 99, 0.6, 0, 1)]
    detections, events, kind = video(found, [(0, 20, 0, 0), (20, 31, 0, 1), (42, 80, 0, 0)])
    got = protocols.by_kind("megc", detections, kind, events)
    assert got == {"macro": (1, 1, 2), "micro": (1, 3, 1), "all": (2, 4, 3)}
    assert count("megc", detections, events).tp == 3  # kinds forgotten
    grouped = protocols.by_kind("megc", detections, kind, events, 0.5, np.array([1]), 2)
    assert all(np.array_equal(x, [0, y]) for x, y in zip(grouped["all"], got["all"], strict=True))


# --- brute force ---


def fraction(a, b):
    """IoU of inclusive frames by counting frames."""
    one, two = (set(range(int(x[0]), int(x[1]))) for x in (a, b))
    return Fraction(len(one & two), len(one | two) or 1)


def oracle(name, found, true, k):
    """Pairs and (TP, FP, FN) in plain loops over the lists of ``video``."""
    iou = [[fraction(d, t) for t in true] for d in found]
    pairs, taken, by_score = [], set(), sorted(range(len(found)), key=lambda i: (-found[i][2], i))
    if name in ("megc", "strict"):
        for i in by_score:
            free = [(iou[i][j], j) for j in range(len(true)) if j not in taken]
            best, j = max(free, default=(Fraction(0), -1))
            if best > k or best == k and name == "megc":
                pairs.append((i, j))
                taken.add(j)
    elif name == "per_gt":
        for j in range(len(true)):
            best, i = max(((iou[i][j], -i) for i in range(len(found))), default=(Fraction(0), 0))
            if best >= k:
                pairs.append((-i, j))
    else:
        for i in range(len(found)):
            for j in range(len(true)):
                if iou[i][j] >= k and (name == "pairs" or j not in taken):
                    pairs.append((i, j))
                    taken.add(j)
    false = len(found) - (len({i for i, _ in pairs}) if name == "strs" else len(pairs))
    return sorted(pairs), (len(pairs), false, len(true) - len(pairs))


def intervals_of(*rest):
    return st.tuples(st.integers(0, 9), st.integers(0, 6), *rest).map(lambda x: (x[0], x[0] + x[1], *x[2:]))


FOUNDS = st.lists(intervals_of(st.sampled_from([0.25, 0.5, 0.75]), st.integers(0, 2), st.integers(0, 1)), max_size=N)
TRUES = st.lists(intervals_of(st.integers(0, 2), st.integers(0, 1)), max_size=E)
BOUNDS = st.sampled_from([Fraction(1, n) for n in (1, 2, 3, 4, 5)] + [Fraction(2, 3), Fraction(2, 5), Fraction(3, 4)])


@settings(max_examples=300, deadline=None)
@given(FOUNDS, TRUES, BOUNDS)
def test_brute_force(found, true, k):
    detections, events, det_kind = video(found, true, (N, E))
    tp = {}
    for name in protocols.PROTOCOLS:
        pairs, (hits, false, missed) = oracle(name, found, true, k)
        got = protocols.find(name, detections, events, float(k))
        assert got.tolist() == [[0, *pair] for pair in pairs], name
        counted = protocols.counts(name, got, detections, events)
        assert counted == (hits, hits + false, hits + missed)
        tp[name] = hits
        expected = np.zeros((3, 3), int)
        for i, j in pairs:
            expected[true[j][2], found[i][3]] += 1
        assert np.array_equal(protocols.recognition(got, detections, events, 3), expected)
        kinds = protocols.by_kind(name, detections, det_kind, events, float(k))
        for index, kind in enumerate(("macro", "micro")):
            own = [d for d in found if d[4] == index], [t for t in true if t[3] == index]
            hits, false, missed = oracle(name, *own, k)[1]
            assert kinds[kind] == (hits, hits + false, hits + missed)
        assert kinds["all"] == tuple(a + b for a, b in zip(kinds["macro"], kinds["micro"], strict=True))
    assert tp["strict"] <= tp["megc"] <= tp["per_gt"] == tp["strs"] <= tp["pairs"]


@settings(max_examples=60, deadline=None)
@given(FOUNDS, TRUES, BOUNDS, st.randoms(use_true_random=False), st.sampled_from([0.5, 2.0]))
def test_order_and_unit_of_time_do_not_matter(found, true, k, random, scale):
    mixed = random.sample(found, len(found))
    plain, other = video(found, true, (N, E)), video(mixed, true, (N, E))
    moved = tuple(group._replace(interval=group.interval * scale + 7) for group in other[:2])
    for name in ("per_gt", "pairs", "strs"):
        got = count(name, *moved, float(k))
        assert (got.tp, got.gt) == (count(name, *plain[:2], float(k)).tp, len(true))
    assert count("megc", *moved, float(k)) == count("megc", *other[:2], float(k))


def test_megc_is_the_packages_own_number():
    detections, events, _ = video(FOUND, TRUE)
    assert count("megc", detections, events) == metrics.spotting(detections, events)
    pairs = protocols.find("megc", detections, events)
    confusion = protocols.recognition(pairs, detections, events, 1)
    assert np.array_equal(confusion, metrics.recognition(detections, events, 1))


# --- STRS ---


def test_strs_by_hand():
    confusion = np.array([[3, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    counts = metrics.Counts(7, 10, 18)
    # Emotion 2 is annotated but never spotted; emotion 3 is detected only, so it takes from the recall of emotion 0.
    got = protocols.strs(counts, confusion, np.array([9, 5, 4, 0]))
    precision, recall = (3 / 3 + 2 / 3 + 0) / 3, (3 / 5 + 2 / 2 + 0) / 3
    assert np.isclose(got["f1_analysis"], 2 * precision * recall / (precision + recall))
    assert got["f1_spot"] == 0.5 and got["strs"] == 0.5 * got["f1_analysis"]
    # Left out with its true positives: emotion 1 keeps 2 of 2.
    got = protocols.strs(counts, confusion, np.array([0, 5, 4, 0]))
    assert np.isclose(got["f1_analysis"], 0.5)
    assert protocols.strs(counts, 0 * confusion, np.zeros(4)) == {"f1_spot": 0.5, "f1_analysis": 0, "strs": 0}
    both = protocols.strs(
        metrics.Counts(*(np.array([x, 0]) for x in counts)),
        np.stack([confusion, 0 * confusion]),
        np.array([[0, 5, 4, 0], [1, 1, 1, 1]]),
    )
    assert np.allclose(both["strs"], [got["strs"], 0])


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@needs_real
def test_published_scores():
    """CASME II, 244 expressions: the scores that go with the published STRS code."""
    true = table(REAL / "results" / "casme2_strs_ground_truth.csv")
    found = table(REAL / "results" / "casme2_strs_predictions.csv")
    names = sorted({row["emotion"] for row in true + found})
    keys = sorted({(row["subject"], row["video"]) for row in true + found})

    def rows(rows, key):
        rows = [row for row in rows if (row["subject"], row["video"]) == key]
        return [(int(row["onset"]), int(row["offset"]) + 1, names.index(row["emotion"])) for row in rows]

    videos = [
        video([(a, b, 1, c, 1) for a, b, c in rows(found, key)], [(*row, 1) for row in rows(true, key)]) for key in keys
    ]
    first = [jax.tree.map(lambda x: x[0], one) for one in videos]
    detections, events = (matching.pad([one[i] for one in first]) for i in (0, 1))
    assert len(names) == 5 and detections.valid.sum() == events.valid.sum() == 244
    pairs = protocols.find("strs", detections, events)
    counts = protocols.counts("strs", pairs, detections, events)
    assert (counts.tp, counts.n - counts.tp, counts.gt - counts.tp) == (159, 85, 85)
    confusion = protocols.recognition(pairs, detections, events, 5)
    scores = protocols.strs(counts, confusion, np.bincount(events.emotion[events.valid], minlength=5))
    assert [f"{scores[name]:.5f}" for name in ("f1_spot", "f1_analysis", "strs")] == ["0.65164", "0.59271", "0.38623"]
    assert f"{metrics.macro_f1(confusion):.4f}" == "0.5766"  # not the .6755 that the paper prints as UF1
    # One expression and one prediction per video: the rules differ only where the IoU is exactly 0.5, in one video.
    assert [count(name, detections, events).tp for name in protocols.PROTOCOLS] == [159, 159, 159, 158, 159]


def test_doctests():
    assert doctest.testmod(protocols).failed == 0
