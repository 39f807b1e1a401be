"""The cache of new videos, with two processes at work in it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import media
import numpy as np
import pytest

from data_prep.backbones import embed
from data_prep.backbones.aligned_frames import AlignedFrames
from data_prep.faces import decode, displacement
from data_prep.faces.decode import Options
from data_prep.faces.persons import Person
from data_prep.media.sources import Source
from data_prep.shards import extract
from fedn_jax.core import files


def test_two_at_once_on_one_video(tmp_path, monkeypatch):
    """Each makes the cache's directory under a name of its own; the first to finish wins, the other takes its work."""
    video, cache = media.write_video(tmp_path / "a.mp4", media.face_frames(1, 12)), tmp_path / "cache"
    backbone, both, real = embed.load_backbone("random"), Barrier(2), extract._extract
    left = cache / f"{files.PART}0123abcd-other"
    left.mkdir(parents=True)  # of a process that was killed at another video

    def together(*args):
        both.wait(30)
        real(*args)
        both.wait(30)

    monkeypatch.setattr(extract, "_extract", together)
    run = lambda _: extract.extract(Source(video), Options("none", 32), backbone, cache)  # noqa: E731
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    np.testing.assert_array_equal(first.inputs, second.inputs)
    assert first.faces == second.faces and first.inputs.shape == (12, 128)
    assert list(cache.iterdir()) == [first.faces.parent]


@pytest.mark.parametrize("name", ["facts.npz", "inputs.raw", "faces.mp4"])
def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, name):
    video, backbone = media.write_video(tmp_path / "a.mp4", media.face_frames(1, 3)), embed.load_backbone("random")
    run = lambda: extract.extract(Source(video), Options("none", 32), backbone, tmp_path / "cache")  # noqa: E731
    monkeypatch.setattr(displacement, "Displacement", None)  # data sets need it, new videos do not
    first = run()
    want, path = np.array(first.inputs), first.faces.parent / name
    path.write_bytes(path.read_bytes()[:-7]) if name != "faces.mp4" else path.unlink()
    again = run()
    np.testing.assert_array_equal(again.inputs, want)
    assert again.faces.is_file() and again.facts.num_source == 3
    monkeypatch.setattr(extract, "_extract", None)
    run()


def test_frames_that_are_taken_again_are_those_that_were_embedded(tmp_path):
    """As preparation stores them: another rate than the file's, a gap, and only some of them."""
    path = media.write_video(tmp_path / "video.mp4", media.face_frames(1, 20), fps=25)
    options, stored = Options("cascade", 48, 30.0), tmp_path / "frames.raw"
    facts, _ = decode.decode(Source(path), options, 1, stored, tmp_path / "preview.mp4")
    frames = np.fromfile(stored, np.uint8).reshape(len(facts.valid), 48, 48, 3)
    got = extract.pictures(Source(path), options, [17, 3, 3, 20])
    assert set(got) == {3, 17, 20} and all(np.array_equal(image, frames[row]) for row, image in got.items())
    assert extract.pictures(Source(path), options, []) == {}


def test_frames_of_one_person_are_those_that_were_embedded_and_show_nobody_else(tmp_path):
    """Grey at the left and white at the right, where somebody comes with the third frame; pictures are not aligned."""
    frame = np.full((128, 128, 3), 90, np.uint8)
    frame[:, 64:] = 255
    video, options = Source(media.write_video(tmp_path / "two.mp4", [frame] * 6)), Options("none", 32)
    who = Person(2, 2, np.tile([86.0, 54.0, 20.0, 20.0], (4, 1)))
    embedded = extract.extract(video, options, AlignedFrames(32, 32), tmp_path / "cache", person=who)
    got = extract.pictures(video, options, range(6), who)
    assert all(np.array_equal(embedded.inputs[row], image) for row, image in got.items())
    assert embedded.facts.valid.tolist() == [False, False, True, True, True, True] and set(range(2, 6)) <= set(got)
    both = extract.pictures(video, options, [4])[4]
    assert both[:, :14].mean() > 80 and got[4][:, :14].max() < 10  # a quarter of the size
    middle = np.s_[12:20, 20:28]
    assert both[middle].min() > 240 and np.array_equal(got[4][middle], both[middle])
