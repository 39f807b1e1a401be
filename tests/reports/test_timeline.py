"""Positions on the timelines, by hand."""

import numpy as np
import pytest

from fedn_jax.core.types import Detections, Events, VideoMeta
from fedn_jax.reports import timeline

CLASSES = ["happiness", "anger", "a very long name of an emotion"]


def video(threshold=0.5):
    events = Events(
        np.array([[10, 20], [40, 60], [80, 90], [0, 0]], np.float32),
        np.array([12, -1, 85, -1], np.float32),
        np.array([0, 1, 2, 0], np.int32),
        np.zeros(4, np.int32),
        np.array([1, 1, 1, 0], bool),
    )
    detections = Detections(
        np.array([[10, 20], [42, 60], [30, 36], [80, 90]], np.float32),
        np.array([0.9, 0.8, 0.5, 0.4], np.float32),
        np.array([0, 0, 1, 2], np.int32),
        np.ones(4, bool),
    )
    return timeline.Video(VideoMeta("s1", "v1", 100, 10.0, 1, 0, 100), events, detections, threshold)


MATCHED = np.array([0, 1, -1, -1], np.int32)


def test_outcomes_and_words():
    drawn = timeline.layout(video(), MATCHED, CLASSES)
    assert [item["outcome"] for item in drawn["annotated"]] == ["found", "found", "missed"]
    assert [item["outcome"] for item in drawn["detected"]] == ["correct", "confused", "false"]
    assert (drawn["spotted"], drawn["correct"], drawn["seconds"]) == (2, 1, "10.0")
    first = drawn["annotated"][0]
    assert first["seconds"] == "1.00 to 2.00 s" and first["frames"] == "frames 11 to 20"  # files count from 1
    assert [item["frame"] for item in drawn["annotated"]] == [12, 50, 85]  # no apex: the middle
    assert drawn["annotated"][2]["short"] == "a very long n…"
    assert len({mark for mark, _ in timeline.OUTCOMES.values()}) == len(timeline.OUTCOMES)  # not by colour alone


def test_bars_lie_where_the_expressions_are():
    drawn = timeline.layout(video(), MATCHED, CLASSES)
    inner = timeline.WIDTH - timeline.LEFT - timeline.RIGHT
    assert drawn["annotated"][0]["x"] == pytest.approx(timeline.LEFT + 0.1 * inner)
    assert drawn["annotated"][0]["width"] == pytest.approx(0.1 * inner)
    ticks = [shape for shape in drawn["drawing"][0][1] if shape.look == "dim"]
    assert [tick.content for tick in ticks] == ["0 s", *(str(i) for i in range(1, 11))]
    assert ticks[-1].x == pytest.approx(timeline.WIDTH - timeline.RIGHT)
    bars = [shapes[1] for _, shapes in drawn["drawing"][1:]]
    assert [bar.look for bar in bars] == ["found", "found", "missed", "correct", "confused", "false"]
    assert (bars[0].x, bars[0].width) == (drawn["annotated"][0]["x"], drawn["annotated"][0]["width"])
    assert drawn["drawing"][1][0] == "annotated happiness, 1.00 to 2.00 s, frames 11 to 20: annotated, spotted"


def test_the_threshold_is_compared_as_everywhere():
    drawn = timeline.layout(video(threshold=0.8), MATCHED, CLASSES)  # 0.8 is below float32(0.8), 0.9 above float32(0.9)
    assert [item["note"] for item in drawn["detected"]] == ["0.90", "0.80"]
    assert [item["note"] for item in timeline.layout(video(0.9), MATCHED, CLASSES)["detected"]] == ["0.90"]


def test_one_emotion_cannot_be_wrong():
    one = video()
    one = one._replace(events=one.events._replace(emotion=np.zeros(4, int)),
                       detections=one.detections._replace(emotion=np.zeros(4, int)))  # fmt: skip
    drawn = timeline.layout(one, MATCHED, ["expression"])
    assert [item["words"] for item in drawn["detected"]] == ["spotted", "spotted", "matches no annotated expression"]
    assert "confused" not in drawn["outcomes"]


def test_pictures_are_asked_for_once_and_become_small_squares():
    asked = []

    def thumbnail(subject, name, frames):
        asked.append((subject, name, frames))
        return [np.full((120, 90, 3), frame, np.uint8) for frame in frames]

    drawn = timeline.layout(video(), MATCHED, CLASSES, thumbnail)
    assert asked == [("s1", "v1", [12, 14, 32, 50, 85])]
    images = [item["image"] for item in drawn["annotated"] + drawn["detected"]]
    assert all(image.startswith("data:image/jpeg;base64,") and len(image) < 2000 for image in images)
    without = timeline.layout(video(), MATCHED, CLASSES, lambda *_: None)
    assert without["annotated"][0]["image"] is None and without["height"] < drawn["height"]


def test_nothing_to_draw():
    nothing = video(threshold=2.0)._replace(events=Events(*(x[:0] for x in video().events)))
    drawn = timeline.layout(nothing, np.full(4, -1), CLASSES, lambda *_: pytest.fail("no picture is needed"))
    assert drawn["annotated"] == drawn["detected"] == [] and len(drawn["drawing"]) == 1
    assert drawn["drawing"][0][1][0].y == 0


def placed(starts):
    """What the timeline shows of annotations of one frame in a video of 860 frames: one unit of the drawing each."""
    starts = np.asarray(starts, np.float32)
    same = np.zeros(len(starts), np.int32)
    events = Events(np.stack([starts, starts + 1], 1), starts, same, same, np.ones(len(starts), bool))
    one = timeline.Video(VideoMeta("s", "v", 860, 10.0, 1, 0, 860), events, video().detections, 2.0)
    return timeline.layout(one, np.full(4, -1), ["a"])["annotated"]


SLOT = timeline.PICTURE + 10


@pytest.mark.parametrize("count", [1, 2, 7, 11])
def test_callouts_keep_order_distance_and_borders(count):
    rng = np.random.default_rng(count)
    for starts in (np.sort(rng.uniform(0, 859, count)), np.zeros(count), np.full(count, 859.0)):
        found = placed(starts)
        places = [item["place"] for item in found]
        assert {item["row"] for item in found} == {0}
        assert all(b - a >= SLOT - 1e-9 for a, b in zip(places, places[1:], strict=False))
        assert places[0] >= timeline.LEFT + SLOT / 2 - 1e-9
        assert places[-1] <= timeline.WIDTH - timeline.RIGHT - SLOT / 2 + 1e-9


def test_callouts_with_room_stay_and_many_take_rows():
    for item, start in zip(placed([500, 100]), (500, 100), strict=True):
        assert item["place"] == pytest.approx(timeline.LEFT + start + 0.5)
    assert [item["row"] for item in placed(np.arange(0, 800, 50))] == [0, 1] * 8


@pytest.mark.parametrize("seconds", [0.3, 2, 7, 75.8, 99.99, 100, 5000])
def test_ticks_are_round_and_few(seconds):
    meta = VideoMeta("s1", "v1", round(100 * seconds), 100.0, 1, 0, round(100 * seconds))
    _, axis = timeline.layout(video()._replace(meta=meta), MATCHED, CLASSES)["drawing"][0]
    found = [shape.content for shape in axis if shape.look == "dim"]
    assert 2 <= len(found) <= 11 and found[0] == "0 s"
    expected = {75.8: range(0, 71, 10), 2: (f"{i / 5:g}" for i in range(11))}.get(seconds)
    assert expected is None or found[1:] == list(map(str, expected))[1:]
