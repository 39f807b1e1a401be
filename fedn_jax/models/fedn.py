"""FEDN, the end-to-end facial expression detection network (Fang et al., arXiv 2504.07660, section 3).

    frames [B, T, D] -> segment attention and fusion -> [B, S, D]
                     -> sliding-window attention      -> [B, S, D]
                     -> two convolutions of stride 2  -> [B, S/4, d1]
                     -> pyramid                       -> [B, S/4, d1] [B, S/8, d1] [B, S/16, d1] [B, S/32, d1]
                     -> one head per level            -> intervals and class scores of L positions

What the paper leaves open is marked so and listed in BUILD_NOTES.md.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from fedn_jax import anchors, checks, losses, windows
from fedn_jax.models import layers
from fedn_jax.checks import UserError
from fedn_jax.types import Array, Config, Detections, Events, Hyper, Targets, Task, Tree

NUM_BLOCKS = 2  # stride-2 convolutions between the segments and the first level of the pyramid


# ---- Segment attention and fusion -----------------------------------------------------------------------------------


def segment_index(segments: int, frames: int, stride: int) -> np.ndarray:
    """Which of a window's frames each segment holds.

    Args:
      segments: S.
      frames: frames of a segment, F.
      stride: frames between segments.

    Returns:
      [S, F] int, indices into the window's ``(S - 1) * stride + F`` frames.
    """
    return np.arange(segments)[:, None] * stride + np.arange(frames)


class SegmentAttention(nn.Module):
    """Segment attention and fusion, one frame projected once.

    Per segment X [F, D]: a global vector G = mean over frames of self-attention; every frame is joined with it,
    [X_i ; G]; one linear layer scores the joined frames (softmax over F), another reduces them to D; the feature is
    the score-weighted sum. Overlapping segments share frames, so the projections are made once per frame. All that
    follows a softmax is linear, so the mean over queries comes before the output projection, and the weighted sum of
    frames before the reduction, which splits into a frame part and a global part. The global part of the score is
    the same for all frames of a segment: the softmax over them removes it. ``SegmentAttentionLiteral`` is the text,
    word for word, with the same parameters.
    """

    heads: int

    @nn.compact
    def __call__(self, x: Array, valid: Array, index: np.ndarray) -> Array:
        """Fuses frames into segments.

        Args:
          x: [B, T, D] float, frames of a window.
          valid: [B, T] bool, frames that show a face.
          index: [S, F] int, frames of each segment.

        Returns:
          [B, S, D] float; 0 for a segment without a valid frame.
        """
        return self.fuse(x, valid, index, *fusion_parameters(x.shape[-1]))

    def fuse(self, x: Array, valid: Array, index: np.ndarray, attention: dict, score: tuple, reduce: tuple) -> Array:
        """The computation, given the parameters (see ``__call__``)."""
        width = x.shape[-1]
        seen = valid[:, index]  # [B, S, F]
        query, key, value = (
            layers.heads_of(x @ attention[name][0] + attention[name][1], self.heads)[:, index]
            for name in ("query", "key", "value")
        )  # [B, S, F, heads, D / heads]
        affinity = jnp.einsum("bsqhc,bskhc->bshqk", query, key) / math.sqrt(width / self.heads)
        weights = layers.masked_softmax(affinity, seen[:, :, None, None, :])
        share = seen / jnp.maximum(seen.sum(-1, keepdims=True), 1)  # [B, S, F], mean over the valid frames
        pooled = jnp.einsum("bshqk,bsq->bshk", weights, share)  # [B, S, heads, F]
        attended = jnp.einsum("bshk,bskhc->bshc", pooled, value).reshape(*seen.shape[:2], width)
        kernel, bias = attention["out"]
        summary = attended @ kernel + bias  # G: [B, S, D]
        importance = (x @ score[0][:width])[..., 0][:, index]  # [B, S, F]
        focus = layers.masked_softmax(importance, seen)
        frame = jnp.einsum("bsf,bsfd->bsd", focus, x[:, index])
        feature = frame @ reduce[0][:width] + summary @ reduce[0][width:] + reduce[1]
        return feature * seen.any(-1, keepdims=True)


class SegmentAttentionLiteral(SegmentAttention):
    """Segment attention and fusion as the paper words it: every segment on its own, nothing reordered."""

    def fuse(self, x: Array, valid: Array, index: np.ndarray, attention: dict, score: tuple, reduce: tuple) -> Array:
        """The computation, given the parameters (see ``SegmentAttention``)."""
        frames, seen = x[:, index], valid[:, index]  # [B, S, F, D], [B, S, F]
        query, key, value = (
            layers.heads_of(frames @ attention[name][0] + attention[name][1], self.heads)
            for name in ("query", "key", "value")
        )
        affinity = jnp.einsum("bsqhc,bskhc->bshqk", query, key) / math.sqrt(x.shape[-1] / self.heads)
        weights = layers.masked_softmax(affinity, seen[:, :, None, None, :])
        attended = jnp.einsum("bshqk,bskhc->bsqhc", weights, value).reshape(frames.shape)
        attended = attended @ attention["out"][0] + attention["out"][1]
        share = seen / jnp.maximum(seen.sum(-1, keepdims=True), 1)
        summary = (attended * share[..., None]).sum(2, keepdims=True)  # [B, S, 1, D]
        joined = jnp.concatenate([frames, jnp.broadcast_to(summary, frames.shape)], -1)  # [B, S, F, 2 D]
        focus = layers.masked_softmax((joined @ score[0] + score[1])[..., 0], seen)
        reduced = joined @ reduce[0] + reduce[1]  # [B, S, F, D]
        return (reduced * focus[..., None]).sum(2) * seen.any(-1, keepdims=True)


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

    def __call__(self, x: Array, valid: Array, index: np.ndarray) -> Array:
        """Averages (arguments and result as of ``SegmentAttention``)."""
        seen = valid[:, index]
        share = seen / jnp.maximum(seen.sum(-1, keepdims=True), 1)
        return jnp.einsum("bsf,bsfd->bsd", share.astype(x.dtype), x[:, index])


class SegmentIdentity(nn.Module):
    """Clip features are one vector per segment already (Table 3, "I3D")."""

    heads: int

    def __call__(self, x: Array, valid: Array, index: np.ndarray) -> Array:
        """Passes the rows through; needs data with one row per segment (arguments as of ``SegmentAttention``)."""
        del index
        return x * valid[..., None]


SEGMENT_FUSIONS: dict[str, type[nn.Module]] = {
    "attention": SegmentAttention,
    "attention_literal": SegmentAttentionLiteral,
    "mean": SegmentMean,
    "none": SegmentIdentity,
}


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
    def __call__(self, x: Array, valid: Array) -> tuple[Array, Array]:
        """Applies the branch.

        Args:
          x: [B, length, d1] float, one level of the pyramid.
          valid: [B, length] bool.

        Returns:
          (raw intervals [B, length, slots, 2], class logits [B, length, slots, channels]).
        """
        x = x + layers.SelfAttention(self.heads, name="attention")(x, valid)
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
            kernel, offset = layers.Affine(self.width, self.slots * size, bias, name=f"{name}_output")()
            y = towers[tower] @ kernel + offset
            outputs.append(y.reshape(*y.shape[:2], self.slots, size))
        return outputs[0], outputs[1]


# Towers that feed the interval and the class outputs (FEDN section 5.2, Framework Variations; Table 4).
HEADS: dict[str, tuple[str, str]] = {"decoupled": ("interval", "class"), "coupled": ("shared", "shared")}


# ---- The network ----------------------------------------------------------------------------------------------------


class Fedn(nn.Module):
    """The network, in two steps: segment features, which belong to the video, and detection in windows."""

    segments: int  # S
    segment_frames: int  # F
    stride: int  # frames between segments
    segment_fusion: str
    window_attention: str
    window_attention_channels: int  # 1, or 0 for one per channel
    width: int  # d1
    head_width: int  # d2
    head_depth: int
    head: str
    heads: int
    groups: int
    levels: int
    anchors: int  # anchor widths
    channels: int  # class outputs per interval
    prior: float
    dropout: float

    def setup(self) -> None:
        """Makes the layers."""
        self.fusion = SEGMENT_FUSIONS[self.segment_fusion](self.heads)
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

    def features(self, inputs: Array, valid: Array) -> Array:
        """Segment features.

        Args:
          inputs: [B, T, D], rows of a window.
          valid: [B, T] bool.

        Returns:
          [B, S, D] float.
        """
        inputs = jnp.where(valid[..., None], inputs.astype(float), 0)  # a gap may hold anything
        return self.fusion(inputs, valid, segment_index(self.segments, self.segment_frames, self.stride))

    def detect(self, features: Array, valid: Array, train: bool) -> dict[str, Array]:
        """Intervals and class logits of a window.

        Args:
          features: [B, S, D] float.
          valid: [B, S] bool.
          train: apply dropout, with the random stream "dropout".

        Returns:
          Every intermediate by name; the results are ``raw`` [B, L, A - 1, 2], ``free`` [B, L, 2] and
          ``logits`` [B, L, A, channels].
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
        free, anchored = [], []
        for level in range(self.levels):
            if level:
                x, valid = self.neck[level - 1](x, valid)
            out[f"level_{level}"] = x
            free.append(self.free[level](x, valid))
            anchored.append(self.anchored[level](x, valid))
        free_raw, free_logits = (jnp.concatenate(parts, 1) for parts in zip(*free, strict=True))
        raw, logits = (jnp.concatenate(parts, 1) for parts in zip(*anchored, strict=True))
        out["free"] = nn.softplus(free_raw[:, :, 0])  # open: what makes the distances non-negative
        return {**out, "raw": raw, "logits": jnp.concatenate([free_logits, logits], 2)}

    def __call__(self, inputs: Array, valid: Array) -> dict[str, Array]:
        """Both steps, to initialise all parameters (arguments as of ``features``)."""
        features = self.features(inputs, valid)
        return self.detect(features, jnp.ones(features.shape[:2], bool), False)


# ---- The task -------------------------------------------------------------------------------------------------------


def make_task(config: Config, geometry: windows.Geometry, num_classes: int, input_width: int) -> Task:
    """Builds FEDN as a task.

    Args:
      config: sections ``model``, ``anchors`` and ``loss`` are read.
      geometry: how windows are cut.
      num_classes: C of the data.
      input_width: D of the data.

    Returns:
      The six functions.

    Raises:
      UserError: a table entry that does not exist, or numbers that do not fit one another.
    """
    model, anchor, loss = config.model, config.anchors, config.loss
    checks.one_of("model.segment_fusion", model.segment_fusion, SEGMENT_FUSIONS)
    checks.one_of("model.window_attention", model.window_attention, WINDOW_ATTENTION)
    checks.one_of("model.head", model.head, HEADS)
    checks.one_of("loss.interval", loss.interval, losses.INTERVAL_LOSSES)
    scoring = losses.SCORINGS[checks.one_of("model.scoring", model.scoring, losses.SCORINGS)]
    clips = geometry.rows == geometry.segments
    if (model.segment_fusion == "none") != clips:
        raise UserError(
            f"model.segment_fusion={model.segment_fusion!r} does not fit data with {geometry.frames_per_row} frame(s) "
            "per row; expected 'none' for clip features (one row per segment) and another fusion for frame embeddings"
        )
    if input_width % model.heads and model.segment_fusion.startswith("attention"):
        raise UserError(f"model.heads must divide the data's {input_width} features; got {model.heads}")
    levels = len(anchor.reaches)
    strides = [geometry.stride * 2 ** (NUM_BLOCKS + level) for level in range(levels)]
    grid = anchors.make_grid(geometry.frames, strides, list(anchor.widths), [list(pair) for pair in anchor.reaches])
    network = Fedn(
        segments=geometry.segments,
        segment_frames=geometry.segment_frames,
        stride=geometry.stride,
        segment_fusion=model.segment_fusion,
        window_attention=model.window_attention,
        window_attention_channels=model.window_attention_channels or input_width,
        width=model.width,
        head_width=model.head_width,
        head_depth=model.head_depth,
        head=model.head,
        heads=model.heads,
        groups=model.groups,
        levels=levels,
        anchors=len(anchor.widths),
        channels=num_classes + scoring.extra_channels,
        prior=model.prior,
        dropout=model.dropout,
    )
    interval_cost = losses.INTERVAL_LOSSES[loss.interval]

    def init(key: Array) -> Tree:
        inputs = jnp.zeros((1, geometry.rows, input_width))
        return network.init(key, inputs, jnp.ones(inputs.shape[:2], bool))

    def features(variables: Tree, inputs: Array, valid: Array) -> Array:
        return network.apply(variables, inputs, valid, method="features")

    def detect(variables: Tree, features: Array, valid: Array, train: bool, key: Array) -> tuple[dict, Tree]:
        out = network.apply(variables, features, valid, train, rngs={"dropout": key}, method="detect")
        return out, {}

    def encode(events: Events) -> Targets:
        return anchors.assign(events, grid, num_classes, anchor.positive_iou, anchor.negative_iou)

    def task_loss(outputs: dict, targets: Targets, weight: Array, hyper: Hyper) -> tuple[Array, dict]:
        predicted = anchors.decode(outputs["raw"], grid, outputs["free"])
        interval, label = losses.detection_loss(
            interval_cost(predicted, targets.interval),
            scoring.cost(outputs["logits"], targets.label, targets.positive),
            targets.positive, targets.counted, weight, loss.normalize,
        )  # fmt: skip
        total = hyper.alpha * interval + hyper.beta * label
        return total, {"interval_loss": interval, "class_loss": label}

    def decode(outputs: dict, starts: Array, valid: Array, num_frames: Array) -> Detections:
        predicted = anchors.decode(outputs["raw"], grid, outputs["free"])  # [W, L, A, 2]
        predicted = jnp.clip(predicted + starts[:, None, None, None], 0, num_frames)
        scores = scoring.scores(outputs["logits"])  # [W, L, A, C]
        interval = predicted.reshape(-1, 2)
        kept = jnp.broadcast_to(valid[:, None, None], scores.shape[:3]).reshape(-1)
        return Detections(
            interval=interval,
            score=scores.max(-1).reshape(-1),
            emotion=scores.argmax(-1).reshape(-1).astype(jnp.int32),
            valid=kept & (interval[:, 1] > interval[:, 0]),
        )

    return Task(init, features, detect, encode, task_loss, decode)
