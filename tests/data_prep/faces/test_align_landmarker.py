"""The landmarker's aligner: steady, in any direction, with one person until the film is cut."""

import cv2
import media
import numpy as np
import pytest

from data_prep.faces import align, shots
from data_prep.synthetic import faces, people
from fedn_jax.core.errors import UserError
from fedn_jax.inference import actions

SIZE = 128


def run(frames):
    return list(align.align_landmarker(iter(frames), SIZE))


def still(person, side=256):
    picture = faces.render(people.identity(3, person), np.zeros(len(people.ACTIONS)))
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def test_a_still_face_stays_still(landmarker):
    aligned = run(media.face_frames(1, 30))
    assert len(aligned) == 30 and all(one.valid and not one.cut for one in aligned)
    who, poses, turned = people.identity(3, 1), media.sway(30), []
    for one, (dx, dy, roll, _, _, scale) in zip(aligned, poses, strict=True):
        turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        eyes = np.array(who.place) + (dx, dy) + who.scale * scale * np.array([(-0.42, 0), (0.42, 0)]) @ turn.T
        turned.append(eyes @ one.transform[:, :2].T + one.transform[:, 2])
    assert np.std(turned, 0).max() < 0.1
    left, right = np.mean(turned, 0)
    assert abs(left[1] - right[1]) < 2 and 0.2 * SIZE < left[0] < 0.5 * SIZE < right[0] < 0.8 * SIZE


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_pictures_are_turned_upright(landmarker, turns):
    upright = run([still(1)] * 2)[0].image.astype(int)
    turned = run([np.rot90(still(1), turns).copy()] * 2)[0]
    assert turned.valid
    assert np.corrcoef(upright.ravel(), turned.image.ravel())[0, 1] > 0.97


def test_two_people_who_change_size_do_not_swap(landmarker):
    """The one who is larger at first is followed, also when the other has become larger."""
    film = []
    for t in range(110):
        frame = np.full((260, 520, 3), 90, np.uint8)
        share = min(t / 60, 1)
        for person, left, side in ((1, 0, int(250 - 90 * share)), (4, 260, int(160 + 90 * share))):
            frame[:side, left : left + side] = still(person, side)
        film.append(frame)
    aligned = run(film)
    assert sum(one.valid for one in aligned) > 100
    for one in aligned:
        if one.valid:
            back = cv2.invertAffineTransform(one.transform)
            assert (back @ (SIZE / 2, SIZE / 2, 1))[0] < 255


def test_a_cut_begins_anew_and_motion_and_light_do_not(landmarker):
    first, second = media.face_frames(1, 20), [255 - frame[:, ::-1] // 3 for frame in media.face_frames(4, 20)]
    brighter = [np.clip(frame.astype(int) + 40, 0, 255).astype(np.uint8) for frame in first]
    lengths = lambda film: [sum(1 for _ in shot) for shot in shots.split(iter(film))]
    assert lengths([*first, *brighter]) == [40]
    assert lengths([*first, *second]) == [20, 20]
    assert lengths([]) == []
    other = [np.roll(frame, 60, 1) for frame in media.face_frames(4, 20)]
    film = [*first, *second[:1], *other]
    aligned = run(film)
    assert len(aligned) == 41 and np.flatnonzero([one.cut for one in aligned]).tolist() == [20, 21]
    assert all(one.valid for one in aligned[:20]) and sum(one.valid for one in aligned[21:]) >= 18


def test_every_shot_has_its_own_rest():
    """Two people: one at rest at -2, the other at +1; together the second would smile all the time."""
    from data_prep.faces.landmarker import NAMES

    odds = np.full((600, 52), -2.0)
    smile = [NAMES.index("mouthSmileLeft"), NAMES.index("mouthSmileRight")]
    odds[300:, smile] = 1.0
    odds[400:440, smile] = 3.0
    valid, shot = np.ones(600, bool), np.repeat([0, 1], 300)
    assert actions.spot(odds, valid, NAMES, 30.0).detections.interval.tolist() != [[399, 441]]
    found = actions.spot(odds, valid, NAMES, 30.0, shot=shot)
    assert found.detections.interval.tolist() == [[399, 441]] and 400 <= found.apex[0] < 440


def test_without_the_file_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="run `fedn fetch face-landmarker` once"):
        run([still(1)])
