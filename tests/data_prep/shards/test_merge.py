"""Several data sets as one: names, emotions, what must be alike, and the folds that it is for."""

import shutil

import numpy as np
import pytest
from records import record, write

from data_prep.shards import merge
from fedn_jax.cli import main
from fedn_jax.core import files, schema
from fedn_jax.core.errors import UserError
from fedn_jax.data import shards

TABLE = "dataset,emotion,as\na,happy,positive\na,sad,\nb,happy,positive\nb,sad,negative\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two data sets that share a subject's name; expressions are happy, sad, or without emotion."""
    out = tmp_path_factory.mktemp("prepared")
    first = [record("s1", "x", events=((0, 1, 2, 0, 0), (3, -1, 5, 1, 1))), record("s2", "y", 4, ((0, 1, 2, 1, 0),))]
    second = [record("s1", "x", 5, ((1, 2, 3, 1, 0), (3, 3, 4, -1, 1)), seed=1)]
    for name, records in (("a", first), ("b", second)):
        write(out / name, records, signature=name)
        (out / name / "previews").mkdir()
        (out / name / "previews" / f"{files.file_name('s1', 'x')}.mp4").write_text(name)
        (out / name / schema.BACKBONE).write_text("weights")
    return out


def sources(prepared):
    return {name: prepared / name for name in "ab"}


def test_everything_comes_along(prepared, tmp_path):
    done = merge.merge(sources(prepared), tmp_path)
    one, a, b = (shards.load(path) for path in (tmp_path, prepared / "a", prepared / "b"))
    assert [(meta.subject, meta.video) for meta in one.metas] == [("a/s1", "x"), ("a/s2", "y"), ("b/s1", "x")]
    np.testing.assert_array_equal(one.store.inputs, np.concatenate([a.store.inputs, b.store.inputs]))
    np.testing.assert_array_equal(one.flow, np.concatenate([a.flow, b.flow]))
    assert one.metadata["classes"] == ["happy", "sad"] and one.metadata["dataset"] == "merged"
    for new, old in zip(one.events, a.events + b.events, strict=True):
        for column, before in zip(new, old, strict=True):
            np.testing.assert_array_equal(column, before)
    assert {name: (found.videos, dict(found.expressions), found.dropped) for name, found in done.items()} == {
        "a": (2, {"happy": 1, "sad": 2}, 0), "b": (1, {"sad": 1, "": 1}, 0),
    }  # fmt: skip
    for name in "ab":
        assert (tmp_path / "previews" / f"{files.file_name(f'{name}/s1', 'x')}.mp4").read_text() == name
    assert shards.backbone_file(tmp_path).read_text() == "weights"
    assert set(one.metadata["labels"]["merged"]) == {"a", "b"}
    assert merge.merge(sources(prepared), tmp_path) is None
    with pytest.raises(UserError, match="was prepared with other options .*choose another --out"):
        merge.merge({"a": prepared / "a", "c": prepared / "b"}, tmp_path)
    with pytest.raises(UserError, match=r"c=.*a: is the same data as a, so people would be there twice"):
        merge.merge({"a": prepared / "a", "c": prepared / "a"}, tmp_path / "twice")


def test_emotions_are_mapped_and_dropped(prepared, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    done = merge.merge(sources(prepared), tmp_path / "out", tmp_path / "table.csv")
    one = shards.load(tmp_path / "out")
    assert one.metadata["classes"] == ["positive", "negative"]
    assert [events.emotion.tolist() for events in one.events] == [[0], [], [1, -1]]
    assert one.events[0].interval.tolist() == [[0, 2]] and (done["a"].dropped, done["b"].dropped) == (2, 0)
    (tmp_path / "table.csv").write_text(TABLE + "b,,negative\n")  # those without an emotion, too
    merge.merge(sources(prepared), tmp_path / "other", tmp_path / "table.csv")
    assert shards.load(tmp_path / "other").events[2].emotion.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            TABLE.replace("b,sad,negative\n", ""),
            "no row for the emotion 'sad' of b; expected b,sad,WORD, or b,sad, to drop it",
        ),
        (TABLE.replace("a,sad,", "a,angry,"), "a has no emotion 'angry'; it has happy, sad"),
        (TABLE + "c,happy,x\n", "there is no data set 'c'; the data sets are a, b"),
        (TABLE + "a,happy,x\n", "line 6: emotion 'happy' of 'a' has another word above"),
        ("dataset,emotion\n", "as"),
    ],
)
def test_tables_that_do_not_fit(prepared, tmp_path, table, message):
    (tmp_path / "table.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        merge.merge(sources(prepared), tmp_path / "out", tmp_path / "table.csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "metadata", "message"),
    [
        ({"fps": np.float32(200)}, {}, "b/s1/x has 200 frames per second, and a/s1/x 25; prepare both with the same"),
        ({"inputs": np.zeros((5, 3), np.float16)}, {}, "b/s1/x has 3 features, and a/s1/x 5; prepare both alike"),
        ({}, {"backbone": "other"}, "a and b differ in backbone: b, and other; prepare both alike"),
        ({"fps": np.float32(25.2)}, {}, None),
    ],
)
def test_what_must_be_alike(prepared, tmp_path, changes, metadata, message):
    write(tmp_path / "b", [record("s1", "x", 5) | changes], signature="b", **metadata)
    both = {"a": prepared / "a", "b": tmp_path / "b"}
    if message is None:
        assert merge.merge(both, tmp_path / "out")
        return
    with pytest.raises(UserError, match=message) as raised:
        merge.merge(both, tmp_path / "out")
    assert "\n" not in str(raised.value) and not list((tmp_path / "out").rglob("dataset_info.json"))


def test_damage_is_named(prepared, tmp_path):
    shutil.copytree(prepared / "b", tmp_path / "b")
    (broken,) = (path for path in (tmp_path / "b" / "shards").rglob("*array_record*"))
    broken.write_bytes(broken.read_bytes()[:20])
    with pytest.raises(UserError, match="damaged"):
        merge.merge({"a": prepared / "a", "b": tmp_path / "b"}, tmp_path / "out")


def test_command(prepared, tmp_path, capsys):
    words = ["merge", f"a={prepared / 'a'}", f"b={prepared / 'b'}", "--out", str(tmp_path / "out")]
    assert main.main(words) == 0
    said = capsys.readouterr().out
    assert "a: 2 videos, 3 expressions, dropped 0" in said and "emotion happy: not in b" in said
    assert main.main(words) == 0 and "nothing to do" in capsys.readouterr().out
    for wrong, message in (
        ([f"a={prepared / 'a'}"], "at least 2 data sets; got a"),
        ([f"a={prepared / 'a'}", str(prepared / "b")], "has no name; expected NAME=DIR"),
        ([f"a={prepared / 'a'}", f"a={prepared / 'b'}"], "is there twice"),
        ([f"a/b={prepared / 'a'}", f"b={prepared / 'b'}"], "letters, digits"),
    ):
        assert main.main(["merge", *wrong, "--out", str(tmp_path / "none")]) == 2
        assert message in capsys.readouterr().err
