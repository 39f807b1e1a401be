"""FESNet's two modules once more, with PyTorch's own layers, every frame counted (Zhang et al. 2024, section 3)."""

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """Two convolutions and a shortcut, each normalised."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        """Makes the layers.

        Args:
          inputs: channels.
          outputs: channels.
          stride: of the first convolution.
        """
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        """Applies the block.

        Args:
          x: [M, inputs, h, w].

        Returns:
          [M, outputs, h / stride, w / stride].
        """
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        if hasattr(self, "shortcut"):
            x = self.shortcut_norm(self.shortcut(x))
        return functional.relu(x + y)


class Encoder(nn.Module):
    """A layer of attention, normalised first."""

    def __init__(self, width: int, heads: int, hidden: int):
        """Makes the layers.

        Args:
          width: channels of a token.
          heads: of the attention.
          hidden: channels between.
        """
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp_norm = nn.LayerNorm(width)
        self.rise, self.fall = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        """Attends.

        Args:
          x: [M, P, width].

        Returns:
          [M, P, width].
        """
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.fall(functional.gelu(self.rise(self.mlp_norm(x))))


class Lsdm(nn.Module):
    """The local spatial discrepancy module, eq. 1."""

    def __init__(self, stem, widths, strides, depth, heads, mlp, places, classes):
        """Makes the layers.

        Args:
          stem: (channels, kernel) of the first convolution.
          widths: channels of five residual blocks.
          strides: of the same.
          depth: layers of attention.
          heads: of the same.
          mlp: hidden width of the same, in widths.
          places: tokens of a frame, P.
          classes: labels, neutral included.
        """
        super().__init__()
        channels, kernel = stem
        self.stem = nn.Conv2d(3, channels, kernel, 2, kernel // 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(channels)
        sizes = [channels, *widths]
        self.blocks = nn.ModuleList(Residual(*each) for each in zip(sizes[:-1], sizes[1:], strides, strict=True))
        width = widths[2]
        self.positions = nn.Parameter(torch.zeros(places, width))
        self.encoders = nn.ModuleList(Encoder(width, heads, round(mlp * width)) for _ in range(depth))
        self.encoder_norm = nn.LayerNorm(width)
        self.deconvolution = nn.ConvTranspose2d(widths[4], width, 4, 2, 1, bias=False)
        self.deconvolution_norm = nn.BatchNorm2d(width)
        self.spatial = nn.Linear(width, classes)

    def forward(self, frames):
        """Applies the module.

        Args:
          frames: [B, N, 3, side, side] in [-1, 1]; the first frame is the base.

        Returns:
          "init", "x" [B, N, c, h, w], "v", "spatial", as ours.
        """
        batch, length = frames.shape[:2]
        x = functional.relu(self.stem_norm(self.stem(frames.flatten(0, 1))))
        for block in self.blocks[:3]:
            x = block(x)
        initial, (_, width, high, wide) = x.mean((2, 3)), x.shape
        tokens = x.flatten(2).transpose(1, 2) + self.positions  # [M, P, c]
        for encoder in self.encoders:
            tokens = encoder(tokens)
        attended = self.encoder_norm(tokens).transpose(1, 2).reshape(-1, width, high, wide)
        x = attended
        for block in self.blocks[3:]:
            x = block(x)
        x = x.unflatten(0, (batch, length))
        x = self.deconvolution_norm(self.deconvolution((x - x[:, :1]).flatten(0, 1)))
        x = functional.relu(x + attended).unflatten(0, (batch, length))
        v = x.mean((3, 4))
        return {"init": initial.unflatten(0, (batch, length)), "x": x, "v": v, "spatial": self.spatial(v)}


class Refinement(nn.Module):
    """A block of refinement, eq. 2, with a proposal of every layer."""

    def __init__(self, inputs: int, width: int, layers: int, classes: int):
        """Makes the layers.

        Args:
          inputs: channels.
          width: channels within; 0: those of a proposal, which the layers then are themselves.
          layers: of the block.
          classes: labels.
        """
        super().__init__()
        self.literal, inside = not width, width or classes
        sizes = [inputs] + [inside] * layers
        self.layers = nn.ModuleList(nn.Conv1d(sizes[i], inside, 3, padding=2**i, dilation=2**i) for i in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(inside) for _ in range(layers - 1))
        self.proposals = nn.ModuleList(nn.Linear(inside, classes) for _ in range(layers * bool(width)))

    def forward(self, x):
        """Applies the block.

        Args:
          x: [B, inputs, N].

        Returns:
          A list of logits [B, N, classes].
        """
        found = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index:
                x = functional.relu(self.norms[index - 1](x))
            rows = x.transpose(1, 2)
            found.append(rows if self.literal else self.proposals[index](rows))
        return found


class Mtam(nn.Module):
    """The multi-scale temporal aggregation module."""

    def __init__(self, inputs: int, width: int, refine_width: int, stages: int, layers: int, classes: int):
        """Makes the layers.

        Args:
          inputs: channels of LSDM's vectors.
          width: channels over time.
          refine_width: channels of refinement; 0: literal.
          stages: blocks of refinement.
          layers: scales of aggregation, and layers of a block.
          classes: labels.
        """
        super().__init__()
        self.scales = nn.ModuleList(nn.Conv1d(inputs, width, 3, padding=2**i, dilation=2**i) for i in range(layers))
        self.scale_norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(layers))
        self.join, self.join_norm = nn.Linear(layers * width, width), nn.BatchNorm1d(width)
        self.temporal = nn.Linear(width, classes)
        self.blocks = nn.ModuleList(
            Refinement(2 * classes if stage == 0 else classes, refine_width, layers, classes) for stage in range(stages)
        )

    def forward(self, v, spatial):
        """Applies the module.

        Args:
          v: [B, N, inputs].
          spatial: [B, N, classes], logits.

        Returns:
          "temporal" [B, N, classes], "proposals" [B, S, layers, N, classes].
        """
        v = v.transpose(1, 2)
        scales = [functional.relu(norm(conv(v))) for conv, norm in zip(self.scales, self.scale_norms, strict=True)]
        x = self.join(torch.cat(scales, 1).transpose(1, 2)).transpose(1, 2)
        temporal = self.temporal(functional.relu(self.join_norm(x)).transpose(1, 2))
        x, found = torch.cat([spatial.softmax(-1), temporal.softmax(-1)], -1), []
        for block in self.blocks:
            found.append(torch.stack(block(x.transpose(1, 2)), 1))  # [B, layers, N, classes]
            x = found[-1][:, -1].softmax(-1)
        return {"temporal": temporal, "proposals": torch.stack(found, 1)}
