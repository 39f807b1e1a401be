"""Metrics: hand-made numbers, pycocotools and a brute-force evaluator as oracles, and properties."""

import contextlib
import doctest
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intervals import VIDEOS, C, E, N, detections, events, padded, random_case
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fedn_jax.evaluation import all_metrics, matching, metrics

# --- oracles ---


def coco_oracle(found, true, num_classes):
    """AP [10, num_classes] by pycocotools, NaN for classes without ground truth; one image per video."""
    boxes, results = [], []
    for v in range(len(found.valid)):
        for i in np.flatnonzero(true.valid[v]):
            onset, offset = true.interval[v, i].astype(float)
            box = {"bbox": [onset, 0.0, offset - onset, 1.0], "area": offset - onset, "iscrowd": 0}
            boxes.append({"id": len(boxes) + 1, "image_id": v, "category_id": int(true.emotion[v, i]), **box})
        for i in np.flatnonzero(found.valid[v]):
            onset, offset = found.interval[v, i].astype(float)
            result = {
                "image_id": v,
                "category_id": int(found.emotion[v, i]),
                "score": float(found.score[v, i]),
            }
            results.append(result | {"bbox": [onset, 0.0, offset - onset, 1.0]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": v} for v in range(len(found.valid))],
            "annotations": boxes,
            "categories": [{"id": c} for c in range(num_classes)],
        }
        coco.createIndex()
        if results:
            answers = coco.loadRes(results)
        else:
            answers = COCO()
            answers.dataset = coco.dataset | {"annotations": []}
            answers.createIndex()
        judge = COCOeval(coco, answers, "bbox")
        judge.params.maxDets = [1000]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    values = judge.eval["precision"][..., 0, 0]  # [10, 101, C]
    return np.where((values < 0).all(1), np.nan, values.mean(1))


def tiou(a, b):
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union > 0 else 0.0


def brute_force_matches(found, true, threshold, allowed):
    """(video, detection) -> ground truth, in plain loops."""
    ranked = [(-found.score[v, i], v, i) for v, i in zip(*np.nonzero(found.valid), strict=True)]
    taken, result = set(), {}
    for _, v, i in sorted(ranked):
        best, partner = threshold, None
        for j in np.flatnonzero(true.valid[v]):
            overlap = tiou(found.interval[v, i].astype(float), true.interval[v, j].astype(float))
            if (v, j) not in taken and allowed(v, i, j) and overlap >= best:
                best, partner = overlap, j
        result[v, i] = partner
        if partner is not None:
            taken.add((v, partner))
    return result


def brute_force_all_point(found, true, threshold, emotion):
    """Area under the precision envelope by plain loops; emotion None: spotting."""
    found = found if emotion is None else found._replace(valid=found.valid & (found.emotion == emotion))
    true = true if emotion is None else true._replace(valid=true.valid & (true.emotion == emotion))
    total = int(true.valid.sum())
    if not total:
        return np.nan
    matches = brute_force_matches(found, true, threshold, lambda *_: True)
    ranked = sorted((-found.score[v, i], v, i) for v, i in matches)
    points, hits = [], 0
    for rank, (_, v, i) in enumerate(ranked, 1):
        hits += matches[v, i] is not None
        points.append((hits / total, hits / rank))
    area = 0.0
    for k in range(1, hits + 1):
        area += max(p for r, p in points if r >= k / total - 1e-12) / total
    return area


# --- matching ---


def test_match_is_greedy_by_score_and_one_to_one():
    det = np.array([[0, 10], [1, 10], [20, 31], [19, 30], [50, 60.0]])
    truth = np.array([[0, 10], [20, 30], [70, 80.0]])
    score = np.array([0.5, 0.9, 0.7, 0.7, 0.99])
    got = matching.match(det, score, np.ones(5, bool), truth, np.ones(3, bool), 0.5)
    assert got.tolist() == [-1, 0, 1, -1, -1]  # equal scores: the lower index goes first
    got = matching.match(det, score, np.array([1, 0, 0, 1, 1], bool), truth, np.array([1, 1, 0], bool), 0.5)
    assert got.tolist() == [0, -1, -1, 1, -1]


def test_match_at_the_threshold_and_ties():
    truth = np.array([[0, 10], [0, 10], [100, 110.0]])
    det = np.array([[0, 10], [0, 10], [0, 10], [100, 105.0]])
    got = matching.match(det, np.full(4, 0.5), np.ones(4, bool), truth, np.ones(3, bool), 0.5)
    assert got.tolist() == [1, 0, -1, 2]  # the later of equal expressions first; IoU 0.5 is a match
    got = matching.match(det, np.full(4, 0.5), np.ones(4, bool), truth, np.ones(3, bool), 0.51)
    assert got.tolist() == [1, 0, -1, -1]


def test_match_of_nothing():
    empty, one = np.zeros((0, 2)), np.array([[0.0, 1.0]])
    assert matching.match(empty, np.zeros(0), np.zeros(0, bool), one, np.ones(1, bool), 0.5).shape == (0,)
    assert matching.match(one, np.ones(1), np.ones(1, bool), empty, np.zeros(0, bool), 0.5).tolist() == [-1]
    zero = np.array([[5.0, 5.0]])
    assert matching.match(zero, np.ones(1), np.ones(1, bool), zero, np.ones(1, bool), 0.5).tolist() == [-1]


def test_match_wrong_shapes():
    with pytest.raises(ValueError, match=r"det_interval must have shape \[3, 2\]; got \[2, 2\]"):
        matching.match(np.zeros((2, 2)), np.zeros(3), np.zeros(3, bool), np.zeros((1, 2)), np.zeros(1, bool), 0.5)


def test_match_plain_jit_vmap_and_brute_force_agree():
    rng = np.random.default_rng(0)
    jitted, mapped = jax.jit(matching.match), jax.jit(jax.vmap(matching.match, (0, 0, 0, 0, 0, None)))
    for _ in range(20):
        found, true = random_case(rng)
        arguments = found.interval, found.score, found.valid, true.interval, true.valid
        batch = np.asarray(mapped(*arguments, 0.5))
        expected = brute_force_matches(found, true, 0.5, lambda *_: True)
        for v in range(VIDEOS):
            for i in range(N):
                partner = expected.get((v, i))
                assert batch[v, i] == (-1 if partner is None else partner)
            one = [x[v] for x in arguments]
            assert np.array_equal(jitted(*one, 0.5), batch[v])
        assert np.array_equal(matching.match(*[x[0] for x in arguments], 0.5), batch[0])
        assert np.array_equal(matching.matched(found, true), batch)


def test_match_with_emotions_is_the_matching_of_each_emotion():
    rng = np.random.default_rng(1)
    for _ in range(10):
        found, true = random_case(rng)
        joint = np.asarray(jax.jit(matching.match_all, static_argnums=3)(found, true, 0.5, True))
        for c in range(C):
            own = matching.matched(
                found._replace(valid=found.valid & (found.emotion == c)),
                true._replace(valid=true.valid & (true.emotion == c)),
            )
            assert np.array_equal(own[found.emotion == c], joint[found.emotion == c])


# --- counts ---


def test_f1_of_the_papers_table_4():
    counts = metrics.Counts(np.array([129, 119, 115, 118]), np.array([205, 195, 195, 188]), np.full(4, 300))
    assert np.allclose(metrics.f1(counts), [0.5109, 0.4808, 0.4646, 0.4836], atol=5e-5)


def test_undefined_ratios_are_zero():
    for counts in (
        metrics.Counts(0, 0, 0),
        metrics.Counts(*np.zeros((3, 2), int)),
        metrics.Counts(*jnp.zeros((3, 2), int)),
    ):
        for number in (metrics.precision, metrics.recall, metrics.f1):
            assert not np.any(number(counts))
    none = np.zeros((2, C, C), int)
    assert not metrics.accuracy(none).any() and not metrics.macro_f1(none).any()


def test_recognition_by_hand():
    confusion = np.array([[3, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert np.isclose(metrics.accuracy(confusion), 4 / 6)
    assert np.isclose(metrics.macro_f1(confusion), (6 / 8 + 2 / 4) / 2)  # the third emotion never occurs
    assert np.isclose(jax.jit(metrics.macro_f1)(confusion), metrics.macro_f1(confusion))
    both = np.stack([confusion, confusion.T])
    assert np.allclose(jax.vmap(metrics.accuracy)(both), metrics.accuracy(both))


HAND = (
    [[(0, 10, 0.9, 0), (21, 30, 0.8, 1), (50, 60, 0.7, 0)], [], [(0, 9, 0.6, 2), (40, 50, 0.2, 0)]],
    [[(0, 10, 0), (20, 30, 0)], [(5, 25, 1)], [(0, 10, 2)]],
)


def test_spotting_and_recognition_by_hand():
    found, true = padded(*HAND)
    assert found.valid.shape == (4, 4) and true.valid.shape == (4, 2)
    assert metrics.spotting(found, true) == (3, 5, 4)
    kept = matching.above(found, np.array([0.75, 0.5, 0.1]))
    assert metrics.spotting(kept, true) == (3, 4, 4)
    grouped = metrics.spotting(kept, true, group=np.array([1, 0, 0, 0]), num_groups=2)
    assert np.array_equal(grouped, [[1, 2], [2, 2], [2, 2]])
    confusion = metrics.recognition(kept, true, 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    by_video = metrics.recognition(kept, true, 3, group=np.arange(4), num_groups=4)
    assert np.array_equal(by_video.sum(0), confusion) and by_video[0].sum() == 2


def test_above_keeps_the_threshold_itself():
    found, _ = padded([[(0, 1, 0.3, 0), (0, 1, 0.2, 0)]], [[]])
    assert matching.above(found, float(found.score[0, 0])).valid.tolist() == [[True, False]]


def test_above_compares_in_the_precision_of_the_scores():
    """0.7 is above float32(0.7): all that thresholds must agree, one video or many."""
    score = np.array([0.7, np.nextafter(np.float32(0.7), np.float32(0))], np.float32)
    assert float(score[0]) < 0.7
    one = detections([(0, 1, 0.5, 0), (2, 3, 0.5, 0)])._replace(score=score)
    for threshold in (0.7, np.float64(0.7), np.float32(0.7)):
        assert matching.above(one, threshold).valid.tolist() == [True, False]
        padded = matching.above(matching.pad([one, one]), np.array([threshold, 2]))
        assert padded.valid.tolist() == [[True, False], [False, False]]


def test_pad_rounds_up_and_keeps_everything():
    videos = [detections([(0, 1, 0.5, 1)] * n) for n in (5, 0, 1)]
    out = matching.pad(videos)
    assert out.interval.shape == (4, 8, 2) and out.valid.sum(1).tolist() == [5, 0, 1, 0]
    assert matching.pad([events([])]).apex.tolist() == [[-1]]
    with pytest.raises(ValueError, match="at least one video"):
        matching.pad([])


# --- average precision ---


def test_average_precision_by_hand():
    tp, score = np.array([1, 0, 1, 0], bool), np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    valid = np.ones(4, bool)
    # Precision 1 up to recall 1/2, 2/3 up to 1: COCO reads 51 recalls at 1 and 50 at 2/3.
    assert np.isclose(metrics.average_precision(tp, score, valid, 2, "coco"), (51 + 50 * 2 / 3) / 101)
    assert np.isclose(metrics.average_precision(tp, score, valid, 2, "all_point"), 1 / 2 + 1 / 3)
    for definition in metrics.AP_DEFINITIONS:
        assert np.isnan(metrics.average_precision(tp, score, valid, 0, definition))
        assert metrics.average_precision(tp, score, ~valid, 2, definition) == 0
        plain = metrics.average_precision(tp, score, valid, 3, definition)
        jitted = jax.jit(lambda *x, name=definition: metrics.average_precision(*x, name))
        assert np.isclose(jitted(tp, score, valid, 3), plain)
        batch = jax.vmap(jitted, (0, None, None, None))(np.stack([tp, tp]), score, valid, 3)
        assert np.allclose(batch, plain)
    with pytest.raises(ValueError, match="definition must be one of coco, all_point; got 'voc'"):
        metrics.average_precision(tp, score, valid, 2, "voc")


def test_padding_inside_the_ranking_changes_nothing():
    tp, score = np.array([1, 0, 1], bool), np.array([0.9, 0.8, 0.7])
    gaps = np.insert(tp, [0, 1, 3], True), np.insert(score, [0, 1, 3], [0.99, 0.85, 0.0])
    valid = np.insert(np.ones(3, bool), [0, 1, 3], False)
    for definition in metrics.AP_DEFINITIONS:
        expected = metrics.average_precision(tp, score, np.ones(3, bool), 4, definition)
        assert np.isclose(metrics.average_precision(*gaps, valid, 4, definition), expected)


def test_map_equals_pycocotools_and_brute_force():
    rng = np.random.default_rng(3)
    worst = 0.0
    for case in range(500):
        found, true = random_case(rng)
        got = metrics.mean_average_precision(found, true, C)
        per_class = np.array([list(row["ap"].values()) for row in got["coco"]["per_class"]]).T
        expected = coco_oracle(found, true, C)
        assert np.array_equal(np.isnan(per_class), np.isnan(expected))
        worst = max(worst, np.nanmax(abs(per_class - expected), initial=0))
        anything = found._replace(emotion=0 * found.emotion), true._replace(emotion=0 * true.emotion)
        spotting = np.array([row["spotting"] for row in got["coco"]["ap"].values()])
        worst = max(worst, np.nanmax(abs(spotting - coco_oracle(*anything, 1)[:, 0]), initial=0))
        if np.isfinite(expected).any():
            assert np.isclose(got["coco"]["detection"], np.nanmean(expected), atol=1e-6)
        if case % 5 == 0:
            for k, row in list(enumerate(got["all_point"]["ap"].values()))[::3]:
                threshold = metrics.IOU_THRESHOLDS[k]
                assert np.isclose(row["spotting"], brute_force_all_point(found, true, threshold, None), equal_nan=True)
                each = [brute_force_all_point(found, true, threshold, c) for c in range(C)]
                if not np.isnan(each).all():
                    assert np.isclose(row["detection"], np.nanmean(each))
    assert worst < 1e-6


def test_a_thousand_cases_in_one_program_equal_pycocotools_and_brute_force():
    rng = np.random.default_rng(5)
    cases = [random_case(rng, ties=case % 2 == 0) for case in range(1000)]
    with jax.enable_x64(True):
        mapped = jax.vmap(lambda *case: metrics.average_precisions(*case, np.array(metrics.IOU_THRESHOLDS), C))
        curves = mapped(*matching.exact(jax.tree.map(lambda *x: np.stack(x), *cases)))
        curves = {name: np.asarray(curve) for name, curve in curves.items()}  # [1000, 10, 1 + C]
    for case, (found, true) in enumerate(cases):
        # For pycocotools spotting is one class more: everything once again, with emotion C.
        twice = [jax.tree.map(lambda x: np.concatenate([x, x], 1), group) for group in (found, true)]
        for group in twice:
            group.emotion[:, group.emotion.shape[1] // 2 :] = C
        expected = np.roll(coco_oracle(*twice, C + 1), 1, axis=1)
        assert np.allclose(curves["coco"][case], expected, rtol=0, atol=1e-6, equal_nan=True)
        k = case % 10
        slow = [brute_force_all_point(found, true, metrics.IOU_THRESHOLDS[k], c) for c in (None, *range(C))]
        assert np.allclose(curves["all_point"][case, k], slow, rtol=0, atol=1e-6, equal_nan=True)


def test_many_near_each_other_and_thresholds_in_any_order():
    rng = np.random.default_rng(6)
    thresholds = np.array([0.9, 0.0, 0.5, 0.3])
    for _ in range(20):
        found, true = random_case(rng)
        found = found._replace(interval=found.interval // 4, score=found.score - 0.5)  # negative scores and zeros too
        true = true._replace(interval=true.interval // 4)
        with jax.enable_x64(True):
            curves = metrics.average_precisions(*matching.exact((found, true)), thresholds, C)["all_point"]
        for threshold, curve in zip(thresholds, curves, strict=True):
            slow = [brute_force_all_point(found, true, threshold, c) for c in (None, *range(C))]
            assert np.allclose(curve, slow, equal_nan=True)


@pytest.mark.parametrize("wide", [False, True])
def test_ranking_of_floats_is_that_of_numpy(wide):
    rng = np.random.default_rng(7)
    smallest = 1e-40 if wide else 1e-30  # XLA takes denormal numbers for zero, but not as integers
    score = rng.integers(-3, 4, 200).astype(np.float32) * rng.choice(np.float32([0.1, 1, -1, smallest, 1e30]), 200)
    with jax.enable_x64(wide):
        got = jax.jit(matching.ranking)(score)
    assert got.dtype == jnp.int32 and np.array_equal(got, np.argsort(-score, kind="stable"))


def test_average_precisions_inside_training_and_without_anything():
    found, true = random_case(np.random.default_rng(8))

    def loss(scale):
        moved = found._replace(interval=found.interval * scale, score=found.score * scale)
        curves = metrics.average_precisions(moved, true, np.array([0.5]), C)
        return scale**2 + jnp.nansum(curves["coco"]), curves

    assert jax.jit(jax.grad(loss, has_aux=True))(1.0)[0] == 2
    for n, e in ((0, E), (N, 0), (0, 0)):
        few = jax.tree.map(lambda x: x[:, :n], found), jax.tree.map(lambda x: x[:, :e], true)  # noqa: B023
        spotted = metrics.average_precisions(*few, np.array([0.5]), C)["coco"][0, 0]
        assert spotted == 0 if e else np.isnan(spotted)
        assert matching.matched(*few).shape == (VIDEOS, n)


def test_map_core_in_float32_and_under_jit():
    rng = np.random.default_rng(4)
    for _ in range(20):
        found, true = random_case(rng, ties=False)
        rough = metrics.average_precisions(found, true, np.array(metrics.IOU_THRESHOLDS, np.float32), C)
        exact = metrics.mean_average_precision(found, true, C)
        assert rough["coco"].dtype == jnp.float32
        curve = np.array([row["spotting"] for row in exact["all_point"]["ap"].values()])
        assert np.allclose(np.asarray(rough["all_point"])[:, 0], curve, atol=1e-5, equal_nan=True)
        curve = np.array([row["spotting"] for row in exact["coco"]["ap"].values()])
        assert np.allclose(np.asarray(rough["coco"])[:, 0], curve, atol=1e-5, equal_nan=True)


def test_nothing_to_find_is_nan_not_zero():
    found, true = padded([[(0, 10, 0.9, 0)]], [[]])
    got = metrics.mean_average_precision(found, true, 2)
    assert np.isnan(got["coco"]["spotting"]) and np.isnan(got["all_point"]["detection"])
    found, true = padded([[(0, 10, 0.9, 0), (20, 30, 0.8, 1)]], [[(0, 10, 0)]])
    got = metrics.mean_average_precision(found, true, 2)["coco"]
    assert np.isclose(got["detection"], 1) and np.isnan(got["per_class"][1]["map"])  # class 1 is left out


def test_bad_input_is_refused():
    found, true = padded([[(0, 10, 0.9, 2)]], [[(0, 10, 0)]])
    with pytest.raises(ValueError, match=r"detections.emotion must be in 0..1; got 2..2"):
        metrics.mean_average_precision(found, true, 2)
    with pytest.raises(ValueError, match="finite"):
        metrics.mean_average_precision(found._replace(score=np.array([[np.nan]], np.float32)), true, 3)
    with pytest.raises(ValueError, match=r"ground_truth.valid must have shape \[1, any\]"):
        metrics.mean_average_precision(found, matching.pad([events([])] * 2), 3)


# --- properties ---

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_false_positive_of_lowest_score_never_helps(seed):
    found, true = random_case(np.random.default_rng(seed))
    found = found._replace(valid=found.valid & (np.arange(N) < N - 1))
    worse = jax.tree.map(np.copy, found)
    worse.interval[0, -1], worse.score[0, -1], worse.valid[0, -1] = [1000, 1010], 0.01, True
    assert metrics.f1(metrics.spotting(worse, true)) <= metrics.f1(metrics.spotting(found, true))
    before, after = (metrics.mean_average_precision(x, true, C) for x in (found, worse))
    for definition in metrics.AP_DEFINITIONS:
        assert np.isclose(after[definition]["spotting"], before[definition]["spotting"], equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([0.5, 4.0]))
def test_order_of_videos_and_unit_of_time_do_not_matter(seed, scale):
    rng = np.random.default_rng(seed)
    found, true = random_case(rng, ties=False)
    order = rng.permutation(VIDEOS)
    other = jax.tree.map(lambda x: x[order], (found, true))
    other = tuple(group._replace(interval=group.interval * scale) for group in other)
    assert metrics.spotting(*other) == metrics.spotting(found, true)
    assert np.array_equal(metrics.recognition(*other, C), metrics.recognition(found, true, C))
    a, b = metrics.mean_average_precision(*other, C), metrics.mean_average_precision(found, true, C)
    assert np.allclose(jax.tree.leaves(a), jax.tree.leaves(b), atol=1e-12, equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_bounds(seed):
    found, true = random_case(np.random.default_rng(seed))
    counts = metrics.spotting(found, true)
    assert 0 <= counts.tp <= min(counts.n, counts.gt)
    low, high = sorted((metrics.precision(counts), metrics.recall(counts)))
    assert low - 1e-12 <= metrics.f1(counts) <= high + 1e-12
    assert metrics.recognition(found, true, C).sum() == counts.tp
    for result in metrics.mean_average_precision(found, true, C).values():
        curve = np.array([row["spotting"] for row in result["ap"].values()])
        assert np.isnan(curve).all() or ((curve >= 0) & (curve <= 1 + 1e-12)).all()


# --- everything ---


def test_evaluate_by_hand():
    found, true = padded(*HAND)
    result = all_metrics.evaluate_detections(
        found, true, ["s1", "s1", "s2"], ["happy", "sad", "angry"], np.array([0.75, 0.5, 0.1])
    )
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["spotting"] == {"tp": 3, "n": 4, "gt": 4, "precision": 0.75, "recall": 0.75, "f1": 0.75}
    assert result["recognition"]["accuracy"] == 2 / 3
    assert result["recognition"]["confusion"] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert [row["subject"] for row in result["per_subject"]] == ["s1", "s2"]
    assert result["per_subject"][0]["tp"] == 2 and result["per_subject"][0]["gt"] == 3
    assert result["per_subject"][1]["accuracy"] == 1
    happy, sad, _ = result["per_class"]
    assert (happy["gt"], happy["tp"], happy["correct"], happy["recall"]) == (2, 2, 1, 1.0)
    assert (sad["gt"], sad["tp"], sad["ap50"]) == (1, 0, 0.0)
    assert result["oracle"]["threshold"] == pytest.approx(0.4) and result["oracle"]["spotting"]["f1"] == 0.75
    direct = metrics.mean_average_precision(found, true, 3)
    assert result["map"] == direct
    assert "IoU >= 0.5" in result["definition"]["tp"]


def test_evaluate_says_none_where_there_is_no_number():
    found, true = padded([[(0, 10, 0.9, 0)]], [[]])
    result = all_metrics.evaluate_detections(found, true, ["s1"], ["happy"], 0.5)
    assert result["map"]["coco"]["spotting"] is None and result["per_class"][0]["ap50"] is None
    assert result["spotting"]["f1"] == 0 and json.dumps(result, allow_nan=False)


def test_doctests():
    assert doctest.testmod(metrics).failed == 0
