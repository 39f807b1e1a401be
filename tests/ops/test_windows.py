import jax
import numpy as np
import pytest

from fedn_jax.core.types import Events, Store, VideoMeta
from fedn_jax.ops import windows

PAPER = windows.Geometry(64, 8, 2)
SMALL = windows.Geometry(4, 4, 2)  # owns 8 frames, reads 10


def events(*intervals):
    interval = np.array(intervals, np.float32).reshape(-1, 2)
    count = len(interval)
    zeros = np.zeros(count, np.int32)
    return Events(interval, interval.mean(-1), zeros, zeros, np.ones(count, bool))


def gathered(geometry, num_rows, start, segments, row=0, total=None):
    total = total or row + num_rows
    store = Store(np.arange(total, dtype=np.float32)[:, None], np.arange(total) % 5 != 3)
    arguments = [np.int32(x) for x in (row, num_rows, start, segments)]
    return windows.gather(store, *arguments, geometry)


def test_geometry_of_the_paper():
    assert (PAPER.frames, PAPER.rows) == (128, 134)
    assert windows.Geometry(64, 8, 2, frames_per_row=2).rows == 64


@pytest.mark.parametrize(
    "frames, hop, expected",
    [(128, 32, [0]), (130, 32, [0, 1]), (20, 32, [0]), (256, 64, [0, 32, 64]), (257, 128, [0, 64, 65])],
)
def test_starts_cover_the_video(frames, hop, expected):
    segments = windows.num_segments(frames, PAPER)
    assert windows.starts(segments, PAPER, hop).tolist() == expected
    assert expected[-1] * 2 + 128 >= frames


def test_window_events_by_the_share_inside():
    got = windows.window_events(events((0, 10), (95, 105), (99, 200), (150, 160)), 100, 128, 0.45, 3)
    np.testing.assert_allclose(got.interval[got.valid], [[0, 5], [0, 100], [50, 60]])
    got = windows.window_events(events((0, 10), (95, 105), (99, 200), (150, 160)), 100, 128, 0.9, 3)
    np.testing.assert_allclose(got.interval[got.valid], [[0, 100], [50, 60]])


def test_gather_reads_past_the_window_and_clamps_at_the_end():
    got = gathered(SMALL, 20, 1, 10)
    assert got.inputs[:, 0].tolist() == list(range(2, 12)) and got.inside.all()
    got = gathered(SMALL._replace(context="window"), 20, 1, 10)
    assert got.inputs[:, 0].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 9, 9]
    got = gathered(SMALL, 5, 0, 3)
    assert got.inputs[:, 0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 4, 4]
    assert got.inside.tolist() == [True, True, True, False]
    assert got.valid.tolist() == [True, True, True, False, True, True, True, True, True, True]


def test_gather_stays_inside_its_video():
    got = gathered(SMALL, 12, 4, 6, row=7, total=40)
    assert got.inputs.min() >= 7 and got.inputs.max() == 18


def test_gather_of_clip_features():
    got = gathered(SMALL._replace(frames_per_row=2), 6, 3, 6)
    assert got.inputs[:, 0].tolist() == [3, 4, 5, 5]
    assert got.inside.tolist() == [False, True, True, False]  # row 3 shows no face; the last is past the end


def test_a_segment_without_a_face_is_not_inside():
    store = Store(np.zeros((20, 1), np.float32), np.arange(20) >= 6)
    got = windows.gather(store, 0, 20, 0, 10, SMALL)  # segments hold frames 0-3, 2-5, 4-7, 6-9
    assert got.inside.tolist() == [False, False, True, True]


def test_plan():
    metas = [VideoMeta("s", "a", 20, 30.0, 1, 0, 20), VideoMeta("s", "b", 5, 30.0, 1, 20, 5)]
    plan = windows.plan(metas, [events((2, 6), (13, 19)), events()], SMALL, 4, 0.9)
    assert plan.video.tolist() == [0, 0, 0, 0, 1]
    assert plan.start.tolist() == [0, 2, 4, 6, 0]
    assert plan.row.tolist() == [0, 0, 0, 0, 20]
    assert plan.events.valid.sum(1).tolist() == [1, 0, 0, 1, 0]
    np.testing.assert_allclose(plan.events.interval[3, 0], [1, 7])
    assert plan.events.valid.shape == (5, 1)  # no more room than needed


def test_shifted_windows_have_the_expressions_of_their_new_place():
    """Against a plan made at those places; the last shift reaches the end of every video."""
    geometry, hop = windows.Geometry(4, 2, 2), 6
    metas = [VideoMeta("s", "a", 33, 30.0, 1, 0, 33), VideoMeta("s", "b", 5, 30.0, 1, 33, 5)]
    found = [events((0, 3), (4, 15), (13, 19), (30, 33)), events((1, 2))]
    plan = windows.plan(metas, found, geometry, hop, 0.0, shifts=hop // 2)
    assert plan.start.tolist() == [0, 3, 6, 9, 12, 0]  # the last place of the first video is 13
    for shift in range(hop // 2):
        moved = windows.shifted(plan, np.full(6, shift, np.int32), geometry)
        assert moved.start.tolist() == [*(min(start + shift, 13) for start in (0, 3, 6, 9, 12)), 0]
        for row, (start, video) in enumerate(zip(moved.start, moved.video, strict=True)):
            expected = windows.window_events(found[video], 2 * int(start), 8, 0.0, 4)
            here, there = (jax.tree.map(lambda x, one=one: x[one.valid], one) for one in (
                jax.tree.map(lambda x, row=row: x[row], moved.events), expected))  # fmt: skip
            np.testing.assert_array_equal(here.interval, there.interval)
            np.testing.assert_array_equal(np.maximum(here.apex, -1), np.maximum(there.apex, -1))
        traced = jax.jit(lambda shift: windows.shifted(plan, shift, geometry))(shift)
        jax.tree.map(np.testing.assert_array_equal, moved, traced)
    still = windows.plan(metas, found, geometry, hop, 0.0)
    assert still.start.tolist() == [0, 3, 6, 9, 12, 13, 0]
    jax.tree.map(np.testing.assert_array_equal, windows.shifted(still, 0, geometry), still)


def test_every_frame_of_every_length_is_owned():
    for frames in range(1, 300, 7):
        segments = windows.num_segments(frames, PAPER)
        owned = set()
        for start in windows.starts(segments, PAPER, 32):
            owned |= set(range(2 * start, 2 * start + 128))
        assert set(range(frames)) <= owned


def test_gather_under_vmap_and_jit():
    store = Store(np.arange(40, dtype=np.float32)[:, None], np.ones(40, bool))
    gather = jax.jit(jax.vmap(lambda start: windows.gather(store, 0, 40, start, 20, SMALL)))
    starts = np.arange(5, dtype=np.int32)
    for index, got in enumerate(gather(starts).inputs[:, :, 0]):
        assert got.tolist() == list(range(2 * index, 2 * index + 10))


@pytest.mark.parametrize("change", [{"segments": 0}, {"context": "all"}, {"frames_per_row": 3}])
def test_impossible_geometry_is_refused(change):
    with pytest.raises(ValueError, match="must be"):
        windows.check(PAPER._replace(**change))


@pytest.mark.parametrize("geometry", [SMALL, SMALL._replace(context="window"), windows.Geometry(4, 1, 1)])
def test_the_host_gathers_what_the_device_gathers(geometry):
    store = Store(np.random.default_rng(0).integers(0, 256, (40, 2, 3), dtype=np.uint8), np.arange(40) % 5 != 3)
    metas = [VideoMeta("s", "a", 25, 30.0, 1, 0, 25), VideoMeta("s", "b", 9, 30.0, 1, 25, 9)]
    plan = windows.plan(metas, [events((0, 10)), events()], geometry, 2 * geometry.stride, 0.5)
    found = windows.gather_host(store, plan, geometry)
    device = jax.vmap(windows.gather, in_axes=(None, 0, 0, 0, 0, None))
    expected = device(store, plan.row, plan.num_rows, plan.start, plan.num_segments, geometry)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert found.inputs.dtype == np.uint8 and not found.inside.all()
