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
