"""Optical flow of aligned faces: by hand, on a picture that moves, and kept."""

import cv2
import numpy as np
import pytest
from toys import quiet

from data_prep.faces import flow
from fedn_jax.core.errors import UserError

EYES = flow.EYES["cascade"]


def blurred(seed, side=112):
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def difference(first, second):
    """Stands for flow."""
    return np.stack([first.astype(np.float32), second.astype(np.float32)], -1)


def test_strain_by_hand():
    """Of u = a x + b y, v = c x + d y, away from the first row and column: a constant, so it is 1 of [0, 1]."""
    a, b, c, d = 0.3, 0.2, 0.5, 0.1
    y, x = np.mgrid[:20, :20].astype(np.float32)
    found = flow.channels(np.stack([a * x + b * y, c * x + d * y], -1))
    np.testing.assert_allclose(found[1:, 1:, 2], 1, atol=1e-5)
    edge = np.sqrt(a**2 + c**2 / 2)  # of the first row: nothing from above
    np.testing.assert_allclose(found[0, 1:, 2], edge / np.sqrt(a**2 + d**2 + (b + c) ** 2 / 2), atol=1e-4)
    assert found[0, 0, 2] == 0 and found.min() == 0 and found.max() == 1
    assert (flow.channels(np.full((9, 9, 2), 3.0)) == 0).all()


def test_regions_lie_in_the_face_and_apart():
    (left, top, right, bottom), (left2, top2, right2, bottom2) = flow.boxes(1000, EYES)
    assert (left, top, right, bottom) == (169, 199, 831, 499) and (left2, top2, right2, bottom2) == (291, 599, 709, 851)
    picture = np.zeros((112, 112, 3), np.float32)
    picture[:60], picture[60:] = 0.25, 0.75
    found = flow.regions(picture, EYES)
    assert found.shape == (42, 42, 3) and (found[:21] == 0.25).all() and (found[21:] == 0.75).all()


def test_a_picture_that_moves():
    first = flow.grey(blurred(0))
    moved = cv2.warpAffine(first, np.float32([[1, 0, 1.5], [0, 1, 0]]), (112, 112), borderMode=cv2.BORDER_REFLECT)
    found = flow.tvl1(first, moved)[20:-20, 20:-20]
    assert np.abs(found[..., 0] - 1.5).max() < 0.1 and np.abs(found[..., 1]).max() < 0.1


def test_pairs_are_computed_once(tmp_path, monkeypatch):
    frames, cache, asked = np.stack([blurred(seed) for seed in range(4)]), tmp_path / "flow", []

    def counted(first, second):
        asked.append(1)
        return difference(first, second)

    monkeypatch.setattr(flow, "KEPT_EVERY", 2)
    samples = flow.make_samples(frames, "cascade", cache, quiet, counted)
    pairs = np.array([[0, 1], [2, 3], [0, 1], [1, 1]])
    first = samples(pairs)
    assert first.shape == (4, 42, 42, 3) and first.dtype == np.float16 and len(asked) == 3
    assert np.array_equal(first[0], first[2]) and not np.array_equal(first[0], first[1])
    again = flow.make_samples(frames, "cascade", cache, quiet, counted)(pairs[::-1])
    assert np.array_equal(again[::-1], first) and len(asked) == 3
    with pytest.raises(UserError, match="got the aligner 'openface'"):
        flow.make_samples(frames, "openface", cache, quiet)
    assert len(list(cache.iterdir())) == 2
    next(cache.iterdir()).write_bytes(b"no numbers")
    with pytest.raises(UserError, match="remove it, and it is computed again"):
        flow.make_samples(frames, "cascade", cache, quiet)


def test_an_opencv_without_it_is_one_line(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(UserError, match="opencv-contrib-python-headless"):
        flow.tvl1(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8))
