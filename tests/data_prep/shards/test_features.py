"""Clip features of others: read without unpickling, packed with their frames per row."""

import zipfile

import media
import numpy as np
import pytest

from data_prep.shards import features
from data_prep.sheets import annotations
from fedn_jax.core import arrays
from fedn_jax.core.errors import UserError
from fedn_jax.data import shards


def write(path, feature, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, feature=feature, **more)
    return path


def rows(count, width=6):
    return np.random.default_rng(0).normal(size=(1, count, width)).astype(np.float32)


def test_rows_are_kept(tmp_path):
    feature = rows(10)
    got, frames = features.read(write(tmp_path / "a.npz", feature), 2)
    assert frames == 20 and got.dtype == np.float16
    np.testing.assert_array_equal(got, feature[0].astype(np.float16))


def test_frames_after_the_last_whole_clip_repeat_its_row(tmp_path):
    feature = rows(10)
    got, frames = features.read(write(tmp_path / "a.npz", feature, frame_cnt=26), 2)
    assert frames == 26 and len(got) == 13
    np.testing.assert_array_equal(got[9:], np.repeat(got[9:10], 4, 0))


def test_npy(tmp_path):
    np.save(tmp_path / "a.npy", rows(4)[0])
    assert features.read(tmp_path / "a.npy", 1)[0].shape == (4, 6)


def test_refused(tmp_path):
    path = tmp_path / "a.npz"
    cases = [
        (dict(feature=rows(10), frame_cnt=60), "do not fit --frames-per-row 2"),
        (dict(feature=rows(10), frame_cnt=12), "do not fit"),
        (dict(feature=np.full((1, 3, 2), np.nan)), "NaN"),
        (dict(feature=np.full((1, 3, 2), 1e6)), "65504"),
        (dict(feature=np.zeros((2, 3, 2))), r"\[1, rows, D\]"),
        (dict(feature=np.zeros((1, 3, 2), int)), "floats"),
        (dict(other=rows(3)), "no array `feature`"),
    ]
    for content, match in cases:
        np.savez(path, **content)
        with pytest.raises(UserError, match=match):
            features.read(path, 2)
    path.write_text("nothing")
    with pytest.raises(UserError, match="not readable"):
        features.read(path, 2)


def test_arrays_that_lie_on_their_side(tmp_path):
    """[D, rows] instead of [rows, D], by the number of frames, by several files, or by what the sheet says."""
    with pytest.raises(UserError, match=r"it is \[6, 40\], which looks like \[D, rows\] .*: export it transposed"):
        features.read(write(tmp_path / "a.npz", rows(40)[0].T, frame_cnt=80), 2)
    write(tmp_path / "features" / "v.npz", rows(40)[0].T)
    write(tmp_path / "features" / "w.npz", rows(30)[0].T)
    sheet = sheet_of(tmp_path, "subject;video;onset;offset;emotion\ns1;v;71;80;sad\ns2;w;;;\n")
    with pytest.raises(UserError) as caught:
        features.prepare(sheet.items, tmp_path / "out", sheet.classes, 2, 30.0)
    assert "v.npz: feature is [6, 40], which looks like [D, rows] instead of [rows, D]; if so," in str(caught.value)
    assert "D = 30 in w.npz, D = 40 in v.npz; expected one; the first is [6, 40], which looks" in str(caught.value)
    with pytest.raises(UserError, match="frame_cnt must be a number of frames; got -3"):
        features.read(write(tmp_path / "b.npz", rows(4), frame_cnt=-3), 2)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", feature=np.array([{"x": 1}], object))
    with pytest.raises(UserError, match="not readable as .npz of plain arrays"):
        features.read(tmp_path / "a.npz", 2)


def sheet_of(path, text):
    (path / "sheet.csv").write_text(text)
    return annotations.read_folder(path / "sheet.csv", path / "features", suffixes=features.SUFFIXES)


def test_prepare(tmp_path):
    write(tmp_path / "features" / "v-rgb.npz", rows(40), frame_cnt=86)
    write(tmp_path / "features" / "w-rgb.npz", rows(20))
    sheet = sheet_of(tmp_path, "subject,video,onset,offset,emotion\ns1,v-rgb,71,86,sad\ns2,w-rgb,,,\n")
    out = tmp_path / "out"
    assert features.prepare(sheet.items, out, sheet.classes, 2, 30.0) == (2, True)
    assert features.prepare(sheet.items, out, sheet.classes, 2, 30.0) == (2, False)
    loaded = shards.load(out)
    assert loaded.metadata["frames_per_row"] == 2
    assert [(meta.num_frames, meta.num_rows, meta.row) for meta in loaded.metas] == [(86, 43, 0), (40, 20, 43)]
    np.testing.assert_array_equal(loaded.events[0].interval, [[70, 86]])
    with pytest.raises(UserError, match="another --out"):
        features.prepare(sheet.items, out, sheet.classes, 2, 25.0)


def test_problems_together(tmp_path):
    write(tmp_path / "features" / "v.npz", rows(10))
    write(tmp_path / "features" / "w.npz", rows(10, 7))
    sheet = sheet_of(tmp_path, "subject,video,onset,offset,emotion\ns1,v,10,21,sad\ns2,w,,,\n")
    with pytest.raises(UserError) as caught:
        features.prepare(sheet.items, tmp_path / "out", sheet.classes, 2, 30.0)
    assert "10 to 21 ends after the last frame, 20" in str(caught.value)
    assert "different widths: D = 6 in v.npz, D = 7 in w.npz" in str(caught.value)


@media.needs_real
def test_real_i3d_features(tmp_path):
    for name, frames in (("30_0101disgustingteeth-rgb", 2050), ("30_0102eatingworms-rgb", 1068)):
        got, count = features.read(media.REAL / "i3d" / f"{name}.npz", 2)
        assert count == frames and got.shape == (frames // 2, 1024)


def test_a_file_that_unpacks_to_more_than_it_holds_is_refused_before(tmp_path):
    """3 GiB of zeros in 3 MB: neither unpacked nor, where only the header says so, allocated."""
    path = tmp_path / "a.npz"
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 400000, 2048), }"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("feature.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    with pytest.raises(UserError, match="does not fit into its"):
        features.read(path, 2)
    np.savez_compressed(path, feature=np.zeros((1, 2**10, 2**9), np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "MOST_BYTES", 2**20)
        with pytest.raises(
            UserError, match=r"its arrays take 2 MiB in memory; expected at most 1 MiB; export it again"
        ):
            features.read(path, 2)
    for count in (np.inf, "many", [1, 2]):
        with pytest.raises(UserError, match="frame_cnt must be a number of frames"):
            features.read(write(path, rows(4), frame_cnt=count), 2)
