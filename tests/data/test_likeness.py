"""Whether faces look like those of a data set."""

import numpy as np
import pytest

from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Store, VideoMeta
from fedn_jax.data import likeness

D, ROWS = 16, 60


def people(number, seed=0, directions=None):
    """Videos, one per person: everybody differs along a few directions only, and moves along them."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(3, D)) if directions is None else directions
    videos = [(rng.normal(size=3) + rng.normal(size=(ROWS, 3))) @ directions for _ in range(number)]
    inputs = np.concatenate(videos) + 0.1 * rng.normal(size=(number * ROWS, D))
    metas = [VideoMeta(f"s{i}", "v", ROWS, 30.0, 1, i * ROWS, ROWS) for i in range(number)]
    return Store(inputs.astype(np.float16), np.ones(len(inputs), bool)), metas


DIRECTIONS = np.random.default_rng(9).normal(size=(3, D))


@pytest.fixture(scope="module")
def known():
    return likeness.learn(*people(12, 1, DIRECTIONS))


def test_people_of_the_same_kind_are_near_and_others_far(known):
    bound = likeness.limit(known)
    alike, _ = people(8, 2, DIRECTIONS)
    others, _ = people(8, 3)
    distances = [[likeness.distance(known, store.inputs[i * ROWS : (i + 1) * ROWS], np.ones(ROWS, bool))
                  for i in range(8)] for store in (alike, others)]  # fmt: skip
    assert max(distances[0]) < bound < min(distances[1])
    assert len(known.own) == 12 and np.median(known.own) == pytest.approx(1, abs=0.3)


def test_of_its_own_frames_the_distance_is_one():
    store, metas = people(3)
    found = likeness.learn(store, metas)
    assert likeness.distance(found, store.inputs, store.valid) == pytest.approx(1, abs=0.1)
    assert likeness.limit(found) is None  # three people say nothing of a fourth


def test_rows_without_a_face_are_not_looked_at(known):
    store, metas = people(12, 1, DIRECTIONS)
    blind = store.valid.copy()
    blind[:ROWS] = False
    inputs = np.where(blind[:, None], store.inputs, np.float16(np.nan))
    found = likeness.learn(Store(inputs, blind), metas)
    assert np.isfinite(found.mean).all() and len(found.own) == 11
    assert likeness.distance(found, inputs[:ROWS], blind[:ROWS]) is None
    assert likeness.learn(Store(inputs[:ROWS], blind[:ROWS]), metas[:1]) is None
    assert likeness.distance(known, inputs[:ROWS, 1:], ~blind[:ROWS]) is None  # other features
    assert likeness.learn(Store(np.zeros((2, 4, 4, 3), np.uint8), np.ones(2, bool)), metas[:1]) is None


def test_what_is_read_is_what_was_written(known, tmp_path):
    path = tmp_path / "likeness.npz"
    likeness.save(path, known)
    assert all(np.array_equal(a, b) for a, b in zip(likeness.load(path), known, strict=True))
    likeness.save(path, known._replace(scale=known.scale[:3]))
    with pytest.raises(UserError, match="do not fit one another"):
        likeness.load(path)
    path.write_bytes(b"no")
    with pytest.raises(UserError, match="likeness.npz"):
        likeness.load(path)
