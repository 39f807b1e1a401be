"""Released data sets: the real sheets give the published counts, and every mistake is said at once."""

import json
from collections import Counter

import numpy as np
import pytest
import trees
from media import REAL, needs_real

from data_prep.shards import builders
from data_prep.sheets import release_sheets
from data_prep.sheets.datasets import DATASETS, casme2, check, collect
from fedn_jax.cli.main import main
from fedn_jax.core import schema
from fedn_jax.core.errors import UserError
from fedn_jax.data import shards

SHEETS = REAL / "annotations"
CASME2_SHEET = SHEETS / "CAS(ME)^2code_final.xlsx"
CASME3_SHEET = SHEETS / "CAS(ME)3_part_A_v2.xls"
CASME3_MICRO = SHEETS / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
SAMM_SHEET = SHEETS / "SAMM_LongVideos_V1_Release.xlsx"


def read(name, sheet, emotions=(), **options):
    labels, errors = check.read(name, sheet, emotions, check.choose(name, options))
    return labels, errors


def good(name, sheet, emotions=(), **options):
    labels, errors = read(name, sheet, emotions, **options)
    assert errors == []
    return labels


def noted(labels):
    return {note.what: note.count for note in labels.notes}


# ---- The real sheets ------------------------------------------------------------------------------------------------


@needs_real
def test_casme2_annotated_is_table_1():
    labels = good("casme2", CASME2_SHEET)
    counts = Counter((row.kind, row.emotion) for row in labels.rows)
    assert [counts["macro", name] for name in ("positive", "surprise", "negative", "others")] == [116, 16, 105, 63]
    assert sum(row.kind == "micro" for row in labels.rows) == 57
    assert labels.classes == ["positive", "surprise", "negative", "others"]
    assert noted(labels) == {"offset 0": 44, "apex 0": 1, "apex after the offset": 3}
    assert len({row.subject for row in labels.rows if row.kind == "macro"}) == 20
    assert len({row.video for row in labels.rows}) == 95
    assert len({row.video for row in labels.rows if row.kind == "macro"}) == 89
    assert not {(row.subject, row.video) for row in labels.rows} & labels.unlabelled


@needs_real
def test_casme2_self_reported_is_table_1():
    labels = good("casme2", CASME2_SHEET, labels="self-reported")
    counts = Counter(row.emotion for row in labels.rows if row.kind == "macro")
    assert [counts[name] for name in labels.classes] == [132, 26, 58, 47, 17, 8, 4, 3, 3, 2]
    assert noted(labels)["emotion 'happyiness'"] == 1


@needs_real
def test_casme2_offsets_of_zero():
    by_choice = {choice: good("casme2", CASME2_SHEET, **{"zero-offset": choice}) for choice in casme2.ZERO_OFFSET}
    assert {choice: len(labels.rows) for choice, labels in by_choice.items()} == {
        "apex": 357, "apex+20": 357, "mirror": 357, "drop": 313,
    }  # fmt: skip
    third = {choice: next(row for row in labels.rows if row.onset == 2155) for choice, labels in by_choice.items()
             if choice != "drop"}  # fmt: skip
    # (1, anger2_1): 2155, 2163, 0
    assert {choice: (row.apex, row.offset, row.derived) for choice, row in third.items()} == {
        "apex": (2163, 2163, False), "apex+20": (2163, 2183, True), "mirror": (2163, 2171, True),
    }  # fmt: skip
    late = {choice: next(row for row in labels.rows if row.onset == 2407) for choice, labels in by_choice.items()}
    assert (late["apex"].apex, late["apex"].offset) == (-1, 2451)
    assert (late["apex+20"].apex, late["apex+20"].offset) == (2455, 2475)
    lengths = [row.offset - row.onset + 1 for row in by_choice["apex"].rows if row.kind == "macro"]
    assert (round(np.mean(lengths), 1), np.median(lengths), max(lengths)) == (36.4, 31, 118)


@needs_real
def test_casme3_totals_and_emotions():
    labels = good("casme3", CASME3_SHEET)
    assert Counter(row.kind for row in labels.rows) == {"macro": 3346, "micro": 860}
    assert labels.classes == [] and noted(labels) == {"onset 0": 2, "file name in upper case": 5}
    assert len({row.subject for row in labels.rows}) == 98
    assert len({(row.subject, row.video) for row in labels.rows}) == 956
    labels = good("casme3", CASME3_SHEET, [CASME3_MICRO])
    counts = Counter(row.emotion for row in labels.rows if row.kind == "micro")
    assert counts == {
        "disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sadness": 57, "happiness": 55,
    }  # fmt: skip
    assert noted(labels)["row of an emotion sheet with another onset or offset"] == 3
    assert noted(labels)["expression without an emotion"] == 3346


@needs_real
def test_samm_totals():
    labels = good("samm", SAMM_SHEET)
    assert Counter(row.kind for row in labels.rows) == {"macro": 343, "micro": 159}
    assert noted(labels) == {"frame number that is not whole": 178, "apex -1": 6, "onset 0": 10}
    assert len({row.subject for row in labels.rows}) == 30 and len({row.video for row in labels.rows}) == 147
    first = labels.rows[0]
    assert (first.onset, first.apex, first.offset) == (566, 648, 743)
    lengths = {
        kind: [row.offset - row.onset + 1 for row in labels.rows if row.kind == kind] for kind in ("macro", "micro")
    }
    assert max(lengths["micro"]) <= 101 < 102 <= min(lengths["macro"])
    assert len(good("samm", SAMM_SHEET, **{"zero-onset": "drop"}).rows) == 492
    assert any(row.video == "011_6" and row.offset == 4123 for row in labels.rows)  # 011_6_10


@needs_real
@pytest.mark.parametrize(
    "words",
    [
        ["casme2", "--annotations", CASME2_SHEET],
        ["casme2", "--annotations", CASME2_SHEET, "--labels", "self-reported"],
        ["casme3", "--annotations", CASME3_SHEET],
        ["casme3", "--annotations", CASME3_SHEET, "--emotions", CASME3_MICRO],
        ["samm", "--annotations", SAMM_SHEET],
    ],
)
def test_verify_prints_the_published_counts(words, tmp_path, capsys):
    out = tmp_path / "counts.json"
    assert main(["verify", *map(str, words), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "DIFFERENT" not in text and text.count("equal") == 2
    assert all(len(line) <= 80 for line in text.splitlines())
    written = json.loads(out.read_text())
    assert all(column["equal"] for column in written["published"])
    total = sum(written["expressions"].values())
    assert total == {"casme2": 357, "casme3": 4206, "samm": 502}[words[0]]


@needs_real
def test_the_wrong_sheet_is_one_line():
    for name, sheet in (
        ("casme3", SAMM_SHEET),
        ("casme2", SAMM_SHEET),
        ("samm", CASME2_SHEET),
        ("casme2", CASME3_SHEET),
    ):
        with pytest.raises(UserError, match="not the sheet of") as caught:
            read(name, sheet)
        assert "\n" not in str(caught.value)


# ---- Sheets with mistakes -------------------------------------------------------------------------------------------


def test_casme2_small(tmp_path):
    _, sheet = trees.casme2(tmp_path, "rawvideo")
    labels = good("casme2", sheet)
    assert [row[1:7] for row in labels.rows] == [
        ("s15", "15_0101", 5, 9, 20, "macro"), ("s15", "15_0101", 22, 26, 26, "macro"),
        ("s15", "15_0502", 3, -1, 30, "macro"), ("s15", "15_0502", 31, 34, 36, "micro"),
        ("s16", "16_0401", 2, 4, 12, "macro"), ("s32", "32_0401", 8, -1, 14, "macro"),
    ]  # fmt: skip
    assert noted(labels) == {"offset 0": 1, "apex 0": 1, "apex after the offset": 1}


def test_casme2_csv_export(tmp_path):
    lines = [",".join(str(cell) for cell in row) for row in trees.CASME2]
    path = tmp_path / "CASFEcode_final.csv"
    path.write_text("\n".join(lines))
    header = tmp_path / "header.csv"
    header.write_text(
        "\n".join(["participant;video;on;apex;off;au;e;kind;self", *(line.replace(",", ";") for line in lines)])
    )
    _, sheet = trees.casme2(tmp_path / "x", "rawvideo")
    plain = [row[1:] for row in good("casme2", sheet).rows]
    assert [row[1:] for row in good("casme2", path).rows] == plain
    assert [row[1:] for row in good("casme2", header).rows] == plain


BAD = [
    (
        [99, "anger1_1", 1, 2, 3, "", "others", "macro-expression", "anger"],
        "line 1: participant must be 1 to 22; got '99'",
    ),
    ([1, "anger9_1", 1, 2, 3, "", "others", "macro-expression", "anger"], "line 2: expression must be like anger1_1"),
    ([1, "anger1_1", 1, 2.5, 3, "", "others", "macro-expression", "anger"], "line 3: apex must be a whole number"),
    ([1, "anger1_1", 10, 5, 30, "", "others", "macro-expression", "anger"], "line 4: apex 5 is outside of 10 to 30"),
    ([1, "anger1_2", 10, 35, 30, "", "others", "macro-expression", "anger"], "line 5: apex 35 is outside of 10 to 30"),
    ([1, "anger1_1", 30, 35, 10, "", "others", "macro-expression", "anger"], "line 6: offset 10 is before onset 30"),
    ([1, "anger1_1", 1, 2, 3, "", "bored", "macro-expression", "anger"], "line 7: annotated emotion must be one of"),
    ([1, "anger1_1", 1, 2, 3, "", "others", "long", "anger"], "line 8: kind must be one of"),
    ([1, "anger1_1", 1, 0, 0, "", "others", "macro-expression", "anger"], "line 9: neither apex nor offset"),
    ([1, "anger1_1", 1, 2, 3, "", "others", "macro-expression"], "line 10: 8 columns; expected 9"),
    ([1, "anger2_1", 1, 2, 3, "", "others", "macro-expression", "anger"], None),
    ([1, "anger2_1", 1, 2, 3, "", "others", "macro-expression", "anger"], "line 12: repeats line 11"),
]


def test_every_mistake_of_a_sheet_at_once(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row, _ in BAD))
    with pytest.raises(UserError) as caught:
        check.summary("casme2", path, [], check.choose("casme2", {}))
    text = str(caught.value)
    assert [expected for _, expected in BAD if expected and expected not in text] == []
    assert "11 problems" in text


def test_other_naming_rules_are_noticed(tmp_path):
    sheets = {"a": trees.CASME2, "naming rule1": [[15, "s15", 2]], "naming rule2": [["0999", "anger1"]]}
    _, errors = read("casme2", trees.write_sheet(tmp_path / "s.xlsx", sheets))
    assert errors == [
        "sheet naming rule1: participant 2 is subject 15; not known so",
        "sheet naming rule2: anger1 has code 0999; not known so",
    ]


def test_casme3_mistakes(tmp_path):
    rows = [
        ["xx", "a", 1, 2, 3, "", "Macro-expression", ""], ["spNO.1", "z", 1, 2, 3, "", "Macro-expression", ""],
        ["spNO.1", "a", "x", 2, 3, "", "Macro-expression", ""], ["spNO.1", "a", 5, 2, 9, "", "Macro-expression", ""],
        ["spNO.1", "a", 5, 7, 9, "", "wink", ""], ["spNO.1", "b", 5, 7, 9, "", "Macro-expression", ""],
    ]  # fmt: skip
    sheet = trees.write_sheet(tmp_path / "s.xlsx", {"x": [trees.CASME3_HEADER, *rows]})
    emotions = trees.write_sheet(
        tmp_path / "e.xlsx",
        {"x": [trees.CASME3_EMOTIONS[0], ["spNO.1", "b", 5, 7, 9, "", "boredom"], ["spNO.1", "c", 5, 7, 9, "", "fear"],
               ["spNO.1", "b", 5, 7, 9, "", "fear"], ["spNO.1", "b", 5, 7, 9, "", "anger"]]},
    )  # fmt: skip
    _, errors = read("casme3", sheet, [emotions])
    expected = [
        "row 6: expression type must be one of", "row 2: subject must be like spNO.1; got 'xx'",
        "row 3: filename must be a letter from a to m; got 'z'", "row 4: onset must be a whole number; got 'x'",
        "row 5: apex 2 is outside of 5 to 9", "e.xlsx, row 2: emotion must be one of",
        "e.xlsx, row 3: no expression 5 to 9",
        "e.xlsx, row 5: emotion anger, but fear before",
    ]  # fmt: skip
    assert len(errors) == len(expected)
    assert [one for one in expected if not any(line.startswith(one) for line in errors)] == []


def test_samm_mistakes(tmp_path):
    rows = [
        ["006", "007_1_1", 1, 1, 2, 3, 3, "Macro", "", ""], ["006", "006_1", 1, 1, 2, 3, 3, "Macro", "", ""],
        ["006", "006_1_1", 1, 1, 2, 3, 3, "Tiny", "", ""], ["006", "006_1_2", 1, "x", 2, 3, 3, "Macro", "", ""],
        ["006", "006_1_3", 1, 5, 2, 9, 3, "Macro", "", ""],
    ]  # fmt: skip
    sheet = trees.write_sheet(tmp_path / "s.xlsx", {"x": [*trees.SAMM_NOTES, trees.SAMM_HEADER, *rows]})
    _, errors = read("samm", sheet)
    assert len(errors) == 5 and [line[:6] for line in errors] == [f"row {n}:" for n in range(6, 10)] + ["row 10"]


def test_missing_column_and_unreadable_files(tmp_path):
    header = [name for name in trees.SAMM_HEADER if name != "Offset"]
    sheet = trees.write_sheet(tmp_path / "s.xlsx", {"x": [header, [1] * len(header)]})
    with pytest.raises(UserError, match="its header has no column offset"):
        read("samm", sheet)
    broken = tmp_path / "b.xlsx"
    broken.write_bytes(sheet.read_bytes()[:200])
    with pytest.raises(UserError, match="not readable as a spreadsheet"):
        read("samm", broken)
    with pytest.raises(UserError, match="no such file"):
        read("samm", tmp_path / "none.xlsx")
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="not UTF-8 text"):
        read("samm", picture)
    with pytest.raises(
        UserError, match="--labels must be one of annotated, self-reported; got 'selfreported'; did you"
    ):
        check.choose("casme2", {"labels": "selfreported"})


SAMM_ROWS = [["006", f"006_1_{n}", 1, 100 * n, 100 * n + 20, 100 * n + 60, 61, "Macro", "4", ""] for n in (1, 2, 3)]


def samm_book(path, change, **sheets):
    import openpyxl

    sheets = {name: [*trees.SAMM_NOTES, trees.SAMM_HEADER, *rows] for name, rows in sheets.items()}
    book = openpyxl.load_workbook(trees.write_sheet(path, sheets))
    change(book)
    book.save(path)
    return path


def test_the_visible_sheet_is_the_one(tmp_path):
    hide = lambda book: setattr(book["old"], "sheet_state", "hidden")
    sheet = samm_book(tmp_path / "s.xlsx", hide, old=SAMM_ROWS[:1], final=SAMM_ROWS)
    assert [row.onset for row in good("samm", sheet).rows] == [100, 200, 300]
    sheet = samm_book(tmp_path / "s.xlsx", lambda book: None, old=SAMM_ROWS[:1], final=SAMM_ROWS)
    with pytest.raises(UserError, match="sheets 'old' and 'final' all have the columns; expected one: hide the others"):
        read("samm", sheet)
    sheet = trees.write_sheet(tmp_path / "c.xlsx", {"a": trees.CASME2, "b": trees.CASME2[:2]})
    with pytest.raises(UserError, match="sheets 'a' and 'b' all have such rows"):
        read("casme2", sheet)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    header = [*trees.SAMM_HEADER, "Onset ", "offset"]
    sheet = trees.write_sheet(tmp_path / "s.xlsx", {"x": [header, *([*row, 105, 155] for row in SAMM_ROWS)]})
    with pytest.raises(UserError, match="column onset, offset appears twice"):
        read("samm", sheet)


def test_cells_without_a_value_are_named(tmp_path):
    def spoil(book):
        top = len(trees.SAMM_NOTES) + 2
        book["x"].merge_cells(start_row=top, end_row=top + 1, start_column=1, end_column=1)
        book["x"].cell(top + 2, 6).value = "#REF!"

    _, found = read("samm", samm_book(tmp_path / "s.xlsx", spoil, x=SAMM_ROWS))
    assert found == [
        "row 7: subject is empty, being one of the merged cells A6:A7; unmerge them and fill each one",
        "row 8: offset holds the error #REF!; correct its formula",
    ]
    lines = [",".join(map(str, row)) for row in (trees.SAMM_HEADER, SAMM_ROWS[0], ["", *SAMM_ROWS[1][1:]])]
    (tmp_path / "s.csv").write_text("\n".join(lines))
    _, found = read("samm", tmp_path / "s.csv")
    assert found == ["line 3: subject is empty (of merged cells only the first has the value)"]


@pytest.mark.parametrize(
    "column, cell, message",
    [
        (0, "\u00b2", "participant must be 1 to 22; got '\u00b2'"),
        (2, -5, "onset must be 0 or more; got -5"),
        (2, "1_0", "onset must be a whole number; got '1_0'"),
        (3, "inf", "apex must be a whole number; got 'inf'"),
        (4, True, "offset holds the truth value TRUE"),
        (6, "#N/A", "annotated emotion holds the error #N/A"),
    ],
)
def test_casme2_cells(tmp_path, column, cell, message):
    rows = [list(row) for row in trees.CASME2]
    rows[0][column] = cell
    _, found = read("casme2", trees.write_sheet(tmp_path / "s.xlsx", {"x": rows}))
    assert len(found) == 1 and found[0].startswith(f"row 1: {message}")


def test_no_row_is_not_said_of_rows_that_were_refused_or_dropped(tmp_path):
    folder, sheet = trees.casme2(tmp_path, "rawpic")
    rows = [list(row) for row in trees.CASME2]
    rows[4][6] = "bored"  # the only row of 16_0401
    rows[5][4] = 0  # the only row of 32_0401, which drop leaves out
    trees.write_sheet(sheet, {"x": rows})
    options = check.choose("casme2", {"zero-offset": "drop"})
    labels, found = check.read("casme2", sheet, [], options)
    with pytest.raises(UserError) as caught:
        collect.collect(DATASETS["casme2"], labels, folder, problems=found)
    assert "\n" not in str(caught.value) and "row 5: annotated emotion must be one of" in str(caught.value)
    rows[4][6] = "others"
    trees.write_sheet(sheet, {"x": rows})
    labels, found = check.read("casme2", sheet, [], options)
    (_, remark) = collect.collect(DATASETS["casme2"], labels, folder, problems=found).remarks
    assert remark == "every row dropped as was chosen, taken as videos without expressions: 1 video (s32/32_0401)"


def test_videos_behind_links(tmp_path):
    folder, sheet = trees.casme2(tmp_path, "rawpic")
    (folder / "s15").rename(tmp_path / "elsewhere")
    (folder / "s15").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(folder, target_is_directory=True)
    items = collect.collect(DATASETS["casme2"], good("casme2", sheet), folder).items
    assert [item.video for item in items] == ["15_0101", "15_0502", "15_0508", "16_0401", "32_0401"]


def test_the_cli_knows_the_data_sets_and_their_choices():
    from data_prep.cli import shared as commands

    assert list(commands.RELEASES) == list(DATASETS)
    for name, (_, choices) in commands.RELEASES.items():
        said = {option: text.replace(" or ", ", ").split(", ") for option, text in choices.items()}
        assert said == {option: list(values) for option, values in DATASETS[name].options.items()}


def test_spreadsheet_numbers():
    assert [release_sheets.number(cell) for cell in ("nan", "1e300", True)] == [None] * 3


# ---- Sheets and pictures together -----------------------------------------------------------------------------------


def prepare(name, folder, sheet, out, *more):
    words = ["prepare", name, "--videos", folder, "--annotations", sheet, "--out", out, "--backbone", "random"]
    return main([str(word) for word in [*words, "--size", 32, "--workers", 1, "--aligner", "none", *more]])


@pytest.mark.parametrize("layout", ["rawpic", "cropped", "rawvideo"])
def test_casme2_whole_way(layout, tmp_path, capsys):
    folder, sheet = trees.casme2(tmp_path, layout)
    assert prepare("casme2", folder, sheet, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "44 x" not in said and "1 x offset 0: zero-offset=apex" in said
    assert "no row in the sheet, taken as videos without expressions: 1 video (s15/15_0508)" in said
    loaded = shards.load(tmp_path / "out")
    assert [(one.subject, one.video, one.num_frames) for one in loaded.metas] == [
        ("s15", "15_0101", 40), ("s15", "15_0502", 40), ("s15", "15_0508", 40), ("s16", "16_0401", 40),
        ("s32", "32_0401", 40),
    ]  # fmt: skip
    np.testing.assert_array_equal(loaded.events[0].interval, [[4, 20], [21, 26]])
    np.testing.assert_array_equal(loaded.events[1].kind, [0, 1])
    assert [loaded.metadata["classes"][i] for i in loaded.events[1].emotion] == ["positive", "others"]
    assert loaded.metas[0].fps == pytest.approx(30) and loaded.store.valid.all()
    assert loaded.metadata["labels"]["options"] == {"labels": "annotated", "zero-offset": "apex"}
    assert main(["verify", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Table 1, CAS(ME)^2, annotated" in said and "DIFFERENT" in said


def test_pictures_come_in_the_order_of_their_numbers(tmp_path):
    folder, sheet = trees.casme2(tmp_path, "cropped")
    assert prepare("casme2", folder, sheet, tmp_path / "out") == 0
    meta = shards.load(tmp_path / "out").metas[0]
    loaded = shards.load(tmp_path / "out").store.inputs[meta.row : meta.row + 40].astype(float)
    # The drawn face moves smoothly and comes back every 24 frames.
    step = np.linalg.norm(np.diff(loaded, axis=0), axis=1)
    assert np.median(step) < 0.5 * np.linalg.norm(loaded[0] - loaded[12])
    assert np.linalg.norm(loaded[24] - loaded[0]) < 0.05 * np.linalg.norm(loaded[12] - loaded[0])


def test_casme3_whole_way(tmp_path, capsys):
    folder, sheet, emotions = trees.casme3(tmp_path)
    assert prepare("casme3", folder, sheet, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "1 video (spNO.216/f)" in said and "1 x file name in upper case" in said
    loaded = shards.load(tmp_path / "out")
    names = [(one.subject, one.video, one.num_frames) for one in loaded.metas]
    assert names == [("spNO.1", "a", 40), ("spNO.11", "j", 40), ("spNO.216", "e", 40), ("spNO.216", "f", 40)]
    valid = loaded.store.valid[:40]
    assert np.flatnonzero(~valid).tolist() == [0, 1, 2, 3, 4, 5, 6, 14, 15]  # pictures 1 to 7, 15, 16
    np.testing.assert_array_equal(loaded.events[0].interval, [[8, 20], [21, 26]])
    np.testing.assert_array_equal(loaded.events[2].interval, [[0, 25]])
    assert loaded.metadata["classes"] == [] and (loaded.events[0].emotion == -1).all()
    assert prepare("casme3", folder, sheet, tmp_path / "named", "--emotions", emotions) == 0
    loaded = shards.load(tmp_path / "named")
    assert loaded.events[0].emotion.tolist() == [0, -1] and loaded.events[1].emotion.tolist() == [6]
    with pytest.raises(UserError, match="1 expressions of data.kind=all have no emotion"):
        from fedn_jax.core import config
        from fedn_jax.data import problem

        chosen = config.default()
        chosen.data.kind = "all"
        problem.make_problem(chosen, loaded._replace(events=loaded.events[:1], metas=loaded.metas[:1]))


def test_samm_is_resampled_and_mapped_back(tmp_path):
    folder, sheet = trees.samm(tmp_path)
    assert prepare("samm", folder, sheet, tmp_path / "out") == 0
    loaded = shards.load(tmp_path / "out")
    meta = loaded.metas[0]
    assert (meta.video, meta.fps, meta.num_frames) == ("006_1", 30, 30) and meta.source[:4] == (0, 7, 13, 20)
    # Frames 10 and 113 from 1, 9 and 112 from 0, of 200 per second are nearest to frames 1 and 17 of 30 per second.
    np.testing.assert_array_equal(loaded.events[0].interval, [[1, 18], [18, 25]])
    assert loaded.events[0].kind.tolist() == [0, 1]
    from fedn_jax.engine import decode

    back = decode.in_file(loaded.events[0].interval, meta.first_frame, meta.source)
    assert np.abs(back - [[10, 113], [120, 160]]).max() <= 4  # half a frame of 30 per second
    assert prepare("samm", folder, sheet, tmp_path / "all", "--fps", 0) == 0
    assert shards.load(tmp_path / "all").metas[0][2:4] == (200, 200)


def test_everything_that_does_not_fit_is_listed_at_once(tmp_path, capsys):
    folder, sheet = trees.casme2(tmp_path, "rawpic")
    (folder / "s16" / "16_0401girlcrashing").rename(folder / "s16" / "16_0402x")
    rows = [list(row) for row in trees.CASME2]
    rows[4][6] = "bored"
    rows.append([1, "happy1_3", 35, 38, 60, "", "others", "macro-expression", "anger"])
    rows.append([1, "anger2_1", 5, 6, 8, "", "others", "macro-expression", "anger"])
    trees.write_sheet(sheet, {"CASFEcode_final": rows})
    assert prepare("casme2", folder, sheet, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "row 5: annotated emotion must be one of positive, surprise, negative, others; got 'bored'" in said
    assert "video s15/15_0402: 1 expressions in the sheet, no frames" in said and "--partial" in said
    assert "video s16/16_0402: frames below" in said
    assert not (tmp_path / "out" / "shards").exists()
    (folder / "s16" / "16_0402x").rename(folder / "s16" / "16_0401x")
    rows[4][6] = "others"
    trees.write_sheet(sheet, {"CASFEcode_final": rows})
    assert prepare("casme2", folder, sheet, tmp_path / "out", "--partial") == 0
    said = capsys.readouterr().out
    assert "left out, no frames: 1 video (s15/15_0402), with 1 expression" in said
    assert "s15/15_0502: 1 expressions pass the last frame and are cut" in said
    loaded = shards.load(tmp_path / "out")
    assert loaded.events[1].interval.tolist()[-1] == [34, 40]


def as_text(numbers, name):
    return sorted(numbers, key=lambda number: name.format(number))


def motion_of(loaded, meta):
    """Mean change of the embedding from frame to frame, over that between frames half a period apart."""
    rows = loaded.store.inputs[meta.row : meta.row + meta.num_rows].astype(float)
    return np.linalg.norm(np.diff(rows, axis=0), axis=1).mean() / np.linalg.norm(rows[12:] - rows[:-12], axis=1).mean()


@pytest.mark.parametrize("given", [True, False])
def test_openface_output_of_casme2(given, tmp_path, capsys):
    """Unpadded names were read in the order of text: repaired from the originals, or refused."""
    originals, sheet = trees.casme2(tmp_path / "x", "cropped")
    numbers = range(1, 41)
    for folder in sorted(path for path in originals.rglob("*") if path.is_dir() and "_" in path.name):
        place = tmp_path / "openface" / folder.parent.name
        trees.openface(place, numbers, as_text(numbers, "img_{}.jpg"), folder.name, lost=(7, 8))
    more = ["--aligner", "openface", *(["--originals", originals] if given else [])]
    code = prepare("casme2", tmp_path / "openface", sheet, tmp_path / "out", *more)
    if not given:
        assert code == 2 and capsys.readouterr().err.count("(--originals)") == 5
        return
    assert code == 0
    said = capsys.readouterr().out
    assert said.count("order repaired") == 5 and "no face in 2 of 40 frames (5.0 %): s15/15_0101" in said
    loaded = shards.load(tmp_path / "out")
    assert np.flatnonzero(~loaded.store.valid[:40]).tolist() == [6, 7]
    assert loaded.metadata["aligner"] == "openface, 32 px"
    assert all(motion_of(loaded, meta) < 0.6 for meta in loaded.metas)


def test_openface_output_of_casme3_needs_the_originals(tmp_path, capsys):
    originals, sheet, _ = trees.casme3(tmp_path / "x")
    for folder in sorted(originals.rglob("color")):
        numbers = sorted(int(path.stem) for path in folder.iterdir())
        place = tmp_path / "openface" / folder.parent.parent.name / folder.parent.name
        trees.openface(place, numbers, as_text(numbers, "{}.jpg"), "color")
    where = ("casme3", tmp_path / "openface", sheet, tmp_path / "out")
    assert prepare(*where, "--aligner", "openface") == 2
    assert capsys.readouterr().err.count("cannot be mapped to the numbers of the files") == 4
    assert prepare(*where, "--aligner", "openface", "--originals", originals) == 0
    loaded = shards.load(tmp_path / "out")
    assert np.flatnonzero(~loaded.store.valid[:40]).tolist() == [0, 1, 2, 3, 4, 5, 6, 14, 15]
    assert motion_of(loaded, loaded.metas[2]) < 0.6


def test_own_folders_of_pictures_and_openface(tmp_path):
    trees.write_pictures(tmp_path / "videos" / "anna", range(1, 31), "frame{}.png")
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("subject,video,onset,offset,emotion\na,anna,5,20,joy\n")
    assert prepare("folder", tmp_path / "videos", sheet, tmp_path / "out", "--rate", 25) == 0
    meta = shards.load(tmp_path / "out").metas[0]
    assert (meta.num_frames, meta.fps) == (30, 25)
    numbers = range(1, 31)
    trees.openface(tmp_path / "of", numbers, as_text(numbers, "frame{}.png"), "anna")
    openface = ("--aligner", "openface", "--originals", tmp_path / "videos")
    assert prepare("folder", tmp_path / "of", sheet, tmp_path / "out2", *openface) == 0
    assert shards.load(tmp_path / "out2").metas[0].num_frames == 30
    assert prepare("folder", tmp_path / "of", sheet, tmp_path / "out3", "--originals", tmp_path / "videos") == 2


def test_two_releases_in_one_folder(tmp_path, capsys):
    trees.casme2(tmp_path, "rawpic")
    _, sheet = trees.casme2(tmp_path, "cropped")
    assert prepare("casme2", tmp_path, sheet, tmp_path / "out") == 2
    assert "video s15/15_0101 is there 2 times" in capsys.readouterr().err
    assert prepare("samm", tmp_path / "rawpic", sheet, tmp_path / "out") == 2
    assert "not the sheet of SAMM" in capsys.readouterr().err


@needs_real
def test_rows_of_the_real_sheet_with_drawn_pictures(tmp_path, capsys):
    labels = good("casme2", CASME2_SHEET, **{"zero-offset": "apex+20"})
    ends = {}
    for row in labels.rows:
        ends[row.subject, row.video] = max(ends.get((row.subject, row.video), 0), row.offset)
    chosen = sorted(ends, key=ends.get)[:3]
    for subject, video in chosen:
        last = ends[subject, video]
        folder = tmp_path / "rawpic" / subject / f"{video}x"
        trees.write_pictures(folder, range(1, last + 1), "img{:03d}.jpg", size=48)
    assert (
        prepare("casme2", tmp_path / "rawpic", CASME2_SHEET, tmp_path / "out", "--partial", "--zero-offset", "apex+20")
        == 0
    )
    loaded = shards.load(tmp_path / "out")
    assert sorted((one.subject, one.video) for one in loaded.metas) == sorted(chosen)
    for meta, events in zip(loaded.metas, loaded.events, strict=True):
        rows = sorted((row.onset, row.offset) for row in labels.rows if row.video == meta.video)
        np.testing.assert_array_equal(events.interval, [(onset - 1, offset) for onset, offset in rows])
        assert meta.num_frames == ends[meta.subject, meta.video]


def test_beam_makes_the_same_shards(tmp_path, capsys):
    pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")
    folder, sheet = trees.casme2(tmp_path, "rawpic")
    (folder / "s16" / "16_0401girlcrashing" / "img003.jpg").write_bytes(b"damaged")
    assert prepare("casme2", folder, sheet, tmp_path / "here") == 0
    assert prepare("casme2", folder, sheet, tmp_path / "there", "--runner", "DirectRunner") == 0
    assert "s16/16_0401: 1 pictures cannot be read" in capsys.readouterr().out
    (here, ours), (there, theirs) = (builders.read(schema.find(tmp_path / name)) for name in ("here", "there"))
    assert here == there
    for (split, one), (other, two) in zip(ours, theirs, strict=True):
        assert split == other and one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    assert prepare("casme2", folder, sheet, tmp_path / "x", "--runner", "NoSuchRunner") == 2
    assert "Beam has no such runner" in capsys.readouterr().err
