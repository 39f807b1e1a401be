"""Summaries of persons and conditions: counted by hand, and tests that must and must not find something."""

import doctest

import numpy as np
import pytest
from scipy import stats

from fedn_jax.core.errors import UserError
from fedn_jax.evaluation import summary
from fedn_jax.formats import design, elan
from fedn_jax.formats.design import Expression, Observed, Part

VIDEOS = {
    ("anna", "a"): Observed("anna", 60.0, [(10.0, 20.0)], [
        Expression(5.0, 7.0, "joy"), Expression(6.0, 8.0, "sad"), Expression(29.0, 31.0, "joy"),
        Expression(40.0, 41.0, "joy"),
    ]),
    ("ben", "b"): Observed("ben", 30.0, [], []),
}  # fmt: skip
PARTS = [
    Part("line 2", ("anna", "a"), "anna", "film", 0.0, 30.0), Part("line 3", ("anna", "a"), "anna", "rest", 30.0, 60.0),
    Part("line 4", ("ben", "b"), "ben", "film", 0.0, 30.0),
]  # fmt: skip
HEADER = "subject,video,what,onset,apex,offset,onset_seconds,offset_seconds,seconds,emotion,score\n"
FOUND = HEADER + (
    "anna,a,video,1,,1800,0.0,60.0,60.0,,\nanna,a,no face,,,,10,20,10,,\nanna,a,expression,151,160,210,5,7,2,joy,0.9\n"
    "anna,b,video,1,,900,0,30,30,,\n"
)


def test_doctests():
    assert doctest.testmod(summary).failed == 0


def test_by_hand():
    cells = {(cell.person, cell.condition, cell.emotion): cell for cell in summary.persons(VIDEOS, PARTS)}
    film = cells["anna", "film", "all"]
    assert film.seconds == 20 and film.count == 3 and film.rate == pytest.approx(9)
    assert film.duration == 2 and film.latency == 5
    assert film.share == pytest.approx((3 + 1) / 20)  # two overlap: 5 to 8; the last is cut at 30 s
    rest = cells["anna", "rest", "joy"]
    assert (rest.count, rest.latency, rest.duration) == (1, 10, 1)  # the one that began before counts in the film
    assert rest.share == pytest.approx((1 + 1) / 30)  # but its second of the rest is filled
    none = cells["ben", "film", "all"]
    assert (none.count, none.rate, none.share) == (0, 0, 0) and np.isnan([none.duration, none.latency]).all()
    with pytest.raises(UserError, match="anna is never seen in condition dark"):
        summary.persons(VIDEOS, [Part("", ("anna", "a"), "anna", "dark", 11.0, 19.0)])


def cells_of(table):
    """Cells with a count per person and condition."""
    return [
        summary.Cell(person, condition, "all", 60.0, value, value, np.nan, np.nan, 0.0)
        for person, values in table.items()
        for condition, value in zip("xy", values, strict=True)
    ]


def test_paired_tests():
    rng = np.random.default_rng(0)
    same = {f"p{i}": rng.normal(5, 1, 2) for i in range(12)}
    apart = {name: (a, a + 2 + 0.1 * i) for i, (name, (a, _)) in enumerate(same.items())}
    for table, low, high in ((same, 0.05, 1.0), (apart, 0.0, 0.001)):
        result = summary.compare(cells_of(table), 2000)
        (row,) = [row for row in result["tests"] if row["measure"] == "rate"]
        x, y = np.array(list(table.values())).T
        exact = stats.permutation_test((x - y,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert low <= row["p"] <= high and row["p"] == pytest.approx(exact.pvalue)
        assert row["n"] == 12 and row["difference"] == pytest.approx((x - y).mean()) and row["low"] < row["high"]
    means = [row for row in result["conditions"] if row["measure"] == "rate"]
    assert [row["mean"] for row in means] == pytest.approx([x.mean(), y.mean()])
    lost = [row for row in result["conditions"] if row["measure"] == "latency"]
    assert all(row["n"] == 0 and row["mean"] is None for row in lost)


def test_tables_and_designs(tmp_path):
    table, corrected, plan = tmp_path / "detections.csv", tmp_path / "a_corrected.csv", tmp_path / "design.csv"
    table.write_text(FOUND)
    (tmp_path / "a_frames.csv").write_text("frame,timestamp,face_id,success,joy\n1,0.0,0,1,0.5\n")
    videos = design.read([table, tmp_path / "a_frames.csv"])
    assert videos["anna", "a"] == Observed("anna", 60.0, [(10.0, 20.0)], [Expression(5.0, 7.0, "joy")])
    corrected.write_text("subject,video,onset,apex,offset,onset_seconds,offset_seconds,emotion\nanna,a,,,,,,\n")
    assert design.read([corrected, table])["anna", "a"].expressions == []
    plan.write_text("video,condition,start,end\na.mp4,film,0:00,0:30\na,rest,30 s,\nb,film,,99\n")
    assert design.read_design(plan, videos) == [
        Part("line 2", ("anna", "a"), "anna", "film", 0.0, 30.0),
        Part("line 3", ("anna", "a"), "anna", "rest", 30.0, 60.0),
        Part("line 4", ("anna", "b"), "anna", "film", 0.0, 30.0),
    ]  # fmt: skip
    plan.write_text("video,condition,start,end\na,film,0,30\nc,film,,\na,,,\na,rest,29,x\nb,rest,9,3\na,late,29,60\n")
    with pytest.raises(UserError) as caught:
        design.read_design(plan, videos)
    for text in (
        "line 3: video 'c' is not among", "line 4: condition is empty", "line 5: end must be a time",
        "line 6: start 9 is not before end 3", "line 7: overlaps line 2",
    ):  # fmt: skip
        assert text in str(caught.value)
    assert design.left_out([Part("", ("anna", "a"), "x", "y", 0, 1)], videos) == [
        "not in the design, left out: 'anna' / 'b'"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("video,1,,1800,0.0,60.0,60.0", "expression,1,,1800,0.0,60.0,60.0"), "expected video, no face, or expression"),
        (("anna,b,video,1,,900,0,30,30,,\n", "anna,b,,,,,,,,,\n"), "video 'anna' / 'b': no row says how long it is"),
        (("anna,b", "anna,a"), "line 5: a second row says how long video 'anna' / 'a' is"),
        (("no face,,,,10,20", "no face,,,,20,10"), "expected times in onset_seconds and offset_seconds"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, change, message):
    (tmp_path / "x.csv").write_text(FOUND.replace(*change))
    with pytest.raises(UserError, match=message):
        design.read([tmp_path / "x.csv"])


def test_two_tables_that_disagree(tmp_path):
    header = "video,onset,offset,onset_seconds,offset_seconds,emotion\n"
    for name, row in (("x", "a,1,2,1,2,joy\n"), ("y", "a,1,2,1,3,joy\n"), ("z", "other,1,2,1,2,joy\n")):
        (tmp_path / f"{name}.csv").write_text(header + row)
    (tmp_path / "all.csv").write_text(FOUND)
    paths = [tmp_path / f"{name}.csv" for name in ("all", "x", "y", "z", "all")]
    with pytest.raises(UserError) as caught:
        design.read(paths)
    for text in (
        "y.csv: differs from",
        "z.csv: how long video 'other' is, is not",
        "video 'anna' / 'a' is in another table",
    ):
        assert text in str(caught.value)


HEADER = "video,onset,offset,onset_seconds,offset_seconds,emotion\n"


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("a,31,60,1,2,joy\n", ""),  # as it was found
        ("a,31,60,1.00,2.00,joy\n", ""),  # rounded by a spreadsheet
        ("a,28,60,0.9,2,joy\n", ""),  # corrected, both
        ("a,,,0.9,2,joy\n", ""),  # the seconds alone
        ("a,28,60,1,2,joy\n", "onset 28 is at 1 s, but .*all.csv, line 3: onset 31 at 1 s"),
        ("a,31,66,1,2,joy\n", "offset 60 is at 2 s, but .*x.csv, line 2: offset 66 at 2 s"),
        ("a,31,60,0.5,2,joy\n", "onset 31 is at 0.5 s, but .*onset 31 at 1 s"),
        ("a,31,60,,,joy\n", "expected times in onset_seconds .* `fedn convert TABLE.csv NEW.eaf --videos VIDEO` makes"),
    ],
)
def test_frames_that_were_changed_without_their_seconds(tmp_path, row, wrong):
    whole = (
        "video,what,onset,offset,onset_seconds,offset_seconds,emotion\na,video,1,90,0,3,\na,expression,31,60,1,2,joy\n"
    )
    (tmp_path / "all.csv").write_text(whole)
    (tmp_path / "x.csv").write_text(HEADER + row)
    paths = [tmp_path / "all.csv", tmp_path / "x.csv"]
    if wrong:
        with pytest.raises(UserError, match=wrong):
            design.read(paths)
    else:
        assert len(design.read(paths)["", "a"].expressions) == 1


def test_corrected_documents_count_in_place_of_what_was_found(tmp_path):
    (tmp_path / "all.csv").write_text(FOUND)
    made = [elan.Annotation(12.0, 13.5, "joy"), elan.Annotation(1.0, 2.0, "sad")]
    elan.write(tmp_path / "corrected.eaf", tmp_path / "a.mp4", made, ["joy", "sad"], "anna", scored=False)
    found = design.read([tmp_path / "all.csv", tmp_path / "corrected.eaf"])
    assert found["anna", "a"].expressions == [Expression(1.0, 2.0, "sad"), Expression(12.0, 13.5, "joy")]
    assert found["anna", "b"] == design.read([tmp_path / "all.csv"])["anna", "b"]


def test_videos_of_one_name_are_told_by_the_person(tmp_path):
    rows = "".join(
        f"{person},before,video,1,,1800,0,60,60,,\n{person},before,expression,31,,60,{second},{second + 1},1,joy,0.9\n"
        for person, second in (("anna", 1), ("ben", 2))
    )
    (tmp_path / "all.csv").write_text(FOUND.splitlines(keepends=True)[0] + rows.replace("31,,60,2,3", "61,,90,2,3"))
    corrected = tmp_path / "ben__before_events.tsv"
    corrected.write_text("onset\tduration\ttrial_type\n5\t1\tsad\n")
    found = design.read([tmp_path / "all.csv", corrected])
    assert found["anna", "before"].expressions == [Expression(1.0, 2.0, "joy")]
    assert found["ben", "before"].expressions == [Expression(5.0, 6.0, "sad")]
    plan = tmp_path / "design.csv"
    plan.write_text("subject,video,condition\nanna,before,film\nben,before.mp4,rest\n")
    assert [part.video for part in design.read_design(plan, found)] == [("anna", "before"), ("ben", "before")]
    plan.write_text("subject,video,condition\n,before,film\neva,before,film\n")
    with pytest.raises(UserError) as caught:
        design.read_design(plan, found)
    assert "line 2: video 'before' is of 'anna', 'ben'; write the column subject" in str(caught.value)
    assert "line 3: video 'eva' / 'before' is not among the detections" in str(caught.value)
    corrected.rename(tmp_path / "before.tsv")
    with pytest.raises(UserError, match="may be that of 'anna', 'ben'; its file must say who is seen"):
        design.read([tmp_path / "all.csv", tmp_path / "before.tsv"])
