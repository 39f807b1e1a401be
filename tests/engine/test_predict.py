import csv

import jax
import numpy as np
import pytest
from toys import outputs_of, tiny_config, toy_data

from fedn_jax import models
from fedn_jax.core.types import Detections, VideoMeta
from fedn_jax.engine import candidates, decode, output_files, predict, predict_folds
from fedn_jax.ops import nms, windows

ROW = jax.ShapeDtypeStruct((8,), np.float16)


def made(context):
    store, metas, _ = toy_data(subjects=1, videos=2, frames=150)
    metas.append(VideoMeta("s1", "short", 9, 30.0, 1, 291, 9))  # shorter than a window
    geometry = windows.Geometry(32, 8, 2, context=context)
    task = models.make_task(tiny_config(), geometry, 2, (8,))
    variables = jax.jit(task.init)(jax.random.key(0))
    return jax.device_put(store), metas, geometry, task, variables


@pytest.fixture(scope="module")
def setting():
    return made("video")


@pytest.fixture(scope="module")
def predictor(setting):
    """Compiled once for the tests of the file."""
    _, _, geometry, task, _ = setting
    return predict.make_predictor(task, geometry, 16, 4)


@pytest.mark.parametrize("context", ["video", "window"])
def test_equals_windows_one_by_one(setting, predictor, context):
    """Segment features made once per video, in chunks, are those of every window on its own."""
    store, metas, geometry, task, variables = setting if context == "video" else made(context)
    predictor = predictor if context == "video" else predict.make_predictor(task, geometry, 16, 4)
    alone = jax.jit(lambda *got: outputs_of(task, variables, *got))
    for meta in metas:
        predicted = predict.fetch(predictor(variables, store, meta))
        segments = windows.num_segments(meta.num_frames, geometry)
        starts = windows.starts(segments, geometry, 16)
        assert predicted["starts"].tolist() == (starts * 2).tolist()
        for index, start in enumerate(starts):
            got = windows.gather(store, meta.row, meta.num_rows, start, segments, geometry)
            out = alone(*(column[None] for column in got))
            for name in ("offsets", "free", "logits"):
                np.testing.assert_allclose(predicted[name][index], out[name][0], atol=1e-5)


def test_the_chunk_changes_nothing(setting, predictor):
    store, metas, geometry, task, variables = setting
    other = predict.make_predictor(task, geometry, 16, 3)
    one, two = (predict.fetch(each(variables, store, metas[0])) for each in (predictor, other))
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-5)


def test_decode_pools_windows_and_suppresses(setting, predictor, tmp_path):
    store, metas, geometry, task, variables = setting
    predicted = predict.fetch(predictor(variables, store, metas[0]))
    output_files.save(tmp_path / "outputs" / "a.npz", predicted)
    shapes = predict.shapes_of_outputs(task, geometry, ROW)
    saved = output_files.load(tmp_path / "outputs" / "a.npz", predicted["starts"], shapes)
    found = decode.make_decoder(task, nms.Rule(0.3, 10), 4)(saved, 150)
    outputs = {name: saved[name] for name in ("offsets", "free", "logits", "positions")}
    candidates = task.decode(outputs, saved["starts"].astype(np.float32), np.ones(len(saved["starts"]), bool), 150.0)
    expected = nms.suppress(candidates, nms.Rule(0.3, 10))
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
    output_files.write_csv(tmp_path / "d.csv", [meta], [found], ["happy", "sad"])
    with (tmp_path / "d.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["subject", "video", "onset", "offset", "score", "emotion"],
        ["s1", "a, b", "11", "20", "0.750000", "sad"],
        ["s1", "a, b", "1", "1", "0.500000", "happy"],
    ]


def test_nothing_is_copied_unasked_and_the_last_device_does_as_the_first(setting, predictor):
    """Parameters go to a device once; around the loop over videos no transfer happens that the code does not name."""
    store, metas, geometry, task, variables = setting
    reduce = candidates.make_reducer(task, nms.Rule(0.3, 10))
    held = {device: jax.device_put((variables, store), device) for device in jax.local_devices()}
    results = {}

    def start(item, device):
        predicted = predictor(*held[device], metas[item])
        return device, predicted, reduce(predicted, metas[item].num_frames)

    def finish(item, result):
        device, predicted, reduced = result
        results.setdefault(item, []).append((device, predict.fetch(predicted), candidates.strongest(*reduced)))

    with jax.transfer_guard("disallow"):
        done = list(predict_folds.spread([[0, 1, 2]] * 4, start, finish))
    assert sorted(done) == [0] * 4 + [1] * 4 + [2] * 4
    for of_one_video in results.values():
        assert len({device for device, *_ in of_one_video}) == 4
        for one in of_one_video[1:]:
            jax.tree.map(np.testing.assert_array_equal, one[1:], of_one_video[0][1:])


def test_outputs_that_do_not_fit_their_video_are_refused(setting, predictor, tmp_path):
    store, metas, geometry, task, variables = setting
    good = predict.fetch(predictor(variables, store, metas[0]))
    path, starts = tmp_path / "a.npz", predict.window_starts(metas[0], geometry, 16)
    output_files.save(path, good)
    shapes = predict.shapes_of_outputs(task, geometry, ROW)
    assert set(output_files.load(path, starts, shapes)) == set(good)
    changes = {
        "starts": good["starts"] + 2, "free": good["free"][:, :-1], "logits": good["logits"].astype("U8"),
        "offsets": good["offsets"][:, :, :-1], "positions": good["positions"][0],
    }  # fmt: skip
    for name, value in changes.items():
        output_files.save(path, good | {name: value})
        with pytest.raises(ValueError, match=r"a.npz: .*remove it and start `fedn train` again"):
            output_files.load(path, starts, shapes)
    for content in (b"", b"PK", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a.npz: .*remove it and start `fedn train` again"):
            output_files.load(path, starts, shapes)


def test_candidates_that_do_not_fit_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.npz"
    candidates.save(path, [drawn(3, rng), drawn(4, rng)], [0, 0])
    assert [len(found.score) for found in candidates.load(path, 2)[0]] == [3, 4]
    with pytest.raises(ValueError, match=r"a.npz: .*or 3 videos"):
        candidates.load(path, 3)
    with np.load(path) as file:
        good = dict(file)
    for name, value in {"counts": [-1, 8], "score": good["score"][:-1], "emotion": good["emotion"] + 0.5}.items():
        np.savez(path, **good | {name: np.array(value)})
        with pytest.raises(ValueError, match=r"a.npz: its arrays do not fit"):
            candidates.load(path, 2)


def drawn(count, rng):
    onset = rng.uniform(0, 100, count).astype(np.float32)
    interval = np.stack([onset, onset + rng.uniform(1, 30, count).astype(np.float32)], -1)
    score = np.round(rng.uniform(0, 1, count), 2).astype(np.float32)  # with ties
    return Detections(interval, score, rng.integers(0, 3, count), rng.uniform(size=count) < 0.9)


def as_they_were(one, rule):
    """The survivors of one video with the scores that they had before, as the reducer gives them."""
    index, keep, _ = nms.survivors(one, rule)
    return Detections(*(column[index] for column in one[:3]), np.asarray(keep))


@pytest.mark.parametrize(
    "nms_iou, per_class, kind",
    [(0.01, False, "hard"), (0.5, True, "hard"), (0.3, False, "linear"), (0.3, True, "gaussian")],
)
def test_candidates_that_are_kept_give_the_same_detections(tmp_path, nms_iou, per_class, kind):
    rng, rule = np.random.default_rng(0), nms.Rule(nms_iou, 30, per_class, kind)
    videos = [drawn(count, rng) for count in (1, 3, 200, 400)]
    survivors = [candidates.suppress(one, rule) for one in videos]
    kept = [candidates.strongest(one, as_they_were(one, rule), number=50) for one in videos]
    assert len(kept[3][0].score) < 200 and kept[1][1] == 0 < kept[3][1]
    candidates.save(tmp_path / "a.npz", *zip(*kept, strict=True))
    loaded, floors = candidates.load(tmp_path / "a.npz", 4)
    np.testing.assert_array_equal(floors, np.float32([floor for _, floor in kept]))
    for found, expected in zip(loaded, survivors, strict=True):
        again = candidates.suppress(found, rule)
        for name in Detections._fields:
            wanted, got = (getattr(one, name)[expected.valid] for one in (expected, again))
            np.testing.assert_array_equal(got, wanted)
        np.testing.assert_array_equal(again.valid, expected.valid)
    for other in (0.0, 0.2, 0.9):  # other options: the same down to the score below which some are missing
        for found, whole, floor in zip(loaded, videos, floors, strict=True):
            one, two = (candidates.suppress(x, rule._replace(iou=other, max_detections=400)) for x in (found, whole))
            strong = [int((x.valid & (x.score > floor)).sum()) for x in (one, two)]
            assert strong[0] == strong[1]
            np.testing.assert_array_equal(one.interval[: strong[0]], two.interval[: strong[0]])
