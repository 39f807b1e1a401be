"""CEFLNet's head in PyTorch, clip by clip, from the description in its paper; at prediction, so without dropout."""

import torch
from torch import nn


class CeflNet(nn.Module):
    """Emotion of an interval from the embeddings of 75 places in it."""

    def __init__(self, width: int, classes: int):
        """Makes the layers.

        Args:
          width: d, of an embedding.
          classes: C.
        """
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.frame_weight = nn.Linear(2 * width, 1)
        self.clip = nn.Linear(2 * width, width)
        self.clip_score = nn.Linear(width, 1, bias=False)
        self.classifier = nn.Sequential(
            nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width // 4), nn.ReLU(),
            nn.Linear(width // 4, classes),
        )  # fmt: skip

    def one_clip(self, frames: torch.Tensor) -> torch.Tensor:
        """One vector for a clip.

        Args:
          frames: [B, 5, d].

        Returns:
          [B, d].
        """
        attended = self.norm(frames + self.attention(frames, frames, frames, need_weights=False)[0])
        summary = attended.max(dim=1).values  # [B, d]
        both = [torch.cat([frames[:, f], summary], dim=-1) for f in range(5)]
        weights = [torch.sigmoid(self.frame_weight(one)) for one in both]  # [B, 1] each
        mean = sum(weight * one for weight, one in zip(weights, both, strict=True)) / sum(weights)
        return self.clip(mean)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Classifies.

        Args:
          inputs: [B, 75, d].

        Returns:
          [B, C] logits.
        """
        clips = torch.stack([self.one_clip(inputs[:, 10 * i : 10 * i + 15 : 3]) for i in range(7)], dim=1)
        share = torch.softmax(self.clip_score(clips), dim=1)  # [B, 7, 1]
        return self.classifier((share * clips).max(dim=1).values)
