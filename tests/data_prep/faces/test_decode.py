"""From a file to aligned faces, and what is known of its time."""

import itertools
from pathlib import Path

import av
import media
import numpy as np
import pytest

from data_prep.faces.decode import Faces, Options, media_writer
from data_prep.media import frames
from data_prep.media.sources import Source

RATE, COUNT, HALF = 30, 24, 12


def facts_of(path, fps=None):
    faces = Faces(Source(Path(path)), Options(aligner="none", size=32, fps=fps))
    return [face.image for face in faces], faces.facts()


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A second after its 12th frame's end come the other 12, ten seconds late."""
    times = [20 * number + (number >= HALF) * 6000 for number in range(COUNT)]
    return media.write_video(tmp_path_factory.mktemp("decode") / "hole.mp4", media.numbered(COUNT), times=times)


def test_a_hole_is_masked(broken):
    """12 frames, 29 masked ones (a second less a frame), 12 frames; the rate is that of the frames that there are."""
    images, facts = facts_of(broken, RATE)
    valid = [*[1] * HALF, *[0] * (RATE - 1), *[1] * HALF]
    assert facts.valid.tolist() == valid and len(images) == len(valid)
    assert all(not image.any() for image, seen in zip(images, valid, strict=True) if not seen)
    assert facts.source.tolist() == [*range(HALF), *[HALF - 1] * (RATE - 1), *range(HALF, COUNT)]
    assert facts.num_source == COUNT and len(facts.notes) == 1 and "no picture between" in facts.notes[0]
    np.testing.assert_allclose(facts.seconds, np.arange(COUNT) / RATE + 10 * (np.arange(COUNT) >= HALF), atol=1e-6)
    np.testing.assert_allclose(facts.ends - facts.seconds, 1 / RATE, atol=1e-6)  # also of the frame before the hole


def test_the_rate_leaves_holes_out(broken):
    images, facts = facts_of(broken)
    assert len(images) == COUNT and facts.valid.all()
    assert facts.fps == pytest.approx(RATE) and facts.uneven


def test_nothing_is_noted_of_a_plain_video(tmp_path):
    path = media.write_video(tmp_path / "a.mp4", media.numbered(COUNT))
    _, facts = facts_of(path, 15)
    assert facts.notes == () and not facts.uneven
    np.testing.assert_allclose(facts.ends, [*facts.seconds[1:], COUNT / RATE])


def test_a_copy_for_the_page_has_the_clock_of_the_file(tmp_path):
    """Black until the first picture: a player would else begin the copy with it."""
    path = tmp_path / "copy.mp4"
    with media_writer(path, 3.0) as show:
        for number, image in enumerate(media.numbered(6)):
            show(image, 1 + number / RATE)
    copied = list(frames.stream(path))
    assert [round(frame.seconds, 3) for frame in copied] == [0, *[round(1 + n / RATE, 3) for n in range(6)]]
    assert copied[0].image.mean() < 5 and media.number_of(copied[3].image) == 2
    with av.open(str(path)) as container:
        assert container.start_time == 0
    assert all(later.seconds > earlier.seconds for earlier, later in itertools.pairwise(copied))
