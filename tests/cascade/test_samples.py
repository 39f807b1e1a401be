"""What a recogniser is shown: frames by hand, and, looked up in the data, nobody of a fold's own test subjects."""

import numpy as np
import pytest
from cascades import made_problem, spotter_of, toy_cascade

from fedn_jax.cascade import recognisers, samplers, samples
from fedn_jax.core.types import Store, VideoMeta


@pytest.mark.parametrize("length, first, last", [
    (1, [0, 0, 0], 0), (30, [0, 0, 0, 1, 1, 2], 29), (75, [0, 1, 2, 3], 74), (200, [0, 2, 5, 8, 10], 197),
])  # fmt: skip
def test_frames_are_spread_from_onset_to_offset(length, first, last):
    places = samplers.spread(np.ones(300, bool), np.array([[50, 50 + length]]))[0] - 50
    assert places[: len(first)].tolist() == first and places[-1] == last and (np.diff(places) >= 0).all()


def test_a_frame_without_a_face_is_replaced_by_its_nearest():
    valid = np.ones(10, bool)
    valid[[0, 1, 4]] = False
    assert samplers.spread(valid, np.array([[0, 5]]), 5).tolist() == [[2, 2, 2, 3, 3]]
    valid[:5] = False
    assert samplers.spread(valid, np.array([[0, 5]]), 5).tolist() == [[0, 1, 2, 3, 4]]  # there is no other


def test_whole_frames_lie_in_the_video():
    meta = VideoMeta("s", "v", 20, 30.0, 1, 0, 20)
    found = samples.whole_frames(np.array([[2.4, 7.5], [3.2, 3.3], [19.8, 20.0]], np.float32), meta)
    assert found.tolist() == [[2, 8], [3, 4], [19, 20]]


@pytest.mark.parametrize("name", ["ceflnet", "frozen-features"])
def test_a_fold_never_saw_its_subject(name, tmp_path, monkeypatch):
    """Embeddings are the number of their subject, and stay it: whose face a sample shows is read off the sample."""
    toy = toy_cascade(tmp_path)
    metas, store = toy.dataset.metas, toy.dataset.store
    number = {subject: index + 1 for index, subject in enumerate(sorted({meta.subject for meta in metas}))}
    inputs = np.concatenate([np.full((meta.num_rows, 8), number[meta.subject], np.float16) for meta in metas])
    dataset = toy.dataset._replace(store=Store(inputs, store.valid))
    if name == "frozen-features":  # a network would mix them; the fold that asks is written beside them
        folds = {subject: index for index, subject in enumerate(number)}

        def sampler(spotter, fold):
            own = samplers.embeddings(spotter, "")
            return lambda video, *of: own(video, *of)[:, 0] * [1, 0, *[0] * 6] + folds[fold] * np.eye(8)[1]

        changed = recognisers.RECOGNISERS[name]._replace(sampler=sampler)
        monkeypatch.setitem(recognisers.RECOGNISERS, name, changed)
    problem = made_problem(toy._replace(dataset=dataset), name)
    assert problem.folds.name == tuple(number)
    for k, subject in enumerate(problem.folds.name):
        rows = problem.windows.row[problem.folds.positive[k][problem.folds.positive[k] >= 0]]
        shown = problem.store.inputs[rows].reshape(len(rows), -1, 8)
        assert set(shown[:, :, 0].ravel()) == {value for who, value in number.items() if who != subject}
        tested = [problem.metas[video] for video in problem.folds.test[k]]
        spotted = np.concatenate([problem.store.inputs[meta.row : meta.row + meta.num_rows] for meta in tested])
        assert set(spotted.reshape(len(spotted), -1, 8)[:, :, 0].ravel()) == {number[subject]}
        if name == "frozen-features":
            assert (shown[:, :, 1] == k).all() and (spotted[:, 1] == k).all()
        expected = [
            c for video, one in enumerate(toy.named.events) if metas[video].subject != subject for c in one.emotion
        ]
        taught = problem.windows.events.emotion[problem.folds.positive[k][problem.folds.positive[k] >= 0], 0]
        assert taught.tolist() == expected


def test_flow_goes_from_the_onset_to_the_apex(tmp_path):
    """To the annotated one in training; in what was spotted to the frame that differs most from the onset."""
    toy, asked = toy_cascade(tmp_path), []
    inputs = np.zeros((len(toy.dataset.store.valid), 8), np.float16)
    meta, interval = toy.dataset.metas[1], toy.named.events[1].interval.astype(int)
    inputs[meta.row + interval[0, 0] + 2] = 1  # the frame that differs
    valid = toy.dataset.store.valid.copy()
    valid[meta.row + interval[1, 0]] = False  # the second expression has no face at its onset
    apex = interval[:, 0] + np.array([4, 4, 0])
    apex[2] = -1  # not annotated: estimated, which is the onset where nothing differs

    def flow(pairs):
        asked.extend(pairs.tolist())
        return np.zeros((len(pairs), 42, 42, 3), np.float16)

    dataset = toy.dataset._replace(store=Store(inputs, valid))
    sample = samplers.onset_to_apex(spotter_of(toy._replace(dataset=dataset), flow), "")
    sample(1, interval, apex)
    sample(1, interval, np.full(3, -1))
    a, b, c = (meta.row + interval[:, 0]).tolist()
    assert asked == [[a, a + 4], [b + 1, b + 4], [c, c], [a, a + 2], [b + 1, b + 1], [c, c]]


def test_expressions_without_a_face_teach_nothing_and_empty_videos_are_named(tmp_path):
    toy = toy_cascade(tmp_path)
    valid, interval = toy.dataset.store.valid.copy(), toy.named.events[0].interval[0].astype(int)
    valid[slice(*interval)] = False  # of the first video
    found = [one._replace(valid=one.valid & (video != 3)) for video, one in enumerate(toy.found)]
    store = toy.dataset.store._replace(valid=valid)
    toy = toy._replace(dataset=toy.dataset._replace(store=store), found=found)
    problem = made_problem(toy, "ceflnet")
    assert len(problem.windows.row) == sum(len(one.emotion) for one in toy.named.events) - 1
    assert [meta.num_rows for meta in problem.metas[:4]] == [3, 3, 3, 1]


def test_inputs_have_one_shape_however_much_was_spotted(tmp_path):
    """Or behind every spotter the same training would be compiled again."""
    toy = toy_cascade(tmp_path)
    fewer = [
        one._replace(valid=one.valid & (np.arange(len(one.valid)) < video % 3)) for video, one in enumerate(toy.found)
    ]
    all_of_it, some = (made_problem(toy._replace(found=found), "ceflnet") for found in (toy.found, fewer))
    assert some.store.inputs.shape == all_of_it.store.inputs.shape
    assert [meta.num_rows for meta in some.metas[:3]] == [1, 1, 2]
    shown = [[one.store.inputs[meta.row : meta.row + meta.num_rows] for meta in one.metas] for one in (all_of_it, some)]
    assert all(np.array_equal(whole[: len(part)], part) for whole, part in zip(*shown, strict=True) if len(part) > 1)
    rows = [one.store.inputs[one.windows.row] for one in (all_of_it, some)]
    np.testing.assert_array_equal(*rows)
