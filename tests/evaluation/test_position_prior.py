"""The position prior on hand-made annotations."""

import numpy as np
import pytest

from fedn_jax.core.types import Events
from fedn_jax.evaluation import position_prior


def events(*rows):
    interval = np.array([row[:2] for row in rows], np.float32).reshape(-1, 2)
    emotion = np.array([row[2] for row in rows], np.int32)
    return Events(interval, interval[:, 0], emotion, np.zeros(len(rows), np.int32), np.ones(len(rows), bool))


def test_one_expression_per_video_gives_the_median_place():
    annotated = [events((20, 40, 0)), events((30, 60, 0)), events((160, 180, 0))]
    assert position_prior.positions([100, 100, 200], annotated).tolist() == [[0.3, 0.6]]


def test_several_expressions_give_a_place_each():
    annotated = [events((10, 20, 0), (70, 90, 1)), events((14, 24, 0), (80, 90, 0))]
    assert np.allclose(position_prior.positions([100, 100], annotated), [[0.12, 0.22], [0.75, 0.9]])
    assert len(position_prior.positions([100] * 5, annotated + [events()] * 3)) == 1  # fewer than one a video
    assert position_prior.positions([100, 100], [events(), events()]).shape == (0, 2)


def test_a_fold_sees_its_training_videos_only():
    truth = [events((20, 40, 0)), events((40, 60, 1)), events((50, 70, 1)), events((1, 2, 0))]
    found = position_prior.run([100, 100, 200, 100], truth, [(0, 1)], [(2,)], 2)
    assert found[2].interval.tolist() == [[60, 100]] and found[2].emotion.tolist() == [0]
    assert all(len(found[video].score) == 0 for video in (0, 1, 3))
    truth[2] = events((0, 5, 1))
    assert np.array_equal(position_prior.run([100, 100, 200, 100], truth, [(0, 1)], [(2,)], 2)[2].interval, [[60, 100]])
    assert not len(position_prior.run([9, 9], [events()] * 2, [(0,)], [(1,)], 2)[1].score)
    with pytest.raises(ValueError, match=r"got videos \[1\]"):
        position_prior.run([100] * 4, truth, [(0, 1)], [(1, 2)], 2)
