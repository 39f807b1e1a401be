"""Blendshapes as a backbone, several backbones together, and the files that a run keeps."""

import doctest

import media
import numpy as np
import pytest

from data_prep.backbones import blendshapes, embed, kinds
from data_prep.faces import align, landmarker_file
from data_prep.faces.landmarker import NAMES, Landmarker
from fedn_jax.cli.main import main
from fedn_jax.core import schema
from fedn_jax.core.errors import UserError
from fedn_jax.data import shards


@pytest.fixture(scope="module")
def faces(landmarker):
    return [one.image for one in align.align_landmarker(iter(media.face_frames(1, 5)), 256)]


def of(backbone, images):
    return np.concatenate(list(backbone.features(images)))


def test_blendshapes_are_the_networks_log_odds(faces, landmarker):
    got = of(kinds.load("blendshapes"), faces)
    assert got.shape == (5, 52) == (5, len(NAMES)) and got.dtype == np.float16
    networks = Landmarker(landmarker.read_bytes())
    plain = networks.blendshapes(networks.mesh_of_crop(faces[2]).points)
    np.testing.assert_allclose(1 / (1 + np.exp(-got[2].astype(float))), np.clip(plain, 1e-4, 1), rtol=0.01)


def test_a_gap_and_a_picture_without_a_face_are_not_seen(faces):
    noise = np.random.default_rng(0).integers(0, 255, faces[0].shape, np.uint8)
    got, seen = kinds.seen(of(kinds.load("blendshapes"), [faces[0], np.zeros_like(faces[0]), noise]))
    assert seen.tolist() == [1, 0, 0] and not got[1:].any() and got[0].any()
    with pytest.raises(UserError, match="x.mp4: the backbone sees no face in any of its 2 frames"):
        kinds.seen_at_all("x.mp4", seen[1:])


def test_several_stand_side_by_side(faces):
    parts = [kinds.load("blendshapes"), kinds.load("slim")]
    both = kinds.load("blendshapes+slim")
    assert (both.width, both.size, both.aligner) == (52 + 128, 256, "landmarker")
    got = of(both, faces)
    np.testing.assert_array_equal(got[:, :52], of(parts[0], faces))
    assert got.shape == (5, 180) and np.isfinite(got[:, 52:]).all() and got[:, 52:].std() > 0
    assert both.sha not in {part.sha for part in parts}
    assert kinds.load("slim+blendshapes").sha != both.sha


@pytest.mark.parametrize("name", ["blendshapes", "slim", "random:3", "random:1+blendshapes"])
def test_what_is_saved_is_loaded(name, tmp_path, faces):
    backbone = kinds.load(name)
    kinds.save(tmp_path / "b.safetensors", backbone)
    again = kinds.load(tmp_path / "b.safetensors")
    assert again.sha == backbone.sha and again.description == backbone.description
    images = [face[:112, :112] for face in faces[:1]] if backbone.size == 112 else faces[:1]
    np.testing.assert_array_equal(of(again, images), of(backbone, images))


def test_a_run_brings_the_landmarker_along(tmp_path, monkeypatch, landmarker):
    kinds.save(tmp_path / "b.safetensors", kinds.load("blendshapes"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="run `fedn fetch face-landmarker` once"):
        kinds.load("blendshapes")
    kinds.load(tmp_path / "b.safetensors")
    assert landmarker_file.load() == landmarker.read_bytes()


def test_an_aligner_whose_file_is_missing_is_one_line(tmp_path, monkeypatch, capsys):
    media.write_video(tmp_path / "v" / "a.mp4", media.face_frames(1, 3))
    media.write_video(tmp_path / "v" / "b.mp4", media.face_frames(1, 3))
    (tmp_path / "s.csv").write_text("subject,video,onset,offset,emotion\nanna,a.mp4,1,2,joy\nanna,b.mp4,1,2,joy\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    words = ["prepare", "folder", "--videos", tmp_path / "v", "--annotations", tmp_path / "s.csv"]
    words += ["--backbone", "slim", "--aligner", "landmarker", "--out", tmp_path / "data"]
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err.strip()
    assert said == "fedn: the face landmarker is not on this machine; run `fedn fetch face-landmarker` once (3.8 MB)"


def test_what_is_no_backbone_is_refused(tmp_path, landmarker):
    with pytest.raises(UserError, match="backbone nothing: no such file or name"):
        kinds.load("slim+nothing")
    with pytest.raises(UserError, match="at most 8 together; got 9"):
        kinds.load("+".join(["slim"] * 9))
    from safetensors.numpy import save_file

    path = tmp_path / "b.safetensors"
    for metadata, message in [
        ({"format": blendshapes.FORMAT}, "the face landmarker in it is damaged: 1 bytes"),
        ({"format": kinds.SEVERAL, "parts": "[1, 2]"}, "no usable list of parts"),
        ({"format": kinds.SEVERAL, "parts": '["' * 5000}, "no usable list of parts"),
        ({"format": kinds.SEVERAL, "parts": '[{"format": "x"}, {}]'}, "not a backbone of this project"),
        ({"format": "other"}, "not a backbone of this project"),
    ]:
        save_file({"face_landmarker": np.zeros(1, np.uint8)}, path, metadata)
        with pytest.raises(UserError, match=message):
            kinds.load(path)


def test_prepared_with_blendshapes(tmp_path, landmarker, capsys, caplog):
    """The features, what detection needs of them, and the warning where no backbone is named."""
    media.write_video(tmp_path / "v" / "a.mp4", media.face_frames(1, 24))
    (tmp_path / "s.csv").write_text("subject,video,onset,offset,emotion\nanna,a.mp4,5,20,joy\n")
    words = ["prepare", "folder", "--videos", tmp_path / "v", "--annotations", tmp_path / "s.csv", "--workers", "1"]
    words = [str(word) for word in words]
    assert main([*words, "--out", str(tmp_path / "data"), "--backbone", "blendshapes"]) == 0
    assert "drawn faces only" not in caplog.text
    data = shards.load(tmp_path / "data")
    assert data.store.inputs.shape == (24, 52) and data.store.valid.all()
    made = data.metadata["preparation"]
    assert (made["aligner"], made["size"]) == ("landmarker", 256)
    kept = kinds.load(tmp_path / "data" / schema.BACKBONE)
    assert isinstance(kept, blendshapes.Blendshapes) and kept.sha == made["backbone"]
    assert main([*words, "--out", str(tmp_path / "drawn")]) == 0
    assert "slim is taken, which has seen drawn faces only" in caplog.text
    assert isinstance(kinds.load(tmp_path / "drawn" / schema.BACKBONE), embed.Backbone)


def test_doctests():
    assert doctest.testmod(blendshapes).failed == 0
