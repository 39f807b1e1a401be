"""The reader of tables: separators, encodings, decimal commas and Excel sheets, and what is no table."""

import datetime
import zipfile

import openpyxl
import pytest
from trees import write_sheet

from fedn_jax.core.errors import UserError
from fedn_jax.formats import cells, predictions, table_files, workbooks

ROWS = [["Subject", "video", "onset", "offset", "emotion", "score"], ["s1", "é 1", 1, 10, "sad", 0.25]]
LINES = [[str(cell) for cell in row] for row in ROWS]


def written(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def joined(separator, **changes):
    return "".join(separator.join(changes.get(cell, cell) for cell in line) + "\n" for line in LINES)


def workbook(path, **sheets):
    return write_sheet(path, sheets)


def scores(path):
    return [(row.video, row.onset, row.offset, row.score) for row in predictions.read(path, "predictions").rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_encodings(tmp_path, separator, encoding):
    assert scores(written(tmp_path, joined(separator), encoding)) == [(("s1", "é 1"), 1, 10, 0.25)]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_where_the_comma_does_not_separate(tmp_path, separator):
    text = joined(separator, **{"0.25": "0,25", "10": "10,0"})
    assert scores(written(tmp_path, text)) == [(("s1", "é 1"), 1, 10, 0.25)]
    with pytest.raises(UserError, match="line 2: offset must be a whole number; got '1,000'"):
        scores(written(tmp_path, joined(separator, **{"10": "1,000"})))
    with pytest.raises(UserError, match="line 2: score must be a finite number, such as 0.5; got '0,25'"):
        scores(written(tmp_path, joined(",", **{"0.25": '"0,25"'})))


def test_the_sheet_with_the_columns(tmp_path):
    notes = [["about this file"], ["nothing"]]
    path = workbook(tmp_path / "book.xlsx", notes=notes, found=[[], *ROWS, [None] * 6, [7, 1.0, 3, 4.0, "sad", 1]])
    table = predictions.read(path, "predictions")
    assert [row.where for row in table.rows] == ["row 3", "row 5"]
    assert [row[1:6] for row in table.rows] == [(("s1", "é 1"), 1, 10, "sad", 0.25), (("7", "1"), 3, 4, "sad", 1.0)]
    path.rename(tmp_path / "book.csv")  # the content decides
    assert len(scores(tmp_path / "book.csv")) == 2
    with pytest.raises(UserError, match="no column subject, video, .*got 'aboutthisfile'"):
        predictions.read(workbook(tmp_path / "other.xlsx", notes=notes), "predictions")
    with pytest.raises(UserError, match="row 2: onset must be a whole number; got '1.5'"):
        predictions.read(workbook(tmp_path / "x.xlsx", a=[ROWS[0], ["s", "v", 1.5, 2, "sad", 1]]), "predictions")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"subject,video\xe9\n", "not UTF-8 text .byte 13.; save it as CSV UTF-8"),
        (b"\xff\xfes", "not UTF-16 text"),
        (b"PK\x03\x04 cut off", "not readable as a spreadsheet"),
        (b"\xd0\xcf\x11\xe0 cut off", "not readable as a spreadsheet"),
        (b'a,b\n"no end', "line 2: not readable as CSV"),
    ],
)
def test_what_is_no_table(tmp_path, content, message):
    if b"no end" in content:
        content += b"x" * 200_000
    with pytest.raises(UserError, match=message) as caught:
        table_files.read(written(tmp_path, content), "a table")
    assert "\n" not in str(caught.value)


def test_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(workbooks, "MOST_CELLS", 11)
    with pytest.raises(UserError, match="sheet 'a' claims 2 rows and 6 columns"):
        table_files.read(workbook(tmp_path / "book.xlsx", a=ROWS), "a table")
    monkeypatch.setattr(table_files, "MOST_BYTES", 2**20)
    with pytest.raises(UserError, match="larger than 1 MiB; expected a file with a table"):
        table_files.read(written(tmp_path, b"x" * (2**20 + 1)), "a table")


def test_lines_keep_their_place(tmp_path):
    book = table_files.read(written(tmp_path, '\na,"b\nc"\r\n\nd,e'), "a table")
    assert [tuple(line) for line in book.sheets[0].lines] == [
        ("line 1", []), ("line 3", ["a", "b\nc"]), ("line 4", []), ("line 5", ["d", "e"]),
    ]  # fmt: skip


# ---- Which sheet, which column, which cell ---------------------------------------------------------------------------

OTHER = [ROWS[0], ["s1", "b", 5, 6, "sad", 0.5]]


def changed(path, change):
    book = openpyxl.load_workbook(path)
    change(book)
    book.save(path)
    return path


def refused(path, what="predictions"):
    with pytest.raises(UserError) as caught:
        predictions.read(path, what)
    return str(caught.value)


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_a_hidden_sheet_is_not_read(tmp_path, state):
    path = workbook(tmp_path / "book.xlsx", old=OTHER, final=ROWS)
    hide = lambda *names: changed(path, lambda book: [setattr(book[name], "sheet_state", state) for name in names])
    assert refused(path).endswith(
        "sheets 'old' and 'final' all have the columns; expected one: hide the others, or save each as a file"
    )
    assert scores(hide("old")) == [(("s1", "é 1"), 1, 10, 0.25)]
    path = workbook(tmp_path / "alone.xlsx", old=OTHER, notes=[["nothing"]])
    assert "of its sheets only 'old' has the columns, which is hidden; unhide it" in refused(hide("old"))


def test_errors_and_formulas_without_a_value_are_named(tmp_path):
    path = workbook(tmp_path / "book.xlsx", a=[["notes"], [], *ROWS, ["s1", "b", None, None, None, None]])

    def spoil(book):
        sheet = book["a"]
        sheet["C5"], sheet["D5"], sheet["E5"] = "#N/A", "#DIV/0!", "=A1"
        sheet["G4"] = "#REF!"  # not in any column

    assert refused(changed(path, spoil)).endswith(
        "row 5: onset holds the error #N/A; correct its formula; offset holds the error #DIV/0!; correct its formula; "
        "emotion holds a formula without a saved value; open the file in a spreadsheet program and save it"
    )
    text = joined(",", **{"10": "#REF!"})  # as a CSV export has it
    assert "line 2: offset holds the error #REF!" in refused(written(tmp_path, text))


def test_an_error_in_opendocument_is_named(tmp_path):
    spaces = 'xmlns:calcext="calcext"' + "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("table", "office", "text")
    )
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    head = "".join(map(cell.format, LINES[0][:5]))
    error = '<table:table-cell table:number-columns-repeated="2" office:value-type="string" office:string-value="" '
    error += 'calcext:value-type="error"><text:p>#REF!</text:p></table:table-cell>'
    row = "".join(map(cell.format, ["s1", "a"])) + error + cell.format("sad")
    rows = "".join(f"<table:table-row>{one}</table:table-row>" for one in (head, row))
    body = f'<office:spreadsheet><table:table table:name="a">{rows}</table:table></office:spreadsheet>'
    with zipfile.ZipFile(tmp_path / "book.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr(
            "content.xml",
            f"<office:document-content {spaces}><office:body>{body}</office:body></office:document-content>",
        )
    assert "row 2: onset holds the error #REF!" in refused(tmp_path / "book.ods")


def test_merged_cells_are_named(tmp_path):
    rows = [["a long title"], *ROWS, [None, "b", 1, 2, "sad", 1], ["s1", "c", 1, 2, "sad", 1]]
    path = workbook(tmp_path / "book.xlsx", a=rows)

    def merge(book):
        book["a"].merge_cells("A1:F1")  # above the header, where it does no harm
        book["a"].merge_cells("A3:A4")

    assert refused(changed(path, merge)).endswith(
        "row 4: subject is empty, being one of the merged cells A3:A4; unmerge them and fill each one"
    )


@pytest.mark.parametrize(
    "cell, why",
    [
        (datetime.datetime(2026, 2, 1), "holds a date (2026-02-01)"),
        (datetime.time(1, 2), "holds a time of day (1:02:00.000); type it again in a cell of text"),
        (True, "holds the truth value TRUE"),
    ],
)
def test_what_a_spreadsheet_made_of_a_name(tmp_path, cell, why):
    path = workbook(tmp_path / "book.xlsx", a=[ROWS[0], [cell, *ROWS[1][1:]]])
    assert f"row 2: subject {why}" in refused(path)


CLOCKS = [  # what a person typed, the format that a spreadsheet then gives the cell, what is read
    ("0:12.5", 12.5, "mm:ss.0", 12.5),
    ("1:02:03", 3723, "h:mm:ss", 3723),
    ("25:00:00.25", 90000.25, "[h]:mm:ss.000", 90000.25),
    ("0:12", 720, "h:mm", "12:00"),  # 12 minutes, and it looks like 12 seconds
    ("0:12 AM", 720, "h:mm:ss AM/PM", "12:00"),
    ("1.1.1900 0:00:12", 86412, "m/d/yy h:mm:ss", "holds a date"),
    ("0:12.5, of no format", 12.5, "0.000", "onset must be a whole number; got '0.000144"),
]


@pytest.mark.parametrize(("typed", "seconds", "code", "expected"), CLOCKS)
def test_a_time_whose_seconds_are_seen_is_that_time(tmp_path, typed, seconds, code, expected):
    path = workbook(tmp_path / "book.xlsx", a=[ROWS[0], ["s1", "a", seconds / 86400, seconds / 86400, "sad", 1]])

    def format_as_typed(book):
        for place in ("C2", "D2"):
            book["a"][place].number_format = code

    changed(path, format_as_typed)
    if isinstance(expected, str):
        assert expected in refused(path)
    else:
        (row,) = predictions.read(path, "predictions").rows
        assert row.timed and row.span == (expected, expected)


@pytest.mark.parametrize(
    ("value", "seen", "expected"),
    [("PT00H00M12.5S", "00:12.5", 12.5), ("PT00H12M00S", "00:12:00", 720.0), ("PT00H12M00S", "00:12", None)],
)
def test_a_time_of_opendocument_is_what_is_seen(value, seen, expected):
    assert workbooks._time(value, seen) == expected


def test_numbers_kept_as_text_and_names_in_two_forms(tmp_path):
    rows = [
        [" SUBJECT\u00a0", "Vi deo", "onset ", "OFFSET", "\ufeffemotion", "score"],
        ["s1", "e\u0301 1", "1", " 10 ", "sad", "0.25"],
    ]
    assert scores(workbook(tmp_path / "book.xlsx", a=rows)) == [(("s1", "\u00e9 1"), 1, 10, 0.25)]
    assert cells.text("e\u0301") == "\u00e9" and cells.written("'=1+1") == "=1+1" and cells.written("'ere") == "'ere"


def test_notes_above_the_header_and_old_line_ends(tmp_path):
    lines = joined(";").replace("\n", "\r")
    assert scores(written(tmp_path, "sep=;\r" + lines)) == [(("s1", "é 1"), 1, 10, 0.25)]
    assert "holds zero bytes, as UTF-16 without a byte order mark" in refused(
        written(tmp_path, lines.replace("é", "e"), "utf-16-le")
    )


def test_a_row_at_a_time(tmp_path, monkeypatch):
    path = written(tmp_path, joined(";", **{"0.25": "0,25"}), "utf-16")
    (record,) = table_files.each_record(path, "a table", ["video", "score"], ["kind"])
    assert (record.where, record.cells, record.problem) == ("line 2", {"video": "é 1", "score": "0,25"}, "")
    with pytest.raises(UserError, match="no column kind; expected kind; got"):
        list(table_files.each_record(path, "a table", ["kind"], []))
    monkeypatch.setattr(table_files, "_MOST_LINE", 20)
    with pytest.raises(UserError, match="has a line of 20 letters or more"):
        list(table_files.each_record(path, "a table", ["video"], []))


def test_what_unpacks_to_very_much(tmp_path, monkeypatch):
    path = workbook(tmp_path / "book.xlsx", a=ROWS)
    monkeypatch.setattr(workbooks, "MOST_UNPACKED", 1000)
    assert "expected a table of expressions" in refused(path)
