import errno
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedn_jax.core import files
from fedn_jax.core.errors import UserError


def test_file_names_differ_where_parts_differ():
    parts = ["a", "b", "a/b", "a\\b", "..", "a b", "é", "a__b", "a_", "_b", "A.b"]
    given = [(one,) for one in parts] + list(itertools.product(parts, repeat=2))
    names = [files.file_name(*one) for one in given]
    assert len(set(names)) == len(names)
    assert not any("/" in name or "\\" in name or name.startswith(".") for name in names)
    assert files.file_name("s15", "15_0101") == "s15__15_0101"


def test_text_is_replaced_whole(tmp_path):
    files.write_text(tmp_path / "new" / "a.txt", "one")
    files.write_text(tmp_path / "new" / "a.txt", "two")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "two"


def test_one_process_at_a_time(tmp_path):
    with files.lock(tmp_path / "run"):
        with pytest.raises(files.UserError, match="another process is at work in it"), files.lock(tmp_path / "run"):
            pass
    with files.lock(tmp_path / "run"):
        pass


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "video.mp4"
    with files.replacing(path) as part:
        part.write_bytes(b"whole")
        assert part.suffix == ".mp4" and part.name.startswith(files.PART) and not path.exists()
    with pytest.raises(KeyError), files.replacing(path) as part:
        part.write_bytes(b"half")
        raise KeyError
    assert path.read_bytes() == b"whole" and list(path.parent.iterdir()) == [path]


# ---- Names ----------------------------------------------------------------------------------------------------------


def test_long_names_are_shortened_and_stay_different():
    first, second = files.file_name("s1", "x" * 236), files.file_name("s1", "x" * 237)
    assert len(first) == len(second) == files.LONGEST and first != second and first.startswith("s1__xxx")
    assert files.file_name("é" * 120) != files.file_name("ü" * 120)
    assert files.file_name("x" * files.LONGEST) == "x" * files.LONGEST  # just fits


def test_names_that_are_not_utf8(tmp_path):
    latin, utf8 = os.fsdecode(b"J\xfcrgen"), "Jürgen"
    names = {files.file_name(latin), files.file_name(utf8), files.file_name("J_rgen"), files.file_name("\ud800")}
    assert len(names) == 4 and all(name.isascii() for name in names)
    files.write_text(tmp_path / "list.json", f'"{latin}"')
    assert json.loads((tmp_path / "list.json").read_bytes()) == latin


# ---- Locks ----------------------------------------------------------------------------------------------------------


def refuse_locks(monkeypatch, code):
    import fcntl

    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog, code):
    refuse_locks(monkeypatch, code)
    (tmp_path / ".part-0123abcd-a.txt").write_text("may be in use")
    with files.lock(tmp_path), files.wait_for_lock(tmp_path):
        files.write_text(tmp_path / "a.txt", "done")
    assert len(caplog.messages) == 2 and all(str(tmp_path) in text for text in caplog.messages)
    assert "no lock on this file system" in caplog.text and os.strerror(code) in caplog.text
    assert (tmp_path / "a.txt").read_text() == "done" and (tmp_path / ".part-0123abcd-a.txt").exists()


def test_another_process_that_holds_the_lock_is_said(tmp_path, monkeypatch):
    refuse_locks(monkeypatch, errno.EWOULDBLOCK)
    with pytest.raises(files.UserError, match="another process is at work in it"), files.lock(tmp_path):
        pass


# ---- Parts ----------------------------------------------------------------------------------------------------------


def test_parts_of_killed_processes_go_and_those_in_use_stay(tmp_path):
    path = tmp_path / "video.mp4"
    left = [tmp_path / ".part-4711-video.mp4", tmp_path / ".part-0123abcd-video.mp4"]  # this version, and 0.1.0
    for one in left:
        one.write_bytes(b"half")
    other = tmp_path / ".part-0123abcd-other.mp4"
    other.write_bytes(b"half")
    with files.replacing(path) as part:
        part.write_bytes(b"first")
        assert not any(one.exists() for one in left)
        with files.replacing(path) as second:  # as another process would
            second.write_bytes(b"second")
            assert part.exists() and part != second
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first" and sorted(tmp_path.iterdir()) == [other, path]


def test_the_first_to_finish_makes_the_directory(tmp_path):
    path = tmp_path / "made"
    left = tmp_path / ".part-0123abcd-made"
    left.mkdir()
    (left / "half").touch()
    with files.building(path) as slow:
        assert not left.exists()
        (slow / "who").write_text("slow")
        with files.building(path) as fast:
            (fast / "who").write_text("fast")
        assert slow.exists()
    assert (path / "who").read_text() == "fast" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(KeyError), files.building(tmp_path / "failed"):
        raise KeyError
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_an_error_names_the_file_and_not_its_part(tmp_path, code):
    path = tmp_path / "a.npz"
    for name in (None, "part"):
        with pytest.raises(OSError) as caught, files.replacing(path) as part:
            raise OSError(code, os.strerror(code), *([str(part)] if name else []))
        assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as caught, files.replacing(path):
        open(tmp_path / "elsewhere")
    assert caught.value.filename == str(tmp_path / "elsewhere") and not list(tmp_path.iterdir())


def test_a_file_that_may_not_grow(tmp_path):
    """A real error of the system, in a process of its own: only its first 1000 bytes fit."""
    script = (
        "import resource, sys; from pathlib import Path; from fedn_jax.core import errors, files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: files.write_bytes(Path(sys.argv[1]), bytes(5000))\n"
        "except OSError as error: print(errors.line(error))\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "large")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(files.__file__).parents[2])
    assert done.stdout.startswith(f"{tmp_path / 'large'}: the system does not let the file grow") and not done.stderr
    assert not list(tmp_path.iterdir())


def test_reading_has_bounds(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(UserError, match=r"a: larger than 4 bytes; expected a file with numbers$"):
        files.read_bytes(tmp_path / "a", 4, "numbers")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, problem in (
        ("none", "no such file"), ("loop", "no such file"), ("x" * 300, "no such file"), ("a\0b", "no such file"),
        ("pipe", "a pipe or a device"), ("zero", "a pipe or a device"), (".", "a folder"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"{problem}; expected a file$"):
            files.read_bytes(tmp_path / name, 10)


@pytest.mark.parametrize("name", [".", "/", "there"])
def test_a_directory_is_no_place_for_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="is a directory; expected the name of a file to write"):
        files.write_text(Path(name), "")
    assert os.listdir(tmp_path) == ["there"]
