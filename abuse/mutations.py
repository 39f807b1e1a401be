"""Ways to break a file. Each changes a file in place and says in words what it did."""

import io
import json
import os
import random
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Mutation = Callable[[Path, random.Random], str]

NUMBERS = ("", "nan", "NaN", "inf", "-inf", "-1", "0", "1e308", "1e-400", "9223372036854775808", "99999999999999999999",
           "1,5", "1.5", "0x10", "１２", "٣", "1_000", "--1", "+5", "12.0", "TRUE", "1e3", " 7 ", "0.30000000000000004")  # fmt: skip
WORDS = ("", " ", "a" * 5000, "../../etc/passwd", "/", "a/b", "=1+1", "\x1b[31mred", "\u202eabc", "\ufeff", "\x00", "表",
         "\U0001f600", "a\nb", "a\rb", '"', "'", ";", "é", "e\u0301", "<script>", "None", "nan", "-", "NUL", "%s%n", "{0}")  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    "a" * 3000, "\ud800", "../..", [], {}, [[]], [None], {"": 0}, [1] * 3000, "1", "nan",
)  # fmt: skip


# ---- Bytes -----------------------------------------------------------------------------------------------------------


def _bytes(change: Callable[[bytearray, random.Random], tuple[bytes, str]]) -> Mutation:
    def mutation(path: Path, rng: random.Random) -> str:
        content, what = change(bytearray(path.read_bytes()), rng)
        path.write_bytes(content)
        return what

    mutation.__name__ = change.__name__
    return mutation


@_bytes
def truncate(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """Cut off, at any byte, and more often near an end."""
    end = rng.choice([rng.randrange(len(data) + 1), min(len(data), rng.randrange(1, 64)), max(0, len(data) - rng.randrange(64))])
    return bytes(data[:end]), f"cut to {end} of {len(data)} bytes"


@_bytes
def flip(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A few bits or bytes."""
    count = rng.choice([1, 1, 2, 8, 64])
    for _ in range(count if data else 0):
        where = rng.randrange(len(data)) if rng.random() < 0.6 else rng.randrange(min(len(data), 256))
        data[where] = data[where] ^ (1 << rng.randrange(8)) if rng.random() < 0.5 else rng.randrange(256)
    return bytes(data), f"{count} places overwritten"


@_bytes
def splice(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A piece of the file again, elsewhere: in place of what was there, or pushed in between."""
    size = rng.randrange(1, max(2, min(len(data), 4096)))
    start, where = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    piece = data[start : start + size]
    pushed = rng.random() < 0.5
    data[where : where if pushed else where + size] = piece
    return bytes(data), f"{len(piece)} bytes of {start} {'inserted' if pushed else 'put'} at {where}"


@_bytes
def remove(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A piece is missing."""
    size, where = rng.randrange(1, max(2, min(len(data), 4096))), rng.randrange(len(data) + 1)
    del data[where : where + size]
    return bytes(data), f"{size} bytes missing at {where}"


@_bytes
def huge_number(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A length field that claims far too much: whatever lies there becomes a large number."""
    size = rng.choice([2, 4, 8])
    where = rng.randrange(min(len(data), 2048)) if rng.random() < 0.6 else rng.randrange(max(1, len(data)))
    value = rng.choice([b"\xff" * size, b"\x7f" + b"\xff" * (size - 1), b"\xff" * (size - 1) + b"\x7f", b"\0" * size])
    data[where : where + size] = value
    return bytes(data), f"{value.hex()} at {where}"


@_bytes
def zeros(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """A block of zeros, as a disk leaves it after a power cut."""
    where, size = rng.randrange(len(data) + 1), rng.choice([16, 512, 4096, len(data)])
    size = min(size, len(data) - where)
    data[where : where + size] = bytes(size)
    return bytes(data), f"{size} zeros at {where}"


@_bytes
def appended(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """Something follows the end."""
    tail = rng.choice([b"\0" * 4096, os.urandom(0) + rng.randbytes(1000), bytes(data[: len(data) // 2]), b"\n\n\n,,,\n"])
    return bytes(data) + tail, f"{len(tail)} bytes appended"


@_bytes
def noise(data: bytearray, rng: random.Random) -> tuple[bytes, str]:
    """Nothing of the file is left."""
    return rng.randbytes(rng.choice([1, 100, 5000])), "random bytes"


BYTES = (truncate, truncate, flip, flip, splice, remove, huge_number, zeros, appended, noise)


# ---- What lies at the path -------------------------------------------------------------------------------------------


def _instead(make: Callable[[Path, random.Random], None], what: str) -> Mutation:
    def mutation(path: Path, rng: random.Random) -> str:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        make(path, rng)
        return what

    return mutation


def _other_kind(path: Path, rng: random.Random) -> None:
    kinds = [b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x1f\x8b\x08", b"#!/bin/sh\nexit 0\n", b"\x7fELF\x02\x01\x01",
             b"RIFF\xff\xff\xff\xffAVI LIST", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), b"<?xml version='1.0'?><a/>"]  # fmt: skip
    path.write_bytes(rng.choice(kinds) + rng.randbytes(200))


def forbidden(path: Path, rng: random.Random) -> str:
    """Nobody may read it; the campaign then works as a user without rights."""
    path.chmod(0)
    return "no permission"


def missing(path: Path, rng: random.Random) -> str:
    """It is not there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return "missing"


IN_ITS_PLACE: tuple[Mutation, ...] = (
    _instead(lambda path, _: path.write_bytes(b"") and None, "empty"),
    _instead(lambda path, _: path.mkdir(), "a directory in its place"),
    _instead(lambda path, _: os.mkfifo(path), "a FIFO in its place"),
    _instead(lambda path, _: path.symlink_to(path.name), "a link to itself"),
    _instead(lambda path, _: path.symlink_to("nothing"), "a link to nothing"),
    _instead(lambda path, _: path.symlink_to("/dev/zero"), "a link to /dev/zero"),
    _instead(_other_kind, "a file of another kind"),
    missing,
    forbidden,
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
    sign, end = rng.choice([";", "\t", "|", " ", ",,", ", "]), rng.choice(["\n", "\r\n", "\r", "\n\n", "\x0b", "\u2028"])
    path.write_bytes(path.read_text().replace(",", sign).replace("\n", end).encode())
    return f"{sign!r} between cells, {end!r} between lines"


def encodings(path: Path, rng: random.Random) -> str:
    """Another encoding, with letters that it writes in its own way."""
    codec = rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp1252", "shift-jis", "utf-7", "cp037"])
    text = path.read_text().replace("s1", "sé1" if codec in ("latin-1", "cp1252") else "s1")
    path.write_bytes(text.encode(codec, "replace"))
    return f"written as {codec}"


TABLE = (*map(_table, (_one_cell, _one_cell, _one_cell, _one_column, _swapped, _header, _ragged, _repeated)), quotes, delimiters, encodings)


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
        text = re.sub(r"\d+(\.\d+)?(?=[,\s\]}])", rng.choice(["NaN", "Infinity", "-Infinity", "1e999"]), text, count=rng.choice([1, 0]))
    else:
        text = {"comment": "// x\n" + text, "tail": text + "{}", "lines": text.replace("\n", "\r"), "bom": "\ufeff" + text}.get(kind, text)
    path.write_bytes(text.encode("utf-16" if kind == "utf-16" else "utf-8"))
    return f"JSON: {kind}"


JSON = (json_value, json_value, json_value, json_value, json_text)


# ---- Zip archives: workbooks, arrays, checkpoints of PyTorch -------------------------------------------------------------


def zip_member(path: Path, rng: random.Random) -> str:
    """A member changed, removed or twice; the archive itself is whole."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name, kind = rng.choice(list(members)), rng.choice(["flip", "flip", "cut", "gone", "renamed", "empty", "twice"])
    content = bytearray(members[name])
    if kind == "flip":
        for _ in range(rng.choice([1, 4, 32]) if content else 0):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "cut":
        content = content[: rng.randrange(len(content) + 1)]
    elif kind == "empty":
        content = bytearray()
    members[name] = bytes(content)
    if kind in ("gone", "renamed"):
        members[rng.choice(["../../evil", "x", "/abs"]) if kind == "renamed" else name] = members.pop(name)
        members.pop(name, None)
    _write_zip(path, members, twice=name if kind == "twice" else "")
    return f"member {name}: {kind}"


def _write_zip(path: Path, members: dict[str, bytes], twice: str = "") -> None:
    import warnings

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in [*members.items(), *([(twice, b"\0" * 10)] if twice else [])]:
            archive.writestr(name, content)


def zip_bomb(path: Path, rng: random.Random) -> str:
    """A member that unpacks to 3 GiB (arrays, text), written in a moment."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheets = [one for one in members if "sheet" in one and one.endswith(".xml")]
    name = rng.choice(sheets or list(members))
    head = members.pop(name)
    start = head[: head.find(b"<sheetData>") + 11] if b"<sheetData>" in head else _array_header(3 << 28)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for other, content in members.items():
            archive.writestr(other, content)
        with archive.open(name, "w", force_zip64=True) as member:
            member.write(start)
            block = (b"<row><c><v>1</v></c></row>" * 40330 if b"<sheetData>" in head else bytes(1 << 20))[: 1 << 20]
            for _ in range(3 << 6 if b"<sheetData>" in head else 3 << 10):
                member.write(block)
    return f"member {name} unpacks to gigabytes"


def _array_header(count: int, kind: str = "<f4", shape: str = "") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape or f'(1, {count // 8}, 8)'}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def workbook_text(path: Path, rng: random.Random) -> str:
    """Something in the XML of a workbook that its readers rarely see."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([one for one in members if one.endswith(".xml")])
    text = members[name].decode("utf-8", "replace")
    rules = [
        (r'ref="[A-Z0-9:]+"', 'ref="A1:XFD1048576"'), (r' r="[A-Z]+\d+"', ' r="XFD1048576"'), (r' r="([A-Z]+)\d+"', r' r="\g<1>0"'),
        (r"<v>[^<]*</v>", "<v>4294967295</v>"), (r"<v>[^<]*</v>", "<v>nan</v>"), (r' t="[a-z]+"', ' t="s"'), (r' t="[a-z]+"', ' t="e"'),
        (r"<\?xml[^>]*>", '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'), (r"<t>", "<t>&c;"), ("<", "<<"),
        (r"<sheet ", '<sheet state="hidden" '), (r'name="[^"]*"', 'name=""'), (r'Target="[^"]*"', 'Target="../../../etc/passwd"'),
        (r"<row ", '<row hidden="1" '), (r'r:id="[^"]*"', 'r:id="rId99"'), (r"</", "<!--"),
    ]  # fmt: skip
    fitting = [rule for rule in rules if re.search(rule[0], text)]
    pattern, new = rng.choice(fitting)
    members[name] = re.sub(pattern, new, text, count=rng.choice([0, 1])).encode()
    _write_zip(path, members)
    return f"{name}: {pattern} becomes {new[:30]}"


def array(path: Path, rng: random.Random) -> str:
    """An array of another type, shape or content in a .npz or .npy file."""
    import numpy as np

    loaded = np.load(path, allow_pickle=False)
    arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    name = rng.choice(list(arrays))
    old = arrays[name]
    flat = lambda value: np.full(old.shape, value, old.dtype if old.dtype.kind in "fiu" else float)
    with np.errstate(all="ignore"):
        choices: list[tuple[str, Callable[[], Any]]] = [
            ("NaN", lambda: flat(0) + np.float64("nan")), ("infinity", lambda: flat(0) + np.float64("inf")),
            ("1e300", lambda: flat(0) + 1e300), ("complex", lambda: old.astype(complex) if old.dtype.kind in "fiu" else old),
            ("text", lambda: np.array(["a", "b"])), ("bytes", lambda: np.array([b"a"])), ("booleans", lambda: np.ones(old.shape, bool)),
            ("dates", lambda: np.array(["2020-01-01"], "datetime64[D]")), ("objects", lambda: np.array([{}, None], object)),
            ("a structure", lambda: np.zeros(3, [("a", "i4"), ("b", "f8")])), ("no rows", lambda: old[:0] if old.ndim else old),
            ("one more axis", lambda: old[None]), ("one axis less", lambda: old.reshape(-1)), ("a number", lambda: np.array(-5)),
            ("half of it", lambda: old[: len(old) // 2] if old.ndim else old), ("big endian", lambda: old.astype(old.dtype.newbyteorder(">"))),
            ("whole numbers", lambda: np.zeros(old.shape, np.int64)), ("Fortran order", lambda: np.asfortranarray(old)),
            ("huge whole numbers", lambda: np.full(old.shape, 2**62)), ("negative", lambda: flat(1) * -1.0),
        ]  # fmt: skip
        what, make = rng.choice(choices)
        arrays[name] = make()
    if rng.random() < 0.1:
        del arrays[name]
        what = "missing"
    with path.open("wb") as file:
        np.save(file, arrays.get("", 0)) if set(arrays) <= {""} else np.savez(file, **arrays)
    return f"array {name or 'alone'}: {what}"


def array_header(path: Path, rng: random.Random) -> str:
    """An array whose header claims what is not there."""
    shape = rng.choice(["(1000000000000, 8)", "(-1, 8)", "(1, 0, 8)", "(True,)", "(1, 2, 3, 4, 5)", "(9223372036854775807, 9223372036854775807)", "('a',)", "()"])
    kind = rng.choice(["<f4", "<f4", "|O", "<U4000000", "<f3", "V", "[('a', '<f4')]"])
    content = _array_header(0, kind, shape) + bytes(64)
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members[rng.choice(list(members))] = content
        _write_zip(path, members)
    else:
        path.write_bytes(content)
    return f"header: {kind}, {shape}"


WORKBOOK = (workbook_text, workbook_text, workbook_text, zip_member, zip_member)
ARRAYS = (array, array, array, array, zip_member, array_header)
