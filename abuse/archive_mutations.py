"""Ways to break workbooks, arrays and checkpoints: zip archives that stay whole."""

import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
        (r'ref="[A-Z0-9:]+"', 'ref="A1:XFD1048576"'),
        (r' r="[A-Z]+\d+"', ' r="XFD1048576"'),
        (r' r="([A-Z]+)\d+"', r' r="\g<1>0"'),
        (r"<v>[^<]*</v>", "<v>4294967295</v>"),
        (r"<v>[^<]*</v>", "<v>nan</v>"),
        (r' t="[a-z]+"', ' t="s"'),
        (r' t="[a-z]+"', ' t="e"'),
        (r"<\?xml[^>]*>", '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'),
        (r"<t>", "<t>&c;"),
        ("<", "<<"),
        (r"<sheet ", '<sheet state="hidden" '),
        (r'name="[^"]*"', 'name=""'),
        (r'Target="[^"]*"', 'Target="../../../etc/passwd"'),
        (r"<row ", '<row hidden="1" '),
        (r'r:id="[^"]*"', 'r:id="rId99"'),
        (r"</", "<!--"),
    ]
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
            ("NaN", lambda: flat(0) + np.float64("nan")),
            ("infinity", lambda: flat(0) + np.float64("inf")),
            ("1e300", lambda: flat(0) + 1e300),
            ("complex", lambda: old.astype(complex) if old.dtype.kind in "fiu" else old),
            ("text", lambda: np.array(["a", "b"])),
            ("bytes", lambda: np.array([b"a"])),
            ("booleans", lambda: np.ones(old.shape, bool)),
            ("dates", lambda: np.array(["2020-01-01"], "datetime64[D]")),
            ("objects", lambda: np.array([{}, None], object)),
            ("a structure", lambda: np.zeros(3, [("a", "i4"), ("b", "f8")])),
            ("no rows", lambda: old[:0] if old.ndim else old),
            ("one more axis", lambda: old[None]),
            ("one axis less", lambda: old.reshape(-1)),
            ("a number", lambda: np.array(-5)),
            ("half of it", lambda: old[: len(old) // 2] if old.ndim else old),
            ("big endian", lambda: old.astype(old.dtype.newbyteorder(">"))),
            ("whole numbers", lambda: np.zeros(old.shape, np.int64)),
            ("Fortran order", lambda: np.asfortranarray(old)),
            ("huge whole numbers", lambda: np.full(old.shape, 2**62)),
            ("negative", lambda: flat(1) * -1.0),
        ]
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
    shape = rng.choice(
        [
            "(1000000000000, 8)",
            "(-1, 8)",
            "(1, 0, 8)",
            "(True,)",
            "(1, 2, 3, 4, 5)",
            "(9223372036854775807, 9223372036854775807)",
            "('a',)",
            "()",
        ]
    )
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
