import csv

import jax
import numpy as np
import pytest
from toys import tiny_config, toy_data

from fedn_jax import models
from fedn_jax.core.types import Detections, VideoMeta
from fedn_jax.engine import predict
from fedn_jax.ops import nms, windows


@pytest.fixture(scope="module", params=["video", "window"])
def setting(request):
    store, metas, _ = toy_data(subjects=1, videos=2, frames=150)
    metas.append(VideoMeta("s1", "short", 9, 30.0, 1, 291, 9))  # shorter than a window
    geometry = windows.Geometry(32, 8, 2, context=request.param)
    task = models.make_task(tiny_config(), geometry, 2, 8)
    variables = jax.jit(task.init)(jax.random.key(0))
    return store, metas, geometry, task, variables


def test_equals_windows_one_by_one(setting):
    """Segment features made once per video, in chunks, are those of every window on its own."""
    store, metas, geometry, task, variables = setting
    predictor = predict.make_predictor(task, geometry, 16, 4)
    for meta in metas:
        predicted = predictor(variables, store, meta)
        segments = windows.num_segments(meta.num_frames, geometry)
        starts = windows.starts(segments, geometry, 16)
        assert predicted["starts"].tolist() == (starts * 2).tolist()
        for index, start in enumerate(starts):
            got = windows.gather(store, meta.row, meta.num_rows, start, segments, geometry)
            features = task.features(variables, got.inputs[None], got.valid[None])
            out, _ = task.outputs(variables, features, got.inside[None], False, jax.random.key(0))
            for name in ("offsets", "free", "logits"):
                np.testing.assert_allclose(predicted[name][index], out[name][0], atol=1e-5)


def test_the_chunk_changes_nothing(setting):
    store, metas, geometry, task, variables = setting
    one, two = (predict.make_predictor(task, geometry, 16, chunk)(variables, store, metas[0]) for chunk in (3, 8))
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-5)


def test_decode_pools_windows_and_suppresses(setting, tmp_path):
    store, metas, geometry, task, variables = setting
    predicted = predict.make_predictor(task, geometry, 16, 4)(variables, store, metas[0])
    predict.save_outputs(tmp_path / "outputs" / "a.npz", predicted)
    saved = predict.load_outputs(tmp_path / "outputs" / "a.npz")
    found = predict.make_decoder(task, 0.3, 10, False, 4)(saved, 150)
    outputs = {name: saved[name] for name in ("offsets", "free", "logits", "positions")}
    candidates = task.decode(outputs, saved["starts"].astype(np.float32), np.ones(len(saved["starts"]), bool), 150.0)
    expected = nms.suppress(candidates, 0.3, 10)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-6)
    np.testing.assert_allclose(found.interval, expected.interval, atol=1e-4)
    assert found.interval.min() >= 0 and found.interval.max() <= 150
    assert (np.diff(found.score[found.valid]) <= 0).all()


def test_csv_has_inclusive_frame_numbers(tmp_path):
    meta = VideoMeta("s1", "a, b", 100, 30.0, 1, 0, 100)
    found = Detections(
        np.array([[9.6, 20.4], [0, 1], [50, 60]], np.float32), np.array([0.75, 0.5, 0.1], np.float32),
        np.array([1, 0, 0]), np.array([True, True, False]),
    )  # fmt: skip
    predict.write_csv(tmp_path / "d.csv", [meta], [found], ["happy", "sad"])
    with (tmp_path / "d.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["subject", "video", "onset", "offset", "score", "emotion"],
        ["s1", "a, b", "11", "20", "0.750000", "sad"],
        ["s1", "a, b", "1", "1", "0.500000", "happy"],
    ]
