import numpy as np
import pytest

from fedn_jax.core import schema


def record(**changes):
    values = {
        "subject": "s1", "video": "v1", "num_frames": np.int32(10), "fps": np.float32(30), "first_frame": np.int32(1),
        "inputs": np.zeros((10, 4), np.float16), "valid": np.ones(10, np.uint8),
        "flow": np.zeros((10, 12, 2), np.float16), "source": np.arange(10, dtype=np.int32),
        "events": np.array([[2, 3, 5, 1, 0]], np.int32),
    }  # fmt: skip
    return values | changes


def test_a_good_record_passes():
    schema.validate(record(), num_classes=2, frames_per_row=1)
    schema.validate(
        record(num_frames=np.int32(20), source=np.arange(20, dtype=np.int32)), num_classes=2, frames_per_row=2
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"inputs": np.zeros((10, 4), np.float32)}, "inputs must be float16"),
        ({"inputs": np.full((10, 4), np.nan, np.float16)}, "finite"),
        ({"fps": np.float32(0)}, "fps must be a positive number"),
        ({"valid": np.ones(9, np.uint8)}, "valid must have one entry per row"),
        ({"num_frames": np.int32(14)}, "do not fit 14 frames"),
        ({"source": np.arange(9, dtype=np.int32)}, "source must hold 10 frame numbers"),
        ({"source": np.arange(10, dtype=np.int32)[::-1]}, "that never fall"),
        ({"events": np.array([[2, 3, 11, 1, 0]], np.int32)}, r"\[2, 11\) must lie inside"),
        ({"events": np.array([[5, -1, 5, 1, 0]], np.int32)}, "must lie inside"),
        ({"events": np.array([[2, 7, 5, 1, 0]], np.int32)}, "must hold its apex; got 7"),
        ({"events": np.array([[2, 3, 5, 2, 0]], np.int32)}, "emotion below 2, or -1; got 2"),
        ({"events": np.array([[2, 3, 5, 1, 2]], np.int32)}, "kind below 2"),
        ({"events": np.zeros((1, 4), np.int32)}, "shape"),
    ],
)
def test_a_bad_record_is_named(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        schema.validate(record(**changes), num_classes=2, frames_per_row=1)
    assert "video s1/v1" in str(error.value)


def test_a_missing_field_is_named():
    bad = record()
    del bad["flow"]
    with pytest.raises(ValueError, match="no field flow"):
        schema.validate(bad, 2, 1)
