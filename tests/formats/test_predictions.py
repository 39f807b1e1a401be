"""CSV files of any method: what is accepted, every mistake at once with its line, and two files that do not fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import REAL, needs_real

from fedn_jax.core import schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Detections, VideoMeta
from fedn_jax.engine import output_files
from fedn_jax.formats import predictions, table_files

HEADER = "subject,video,onset,offset,emotion\n"


def read(tmp_path, text, what="predictions", name="file.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return predictions.read(path, what)


def join(tmp_path, found, truth, allow=()):
    tables = [read(tmp_path, found, name="p.csv"), read(tmp_path, truth, "ground truth", "t.csv")]
    return predictions.join(*tables, allow)


def refused(call, *arguments, **options):
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def rows(table):
    return [row[1:] for row in table.rows]


# ---- One file ----


def test_columns_and_rows(tmp_path):
    table = read(tmp_path, HEADER + "s1,a,1,10,sad\ns2,b,-3,0,happy\ns1,a,21.0,21,sad\ns3,c,,,\n")
    assert rows(table) == [
        (("s1", "a"), 1, 10, "sad", None, ""),
        (("s2", "b"), -3, 0, "happy", None, ""),
        (("s1", "a"), 21, 21, "sad", None, ""),
    ]
    assert table.videos == [("s1", "a"), ("s2", "b"), ("s3", "c")]
    assert (table.classes, table.has_score, table.has_kind, table.notes) == (["happy", "sad"], False, False, [])


@pytest.mark.parametrize(
    "text",
    [
        "subject,video,onset,offset,emotion,score,kind\ns1,a,1,10,sad,0.5,macro\n",
        "KIND , Score,emotion,OffSet, onset,Video,Sub ject\nMacro-Expression,.5,sad,10,1,a,s1\n",
        "\ufeffsubject;video;onset;offset;emotion;score;kind\r\n\r\ns1;a;1;10;sad;5e-1;MaE\r\n",
        "subject\tvideo\tonset\toffset\temotion\tscore\tkind\ns1\ta\t+1\t10.00\tsad\t0.50\tmae",
        '\n"subject","video","onset","offset","emotion","score","kind"\n"s1","a","1","10","sad","0.5","macro",,\n ,,\n',
        "subject,video,onset,offset,emotion,score,kind\rs1,a,1,10,sad,0.5,macro\r",
    ],
)
def test_spellings_of_one_file(tmp_path, text):
    table = read(tmp_path, text)
    assert rows(table) == [(("s1", "a"), 1, 10, "sad", 0.5, "macro")]
    assert table.has_score and table.has_kind


def test_other_columns_are_noted(tmp_path):
    table = read(tmp_path, "AU,subject,video,onset,offset,emotion,Notes\n1,s,a,1,2,x,y\n", "ground truth")
    assert table.notes == ["ground truth: ignored columns 'au', 'notes'"]


def test_nothing_detected_is_a_file(tmp_path):
    assert read(tmp_path, HEADER).rows == []
    assert read(tmp_path, HEADER + "s,a,,,\n").videos == [("s", "a")]


def test_line_numbers_count_lines_of_the_file(tmp_path):
    table = read(tmp_path, HEADER + '\n"s\n1",a,1,2,x\n\ns,"b,c",3,4,x\n')
    assert [row.where for row in table.rows] == ["line 4", "line 6"]
    assert table.rows[0].video == ("s\n1", "a")


def test_all_problems_at_once(tmp_path):
    text = refused(
        read,
        tmp_path,
        "subject,video,onset,offset,emotion,score,kind\n"
        ",a,1,2,x,1,macro\n"
        "s,,1,2,x,1,macro\n"
        "s,a,9,3,x,1,macro\n"
        "s,a,1.5,3,x,1,macro\n"
        "s,a,1_0,\u0663,x,1,macro\n"
        "s,a,,3,x,1,macro\n"
        "s,a,3,,x,1,macro\n"
        "s,a,3,4,x,nan,macro\n"
        "s,a,3,4,x,1e999,macro\n"
        "s,a,3,4,x,\"0,5\",macro\n"
        "s,a,3,4,x,1,mega\n"
        "s,a,3,4\n"
        "s,a,3,4,x,1,macro,more\n"
        "s,a,,,x,,\n"
        "s,a,99999999,100000000,x,1,macro\n"
        "s,a,3,4,,1,macro\n"
        "s,a,3,4,x,1,macro\n",
    )  # fmt: skip
    for line in (
        "line 2: subject is empty", "line 3: video is empty", "line 4: offset 3 is before onset 9",
        "line 5: onset must be a whole number; got '1.5'", "line 6: onset must be a whole number; got '1_0'",
        "line 6: offset must be a whole number", "line 7: onset is empty, but offset is not",
        "line 8: offset is empty", "line 9: score must be a finite number, such as 0.5; got 'nan'",
        "line 10: score must be", "line 11: score must be a finite number, such as 0.5; got '0,5'",
        "line 12: kind must be one of macro, micro, mae, me; got 'mega'", "line 13: 4 cells; expected 7",
        "line 14: 8 cells", "line 15: onset and offset are empty, but emotion is not",
        "line 16: onset must be at most 16777214 away from 0", "line 16: offset must be",
        "line 17: emotion is empty, but not in others",
    ):  # fmt: skip
        assert line in text, line
    assert text.count("\n") == 18


@pytest.mark.parametrize("column", ["emotion", "score", "kind"])
def test_a_column_is_filled_in_all_rows_or_in_none(tmp_path, column):
    def text(*cells):
        given = {"emotion": "x", "score": "1", "kind": "macro"}
        head = "subject,video,onset,offset,emotion,score,kind\n"
        return head + "".join(
            f"s,a,{i},{i}," + ",".join((given | {column: cell}).values()) + "\n" for i, cell in enumerate(cells)
        )

    value = {"emotion": "x", "score": "1", "kind": "macro"}[column]
    message = refused(read, tmp_path, text(value, "", ""))
    assert f"line 3: {column} is empty, as in 1 more row," in message
    table = read(tmp_path, text("", ""))
    assert not {"emotion": table.classes, "score": table.has_score, "kind": table.has_kind}[column]


def test_files_that_are_none(tmp_path):
    assert "no such file" in refused(predictions.read, tmp_path / "none.csv", "predictions")
    assert "a folder; expected a file with predictions" in refused(predictions.read, tmp_path, "predictions")
    assert "not UTF-8" in refused(read, tmp_path, b"subject,video\xff\xfe")
    assert "no column subject, video" in refused(read, tmp_path, "")
    line = refused(read, tmp_path, "subject,video,onset,offset\n")
    assert "no column emotion; expected subject,video,onset,offset,emotion[,score][,kind][,onset_seconds]" in line
    assert "column video appears twice" in refused(read, tmp_path, "subject,video,Video,onset,offset,emotion\n")
    assert "line 2: not readable as CSV" in refused(read, tmp_path, HEADER + '"' + "x" * 200_000)
    assert len(refused(read, tmp_path, "x" * 100_000)) < 400


def test_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "MOST_BYTES", 2**20)
    assert "larger than 1 MiB" in refused(read, tmp_path, HEADER + "s,a,1,2,x\n" * 2**17)


CELLS = st.sampled_from(["", "1", "-2", "x", '"', "\r", "1e9", "nan", ";", "9" * 40])


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: (HEADER + text).encode(errors="surrogatepass")),
        st.lists(st.lists(CELLS, max_size=7)).map(lambda cells: (HEADER + "\n".join(map(",".join, cells))).encode()),
    )
)
def test_garbage_is_refused_politely(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "garbage.csv"
    path.write_bytes(data)
    try:
        table = predictions.read(path, "predictions")
        predictions.join(table, table, set(predictions.ALLOWANCES))
    except UserError as error:
        assert str(error)


# ---- Two files ----

TRUTH = HEADER + "s1,a,1,10,sad\ns1,a,21,30,happy\ns2,b,5,5,sad\ns3,quiet,,,\n"


def test_joined_by_video(tmp_path):
    text = "subject,video,onset,offset,emotion,score,kind\ns2,b,4,6,sad,-7,micro\ns1,a,2,10,sad,.3,macro\n"
    scored = join(tmp_path, text + "s2,b,1,1,happy,.1,macro\ns3,quiet,1,2,sad,1e3,micro\n", TRUTH)
    assert (scored.subjects, scored.videos) == (["s1", "s2", "s3"], ["a", "b", "quiet"])
    assert (scored.classes, scored.has_score, scored.notes) == (["happy", "sad"], True, [])
    first, second, third = scored.detections
    assert first.interval.tolist() == [[2, 11]] and first.interval.dtype == np.float32
    assert second.interval.tolist() == [[4, 7], [1, 2]]  # in the order of the file
    assert (second.score.tolist(), second.emotion.tolist(), third.score.tolist()) == ([-7, 0.1], [1, 0], [1000])
    macro, micro = map(schema.KINDS.index, ("macro", "micro"))
    assert [kinds.tolist() for kinds in scored.det_kind] == [[macro], [micro, macro], [micro]]
    assert scored.events[0].interval.tolist() == [[1, 11], [21, 31]]
    assert scored.events[0].kind.tolist() == [-1, -1] and scored.events[2].interval.shape == (0, 2)


def test_without_subjects_videos_go_by_their_names(tmp_path):
    scored = join(tmp_path, HEADER + ",b,4,6,sad\n,a,2,10,sad\n", TRUTH)
    assert (scored.subjects, [len(one.valid) for one in scored.detections]) == (["s1", "s2", "s3"], [1, 1, 0])
    assert "predictions: no subjects, so videos were found by their names" in scored.notes
    again = TRUTH + "s9,b,5,5,sad\n"
    assert "names no subjects, and the ground truth has video 'b' of s2, s9; fill the column subject" in refused(
        join, tmp_path, HEADER + ",b,4,6,sad\n", again
    )
    assert "video 'x' (1 row) is not in the ground truth" in refused(join, tmp_path, HEADER + ",x,4,6,sad\n", TRUTH)
    some = HEADER + ",b,4,6,sad\ns1,a,4,6,sad\n"
    assert "line 2: subject is empty, but not in others" in refused(join, tmp_path, some, TRUTH)


def test_no_scores(tmp_path):
    scored = join(tmp_path, HEADER + "s1,a,1,10,sad\n", TRUTH)
    assert not scored.has_score and scored.detections[0].score.tolist() == [1]


def test_videos_without_predictions_are_noted(tmp_path):
    (note,) = join(tmp_path, HEADER + "s1,a,1,10,sad\n", TRUTH).notes
    assert note.startswith("no predictions for 2 of 3 videos") and note.endswith("'s2' / 'b', 's3' / 'quiet'")


BAD = HEADER + "s1,a,1,10,sadd\ns1,a,1,10,sadd\ns9,a,1,10,sad\ns1,a,2,10,fear\n"


def test_all_that_does_not_fit_at_once(tmp_path):
    text = refused(join, tmp_path, BAD, TRUTH + "s2,b,5,5,sad\n")
    for line in (
        "predictions, line 3: repeats line 2; --allow duplicates drops",
        "ground truth, line 6: repeats line 4; --allow duplicates drops",
        "predictions, line 2, line 3: emotion 'sadd' is not in the ground truth ('happy', 'sad'), did you mean 'sad'?; "
        "--allow unknown-emotions",
        "emotion 'fear' is not",
        "predictions: video 's9' / 'a' (1 row) is not in the ground truth, which has that video of subject 's1'; "
        "--allow unmatched-videos counts",
    ):
        assert line in text, line
    assert text.count("\n") == 5


def test_what_is_allowed_is_done_and_noted(tmp_path):
    truth = TRUTH + "s2,b,5,5,sad\n"
    for name in predictions.ALLOWANCES:
        text = refused(join, tmp_path, BAD, truth, {name})
        assert f"--allow {name}" not in text and "--allow" in text
    scored = join(tmp_path, BAD, truth, set(predictions.ALLOWANCES))
    assert scored.classes == ["happy", "sad", "fear", "sadd"]
    assert list(zip(scored.subjects, scored.videos, strict=True))[-1] == ("s9", "a")
    assert scored.detections[0].emotion.tolist() == [3, 2] and len(scored.events[-1].valid) == 0
    assert len(scored.events[1].valid) == 1
    for name in predictions.ALLOWANCES:
        assert any(name in note for note in scored.notes)
    assert "--allow duplicates drops rows that repeat another one: predictions, line 3" in "\n".join(scored.notes)


def test_rows_that_differ_in_any_column_are_no_duplicates(tmp_path):
    text = "subject,video,onset,offset,emotion,score\ns1,a,1,10,sad,.1\ns1,a,1,10,sad,.2\n"
    assert len(join(tmp_path, text, TRUTH).detections[0].valid) == 2


@pytest.mark.parametrize("silent", [0, 1])
def test_without_emotions_only_spotting(tmp_path, silent):
    files = [HEADER + "s1,a,1,10,sad\n", HEADER + "s1,a,1,10,\n"]
    scored = join(tmp_path, files[1 - silent], files[silent])
    assert scored.classes == [] and scored.detections[0].emotion.tolist() == [0]
    assert any("emotions are not judged" in note for note in scored.notes)


def test_a_method_that_finds_nothing(tmp_path):
    scored = join(tmp_path, HEADER, TRUTH)
    assert scored.classes == ["happy", "sad"] and all(len(one.valid) == 0 for one in scored.detections)


def test_unknown_allowance_and_empty_truth(tmp_path):
    assert "allow must be one of unknown-emotions, duplicates" in refused(join, tmp_path, TRUTH, TRUTH, {"duplicate"})
    assert "lists no video" in refused(join, tmp_path, TRUTH, HEADER)


def test_too_many_detections(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "MOST_PAIRS", 15)
    assert "2 detections in one video are too many beside 3 videos" in refused(join, tmp_path, TRUTH, TRUTH)
    monkeypatch.setattr(predictions, "MOST_PAIRS", 16)  # 4 x 2 x 2 after padding
    join(tmp_path, TRUTH, TRUTH)


def test_reads_what_a_run_writes(tmp_path):
    metas = [VideoMeta("s1", "a", 100, 30.0, 1, 0, 100)]
    interval = np.array([[9.6, 20.2], [0, 1]], np.float32)
    found = Detections(interval, np.array([0.75, 0.5], np.float32), np.array([1, 0]), np.ones(2, bool))
    output_files.write_csv(tmp_path / "detections.csv", metas, [found], ["happy", "sad"])
    table = predictions.read(tmp_path / "detections.csv", "predictions")
    assert rows(table) == [(("s1", "a"), 11, 20, "sad", 0.75, ""), (("s1", "a"), 1, 1, "happy", 0.5, "")]


@needs_real
def test_published_files():
    tables = [
        predictions.read(REAL / "results" / f"casme2_strs_{name}.csv", name) for name in ("predictions", "ground_truth")
    ]
    scored = predictions.join(*tables)
    assert [len(table.rows) for table in tables] == [244, 244] and min(row.onset for row in tables[0].rows) < 0
    assert len(set(scored.subjects)) == 26 and len(scored.classes) == 5 and not scored.has_score
