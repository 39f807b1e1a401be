import os
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from fedn_jax.core import arrays
from fedn_jax.core.errors import UserError


def header(shape, descr="<f4"):
    """The first bytes of a .npy file, by the format's definition."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def packed(path, content, how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_what_numpy_wrote_is_read_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    want = {
        "a": rng.normal(size=(3, 0, 2)), "b": np.asfortranarray(rng.normal(size=(4, 5)).astype(np.float16)),
        "c": np.array("é\n"), "d": np.float32(7), "e": np.arange(4, dtype=">i2"),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **want)
        found = arrays.load_npz(tmp_path / "x.npz", ["a", "b", "c"], optional=["d", "e", "f"])
        assert found.keys() == want.keys()
        for name, array in want.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype and found[name].flags.writeable
    np.save(tmp_path / "y.npy", want["b"])
    np.testing.assert_array_equal(arrays.load_npz(tmp_path / "y.npy", ["z"], alone="z")["z"], want["b"])
    with pytest.raises(UserError, match="not readable as .npz"):
        arrays.load_npz(tmp_path / "y.npy", ["z"])


def test_sizes_are_checked_before_anything_is_unpacked(tmp_path):
    megabytes = 64
    zeros = bytes(megabytes << 20)
    full = packed(tmp_path / "full.npz", {"a.npy": header((megabytes << 18,)) + zeros, "b.npy": header((1,)) + b"abcd"})
    lies = packed(tmp_path / "lies.npz", {"a.npy": header((2**40,)) + b"abcd"})
    alone = tmp_path / "alone.npy"
    alone.write_bytes(header((2**40,)) + b"abcd")
    bzip = packed(tmp_path / "bzip.npz", {"a.npy": header((megabytes << 18,)) + zeros}, zipfile.ZIP_BZIP2)
    del zeros
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"full.npz: its arrays take 64 MiB in memory; expected at most 1 MiB"):
            arrays.load_npz(full, ["a"], most=2**20)
        assert bytes(arrays.load_npz(full, ["b"], most=2**20)["b"]) == b"abcd"  # the large one is not looked at
        for path in (lies, bzip, alone):
            with pytest.raises(UserError, match="not readable as .npz of plain arrays"):
                arrays.load_npz(path, ["a"], alone="a")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        header((-1,)) + b"abcd",
        header((3,)) + b"abcd",  # cut
        header((1,)) + b"abcdefgh",  # too long
        header((1,), "|O") + b"abcd",
        header((2**70, 0)),
        header("('a',)"),
        header("-" * 9000 + "1"),
        header("(" * 300),
        b"\x93NUMPY\x03\x00" + bytes(4),
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f",
        b"no array",
        b"",
    ],
)
def test_damaged_arrays_are_one_line(tmp_path, content):
    path = packed(tmp_path / "x.npz", {"a.npy": content})
    with pytest.raises(UserError) as caught:
        arrays.load_npz(path, ["a"], remedy="export it again")
    assert re.fullmatch(r"[^\n]*x.npz: not readable as .npz of plain arrays \(.+\); export it again", str(caught.value))


def test_other_files_are_one_line(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(1000))
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:900])
    with pytest.raises(UserError, match="not readable as .npz"):
        arrays.load_npz(path, ["a"])
    whole[700] ^= 255
    path.write_bytes(whole)
    with pytest.raises(UserError, match="CRC"):
        arrays.load_npz(path, ["a"])
    np.savez(path, a=1)
    with pytest.raises(UserError, match=r"x.npz: holds no array `b`, `c`; make it again"):
        arrays.load_npz(path, ["b", "a", "c"])
    os.mkfifo(tmp_path / "pipe")
    for name, problem in (("none", "no such file"), ("pipe", "a pipe or a device"), ("", "a folder")):
        with pytest.raises(UserError, match=rf"{problem}; expected a file with arrays"):
            arrays.load_npz(tmp_path / name, ["a"])
