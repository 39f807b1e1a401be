"""Shards to arrays: order, exactness, and what is said when they are missing, old or damaged."""

import json
import shutil

import numpy as np
import pytest
from records import CLASSES, RECORDS, record, write

from fedn_jax.core import schema
from fedn_jax.core.errors import UserError
from fedn_jax.data import shards as data


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def copy(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "copy")
    return tmp_path / "copy"


def test_everything_comes_back_exactly(shards):
    loaded = data.load(shards)
    ordered = [RECORDS[2], RECORDS[0], RECORDS[1], RECORDS[3]]
    assert [(meta.subject, meta.video) for meta in loaded.metas] == [
        ("s10", "a"),
        ("s10", "b"),
        ("s2", "z"),
        ("Ü 1", "q"),
    ]
    assert [meta.row for meta in loaded.metas] == [0, 4, 11, 14]
    np.testing.assert_array_equal(loaded.store.inputs, np.concatenate([one["inputs"] for one in ordered]))
    np.testing.assert_array_equal(loaded.store.valid, np.concatenate([one["valid"] for one in ordered]) == 1)
    np.testing.assert_array_equal(loaded.flow, np.concatenate([one["flow"] for one in ordered]))
    assert loaded.store.inputs.dtype == np.float16 and loaded.store.valid.dtype == bool
    assert loaded.metas[0] == ("s10", "a", 4, 25.0, 1, 0, 4, None)


def test_inputs_are_left_out_where_nothing_looks_at_them(shards):
    whole, without = data.load(shards), data.load(shards, inputs=False)
    assert without.store.inputs.shape == (0, 5) and without.store.inputs.dtype == np.float16
    assert without.metas == whole.metas and without.metadata == whole.metadata
    np.testing.assert_array_equal(without.store.valid, whole.store.valid)
    np.testing.assert_array_equal(without.flow, whole.flow)


def test_events(shards):
    first, _, empty, _ = data.load(shards).events
    np.testing.assert_array_equal(first.interval, [[0, 1], [2, 4]])
    assert first.interval.dtype == np.float32 and first.apex.tolist() == [-1, 3]
    assert first.emotion.tolist() == [1, 0] and first.kind.tolist() == [1, 0] and first.valid.all()
    assert empty.interval.shape == (0, 2) and empty.apex.shape == (0,)


def test_metadata(shards):
    metadata = data.load(shards).metadata
    assert set(schema.METADATA) <= set(metadata) and metadata["classes"] == CLASSES
    assert metadata["schema"] == schema.VERSION


def test_order_does_not_depend_on_the_order_of_writing(shards, tmp_path):
    other = data.load(write(tmp_path, RECORDS[::-1]))
    np.testing.assert_array_equal(other.store.inputs, data.load(shards).store.inputs)


def test_one_split_per_subject(shards):
    info = json.loads((schema.find(shards) / "dataset_info.json").read_text())
    assert sorted(split["name"] for split in info["splits"]) == ["s10", "s2", "s___1"]


def test_missing(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        data.load(tmp_path / "none")
    with pytest.raises(UserError, match="holds no prepared data"):
        data.load(tmp_path)


def test_ambiguous(copy):
    shutil.copytree(copy / "shards", copy / "more")
    with pytest.raises(UserError, match="holds 2 data sets"):
        data.load(copy)
    assert len(data.load(copy / "more").metas) == 4


def test_leftovers_of_a_stopped_preparation_are_ignored(copy):
    shutil.copytree(copy / "shards", copy / "shards.new")
    assert len(data.load(copy).metas) == 4


def test_other_schema(copy):
    path = schema.find(copy) / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": "2.1.0"}))
    with pytest.raises(UserError, match="schema 2.1.0, this version reads 3"):
        data.load(copy)
    path.write_text("{}")
    with pytest.raises(UserError, match="metadata has no"):
        data.load(copy)


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "empty"])
def test_damaged_shard(copy, damage):
    shard = next(schema.find(copy).glob("*s10*"))
    content = bytearray(shard.read_bytes())
    if damage == "cut":
        shard.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        # The middle of the records; the file is padded to a block's end.
        used = len(bytes(content).rstrip(b"\0"))
        for index in range(0, used, 64):
            content[index] ^= 0x55
        shard.write_bytes(content)
    elif damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        data.load(copy)


def test_records_that_break_the_schema_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="must lie inside"):
        write(tmp_path, [record("s", "v", 3, ((0, 1, 9, 0, 0),))])
    assert not (tmp_path / "shards").exists()
