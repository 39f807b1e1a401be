"""Detection in a new video: the same as in the whole, in pieces; and every kind of file that people have."""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import jax
import media
import numpy as np
import pytest
from media import REAL, needs_real
from toys import tiny_config, toy_data

from fedn_jax import models
from fedn_jax.cli.main import main
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Detections, VideoMeta
from fedn_jax.engine import decode, predict, run_dir
from fedn_jax.evaluation import thresholds
from fedn_jax.evaluation.thresholds import MEANING, NO_HIT, Threshold
from fedn_jax.formats import exchange
from fedn_jax.inference import new_video, results
from fedn_jax.ops import nms, windows

GEOMETRY = windows.Geometry(32, 8, 2)


@pytest.fixture(scope="module")
def model():
    config = tiny_config()
    config.predict.nms_iou = 0.3
    recorded = {"classes": ["a", "b"], "input_shape": [8], "metadata": {"frames_per_row": 1}}
    task = models.make_task(config, GEOMETRY, 2, (8,))
    folds = {f"s{i}": jax.device_get(jax.jit(task.init)(jax.random.key(i))) for i in range(2)}
    chosen = {"s0": Threshold(0.2, "best"), "s1": Threshold(0.4, "best")}
    return new_video.Model(Path("run"), config, ["a", "b"], GEOMETRY, folds, chosen, recorded)


@pytest.fixture(scope="module")
def detectors(model):
    """Standardization -> (detector in the whole, in pieces of three windows), compiled once for every length."""
    found = {}
    for name in ("none", "video"):
        config = model.config.copy_and_resolve_references()
        config.data.standardize = name
        whole = new_video.make_detector(model._replace(config=config), 0.015)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(new_video, "WINDOWS", 3)
            found[name] = whole, new_video.make_detector(model._replace(config=config), 0.015)
    return found


def video(frames, seed=0):
    store, _, _ = toy_data(subjects=1, videos=1, frames=max(frames, 200), seed=seed)
    valid = store.valid[:frames].copy()
    valid[frames // 2 : frames // 2 + 3] = frames < 10
    return store.inputs[:frames], valid


@pytest.mark.parametrize("standardize", ["none", "video"])
@pytest.mark.parametrize("frames", [1, 9, 64, 150, 333])
def test_pieces_find_what_the_whole_finds(detectors, frames, standardize):
    assert windows.pieces(frames, GEOMETRY, 16, new_video.WINDOWS) == [(0, frames)]
    assert len(windows.pieces(frames, GEOMETRY, 16, 3)) > 1 or frames < 150
    whole, pieces = (detector(*video(frames)) for detector in detectors[standardize])
    assert len(whole.detections.score) > 0
    for name in Detections._fields:
        np.testing.assert_allclose(getattr(pieces.detections, name), getattr(whole.detections, name), atol=2e-4)
    np.testing.assert_allclose(pieces.curves, whole.curves, atol=1e-6)
    np.testing.assert_array_equal(pieces.apex, whole.apex)


def test_one_fold_finds_what_evaluation_finds(model):
    inputs, valid = video(150)
    one = model._replace(folds={"s1": model.folds["s1"]})
    got = new_video.make_detector(one, 0.02)(inputs, valid).detections
    from fedn_jax.core.types import Store

    task = models.make_task(model.config, GEOMETRY, 2, (8,))
    meta = VideoMeta("s", "v", 150, 30.0, 1, 0, 150)
    store = jax.device_put(Store(inputs, valid))
    outputs = predict.fetch(predict.make_predictor(task, GEOMETRY, 16, 8)(model.folds["s1"], store, meta))
    expected = decode.make_decoder(task, nms.Rule(0.3, 500), 8)(outputs, 150)
    kept = expected.valid & (expected.score >= 0.02)
    order = np.lexsort(expected.interval[kept].T[::-1])
    np.testing.assert_allclose(got.score, expected.score[kept][order], rtol=1e-5)
    np.testing.assert_allclose(got.interval, expected.interval[kept][order], atol=1e-3)


def test_the_ensemble_averages_outputs(model, detectors):
    alone = model._replace(folds={"s0": model.folds["s0"]})
    twice = model._replace(folds={"s0": model.folds["s0"], "again": model.folds["s0"]})
    each = (new_video.make_detector(alone, 0.015), new_video.make_detector(twice, 0.015), detectors["none"][0])
    one, two, mixed = (detector(*video(150)) for detector in each)
    np.testing.assert_allclose(one.detections.score, two.detections.score, rtol=1e-6)
    assert np.abs(one.curves - mixed.curves).max() > 1e-5


def test_pieces_have_the_windows_of_the_whole():
    for frames in range(1, 700, 13):
        segments = windows.num_segments(frames, GEOMETRY)
        whole = windows.starts(segments, GEOMETRY, 16).tolist()
        found = []
        for start, end in windows.pieces(frames, GEOMETRY, 16, 4):
            own = windows.starts(windows.num_segments(end - start, GEOMETRY), GEOMETRY, 16)
            found += (own + start // 2).tolist()
        assert found == whole


def test_curves_are_the_highest_candidate_over_a_point():
    rng = np.random.default_rng(0)
    onset = rng.uniform(0, 90, 40)
    candidates = Detections(
        np.stack([onset, onset + rng.uniform(0, 20, 40)], 1).clip(0, 100), rng.random(40).astype(np.float32),
        rng.integers(0, 2, 40), rng.random(40) > 0.2,
    )  # fmt: skip
    curves = np.zeros((2, 50), np.float32)
    new_video._raise_curves(curves, candidates, 100)
    for c in range(2):
        for p in range(50):
            at = 2 * p + 1.0  # centre of the bin
            covers = (candidates.interval[:, 0] <= at) & (at < candidates.interval[:, 1])
            scores = candidates.score[covers & candidates.valid & (candidates.emotion == c)]
            assert curves[c, p] == scores.max(initial=0)


def test_frames_of_the_file_and_seconds(model):
    """Every second frame of a file of 20 frames, of which the last is shown for as long as the others."""
    found = new_video.Detected(
        Detections(np.array([[1.0, 4.0], [8.0, 10.0]]), np.array([0.5, 0.25]), np.array([1, 0]), np.ones(2, bool)),
        np.array([2, 9]),
        np.zeros((2, 5), np.float32),
        np.arange(20, dtype=np.float32).reshape(2, 10),
    )
    valid = np.ones(10, bool)
    valid[[0, 5, 6]] = False
    frames = new_video.Frames(np.arange(0, 20, 2), np.arange(20) / 20, valid, 10.0)
    got = new_video.present(found, model.classes, media.REAL / "x.mp4", frames, 1, 0.1, {})
    first, second = got.expressions
    assert (first.onset, first.apex, first.offset) == (3, 5, 7)
    assert (first.begin, first.peak, first.end) == pytest.approx((0.1, 0.2, 0.35))
    assert (second.onset, second.offset, second.emotion, second.score) == (17, 19, "a", 0.25)
    assert got.seconds == pytest.approx(1.0) and got.num_frames == 20
    np.testing.assert_allclose(got.gaps, [(0, 0.05), (0.5, 0.65)])
    each = new_video.per_frame(found, frames)  # a frame that was not looked at is as the next one that was
    assert each.probability[1].tolist() == [10, *[x for x in range(11, 20) for _ in range(2)], 19]
    assert each.valid.tolist() == [False] + [True] * 8 + [False] * 4 + [True] * 7


def test_a_hole_and_a_late_start_in_seconds(model):
    """Ten frames of 0.1 s from 2.0 s on, a hole from 2.5 to 12.0 s with two masked frames: by hand."""
    found = new_video.Detected(
        Detections(np.array([[3.0, 5.0]]), np.array([0.5]), np.array([1]), np.ones(1, bool)),
        np.array([3]),
        np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 12),
        np.zeros((2, 12), np.float32),
    )
    seconds = np.array([2.0, 2.1, 2.2, 2.3, 2.4, 12.0, 12.1, 12.2, 12.3, 12.4])
    source = np.array([0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9])
    valid = np.ones(12, bool)
    valid[[5, 6]] = False
    frames = new_video.Frames(source, seconds, valid, 10.0, seconds + 0.1)
    got = new_video.present(found, model.classes, media.REAL / "x.mp4", frames, 1, 0.1, {})
    (one,) = got.expressions
    assert (one.onset, one.offset) == (4, 5) and (one.begin, one.end) == pytest.approx((2.3, 2.5))
    assert got.seconds == pytest.approx(12.5) and got.num_frames == 10 and got.fps == pytest.approx(10)
    assert got.gaps == [pytest.approx((2.4, 12.0))] and new_video.per_frame(found, frames).valid.all()
    time = (np.arange(got.curves.shape[1]) + 0.5) * 12.5 / got.curves.shape[1]
    there = ((time >= 2.0) & (time < 2.5)) | (time >= 12.0)
    np.testing.assert_array_equal(np.isfinite(got.curves[0]), there)
    np.testing.assert_allclose(got.curves[0, np.searchsorted(time, [2.05, 12.45])], found.curves[0, [0, 11]])


def test_thresholds(model):
    assert new_video.choose_threshold(model, None)[0] == pytest.approx(0.3)
    assert "not evaluated" in new_video.choose_threshold(model._replace(thresholds={}), None)[1]
    assert new_video.choose_threshold(model, 0.9)[0] == 0.9
    words = new_video.choose_threshold(model, None)[1]
    assert words == f"mean of 2; score threshold of each fold: {MEANING['best']}"
    fixed = model._replace(thresholds=model.thresholds | {"s1": Threshold(0.5, NO_HIT)})
    assert f"of 1 fold (s1) {MEANING[NO_HIT]}" in new_video.choose_threshold(fixed, None)[1]
    with pytest.raises(UserError, match="--threshold must be a number from 0 to 1"):
        new_video.choose_threshold(model, 3)


def test_thresholds_belong_to_the_options_of_the_training(small_demo, tmp_path):
    """Thresholds that were picked with other options do not fit what the networks are decoded with here."""
    run = tmp_path / "run"
    shutil.copytree(small_demo / "run", run)
    numbers = json.loads((run / "metrics.json").read_text())
    fits = new_video.load(run, "s01")
    assert fits.thresholds == {"s01": thresholds.of_training(numbers)["s01"]} and not fits.obstacle
    for change in ({"other_options": {"predict.nms_iou": 0.9}}, {"other_options": {"evaluate.threshold": 0.5}},
                   {"threshold_origins": {"s01": "inner"}}):  # fmt: skip
        run_dir.write_record(run / "metrics.json", numbers | change)
        other = new_video.load(run, "s01")
        with pytest.raises(UserError, match=r"metrics\.json: .*evaluate the run again .*or give --threshold"):
            new_video.choose_threshold(other, None)
        assert new_video.choose_threshold(other, 0.25) == (0.25, "given on the command line")
    (run / "metrics.json").unlink()
    assert "not evaluated" in new_video.choose_threshold(new_video.load(run, "s01"), None)[1]


# ---- The command ----------------------------------------------------------------------------------------------------


def run_detect(small_demo, out, *words):
    return main(["detect", *map(str, words), "--run", str(small_demo / "run"), "--out", str(out)])


def test_command_writes_every_format(small_demo, tmp_path, capsys):
    videos = sorted((small_demo / "source" / "videos").glob("*.mp4"))[:2]
    assert run_detect(small_demo, tmp_path, *videos, "--threshold", 0.02) == 0
    printed = capsys.readouterr().out
    for path in videos:
        assert str(path) in printed
        for suffix in ("csv", "json", "vtt", "eaf", "html"):
            assert (tmp_path / f"{path.stem}.{suffix}").stat().st_size > 100
        with (tmp_path / f"{path.stem}.csv").open() as file:
            rows = list(csv.DictReader(file))
        written = json.loads((tmp_path / f"{path.stem}.json").read_text())
        assert len(rows) == len(written["expressions"]) > 0
        assert all(1 <= int(row["onset"]) <= int(row["apex"]) <= int(row["offset"]) <= 180 for row in rows)
        with (tmp_path / f"{path.stem}_frames.csv").open() as file:
            frames = list(csv.DictReader(file))
        assert [int(row["frame"]) for row in frames] == list(range(1, 181)) and frames[30]["timestamp"] == "1.000000"
        for row in rows:  # the frame of an expression has its score at least
            inside = frames[int(row["apex"]) - 1]
            assert float(inside[row["emotion"]]) >= float(row["score"]) - 1e-4 and inside["success"] == "1"
        (events,) = [exchange.read(tmp_path / f"{path.stem}_events.tsv", "predictions")]
        assert len(events.rows) == len(rows) and events.videos == [("", path.stem)]
    # What was decoded is kept: other folds and thresholds need no video.
    cached = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.raw")}
    assert len(cached) == 2
    assert run_detect(small_demo, tmp_path, *videos, "--fold", "s01") == 0
    assert {path: path.stat().st_mtime_ns for path in cached} == cached
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_folders_are_searched_and_all_videos_have_one_table(small_demo, tmp_path, capsys):
    from data_prep.sheets import annotations

    source = tmp_path / "videos"
    (source / "deep").mkdir(parents=True)
    first, second = sorted((small_demo / "source" / "videos").glob("*.mp4"))[:2]
    os.link(first, source / "one.mp4")
    os.link(second, source / "deep" / "detections.mp4")  # whose table would have the name of that of all videos
    (source / "broken.mp4").write_bytes(b"x" * 100)
    assert run_detect(small_demo, source / "out", source, "--threshold", 0.02, "--no-video") == 2
    printed = capsys.readouterr()
    assert "broken.mp4: not a readable video" in printed.err and "1 of 3 videos could not be used" in printed.err
    with (source / "out" / results.ALL).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows if row["what"] == "video"] == ["detections", "one"]
    lengths = {row["video"]: float(row["seconds"]) for row in rows if row["what"] == "video"}
    assert lengths == {"detections": 6.0, "one": 6.0}
    found = [row for row in rows if row["what"] == "expression"]
    for row in found:
        length = float(row["offset_seconds"]) - float(row["onset_seconds"])
        assert length == pytest.approx(float(row["seconds"]), abs=2e-6)
    table = exchange.read(source / "out" / results.ALL, "predictions")
    assert len(table.rows) == len(found) > 0 and {video for _, video in table.videos} == {"detections", "one"}
    (source / "broken.mp4").unlink()
    sheet = annotations.read_folder(source / "out" / results.ALL, source, skip=source / "out", subject="s1")
    assert sum(len(item.events) for item in sheet.items) == len(found)
    assert not list((source / "out").glob("*video*")) and (source / "out" / "one.html").stat().st_size < 2_000_000
    (source / "out" / results.ALL).write_text("mine")
    assert run_detect(small_demo, source / "out", source / "one.mp4") == 2
    assert "detections.csv: was changed since it was written" in capsys.readouterr().err


def test_a_submission_from_unlabelled_folders_of_pictures(small_demo, tmp_path, capsys):
    """As a challenge gives them: subject/video/pictures; their own numbers, with a gap, are those of the submission."""
    import trees

    for subject, name, first in (("s15", "15_0101", 1), ("s16", "16_0401", 25)):
        trees.write_pictures(tmp_path / "test" / subject / name, range(first, first + 24), "img_{}.jpg", size=256)
    words = ["--subject-folders", "--threshold", 0.01, "--no-video"]
    assert run_detect(small_demo, tmp_path / "out", tmp_path / "test", *words) == 0
    submission = tmp_path / "submission.csv"
    assert main(["convert", str(tmp_path / "out" / results.ALL), str(submission), "--to", "strs"]) == 0
    with submission.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["subject", "video", "onset", "offset", "emotion"]
    assert {(row["subject"], row["video"]) for row in rows} == {("s15", "15_0101"), ("s16", "16_0401")}
    frames = {row["subject"]: [int(row[edge]) for edge in ("onset", "offset")] for row in rows}
    assert 1 <= frames["s15"][0] <= frames["s15"][1] <= 24 and 25 <= frames["s16"][0] <= frames["s16"][1] <= 48
    assert all(row["emotion"] for row in rows)
    with pytest.raises(SystemExit, match="2"):
        run_detect(small_demo, tmp_path / "out", tmp_path / "test", *words, "--subject", "x")
    assert "--subject: not allowed with argument --subject-folders" in capsys.readouterr().err


def test_one_fold_of_the_command_equals_the_run(small_demo, tmp_path):
    """The network that has not seen a subject finds in its video what evaluation reports."""
    path = sorted((small_demo / "source" / "videos").glob("s01*.mp4"))[0]
    threshold = json.loads((small_demo / "run" / "metrics.json").read_text())["thresholds"]["s01"]
    assert run_detect(small_demo, tmp_path, path, "--fold", "s01", "--threshold", min(threshold, 1)) == 0
    found = json.loads((tmp_path / f"{path.stem}.json").read_text())["expressions"]
    with (small_demo / "run" / "detections.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["subject"] == "s01"]
    expected = sorted((int(row["onset"]), int(row["offset"]), row["emotion"]) for row in rows)
    assert [(one["onset"], one["offset"], one["emotion"]) for one in found][: len(expected)] == expected


def test_no_result_of_another_video_or_of_a_person_is_replaced(small_demo, tmp_path, capsys):
    """One name in separate calls, a name that is not UTF-8, one that is too long; then a table that was corrected."""
    out, faces = tmp_path / "out", media.face_frames(1, 24)
    names = ("sub1/session.mp4", os.fsdecode(b"sub1/J\xfcrgen.mp4"), f"sub1/{'x' * 236}.mp4", "sub2/session.mp4")
    videos = [media.write_video(tmp_path / "video.mp4", faces).rename(make_folder(tmp_path / name)) for name in names]
    assert run_detect(small_demo, out, *videos[:3]) == 0 and run_detect(small_demo, out, videos[3]) == 0
    written = [path for path in out.glob("*.json") if path.name[0] != "." and not path.stem.endswith("_events")]
    found = {json.loads(path.read_text())["path"]: path.stem for path in written}
    assert len(found) == 4 and found[str(videos[0])] == "session" and found[str(videos[3])] == "sub2__session"
    assert len({path.stem for path in out.glob("*.html")}) == 4 and all(len(name) <= 100 for name in found.values())
    assert f"{out / 'session'}.* are of {videos[0]}" in capsys.readouterr().out
    (out / "session.csv").write_text("corrected")
    (out / "sub2__session.eaf").unlink()
    assert run_detect(small_demo, out, videos[0], videos[3]) == 2
    assert f"fedn: {out / 'session.csv'}: was changed since it was written" in capsys.readouterr().err
    assert (out / "session.csv").read_text() == "corrected" and (out / "sub2__session.eaf").exists()


def make_folder(path):
    path.parent.mkdir(exist_ok=True)
    return path


def bad_videos(folder):
    """name -> (file, what is said)."""
    frames = media.numbered(20)
    good = media.write_video(folder / "good.mp4", media.face_frames(1, 24))
    cut = folder / "cut.mp4"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    empty = folder / "empty.mp4"
    empty.write_bytes(b"")
    sound = folder / "sound.m4a"
    write_sound(sound)
    pictures = folder / "nothing"
    pictures.mkdir()
    return {
        "no face": (media.write_video(folder / "blank.mp4", frames), "no face in any of its 20 frames"),
        "cut": (cut, "not a readable video"),
        "empty": (empty, "the file is empty"),
        "sound": (sound, "holds no video stream"),
        "missing": (folder / "gone.mp4", "no such video"),
        "folder": (pictures, "holds no numbered pictures"),
    }


def write_sound(path):
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for k in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_bad_videos_are_named_and_the_others_go_on(small_demo, tmp_path, capsys):
    cases = bad_videos(tmp_path / "videos")
    good = tmp_path / "videos" / "good.mp4"
    paths = [path for path, _ in cases.values()]
    assert run_detect(small_demo, tmp_path / "out", *paths[:3], good, *paths[3:]) == 2
    printed = capsys.readouterr()
    for path, text in cases.values():
        lines = [line for line in printed.err.splitlines() if line.startswith(f"fedn: {path}")]
        assert len(lines) == 1 and text in lines[0], (path, printed.err)
    assert "6 of 7 videos could not be used" in printed.err
    assert (tmp_path / "out" / "good.html").exists()
    assert sorted(path.name for path in (tmp_path / "out").glob("*.html")) == ["good.html"]


def test_unusual_videos(small_demo, tmp_path, capsys):
    """One frame; a variable rate; 60 frames per second; turned by a phone; 4K; a folder of pictures."""
    import trees

    faces = media.face_frames(1, 24)
    one = media.write_video(tmp_path / "one.mp4", faces[:1])
    uneven = media.write_video(tmp_path / "uneven.mp4", faces, times=np.cumsum([0, *[20, 20, 60] * 8])[:24].tolist())
    fast = media.write_video(tmp_path / "fast.mp4", [face for face in faces for _ in range(2)], fps=60)
    turned = tmp_path / "turned.mp4"
    make_turned(media.write_video(tmp_path / "upright.mp4", [np.rot90(face) for face in faces]), turned)
    big = media.write_video(tmp_path / "big.mp4", [np.kron(face, np.ones((9, 15, 1), np.uint8)) for face in faces[:3]])
    pictures = trees.write_pictures(tmp_path / "pictures", range(1, 25), "img_{}.jpg", size=256)
    paths = [one, uneven, fast, turned, big, pictures]
    assert run_detect(small_demo, tmp_path / "out", *paths, "--threshold", 0.01) == 0
    lengths = {path.stem: json.loads((tmp_path / "out" / f"{path.stem}.json").read_text()) for path in paths}
    frames = {name: (content["num_frames"], round(content["seconds"], 2)) for name, content in lengths.items()}
    assert frames["one"] == (1, 0.03) and frames["fast"] == (48, 0.8) and frames["pictures"] == (24, 0.8)
    assert frames["uneven"][0] == 24 and frames["turned"] == (24, 0.8) and frames["big"] == (3, 0.1)
    printed = capsys.readouterr().out
    assert "without a face" not in printed.split("big.mp4")[0]
    slow = [row for row in lengths["fast"]["expressions"]]
    assert slow and all(row["offset"] <= 48 for row in slow)


def test_videos_as_players_show_them(small_demo, tmp_path, capsys):
    """Late picture, mirrored, wide pixels, cut off: each against the plain video, in seconds and in words."""
    faces = media.face_frames(1, 24)
    plain = media.write_video(tmp_path / "plain.mp4", faces)
    late = tmp_path / "late.mp4"
    add_sound(plain, late, begin=1.0)
    mirrored = tmp_path / "mirrored.mp4"
    make_turned(plain, mirrored, [-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30])
    cut = media.write_video(tmp_path / "cut.mkv", faces)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    assert run_detect(small_demo, tmp_path / "out", plain, late, mirrored, cut, "--threshold", 0.01) == 0
    printed = capsys.readouterr().out
    got = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("plain", "late", "mirrored")}
    assert [content["num_frames"] for content in got.values()] == [24, 24, 24]
    assert [round(content["seconds"], 3) for content in got.values()] == [0.8, 1.8, 0.8]
    assert got["plain"]["expressions"]
    for early, later in zip(got["plain"]["expressions"], got["late"]["expressions"], strict=True):
        assert (later["onset"], later["offset"]) == (early["onset"], early["offset"])
        assert later["begin"] - early["begin"] == pytest.approx(1, abs=1e-6)
    cue = next(line for line in (tmp_path / "out" / "late.vtt").read_text().splitlines() if "-->" in line)
    assert cue.startswith("00:00:01.")
    assert f"{late}: " in printed and "in 1.8 s, 24 frames" in printed
    printed = " ".join(printed.split())
    assert "may be cut off" in printed.split("cut.mkv")[1] and "may be cut off" not in printed.split("cut.mkv")[0]
    assert "may be cut off" in (tmp_path / "out" / "cut.html").read_text()


def add_sound(source, path, begin):
    """Copies a video; its picture begins later than a sound."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        film = new.add_stream_from_template(old.streams.video[0])
        audio = new.add_stream("aac", rate=8000)
        for start in range(16):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts = 8000, 1000 * start
            new.mux(audio.encode(tone))
        new.mux(audio.encode(None))
        for packet in [packet for packet in old.demux(video=0) if packet.dts is not None]:
            shift = round(begin / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, film
            new.mux(packet)


def make_turned(source, path, numbers=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)):
    """Copies a video with a display matrix: of 90 degrees, as phones write it, or another one."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = bytearray(path.read_bytes())
    start = data.find(b"tkhd")
    matrix = np.array(numbers, ">i4").tobytes()
    assert start > 0
    data[start + 44 : start + 80] = matrix
    path.write_bytes(data)


def test_runs_that_cannot_detect(small_demo, tmp_path, capsys):
    assert run_detect(small_demo, tmp_path, "x.mp4", "--fold", "s9") == 2
    assert "--fold must be one of ensemble, s01" in capsys.readouterr().err
    assert main(["detect", "x.mp4", "--run", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "expected the directory of a run" in capsys.readouterr().err
    from data_prep.backbones import embed

    other = embed.load_backbone("random")
    embed.save_backbone(tmp_path / "other.safetensors", *other[:5], {}, "float32")
    assert run_detect(small_demo, tmp_path, "x.mp4", "--backbone", tmp_path / "other.safetensors") == 2
    assert "got other weights" in capsys.readouterr().err
    recorded = run_dir.read_record(small_demo / "run" / "run.json")
    assert recorded["metadata"]["preparation"]["aligner"] == "cascade"


@needs_real
def test_real_videos(small_demo, tmp_path, capsys):
    paths = sorted((REAL / "videos").glob("*.mp4"))
    assert run_detect(small_demo, tmp_path, *paths) == 0
    printed = capsys.readouterr().out
    assert "without a face" not in printed
    for path, frames, seconds in zip(paths, (472, 72), (19.69, 2.4), strict=True):
        written = json.loads((tmp_path / f"{path.stem}.json").read_text())
        assert written["num_frames"] == frames and written["seconds"] == pytest.approx(seconds, abs=0.02)
        probed = subprocess.run(["file", str(tmp_path / f"{path.stem}.html")], capture_output=True, text=True).stdout
        assert "HTML" in probed or not probed
