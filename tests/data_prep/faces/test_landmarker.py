"""Boxes and squares by hand; on drawn faces, whose eyes are known, the points are where the eyes are."""

import cv2
import media
import numpy as np
import pytest

from data_prep.faces import landmarker as networks
from data_prep.synthetic import faces, people
from fedn_jax.core.errors import UserError

EYES = ((33, 133), (362, 263))  # corners of the eye at the left and at the right of the picture


@pytest.fixture(scope="module")
def net(landmarker):
    return networks.Landmarker(landmarker.read_bytes())


def test_anchors_by_hand():
    anchors = networks._anchors()
    assert anchors.shape == (896, 2)  # 16 x 16 cells with 2 anchors, 8 x 8 with 6
    assert anchors[0].tolist() == anchors[1].tolist() == [4, 4]
    assert anchors[2].tolist() == [12, 4]  # along the row first
    assert anchors[512].tolist() == anchors[517].tolist() == [8, 8]
    assert anchors[-1].tolist() == [120, 120]


def test_squares_by_hand():
    box = np.array([10.0, 20.0, 40.0, 20.0])  # centre (30, 30), longer side 40, so the square has side 60
    level = networks.square(box, np.array([20.0, 30.0]), np.array([40.0, 30.0]))
    np.testing.assert_allclose(level, [[60, 0, 0], [0, 60, 0]], atol=1e-12)
    turned = networks.square(box, np.array([30.0, 20.0]), np.array([30.0, 40.0]))  # the head lies on its side
    np.testing.assert_allclose(turned @ (0.5, 0.5, 1), [30, 30])
    np.testing.assert_allclose(turned[:, 0], [0, 60], atol=1e-12)  # what is right in the crop is down in the picture


def test_overlapping_boxes_are_one_face():
    raw = np.zeros((4, 8, 2))
    raw[:, 0], raw[:, 1] = [(10, 10), (12, 10), (60, 60), (10, 10)], 20
    found = networks._distinct(raw, np.array([0.9, 0.6, 0.8, 0.2]))
    assert [face.score for face in found] == [0.9, 0.8]
    # (0.9 x 10 + 0.6 x 12) / 1.5 = 10.8; the fourth is below 0.5 and does not count
    np.testing.assert_allclose(found[0].box, [0.8, 0, 20, 20])


@pytest.mark.parametrize("person", [0, 2, 5])
def test_points_lie_on_the_eyes_of_drawn_faces(net, person):
    who = people.identity(3, person)
    frame = faces.render(who, np.zeros(len(people.ACTIONS)), (0, 0, 0.1, 0, 0, 1), noise_key=0)
    (face,) = net.find(frame)
    mesh = net.mesh(frame, net.mesh(frame, face.pose).pose)
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    known = np.array(who.place) + who.scale * np.array([(-0.42, 0), (0.42, 0)]) @ turn.T
    found = np.array([mesh.points[list(pair)].mean(0) for pair in EYES])
    assert mesh.presence > 0.9
    assert np.abs(found - known).max() < 0.12 * np.hypot(*(known[1] - known[0]))


def test_points_move_with_the_picture(net):
    frame = media.face_frames(1, 2)[0]
    (face,) = net.find(frame)
    mesh = net.mesh(frame, face.pose)
    move = np.array([[0, -1, 255], [1, 0, 0]], np.float64)  # a quarter turn, exact on the pixel grid
    turned = net.mesh(
        np.rot90(frame, -1).copy(), move @ np.vstack([face.pose, (0, 0, 1)]) + [[0, 0, 0.5], [0, 0, -0.5]]
    )
    expected = mesh.points @ move[:, :2].T + move[:, 2]
    assert np.abs(turned.points - expected).max() < 3


@pytest.mark.parametrize("shape", [(256, 100), (100, 256)])
def test_boxes_are_in_pixels_of_any_shape_of_picture(net, shape):
    frame = media.face_frames(1, 2)[0]
    (face,) = net.find(frame)
    height, width = shape
    wide = cv2.copyMakeBorder(frame, height, 0, width, 0, cv2.BORDER_CONSTANT)
    (moved,) = net.find(wide)
    assert np.abs(moved.box - face.box - (width, height, 0, 0)).max() < 12


def test_a_smile_raises_the_coefficients_of_a_smile(net):
    who = people.identity(3, 1)
    found = {}
    for strength in (0.0, 1.0):
        action = np.zeros(len(people.ACTIONS))
        action[[people.INDEX["smile_l"], people.INDEX["smile_r"]]] = strength
        frame = faces.render(who, action, (0, 0, 0, 0, 0, 1), noise_key=0)
        shapes = net.blendshapes(net.mesh(frame, net.find(frame)[0].pose).points)
        assert shapes.shape == (52,) == (len(networks.NAMES),) and shapes.min() >= 0 and shapes.max() <= 1
        found[strength] = dict(zip(networks.NAMES, shapes.tolist(), strict=True))
    assert found[1.0]["mouthSmileLeft"] > found[0.0]["mouthSmileLeft"] + 0.3
    assert found[1.0]["mouthSmileRight"] > found[0.0]["mouthSmileRight"] + 0.3


def test_no_face_in_noise_and_none_in_a_black_picture(net):
    assert net.find(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)) == []
    assert net.find(np.zeros((50, 80, 3), np.uint8)) == []


def test_what_is_no_such_file_is_refused():
    with pytest.raises(UserError, match="cannot be read by OpenCV"):
        networks.Landmarker(b"something else")
