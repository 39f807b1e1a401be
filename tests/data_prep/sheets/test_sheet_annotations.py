"""The sheet: conversion of frame numbers, and every mistake at once, with its line."""

import os
import unicodedata

import numpy as np
import pytest
import trees

from data_prep.sheets import annotations, video_files
from fedn_jax.core.errors import UserError
from fedn_jax.formats import elan, video_names

HEADER = "subject,video,onset,offset,emotion,apex,kind\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "deep/b.avi", "c.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def read(folder, text, encoding="utf-8", **options):
    path = folder / "sheet.csv"
    path.write_bytes(text.encode(encoding))
    return annotations.read_folder(path, folder / "videos", **options)


def problems(folder, text, **options):
    with pytest.raises(UserError) as caught:
        read(folder, text, **options)
    return str(caught.value)


GOOD = HEADER + "s1,a.mp4,1,10,sad,5,macro\ns1,a,21,30,happy,,\ns2,deep/b,4,4,sad,4,micro\ns2,c,,,,,\n"


def test_inclusive_numbers_become_half_open_from_zero(folder):
    sheet = read(folder, GOOD)
    assert sheet.classes == ["happy", "sad"]
    first, second, third = sheet.items
    assert (first.subject, first.video, first.source.path.name) == ("s1", "a.mp4", "a.mp4")
    np.testing.assert_array_equal(first.events, [[0, 4, 10, 1, 0], [20, -1, 30, 0, annotations.BY_LENGTH]])
    np.testing.assert_array_equal(second.events, [[3, 3, 4, 1, 1]])
    assert first.events.dtype == np.int32
    assert third.video == "c" and third.events.shape == (0, 5)


def test_first_frame(folder):
    sheet = read(folder, GOOD.replace(",1,10,", ",0,10,"), first_frame=0)
    np.testing.assert_array_equal(sheet.items[0].events[0], [0, 5, 11, 1, 0])


def test_classes_in_order(folder):
    sheet = read(folder, GOOD, classes=["sad", "angry", "happy"])
    assert sheet.classes == ["sad", "angry", "happy"]
    assert sheet.items[0].events[:, 3].tolist() == [0, 2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_byte_order_mark_spaces_and_line_ends(folder, encoding):
    text = GOOD.replace("subject,video", " Subject , Video").replace("\n", "\r\n").replace(",21,", ", 21.0,")
    assert len(read(folder, text, encoding).items) == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_what_other_commands_read_is_read_here(folder, separator, encoding):
    text = GOOD.replace(",", separator).replace(f"{separator}10{separator}", f"{separator}10,0{separator}")
    first, *_ = read(folder, text, encoding).items
    assert first.events[0].tolist() == [0, 4, 10, 1, 0]


def test_excel(folder):
    rows = [line.split(",") for line in GOOD.splitlines()]
    typed = [[int(cell) if cell.isdigit() else cell or None for cell in row] for row in rows]
    sheet = trees.write_sheet(folder / "sheet.xlsx", {"notes": [["see the next sheet"]], "rows": typed})
    first, second, third = annotations.read_folder(sheet, folder / "videos").items
    assert first.events[0].tolist() == [0, 4, 10, 1, 0] and third.events.shape == (0, 5)


def test_frames_beyond_any_video(folder):
    assert "line 2: offset must be at most 1073741824 away from 0" in problems(
        folder, GOOD.replace(",10,", f",{'9' * 20},")
    )


def test_other_columns_are_ignored(folder):
    text = "note,subject,video,onset,offset,emotion\nx,s,a,1,2,e\n,s,b,,,\n,s,c,,,\n"
    assert len(read(folder, text).items) == 3


def test_kind_by_length():
    events = np.array([[0, -1, 15, 0, -1], [0, -1, 16, 0, -1], [0, -1, 99, 0, 1]], np.int32)
    assert annotations.resolve_kinds(events, 30.0)[:, 4].tolist() == [1, 0, 1]
    assert annotations.resolve_kinds(events, 60.0)[:, 4].tolist() == [1, 1, 1]
    assert events[0, 4] == -1  # the argument is left alone


def test_all_problems_at_once(folder):
    text = HEADER + (
        "s1,a,10,5,sad,,\n"  # 2
        "s1,a,1,9,sad,12,\n"  # 3
        "s1,a,x,9.5,sad,,\n"  # 4
        "s1,a,1,9,sad,,tiny\n"  # 5
        "s1,zzz,1,9,sad,,\n"  # 6
        "s1,a,20,30,sad,,\n"  # 7
        "s1,a,20,30,sad,,\n"  # 8
        "s1,a,0,3,sad,,\n"  # 9
        "s1,a,1,,sad,,\n"  # 10
        "s2,a,41,50,sad,,\n"  # 11
        ",a,1,2,sad,,\n"  # 12
        "s1,a,1,2,,,\n"  # 13
        "s1,a,1,2,sad\n"  # 14
        "s1,c,,,,,\n"
    )
    found = problems(folder, text)
    for expected in (
        "line 2: offset 5 is before onset 10",
        "line 3: apex 12 is outside of 1 to 9",
        "line 4: onset must be a whole number; got 'x'",
        "line 4: offset must be a whole number; got '9.5' (times are written as 0:12.5)",
        "line 5: kind must be one of macro, micro or empty; got 'tiny'",
        "line 6: video 'zzz': no such file",
        "line 8: repeats line 7",
        "line 9: onset 0 is before the first frame, 1",
        "line 10: offset is empty, but onset is not",
        "line 11: video 'a' belongs to 's1' above; got 's2'",
        "line 12: subject is empty",
        "line 13: emotion is empty",
        "line 14: 5 cells; expected 7",
        "deep/b.avi: no row in the file",
    ):
        assert expected in found, (expected, found)
    assert f"{found.count(chr(10))} problems" in found.splitlines()[0]


def test_unknown_emotion_only_when_classes_are_given(folder):
    found = problems(folder, GOOD, classes=["happy", "angry"])
    assert "line 2: emotion must be one of happy, angry; got 'sad'" in found and "line 3" not in found


def test_same_name_in_two_folders(folder):
    (folder / "videos" / "deep" / "a.mp4").write_bytes(b"x")
    found = problems(folder, GOOD)
    assert "line 3: video 'a': 2 files of that name, write its folder too" in found
    assert "line 2" not in found  # a.mp4 is the whole path of one of them
    fixed = GOOD.replace("s1,a,21", "s1,a.mp4,21") + "s3,deep/a,,,,,\n"
    assert len(read(folder, fixed).items) == 4


def test_missing_columns(folder):
    assert "no column offset" in problems(folder, "subject,video,onset,emotion\ns,a,1,x\n")
    assert "twice" in problems(folder, "subject,video,onset,offset,emotion,onset\n")
    assert "an empty file" in problems(folder, "")


def test_no_rows_no_expressions(folder):
    assert "holds no rows" in problems(folder, HEADER)
    assert "no row has an expression" in problems(folder, HEADER + "s,a,,,,,\ns,b,,,,,\ns,c,,,,,\n")


def test_missing_paths(folder):
    with pytest.raises(UserError, match="no such file"):
        annotations.read_folder(folder / "none.csv", folder / "videos")
    with pytest.raises(UserError, match="no such folder"):
        annotations.read_folder(folder / "none.csv", folder / "none")
    (folder / "empty").mkdir()
    (folder / "sheet.csv").write_text(GOOD)
    with pytest.raises(UserError, match="no file that ends in"):
        annotations.read_folder(folder / "sheet.csv", folder / "empty")


def test_wrong_encoding(folder):
    with pytest.raises(UserError, match="not UTF-8"):
        read(folder, HEADER + "sé,a,1,2,x,,\n", "latin-1")


def test_output_folder_inside_the_videos_is_skipped(folder):
    previews = folder / "videos" / "out" / "previews"
    previews.mkdir(parents=True)
    (previews / "p.mp4").write_bytes(b"x")
    assert "out/previews/p.mp4: no row" in problems(folder, GOOD)
    assert len(read(folder, GOOD, skip=folder / "videos" / "out").items) == 3


def test_many_problems_are_counted(folder):
    found = problems(folder, HEADER + "".join(f"s,a,{i + 9},{i + 1},x,,\n" for i in range(100)))
    assert found.count("\n") == 41 and "more" in found.splitlines()[-1]


# ---- Which file a cell means -----------------------------------------------------------------------------------------

ROW = "subject,video,onset,offset,emotion\ns1,{},1,2,sad\n"


def only(folder, *names):
    """The folder with these files instead."""
    videos = folder / "videos"
    videos.rename(folder / "away")
    for name in names:
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"x")
    return videos


def paths(sheet):
    return [str(item.source.path) for item in sheet.items]


def test_folders_behind_links(folder):
    videos, away = only(folder, "own.mp4"), folder / "away"
    (videos / "anna").symlink_to(away, target_is_directory=True)
    (videos / "one.mp4").symlink_to(away / "c.mp4")
    for name in ("round", "again"):  # circles of links, through which there are endless paths
        (away / name).symlink_to(videos, target_is_directory=True)
        (videos / name).symlink_to(away, target_is_directory=True)
    text = HEADER + "s1,anna/a.mp4,1,2,sad,,\ns1,anna/deep/b,,,,,\ns1,own,,,,,\ns1,one.mp4,,,,,\n"
    real = [os.path.realpath(path) for path in paths(read(folder, text))]
    assert real == [str(path) for path in (away / "a.mp4", away / "deep/b.avi", videos / "own.mp4", away / "c.mp4")]
    again = text.replace("anna/a.mp4", "round/round/anna/a.mp4")  # an own place is found through any of its paths
    assert paths(read(folder, again)) == paths(read(folder, text))
    (videos / "lost.mp4").symlink_to(folder / "nowhere.mp4")
    found = problems(folder, text + "s1,lost.mp4,,,,,\n")
    assert "line 6: video 'lost.mp4': no such file (a link that leads nowhere)" in found


def test_a_folder_that_cannot_be_read(folder, monkeypatch):
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scan(path if "deep" not in str(path) else folder / "gone"))
    assert "gone: cannot be read (No such file or directory)" in problems(folder, GOOD)


@pytest.mark.parametrize("file, sheet", [("NFD", "NFC"), ("NFC", "NFD")])
def test_letters_that_look_alike_are_alike(folder, file, sheet):
    name = "J\u00fcrgen_\u00e9.mp4"
    only(folder, unicodedata.normalize(file, name))
    (item,) = read(folder, ROW.format(unicodedata.normalize(sheet, name))).items
    assert item.video == name  # in NFC, whatever the sheet has
    (folder / "videos" / unicodedata.normalize(sheet, name)).write_bytes(b"x")
    assert "2 files of that name, rename one, since their names look alike" in problems(folder, ROW.format(name))


@pytest.mark.parametrize("name", ["a.MTS", "a.m2ts", "a.ts", "a.3gp", "a.ogv", "a.mxf", "a.gif", "a.xyz", "a"])
def test_any_file_that_the_sheet_names_is_taken(folder, name):
    videos = only(folder, name)
    assert paths(read(folder, ROW.format(name))) == [str(videos / name)]


def test_why_a_file_is_not_found(folder):
    only(folder, "Anna.mp4", "ben.xyz", "x/c.mp4", "x/c.avi", "notes.txt")
    found = problems(folder, HEADER + "".join(f"s,{name},1,2,sad,,\n" for name in ("anna.mp4", "ben", "c", "Ana.mp4")))
    for expected in (
        "video 'anna.mp4': no such file (there is 'Anna.mp4', which differs in upper and lower case) below",
        "video 'ben': no such file (there is 'ben.xyz', which has no ending of a video that is known: write it",
        "video 'c': 2 files of that name, write its ending too",
        "video 'Ana.mp4': no such file (did you mean 'Anna.mp4'?)",
    ):
        assert expected in found, expected
    assert "notes.txt" not in found and "ben.xyz: no row" not in found


@pytest.mark.parametrize(
    "row, expected",
    [
        ('s1,a.mp4,"1,034",73,others,,', "line 2: onset must be a whole number"),
        ("s1,a.mp4,,,", "line 2: 5 cells; expected 7"),
        ("s1;a.mp4;1;2;x;;", "line 2: 1 cell; expected 7"),
        ("s1,a.mp4,1,034,73,others,,macro", "line 2: 8 cells; expected 7"),
        ("s1,#REF!,1,2,sad,,", "line 2: video holds the error #REF!"),
        ("s1,,1,2,sad,,", "line 2: video is empty"),
    ],
)
def test_a_row_with_a_mistake_is_no_missing_row(folder, row, expected):
    """What follows from a mistake is not said as if it were another."""
    found = problems(folder, HEADER + row + "\ns2,deep/b,,,,,\ns2,c,,,,,\n")
    assert expected in found and "\n" not in found


def test_who_is_seen_in_rows_without_a_subject(folder):
    text = GOOD.replace("s1,", ",")
    assert "line 2: subject is empty; write who is seen, or give --subject" in problems(folder, text)
    assert [item.subject for item in read(folder, text, subject="anna").items] == ["anna", "s2", "s2"]


@pytest.mark.parametrize(
    "name, text, advice",
    [
        ("anna.srt", "1\n00:00:01,000 --> 00:00:02,000\njoy\n", "who is seen; give --subject"),
        ("anna_events.tsv", "onset\tduration\ttrial_type\n1\t1\tjoy\n", "begin with sub-WHO_, or give --subject"),
    ],
)
def test_each_format_says_how_it_can_name_a_person(name, text, advice, tmp_path):
    (tmp_path / "anna.mp4").write_bytes(b"")
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=advice):
        annotations.read_folder([tmp_path / name], tmp_path)


def test_the_name_of_a_bids_file_may_say_who_is_seen(tmp_path):
    (tmp_path / "sub-01_task-film.mp4").write_bytes(b"")
    (tmp_path / "sub-01_task-film_events.tsv").write_text("onset\tduration\ttrial_type\n1\t1\tjoy\n")
    sheet = annotations.read_folder([tmp_path / "sub-01_task-film_events.tsv"], tmp_path)
    assert [(item.subject, item.video, len(item.events)) for item in sheet.items] == [("01", "sub-01_task-film", 1)]


def test_who_is_seen_may_be_the_name_of_a_folder(tmp_path):
    """Documents name nobody, as those that `fedn detect` writes without --subject."""
    for person in ("anna", "ben"):
        (tmp_path / "videos" / person).mkdir(parents=True)
        (tmp_path / "videos" / person / f"{person}_1.mp4").write_bytes(b"")
        made = [elan.Annotation(1.0, 2.0, "smile")]
        elan.write(tmp_path / f"{person}.eaf", tmp_path / f"{person}_1.mp4", made, ["smile"], "", scored=False)
    paths = [tmp_path / "anna.eaf", tmp_path / "ben.eaf"]
    sheet = annotations.read_folder(paths, tmp_path / "videos", folders=True)
    assert [(item.subject, len(item.events)) for item in sheet.items] == [("anna", 1), ("ben", 1)]
    with pytest.raises(UserError, match="anna.eaf, video 'anna_1': the file does not say who is seen.* --subject-fold"):
        annotations.read_folder(paths, tmp_path / "videos")
    (tmp_path / "table.csv").write_text(
        "subject,video,onset,offset,emotion\ncarl,anna_1,1,9,joy\n,ben_1,1,9,joy\n,ben_1,20,30,joy\n"
    )
    sheet = annotations.read_folder(tmp_path / "table.csv", tmp_path / "videos", folders=True)
    assert [(item.subject, len(item.events)) for item in sheet.items] == [("carl", 1), ("ben", 2)]
    with pytest.raises(UserError, match="ben_1.mp4: no file is about it; .* give a document without annotations"):
        annotations.read_folder(paths[:1], tmp_path / "videos", folders=True)
    elan.write(tmp_path / "ben.eaf", tmp_path / "ben_1.mp4", [], ["smile"], "", scored=False)
    sheet = annotations.read_folder(paths, tmp_path / "videos", folders=True)
    assert [(item.subject, len(item.events)) for item in sheet.items] == [("anna", 1), ("ben", 0)]


def test_the_folder_of_the_videos_is_no_out(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="is the folder of the videos and --out; choose another --out"):
        list(video_files.walk(tmp_path, tmp_path / "link"))


@pytest.fixture
def people(tmp_path):
    """A folder for each person, with videos of the same names."""
    for person in ("anna", "J\u00fcrgen"):
        for name in ("before.mp4", "after 1.mp4"):
            path = tmp_path / "videos" / person / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    return tmp_path


def test_videos_of_one_name_are_found_by_the_person(people):
    rows = ("anna,before,1,2,e", "J\u00fcrgen,before,3,4,e", "anna,after 1,,,", "J\u00fcrgen,after 1,,,")
    text = "\n".join(["subject,video,onset,offset,emotion", *rows]) + "\n"
    found = {item.source.path.parent.name: item for item in read(people, text).items if item.video == "before"}
    assert found["anna"].events[0, 0] == 0 and found["J\u00fcrgen"].events[0, 0] == 2
    assert "after 1.mp4: no row in the file" in problems(people, text.replace("anna,after 1,,,\n", ""))
    assert "2 files of that name, write its folder too" in problems(people, text.replace("anna,before", "eva,before"))


def test_files_that_are_named_as_results_are_found(people):
    names = {name for path in (people / "videos").rglob("*.mp4") for name in video_names.of_file(path)[1:2]}
    paths = []
    for name in sorted(names):
        paths.append(people / f"{name}_events.tsv")
        paths[-1].write_text(f"onset\tduration\ttrial_type\n{len(paths)}\t1\tjoy\n")
    items = annotations.read_folder(paths, people / "videos", folders=True).items
    assert sorted((item.subject, item.source.path.name) for item in items) == [
        ("J\u00fcrgen", "after 1.mp4"), ("J\u00fcrgen", "before.mp4"), ("anna", "after 1.mp4"), ("anna", "before.mp4"),
    ]  # fmt: skip
