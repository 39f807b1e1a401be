"""Ways to break tables and JSON that take more than bytes."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from abuse.mutations import Mutation

NUMBERS = (
    "",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e308",
    "1e-400",
    "9223372036854775808",
    "99999999999999999999",
    "1,5",
    "1.5",
    "0x10",
    "１２",
    "٣",
    "1_000",
    "--1",
    "+5",
    "12.0",
    "TRUE",
    "1e3",
    " 7 ",
    "0.30000000000000004",
)
WORDS = (
    "",
    " ",
    "a" * 5000,
    "../../etc/passwd",
    "/",
    "a/b",
    "=1+1",
    "\x1b[31mred",
    "\u202eabc",
    "\ufeff",
    "\x00",
    "表",
    "\U0001f600",
    "a\nb",
    "a\rb",
    '"',
    "'",
    ";",
    "é",
    "e\u0301",
    "<script>",
    "None",
    "nan",
    "-",
    "NUL",
    "%s%n",
    "{0}",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "a" * 3000,
    "\ud800",
    "../..",
    [],
    {},
    [[]],
    [None],
    {"": 0},
    [1] * 3000,
    "1",
    "nan",
)


# ---- Tables as text --------------------------------------------------------------------------------------------------


def _table(change: Callable[[list[list[str]], random.Random], str]) -> Mutation:
    def mutation(path: Path, rng: random.Random) -> str:
        rows = [line.split(",") for line in path.read_text().splitlines()]
        what = change(rows, rng)
        path.write_bytes("\n".join([*(",".join(row) for row in rows), ""]).encode("utf-8", "surrogatepass"))
        return what

    return mutation


def _one_cell(rows: list[list[str]], rng: random.Random) -> str:
    row = rng.randrange(1, len(rows)) if rng.random() < 0.9 else 0
    column, value = rng.randrange(len(rows[row])), rng.choice(NUMBERS if rng.random() < 0.6 else WORDS)
    rows[row][column] = value
    return f"cell {row}, {column} is {value[:30]!r}"


def _one_column(rows: list[list[str]], rng: random.Random) -> str:
    column, value = rng.randrange(len(rows[0])), rng.choice(NUMBERS + WORDS)
    for row in rows[1:]:
        row[column : column + 1] = [value]
    return f"column {rows[0][column]} is {value[:30]!r}"


def _swapped(rows: list[list[str]], rng: random.Random) -> str:
    a, b = rng.sample(range(len(rows[0])), 2)
    start = rng.choice([0, 1])
    for row in rows[start:]:
        if len(row) > max(a, b):
            row[a], row[b] = row[b], row[a]
    return f"columns {a} and {b} swapped{' below the header' * start}"


def _header(rows: list[list[str]], rng: random.Random) -> str:
    kind = rng.choice(["missing", "twice", "empty", "unknown", "case", "last"])
    if kind == "missing":
        del rows[0]
    elif kind == "twice":
        rows[0][rng.randrange(len(rows[0]))] = rows[0][0]
    elif kind == "empty":
        rows[0] = [""] * len(rows[0])
    elif kind == "unknown":
        rows[0][rng.randrange(len(rows[0]))] = rng.choice(WORDS)
    elif kind == "case":
        rows[0] = [f" {name.upper()} " for name in rows[0]]
    else:
        rows.append(rows.pop(0))
    return f"header {kind}"


def _ragged(rows: list[list[str]], rng: random.Random) -> str:
    row = rng.choice(rows)
    row[:] = row[: rng.randrange(len(row))] if rng.random() < 0.5 else row + ["x"] * rng.choice([1, 100, 20000])
    return f"a row of {len(row)} cells"


def _repeated(rows: list[list[str]], rng: random.Random) -> str:
    count = rng.choice([1, 1, 5000])
    rows += [list(rng.choice(rows[1:] or rows)) for _ in range(count)]
    return f"{count} rows repeated"


def quotes(path: Path, rng: random.Random) -> str:
    """A quote that does not end, or a cell of megabytes."""
    text, where = path.read_text(), rng.randrange(path.stat().st_size)
    piece = rng.choice(['"', '"""', '",', "'", '"' + "x" * 300_000])
    path.write_text(text[:where] + piece + text[where:])
    return f"{piece[:5]!r} at {where}"


def delimiters(path: Path, rng: random.Random) -> str:
    """Other signs between cells and lines."""
    sign, end = (
        rng.choice([";", "\t", "|", " ", ",,", ", "]),
        rng.choice(["\n", "\r\n", "\r", "\n\n", "\x0b", "\u2028"]),
    )
    path.write_bytes(path.read_text().replace(",", sign).replace("\n", end).encode())
    return f"{sign!r} between cells, {end!r} between lines"


def encodings(path: Path, rng: random.Random) -> str:
    """Another encoding, with letters that it writes in its own way."""
    codec = rng.choice(
        ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp1252", "shift-jis", "utf-7", "cp037"]
    )
    text = path.read_text().replace("s1", "sé1" if codec in ("latin-1", "cp1252") else "s1")
    path.write_bytes(text.encode(codec, "replace"))
    return f"written as {codec}"


TABLE = (
    *map(_table, (_one_cell, _one_cell, _one_cell, _one_column, _swapped, _header, _ragged, _repeated)),
    quotes,
    delimiters,
    encodings,
)


# ---- ELAN documents, subtitles ---------------------------------------------------------------------------------------

BOMB = (
    '<!DOCTYPE a [<!ENTITY a0 "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
    + "]>\n"
)


def lines_of(path: Path, rng: random.Random) -> str:
    """Another number, another word, or lines that are missing, doubled or swapped."""
    lines = path.read_text().splitlines()
    number, kind = rng.randrange(len(lines)), rng.choice(["number", "number", "word", "gone", "twice", "swapped"])
    if kind in ("number", "word"):
        pattern = r"\d+" if kind == "number" else r"[A-Za-z_]+"
        places = [match for match in re.finditer(pattern, path.read_text())]
        place, new = rng.choice(places), rng.choice(NUMBERS if kind == "number" else WORDS)
        text = path.read_text()
        path.write_text(text[: place.start()] + new + text[place.end() :], encoding="utf-8")
        return f"{kind}: {place.group()} is {new[:30]!r}"
    if kind == "gone":
        del lines[number]
    elif kind == "twice":
        lines.insert(number, lines[number])
    else:
        other = rng.randrange(len(lines))
        lines[number], lines[other] = lines[other], lines[number]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"line {number + 1} {kind}"


def marks(path: Path, rng: random.Random) -> str:
    """What a reader of XML may stumble over: entities that grow, files of others, depth."""
    text = path.read_text()
    kind = rng.choice(["bomb", "other file", "deep", "no end"])
    head, body = text.partition("?>")[::2] if text.startswith("<?xml") else ("", text)
    head = head + "?>\n" if head else head
    if kind == "bomb":
        text = head + BOMB + re.sub(r">[^<]+<", ">&a9;<", body, count=1)
    elif kind == "other file":
        entity = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n'
        text = head + entity + re.sub(r">[^<]+<", ">&x;<", body, count=1)
    elif kind == "deep":
        text = head + "<a>" * 100_000 + body + "</a>" * 100_000
    else:
        text = text[: text.rfind("</")]
    path.write_text(text, encoding="utf-8")
    return f"marks: {kind}"


MARKED = (lines_of, lines_of, lines_of, lines_of, marks, encodings)


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _nodes(value: Any, path: tuple = ()) -> list[tuple]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [node for key, one in inside for node in _nodes(one, (*path, key))]


def json_value(path: Path, rng: random.Random) -> str:
    """Another value somewhere, of any type; or a key that is missing, misspelt or new."""
    content = json.loads(path.read_text())
    nodes = [node for node in _nodes(content) if node] or [()]
    where = min(rng.sample(nodes, min(3, len(nodes))), key=len)  # the outer ones matter more
    parent = content
    for key in where[:-1]:
        parent = parent[key]
    kind, value = rng.choice(["value", "value", "value", "gone", "name"]), rng.choice(VALUES)
    if not where:
        content, what = value, f"all is {str(value)[:30]}"
    elif kind == "gone":
        del parent[where[-1]]
        what = f"{'/'.join(map(str, where))} is missing"
    elif kind == "name" and isinstance(parent, dict):
        parent[rng.choice(WORDS)] = parent.pop(where[-1])
        what = f"{'/'.join(map(str, where))} has another name"
    else:
        parent[where[-1]] = value
        what = f"{'/'.join(map(str, where))} is {str(value)[:30]!r}"
    path.write_text(json.dumps(content), encoding="utf-8")
    return what[:150]


def json_text(path: Path, rng: random.Random) -> str:
    """What a reader of JSON may stumble over."""
    text = path.read_text()
    kind = rng.choice(["deep", "deep objects", "twice", "comment", "tail", "number", "utf-16", "bom", "nan", "lines"])
    if kind == "deep":
        text = "[" * 100_000 + "]" * 100_000
    elif kind == "deep objects":
        text = text.replace(":", ':{"a":' * 3000, 1)
    elif kind == "twice":
        text = re.sub(r'("\w+"): ?', r"\1: 0, \1: ", text, count=1)
    elif kind == "number":
        text = re.sub(r"\d+(?=[,\s\]}])", "1" + "0" * 5000, text, count=1)
    elif kind == "nan":
        text = re.sub(
            r"\d+(\.\d+)?(?=[,\s\]}])",
            rng.choice(["NaN", "Infinity", "-Infinity", "1e999"]),
            text,
            count=rng.choice([1, 0]),
        )
    else:
        text = {
            "comment": "// x\n" + text,
            "tail": text + "{}",
            "lines": text.replace("\n", "\r"),
            "bom": "\ufeff" + text,
        }.get(kind, text)
    path.write_bytes(text.encode("utf-16" if kind == "utf-16" else "utf-8"))
    return f"JSON: {kind}"


JSON = (json_value, json_value, json_value, json_value, json_text)
