"""Times as text, and clocks: hand-made numbers, and every frame comes back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedn_jax.formats import clocks, predictions, times
from fedn_jax.formats.clocks import Stamps, Steady
from fedn_jax.formats.predictions import Row
from fedn_jax.formats.times import Seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:12.5", 12.5), ("0:12,5", 12.5), ("1:02:03", 3723), ("90:00", 5400), ("12.5 s", 12.5), ("7s", 7),
        ("12", None), ("12.5", None), ("0:60", None), ("1:60:00", None), ("-1:00", None), ("0:1", None),
        ("9999:9999:00", None), ("x s", None), ("", None),
    ],
)  # fmt: skip
def test_times_as_people_write_them(text, seconds):
    assert times.parse(text) == seconds
    assert seconds is None or isinstance(times.parse(text), Seconds)


@given(st.integers(0, 10**9))
def test_what_is_shown_is_read(milliseconds):
    assert times.parse(times.shown(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-9)


def test_a_steady_clock():
    clock = Steady(30.0, first_frame=1)
    assert clock.seconds(31, 60) == (1.0, 2.0) and clock.frames(1.0, 2.0) == (31, 60)
    assert clock.frames(1.016, 1.99) == (31, 60) and clock.frames(1.017, 1.017) == (32, 32)  # the nearest; at least one


# Frames of 0.1 s, but for one of 0.5 s, and a hole after the fourth.
UNEVEN = Stamps(np.array([0.0, 0.1, 0.6, 0.7, 5.0]), np.array([0.1, 0.6, 0.7, 0.8, 5.1]), first_frame=1)


def test_a_clock_of_time_stamps():
    assert UNEVEN.seconds(2, 2) == (0.1, 0.6) and UNEVEN.seconds(4, 5) == (0.7, 5.1)
    assert UNEVEN.frames(0.1, 0.6) == (2, 2) and UNEVEN.frames(0.3, 0.69) == (2, 3)
    assert UNEVEN.frames(2.0, 2.1) == (4, 4)  # in the hole: the onset is nearest to frame 4
    assert UNEVEN.frames(5.0, 5.34) == (5, 7)  # which the video does not have: 0.1 s each
    assert UNEVEN.seconds(7, 7) == pytest.approx((5.2, 5.3))


@given(
    st.lists(st.floats(0.005, 2), min_size=1, max_size=30),
    st.data(),
    st.sampled_from([0, 1, 100]),
    st.sampled_from(range(4)),
)
def test_every_interval_comes_back_through_milliseconds(gaps, data, first, digits):
    edges = np.concatenate([[0.0], np.cumsum(gaps)])
    clock = Stamps(edges[:-1], edges[1:], first)
    onset, offset = sorted(data.draw(st.tuples(*[st.integers(first, first + len(gaps) - 1)] * 2)))
    begin, end = times.milliseconds(*clock.seconds(onset, offset))
    assert clock.frames(begin / 1000, end / 1000) == (onset, offset)


def test_tables_are_turned_where_clocks_are_known():
    known, other = ("s1", "a"), ("s2", "b")
    rows = [
        Row("line 2", known, Seconds(0.1), Seconds(0.6), "joy"), Row("line 3", known, 4, 5, "joy"),
        Row("line 4", other, Seconds(1), Seconds(2), "joy"),
    ]  # fmt: skip
    table = predictions.make("x.csv", "predictions", [known, other], rows)
    framed, left = clocks.in_frames(table, {known: UNEVEN})
    assert [row.span for row in framed.rows] == [(2, 2), (4, 5), (1, 2)] and left == [
        "video 's2' / 'b' has 1 row with times in seconds"
    ]
    assert [row.timed for row in framed.rows] == [False, False, True]
    timed, left = clocks.in_seconds(framed, {known: UNEVEN, other: Steady(10)})
    assert all(row.timed for row in timed.rows) and not left
    assert [row.span for row in timed.rows] == [(0.1, 0.6), (0.7, 5.1), (1, 2)]


@given(
    st.lists(st.sampled_from([1 / 30, 0.1, 1 / 29.97, 0.0334]), min_size=1, max_size=60), st.sets(st.integers(0, 59))
)
def test_runs_give_every_time_back(steps, holes):
    steps = np.array(steps)
    gaps = np.array([5.0 if k in holes else 0.0 for k in range(len(steps))])
    starts = np.round(np.concatenate([[0.0], np.cumsum(steps + gaps)[:-1]]), 3)  # milliseconds, as many files have them
    clock = Stamps(starts, starts + steps)
    runs = clock.runs()
    assert runs[0][0] == 0 and [run[0] for run in runs] == sorted({run[0] for run in runs})
    for frame in range(len(starts)):
        origin, second, step = next(run for run in reversed(runs) if run[0] <= frame)
        assert abs(second + (frame - origin) * step - clock.starts[frame]) <= clocks.EXACT + 1e-9
        assert abs(second + (frame - origin + 1) * step - clock.ends[frame]) <= clocks.EXACT + 1e-9


def test_a_steady_video_is_one_run():
    starts = np.arange(100000) / 29.97
    ((frame, second, step),) = Stamps(starts, np.append(starts[1:], 100000 / 29.97)).runs()
    assert (frame, second) == (0, 0.0) and step == pytest.approx(1 / 29.97, abs=1e-8)
