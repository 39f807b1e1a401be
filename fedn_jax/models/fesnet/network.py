"""FESNet (Zhang, Lu, Wang, He, Computing and Informatics 43, 2024): one label per frame, from aligned frames.

    frames [B, N, h, w, 3] -> LSDM, one frame at a time but for the base frame -> v [B, N, c], spatial proposals
                           -> MTAM, over time -> temporal proposals, S blocks of refinement -> final proposals [B, N, C]

LSDM is the local spatial discrepancy module, MTAM the multi-scale temporal aggregation module. What the paper leaves
open is marked so and decided in docs/decisions.md, 85 to 98.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Shaped

from fedn_jax.core.types import Array
from fedn_jax.models import layers

HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
EPSILON = 1e-5
KERNEL = 3  # of everything over time


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3, each with batch normalisation, and a shortcut (He et al. 2016)."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "M h w c"], counted: Bool[Array, " M"], train: bool) -> Float[Array, "M H W d"]:
        """Applies the block.

        Args:
          x: [M, h, w, c] float.
          counted: [M] bool, frames that move the statistics.
          train: use the batch's statistics.

        Returns:
          [M, h / stride, w / stride, features] float.
        """
        y = nn.relu(_normalized(_conv(self.features, 3, self.stride, "first")(x), counted, train, "first_norm"))
        y = _normalized(_conv(self.features, 3, 1, "second")(y), counted, train, "second_norm")
        if self.stride != 1 or x.shape[-1] != self.features:
            x = _normalized(_conv(self.features, 1, self.stride, "shortcut")(x), counted, train, "shortcut_norm")
        return nn.relu(x + y)


def _conv(features: int, kernel: int, stride: int, name: str) -> nn.Conv:
    """A convolution with half a kernel of zeros on both sides, without a bias: a normalisation follows."""
    padding = [(kernel // 2, kernel // 2)] * 2
    return nn.Conv(features, (kernel, kernel), stride, padding, use_bias=False, kernel_init=HE, name=name)


def _normalized(x: Array, counted: Array, train: bool, name: str) -> Array:
    """Batch normalisation of maps [M, h, w, c] over the frames that count."""
    return layers.BatchNorm(EPSILON, name=name)(x, counted[:, None, None], train)


class Encoder(nn.Module):
    """A layer of a transformer's encoder, normalised first (Dosovitskiy et al. 2021)."""

    heads: int
    mlp: float  # width of the hidden layer, in widths of a token

    @nn.compact
    def __call__(self, x: Float[Array, "M P c"]) -> Float[Array, "M P c"]:
        """Attends among the positions of each frame.

        Args:
          x: [M, P, c] float, tokens.

        Returns:
          [M, P, c] float.
        """
        width, hidden = x.shape[-1], round(self.mlp * x.shape[-1])
        normed = nn.LayerNorm(EPSILON, name="attention_norm")(x)
        x = x + layers.SelfAttention(self.heads, name="attention")(normed, jnp.ones(x.shape[:2], bool))
        normed = nn.LayerNorm(EPSILON, name="mlp_norm")(x)
        rise, shift = layers.Affine(width, hidden, name="rise")()
        fall, end = layers.Affine(hidden, width, name="fall")()
        return x + nn.gelu(normed @ rise + shift, approximate=False) @ fall + end


class Lsdm(nn.Module):
    """Local spatial discrepancy: how each frame differs from the base frame of its interval (eq. 1)."""

    stem_width: int
    stem_kernel: int
    widths: Sequence[int]  # of five residual blocks; attention follows the third
    strides: Sequence[int]
    depth: int
    heads: int
    mlp: float
    classes: int  # labels, neutral included

    @nn.compact
    def __call__(
        self, frames: Float[Array, "B N side side 3"], inside: Bool[Array, "B N"], counted: Bool[Array, "B N"],
        train: bool,
    ) -> dict[str, Shaped[Array, "B ..."]]:  # fmt: skip
        """Applies the module.

        Args:
          frames: [B, N, side, side, 3] float in [-1, 1]; zeros where there is no face.
          inside: [B, N] bool, frames with a face.
          counted: [B, N] bool, those that move the statistics.
          train: use the batch's statistics.

        Returns:
          "init" [B, N, c], the map before attention, averaged over positions; "x" [B, N, h, w, c], x'' of eq. 1; "v"
          [B, N, c], its mean over positions; "spatial" [B, N, classes], logits.
        """
        batch, length = frames.shape[:2]
        seen = counted.reshape(-1)
        x = frames.reshape(-1, *frames.shape[2:])  # [M, side, side, 3]
        x = nn.relu(_normalized(_conv(self.stem_width, self.stem_kernel, 2, "stem")(x), seen, train, "stem_norm"))
        blocks = [ResidualBlock(*sizes) for sizes in zip(self.widths, self.strides, strict=True)]
        for block in blocks[:3]:
            x = block(x, seen, train)
        initial = x.mean((1, 2))
        places, width = x.shape[1:3], x.shape[3]
        tokens = x.reshape(len(x), -1, width)  # [M, P, c]
        tokens += self.param("positions", nn.initializers.normal(0.02), tokens.shape[1:])
        for number in range(self.depth):
            tokens = Encoder(self.heads, self.mlp, name=f"encoder_{number}")(tokens)
        attended = nn.LayerNorm(EPSILON, name="encoder_norm")(tokens).reshape(-1, *places, width)  # [M, h, w, c]
        x = attended
        for block in blocks[3:]:
            x = block(x, seen, train)
        x = x.reshape(batch, length, *x.shape[1:])
        base = inside.argmax(1)  # open: the first frame, or the first with a face
        x = x - x[jnp.arange(batch), base][:, None]
        up = nn.ConvTranspose(
            width, (4, 4), (2, 2), [(2, 2), (2, 2)], use_bias=False, kernel_init=HE, name="deconvolution"
        )
        x = _normalized(up(x.reshape(-1, *x.shape[2:])), seen, train, "deconvolution_norm")
        x = nn.relu(x + attended).reshape(batch, length, *attended.shape[1:])
        v = x.mean((2, 3))  # open: how a map becomes a vector
        kernel, shift = layers.Affine(width, self.classes, name="spatial")()
        initial = initial.reshape(batch, length, -1)
        return {"init": initial, "x": x, "v": v, "spatial": v @ kernel + shift}


class Block(nn.Module):
    """A block of refinement: dilated convolutions, each with a proposal (eq. 2)."""

    layers: int
    width: int  # 0: eq. 2 word for word, every layer has the channels of a proposal and is one
    classes: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N c"], inside: Bool[Array, "B N"], counted: Bool[Array, "B N"], train: bool
    ) -> list[Float[Array, "B N classes"]]:
        """Applies the block.

        Args:
          x: [B, N, c] float, probabilities.
          inside: [B, N] bool; other frames are zero between the layers.
          counted: [B, N] bool, those that move the statistics.
          train: use the batch's statistics.

        Returns:
          The logits of every layer.
        """
        proposals, width = [], self.width or self.classes
        x = x * inside[..., None]
        for layer in range(self.layers):
            x = OverTime(width, 2**layer, layer > 0, name=f"layer_{layer}")(x)
            if layer:
                x = nn.relu(layers.BatchNorm(EPSILON, name=f"norm_{layer}")(x, counted, train))
            x = x * inside[..., None]
            if self.width:
                kernel, shift = layers.Affine(width, self.classes, name=f"proposal_{layer}")()
                proposals.append(x @ kernel + shift)
            else:
                proposals.append(x)
        return proposals


class OverTime(nn.Module):
    """A dilated convolution over frames that pads with zeros.

    A normalisation that follows removes the bias, so its exact gradient is 0; what differentiation gives is rounding
    noise, which Adam would scale up to full steps: it is stopped.
    """

    features: int
    dilation: int
    normalized: bool = True  # a normalisation follows

    @nn.compact
    def __call__(self, x: Float[Array, "B N c"]) -> Float[Array, "B N d"]:
        """Convolves.

        Args:
          x: [B, N, c] float.

        Returns:
          [B, N, features] float.
        """
        reach = [(self.dilation * (KERNEL // 2),) * 2]
        y = nn.Conv(
            self.features, (KERNEL,), 1, reach, kernel_dilation=self.dilation, use_bias=False, kernel_init=HE,
            name="taps",
        )(x)  # fmt: skip
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + (jax.lax.stop_gradient(bias) if self.normalized else bias)


class Mtam(nn.Module):
    """Multi-scale temporal aggregation of what LSDM says of frames, merged with it and refined."""

    width: int
    refine_width: int  # 0: literal, see Block
    stages: int  # S
    layers: int
    classes: int

    @nn.compact
    def __call__(
        self, v: Float[Array, "B N c"], spatial: Float[Array, "B N classes"], inside: Bool[Array, "B N"],
        counted: Bool[Array, "B N"], train: bool,
    ) -> dict[str, Array]:  # fmt: skip
        """Applies the module.

        Args:
          v: [B, N, c] float.
          spatial: [B, N, classes] float, logits.
          inside: [B, N] bool, frames with a face.
          counted: [B, N] bool, those that move the statistics.
          train: use the batch's statistics.

        Returns:
          "temporal" [B, N, classes], "proposals" [B, S, layers, N, classes], "final" [B, N, classes]: logits.
        """

        def normalized(x: Array, name: str) -> Array:
            return nn.relu(layers.BatchNorm(EPSILON, name=name)(x, counted, train)) * inside[..., None]

        v = v * inside[..., None]
        scales = [  # open: side by side
            normalized(OverTime(self.width, 2**layer, name=f"scale_{layer}")(v), f"scale_norm_{layer}")
            for layer in range(self.layers)
        ]
        kernel, shift = layers.Affine(self.layers * self.width, self.width, name="join")()
        x = normalized(jnp.concatenate(scales, -1) @ kernel + jax.lax.stop_gradient(shift), "join_norm")
        kernel, shift = layers.Affine(self.width, self.classes, name="temporal")()
        temporal = x @ kernel + shift
        x = jnp.concatenate([jax.nn.softmax(spatial), jax.nn.softmax(temporal)], -1)  # open: how both are merged
        stages = []
        for stage in range(self.stages):
            block = Block(self.layers, self.refine_width, self.classes, name=f"block_{stage}")
            stages.append(jnp.stack(block(x, inside, counted, train), 1))  # [B, layers, N, classes]
            x = jax.nn.softmax(stages[-1][:, -1])
        return {"temporal": temporal, "proposals": jnp.stack(stages, 1), "final": stages[-1][:, -1]}


class Fesnet(nn.Module):
    """The network."""

    lsdm: Lsdm
    mtam: Mtam | None  # None: LSDM's proposals are final (Table 3)

    @nn.compact
    def __call__(
        self, inputs: Shaped[Array, "B N side side 3"], inside: Bool[Array, "B N"], counted: Bool[Array, "B N"],
        train: bool,
    ) -> dict[str, Array]:  # fmt: skip
        """Proposals for every frame.

        Args:
          inputs: [B, N, side, side, 3] uint8, or float in [0, 255], RGB.
          inside: [B, N] bool, frames with a face.
          counted: [B, N] bool, those that move the statistics.
          train: use the batch's statistics.

        Returns:
          Every intermediate by name, see the modules; "spatial", "final" and, with MTAM, "temporal" are logits.
        """
        mask = inside[..., None, None, None]
        frames = jnp.where(mask, inputs.astype(float) / 127.5 - 1, 0)  # a gap may hold anything
        out = self.lsdm(frames, inside, counted, train)
        if self.mtam is None:
            return out | {"final": out["spatial"]}
        return out | self.mtam(out["v"], out["spatial"], inside, counted, train)
