"""Who is in a film: numbers that stay, a cut that begins anew, and each person alone."""

import cv2
import numpy as np
import pytest

from data_prep.faces import persons
from data_prep.media.frames import Frame
from data_prep.synthetic import faces, people
from fedn_jax.core.errors import UserError

LEFT, RIGHT = (1, 0), (4, 260)  # a person and where the picture begins


def still(person, side):
    picture = faces.render(people.identity(3, person), np.zeros(len(people.ACTIONS)))
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def picture(places, sides=(240, 240)):
    """Drawn people beside one another, [260, 520, 3]."""
    frame = np.full((260, 520, 3), 90, np.uint8)
    for (person, left), side in zip(places, sides, strict=False):
        frame[:side, left : left + side] = still(person, side)
    return frame


def film(pictures, rate=10.0):
    for index, image in enumerate(pictures):
        yield Frame(image, index, index / rate)


def centres(person):
    return person.boxes[:, 0] + person.boxes[:, 2] / 2


def test_two_people_who_change_size_keep_their_numbers(landmarker):
    sides = [(240 - 5 * t, 140 + 5 * t) for t in range(20)]
    first, second = persons.follow(film(picture([LEFT, RIGHT], pair) for pair in sides))
    assert (first.number, first.start, len(first.boxes)) == (1, 0, 20)
    assert (second.number, second.start, len(second.boxes)) == (2, 0, 20)
    assert (centres(first) < 260).all() and (centres(second) > 260).all()
    assert first.boxes[0, 2] > first.boxes[-1, 2] and second.boxes[0, 2] < second.boxes[-1, 2]


def test_a_short_absence_is_the_same_person_and_a_long_one_is_not(landmarker):
    here = picture([LEFT])
    gone = cv2.blur(here, (61, 61))  # the same place, without a face
    (one,) = persons.follow(film([here] * 12 + [gone] * 5 + [here] * 12))
    assert (one.start, len(one.boxes)) == (0, 29)
    assert [(one.start, len(one.boxes)) for one in persons.follow(film([here] * 12 + [gone] * 15 + [here] * 12))] == [
        (0, 12),
        (27, 12),
    ]
    assert persons.follow(film([here] * 5 + [gone] * 20)) == []  # half a second


def test_a_cut_begins_with_other_people(landmarker):
    first, second = picture([LEFT]), 255 - np.roll(picture([LEFT]), 8, 1)
    found = persons.follow(film([first] * 12 + [second // 2] * 12 + [first] * 12))
    assert [(one.number, one.start, len(one.boxes)) for one in found if one.start in (0, 24)] == [
        (found[0].number, 0, 12),
        (found[-1].number, 24, 12),
    ]


def test_only_one_person_is_shown():
    boxes = np.array([[100.0, 50.0, 40.0, 40.0]])
    one = persons.Person(2, 7, boxes)
    image = np.full((200, 300, 3), 9, np.uint8)
    seen = one.only(Frame(image, 7, 0.7)).image
    # the square of 2.2 x 40 around (120, 70)
    assert not seen[:, :76].any() and seen[70, 76:164].all() and not seen[:, 164:].any() and seen[26:114, 120].all()
    assert one.only(Frame(image, 6, 0.6)).image is None and one.only(Frame(image, 8, 0.8)).image is None


def test_choice():
    people = [persons.Person(n, 0, np.array([[0, 0, side, side]], float)) for n, side in ((1, 5), (2, 9), (3, 7))]
    assert persons.choose(people, "all") == people
    assert [one.number for one in persons.choose(people, "2")] == [2, 3]
    for wrong in ("0", "-1", "most", ""):
        with pytest.raises(UserError, match="--persons must be all, largest, or a number from 1 on"):
            persons.choose(people, wrong)
