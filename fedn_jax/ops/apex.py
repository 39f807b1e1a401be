"""The apex of an interval, estimated: nobody predicts it."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped


def farthest(
    inputs: Shaped[np.ndarray, "T ..."], valid: Bool[np.ndarray, " T"], interval: Float[np.ndarray, "N 2"]
) -> Int[np.ndarray, " N"]:
    """The frame of each interval that differs most from its first frame with a face.

    Args:
      inputs: [T, ...] of a video, one row per frame; may be a memory-mapped file.
      valid: [T] bool, False without a face.
      interval: [N, 2] float, frames, half-open [onset, offset).

    Returns:
      [N] int, frames; the middle of an interval without a face.
    """
    apexes = []
    for onset, offset in np.floor(interval + 0.5).astype(int):
        frames = np.flatnonzero(valid[onset : max(offset, onset + 1)]) + onset
        if len(frames) == 0:
            apexes.append((onset + offset) // 2)
            continue
        seen = np.asarray(inputs[frames[0] : frames[-1] + 1], np.float32)[frames - frames[0]]
        apexes.append(int(frames[np.linalg.norm((seen - seen[0]).reshape(len(seen), -1), axis=1).argmax()]))
    return np.array(apexes, int)
