"""The built-in data set: faces that a detector finds, scripts that hold, files that can be read."""

import csv
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data_prep import synthetic
from data_prep.synthetic import dataset, faces, people
from fedn_jax.core.errors import UserError
from fedn_jax.core.schema import KINDS, MICRO_SECONDS

SETTINGS = {
    "num_subjects": 2,
    "videos_per_subject": 1,
    "seconds": 3.0,
    "fps": 30,
    "workers": 1,
    "progress": False,
}


def action(**levels: float) -> np.ndarray:
    """An action by names."""
    values = np.zeros(len(people.ACTIONS), np.float32)
    for name, level in levels.items():
        values[people.INDEX[name]] = level
    return values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "data"
    synthetic.write(out, **SETTINGS)
    return out


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_same_arguments_draw_the_same_frame() -> None:
    who = synthetic.identity(3, 5)
    plan = synthetic.script(3, 5, 0, 60)
    first = faces.render(who, plan.actions[9], plan.pose[9], plan.light[9], 9)
    faces.layers.cache_clear()
    again = faces.render(synthetic.identity(3, 5), plan.actions[9], plan.pose[9], plan.light[9], 9)
    assert first.shape == (people.SIZE, people.SIZE, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    other = faces.render(who, plan.actions[9], plan.pose[9], plan.light[9], 10)
    assert (first != other).any()  # the camera's noise


def test_scripts_and_people_follow_from_the_seed() -> None:
    one, same, other = (synthetic.script(seed, 1, 1, 300) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.actions, same.actions)
    np.testing.assert_array_equal(one.pose, same.pose)
    assert one.events == same.events != other.events
    assert synthetic.identity(0, 1) == synthetic.identity(0, 1) != synthetic.identity(1, 1)


@pytest.mark.parametrize(
    ("num_frames", "fps"), [(600, 30), (600, 200), (300, 25), (90, 30), (40, 10), (7, 30), (1, 30)]
)
def test_events_keep_their_promises(num_frames: int, fps: int) -> None:
    for seed in range(12):
        plan = synthetic.script(seed, seed, seed % 3, num_frames, fps)
        assert plan.actions.shape == (num_frames, len(people.ACTIONS))
        assert plan.pose.shape == (num_frames, 6) and plan.light.shape == (num_frames, 2)
        assert all(np.isfinite(array).all() for array in plan[:3])
        end = -1
        for event in plan.events:
            assert end < event.onset <= event.apex <= event.offset < num_frames
            if end >= 0:
                assert event.onset - end > 0.4 * fps
            length = (event.offset - event.onset + 1) / fps
            assert (length <= MICRO_SECONDS) == (event.kind == "micro") and length <= 4
            assert event.kind in KINDS and event.emotion in synthetic.CLASSES and 0 < event.strength <= 1
            end = event.offset


def test_every_subject_shows_every_class() -> None:
    for subject in range(8):
        events = [event for video in (0, 1) for event in synthetic.script(0, subject, video, 600).events]
        counts = [sum(event.emotion == name for event in events) for name in synthetic.CLASSES]
        assert min(counts) >= 1 and 8 <= sum(counts) <= 14
        assert {event.kind for event in events} == set(KINDS)


def test_expressions_are_silent_outside_their_events() -> None:
    brow = [people.INDEX[name] for name in ("brow_lower", "cheek_raise", "smile_l", "dimple_l", "corner_down")]
    plan = synthetic.script(4, 0, 0, 600)
    shown = plan.actions[:, brow].max(1) > 0
    for event in plan.events:
        shown[event.onset : event.offset + 1] = False
    assert not shown.any()


@pytest.mark.parametrize(
    ("levels", "rows"),
    [
        ({"smile_l": 1, "smile_r": 1}, "mouth"),
        ({"jaw_drop": 1}, "mouth"),
        ({"lip_press": 1}, "mouth"),
        ({"inner_brow": 1, "outer_brow": 1}, "brow"),
        ({"brow_lower": 1}, "brow"),
        ({"lid_raise": 1}, "eye"),
        ({"blink": 1}, "eye"),
    ],
)
def test_an_action_changes_its_part_of_the_face(levels: dict[str, float], rows: str) -> None:
    who = synthetic.identity(0, 2)
    change = faces.render(who, action(**levels)).astype(int) - faces.render(who, action())
    change = np.abs(change).sum(2)
    low, high = {"mouth": (0.45, 1.75), "brow": (-0.8, 0.1), "eye": (-0.3, 0.3)}[rows]
    top, bottom = (round(who.place[1] + y * who.scale) for y in (low, high))
    inside = change[top:bottom].sum()
    assert inside > 2000
    assert inside > 0.75 * change.sum()


def test_videos_and_annotations_can_be_read(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["annotations.csv", "synthetic.json", "videos"]
    assert sorted(path.name for path in (folder / "videos").iterdir()) == ["s01_v1.mp4", "s02_v1.mp4"]
    frames = decode(folder / "videos" / "s02_v1.mp4")
    assert len(frames) == 90 and frames[0].shape == (people.SIZE, people.SIZE, 3)
    plan = synthetic.script(0, 1, 0, 90)
    drawn = faces.render(synthetic.identity(0, 1), plan.actions[50], plan.pose[50], plan.light[50], 50)
    assert np.abs(frames[50].astype(int) - drawn).mean() < 6
    with open(folder / "annotations.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["subject"] == "s02"]
    assert tuple(rows[0]) == dataset.COLUMNS
    assert [int(row["onset"]) - 1 for row in rows] == [event.onset for event in plan.events]
    assert [int(row["offset"]) - 1 for row in rows] == [event.offset for event in plan.events]
    assert [row["emotion"] for row in rows] == [event.emotion for event in plan.events]
    assert {row["video"] for row in rows} == {"s02_v1"}


def test_a_subject_does_not_depend_on_how_many_there_are(folder: Path, tmp_path: Path) -> None:
    synthetic.write(tmp_path, **SETTINGS | {"num_subjects": 1})
    for one, two in zip(decode(tmp_path / "videos/s01_v1.mp4"), decode(folder / "videos/s01_v1.mp4"), strict=True):
        np.testing.assert_array_equal(one, two)
    lines = (folder / "annotations.csv").read_text().splitlines()
    assert (tmp_path / "annotations.csv").read_text().splitlines() == [li for li in lines if "s02" not in li]


def test_complete_videos_are_kept_and_missing_ones_are_drawn(folder: Path) -> None:
    kept, gone = (folder / "videos" / f"{name}_v1.mp4" for name in ("s01", "s02"))
    before, content = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    synthetic.write(folder, **SETTINGS)
    assert kept.stat().st_mtime_ns == before
    assert gone.read_bytes() == content


def test_other_settings_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"synthetic.json.*\(seed\).*another folder") as caught:
        synthetic.write(folder, **SETTINGS, seed=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="num_subjects must be at least 1; got 0"):
        synthetic.write(folder, **SETTINGS | {"num_subjects": 0})


def test_a_video_without_expressions_has_one_row(tmp_path: Path) -> None:
    synthetic.write(tmp_path, **SETTINGS | {"num_subjects": 1, "seconds": 0.5})
    assert (tmp_path / "annotations.csv").read_text().splitlines()[1:] == ["s01,s01_v1,,,,,"]


def test_the_detector_finds_the_faces() -> None:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    found = []
    for subject in range(6):
        who, plan = synthetic.identity(0, subject), synthetic.script(0, subject, 0, 400)
        for t in range(0, 400, 20):
            frame = faces.render(who, plan.actions[t], plan.pose[t], plan.light[t], t)
            grey = cv2.equalizeHist(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
            boxes = cascade.detectMultiScale(grey, 1.1, 5, minSize=(60, 60))
            x, y = np.array(who.place) + plan.pose[t, :2]
            found.append(any(bx < x < bx + w and by < y < by + h for bx, by, w, h in boxes))
    assert np.mean(found) >= 0.99


def test_stills_are_labelled_and_of_other_people() -> None:
    rows = list(synthetic.stills(0, num_identities=3, per_identity=12))
    assert len(rows) == 36
    for frame, label, strength in rows:
        assert frame.shape == (people.SIZE, people.SIZE, 3) and frame.dtype == np.uint8
        assert (label == -1) == (strength == 0) and -1 <= label < len(synthetic.CLASSES)
    assert {label for _, label, _ in rows} == {-1, 0, 1, 2, 3}
    strangers = {synthetic.identity(0, synthetic.FIRST_STILL + i) for i in range(3)}
    assert not strangers & {synthetic.identity(0, i) for i in range(50)}
    again = next(synthetic.stills(0, synthetic.FIRST_STILL, 1, 12))
    np.testing.assert_array_equal(again[0], rows[0][0])
