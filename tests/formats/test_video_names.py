"""Videos by their names: those that results go by lead back to the video."""

import doctest
from pathlib import Path

from finds import TEXT
from hypothesis import given

from fedn_jax.formats import video_names


def test_doctests():
    assert doctest.testmod(video_names).failed == 0


@given(TEXT, TEXT)
def test_the_name_of_its_results_means_the_video(folder, name):
    folder, name = (text.replace("/", "").replace("\0", "") or "a" for text in (folder, name))
    path = Path("videos") / folder / f"{name}.mp4"
    known = [(path.parent.name, path.stem), ("other", path.stem), ("other", "another")]
    short, long, *_ = video_names.of_file(path)
    assert video_names.meant(("", long), known) == known[:1]
    assert video_names.meant(("", short), known) == known[:2]  # of two persons
    assert video_names.meant((path.parent.name, short), known) == known[:1]


def test_a_video_of_somebody_else_is_not_meant():
    assert video_names.meant(("ben", "before"), [("anna", "before")]) == []
    assert video_names.meant(("ben", "before"), [("before", "before")]) == [("before", "before")]  # of nobody
