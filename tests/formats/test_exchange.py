"""Formats of one video, workbooks and what leads to a format: there and back, and strangers' files."""

import json
import random
import unicodedata
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core.errors import UserError
from fedn_jax.formats import bids, clocks, exchange, predictions
from fedn_jax.formats.clocks import Steady
from fedn_jax.formats.converters import Options
from fedn_jax.formats.predictions import Row
from fedn_jax.formats.times import Seconds

VIDEO = ("", "anna")
TIMED = ("elan", "srt", "vtt", "bids")
LETTERS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
WORD = LETTERS.map(lambda text: unicodedata.normalize("NFC", f"x{text}"))  # as every reader gives it


def table(rows, video=VIDEO, vocabulary=()):
    return predictions.make(Path("drawn"), "predictions", [video], rows, vocabulary=vocabulary)


def written(path, name, content):
    exchange.write(path, name, content, Options())
    return exchange.read(path, "predictions", name)


def refused(path, text, name=None):
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        exchange.read(path, "predictions", name)
    return str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exchange")


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(TIMED), st.booleans())
def test_every_frame_comes_back_through_seconds(folder, data, name, scored):
    rows = []
    for onset, length in data.draw(
        st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 90)), max_size=6, unique=True)
    ):
        score = data.draw(st.integers(0, 100)) / 100 if scored else None
        rows.append(Row("", VIDEO, onset, onset + length, data.draw(WORD), score))
    first = table(sorted(rows, key=lambda row: row.span))
    clock = {VIDEO: Steady(29.97)}
    path = folder / f"anna{exchange.FORMATS[name].suffix}"
    back, left = clocks.in_frames(written(path, name, clocks.in_seconds(first, clock)[0]), clock)
    assert not left and back.videos == [VIDEO]
    assert sorted(row[2:6] for row in back.rows) == sorted(row[2:6] for row in first.rows)


@pytest.mark.parametrize("name", ["csv", "excel"])
def test_tables_hold_frames_and_seconds(folder, name):
    rows = [
        Row("", ("=1+1", "a"), 3, 9, "joy", 0.5, "macro"),
        Row("", ("007", "b"), Seconds(1.25), Seconds(62.5), "-sad", 1.0, "micro"),
    ]
    content = predictions.make(Path("x"), "predictions", [rows[0].video, rows[1].video, ("s", "quiet")], rows)
    path = folder / f"both{exchange.FORMATS[name].suffix}"
    back = written(path, name, content)
    assert back.videos == content.videos and [row[1:] for row in back.rows] == [row[1:] for row in rows]
    if name == "excel":
        sheet = openpyxl.load_workbook(path).active
        assert sheet["A2"].value == "=1+1" and sheet["A2"].data_type == "s" and sheet["C2"].value == 3


def test_times_as_people_write_them(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("subject,video,onset,offset,emotion\ns,a,0:01.5,0:02,joy\ns,a,31,40,joy\ns,a,3 s,1:02:03,joy\n")
    read = exchange.read(path, "predictions")
    assert [row.span for row in read.rows] == [(1.5, 2.0), (31, 40), (3.0, 3723.0)]
    assert [row.timed for row in read.rows] == [True, False, True]
    line = refused(
        path, "subject,video,onset,offset,emotion\ns,a,0:01.5,40,joy\ns,a,0:03,0:02,joy\ns,a,1:75,0:02,joy\n"
    )
    assert (
        "line 2: one end is a frame and the other a time" in line and "line 3: offset 0:02 is before onset 0:03" in line
    )
    assert "line 4: onset must be a whole number; got '1:75' (times are written as 0:12.5)" in line
    truth = predictions.make(path, "ground truth", [("s", "a")], [])
    with pytest.raises(UserError, match="line 2, line 4: times in seconds; expected frames: give --fps"):
        predictions.join(read, truth)


def test_subtitles_of_other_programs(tmp_path):
    srt = "\ufeff1\n00:00:01,500 --> 00:00:02,000\n<i>joy</i>\nand more\n\n\n"
    srt = (srt + "2\n01:00:00,000 --> 01:00:01,000 X1:0\n{\\an8}sad\n").replace("\n", "\r\n")
    (tmp_path / "anna.srt").write_bytes(srt.encode())
    read = exchange.read(tmp_path / "anna.srt", "predictions")
    assert [(row.video, *row.span, row.emotion) for row in read.rows] == [
        (VIDEO, 1.5, 2.0, "joy and more"), (VIDEO, 3600.0, 3601.0, "sad"),
    ]  # fmt: skip
    vtt = "WEBVTT - made by hand\n\nNOTE\nnothing\n\nSTYLE\n::cue { color: red }\n\n"
    vtt += "00:01.500 --> 00:02.000 line:0\na &amp; b 0.50\n"
    (tmp_path / "anna.vtt").write_text(vtt)
    (row,) = exchange.read(tmp_path / "anna.vtt", "predictions").rows
    assert row[2:6] == (1.5, 2.0, "a & b", 0.5)
    for text, expected in (
        ("1\n00:00:01,5 --> 00:00:02,000\njoy\n", "line 2: expected times such as"),
        ("1\n00:00:03,500 --> 00:00:02,000\njoy\n", "line 2: expected times"),
        ("1\n00:00:01,500 --> 00:00:02,000\n\n", "line 2: has no text"), ("hello\n", "line 1: 'hello' is no subtitle"),
    ):  # fmt: skip
        assert expected in refused(tmp_path / "x.srt", text)


def test_bids(tmp_path):
    path = tmp_path / "sub-01_task-film_events.tsv"
    path.write_text("onset\tduration\ttrial_type\tresponse_time\n1.5\t0.5\tjoy\t0.1\n3\t0\tsad\tn/a\n")
    read = exchange.read(path, "ground truth")
    assert read.videos == [("01", "sub-01_task-film")] and [row.span for row in read.rows] == [(1.5, 2.0), (3.0, 3.0)]
    assert "ignored columns 'response_time'" in read.notes[0]
    exchange.write(path, "bids", read, Options())
    assert path.read_text() == "onset\tduration\ttrial_type\n1.500000\t0.500000\tjoy\n3.000000\t0.000000\tsad\n"
    about = json.loads(exchange.FORMATS["bids"].sidecar(read))
    assert about["onset"]["Units"] == "s" and about["trial_type"]["Levels"] == {"joy": "joy", "sad": "sad"}
    line = refused(path, "onset\tduration\tscore\tkind\n-1\t1\t1\tmacro\n1\tn/a\t1\tmacro\n1\t1\tx\thuge\n")
    for text in (
        "line 2: onset must be seconds",
        "line 3: duration must be",
        "line 4: score must be",
        "line 4: kind must",
    ):
        assert text in line
    assert bids.SUFFIX == exchange.FORMATS["bids"].suffix


def test_the_ending_chooses(tmp_path):
    names = {"a.eaf": "elan", "b.SRT": "srt", "c.vtt": "vtt", "d_events.tsv": "bids", "e.xlsx": "excel", "f.txt": "csv"}
    assert {name: exchange.format_of(Path(name)) for name in names} == names
    with pytest.raises(UserError, match="the format must be one of csv, excel"):
        exchange.read(tmp_path / "x", "predictions", "xml")


def test_formats_of_one_video_take_a_directory(tmp_path):
    rows = [Row("", ("s1", "a"), Seconds(1), Seconds(2), "joy"), Row("", ("s2", "a"), Seconds(1), Seconds(3), "sad")]
    both = predictions.make(Path("x"), "predictions", [("s1", "a"), ("s2", "a")], rows)
    with pytest.raises(UserError, match="expected a directory for 2 videos"):
        exchange.places(tmp_path / "x.eaf", "elan", both)
    found = exchange.places(tmp_path / "out", "elan", both)
    assert [path.name for path in found] == ["s1__a.eaf", "s2__a.eaf"]
    assert all(len(part.rows) == 1 for part in found.values())
    assert list(exchange.places(tmp_path / "x.csv", "csv", both)) == [tmp_path / "x.csv"]
    with pytest.raises(UserError, match="'a' has 1 row with times in seconds; expected frames: give --videos"):
        exchange.in_unit(both, "frames", {})


@pytest.mark.parametrize("name", TIMED)
def test_damaged_files_are_refused_in_words_or_read(folder, name):
    words = ("joy", "sad & <b>", "厌恶")
    rows = [Row("", VIDEO, Seconds(k), Seconds(k + 0.5), word, 0.5) for k, word in enumerate(words)]
    path = folder / f"damaged{exchange.FORMATS[name].suffix}"
    exchange.write(path, name, table(rows), Options())
    whole, rng, refusals = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        data = bytearray(whole)
        at = rng.randrange(len(data))
        data[at : at + rng.choice([0, 1, 30])] = rng.choice([b"", b"-", b"9" * 20, b"<", b"&", b"\0", b"nan", b"\xff"])
        path.write_bytes(data)
        try:
            read = exchange.read(path, "predictions", name)
            assert all(0 <= row.onset <= row.offset for row in read.rows)
        except UserError as error:
            refusals += 1
            assert str(path) in str(error)
    assert refusals > 20
