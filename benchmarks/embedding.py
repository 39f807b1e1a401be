"""How many frames per second does ResNet18 embed at 224 px, against PyTorch?

Peer: the same network in PyTorch with the same weights, batch normalisation folded in both, inference mode,
channels_last and the default format, all cores; its best figure counts. Ours is what `fedn prepare` runs: uint8 frames
in, float16 vectors out, at its batch size and others. Both embed the same frames; the vectors must agree. Target: a
ratio of at least 1. Without torch only our side is printed.

    python benchmarks/embedding.py [--small]     # --small: fewer batch sizes and rounds
"""

import argparse

import _timing
import numpy as np

from data_prep.backbones import embed
from fedn_jax.models import resnet

SIZE, FRAMES = 224, 96


def backbone() -> embed.Backbone:
    """ResNet18 at the paper's size, untrained: its speed does not depend on its weights."""
    import jax

    network = resnet.ResNet18(resnet.FULL)
    params = network.init(jax.random.key(0), np.zeros((1, SIZE, SIZE, 3), np.float32))["params"]
    params = jax.tree.map(np.asarray, params)
    return embed.Backbone(params, resnet.FULL, (0.5,) * 3, (0.25,) * 3, SIZE, "0" * 64, "UNTRAINED ResNet18")


def torch_network(params: dict):
    """The same network in PyTorch."""
    import torch
    from torch import nn

    def conv(leaf: dict, stride: int = 1) -> nn.Conv2d:
        kernel = leaf["conv"]["kernel"]
        size, _, inputs, outputs = kernel.shape
        layer = nn.Conv2d(inputs, outputs, size, stride, size // 2)
        layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1))
        layer.bias.data = torch.tensor(leaf["conv"]["bias"])
        return layer

    class Block(nn.Module):
        def __init__(self, leaf: dict, stride: int):
            super().__init__()
            self.first, self.second = conv(leaf["conv1"], stride), conv(leaf["conv2"])
            self.shortcut = conv(leaf["shortcut"], stride) if "shortcut" in leaf else nn.Identity()

        def forward(self, x):
            return torch.relu_(self.second(torch.relu_(self.first(x))).add_(self.shortcut(x)))

    blocks = [
        Block(params[f"stage{stage}_block{block}"], 2 if block == 1 and stage > 1 else 1)
        for stage in range(1, 5)
        for block in (1, 2)
    ]
    layers = [conv(params["stem"], 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), *blocks]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def peers(params: dict, images: np.ndarray) -> dict:
    """Name -> function that embeds all images with PyTorch, float32 [FRAMES, 512]; empty without torch."""
    try:
        import torch
    except ImportError:
        return {}
    works = {}
    for name, form, size in (
        ("channels_last", torch.channels_last, 8),
        ("channels_last", torch.channels_last, 32),
        ("default format", torch.contiguous_format, 32),
    ):
        network = torch_network(params).to(memory_format=form)

        def run(network=network, form=form, size=size):
            with torch.inference_mode():
                frames = torch.from_numpy(images).permute(0, 3, 1, 2).split(size)
                batches = (((part.float() / 255 - 0.5) / 0.25).contiguous(memory_format=form) for part in frames)
                return torch.cat([network(batch) for batch in batches]).numpy()

        works[f"PyTorch, {name}, batches of {size}"] = run
    return works


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="fewer batch sizes and rounds")
    small = parser.parse_args().small
    print(_timing.machine())
    images = np.random.default_rng(0).integers(0, 255, (FRAMES, SIZE, SIZE, 3), np.uint8)
    net = backbone()
    ours = {
        f"ours, batches of {size}": lambda size=size: np.concatenate(list(embed.embed(images, net, size)))
        for size in ((4,) if small else (4, 8, 16, 32))
    }
    works = ours | peers(net.params, images)
    first, *others = (np.asarray(work(), np.float32) for work in works.values())
    assert all(np.allclose(first, other, rtol=2e-2, atol=2e-2) for other in others), "the two disagree"
    times = dict(zip(works, _timing.in_turn(list(works.values()), rounds=3 if small else 5), strict=True))
    for name, taken in times.items():
        print(f"{name:<42}median {FRAMES / taken.median:>6.1f} frames/s   best {FRAMES / taken.best:>6.1f}")
    if len(works) > len(ours):
        chosen = [min((times[name] for name in group), default=None) for group in (ours, works.keys() - ours.keys())]
        print(f"ratio {chosen[1].median / chosen[0].median:.2f}x, of the best {chosen[1].best / chosen[0].best:.2f}x")


if __name__ == "__main__":
    main()
