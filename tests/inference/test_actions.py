"""Facial actions: rises of known shape are found where they are, noise and gaps are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.faces.landmarker import NAMES
from fedn_jax.inference import actions

FPS = 30.0
SMILE, CLOSED = 0, 8
SIDES = [NAMES.index("mouthSmileLeft"), NAMES.index("mouthSmileRight")]
EYES = [NAMES.index("eyeBlinkLeft"), NAMES.index("eyeBlinkRight")]


def coefficients(odds, columns=SIDES):
    """Log-odds of -2 everywhere, but for some columns, of which they are given [T]."""
    shapes = np.full((len(odds), len(NAMES)), -2.0)
    shapes[:, columns] = np.asarray(odds, float)[:, None]
    return shapes.astype(np.float16)


def spot(shapes, valid=None, **more):
    valid = np.ones(len(shapes), bool) if valid is None else valid
    return actions.spot(shapes, valid, NAMES, FPS, **more)


def step(total, start, stop, rise, rest=-2.0):
    odds = np.full(total, float(rest))
    odds[start:stop] += rise
    return odds


def test_the_table_names_blendshapes_and_units_once():
    names = [name for one in actions.ACTIONS for group in one.shapes for name in group]
    assert set(names) <= set(NAMES) and len(set(names)) == len(names)
    assert [one.label for one in actions.ACTIONS][:2] == ["smile (AU12)", "brow raise (AU1+2)"]
    emotions = {
        "happiness",
        "happy",
        "sadness",
        "anger",
        "fear",
        "disgust",
        "surprise",
        "contempt",
        "positive",
        "negative",
    }
    assert not emotions & {word for one in actions.ACTIONS for word in one.label.lower().split()}


def test_a_step_by_hand():
    """Rises by 2 for frames 100 to 139; the mean over three frames reaches one frame further on both sides."""
    found = spot(coefficients(step(300, 100, 140, 2.0)))
    np.testing.assert_array_equal(found.detections.interval, [[99, 141]])
    assert found.detections.emotion.tolist() == [SMILE] and 100 <= found.apex[0] < 140
    # twice and 2 / log 2 / 2 times the least rise, log 2: 1 - 2 ** -(2 / log 2)
    assert found.detections.score[0] == pytest.approx(1 - 2 ** -(2 / np.log(2)), abs=0.01)
    assert (
        found.curves.shape == (len(actions.ACTIONS), 300) and found.curves[SMILE, 120] > 0.8 > found.curves[SMILE, 90]
    )
    assert found.curves[1:].max() == 0


@pytest.mark.parametrize(("rise", "number"), [(0.6, 0), (0.8, 1)])  # log 2 is 0.69
def test_the_odds_must_double(rise, number):
    assert len(spot(coefficients(step(300, 100, 140, rise))).apex) == number


@pytest.mark.parametrize("rest", [-3.5, -1.0, 1.0])
def test_people_differ_in_their_rest(rest):
    np.testing.assert_array_equal(spot(coefficients(step(300, 100, 140, 2.0, rest))).detections.interval, [[99, 141]])


def test_what_cannot_be_seen_is_no_action():
    assert len(spot(coefficients(step(300, 100, 140, 2.0, rest=-9.0))).apex) == 0  # from 0.0001 to 0.0009


def test_a_blink_is_no_closure():
    odds = step(400, 100, 110, 4.0) + step(400, 200, 230, 4.0, rest=0.0)
    found = spot(coefficients(odds, EYES))
    assert found.detections.emotion.tolist() == [CLOSED]
    np.testing.assert_array_equal(found.detections.interval, [[199, 231]])


def test_frames_without_a_face_are_never_inside():
    valid = np.ones(300, bool)
    valid[[115, 116, 200]] = False
    shapes = coefficients(step(300, 100, 140, 2.0))
    shapes[~valid] = 0
    found = spot(shapes, valid)
    np.testing.assert_array_equal(found.detections.interval, [[99, 115], [117, 141]])
    assert found.curves[:, ~valid].max() == 0


def test_touching_rises_are_one():
    odds = step(300, 100, 120, 2.0) + step(300, 120, 125, 0.5, 0) + step(300, 125, 150, 3.0, 0)
    found = spot(coefficients(odds))
    np.testing.assert_array_equal(found.detections.interval, [[99, 151]])
    assert 125 <= found.apex[0] < 150


def test_a_higher_threshold_keeps_the_strong():
    odds = step(600, 100, 140, 1.0) + step(600, 300, 340, 3.0, 0)
    assert len(spot(coefficients(odds)).apex) == 2
    np.testing.assert_array_equal(spot(coefficients(odds), threshold=0.9).detections.interval, [[299, 341]])


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_noise_alone_is_nothing(noise):
    odds = np.random.default_rng(0).normal(-1, noise, 30 * 120)
    assert len(spot(coefficients(odds)).apex) == 0


def test_slow_drift_is_nothing():
    odds = -1 + 0.5 * np.sin(2 * np.pi * np.arange(30 * 240) / FPS / 120)  # a period of two minutes
    assert len(spot(coefficients(odds)).apex) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.integers(0, 2**31), st.floats(1, 120))
def test_any_input_gives_intervals_inside_the_valid_frames(total, seed, fps):
    rng = np.random.default_rng(seed)
    shapes, valid = rng.normal(0, 3, (total, len(NAMES))).astype(np.float16), rng.random(total) < 0.9
    valid[rng.integers(total)] = True
    found = actions.spot(shapes, valid, NAMES, fps)
    assert found.curves.shape == (len(actions.ACTIONS), total)
    assert np.isfinite(found.curves).all() and (found.curves >= 0).all() and (found.curves < 1).all()
    for (onset, offset), apex, score in zip(
        found.detections.interval.astype(int), found.apex, found.detections.score, strict=True
    ):
        assert 0 <= onset <= apex < offset <= total and valid[onset:offset].all() and 0.5 <= score < 1
