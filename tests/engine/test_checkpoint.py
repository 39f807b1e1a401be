import logging

import numpy as np
import pytest

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
