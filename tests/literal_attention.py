"""Segment attention and fusion as the paper words it (FEDN section 3, Backbone): one segment at a time, in NumPy."""

import numpy as np


def softmax(scores):
    """Softmax over the last axis."""
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def fuse(params, x, valid, index, heads):
    """Fuses frames into segments.

    Args:
      params: of ``fusion.SegmentAttention``: layer -> {"kernel", "bias"}.
      x: [B, T, D], frames of a window.
      valid: [B, T] bool.
      index: [S, F] int, frames of each segment.
      heads: of the attention.

    Returns:
      [B, S, D] in the precision of ``x``; 0 for a segment without a valid frame.
    """
    x, valid = np.asarray(x), np.asarray(valid)
    linear = lambda name, y: y @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
    found = np.zeros((len(x), *index.shape[:1], x.shape[2]), x.dtype)
    for window, segment in np.ndindex(found.shape[:2]):
        frames = x[window, [frame for frame in index[segment] if valid[window, frame]]]  # X: [F, D]
        if not len(frames):
            continue
        query, key, value = (
            linear(name, frames).reshape(len(frames), heads, -1).swapaxes(0, 1) for name in ("query", "key", "value")
        )  # [heads, F, D / heads]
        weights = softmax(query @ key.swapaxes(1, 2) / np.sqrt(query.dtype.type(query.shape[2])))
        attended = linear("out", (weights @ value).swapaxes(0, 1).reshape(frames.shape))
        summary = np.broadcast_to(attended.mean(0), frames.shape)  # G, once per frame
        joined = np.concatenate([frames, summary], -1)  # Z_i = [X_i ; G]
        found[window, segment] = softmax(linear("score", joined)[:, 0]) @ linear("reduce", joined)
    return found
