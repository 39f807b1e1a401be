"""Standardised inputs."""

import numpy as np
import pytest

from fedn_jax.core.types import Store, VideoMeta
from fedn_jax.data import standardization

LENGTHS = {("anna", "x"): 60, ("ben", "x"): 80, ("anna", "y"): 40}


@pytest.fixture
def data():
    """Three videos of two subjects, who look and move differently; 20 frames of each without a face."""
    rng, metas, inputs, row = np.random.default_rng(0), [], [], 0
    for (subject, video), length in LENGTHS.items():
        rest, spread = (3, 1) if subject == "anna" else (-2, 5)
        inputs.append(rest + rng.normal(size=(length, 4)) * spread * [1, 2, 4, 0])
        metas.append(VideoMeta(subject, video, length, 30.0, 1, row, length))
        row += length
    valid = np.ones(row, bool)
    for meta in metas:
        valid[meta.row : meta.row + 20] = False
    return Store(np.concatenate(inputs).astype(np.float16), valid), metas


def rows_of(metas, *chosen):
    return np.concatenate([np.arange(metas[i].row + 20, metas[i].row + metas[i].num_rows) for i in chosen])


@pytest.mark.parametrize(("name", "units"), [("video", [[0], [1], [2]]), ("subject", [[0, 2], [1]])])
def test_each_unit_stands_by_itself(data, name, units):
    store, metas = data
    got = standardization.standardized(store, metas, name).inputs
    assert got.dtype == np.float16
    for unit in units:
        rows = rows_of(metas, *unit)
        part = got[rows].astype(np.float64)
        np.testing.assert_allclose(part.mean(0), 0, atol=2e-3)
        if name == "video":
            np.testing.assert_allclose(np.sqrt((part**2).mean()), 1, atol=1e-3)
        else:
            np.testing.assert_allclose(part[:, :3].std(0), 1, atol=1e-3)
        others = np.setdiff1d(np.arange(len(store.valid)), np.concatenate([rows, rows_of(metas, *unit) - 20]))
        other = store._replace(inputs=np.where(np.isin(np.arange(len(store.valid)), others)[:, None], 7, store.inputs))
        again = standardization.standardized(other, metas, name).inputs
        np.testing.assert_array_equal(again[rows], got[rows])


def test_a_feature_that_does_not_move_stays_small(data):
    store, metas = data
    noisy = store._replace(inputs=store.inputs + np.float16(0.004) * (np.arange(4) == 3) * (store.valid[:, None]))
    got = standardization.standardized(noisy, metas, "subject").inputs
    assert abs(got[store.valid][:, 3]).max() < 0.1
    still = Store(np.zeros((5, 2), np.float16), np.ones(5, bool))
    meta = [VideoMeta("s", "v", 5, 30.0, 1, 0, 5)]
    for name in ("video", "subject"):
        assert not standardization.standardized(still, meta, name).inputs.any()
    assert standardization.standardized(store, metas, "none") is store
