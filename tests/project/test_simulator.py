"""The simulator of benchmarks/simulated_actions.py: what is played is what is seen, noise is that of still parts."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import _simulator  # noqa: E402
import facial_actions  # noqa: E402
import simulated_actions  # noqa: E402

from data_prep.faces.landmarker import NAMES  # noqa: E402
from data_prep.synthetic import people  # noqa: E402
from fedn_jax.data.problem import make_problem  # noqa: E402
from fedn_jax.inference import actions  # noqa: E402

SILENT = np.zeros((1, _simulator.PART, len(NAMES)))
FRAMES = 600


def test_every_action_moves_blendshapes_that_exist():
    assert set(_simulator.MOVES) == set(people.ACTIONS)
    assert {shape for shapes in _simulator.MOVES.values() for shape in shapes} <= set(NAMES)


def test_the_same_arguments_play_the_same():
    one, same = (_simulator.simulate(3, 1, 60, SILENT) for _ in range(2))
    other = _simulator.simulate(4, 1, 60, SILENT)
    np.testing.assert_array_equal(one.odds, same.odds)
    assert one.odds.shape == (60, len(NAMES)) and (one.odds != other.odds).any()


@pytest.mark.parametrize("name", ["smile", "frown", "brow raise", "lip corners down"])
def test_onsets_and_offsets_are_where_the_evidence_leaves_rest(name, monkeypatch):
    """With nothing but the action, its evidence is at rest outside of what was played, and nowhere inside."""
    for constant, value in (("LEAK", 0.0), ("WANDER", 0.0), ("REST", -2.0), ("RESTS", 0.0)):
        monkeypatch.setattr(_simulator, constant, value)
    moves = {one: _simulator.MOVES[one] for one in facial_actions.DRAWN[name]}  # others would move its blendshapes, too
    monkeypatch.setattr(_simulator, "MOVES", moves)
    monkeypatch.setattr(facial_actions, "BEGUN", 1e-6)
    monkeypatch.setattr(facial_actions, "SHOWN", 0.0)
    column, seen = [one.name for one in actions.ACTIONS].index(name), 0
    for person in range(4):
        played = _simulator.simulate(0, person, FRAMES, SILENT)
        moved = np.abs(actions.evidence(played.odds, NAMES)[:, column] + 2) > 1e-9
        inside = np.zeros(FRAMES, bool)
        for onset, offset in facial_actions.played(played.actions, name):
            inside[onset:offset], seen = True, seen + 1
        np.testing.assert_array_equal(moved, inside)
    assert seen


def test_still_parts_have_the_noise_and_none_of_the_movement():
    rng = np.random.default_rng(0)
    odds = rng.normal(-2, 0.1, (FRAMES, len(NAMES)))
    odds += np.linspace(0, 3, FRAMES)[:, None]  # a slow drift is no noise
    odds[150:450] += 4 * np.sin(np.arange(300) / 2)[:, None]
    valid = np.ones(FRAMES, bool)
    valid[20:40], odds[20:40] = False, np.nan
    parts = _simulator.still_parts(odds, valid)
    assert parts.shape[1:] == (_simulator.PART, len(NAMES)) and 0.095 * 0.93 < parts.std() < 0.1
    np.testing.assert_allclose(parts.mean(1), 0, atol=1e-12)
    louder = _simulator.still_parts(odds + rng.normal(0, 0.2, odds.shape), valid)
    assert louder.std() > 2 * parts.std()


def test_noise_keeps_what_blendshapes_do_together():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 1, (40, _simulator.PART, 1)) * np.ones(len(NAMES))
    made = _simulator._noise(rng, common, 1000)
    assert made.shape == (1000, len(NAMES)) and np.ptp(made, 1).max() == 0 and made.std() == pytest.approx(1, abs=0.15)


def test_the_truth_by_hand():
    strengths = np.zeros((30, len(people.ACTIONS)), np.float32)
    smile = [people.INDEX["smile_l"], people.INDEX["smile_r"]]
    strengths[5:12, smile[0]] = 0.4  # one side: half as strong, 0.2
    strengths[20:25, smile] = 0.1  # too weak to count
    assert facial_actions.played(strengths, "smile") == [(5, 12)]


def test_a_stream_is_about_one_action():
    odds = np.full((FRAMES, len(NAMES)), -2.0)
    odds[100:140, [NAMES.index("mouthSmileLeft"), NAMES.index("mouthSmileRight")]] += 1
    valid = np.ones(FRAMES, bool)
    valid[120] = False
    shown = simulated_actions.streams(odds, valid, 30.0)
    assert shown.shape == (len(facial_actions.DRAWN), FRAMES, 2 + len(NAMES))
    smile = list(facial_actions.DRAWN).index("smile")
    assert (shown[smile, 100:120, 0] == 1).all() and shown[smile, 120].max() == 0 and shown[smile, :100].max() == 0
    assert shown[:, 100:120, 0].sum() == 20  # and no other action
    np.testing.assert_allclose(shown[smile, 100:120, 1], 1 / np.log(2), rtol=1e-3)  # of the least rise that counts


def test_the_network_is_tested_on_people_that_it_was_not_trained_on(monkeypatch):
    for name, value in (("PEOPLE", 3), ("HELD", 2), ("FRAMES", 300)):
        monkeypatch.setattr(simulated_actions, name, value)
    options, data = simulated_actions.config(1), simulated_actions.dataset(0, SILENT)
    problem = make_problem(options, data)
    fold = problem.folds.name.index(simulated_actions.TESTED)
    used = np.concatenate([problem.folds.positive[fold], problem.folds.negative[fold]])
    trained = {data.metas[video].subject for video in problem.windows.video[used[used >= 0]]}
    tested = {data.metas[video].subject for video in problem.folds.test[fold]}
    assert trained == {"trained/0", "trained/1", "trained/2"} and tested == {"held/3", "held/4"}
    assert sum(len(events.valid) for events in data.events) > 10
