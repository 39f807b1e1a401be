import os

import pytest

from fedn_jax.core import written
from fedn_jax.core.errors import UserError


def write(directory, content, names=("a.csv", "a.eaf"), **options):
    with written.replacing(directory, "a", {"video": 1}, names, **options) as parts:
        for name, part in parts.items():
            part.write_text(content + name)


def test_what_was_written_is_replaced_and_what_was_changed_is_not(tmp_path):
    write(tmp_path, "one ")
    write(tmp_path, "two ")
    assert (tmp_path / "a.csv").read_text() == "two a.csv"
    assert written.read(tmp_path)["a"]["about"] == {"video": 1}
    (tmp_path / "a.eaf").write_text("corrected by hand")
    with pytest.raises(UserError, match=r"a\.eaf: was changed since it was written; .*--force"):
        write(tmp_path, "three ")
    assert (tmp_path / "a.csv").read_text() == "two a.csv" and (tmp_path / "a.eaf").read_text() == "corrected by hand"
    write(tmp_path, "four ", force=True)
    assert (tmp_path / "a.eaf").read_text() == "four a.eaf"
    write(tmp_path, "five ")  # what --force wrote is known
    (tmp_path / "a.eaf").unlink()
    write(tmp_path, "six ")  # what was removed is written again
    assert sorted(path.name for path in tmp_path.iterdir()) == [written.LIST, "a.csv", "a.eaf"]


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{", '{"a": 3}', '{"a": {"about": {}}}', "[" * 100_000, b"\xff"], ids=range(8)
)
def test_files_of_unknown_origin_are_somebodys(tmp_path, content):
    (tmp_path / "a.eaf").write_text("annotated by hand")
    if content is not None:
        (tmp_path / written.LIST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match="is not known to be a result"):
        write(tmp_path, "one ")
    assert (tmp_path / "a.eaf").read_text() == "annotated by hand" and not (tmp_path / "a.csv").exists()
    write(tmp_path, "one ", strangers=True)
    assert (tmp_path / "a.eaf").read_text() == "one a.eaf"


def test_killed_at_any_moment_it_can_be_done_again(tmp_path, monkeypatch):
    from pathlib import Path

    write(tmp_path, "one ")
    real, left = Path.replace, 0

    def replace(self, target):
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return real(self, target)

    for steps in range(4):  # the list, two files, the list again
        monkeypatch.setattr(Path, "replace", replace)
        left = steps
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, f"{steps} ")
        monkeypatch.setattr(Path, "replace", real)
        written.check(tmp_path, ["a.csv", "a.eaf"])  # nobody changed anything
    write(tmp_path, "last ")
    assert (tmp_path / "a.csv").read_text() == "last a.csv"


def test_pipes_in_the_place_of_files_are_not_waited_for(tmp_path):
    write(tmp_path, "one ")
    (tmp_path / "a.eaf").unlink()
    os.mkfifo(tmp_path / "a.eaf")
    with pytest.raises(UserError, match=r"a\.eaf: was changed since it was written"):
        write(tmp_path, "two ")
    write(tmp_path, "three ", force=True)
    (tmp_path / written.LIST).unlink()
    os.mkfifo(tmp_path / written.LIST)
    assert written.read(tmp_path) == {}


def test_one_file(tmp_path):
    path = tmp_path / "new" / "numbers.json"
    for text in ("one", "two"):  # an own result is replaced
        with written.file(path, {"command": "x"}) as part:
            part.write_text(text)
    assert path.read_text() == "two"
    path.write_text("mine")
    with pytest.raises(UserError, match="was changed since it was written"), written.file(path, {}) as part:
        part.write_text("three")
    with written.file(path, {}, force=True) as part:
        part.write_text("four")
    assert path.read_text() == "four"
    with pytest.raises(UserError, match="is a directory"), written.file(tmp_path, {}):
        pass
