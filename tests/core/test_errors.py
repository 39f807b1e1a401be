import errno
from pathlib import Path

import numpy as np
import pytest

from fedn_jax.core import errors


def test_one_of_returns_the_value_and_names_the_nearest_choice():
    assert errors.one_of("head", "coupled", {"coupled": 1, "decoupled": 2}) == "coupled"
    with pytest.raises(
        errors.UserError, match=r"head must be one of a, coupled; got 'coupeld'; did you mean 'coupled'\?"
    ):
        errors.one_of("head", "coupeld", ["a", "coupled"])


def test_shape():
    errors.shape("x", np.zeros((3, 2)), (None, 2))
    with pytest.raises(ValueError, match=r"x must have shape \[any, 2\]; got \[3, 4\]"):
        errors.shape("x", np.zeros((3, 4)), (None, 2))
    with pytest.raises(ValueError, match="got"):
        errors.shape("x", np.zeros(3), (None, 2))


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_at_least(value):
    errors.at_least("k", 1, 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        errors.at_least("k", value, 1)


def test_of_many_choices_the_nearest_are_listed():
    with pytest.raises(
        ValueError, match="one of 20 choices, such as key7, .*; got 'key7x'; did you mean 'key7'"
    ) as error:
        errors.one_of("option", "key7x", [f"key{i}" for i in range(20)])
    assert len(str(error.value)) < 120
    with pytest.raises(ValueError, match="such as key0, key1"):
        errors.one_of("option", "?", [f"key{i}" for i in range(20)])


def test_an_error_as_one_line():
    where = Path("run")
    assert errors.line(errors.UserError("wrong")) == "wrong"
    assert errors.line(FileNotFoundError(2, "No such file or directory", "a.csv")) == "a.csv: No such file or directory"
    assert errors.line(OSError("only words")) == "only words"
    read_only = OSError(errno.EROFS, "Read-only file system", "run/.part-0123-evaluation")
    assert errors.line(read_only) == "run: the file system is read-only; choose another place to write to"
    assert errors.line(FileExistsError(errno.EEXIST, "File exists", "out")).startswith("out: is a file; expected")
    assert "not enough memory" in errors.line(MemoryError())
    assert errors.line(ZeroDivisionError()) is None and errors.line(RuntimeError("no idea"), where) is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("writing failed: No space left on device"),
        RuntimeError("Failed to write chunk: No space left on device"),  # as array_record says it
        ValueError('RESOURCE_EXHAUSTED: Error writing "x/0": No space left on device'),  # as tensorstore says it
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_named_with_its_place_whoever_says_so(error):
    outer = KeyError("something that followed from it")
    outer.__cause__ = error
    for one in (error, outer):
        text = errors.line(one, Path("T/run"))
        assert text.startswith("T/run: ") and "free some" in text and "start the same command again" in text
    error = OSError(errno.ENOSPC, "No space left on device", "T/run/metrics.json")
    assert errors.line(error, Path("T/run")).startswith("T/run/metrics.json: no space left")


def test_between_says_which_ends_count():
    for got, without in ((0, ()), (1, ()), (0.5, (0, 1)), (1, (0,))):
        errors.between("x", got, 0, 1, without)
    for got, without, said in (
        (-1e-9, (), "x must be at least 0 and at most 1; got -1e-09"), (0, (0,), "x must be above 0 and at most 1"),
        (1.0, (1,), "x must be at least 0 and below 1"), (float("nan"), (), "got nan"),
    ):  # fmt: skip
        with pytest.raises(errors.UserError, match=said):
            errors.between("x", got, 0, 1, without)
