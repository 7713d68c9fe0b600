"""Blocks whose patches attend within windows: what makes plain ViTs affordable on large images.

The grid of patches is cut into windows; a patch attends to the patches of its own window and to the prefix tokens, a
prefix token to everything. Where the grid does not divide, its last windows are partly empty, and what is empty is
masked: so a window as large as the grid gives the block itself.

Reference: Li et al., "Exploring plain vision transformer backbones for object detection" (ViTDet), ECCV 2022. (There
the prefix tokens are dropped, and padding is attended to.)
"""

from __future__ import annotations

import torch
from timm.layers import Attention  # type: ignore[attr-defined]  # public, but not in its `__all__`
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn import functional as F

from probekit.models.blocks import TimmModule, finish, heads, output


def suits(block: TimmModule) -> bool:
    """Whether this block can be run in windows: its attention is timm's softmax(q k / sqrt(d)) v."""
    return type(block) is Block and type(block.attn) is Attention


def forward(block: TimmModule, x: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """The block with attention in windows.

    Args:
        block: one that `suits`.
        x: (batch, prefix + patches, width), patches in raster order.
        grid: (rows, columns) of patches.
        window: side of a window, in patches.

    Returns:
        As `x`; equal to `block(x)` where the window covers the grid.
    """
    attention, rows, columns = block.attn, *grid
    prefix = x.shape[1] - rows * columns
    normed = block.norm1(x)
    queries, keys, values = heads(attention, attention.qkv(normed), 3)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    dropout = attention.attn_drop.p if attention.training else 0.0
    cut, inside = [], None
    for part in (queries, keys, values):
        windows, inside = divide(part[:, :, prefix:], grid, window)
        cut.append(windows)
    count = cut[0].shape[1]
    near, held = (
        torch.cat([whole[:, None, :, :prefix].expand(-1, count, -1, -1, -1), part], dim=3)
        for whole, part in zip((keys, values), cut[1:], strict=True)
    )
    mask = None if inside is None else F.pad(inside, (prefix, 0), value=True)[:, None, None]
    mixed = F.scaled_dot_product_attention(cut[0], near, held, attn_mask=mask, dropout_p=dropout)
    patches = join(mixed, grid, window)
    if prefix:
        first = F.scaled_dot_product_attention(queries[:, :, :prefix], keys, values, dropout_p=dropout)
        patches = torch.cat([first, patches], dim=2)
    return finish(block, x, output(attention, patches, normed))


def divide(patches: Tensor, grid: tuple[int, int], window: int) -> tuple[Tensor, Tensor | None]:
    """Cut a grid into windows, padded at its right and lower edge.

    Args:
        patches: (batch, heads, rows * columns, width).

    Returns:
        (batch, windows, heads, window * window, width); and which places hold a patch, bool (windows, window *
        window), None where all do.
    """
    (rows, columns), (batch, count, _, width) = grid, patches.shape
    down, across = -(-rows // window), -(-columns // window)
    padding = (0, across * window - columns, 0, down * window - rows)
    maps = F.pad(patches.reshape(batch, count, rows, columns, width), (0, 0, *padding))
    cut = maps.reshape(batch, count, down, window, across, window, width).permute(0, 2, 4, 1, 3, 5, 6)
    cut = cut.reshape(batch, down * across, count, window * window, width)
    if not any(padding):
        return cut, None
    there = F.pad(torch.ones(rows, columns, dtype=torch.bool, device=patches.device), padding, value=False)
    there = there.reshape(down, window, across, window).transpose(1, 2)
    return cut, there.reshape(down * across, window * window)


def join(windows: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """The inverse of `divide`: (batch, heads, rows * columns, width)."""
    (rows, columns), (batch, _, count, _, width) = grid, windows.shape
    down, across = -(-rows // window), -(-columns // window)
    maps = windows.reshape(batch, down, across, count, window, window, width).permute(0, 3, 1, 4, 2, 5, 6)
    maps = maps.reshape(batch, count, down * window, across * window, width)[:, :, :rows, :columns]
    return maps.reshape(batch, count, rows * columns, width)
