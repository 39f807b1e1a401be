"""The network in PyTorch, word for word (FEDN section 3).

Open points are decided as in docs/decisions.md, 1 to 9 and 15.

Inside, tensors are channels last, as ``nn.Linear`` and ``nn.MultiheadAttention`` want them; a convolution turns them
round and back. Every mask is True where something is valid.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional


class Settings(NamedTuple):
    """What the network, its targets and its loss can be told (the comments are those of fedn_jax.core.config)."""

    segments: int = 64  # S
    segment_frames: int = 8  # F
    stride: int = 2  # frames between segments
    context: str = "video"  # frames past the window's last: of the "video", or the last of the "window" repeated
    segment_fusion: str = "attention"  # or "mean"; "none": an input row is already the feature of a segment
    window_attention: str = "scaled"  # or "literal", "none"
    window_attention_channels: int = 1  # one score per segment; 0: one per channel
    width: int = 512  # d1
    head_width: int = 256  # d2
    head_depth: int = 2  # convolutions of a tower
    head: str = "decoupled"  # or "coupled"
    heads: int = 8  # heads of every attention
    groups: int = 32  # groups of every normalisation
    scoring: str = "binary"  # or "confidence"
    prior: float = 0.02  # class probability of the untrained network
    anchor_widths: tuple = (0.5, 0.75, 1.0, 1.5, 2.0)  # in strides of the level
    reaches: tuple = ((0, 10), (8, 32), (16, 64), (64, 128))  # longer side in frames, per level; as many levels
    positive_iou: float = 0.5
    negative_iou: float = 0.4
    interval_loss: str = "diou"  # or "giou", "iou"
    alpha: float = 1.0
    beta: float = 2.0
    normalize: bool = True


class GroupNorm(nn.Module):
    """Group normalisation whose mean and (biased) variance are those of the valid positions."""

    def __init__(self, groups, channels):
        super().__init__()
        self.groups = groups
        self.epsilon = 1e-5  # the default of nn.GroupNorm
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x, valid):
        """Normalises.

        Args:
          x: [B, L, channels].
          valid: [B, L] bool.

        Returns:
          [B, L, channels]; what stands at invalid positions means nothing.
        """
        batch, length, channels = x.shape
        grouped = x.reshape(batch, length, self.groups, channels // self.groups)
        mask = valid.to(x.dtype)[:, :, None, None]
        count = mask.sum(dim=1, keepdim=True) * (channels // self.groups)
        count = count.clamp(min=1)  # a window without a face: any finite number will do
        mean = (grouped * mask).sum(dim=(1, 3), keepdim=True) / count
        variance = ((grouped - mean) ** 2 * mask).sum(dim=(1, 3), keepdim=True) / count
        normal = (grouped - mean) / torch.sqrt(variance + self.epsilon)
        return normal.reshape(batch, length, channels) * self.weight + self.bias


class Block(nn.Module):
    """Convolution of kernel 3 and padding 1, group normalisation, ReLU; zeros where nothing is valid."""

    def __init__(self, inputs, outputs, groups, stride):
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(inputs, outputs, kernel_size=3, stride=stride, padding=1)
        self.norm = GroupNorm(groups, outputs)

    def forward(self, x, valid):
        """Applies the three in order.

        Args:
          x: [B, L, inputs], zero where invalid.
          valid: [B, L] bool.

        Returns:
          [B, L / stride, outputs], zero where invalid, and its mask [B, L / stride].
        """
        if self.stride == 2:
            valid = coarser(valid)
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)  # [B, L / stride, outputs]
        x = torch.relu(self.norm(x, valid))
        return cleared(x, valid), valid


def coarser(valid):
    """The mask after a step of stride 2: position i stands for the time of 2i and 2i + 1, valid if one of them is.

    Args:
      valid: [B, L] bool, L even.

    Returns:
      [B, L / 2] bool.
    """
    return valid[:, 0::2] | valid[:, 1::2]


def cleared(x, valid):
    """Zeros where nothing is valid.

    Args:
      x: [B, L, channels].
      valid: [B, L] bool.

    Returns:
      [B, L, channels].
    """
    return torch.where(valid[:, :, None], x, torch.zeros_like(x))


def attend(attention, x, valid):
    """Self-attention among the valid positions.

    Args:
      attention: nn.MultiheadAttention, batch first.
      x: [B, L, channels].
      valid: [B, L] bool.

    Returns:
      [B, L, channels]; what stands at invalid positions means nothing.
    """
    nothing = ~valid.any(dim=1, keepdim=True)  # a softmax over nothing is NaN: look at everything, the caller clears it
    output, _ = attention(x, x, x, key_padding_mask=~(valid | nothing), need_weights=False)
    return output


def masked_softmax(scores, valid, dim):
    """Softmax over what is valid; zeros where nothing is.

    Args:
      scores: [...].
      valid: bool, broadcasts against ``scores``.
      dim: the axis that sums to 1.

    Returns:
      [...] as ``scores``.
    """
    valid = valid.expand_as(scores)
    scores = torch.where(valid, scores, torch.full_like(scores, -1e9))
    return torch.where(valid, torch.softmax(scores, dim=dim), torch.zeros_like(scores))


class AttentionFusion(nn.Module):
    """Segment attention and fusion (FEDN section 3, Backbone), on the gathered frames of every segment."""

    def __init__(self, inputs, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(inputs, heads, batch_first=True)
        self.score = nn.Linear(2 * inputs, 1)
        self.reduce = nn.Linear(2 * inputs, inputs)

    def forward(self, x, valid):
        """One feature per segment.

        Args:
          x: [N, F, D], frames of N segments.
          valid: [N, F] bool, False where a frame shows no face.

        Returns:
          [N, D], zero where a segment has no valid frame.
        """
        attended = attend(self.attention, x, valid)
        everything = mean_of_valid(attended, valid)  # [N, D], the global vector G
        copies = everything[:, None, :].expand_as(x)
        pairs = torch.cat([x, copies], dim=2)  # [N, F, 2 D], Z_i = [X_i; G]
        weights = masked_softmax(self.score(pairs), valid[:, :, None], dim=1)  # [N, F, 1]
        return (weights * self.reduce(pairs)).sum(dim=1)


class MeanFusion(nn.Module):
    """The row "w/o seg. att." of Table 3: the mean of the segment's frames."""

    def forward(self, x, valid):
        """One feature per segment.

        Args:
          x: [N, F, D].
          valid: [N, F] bool.

        Returns:
          [N, D], zero where a segment has no valid frame.
        """
        return mean_of_valid(x, valid)


def mean_of_valid(x, valid):
    """The mean over valid frames.

    Args:
      x: [N, F, D].
      valid: [N, F] bool.

    Returns:
      [N, D], zero where nothing is valid.
    """
    count = valid.sum(dim=1, keepdim=True).clamp(min=1).to(x.dtype)
    return cleared(x, valid).sum(dim=1) / count


class Branch(nn.Module):
    """One branch of one level's head: attention with a residual, towers, and an output for each task."""

    def __init__(self, intervals, channels, settings):
        super().__init__()
        self.intervals = intervals
        self.channels = channels
        self.attention = nn.MultiheadAttention(settings.width, settings.heads, batch_first=True)
        names = ["shared"] if settings.head == "coupled" else ["interval", "class"]
        self.towers = nn.ModuleDict({name: tower(settings) for name in names})
        self.interval_output = nn.Linear(settings.head_width, intervals * 2)
        self.class_output = nn.Linear(settings.head_width, intervals * channels)
        nn.init.constant_(self.class_output.bias, math.log(settings.prior / (1 - settings.prior)))

    def forward(self, x, valid):
        """Outputs of one level.

        Args:
          x: [B, length, width], zero where invalid.
          valid: [B, length] bool.

        Returns:
          [B, length, intervals, 2] and [B, length, intervals, channels].
        """
        x = cleared(x + attend(self.attention, x, valid), valid)
        hidden = {}
        for name, blocks in self.towers.items():
            hidden[name] = x
            for block in blocks:
                hidden[name], _ = block(hidden[name], valid)
        for_interval = hidden["shared"] if "shared" in hidden else hidden["interval"]
        for_class = hidden["shared"] if "shared" in hidden else hidden["class"]
        batch, length, _ = x.shape
        interval = self.interval_output(for_interval).reshape(batch, length, self.intervals, 2)
        logits = self.class_output(for_class).reshape(batch, length, self.intervals, self.channels)
        return interval, logits


def tower(settings):
    """The convolutions of a head, d1 -> d2 -> d2.

    Args:
      settings: Settings.

    Returns:
      nn.ModuleList of ``head_depth`` blocks.
    """
    blocks = nn.ModuleList()
    for depth in range(settings.head_depth):
        inputs = settings.width if depth == 0 else settings.head_width
        blocks.append(Block(inputs, settings.head_width, settings.groups, stride=1))
    return blocks


class Fedn(nn.Module):
    """FEDN from frame embeddings to intervals and class scores, for a batch of windows."""

    def __init__(self, inputs: int, classes: int, settings: Settings):
        super().__init__()
        self.settings = settings
        if settings.segment_fusion == "attention":
            self.fusion = AttentionFusion(inputs, settings.heads)
        elif settings.segment_fusion == "mean":
            self.fusion = MeanFusion()
        elif settings.segment_fusion != "none":
            raise ValueError(f"segment_fusion must be attention, mean or none; got {settings.segment_fusion!r}")
        if settings.head not in ("decoupled", "coupled"):
            raise ValueError(f"head must be decoupled or coupled; got {settings.head!r}")
        if settings.scoring not in ("binary", "confidence"):
            raise ValueError(f"scoring must be binary or confidence; got {settings.scoring!r}")
        if settings.window_attention not in ("scaled", "literal", "none"):
            raise ValueError(f"window_attention must be scaled, literal or none; got {settings.window_attention!r}")
        if settings.window_attention != "none":
            scores = settings.window_attention_channels or inputs
            self.window_scores = nn.Conv1d(inputs, scores, kernel_size=3, padding=1, bias=False)
        width, groups = settings.width, settings.groups
        self.blocks = nn.ModuleList([Block(inputs, width, groups, stride=2), Block(width, width, groups, stride=2)])
        levels = len(settings.reaches)
        self.neck = nn.ModuleList([Block(width, width, groups, stride=2) for _ in range(levels - 1)])
        channels = classes + 1 if settings.scoring == "confidence" else classes  # the confidence comes first
        anchors = len(settings.anchor_widths)
        self.free = nn.ModuleList([Branch(1, channels, settings) for _ in range(levels)])
        self.anchored = nn.ModuleList([Branch(anchors, channels, settings) for _ in range(levels)])

    def fuse(self, frames, frames_valid, segments_inside):
        """Features of segments, and which of them exist.

        Args:
          frames: [B, T, D].
          frames_valid: [B, T] bool.
          segments_inside: [B, S] bool.

        Returns:
          [B, S, D], zero where a segment is masked, and the mask [B, S].
        """
        settings = self.settings
        if settings.segment_fusion == "none":
            valid = frames_valid & segments_inside
            return cleared(frames, valid), valid
        batch, _, channels = frames.shape
        segments, valid_frames = [], []
        for j in range(settings.segments):
            first = j * settings.stride
            segments.append(frames[:, first : first + settings.segment_frames])
            valid_frames.append(frames_valid[:, first : first + settings.segment_frames])
        segments = torch.stack(segments, dim=1)  # [B, S, F, D]
        valid_frames = torch.stack(valid_frames, dim=1) & segments_inside[:, :, None]  # [B, S, F]
        features = self.fusion(segments.flatten(0, 1), valid_frames.flatten(0, 1))  # [B * S, D]
        features = features.reshape(batch, settings.segments, channels)
        valid = valid_frames.any(dim=2)
        return cleared(features, valid), valid

    def forward(self, frames, frames_valid, segments_inside):
        """Everything, by name.

        Args:
          frames: [B, T, D], T = (S - 1) stride + F rows, or S rows where a row is a segment's feature.
          frames_valid: [B, T] bool, False where a frame shows no face.
          segments_inside: [B, S] bool, False past the video's end.

        Returns:
          dict, channels last: "segments" [B, S, D]; "window_scores" [B, S, 1 or D], sum 1 over S (absent for
          "none"); "block_0" [B, S / 2, width]; "block_1"; "level_0", "level_1", ...; "positions" [B, L]
          bool; "free" [B, L, 2] distances in strides; "offsets" [B, L, anchors, 2] centre and log-width;"logits"
          [B, L, 1 + anchors, channels], slot 0 anchor-free; with "confidence" scoring channel 0 is the confidence.
        """
        settings = self.settings
        rows = settings.segments
        if settings.segment_fusion != "none":
            rows = (settings.segments - 1) * settings.stride + settings.segment_frames
        if frames.shape[1] != rows or segments_inside.shape[1] != settings.segments:
            raise ValueError(f"expected {rows} rows and {settings.segments} segments; got {frames.shape[1]} rows")
        outputs = {}
        x, valid = self.fuse(frames, frames_valid, segments_inside)
        outputs["segments"] = x
        if settings.window_attention != "none":
            scores = self.window_scores(x.transpose(1, 2)).transpose(1, 2)  # [B, S, 1 or D]
            scores = masked_softmax(scores, valid[:, :, None], dim=1)
            outputs["window_scores"] = scores
            x = x * scores
            if settings.window_attention == "scaled":
                x = x * valid.sum(dim=1).to(x.dtype)[:, None, None]
        for index, block in enumerate(self.blocks):
            x, valid = block(x, valid)
            outputs[f"block_{index}"] = x
        levels = [(x, valid)]
        for block in self.neck:
            x, valid = block(x, valid)
            levels.append((x, valid))
        positions, free, offsets, logits = [], [], [], []
        for index, (x, valid) in enumerate(levels):
            outputs[f"level_{index}"] = x
            free_interval, free_logits = self.free[index](x, valid)
            anchored_interval, anchored_logits = self.anchored[index](x, valid)
            positions.append(valid)
            free.append(functional.softplus(free_interval[:, :, 0]))  # distances are not negative
            offsets.append(anchored_interval)
            logits.append(torch.cat([free_logits, anchored_logits], dim=2))
        outputs["positions"] = torch.cat(positions, dim=1)
        outputs["free"] = torch.cat(free, dim=1)
        outputs["offsets"] = torch.cat(offsets, dim=1)
        outputs["logits"] = torch.cat(logits, dim=1)
        return outputs
