import logging
import os
import shutil
import threading

import numpy as np
import pytest

from fedn_jax.core.errors import UserError
from fedn_jax.engine import checkpoint


def tree(value):
    return {"params": {"w": np.full((3, 4), value, np.float32)}, "step": np.full(3, value, np.int32), "extra": {}}


def test_round_trip_and_only_two_are_kept(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path / "c", step, tree(step), {"folds": ["a", "b", "c"]})
    step, got, info = checkpoint.restore(tmp_path / "c", tree(0))
    assert step == 3 and info["folds"] == ["a", "b", "c"]
    np.testing.assert_array_equal(got["params"]["w"], tree(3)["params"]["w"])
    assert got["step"].dtype == np.int32
    assert sorted(path.name for path in (tmp_path / "c").iterdir() if path.name.isdigit()) == ["2", "3"]


def test_nothing_there(tmp_path):
    assert checkpoint.restore(tmp_path / "none", tree(0)) is None
    (tmp_path / "empty").mkdir()
    assert checkpoint.restore(tmp_path / "empty", tree(0)) is None


def biggest_file(directory):
    return max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path):
    path.write_bytes(path.read_bytes()[:10])


@pytest.mark.parametrize("damage", [flip, truncate, lambda path: path.unlink()])
def test_a_damaged_step_is_noticed_and_the_one_before_is_used(tmp_path, damage, caplog):
    rng = np.random.default_rng(0)
    state = {"w": rng.normal(size=(64, 64)).astype(np.float32)}
    for step in (1, 2):
        checkpoint.save(tmp_path / "c", step, {"w": state["w"] + step}, {})
    damage(biggest_file(tmp_path / "c" / "2" / "state"))
    with caplog.at_level(logging.WARNING):
        step, got, _ = checkpoint.restore(tmp_path / "c", state)
    assert step == 1
    np.testing.assert_array_equal(got["w"], state["w"] + 1)
    assert "damaged" in caplog.text and (tmp_path / "c-damaged-2-0").is_dir()
    checkpoint.save(tmp_path / "c", 2, {"w": state["w"]}, {})  # the way on is free
    assert checkpoint.restore(tmp_path / "c", state)[0] == 2


def test_when_all_are_damaged_nothing_is_started_afresh(tmp_path):
    checkpoint.save(tmp_path / "c", 1, tree(1), {})
    truncate(biggest_file(tmp_path / "c" / "1" / "state"))
    with pytest.raises(ValueError, match="every checkpoint is damaged"):
        checkpoint.restore(tmp_path / "c", tree(0))
    assert list((tmp_path / "c-damaged-1-0" / "state").iterdir())  # nothing is deleted


def test_every_bit_counts():
    one = {"w": np.zeros(3, np.float32)}
    two = {"w": np.array([0, -0.0, 0], np.float32)}
    assert checkpoint.digests(one) != checkpoint.digests(two)
    assert checkpoint.digests(one) != checkpoint.digests({"w": np.zeros(3, np.int32)})


def listing(base):
    """Every file with its content."""
    return {path.relative_to(base): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def test_a_run_that_lost_its_checkpoints_is_named_and_its_siblings_keep_theirs(tmp_path):
    """Three runs of one program; the second's checkpoints were removed by hand."""
    directories = [tmp_path / name for name in "abc"]
    for step in (29, 30):
        for directory in directories:
            checkpoint.save(directory, step, tree(step), {})
    shutil.rmtree(directories[1])
    before = listing(tmp_path)
    with pytest.raises(UserError, match=r"share no checkpoint .*b has none.*restore what is missing"):
        checkpoint.restore_together(directories, [tree(0)] * 3, [{}] * 3)
    assert listing(tmp_path) == before


def test_the_last_shared_step_is_used_and_only_then_later_ones_go(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for step in (1, 2):
        checkpoint.save(one, step, tree(step), {})
    checkpoint.save(two, 1, tree(1), {})
    step, (first, second) = checkpoint.restore_together([one, two], [tree(0)] * 2, [{}] * 2)
    assert step == 1 and first["step"].tolist() == second["step"].tolist() == [1, 1, 1]
    assert checkpoint.steps(one) == [1]
    checkpoint.save(one, 2, tree(2), {})  # the way on is free


def test_a_first_save_that_was_cut_between_two_runs_starts_afresh(tmp_path, caplog):
    checkpoint.save(tmp_path / "one", 4, tree(4), {})
    assert checkpoint.restore_together([tmp_path / "one", tmp_path / "two"], [tree(0)] * 2, [{}] * 2) is None
    assert (tmp_path / "one-alone-4" / "state").is_dir() and "no counterpart" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        {"params": {"w": np.zeros((3, 4), np.float32), "b": np.zeros(3, np.float32)}, "step": np.zeros(3, np.int32)},
        {"params": {"w": np.zeros((3, 5), np.float32)}, "step": np.zeros(3, np.int32), "extra": {}},
        {"params": {"w": np.zeros((3, 4), np.float64)}, "step": np.zeros(3, np.int32), "extra": {}},
    ],
)
def test_a_checkpoint_of_another_version_is_not_called_damaged(tmp_path, other):
    for step in (1, 2):
        checkpoint.save(tmp_path / "c", step, tree(step), {})
    before = listing(tmp_path)
    with pytest.raises(UserError, match=r"c/2: was written by another version.*params"):
        checkpoint.restore(tmp_path / "c", other)
    with pytest.raises(UserError, match="was written by another version"):
        checkpoint.restore_together([tmp_path / "c"], [other], [{}])
    assert listing(tmp_path) == before


def test_a_checkpoint_of_other_folds_is_refused_and_stays(tmp_path):
    checkpoint.save(tmp_path / "c", 1, tree(1), {"folds": ["a", "b", "c"]})
    before, other = listing(tmp_path), {"folds": ["a", "b", "d"]}
    assert checkpoint.why_not(tmp_path / "c", 1, tree(0), {"folds": ["a", "b", "c"]}) == ""
    assert checkpoint.why_not(tmp_path / "c", 1, tree(0), other)
    with pytest.raises(UserError, match="was moved here from another place: folds is"):
        checkpoint.restore_together([tmp_path / "c"], [tree(0)], [other])
    assert listing(tmp_path) == before


def test_looking_for_steps_writes_nothing(tmp_path):
    checkpoint.save(tmp_path / "c", 1, tree(1), {})
    os.chmod(tmp_path / "c", 0o555)
    before = listing(tmp_path), sorted(tmp_path.rglob("*"))
    assert checkpoint.steps(tmp_path / "c") == [1] and checkpoint.steps(tmp_path / "none") == []
    assert (listing(tmp_path), sorted(tmp_path.rglob("*"))) == before


def test_a_writer_saves_by_time_beside_the_training(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    gate = threading.Event()
    save = checkpoint.save

    def slow(*arguments):
        gate.wait(60)
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", slow)
    writer = checkpoint.Writer(10)
    now[0] = 599.0
    assert not writer.due()
    now[0] = 600.0
    assert writer.due()
    writer.start([tmp_path / "a", tmp_path / "b"], 3, [tree(3)] * 2, [{}, {}])  # returns though nothing is written
    now[0] = 5000.0
    assert not writer.due()  # one save at a time
    gate.set()
    writer.wait()
    assert checkpoint.restore(tmp_path / "a", tree(0))[0] == checkpoint.restore(tmp_path / "b", tree(0))[0] == 3
    assert writer.due()
    writer.close()


def test_errors_of_a_save_are_raised(tmp_path):
    (tmp_path / "file").write_text("")
    writer = checkpoint.Writer(0)
    writer.start([tmp_path / "file" / "c"], 1, [tree(1)], [{}])
    with pytest.raises(OSError):
        writer.due()
    writer.close()
