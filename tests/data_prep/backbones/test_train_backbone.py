"""A backbone from labelled pictures: found, parted by persons, learned, tested on others, and of use to prepare."""

import csv

import cv2
import numpy as np
import pytest

from data_prep import synthetic
from data_prep.backbones import kinds, pictures, training
from fedn_jax.cli.main import main
from fedn_jax.core.errors import UserError

COLOURS = {"calm": (40, 120, 200), "joy": (200, 120, 40)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Coloured noise of two labels and five persons, who differ in brightness."""
    base, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for label, colour in COLOURS.items():
        for person in range(5):
            (base / label / f"p{person}").mkdir(parents=True)
            for number in range(4 + 2 * (label == "joy")):
                image = rng.normal(colour, 30, (40, 40, 3)) + 10 * person
                cv2.imwrite(
                    str(base / label / f"p{person}" / f"{number}.png"), image.clip(0, 255).astype(np.uint8)[..., ::-1]
                )
    return base


def train(source, out, *words):
    given = ["--aligner", "none", "--size", 32, "--batch-size", 8, "--epochs", 6, "--workers", 1]
    return main([str(word) for word in ("train-backbone", source, "--out", out, *given, *words)])


def test_it_learns_is_tested_on_others_and_loads(folder, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    assert train(folder, out) == 0
    said = capsys.readouterr().out
    assert "50 pictures, labels calm, joy\n" in said
    assert "trained on 40 pictures of 4 persons; held out: 10 pictures of 1 person" in said
    assert "right: 100.0 % of those held out; always 'joy', the usual one: 60.0 %" in said
    backbone = kinds.load(out)
    assert backbone.size == 32 and "trained on 40 pictures of 4 persons (calm, joy)" in backbone.description
    (features,) = backbone.features([np.full((32, 32, 3), 90, np.uint8)])
    assert features.shape == (1, 128) and np.isfinite(features).all()
    out.write_bytes(b"mine")
    assert train(folder, out) == 2 and "was changed since it was written" in capsys.readouterr().err


def test_the_light_is_that_of_all_pictures():
    """Also of more pixels than a float32 can add up."""
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    mean, std = training.light(images)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)) / 255, atol=6e-4)
    np.testing.assert_allclose(std, images.std((0, 1, 2)) / 255, atol=6e-4)
    many = np.broadcast_to(np.uint8(255), (18, 1000, 1000, 3))
    assert training.light(many) == ((1.0,) * 3, (0.01,) * 3)


def test_nobody_is_in_both_parts(folder):
    found = pictures.find(folder)
    held = pictures.hold_out(found, 0.4, 0)
    assert len(set(found.take(held).person)) == 2
    assert not set(found.take(held).person) & set(found.take(~held).person)
    np.testing.assert_array_equal(held, pictures.hold_out(found, 0.4, 0))
    assert any((pictures.hold_out(found, 0.4, seed) != held).any() for seed in range(1, 5))
    nobody = found._replace(person=[""] * len(found.path))
    assert pictures.hold_out(nobody, 0.2, 0).sum() == 10  # pictures, where nobody says who is seen


def test_a_table_says_the_same(folder, tmp_path):
    found = pictures.find(folder)
    with (folder / "table.csv").open("w", newline="") as file:
        rows = zip((path.relative_to(folder) for path in found.path), found.label, found.person, strict=True)
        csv.writer(file).writerows([("path", "label", "person"), *rows])
    assert pictures.find(folder / "table.csv") == found


@pytest.mark.parametrize(
    "rows, said",
    [
        ("path,label\na.png,joy\n", "t.csv: joy: two labels or more are needed; expected DIR/LABEL/PICTURE"),
        ("path,label\na.png,joy\n./a.png,calm\n", "line 3: the same picture as line 2; name each once"),
        ("path,label\na.png,joy\nb.png,\n", "line 3: a path and a label are needed"),
        ("path,emotion\na.png,joy\n", "label"),
        ("path,label,person\na.png,joy,p1\nb.png,calm,\n", "some pictures have a person and others none, such as"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, rows, said):
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(UserError, match=said):
        pictures.find(tmp_path / "t.csv")


def test_a_place_that_cannot_be_written_to_is_named_before_the_training(folder, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("")
    for out, said in ((tmp_path, "ends in .safetensors"), (taken / "a.safetensors", "is a file"),
                      (tmp_path / "d.safetensors", "is a directory; expected the name of a file")):  # fmt: skip
        (tmp_path / "d.safetensors").mkdir(exist_ok=True)
        assert train(folder, out, "--force") == 2
        shown = capsys.readouterr()
        assert said in shown.err and not shown.out
    assert train(folder, tmp_path / "a.safetensors", "--size", 10**5) == 2
    assert "--size must be at most 1024; got 100000" in capsys.readouterr().err


def test_parts_that_cannot_be_used():
    path = [None] * 4
    with pytest.raises(UserError, match="all pictures are of one person"):
        pictures.hold_out(pictures.Pictures(path, list("aabb"), ["x"] * 4), 0.5, 0)
    with pytest.raises(UserError, match="label .: all its pictures are held out"):
        pictures.hold_out(pictures.Pictures(path, list("aabb"), list("xxyy")), 0.5, 0)


def test_faces_are_found_as_in_videos_and_the_rest_is_counted(tmp_path):
    """Drawn portraits, a damaged file and a picture without a face."""
    stills = list(synthetic.stills(0, synthetic.FIRST_STILL, 1, 3))
    for number, (frame, _, _) in enumerate(stills):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame[..., ::-1])
    (tmp_path / "3.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "4.png"), np.zeros((64, 64, 3), np.uint8))
    names = [tmp_path / f"{number}.png" for number in range(5)]
    found = pictures.Pictures(names, list("ababa"), [""] * 5)
    faces, lost = pictures.crop(found, ["a", "b"], "cascade", 112, 1, lambda work, **_: work)
    assert faces.images.shape[1:] == (112, 112, 3) and len(faces.images) + lost == 5 and 2 <= lost <= 3
    with pytest.raises(UserError, match="no face in any of 1 pictures"):
        pictures.crop(found.take(np.arange(5) == 4), ["a", "b"], "cascade", 112, 1, lambda work, **_: work)
