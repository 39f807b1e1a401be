import itertools

import pytest

from fedn_jax.core import files


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
