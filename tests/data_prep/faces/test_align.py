"""A still face stays still to a fraction of a pixel; gaps are gaps; expressions survive."""

import cv2
import media
import numpy as np
import pytest

from data_prep.faces import align, find, register
from data_prep.synthetic import faces, people

SIZE = 112
POINTS = np.array([(-0.42, 0.0), (0.42, 0.0), (0.0, 0.2)])  # eyes and nose, face units


def truth(who, pose):
    """Where ``POINTS`` are in the frame: [3, 2]."""
    dx, dy, roll, _, _, scale = pose
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return np.array(who.place) + (dx, dy) + who.scale * scale * POINTS @ turn.T


def crop_points(who, aligned, poses):
    """Where ``POINTS`` are in the crops: [T, 3, 2]."""
    return np.array(
        [
            truth(who, pose) @ one.transform[:, :2].T + one.transform[:, 2]
            for one, pose in zip(aligned, poses, strict=True)
        ]
    )


def run(frames, aligner="cascade"):
    return list(align.ALIGNERS[aligner](iter(frames), SIZE))


@pytest.fixture(scope="module")
def still():
    frames = media.face_frames(1, 60)
    return frames, run(frames)


def test_one_result_per_frame(still):
    frames, aligned = still
    assert len(aligned) == len(frames)
    assert all(one.valid for one in aligned)
    assert all(one.image.shape == (SIZE, SIZE, 3) and one.image.dtype == np.uint8 for one in aligned)
    assert all(one.transform.shape == (2, 3) for one in aligned)


def test_still_face_stays_still_where_the_cascade_jitters(still):
    frames, aligned = still
    who, poses = people.identity(3, 1), media.sway(60)
    residual = crop_points(who, aligned, poses).std(0).max()
    finder, boxed = find.Finder(), []
    for frame, pose in zip(frames, poses, strict=True):
        found = finder.find(frame)
        to_crop = cv2.invertAffineTransform(register.to_pixels(found, SIZE))
        boxed.append(truth(who, pose) @ to_crop[:, :2].T + to_crop[:, 2])
    jitter = np.std(boxed, 0).max()
    assert residual < 0.1, residual
    assert jitter > 5 * residual, (jitter, residual)


@pytest.mark.parametrize("person", [1, 4])
def test_a_slow_turn_does_not_shake_the_crop(person):
    """A turn changes what the face looks like: the crop may drift with it, but not jump to and fro between frames."""
    who, rest = people.identity(0, person), np.zeros(len(people.ACTIONS))
    turn = 0.18 * np.sin(np.arange(50) / 50 * np.pi)
    frames = [faces.render(who, rest, (0, 0, 0, yaw, yaw / 3, 1), noise_key=t) for t, yaw in enumerate(turn)]
    aligned = run(frames)
    transforms = np.array([one.transform for one in aligned])
    corners = np.array([[100, 90, 1], [160, 90, 1], [128, 150, 1]]) @ transforms.transpose(0, 2, 1)  # [T, 3, 2]
    shake = np.abs(np.diff(corners, 2, axis=0)).max(-1)
    assert shake.mean() < 0.12, shake.mean()
    grey = np.array([one.image.mean(-1) for one in aligned])[:, 20:90, 25:90]
    assert np.abs(np.diff(grey, axis=0)).mean() < 3


def test_pixels_stand_still(still):
    _, aligned = still
    grey = np.array([one.image.mean(-1) for one in aligned])[:, 40:70, 30:80]
    unaligned = np.array([frame.mean(-1) for frame in still[0]])[:, 100:160, 90:170]
    assert np.abs(np.diff(grey, axis=0)).mean() < 2.5  # the camera's noise
    assert grey.std(0).mean() < 0.5 * unaligned.std(0).mean()


def test_upright_and_complete(still):
    who, aligned = people.identity(3, 1), still[1]
    left, right, _ = crop_points(who, aligned, media.sway(60)).mean(0)
    assert abs(left[1] - right[1]) < 2
    assert 25 < left[0] < 50 < 62 < right[0] < 87
    assert 38 < left[1] < 52


def test_expression_does_not_move_the_crop():
    who, frames, poses = people.identity(3, 1), [], media.sway(48)
    for t, pose in enumerate(poses):
        action = np.zeros(len(people.ACTIONS))
        for name in ("smile_l", "smile_r", "cheek_raise", "inner_brow", "outer_brow"):
            action[people.INDEX[name]] = np.sin(np.pi * t / 48) ** 2
        frames.append(faces.render(who, action, pose, noise_key=t))
    aligned = run(frames)
    assert crop_points(who, aligned, poses).std(0).max() < 0.4
    mouth = np.array([one.image[70:100, 25:87].astype(int) for one in aligned])
    assert np.abs(mouth[24] - mouth[0]).mean() > 5  # the smile is still there


def test_gap_is_black_and_recovered_in_place():
    frames, poses = list(media.face_frames(1, 60)), media.sway(60)
    who, gap = people.identity(3, 1), range(24, 36)
    noise = np.random.default_rng(0)
    for t in gap:
        frames[t] = noise.integers(100, 130, frames[0].shape, dtype=np.uint8)
    aligned = run(frames)
    valid = np.array([one.valid for one in aligned])
    assert not valid[list(gap)].any() and valid[:24].all() and valid[36 + 3 :].all()
    assert all(not aligned[t].image.any() and not aligned[t].transform.any() for t in gap)
    kept = [t for t in range(60) if valid[t]]
    points = crop_points(who, [aligned[t] for t in kept], poses[kept])
    assert points.std(0).max() < 0.15  # the same place after the gap as before


def test_starts_without_a_face():
    empty = [np.full((256, 256, 3), 90, np.uint8)] * 20
    valid = [one.valid for one in run([*empty, *media.face_frames(1, 24)])]
    assert not any(valid[:20]) and all(valid[20:])


def test_never_a_face():
    aligned = run([np.full((120, 160, 3), 90, np.uint8)] * 30)
    assert len(aligned) == 30 and not any(one.valid for one in aligned)


def test_empty_stream():
    assert run([]) == [] and run([], "none") == []


def test_one_frame():
    assert [one.valid for one in run(media.face_frames(1, 24)[:1])] == [True]


def test_cut_to_a_jumped_face_is_followed():
    frames = list(media.face_frames(1, 40))
    move = np.float32([[1, 0, 22], [0, 1, -16]])
    frames[20:] = [cv2.warpAffine(frame, move, (256, 256), borderMode=cv2.BORDER_REPLICATE) for frame in frames[20:]]
    poses = media.sway(40)
    poses[20:, 0] += 22
    poses[20:, 1] -= 16
    aligned = run(frames)
    assert all(one.valid for one in aligned)
    assert crop_points(people.identity(3, 1), aligned, poses).std(0).max() < 0.15


def test_memory_is_constant():
    """The aligner reads ahead by a fixed number of frames only."""
    read = 0

    def source():
        nonlocal read
        for frame in media.face_frames(1, 40):
            read += 1
            yield frame

    for done, _ in enumerate(align.align_cascade(source(), SIZE)):
        assert read <= done + align.LOOKAHEAD + 1


def test_none_takes_the_centre_square():
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[:, 20:80] = 200
    first, second = run([frame, np.zeros_like(frame)], "none")
    assert first.valid and (first.image[:, 4:-4] == 200).all()
    assert not second.valid and not second.image.any()


def test_none_keeps_an_aligned_frame_as_it_is():
    frame = np.random.default_rng(0).integers(1, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(run([frame], "none")[0].image, frame)


def test_registration_finds_a_known_similarity():
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.normal(128, 90, (200, 200)).astype(np.float32), (0, 0), 3)
    pose = np.array([[96.0, 0, 50], [0, 96.0, 50]])
    levels = register.template(texture, pose)
    angle, grow = 0.03, 1.02
    linear = grow * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array((98.0, 98.0))
    shift = centre - linear @ centre + (2.3, -1.4)
    moved = cv2.warpAffine(texture, np.column_stack([linear, shift]), (200, 200), flags=cv2.INTER_CUBIC)
    found = register.match(levels, 0.8 * moved + 20, pose, coarse=True)  # other light, too
    corners = np.array([(0, 0, 1), (1, 0, 1), (0.5, 0.5, 1)])
    expected = (corners @ pose.T - 0.5) @ linear.T + shift + 0.5
    np.testing.assert_allclose(corners @ found.pose.T, expected, atol=0.1)
    assert found.score > 0.99


def test_rigid_weights_leave_out_mouth_and_border():
    weights = register.rigid(96)
    assert weights[75:, :].max() < 0.05 and weights[:, :3].max() < 0.05
    assert weights[45, 48] > 0.9


def test_every_drawn_person_is_found():
    finder = find.Finder()
    frames = [faces.render(people.identity(5, i), np.zeros(len(people.ACTIONS)), noise_key=0) for i in range(12)]
    poses = [finder.find(frame) for frame in frames]
    assert all(pose is not None for pose in poses)


@media.needs_real
@pytest.mark.parametrize("name", ["single_face", "WolfgangLanger_Pexels"])
def test_real_faces_are_found_in_every_frame(name):
    from itertools import islice

    from data_prep.media import frames

    images = list(islice(frames.read(media.REAL / "videos" / f"{name}.mp4"), 72))
    aligned = run(images)
    assert all(one.valid for one in aligned)
    upper = np.array([one.image[30:60, 30:82].mean(-1) for one in aligned])
    raw = np.array([cv2.resize(image, (SIZE * 2, SIZE * 2))[:, :, 1] for image in images]).astype(float)
    assert np.abs(np.diff(upper, axis=0)).mean() < 6, np.abs(np.diff(raw, axis=0)).mean()
