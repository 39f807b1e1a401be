"""FEDN, the end-to-end facial expression detection network (Fang et al., arXiv 2504.07660, section 3).

    frames [B, T, D] -> segment attention and fusion -> [B, S, D]
                     -> sliding-window attention      -> [B, S, D]
                     -> two convolutions of stride 2  -> [B, S/4, d1]
                     -> pyramid                       -> [B, S/4, d1] [B, S/8, d1] [B, S/16, d1] [B, S/32, d1]
                     -> one head per level            -> intervals and class scores of L positions

What the paper leaves open is marked so and decided in docs/decisions.md, 1 to 17.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Shaped

from fedn_jax.core.types import Array
from fedn_jax.models import layers
from fedn_jax.models.fedn import fusion
from fedn_jax.ops import windows

NUM_BLOCKS = 2  # stride-2 convolutions between the segments and the first level of the pyramid


# ---- Sliding-window attention ---------------------------------------------------------------------------------------

# What multiplies the features, given the softmax over the S segments [B, S, 1 or D] and the valid segments [B, 1, 1].
# A plain softmax shrinks the features about S-fold; "scaled" has mean gain 1 (open).
WINDOW_ATTENTION: dict[str, Any] = {
    "scaled": lambda weights, count: weights * count,
    "literal": lambda weights, count: weights,
    "none": None,
}


# ---- Head -----------------------------------------------------------------------------------------------------------


class Branch(nn.Module):
    """One branch of a level's head, anchor-free or anchor-based: attention, convolutions, two outputs."""

    width: int  # d2
    depth: int  # convolutions of a tower
    heads: int
    groups: int
    slots: int  # intervals per position: 1 or the number of anchor widths
    channels: int  # class outputs per interval
    prior: float  # initial class probability
    towers: tuple[str, str]  # which tower feeds (intervals, classes): two names, or one name twice

    @nn.compact
    def __call__(
        self, x: Float[Array, "B length d1"], valid: Bool[Array, "B length"]
    ) -> tuple[Float[Array, "B length slots 2"], Float[Array, "B length slots channels"]]:
        """Applies the branch.

        Args:
          x: [B, length, d1] float, one level of the pyramid.
          valid: [B, length] bool.

        Returns:
          (interval outputs [B, length, slots, 2], class logits [B, length, slots, channels]).
        """
        attended = layers.SelfAttention(self.heads, name="attention")(x, valid)
        x = x + attended * valid[..., None]  # what is masked stays zero: the convolutions read it as padding
        towers = {}
        for tower in dict.fromkeys(self.towers):
            y = x
            for layer in range(self.depth):
                y, _ = layers.ConvBlock(self.width, groups=self.groups, name=f"{tower}_{layer}")(y, valid)
            towers[tower] = y
        outputs = []
        for name, tower, size, bias in (
            ("interval", self.towers[0], 2, 0.0),
            ("class", self.towers[1], self.channels, -math.log(1 / self.prior - 1)),
        ):
            kernel, shift = layers.Affine(self.width, self.slots * size, bias, name=f"{name}_output")()
            y = towers[tower] @ kernel + shift
            outputs.append(y.reshape(*y.shape[:2], self.slots, size))
        return outputs[0], outputs[1]


# Towers that feed the interval and the class outputs (FEDN section 5.2, Framework Variations; Table 4).
HEADS: dict[str, tuple[str, str]] = {"decoupled": ("interval", "class"), "coupled": ("shared", "shared")}


# ---- The network ----------------------------------------------------------------------------------------------------


class Fedn(nn.Module):
    """The network, in two steps: segment features, which belong to the video, and the outputs of windows."""

    geometry: windows.Geometry
    segment_fusion: str
    window_attention: str
    window_attention_channels: int  # 1, or 0 for one per channel
    width: int  # d1
    head_width: int  # d2
    head_depth: int
    head: str
    heads: int
    segment_heads: int  # of the segment attention
    groups: int
    levels: int
    anchors: int  # anchor widths
    channels: int  # class outputs per interval
    prior: float
    dropout: float

    def setup(self) -> None:
        """Makes the layers."""
        self.fusion = fusion.SEGMENT_FUSIONS[self.segment_fusion](self.segment_heads)
        if WINDOW_ATTENTION[self.window_attention] is not None:
            self.window_scores = layers.Conv(self.window_attention_channels, use_bias=False)  # softmax removes it
        self.blocks = [layers.ConvBlock(self.width, stride=2, groups=self.groups) for _ in range(NUM_BLOCKS)]
        self.drop = nn.Dropout(self.dropout)
        self.neck = [layers.ConvBlock(self.width, stride=2, groups=self.groups) for _ in range(self.levels - 1)]
        branch = dict(
            width=self.head_width, depth=self.head_depth, heads=self.heads, groups=self.groups,
            channels=self.channels, prior=self.prior, towers=HEADS[self.head],
        )  # fmt: skip
        self.free = [Branch(slots=1, **branch) for _ in range(self.levels)]
        self.anchored = [Branch(slots=self.anchors, **branch) for _ in range(self.levels)]

    def features(self, inputs: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> Float[Array, "B S D"]:
        """Segment features.

        Args:
          inputs: [B, T, D], rows of a window.
          valid: [B, T] bool.

        Returns:
          [B, S, D] float.
        """
        inputs = jnp.where(valid[..., None], inputs.astype(float), 0)  # a gap may hold anything
        return self.fusion(inputs, valid, windows.segment_rows(self.geometry))

    def outputs(
        self, features: Float[Array, "B S D"], valid: Bool[Array, "B S"], train: bool
    ) -> dict[str, Shaped[Array, "B ..."]]:
        """Intervals and class logits of a window.

        Args:
          features: [B, S, D] float.
          valid: [B, S] bool.
          train: apply dropout, with the random stream "dropout".

        Returns:
          Every intermediate by name; the results are ``offsets`` [B, L, A - 1, 2], ``free`` [B, L, 2], ``logits``
          [B, L, A, channels] and ``positions`` [B, L] bool, those that see a valid segment.
        """
        out = {"segments": features}
        x = features * valid[..., None]
        scale = WINDOW_ATTENTION[self.window_attention]
        if scale is not None:
            out["window_scores"] = layers.masked_softmax(self.window_scores(x), valid[..., None], axis=1)
            x = x * scale(out["window_scores"], valid.sum(1)[:, None, None])
        for number, block in enumerate(self.blocks):
            x, valid = block(x, valid)
            out[f"block_{number}"] = x
        x = self.drop(x, deterministic=not train)
        free, anchored, positions = [], [], []
        for level in range(self.levels):
            if level:
                x, valid = self.neck[level - 1](x, valid)
            out[f"level_{level}"] = x
            positions.append(valid)
            free.append(self.free[level](x, valid))
            anchored.append(self.anchored[level](x, valid))
        free_sides, free_logits = (jnp.concatenate(parts, 1) for parts in zip(*free, strict=True))
        offsets, logits = (jnp.concatenate(parts, 1) for parts in zip(*anchored, strict=True))
        out["positions"] = jnp.concatenate(positions, 1)
        out["free"] = nn.softplus(free_sides[:, :, 0])  # open: what makes the distances non-negative
        return {**out, "offsets": offsets, "logits": jnp.concatenate([free_logits, logits], 2)}

    def __call__(self, inputs: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> dict[str, Array]:
        """Both steps, to initialise all parameters (arguments as of ``features``)."""
        features = self.features(inputs, valid)
        return self.outputs(features, jnp.ones(features.shape[:2], bool), False)
