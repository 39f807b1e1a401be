"""Counting and checking what is on the disk."""

import shutil

import pytest
import records

from data_prep.shards import verify
from fedn_jax.core import schema
from fedn_jax.core.errors import UserError


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return records.write(tmp_path_factory.mktemp("verify"))


def test_counts(shards):
    summary = verify.verify(shards)
    assert list(summary["subjects"]) == ["s10", "s2", "Ü 1"]
    s10 = summary["subjects"]["s10"]
    assert (s10["videos"], s10["frames"], s10["rows"], s10["invalid"]) == (2, 11, 11, 2)
    assert s10["expressions"] == {"happy/macro": 2, "sad/micro": 1}
    assert summary["subjects"]["s2"]["expressions"] == {}


def test_lines(shards):
    lines = verify.lines(verify.verify(shards))
    assert all(len(line) <= 80 for line in lines)
    total = next(line for line in lines if line.startswith("all"))
    assert total.split() == ["all", "4", "21", "4", "3", "1"]
    assert next(line for line in lines if line.startswith("sad")).split() == ["sad", "0", "1"]


def test_damage_is_reported_for_every_split(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "copy")
    for name in ("s10", "s2"):
        shard = next(schema.find(tmp_path / "copy").glob(f"*-{name}.*"))
        shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(UserError) as caught:
        verify.verify(tmp_path / "copy")
    assert "split s10: damaged" in str(caught.value) and "split s2: damaged" in str(caught.value)


def test_an_earlier_layout_is_not_called_damaged(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "copy")
    info = schema.find(tmp_path / "copy") / "metadata.json"
    assert f'"{schema.VERSION}"' in info.read_text()
    info.write_text(info.read_text().replace(f'"{schema.VERSION}"', '"2.1.0"'))
    with pytest.raises(UserError, match="written with schema 2.1.0, this version reads 3.*; prepare the data again"):
        verify.verify(tmp_path / "copy")


def test_missing(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        verify.verify(tmp_path / "none")
    with pytest.raises(UserError, match="holds no prepared data"):
        verify.verify(tmp_path)
