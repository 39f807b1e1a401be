"""Videos to shards, whole way: what is kept, what is refused, what a killed preparation leaves behind."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import media
import numpy as np
import pytest

from data_prep.backbones import embed
from data_prep.backbones.aligned_frames import AlignedFrames
from data_prep.faces import align, displacement
from data_prep.media import frames
from data_prep.media.sources import Source
from data_prep.shards import builders, extract, verify, video_cache, videos
from data_prep.sheets import annotations
from fedn_jax.core import files, schema
from fedn_jax.core.errors import UserError
from fedn_jax.data import shards
from fedn_jax.formats import elan
from fedn_jax.formats.clocks import Steady

OPTIONS = videos.Options("none", 32)
SHEET = "subject,video,onset,offset,emotion\ns1,a,3,12,sad\ns1,a,14,20,happy\ns1,b,,,\ns 2,c,1,4,happy\n"
LENGTHS = {"a": 20, "b": 9, "c": 5}


@pytest.fixture(scope="module")
def backbone():
    return embed.load_backbone("random")


def make_source(path):
    for name, length in LENGTHS.items():
        media.write_video(path / "videos" / f"{name}.mp4", media.numbered(length), options={})
    (path / "sheet.csv").write_text(SHEET)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def prepared(source, backbone, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, prepare(source, out, backbone)


def prepare(source, out, backbone, options=OPTIONS, **more):
    sheet = annotations.read_folder(source / "sheet.csv", source / "videos")
    return videos.prepare(sheet.items, out, sheet.classes, backbone, options, workers=1, **more)


def test_records(prepared, backbone, source):
    out, (summaries, written) = prepared
    assert written and [one[:4] for one in summaries] == [("s1", "a", 20, 0), ("s1", "b", 9, 0), ("s 2", "c", 5, 0)]
    loaded = shards.load(out)
    assert [(meta.subject, meta.video, meta.num_frames) for meta in loaded.metas] == [
        ("s 2", "c", 5), ("s1", "a", 20), ("s1", "b", 9),
    ]  # fmt: skip
    np.testing.assert_array_equal(loaded.events[1].interval, [[2, 12], [13, 20]])
    assert loaded.metadata["classes"] == ["happy", "sad"] and loaded.events[1].emotion.tolist() == [1, 0]
    assert loaded.events[1].kind.tolist() == [1, 1] and len(loaded.events[2].valid) == 0
    assert [meta.fps for meta in loaded.metas] == pytest.approx([30] * 3)
    assert "UNTRAINED" in loaded.metadata["backbone"] and "none" in loaded.metadata["aligner"]
    crops = [one.image for one in align.align_none(frames.read(source / "videos" / "a.mp4"), 32)]
    expected = np.concatenate(list(embed.embed(crops, backbone)))
    rows = loaded.store.inputs[loaded.metas[1].row :][:20]
    np.testing.assert_allclose(rows, expected, rtol=2e-3, atol=1e-2)


def test_times_become_the_frames_of_the_video(prepared, source, backbone, tmp_path):
    """A coder's ELAN documents give the shards of the table; a cache without time stamps is made again."""
    clock = Steady(30.0)
    for name, subject in (("a", "s1"), ("b", "s1"), ("c", "s 2")):
        rows = [line.split(",")[2:] for line in SHEET.splitlines() if line.split(",")[1] == name]
        spans = [(*clock.seconds(int(onset), int(offset)), word) for onset, offset, word in rows if onset]
        made = [elan.Annotation(*span) for span in spans]
        elan.write(tmp_path / f"{name}.eaf", source / "videos" / f"{name}.mp4", made, ["happy", "sad"], subject, False)
    sheet = annotations.read_folder(sorted(tmp_path.glob("*.eaf")), source / "videos")
    shutil.copytree(prepared[0], tmp_path / "out")
    cache = next((tmp_path / "out" / "cache").glob("s1__a-*.npz"))
    with np.load(cache) as file:
        np.savez(cache, **{name: file[name] for name in file if name not in ("seconds", "ends")})
    summaries, _ = videos.prepare(sheet.items, tmp_path / "out", sheet.classes, backbone, OPTIONS, workers=1)
    assert [(one.video, one.cached) for one in summaries] == [("a", False), ("b", True), ("c", True)]
    ours, theirs = shards.load(tmp_path / "out"), shards.load(prepared[0])
    for one, other in zip(ours.events, theirs.events, strict=True):
        np.testing.assert_array_equal(one.interval, other.interval)
        np.testing.assert_array_equal(one.emotion, other.emotion)
    one = {"events": np.array([[0, -1, 1, 0, 0]]), "cut": np.zeros(1, bool)}
    late = [sheet.items[0]._replace(seconds=np.array([[0.0, np.nan, 1.0]]), **one)]
    with pytest.raises(UserError, match="expression 1 to 30 ends after the last frame, 20"):
        videos.prepare(late, tmp_path / "late", sheet.classes, backbone, OPTIONS, workers=1)


def test_flow_is_that_of_the_aligned_faces_across_a_gap(backbone, tmp_path):
    pictures = np.array(media.face_frames(1, 9))
    pictures[3:5] = 0
    media.write_video(tmp_path / "videos" / "x.mp4", pictures, options={})
    (tmp_path / "sheet.csv").write_text("subject,video,onset,offset,emotion\ns1,x,3,8,sad\n")
    prepare(tmp_path, tmp_path / "out", backbone)
    found, follow = shards.load(tmp_path / "out").flow, displacement.Displacement("none", 30.0)
    cropped = [one.image for one in align.align_none(frames.read(tmp_path / "videos" / "x.mp4"), 32)]
    expected = [displacement.NONE if row in (3, 4) else follow.next(cropped[row]) for row in range(9)]
    np.testing.assert_array_equal(found, expected)
    assert found[2].any() and found[5].any() and not found[:1].any()


def test_previews_have_the_same_frames(prepared):
    preview = prepared[0] / "previews" / "s1__a.mp4"
    images = list(frames.read(preview))
    assert len(images) == 20 and images[0].shape == (32, 32, 3)
    assert frames.probe(preview).fps == pytest.approx(30)


def test_nothing_to_do_the_second_time(source, prepared, backbone, monkeypatch):
    out, _ = prepared
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    monkeypatch.setattr(video_cache, "decode_job", None)  # would raise
    summaries, written = prepare(source, out, backbone)
    assert not written and all(one.cached for one in summaries)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert before == after


def test_other_options_need_another_directory(source, prepared, backbone):
    for options, other in ((videos.Options("none", 48), backbone), (OPTIONS, embed.load_backbone("random:1"))):
        with pytest.raises(UserError, match="choose another --out"):
            prepare(source, prepared[0], other, options)


@pytest.fixture
def copy(source, prepared, tmp_path):
    """A source and its prepared output that a test may change."""
    shutil.copytree(source, tmp_path / "source")
    shutil.copytree(prepared[0], tmp_path / "out")
    return tmp_path / "source", tmp_path / "out"


def test_shards_of_another_layout_are_packed_again(copy, backbone):
    source, out = copy
    state = builders.read_state(out)
    (out / builders.STATE).write_text(json.dumps(state | {"schema": "2.1.0"}))
    assert prepare(source, out, backbone)[1]
    assert builders.read_state(out) == state


def test_changed_annotations_are_repacked_from_the_cache(copy, backbone, monkeypatch):
    source, out = copy
    sheet = source / "sheet.csv"
    sheet.write_text(SHEET.replace("s1,a,3,12", "s1,a,2,12"))
    monkeypatch.setattr(video_cache, "decode_job", None)
    _, written = prepare(source, out, backbone)
    assert written and shards.load(out).events[1].interval[0].tolist() == [1, 12]


def test_changed_video_is_done_again(copy, backbone):
    source, out = copy
    media.write_video(source / "videos" / "b.mp4", media.numbered(13))
    summaries, written = prepare(source, out, backbone)
    assert written and [one.cached for one in summaries] == [True, False, True]
    assert shards.load(out).metas[2].num_frames == 13
    assert len(list(frames.read(out / "previews" / "s1__b.mp4"))) == 13


def test_problems_are_reported_together_and_the_rest_is_kept(copy, backbone):
    source, out = copy
    shutil.rmtree(out)
    (source / "videos" / "a.mp4").write_bytes(b"not a video")
    black = np.zeros((6, 32, 32, 3), np.uint8)
    media.write_video(source / "videos" / "b.mp4", black)
    sheet = source / "sheet.csv"
    sheet.write_text(SHEET.replace("s 2,c,1,4", "s 2,c,1,6"))
    with pytest.raises(UserError) as caught:
        prepare(source, out, backbone)
    text = str(caught.value)
    assert "a.mp4: not a readable video" in text and "b.mp4: no face in any of its 6 frames" in text
    assert "c.mp4: expression 1 to 6 ends after the last frame, 5" in text
    assert len(list((out / "cache").glob("*.npz"))) == 1
    assert not list((out / "cache").glob("*.raw")) and not (out / "shards").exists()


def test_resampled_frames_and_events(source, backbone, tmp_path):
    prepare(source, tmp_path, backbone, OPTIONS._replace(fps=15.0))
    loaded = shards.load(tmp_path)
    assert loaded.metas[1].num_frames == 10 and loaded.metas[1].fps == 15
    # Frames 0, 2, 4 ... are left: [2, 12) are the 1st to the 5th of them, [13, 20) the 7th to the 9th.
    np.testing.assert_array_equal(loaded.events[1].interval, [[1, 6], [7, 10]])


def test_gaps_are_stored(source, backbone, tmp_path):
    here = tmp_path / "source"
    shutil.copytree(source, here)
    pictures = media.numbered(9)
    pictures[3:5] = 0
    media.write_video(here / "videos" / "b.mp4", pictures)
    summaries, _ = prepare(here, tmp_path / "out", backbone)
    assert [one.invalid for one in summaries] == [0, 2, 0]
    loaded = shards.load(tmp_path / "out")
    assert (~loaded.store.valid).sum() == 2


def test_uneven_rate_is_noticed(source, backbone, tmp_path):
    here = tmp_path / "source"
    shutil.copytree(source, here)
    media.write_video(here / "videos" / "b.mp4", media.numbered(9), times=[0, 20, 40, 100, 120, 140, 200, 220, 240])
    summaries, _ = prepare(here, tmp_path / "out", backbone)
    assert [one.uneven for one in summaries] == [False, True, False]
    assert shards.load(tmp_path / "out").metas[2].fps == pytest.approx(20)


def test_bad_options(source, backbone, tmp_path):
    for options, match in (
        (videos.Options("mtcnn"), "aligner must be one of cascade, landmarker, openface, none"),
        (videos.Options("none", 33), "size"),
        (videos.Options("none", 32, -1.0), "fps"),
    ):
        with pytest.raises(UserError, match=match):
            prepare(source, tmp_path, backbone, options)


def test_damaged_cache_is_done_again(copy, backbone):
    source, out = copy
    cache = next((out / "cache").glob("s1__a-*.npz"))
    with np.load(cache) as file:
        whole = dict(file)
    wrong = {
        "num_source": np.bool_(True), "source": whole["source"][::-1], "valid": whole["valid"][1:],
        "fps": np.float32(0), "inputs": whole["inputs"].astype(np.float32),
        "flow": whole["flow"][:, :11],
        "notes": np.zeros(3), "uneven": np.float32(1),
    }  # fmt: skip
    cache.write_bytes(cache.read_bytes()[:100])
    summaries, written = prepare(source, out, backbone)
    assert not written and [one.cached for one in summaries] == [False, True, True]
    assert video_cache.usable(cache)
    for name, array in wrong.items():
        np.savez(cache, **whole | {name: array})
        assert not video_cache.usable(cache) and not cache.exists(), name


def test_damaged_shards_are_packed_again(copy, backbone, caplog):
    """Whatever file of them it is, and whether it is changed or gone; so is the feature extractor beside them."""
    source, out = copy
    whole = {path: path.read_bytes() for path in sorted((out / builders.FOLDER).rglob("*")) if path.is_file()}
    assert len(whole) >= 4
    for number, (path, content) in enumerate(whole.items()):
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed) if number else path.unlink()
        (out / schema.BACKBONE).write_bytes(b"damaged")
        with caplog.at_level("INFO", "data_prep"):
            summaries, written = prepare(source, out, backbone)
        assert written and all(one.cached for one in summaries) and str(path) in caplog.text
        assert embed.load_backbone(out / schema.BACKBONE).sha == backbone.sha
        verify.verify(out)
    assert not prepare(source, out, backbone)[1]


def test_two_preparations_at_once(source, prepared, backbone):
    with files.lock(prepared[0]), pytest.raises(UserError, match="another process is at work"):
        prepare(source, prepared[0], backbone)


def test_a_preparation_that_fails_leaves_nothing_half_done(copy, backbone, monkeypatch):
    """A full disk while a video is embedded, then while shards are packed: an error with the file, and no leftovers."""
    source, out = copy
    shutil.rmtree(out)
    with pytest.raises(OSError) as caught:
        with monkeypatch.context() as patch:
            patch.setattr(video_cache.np, "savez", fail)
            prepare(source, out, backbone)
    assert caught.value.filename.startswith(str(out / "cache" / "s1__a-")) and caught.value.filename.endswith(".npz")
    assert not list((out / "cache").iterdir()) and not list((out / "previews").glob(f"{files.PART}*"))
    monkeypatch.setattr(builders, "_build", lambda fresh, *_: (fresh.mkdir(), fail()))
    with pytest.raises(OSError):
        prepare(source, out, backbone)
    monkeypatch.undo()
    assert not (out / "shards.new").exists()
    summaries, written = prepare(source, out, backbone)
    assert written and all(one.cached for one in summaries)


def fail(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_damaged_notes_of_a_preparation_are_said(tmp_path):
    for content in ("{", "[]", "[" * 100_000, '{"options": 3}', '{"signature": []}', '{"files": ""}', None):
        (tmp_path / builders.STATE).unlink(missing_ok=True)
        (tmp_path / builders.STATE).write_text(content) if content else os.mkfifo(tmp_path / builders.STATE)
        with pytest.raises(UserError, match=r"prepare\.json: .*choose another --out"):
            builders.read_state(tmp_path)


def test_split_names():
    assert builders.split_names(["s1", "a b", "all", "3"]) == {"s1": "s1", "a b": "a_b", "all": "s_all", "3": "s_3"}
    with pytest.raises(UserError, match="same name"):
        builders.split_names(["a b", "a_b"])
    long = builders.split_names(["x" * 236, "x" * 237, "x" * 100])
    assert len(set(long.values())) == 3 and all(len(name) <= files.LONGEST for name in long.values())
    assert long["x" * 100] == "x" * 100


SCRIPT = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}, {root!r} + '/tests', {tests!r}]
import test_builders
from data_prep.backbones import embed
from data_prep.shards import video_cache
real = video_cache.embed_raw
def slow(*args):
    real(*args)
    print("one", flush=True)
    time.sleep({pause})
video_cache.embed_raw = slow
if __name__ == "__main__":
    test_builders.prepare(Path({source!r}), Path({out!r}), embed.load_backbone("random"))
"""


def test_killed_preparation_goes_on(source, tmp_path, backbone):
    root, tests = Path(__file__).resolve().parents[3], Path(__file__).resolve().parent
    script = tmp_path / "run.py"
    out = tmp_path / "out"
    script.write_text(SCRIPT.format(root=str(root), tests=str(tests), source=str(source), out=str(out), pause=60))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "one\n"
        os.kill(process.pid, signal.SIGKILL)
    leftover = out / "cache" / "s1__b-0.raw"
    leftover.touch()
    (out / "shards.new").mkdir()
    time.sleep(0.1)
    summaries, written = prepare(source, out, backbone)
    assert written and [one.cached for one in summaries] == [True, False, False]
    assert len(shards.load(out).metas) == 3
    assert not leftover.exists() and not (out / "shards.new").exists()


def test_worker_processes_and_cascade(tmp_path, backbone):
    for name, person in (("x", 1), ("y", 2)):
        media.write_video(tmp_path / "videos" / f"{name}.mp4", media.face_frames(person))
    (tmp_path / "sheet.csv").write_text("subject,video,onset,offset,emotion\ns1,x,3,12,sad\ns2,y,,,\n")
    sheet = annotations.read_folder(tmp_path / "sheet.csv", tmp_path / "videos")
    summaries, _ = videos.prepare(
        sheet.items, tmp_path / "out", sheet.classes, backbone, videos.Options("cascade", 64), workers=2
    )
    assert [one.invalid for one in summaries] == [0, 0]
    loaded = shards.load(tmp_path / "out")
    assert loaded.store.valid.all() and loaded.store.inputs.shape == (48, 128)
    assert 0 < np.abs(loaded.flow[1:24]).mean() < 5


def test_commands(source, tmp_path, capsys):
    from fedn_jax.cli.main import main

    out = tmp_path / "out"
    command = ["prepare", "folder", "--videos", source / "videos", "--annotations", source / "sheet.csv", "--out", out]
    command += ["--backbone", "random", "--aligner", "none", "--size", 32, "--workers", 1]
    command = [str(word) for word in command]
    assert main(command) == 0
    assert "3 videos, 34 frames, 0 without a face; 0 from the cache" in capsys.readouterr().out
    assert main(command) == 0
    assert "up to date" in capsys.readouterr().out
    assert main(["verify", str(out)]) == 0
    assert "every record fits" in capsys.readouterr().out
    assert main([*command, "--classes", "happy"]) == 2
    assert "got 'sad'" in capsys.readouterr().err


def test_frames_are_kept_as_they_were_aligned(source, backbone, prepared, tmp_path, monkeypatch):
    out = tmp_path / "out"
    (summaries, written) = prepare(source, out, backbone, frames=True)
    assert written and len(summaries) == 3
    pictures, embeddings = shards.load(out, side=0), shards.load(out)
    np.testing.assert_array_equal(embeddings.store.inputs, shards.load(prepared[0]).store.inputs)
    again = np.concatenate(list(embed.embed(pictures.store.inputs, backbone)))  # lossless: the same embeddings
    np.testing.assert_allclose(again.astype(float), embeddings.store.inputs.astype(float), atol=2e-3)
    assert not prepare(source, out, backbone, frames=True)[1]
    verify.verify(out)
    for side in (32, 12):  # what a new video becomes for detection is what the shards hold
        (video,) = (source / "videos").rglob("a.mp4")
        new = extract.extract(Source(video), OPTIONS, AlignedFrames(32, side), tmp_path / "new")
        (meta,) = (meta for meta in pictures.metas if meta.video == "a")
        kept = shards.load(out, side=side).store.inputs[meta.row : meta.row + meta.num_rows]
        np.testing.assert_array_equal(new.inputs, kept)
    with pytest.raises(UserError, match=r"frames png there, None now"):
        prepare(source, out, backbone)
    (cache,) = (out / "cache").glob("s1__a-*.npz")
    with np.load(cache) as file:
        content = dict(file)
    np.savez(cache, **content | {"frame_ends": content["frame_ends"][:-1]})
    assert not prepare(source, out, backbone, frames=True)[0][0].cached  # made again
    monkeypatch.setattr(videos, "_MOST_SPLIT", 5_000)
    with pytest.raises(UserError, match=r"subject s1: .* MiB .* prepare with a smaller --size, or without --frames"):
        prepare(source, out, backbone, frames=True)
