"""The reader of tables: separators, encodings, decimal commas and Excel sheets, and what is no table."""

import openpyxl
import pytest

from fedn_jax.core.errors import UserError
from fedn_jax.formats import predictions, table_files, workbooks

ROWS = [["Subject", "video", "onset", "offset", "emotion", "score"], ["s1", "é 1", 1, 10, "sad", 0.25]]
LINES = [[str(cell) for cell in row] for row in ROWS]


def written(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def joined(separator, **changes):
    return "".join(separator.join(changes.get(cell, cell) for cell in line) + "\n" for line in LINES)


def workbook(path, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


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
