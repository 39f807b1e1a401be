"""The reference's segment attention in the economical form, so that speeds of equal mathematics can be compared.

PyTorch deserves the rewriting, too: projections once per frame, not once per segment, the mean over queries before
the output projection, the weighted sum of frames before the reduction (BUILD_NOTES 3).
"""

import copy
import math
from typing import Any


def fuse(fusion: Any, frames: Any, index: Any) -> Any:
    """Features of segments of which every frame is valid.

    Args:
      fusion: reference.model.AttentionFusion.
      frames: [B, T, D].
      index: [S, F] int, frames of each segment.

    Returns:
      [B, S, D].
    """
    import torch

    attention, width, heads = fusion.attention, frames.shape[-1], fusion.attention.num_heads
    projected = torch.nn.functional.linear(frames, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        part[:, index].unflatten(-1, (heads, -1)).transpose(2, 3) for part in projected.chunk(3, -1)
    )  # [B, S, heads, F, D / heads]
    weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(width / heads), -1)
    pooled = weights.mean(-2, keepdim=True)  # [B, S, heads, 1, F]
    summary = attention.out_proj((pooled @ value).flatten(2))  # [B, S, D]
    importance = (frames @ fusion.score.weight[0, :width])[:, index]  # [B, S, F]; the rest is removed by the softmax
    focus = torch.softmax(importance, -1).unsqueeze(-2)  # [B, S, 1, F]
    frame = (focus @ frames[:, index]).squeeze(-2)  # [B, S, D]
    return fusion.reduce(torch.cat([frame, summary], -1))


def make(network: Any) -> Any:
    """A network that computes what another computes on windows without gaps, with the same parameters.

    Args:
      network: reference.model.Fedn with segment attention.

    Returns:
      A module: (frames, frames_valid, segments_inside) -> outputs, as the reference's.
    """
    import torch

    settings = network.settings
    index = torch.arange(settings.segments)[:, None] * settings.stride + torch.arange(settings.segment_frames)

    index = index.to(next(network.parameters()).device)
    other = copy.copy(network)  # the same parameters
    other.fuse = lambda frames, frames_valid, segments_inside: (fuse(network.fusion, frames, index), segments_inside)
    return other
