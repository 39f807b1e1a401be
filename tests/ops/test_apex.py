"""The estimated apex, by hand."""

import numpy as np

from fedn_jax.ops import apex


def test_apex_is_the_frame_that_differs_most_from_the_onset():
    inputs = np.zeros((20, 3), np.float16)
    inputs[7], inputs[8] = 5, 9
    valid = np.ones(20, bool)
    interval = np.array([[4.0, 12.0], [8.0, 9.0], [0.0, 4.0]])
    assert apex.farthest(inputs, valid, interval).tolist() == [8, 8, 0]
    valid[8] = valid[0:4] = False
    assert apex.farthest(inputs, valid, interval).tolist() == [7, 8, 2]
