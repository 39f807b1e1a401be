import numpy as np
import pytest
from toys import tiny_config, toy_data

from fedn_jax.core import schema
from fedn_jax.data import problem, shards


def dataset(**changes):
    store, metas, events = toy_data(**changes)
    metadata = {"classes": ["a", "b"], "frames_per_row": 1, "signature": "x"}
    return shards.Dataset(store, metas, events, np.zeros((len(store.valid), 12, 2), np.float16), metadata)


def with_kinds(one, kinds):
    return one._replace(kind=np.array([schema.KINDS.index(kind) for kind in kinds], np.int32))


def test_select_by_kind_and_without_recognition():
    one = with_kinds(dataset().events[0], ["macro", "micro", "macro"])
    assert problem.select(one, "macro", "emotion").interval.tolist() == one.interval[[0, 2]].tolist()
    assert len(problem.select(one, "micro", "emotion").valid) == 1
    assert len(problem.select(one, "all", "emotion").valid) == 3
    assert not problem.select(one, "all", "none").emotion.any()


def test_expressions_of_another_kind_are_counted_and_said_to_be_left_out():
    loaded = dataset()
    loaded = loaded._replace(events=[with_kinds(loaded.events[0], ["macro", "micro", "macro"]), *loaded.events[1:]])
    config = tiny_config()
    config.data.kind = "macro"
    assert problem.make_problem(config, loaded).left_out == "1 micro-expression left out (data.kind=macro)"
    config.data.kind = "all"
    assert problem.make_problem(config, loaded).left_out == ""


def test_shuffling_keeps_lengths_and_emotions_but_not_places():
    loaded = dataset()
    for one, meta in zip(loaded.events, loaded.metas, strict=True):
        moved = problem.shuffle(one, meta, 0)
        assert moved.emotion.tolist() == one.emotion.tolist()
        assert (moved.interval[:, 1] <= meta.num_frames).all() and (moved.interval[:, 1] > moved.interval[:, 0]).all()
        assert not np.allclose(moved.interval[:, 0], one.interval[:, 0])
        again = problem.shuffle(one, meta, 0)
        np.testing.assert_array_equal(moved.interval, again.interval)


def test_shuffled_labels_reach_training_but_not_the_ground_truth():
    loaded, config = dataset(), tiny_config()
    plain = problem.make_problem(config, loaded)
    config.data.shuffle_labels = True
    control = problem.make_problem(config, loaded)
    np.testing.assert_array_equal(control.events[0].interval, plain.events[0].interval)
    assert not np.array_equal(control.windows.events.interval, plain.windows.events.interval)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("data.kind", "micro", "no expression of data.kind=micro; they hold macro"),
        ("data.standardize", "vidoe", "did you mean 'video'"),
        ("folds.scheme", "lsoo", "did you mean 'loso'"),
        ("task", "mine", "task must be one of fedn, fesnet"),
    ],
)
def test_what_cannot_be_done_is_said(key, value, message):
    config = tiny_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=message):
        problem.make_problem(config, dataset())
