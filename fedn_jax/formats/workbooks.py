"""Excel and OpenDocument workbooks as rows of cells: what a person who opens the file would see.

python-calamine reads them. It shows an error (#REF!) and a formula whose value was not saved as an empty cell, which
would be a video without expressions, and a time without the format that says what a person sees of it; for .xlsx,
.xlsm and .ods they are read from the XML beside it. A time whose seconds are seen, as 0:12.5 becomes when it is typed,
is that time; one whose seconds are not (0:12, which becomes 12 minutes) stays a time of day, which nobody accepts.
"""

import datetime
import io
import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from fedn_jax.core.errors import UserError
from fedn_jax.formats import times
from fedn_jax.formats.cells import Flaw, SeenTime, error, real
from fedn_jax.formats.times import Seconds

MAGIC = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # first bytes of .xlsx, .xlsb and .ods (zip archives) and of .xls
MOST_CELLS = 5_000_000  # of a sheet; one that claims more is not a table of expressions
MOST_UNPACKED = 2**30  # bytes of the XML of a workbook
_MOST_FLAWS = 1000  # of one repeated cell
_STYLES = "xl/styles.xml"
DAY = 86400  # seconds
_REPEATED = "number-columns-repeated", "number-rows-repeated"  # of OpenDocument
_ISO = re.compile(
    r"PT(?:([0-9]{1,4})H)?(?:([0-9]{1,2})M)?(?:([0-9]{1,2}(?:[.,][0-9]{1,12})?)S)?"
)  # a time of OpenDocument
_TIMES = datetime.time | datetime.timedelta | datetime.datetime


class Sheet(NamedTuple):
    """One sheet."""

    name: str
    hidden: bool
    rows: list[list[Any]]  # str, float, bool, date, time or Flaw; "" is an empty cell


def read(path: Path, data: bytes) -> list[Sheet]:
    """Reads a workbook.

    Args:
      path: of the file, for messages.
      data: its content, which begins with one of ``MAGIC``.

    Returns:
      Its sheets in order; rows begin with the first of the sheet.

    Raises:
      UserError: damaged, protected by a password, or too large.
    """
    import python_calamine

    try:
        _check_size(path, data)
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        found = []
        for about in book.sheets_metadata:
            if about.typ != python_calamine.SheetTypeEnum.WorkSheet:
                continue
            sheet = book.get_sheet_by_name(about.name)
            if sheet.end and (sheet.end[0] + 1) * (sheet.end[1] + 1) > MOST_CELLS:
                raise UserError(
                    f"{path}: sheet {about.name!r} claims {sheet.end[0] + 1} rows and {sheet.end[1] + 1} columns; "
                    "expected a table of expressions: delete what lies outside of it"
                )
            rows = sheet.to_python(skip_empty_area=False)
            _mark_merged(rows, sheet.merged_cell_ranges or [])
            found.append(Sheet(about.name, about.visible != python_calamine.SheetVisibleEnum.Visible, rows))
        others = _others(data)
    except UserError:
        raise
    except python_calamine.PasswordError:
        raise UserError(f"{path}: is protected by a password; save it without one") from None
    except Exception as problem:  # whatever the libraries raise on a damaged file
        raise UserError(f"{path}: not readable as a spreadsheet ({problem}); open it and save it again") from None
    for sheet in found:
        for (row, column), other in others.get(sheet.name, {}).items():
            cell = sheet.rows[row][column] if row < len(sheet.rows) and column < len(sheet.rows[row]) else None
            if isinstance(other, Seconds) and isinstance(cell, _TIMES):
                sheet.rows[row][column] = SeenTime(times.shown(other))
            elif isinstance(other, Flaw) and cell == "":
                sheet.rows[row][column] = other
    return found


def _check_size(path: Path, data: bytes) -> None:
    if data.startswith(b"PK") and zipfile.is_zipfile(io.BytesIO(data)):
        size = sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if size > MOST_UNPACKED:
            raise UserError(f"{path}: unpacks to {size >> 20} MiB; expected a table of expressions")


def _mark_merged(rows: list[list[Any]], ranges: list) -> None:
    """Only the first of merged cells has a value; the others look as if they had it."""
    for (top, left), (bottom, right) in ranges:
        area = f"{_letters(left)}{top + 1}:{_letters(right)}{bottom + 1}"
        flaw = Flaw("", f"is empty, being one of the merged cells {area}; unmerge them and fill each one")
        for cells in rows[top : bottom + 1]:
            for column in range(left, min(right + 1, len(cells))):
                if cells is not rows[top] or column > left:
                    cells[column] = flaw


def _letters(column: int) -> str:
    """0 is A, 26 is AA."""
    return (_letters(column // 26 - 1) if column >= 26 else "") + chr(ord("A") + column % 26)


# ---- What calamine does not tell -------------------------------------------------------------------------------------


_Other = Flaw | Seconds


def _others(data: bytes) -> dict[str, dict[tuple[int, int], _Other]]:
    """Sheet -> (row, column), from 0 -> the cell: errors, formulas without a value, times whose seconds are seen."""
    if not data.startswith(b"PK"):
        return {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        if "content.xml" in names:
            return _of_opendocument(archive)
        if "xl/workbook.xml" not in names:  # .xlsb, which is not XML
            return {}
        clocks = _clocks(archive.read(_STYLES)) if _STYLES in names else {}
        return {name: dict(_of_excel(archive, part, clocks)) for name, part in _parts(archive).items() if part in names}


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _parts(archive: zipfile.ZipFile) -> dict[str, str]:
    """Name of a sheet -> the file that holds it."""
    links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {link.get("Id"): posixpath.join("/xl", link.get("Target", "")).lstrip("/") for link in links}
    found = {}
    for node in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter():
        if _local(node.tag) == "sheet":
            link = next((value for key, value in node.items() if _local(key) == "id"), None)
            found[node.get("name", "")] = posixpath.normpath(targets.get(link, ""))
    return found


def _clocks(styles: bytes) -> dict[str, bool]:
    """Style of a cell -> whether it may be a day or more, of the styles that show a time with its seconds."""
    from openpyxl.styles import numbers

    root = ElementTree.fromstring(styles)
    codes = {str(number): code for number, code in numbers.BUILTIN_FORMATS.items()}
    codes |= {
        node.get("numFmtId", ""): node.get("formatCode", "") for node in root.iter() if _local(node.tag) == "numFmt"
    }
    cells = next((node for node in root if _local(node.tag) == "cellXfs"), ())
    found = {}
    for number, node in enumerate(cells):
        code = codes.get(node.get("numFmtId", ""), "")
        if (
            numbers.is_datetime(code) == "time"
            and "am/pm" not in code.lower()
            and re.search("s", numbers.STRIP_RE.sub("", code))
        ):
            found[str(number)] = numbers.is_timedelta_format(code)
    return found


def _of_excel(
    archive: zipfile.ZipFile, part: str, clocks: Mapping[str, bool]
) -> Iterator[tuple[tuple[int, int], _Other]]:
    row, column = -1, -1
    with archive.open(part) as file:
        for event, node in ElementTree.iterparse(file, ("start", "end")):
            kind = _local(node.tag)
            if event == "start" and kind == "row":
                row, column = int(node.get("r", row + 2)) - 1, -1
            elif event == "start" and kind == "c":
                place = re.match("[A-Z]+", node.get("r", ""))
                column = _number(place[0]) if place else column + 1
            elif kind == "c":
                inner = {_local(child.tag): child.text or "" for child in node}
                if node.get("t") == "e":
                    yield (row, column), error(inner.get("v", "") or "#ERROR")
                elif "f" in inner and not inner.get("v") and node.get("t") != "str":
                    why = "holds a formula without a saved value; open the file in a spreadsheet program and save it"
                    yield (row, column), Flaw("", why)
                elif node.get("s") in clocks and node.get("t", "n") == "n":
                    days = real(inner.get("v", ""))
                    if days is not None and 0 <= days < (times.LATEST / DAY if clocks[node.get("s")] else 1):
                        yield (row, column), Seconds(days * DAY)
            elif kind == "row":
                node.clear()


def _number(letters: str) -> int:
    """A is 0, AA is 26."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _of_opendocument(archive: zipfile.ZipFile) -> dict[str, dict[tuple[int, int], _Other]]:
    found: dict[str, dict[tuple[int, int], _Other]] = {}
    cells: dict[tuple[int, int], _Other] = {}
    row = column = 0
    with archive.open("content.xml") as file:
        for event, node in ElementTree.iterparse(file, ("start", "end")):
            kind, about = _local(node.tag), {_local(key): value for key, value in node.items()}
            if event == "start" and kind == "table":
                cells, row = found.setdefault(about.get("name", ""), {}), 0
            elif event == "start" and kind == "table-row":
                column = 0
            elif event == "end" and kind in ("table-cell", "covered-table-cell"):
                count = int(about.get(_REPEATED[0], 1))
                other = _time(about.get("time-value", ""), "".join(node.itertext()))
                if any(key.endswith("value-type") and value == "error" for key, value in node.items()):
                    other = error("".join(node.itertext()).strip() or "#ERROR")
                elif kind == "covered-table-cell":
                    other = Flaw("", "is empty, being one of several merged cells; unmerge them and fill each one")
                if other is not None:
                    cells |= {(row, column + number): other for number in range(min(count, _MOST_FLAWS))}
                column += count
            elif event == "end" and kind == "table-row":
                row += int(about.get(_REPEATED[1], 1))
                node.clear()
    return found


def _time(value: str, seen: str) -> Seconds | None:
    """A time of OpenDocument, where what is seen of it is the same time."""
    found = _ISO.fullmatch(value)
    shown = times.parse(seen)
    if found is None or shown is None:
        return None
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in found.groups())
    whole = 3600 * hours + 60 * minutes + seconds
    return Seconds(whole) if abs(whole - shown) < 1 else None
