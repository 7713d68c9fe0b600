"""From images to the maps that a detector reads: the ViT, its blocks in windows, and the simple feature pyramid.

The pyramid is made of the ViT's last map alone, as ViTDet does it: finer maps by transposed convolutions, coarser ones
by pooling, each followed by a 1 x 1 and a 3 x 3 convolution with layer norms.

Reference: Li et al., "Exploring plain vision transformer backbones for object detection" (ViTDet), ECCV 2022.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from timm.layers import DropPath, LayerNorm2d  # type: ignore[attr-defined]  # public, but not in its `__all__`
from torch import Tensor, nn
from torch.nn import functional as F

from probekit.detection.settings import LEVELS, DetectorSettings, finest, strides
from probekit.models import MaskedAutoencoder, blocks, embedding, relative, windows

NAMES = tuple(str(level) for level in range(LEVELS))
"""Of the maps that regions are read from; a fifth one, `pool`, is for proposals alone."""


class Pyramid(nn.Module):
    """Four maps of one width from the ViT's last map.

    Args:
        patch: side of the ViT's patch in pixels.
        width: channels of the ViT's map.
        out_width: channels of the pyramid's maps.
    """

    def __init__(self, patch: int, width: int, out_width: int) -> None:
        super().__init__()
        self.strides = strides(patch)
        self.branches = nn.ModuleList(
            nn.Sequential(
                *resizing(finest(patch) - level, width), *fusing(narrowed(finest(patch) - level, width), out_width)
            )
            for level in range(LEVELS)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(batch, width, rows, columns) -> maps (batch, out_width, ...), finest first."""
        return [branch(x) for branch in self.branches]


def narrowed(doublings: int, width: int) -> int:
    """Channels after `resizing`: each doubling halves them, down to 16."""
    return max(width >> max(0, doublings), min(16, width))


def resizing(doublings: int, width: int) -> list[nn.Module]:
    """What doubles a map's sides so often, or halves them where the number is negative."""
    if doublings <= 0:
        return [nn.MaxPool2d(2**-doublings)] if doublings else []
    layers: list[nn.Module] = []
    for step in range(doublings):
        before, after = narrowed(step, width), narrowed(step + 1, width)
        layers += [LayerNorm2d(before), nn.GELU()] if step else []
        layers.append(nn.ConvTranspose2d(before, after, 2, stride=2))
    return layers


def fusing(width: int, out_width: int) -> list[nn.Module]:
    """A 1 x 1 and a 3 x 3 convolution, each with a layer norm."""
    return [
        nn.Conv2d(width, out_width, 1, bias=False),
        LayerNorm2d(out_width),
        nn.Conv2d(out_width, out_width, 3, padding=1, bias=False),
        LayerNorm2d(out_width),
    ]


class Backbone(nn.Module):
    """A ViT and a pyramid, as torchvision's detectors take them.

    Args:
        model: whose encoder is used; its decoder is not.
        settings: of the run: windows, drop path, what is frozen, the pyramid's width.
    """

    def __init__(self, model: MaskedAutoencoder, settings: DetectorSettings) -> None:
        super().__init__()
        self.encoder, self.patch, self.antialias = model.encoder, model.vit_patch_size, model.antialias
        self.prefix, self.window = model.num_prefix_tokens, settings.window
        self.everywhere = global_blocks(model.depth, settings.global_blocks)
        self.pyramid = Pyramid(self.patch, model.width, settings.pyramid_width)
        self.out_channels = settings.pyramid_width
        add_drop_path(self.encoder.blocks, settings.drop_path)
        freeze(self.encoder, settings.last_blocks)

    def tokens(self, images: Tensor) -> Tensor:
        """(batch, prefix + patches, width) after the final norm; images are normalised, and fit the patches."""
        grid = images.shape[-2] // self.patch, images.shape[-1] // self.patch
        x = embedding.embed(self.encoder, images, None, grid, antialias=self.antialias)
        places = relative.places(self.encoder, grid, prefix=self.prefix)
        for index, (block, place) in enumerate(zip(self.encoder.blocks, places, strict=True)):
            if self.window and index not in self.everywhere:
                x = windows.forward(block, x, grid, self.window)
            else:
                x = blocks.forward(block, x, place)
        out: Tensor = self.encoder.norm(x)
        return out

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The pyramid's maps `0` to `3`, finest first, and `pool`, half as fine as the last."""
        grid = images.shape[-2] // self.patch, images.shape[-1] // self.patch
        patches = self.tokens(images)[:, self.prefix :]
        maps = self.pyramid(patches.transpose(1, 2).reshape(len(images), -1, *grid))
        return OrderedDict([*zip(NAMES, maps, strict=True), ("pool", F.max_pool2d(maps[-1], 1, stride=2))])


def global_blocks(depth: int, count: int) -> frozenset[int]:
    """Which blocks attend to everything: the last of each of `count` equal parts.

    >>> sorted(global_blocks(12, 4)), sorted(global_blocks(4, 2)), sorted(global_blocks(2, 4))
    ([2, 5, 8, 11], [1, 3], [0, 1])
    """
    count = min(count, depth)
    return frozenset(depth * (part + 1) // count - 1 for part in range(count))


def add_drop_path(blocks: Any, rate: float) -> None:
    """Give timm's blocks stochastic depth that grows evenly from 0 to `rate`."""
    if not rate:
        return
    for index, block in enumerate(blocks):
        mine = rate * index / max(1, len(blocks) - 1)
        block.drop_path1, block.drop_path2 = DropPath(mine), DropPath(mine)


def freeze(encoder: nn.Module, last_blocks: int) -> None:
    """Leave only the last blocks of a ViT, and its final norm, to be trained; -1 leaves everything, 0 nothing."""
    if last_blocks < 0:
        return
    encoder.requires_grad_(False)
    parts = list(encoder.blocks)[len(encoder.blocks) - last_blocks :]  # type: ignore[arg-type]  # an nn.Sequential
    for part in [*parts, encoder.norm] if last_blocks else []:
        part.requires_grad_(True)
