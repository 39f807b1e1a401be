import numpy as np

from fedn_jax.engine import decode


def test_frames_of_the_file_by_hand():
    """Nine frames of a file of 30, one of every three or four; a hole is filled by the last frame before it."""
    source = (0, 3, 7, 10, 10, 14, 17, 20, 24)
    interval = np.array([[1.0, 4.0], [3.6, 5.4], [7.5, 99.0], [-3.0, 0.2]])
    want = [[3, 10], [10, 10], [24, 24], [0, 0]]
    np.testing.assert_array_equal(decode.in_file(interval, 0, source), want)
    np.testing.assert_array_equal(decode.in_file(interval, 1, source), np.array(want) + 1)
    assert decode.in_file(np.array([2.0, 5.0]), 1).tolist() == [3, 5]  # frames are those of the file
    assert decode.in_file(np.zeros((0, 2)), 1, source).shape == (0, 2)
