"""Displacement of regions of a face, on pictures whose parts are moved by known amounts."""

import cv2
import numpy as np
import pytest

from data_prep.faces import align, displacement
from fedn_jax.core import schema

BROWS, MOUTH = slice(0, 4), slice(8, 12)  # regions


def texture(side=112, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, (side, side)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), side / 56), None, 0, 255, cv2.NORM_MINMAX)


def moved(grey, shift, where=None):
    """The picture, moved by (right, down) where ``where`` is 1."""
    y, x = np.mgrid[: len(grey), : len(grey)].astype(np.float32)
    weight = 1 if where is None else where
    shown = cv2.remap(
        grey, x - weight * shift[0], y - weight * shift[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.repeat(shown.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def mouth(side=112):
    """1 from the upper lip downwards, 0 from the nose upwards."""
    rows = np.clip((np.arange(side, dtype=np.float32) - 66) / 4, 0, 1)
    return np.repeat(rows[:, None], side, 1)


def test_regions_are_those_of_the_schema_and_inside_the_face():
    assert len(displacement.REGIONS) == schema.REGIONS
    for aligner in align.ALIGNERS:
        for region in (*displacement.REGIONS, displacement.NOSE):
            rows, columns = displacement.box(region, aligner)
            assert 0 < rows.start < rows.stop < 112 and 0 < columns.start < columns.stop < 112


def test_boxes_by_hand():
    # Eyes of a cascade's face: middle at (56, 45.36), 32 pixels apart. The nose: 0.3 below, 0.28 x 0.6 wide.
    assert displacement.box(displacement.NOSE, "cascade") == (slice(45, 65), slice(52, 60))
    # A landmarker's face shows 1.15 times as much: its eyes are at (56, 46.75), 27.83 apart.
    assert displacement.box(displacement.NOSE, "landmarker") == (slice(47, 63), slice(52, 60))


def test_a_region_that_moves_is_measured_and_comes_back():
    grey, follow = texture(), displacement.Displacement("cascade", 30.0)
    found = [follow.next(moved(grey, shift, mouth())) for shift in ((0, 0), (1, -2), (0, 0))]
    assert all(one.shape == (12, 2) and one.dtype == np.float16 for one in found)
    assert not found[0].any() and np.abs(found[2]).max() < 0.05
    np.testing.assert_allclose(found[1][MOUTH], np.tile((1, -2), (4, 1)), atol=0.4)
    assert np.abs(found[1][BROWS]).max() < 0.1


def test_what_the_nose_moves_is_taken_off():
    grey, follow = texture(), displacement.Displacement("cascade", 30.0)
    follow.next(moved(grey, (0, 0)))
    assert np.abs(follow.next(moved(grey, (1.5, 0.5)))).max() < 0.1


@pytest.mark.parametrize("side", [32, 224])
def test_the_unit_does_not_depend_on_the_size(side):
    follow, usual = displacement.Displacement("cascade", 30.0), displacement.Displacement("cascade", 30.0)
    for shift in ((0, 0), (0, -2)):
        picture = moved(texture(), shift, mouth())
        resized = follow.next(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))
        expected = usual.next(picture)
    np.testing.assert_allclose(resized[MOUTH], expected[MOUTH], atol=0.5)


def test_a_later_reference_goes_on_where_the_earlier_one_was(monkeypatch):
    """With a new reference after every frame, small steps add up to a way that is too long to be seen at once."""
    monkeypatch.setattr(displacement, "_RENEWED", 0.0)
    grey, follow = texture(), displacement.Displacement("cascade", 30.0)
    found = [follow.next(moved(grey, (0, 2 * step), mouth())) for step in range(11)]
    np.testing.assert_allclose(found[-1][MOUTH], np.tile((0, 20), (4, 1)), atol=2.5)


def test_after_a_cut_another_face_begins_at_rest():
    follow = displacement.Displacement("cascade", 30.0)
    follow.next(moved(texture(), (0, 0)))
    follow.restart()
    assert not follow.next(moved(texture(seed=1), (0, 0))).any()
