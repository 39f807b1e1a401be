"""Other formats: what is written comes back exactly, what cannot be said is told, and no file is trusted."""

import csv
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedn_jax.core.errors import UserError
from fedn_jax.formats import cells, exchange, predictions
from fedn_jax.formats.converters import Options
from fedn_jax.formats.predictions import Row

FORMATS = {name: exchange.FORMATS[name] for name in ("csv", "strs", "megc", "activitynet")}
# Letters that a name may have in a table: anything but blanks around it and what UTF-8 cannot say, in Unicode NFC; an
# apostrophe before the sign of a formula is not a part of the name.
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).map(cells.text)
NAME = NAME.filter(lambda name: name and cells.written(name) == name)
FRAME = st.one_of(st.integers(-300, 5000), st.integers(-predictions.LARGEST_FRAME, predictions.LARGEST_FRAME))
SCORE = st.floats(allow_nan=False, allow_infinity=False)
RATES = [30, 23.976, 200, 29.97, 24000 / 1001, 7.3]


@st.composite
def tables(draw, named=True, kinds=False, subjects=NAME, what="predictions"):
    """Tables of a few videos."""
    videos = draw(st.lists(st.tuples(subjects, NAME), max_size=4, unique=True))
    has_score = draw(st.booleans())
    rows = []
    for video in draw(st.lists(st.sampled_from(videos), max_size=6)) if videos else []:
        onset, offset = sorted((draw(FRAME), draw(FRAME)))
        score, emotion = draw(SCORE) if has_score else None, draw(NAME) if named else ""
        kind = draw(st.sampled_from(["macro", "micro"])) if kinds else ""
        rows.append(Row("", video, onset, offset, emotion, score, kind))
    return predictions.make(Path("drawn"), what, videos, rows)


def by_video(table, *names):
    """What must come back: each video's rows in order, of these columns."""
    got = {video: [] for video in table.videos}
    for row in table.rows:
        got[row.video].append(tuple(getattr(row, name) for name in ("onset", "offset", *names)))
    return got


def there_and_back(folder, name, table, options=Options()):  # noqa: B008
    path = folder / "there"
    lost = FORMATS[name].write(path, table, options)
    return FORMATS[name].read(path, table.what, options), lost


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exchange")


def refused(call, *arguments, **options):
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    return str(caught.value)


TABLE = predictions.make(
    Path("some.csv"),
    "predictions",
    [("s1", "a"), ("s2", "b"), ("s2", "quiet")],
    [
        Row("", ("s1", "a"), 1, 15, "sad", 0.5, "micro"),
        Row("", ("s2", "b"), -3, 20, "happy", -2.5, "macro"),
        Row("", ("s1", "a"), 30, 30, "sad", 1e9, "macro"),
    ],
)


# ---- STRS ----


def test_strs_file(folder):
    lost = FORMATS["strs"].write(folder / "strs.csv", TABLE, Options())
    assert (folder / "strs.csv").read_text() == (
        "subject,video,onset,offset,emotion\ns1,a,1,15,sad\ns2,b,-3,20,happy\ns1,a,30,30,sad\n"
    )
    assert lost == [
        "scores and kinds are left out: the format has no place for them",
        "1 video without a row left out: the format cannot list them",
    ]
    assert FORMATS["strs"].read(folder / "strs.csv", "predictions", Options()).videos == [("s1", "a"), ("s2", "b")]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_strs_comes_back(folder, data, named):
    table = data.draw(tables(named=named))
    back, _ = there_and_back(folder, "strs", table)
    assert [row[1:5] for row in back.rows] == [row[1:5] for row in table.rows] and back.classes == table.classes


# ---- MEGC ----


def test_megc_file(folder):
    lost = FORMATS["megc"].write(folder / "megc.csv", TABLE, Options())
    text = "vid,pred_onset,pred_offset,type\na,1,15,me\nb,-3,20,mae\na,30,30,mae\n"
    assert (folder / "megc.csv").read_text() == text
    assert [line.split(" are")[0].split(" left")[0] for line in lost] == [
        "subjects", "emotions and scores", "1 video without a row",
    ]  # fmt: skip
    back = FORMATS["megc"].read(folder / "megc.csv", "predictions", Options())
    assert back.videos == [("a", "a"), ("b", "b")] and [row.kind for row in back.rows] == ["micro", "macro", "macro"]
    back = FORMATS["megc"].read(folder / "megc.csv", "predictions", Options(subjects={"a": "s1"}))
    assert back.videos == [("s1", "a"), ("b", "b")] == list(dict.fromkeys(row.video for row in back.rows))


def test_megc_kinds_by_length(folder):
    rows = [Row("", ("a", "a"), 1, last) for last in (15, 16)]  # 0.5 s at 30 frames per second are 15 frames
    table = predictions.make(Path("x"), "predictions", [("a", "a")], rows)
    assert refused(FORMATS["megc"].write, folder / ".part-m.csv", table, Options()) == (
        "x: video 'a' / 'a' has rows without a kind; give --fps: what lasts half a second or less is micro"
    )
    assert FORMATS["megc"].write(folder / "m.csv", table, Options(fps={("a", "a"): 30})) == []
    assert [row.kind for row in FORMATS["megc"].read(folder / "m.csv", "predictions", Options()).rows] == [
        "micro",
        "macro",
    ]


def test_megc_problems(folder):
    twice = TABLE._replace(videos=[("s1", "a"), ("s2", "a")])
    assert "belongs to several subjects" in refused(FORMATS["megc"].write, folder / "m.csv", twice, Options())
    (folder / "m.csv").write_text("vid,pred_onset,pred_offset,type\n,1,2,me\na,x,2,me\na,5,2,other\n")
    text = refused(FORMATS["megc"].read, folder / "m.csv", "predictions", Options())
    assert text.count("line 2: vid is empty") == 1 and "line 3: pred_onset must be a whole number" in text
    assert "line 4: pred_offset 2 is before pred_onset 5" in text and "line 4: type must be one of" in text
    (folder / "m.csv").write_text("subject,video,onset,offset,emotion\n")
    text = refused(FORMATS["megc"].read, folder / "m.csv", "predictions", Options())
    assert "expected vid,pred_onset,pred_offset,type; got" in text


@settings(max_examples=60, deadline=None)
@given(tables(named=False, kinds=True))
def test_megc_comes_back(folder, table):
    if len({video for _, video in table.videos}) < len(table.videos):
        refused(FORMATS["megc"].write, folder / "there", table, Options())
        return
    options = Options(subjects={video: subject for subject, video in table.videos})
    back, _ = there_and_back(folder, "megc", table, options)
    assert [row[1:5] + row[6:] for row in back.rows] == [row[1:5] + row[6:] for row in table.rows]


# ---- ActivityNet ----


def test_activitynet_files(folder):
    path, options = folder / "a.json", Options(fps=30)
    lost = FORMATS["activitynet"].write(path, TABLE, options)
    assert json.loads(path.read_text()) == {
        "version": "VERSION 1.3",
        "results": {
            "s1/a": [
                {"label": "sad", "score": 0.5, "segment": [0.0, 0.5]},  # frames 1 to 15
                {"label": "sad", "score": 1e9, "segment": [29 / 30, 1.0]},
            ],
            "s2/b": [{"label": "happy", "score": -2.5, "segment": [-4 / 30, 20 / 30]}],
            "s2/quiet": [],
        },
        "external_data": {},
    }
    assert lost == ["kinds are left out: the format has no place for them"]
    options = Options(fps=30, first_frame=0, truth=True, subset="validation", duration={("s1", "a"): 2.5})
    lost = FORMATS["activitynet"].write(path, TABLE, options)
    truth = json.loads(path.read_text())
    assert truth["taxonomy"] == [] and truth["database"]["s1/a"] == {
        "subset": "validation",
        "duration": 2.5,
        "fps": 30,
        "annotations": [
            {"label": "sad", "segment": [1 / 30, 16 / 30]},
            {"label": "sad", "segment": [1.0, 31 / 30]},
        ],
    }
    assert lost[-1] == "the duration of 2 videos left out: not known" and "scores" in lost[0]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(RATES), st.integers(-1, 1), st.booleans(), st.booleans())
def test_activitynet_comes_back_exactly(folder, data, fps, first, named, truth):
    what = "ground truth" if truth else "predictions"
    table = data.draw(tables(named=named, subjects=NAME.filter(lambda name: "/" not in name), what=what))
    rates = {video: RATES[(i + RATES.index(fps)) % len(RATES)] for i, video in enumerate(table.videos)}
    if any(one == two and "/" in two for one, two in table.videos):
        return
    back, _ = there_and_back(folder, "activitynet", table, Options(fps=rates, first_frame=first, truth=truth))
    assert back.videos == table.videos
    assert by_video(back, "emotion") == by_video(table, "emotion")
    if table.has_score and not truth:
        assert by_video(back, "score") == by_video(table, "score")


@pytest.mark.parametrize("fps", RATES)
def test_seconds_are_exact_for_every_frame(folder, fps):
    rows = [Row("", ("a", "a"), onset, onset + onset % 7) for onset in [*range(-50, 3000), 10**6 + 1, 16_000_001]]
    table = predictions.make(Path("x"), "predictions", [("a", "a")], rows)
    back, _ = there_and_back(folder, "activitynet", table, Options(fps=fps))
    assert [row[1:5] for row in back.rows] == [row[1:5] for row in table.rows]


def read_json(folder, content, options=Options(fps=30)):  # noqa: B008
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "in.json").write_text(text)
    return FORMATS["activitynet"].read(folder / "in.json", "predictions", options)


def test_foreign_activitynet_files(folder):
    segments = [
        {"label": " Skiing ", "score": 1, "segment": [0.01, 0.02]},
        {"label": "x", "score": 0.5, "segment": [1, 2]},
    ]
    table = read_json(folder, {"results": {"v_1": segments}, "more": 1})
    assert [row[1:6] for row in table.rows] == [(("v_1", "v_1"), 1, 1, "Skiing", 1), (("v_1", "v_1"), 31, 60, "x", 0.5)]
    database = {
        "v_1": {"subset": "validation", "annotations": [{"label": "x", "segment": [0, 1]}], "url": ""},
        "v_2": {"subset": "testing", "annotations": []},
    }
    assert read_json(folder, {"database": database}).videos == [("v_1", "v_1"), ("v_2", "v_2")]
    options = Options(fps=30, subset="validation", subjects={"v_1": "s"})
    assert read_json(folder, {"database": database}, options).videos == [("s", "v_1")]


def entry(**changes):
    return {"label": "x", "score": 1, "segment": [0, 1]} | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"results": NaN}', "NaN is no number"),
        ('{"results": {"a": [], "a": []}}', "'a' appears twice"),
        ("9" * 5000, "not valid JSON"),
        ([], 'an object "results", or else "database"'),
        ({}, "an object"),
        ({"results": {}, "database": {}}, "or else"),
        ({"results": []}, "an object"),
        ({"results": {"a": {}}}, "results 'a': expected a list of segments; got an object"),
        ({"results": {"a/": []}}, "expected the name of a video, or subject/video"),
        ({"results": {"\ud800": []}}, "expected the name of a video"),
        ({"results": {"a": [], " a": []}}, "names the video of 'a' again"),
        ({"results": {"a": [3]}}, "results 'a', entry 1: label must be text; got 'None'"),
        ({"results": {"a": [entry(), entry(label=3)]}}, "entry 2: label must be text; got '3'"),
        ({"results": {"a": [entry(label="\ud800")]}}, "label must be text"),
        ({"results": {"a": [entry(score=True)]}}, "score must be a finite number; got 'True'"),
        ({"results": {"a": [entry(score="1")]}}, "score must be a finite number"),
        ({"results": {"a": [entry(score=10**400)]}}, "score must be a finite number"),
        ('{"results": {"a": [{"label": "x", "score": 1e999, "segment": [0, 1]}]}}', "score must be a finite number"),
        ({"results": {"a": [entry(segment=[1])]}}, "segment must be two numbers, in seconds; got a list"),
        ({"results": {"a": [entry(segment=[2, 1])]}}, "segment ends before it begins; got [2, 1]"),
        ({"results": {"a": [entry(segment=[0, 1e300])]}}, "within 16777214 frames of 0"),
        ({"results": {"a": [entry(segment=[-1.7e308, 1.7e308])]}}, "within 16777214 frames of 0"),
        ({"results": {"a": [entry(), entry(label="")]}}, "entry 2: emotion is empty, but not in others"),
        ({"database": {"a": []}}, "database 'a': expected an object with subset and annotations"),
        ({"database": {"a": {"subset": 3}}}, "expected an object with subset"),
        ({"database": {"a": {}}}, "expected a list of segments; got 'None'"),
    ],
    ids=itertools.count(),
)
def test_activitynet_problems(folder, content, message):
    assert message in refused(read_json, folder, content)


def test_all_problems_of_a_json_file_at_once(folder):
    content = {"results": {"a": [entry(score=None, segment="x", label=[])], "b": 1}}
    assert refused(read_json, folder, content).count("\n") == 4


def test_activitynet_files_know_the_fps_of_their_videos(folder):
    """As files for THUMOS14 do: what is given on the command line is for videos without."""
    entry = lambda *segment: {"label": "joy", "segment": list(segment)}
    videos = {
        "a": {"duration": 20.0, "fps": 25.0, "annotations": [entry(1, 2), entry(-1, 0.52), entry(19, 20.01)]},
        "b": {"duration": 3.0, "annotations": [entry(2.5, 3.4)]},
        "c": {"fps": None, "annotations": [entry(1, 2)]},
    }
    (folder / "in.json").write_text(json.dumps({"database": videos}))
    read = lambda **options: FORMATS["activitynet"].read(folder / "in.json", "ground truth", Options(**options))
    table = read(fps=30)
    assert [(row.onset, row.offset) for row in table.rows] == [(26, 50), (-24, 13), (476, 500), (76, 102), (31, 60)]
    assert table.notes == [
        "the file's own fps (25) of 1 video are used; others are as given",
        "database 'a', entry 2: -1 to 0.52 s is outside of its video, 0 to 20 s, and 1 more segment; kept as it is",
    ]
    text = refused(read)
    assert "'b': its fps are not known" in text and "'c': its fps are not known" in text and "'a'" not in text
    for wrong in (0, "25", True, 1e9):
        videos["a"]["fps"] = wrong
        (folder / "in.json").write_text(json.dumps({"database": videos}))
        assert "'a': its fps are not known; expected a number above 0" in refused(read, fps=30)


def test_what_is_written_needs_no_fps_to_be_read(folder):
    FORMATS["activitynet"].write(folder / "a.json", TABLE, Options(fps=29.97, truth=True))
    back = FORMATS["activitynet"].read(folder / "a.json", "ground truth", Options())
    assert sorted(row[1:5] for row in back.rows) == sorted(row[1:5] for row in TABLE.rows)


@pytest.mark.parametrize("fps", [None, 0, -1, float("nan"), 1e9, {("b", "b"): 30}])
def test_activitynet_needs_fps(folder, fps):
    table = predictions.make(Path("x"), "predictions", [("a", "a")], [])
    assert "fps" in refused(FORMATS["activitynet"].write, folder / "x", table, Options(fps=fps))
    assert "results 'a': its fps are not known" in refused(read_json, folder, {"results": {"a": []}}, Options(fps=fps))


def test_activitynet_needs_plain_subjects(folder):
    table = predictions.make(Path("x"), "predictions", [("a/b", "c")], [])
    assert "has a '/'" in refused(FORMATS["activitynet"].write, folder / "x", table, Options(fps=1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["results", "database", "a", "s/b", "annotations", "label", "score", "segment", "subset"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(JSON, st.sampled_from(["results", "database"]), st.booleans())
@example({"a": [{"label": "x", "score": 1, "segment": [[[]], 1]}]}, "results", True)
def test_garbage_is_refused_politely(folder, value, name, wrapped):
    try:
        read_json(folder, {name: value} if wrapped else value)
    except UserError as error:
        assert str(error)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=100), st.sampled_from(sorted(FORMATS)))
def test_bytes_are_refused_politely(folder, data, name):
    (folder / "bytes").write_bytes(data)
    assert refused(FORMATS[name].read, folder / "bytes", "predictions", Options(fps=30))


def test_formats_share_one_signature(folder):
    table = TABLE._replace(rows=[row._replace(video=("a", "a"), score=None) for row in TABLE.rows], videos=[("a", "a")])
    for name in FORMATS:
        back, lost = there_and_back(folder, name, table, Options(fps=30))
        assert [row[1:4] for row in back.rows] == [row[1:4] for row in table.rows] and isinstance(lost, list)


def test_names_that_csv_has_to_quote(folder):
    rows = [Row("", ('a,"b"', "c\r\nd;e"), 1, 2, "x\ty")]
    table = predictions.make(Path("x"), "predictions", [rows[0].video], rows)
    assert [row[1:5] for row in there_and_back(folder, "strs", table)[0].rows] == [rows[0][1:5]]
    with (folder / "there").open(newline="") as file:
        assert len(list(csv.reader(file))) == 2
