"""Frames to segments: segment attention and fusion (FEDN section 3, Backbone), and what may stand in its place."""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fedn_jax.core.types import Array
from fedn_jax.models import layers


class SegmentAttention(nn.Module):
    """Segment attention and fusion, one frame projected once.

    Per segment X [F, D]: a global vector G = mean over frames of self-attention; every frame is joined with it,
    [X_i ; G]; one linear layer scores the joined frames (softmax over F), another reduces them to D; the feature is
    the score-weighted sum. Overlapping segments share frames, so the projections are made once per frame. All that
    follows a softmax is linear, so the mean over queries comes before the output projection, and the weighted sum of
    frames before the reduction, which splits into a frame part and a global part. The global part of the score is
    the same for all frames of a segment: the softmax over them removes it. Products of all frames of the window with
    one another cost less than copying each segment's frames. The tests compare it with the text, word for word.
    """

    heads: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"], index: Int[np.ndarray, "S F"]
    ) -> Float[Array, "B S D"]:
        """Fuses frames into segments.

        Args:
          x: [B, T, D] float, frames of a window.
          valid: [B, T] bool, frames that show a face.
          index: [S, F] int, frames of each segment.

        Returns:
          [B, S, D] float; 0 for a segment without a valid frame.
        """
        attention, score, reduce = fusion_parameters(x.shape[-1])
        width = x.shape[-1]
        seen = valid[:, index]  # [B, S, F]
        holds = (index[..., None] == np.arange(x.shape[1])).astype(x.dtype)  # [S, F, T], which frame is whose
        query, key, value = (
            layers.heads_of(x @ attention[name][0] + attention[name][1], self.heads).swapaxes(1, 2)
            for name in ("query", "key", "value")
        )  # [B, heads, T, D / heads]
        affinity = jnp.einsum("bhqc,bhkc->bhqk", query, key) / math.sqrt(width / self.heads)
        weights = layers.masked_softmax(segments_of(affinity, index), seen[:, None, :, None])  # [B, heads, S, F, F]
        share = seen / jnp.maximum(seen.sum(-1, keepdims=True), 1)  # [B, S, F], mean over the valid frames
        pooled = (weights * share[:, None, :, :, None]).sum(3)  # [B, heads, S, F]
        mixture = jnp.einsum("bhsf,sft->bhst", pooled, holds)
        attended = jnp.einsum("bhst,bhtc->bshc", mixture, value).reshape(*seen.shape[:2], width)
        kernel, bias = attention["out"]
        summary = attended @ kernel + bias  # G: [B, S, D]
        importance = (x @ score[0][:width])[..., 0][:, index]  # [B, S, F]
        focus = layers.masked_softmax(importance, seen)
        frame = jnp.einsum("bsf,sft->bst", focus, holds) @ x
        feature = frame @ reduce[0][:width] + summary @ reduce[0][width:] + reduce[1]
        return feature * seen.any(-1, keepdims=True)


def segments_of(pairs: Float[Array, "*n T T"], index: Int[np.ndarray, "S F"]) -> Float[Array, "*n S F F"]:
    """What concerns pairs of frames -> the pairs within each segment: blocks along the diagonal.

    Slices of the flattened matrix, because their derivative is cheap and that of a gather, a scatter, is not: row i of
    the blocks begins at element i T, and the next segment's lies ``stride`` rows and columns on.

    Args:
      pairs: [..., T, T].
      index: [S, F] int, frames of each segment, evenly spaced from 0.

    Returns:
      [..., S, F, F].
    """
    (count, size), frames = index.shape, pairs.shape[-1]
    step = (index[1, 0] if count > 1 else 1) * (frames + 1)
    lead = pairs.shape[:-2]
    span = count * step
    flat = jnp.pad(pairs.reshape(*lead, -1), [(0, 0)] * len(lead) + [(0, max(0, span + size * frames - frames**2))])
    rows = [flat[..., i * frames : i * frames + span].reshape(*lead, count, step) for i in range(size)]
    return jnp.stack([row[..., :size] for row in rows], -2)


def fusion_parameters(width: int) -> tuple[dict, tuple, tuple]:
    """Parameters of segment attention and fusion; call inside a compact method.

    Args:
      width: D.

    Returns:
      (query, key, value and out projections [D, D]; score layer [2 D, 1]; reduction [2 D, D]), each (kernel, bias).
    """
    score, reduce = layers.Affine(2 * width, 1, name="score")(), layers.Affine(2 * width, width, name="reduce")()
    return layers.attention_parameters(width), score, reduce


class SegmentMean(nn.Module):
    """The mean of a segment's valid frames (Table 3, "w/o seg. att.")."""

    heads: int

    def __call__(
        self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"], index: Int[np.ndarray, "S F"]
    ) -> Float[Array, "B S D"]:
        """Averages (arguments and result as of ``SegmentAttention``)."""
        seen = valid[:, index]
        share = seen / jnp.maximum(seen.sum(-1, keepdims=True), 1)
        return jnp.einsum("bsf,bsfd->bsd", share.astype(x.dtype), x[:, index])


class SegmentIdentity(nn.Module):
    """Clip features are one vector per segment already (Table 3, "I3D")."""

    heads: int

    def __call__(
        self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"], index: Int[np.ndarray, "S F"]
    ) -> Float[Array, "B S D"]:
        """Passes the rows through; needs data with one row per segment (arguments as of ``SegmentAttention``)."""
        del index
        return x * valid[..., None]


def fitting_heads(width: int, heads: int) -> int:
    """The heads that a segment attention can have.

    Args:
      width: D of the data.
      heads: how many are wanted.

    Returns:
      The largest number up to ``heads`` that divides D.

    >>> fitting_heads(512, 8), fitting_heads(174, 4), fitting_heads(37, 4)
    (8, 3, 1)
    """
    return next(number for number in range(heads, 0, -1) if width % number == 0)


SEGMENT_FUSIONS: dict[str, type[nn.Module]] = {
    "attention": SegmentAttention,
    "mean": SegmentMean,
    "none": SegmentIdentity,
}
