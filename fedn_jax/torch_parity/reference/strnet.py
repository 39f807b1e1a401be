"""STR's recogniser in PyTorch's own layers, at prediction, so without dropout and with running statistics."""

import torch
from torch import nn


class StrNet(nn.Module):
    """Emotion from the flow between onset and apex."""

    def __init__(self, classes: int):
        """Makes the layers.

        Args:
          classes: C.
        """
        super().__init__()
        self.streams = nn.ModuleList(
            nn.Sequential(nn.Conv2d(1, size, 5, padding=2), nn.ReLU(), nn.BatchNorm2d(size, eps=1e-3), nn.MaxPool2d(3))
            for size in (3, 3, 8)
        )
        self.joint = nn.Conv2d(14, 8, 5, padding=2)
        self.output = nn.Linear(7 * 7 * 8, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Classifies.

        Args:
          inputs: [B, 42, 42, 3].

        Returns:
          [B, C] logits.
        """
        planes = inputs.permute(0, 3, 1, 2)
        joined = torch.cat([stream(planes[:, i : i + 1]) for i, stream in enumerate(self.streams)], dim=1)
        pooled = nn.functional.max_pool2d(torch.relu(self.joint(joined)), 2)
        return self.output(pooled.permute(0, 2, 3, 1).flatten(1))  # channels last, as Keras flattens
