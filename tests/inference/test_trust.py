"""What is said of a run before it detects."""

import numpy as np
import pytest

from fedn_jax.core.types import Store, VideoMeta
from fedn_jax.data import likeness
from fedn_jax.engine import run_dir
from fedn_jax.inference import trust

ROWS, D = 50, 8


def faces(number, seed):
    """Videos of people who differ along two directions, which the seed draws."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(2, D))
    inputs = rng.normal(size=(number * ROWS, 2)) @ directions + 0.1 * rng.normal(size=(number * ROWS, D))
    metas = [VideoMeta(f"s{i}", "v", ROWS, 30.0, 1, i * ROWS, ROWS) for i in range(number)]
    return Store(inputs.astype(np.float16), np.ones(len(inputs), bool)), metas


@pytest.fixture
def run(tmp_path):
    run_dir.write_record(tmp_path / "run.json", {"metadata": {"dataset": "folder", "backbone": "blendshapes"}})
    return tmp_path


VALID = np.ones(ROWS, bool)


def test_faces_unlike_those_of_the_run_are_told_apart(run):
    store, metas = faces(8, 0)
    likeness.save(run_dir.likeness_path(run), likeness.learn(store, metas))
    run_dir.write_record(
        run / "metrics.json", {"spotting": {"tp": 6, "n": 8, "gt": 10, "precision": 0.75, "recall": 0.6}}
    )
    known = trust.make_judge(run, "blendshapes")(store.inputs[:ROWS], VALID)
    assert known.alike is True and "look like those" in known.text
    assert known.text.startswith(
        "Trained on own videos, features blendshapes. On its test videos it found 6 of 10 expressions (60.0 %), and 6 "
        "of its 8 detections were right (75.0 %). The faces"
    )
    other = trust.make_judge(run, "blendshapes")(faces(1, 1)[0].inputs, VALID)
    assert other.alike is False and "do not look like those" in other.text


def test_what_is_not_known_is_said(run):
    store, metas = faces(2, 0)
    for known in (None, likeness.learn(store, metas)):  # an older run, and one of two people
        if known:
            likeness.save(run_dir.likeness_path(run), known)
        verdict = trust.make_judge(run, "blendshapes")(store.inputs[:ROWS], VALID)
        assert verdict.alike is None and "is not known" in verdict.text and "was not measured" in verdict.text
    run_dir.write_record(run / "metrics.json", {"spotting": {"n": 0, "gt": 10, "precision": None, "recall": 0.0}})
    assert "it found none of 10 expressions" in trust.make_judge(run, "blendshapes")(store.inputs[:ROWS], VALID).text
