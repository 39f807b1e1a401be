"""Names of results: every video has its own, in one call or in many, and nothing of a person is replaced."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedn_jax.core.errors import UserError
from fedn_jax.inference import results


def make(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def write(out, video, together=(), force=False):
    """As the command does; returns the name."""
    place = results.Place(out, video, together or [video], force)
    fingerprint = [video.name, video.read_text()] if video.is_file() else ["folder"]
    place.find(fingerprint)
    with place.writing() as parts:
        for suffix, part in parts.items():
            part.write_text(f"{suffix} of {video}", errors="backslashreplace")
    return place.name


def content(out, name):
    return (out / f"{name}.csv").read_text().removeprefix("csv of ")


def test_videos_of_one_name_in_separate_calls(tmp_path):
    out, videos = tmp_path / "out", [make(tmp_path / f"sub{k}" / "session.mp4", f"video {k}") for k in (1, 2)]
    videos += [make(tmp_path / "sub1" / "session.avi", "a third"), make(tmp_path / "x" / "sub2" / "session.mp4", "4th")]
    names = [write(out, video) for video in videos]
    assert names[:3] == ["session", "sub2__session", "sub1__session"] and len(set(names)) == 4
    assert [write(out, video) for video in reversed(videos)] == names[::-1]  # again: each at its place
    assert [write(out, video, videos) for video in videos] == names
    assert [content(out, name) for name in names] == [str(video) for video in videos]
    place = results.Place(out, make(tmp_path / "sub3" / "session.mp4", "5th"))
    place.find(["session.mp4", "5th"])
    assert place.name == "sub3__session" and str(videos[0]) in place.note


def test_videos_of_one_name_in_one_call(tmp_path):
    names = ["sub1/session.mp4", "sub2/session.mp4", "sub2/session.avi", "y/sub1/session.mp4", "v.1/", "v.2/", "é.mp4"]
    videos = [tmp_path / name for name in names]
    for name, video in zip(names, videos, strict=True):
        make(video / "1.png") if name.endswith("/") else make(video, name)
    got = [write(tmp_path / "out", video, videos) for video in videos]
    assert len(set(got)) == len(got) and got[4:6] == ["v.1", "v.2"] and got[2] == "session.avi"
    assert [content(tmp_path / "out", name) for name in got] == [str(video) for video in videos]


def test_another_video_at_the_same_path(tmp_path):
    video = make(tmp_path / "tmp" / "input.mp4", "first")
    assert write(tmp_path / "out", video) == "input"
    before = (tmp_path / "out" / "input.csv").read_text()
    make(video, "second")
    assert write(tmp_path / "out", video) == "tmp__input"
    make(video, "third")
    assert write(tmp_path / "out", video) not in ("input", "tmp__input")
    assert (tmp_path / "out" / "input.csv").read_text() == before


def test_a_video_that_was_moved_keeps_its_results(tmp_path):
    video = make(tmp_path / "a" / "clip.mp4")
    assert write(tmp_path / "out", video) == "clip"
    (tmp_path / "b").mkdir()
    assert write(tmp_path / "out", video.rename(tmp_path / "b" / "clip.mp4")) == "clip"
    make(video)  # a copy of it is another video
    assert write(tmp_path / "out", video) == "a__clip"


def test_a_link_has_its_own_name(tmp_path):
    make(tmp_path / "store" / "0f3a.mp4")
    for name in ("anna.mp4", "ben.mp4"):
        (tmp_path / name).symlink_to(tmp_path / "store" / "0f3a.mp4")
        assert write(tmp_path / "out", tmp_path / name) == name[:-4]


@pytest.mark.parametrize("suffix", results.SUFFIXES)
def test_what_a_person_changed_is_not_replaced(tmp_path, suffix):
    video, out = make(tmp_path / "clip.mp4"), tmp_path / "out"
    name = write(out, video)
    path = out / f"{name}{'' if suffix.startswith('_') else '.'}{suffix}"
    path.write_text("corrected")
    with pytest.raises(UserError, match=rf"clip[._]{suffix.lstrip('_')}: was changed since it was written"):
        results.Place(out, video).find(["clip.mp4", "x"])
    with pytest.raises(UserError, match="--force"):
        write(out, video)
    assert path.read_text() == "corrected"
    write(out, video, force=True)
    assert path.read_text().startswith(f"{suffix} of")


def test_tables_of_different_videos_have_different_names(tmp_path):
    """a_frames.csv is what belongs to a, so a video of that name gets another one."""
    videos = [make(tmp_path / f"{name}.mp4", name) for name in ("a", "a_frames", "detections")]
    names = [write(tmp_path / "out", video) for video in videos]
    assert names[0] == "a" and names[1] != "a_frames" and names[2] != "detections"
    assert [content(tmp_path / "out", name) for name in names] == [str(video) for video in videos]


def test_annotations_beside_the_video_are_not_replaced(tmp_path):
    video, own = make(tmp_path / "clip.mp4"), make(tmp_path / "clip.eaf", "years of work")
    with pytest.raises(UserError, match=r"clip\.eaf: is there, and is not known to be a result"):
        write(tmp_path, video)
    assert own.read_text() == "years of work" and not (tmp_path / "clip.csv").exists()


def test_names_of_any_length_and_encoding(tmp_path):
    videos = [tmp_path / f"{'x' * 236}.mp4", tmp_path / f"{'x' * 237}.mp4", tmp_path / os.fsdecode(b"J\xfcrgen.mp4")]
    names = [write(tmp_path / "out", make(video, str(k))) for k, video in enumerate(videos)]
    assert len(set(names)) == 3 and [write(tmp_path / "out", video) for video in videos] == names


def test_many_at_once(tmp_path):
    videos = [make(tmp_path / f"s{k}" / "session.mp4", str(k)) for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda video: write(tmp_path / "out", video), videos))
    assert len(set(names)) == 8
    assert [content(tmp_path / "out", name) for name in names] == [str(video) for video in videos]
