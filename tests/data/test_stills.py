"""Aligned frames that are kept: lossless, optional, refused by name where they cannot be kept or read."""

import numpy as np
import pytest
import records

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core import schema
from fedn_jax.core.errors import UserError
from fedn_jax.data import problem, shards, stills

SIDE = 8


def with_frames(seed=0):
    """The records of tests/records.py, each with noise for frames, and what these are."""
    rng, made, pictures = np.random.default_rng(seed), [], {}
    for one in records.RECORDS:
        noise = rng.integers(0, 256, (int(one["num_frames"]), SIDE, SIDE, 3), dtype=np.uint8)
        pictures[one["subject"], one["video"]] = noise
        made.append(one | stills.encode(noise))
    return made, pictures


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    made, pictures = with_frames()
    return records.write(tmp_path_factory.mktemp("kept"), made, frames={"codec": "png", "size": SIDE}), pictures


def test_codes_are_lossless_and_any_order_of_videos_comes_out_right(kept):
    out, pictures = kept
    loaded = shards.load(out, side=0)
    assert isinstance(loaded.store.inputs, np.memmap) and loaded.store.inputs.dtype == np.uint8
    for meta in loaded.metas:
        rows = slice(meta.row, meta.row + meta.num_rows)
        np.testing.assert_array_equal(loaded.store.inputs[rows], pictures[meta.subject, meta.video])
    plain = shards.load(out)
    assert plain.store.inputs.shape == (len(loaded.store.valid), 5) and plain.metas == loaded.metas
    assert shards.load(out, inputs=False, side=0).store.inputs.shape == (0, SIDE, SIDE, 3)


def test_smaller_frames_are_means_over_areas(kept):
    out, pictures = kept
    loaded = shards.load(out, side=4)
    meta = loaded.metas[0]
    whole = pictures[meta.subject, meta.video].astype(float)
    expected = whole.reshape(-1, 4, 2, 4, 2, 3).mean((2, 4))
    np.testing.assert_allclose(loaded.store.inputs[: meta.num_rows], expected, atol=0.51)
    with pytest.raises(UserError, match=r"data.side must lie between 1 and the data's 8 pixels"):
        shards.load(out, side=9)


def test_frames_are_decoded_once(kept, monkeypatch):
    out, _ = kept
    shards.load(out, side=0)
    monkeypatch.setattr(stills, "decode", lambda *_: pytest.fail("decoded again"))
    shards.load(out, side=0)
    (file,) = schema.find(out).parent.glob(f"frames-*-{SIDE}.u8")
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    try:
        with pytest.raises(UserError, match=r"\.u8: has \d+ bytes, expected \d+; delete it"):
            shards.load(out, side=0)
    finally:
        file.write_bytes(content)


def test_data_without_frames_are_refused_where_a_model_reads_pictures(tmp_path, monkeypatch):
    out = records.write(tmp_path / "old")
    monkeypatch.setitem(models.TASKS, "toy", models.Model(None, None, frames=True))
    config = configs.default()
    config.task = "toy"
    with pytest.raises(UserError, match=r"keeps no frames, .* prepare the data with --frames"):
        problem.load(config, out)
    config.data.standardize = "video"
    with pytest.raises(UserError, match=r"data.standardize must be 'none' for task 'toy'"):
        problem.load(config, out)


@pytest.mark.parametrize("changes", [{"frame_ends": 3}, {"frame_ends": -1}, {"frames": None}])
def test_codes_that_do_not_fit_are_refused(changes):
    record = with_frames()[0][0]
    schema.validate(record, 2, 1)
    if "frames" in changes:
        record.pop("frames")
    else:
        record["frame_ends"] = record["frame_ends"].copy()
        record["frame_ends"][changes["frame_ends"]] = record["frame_ends"][0]
    with pytest.raises(ValueError, match="frame_ends must hold 7 rising ends"):
        schema.validate(record, 2, 1)


def test_a_code_that_is_no_picture(kept):
    codes = stills.encode(np.zeros((2, SIDE, SIDE, 3), np.uint8))
    codes["frames"][: codes["frame_ends"][0]] = 7
    with pytest.raises(ValueError, match="no picture of 8 x 8"):
        stills.decode(codes, SIDE, SIDE)
    with pytest.raises(ValueError, match="no picture of 4 x 4"):
        stills.decode(stills.encode(np.zeros((1, SIDE, SIDE, 3), np.uint8)), 4, 4)


def test_stored_fields_tell_stills_from_others():
    codes = stills.encode(np.zeros((2, SIDE, SIDE, 3), np.uint8))
    assert stills.fits(codes, 2) and not stills.fits(codes, 3)
    assert not stills.fits(codes | {"frames": codes["frames"][:-1]}, 2)
