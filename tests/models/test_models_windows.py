"""Attention in windows: equal to the whole block where a window covers the grid, and to a masked one elsewhere."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import Block, ResPostBlock
from torch import Tensor

from probekit.models import blocks, windows

GRID = (5, 7)


def made(prefix: int, *, qk_norm: bool = False) -> tuple[Block, Tensor]:
    torch.manual_seed(prefix)
    block = Block(24, 3, qkv_bias=True, qk_norm=qk_norm)
    return block, torch.randn(2, prefix + GRID[0] * GRID[1], 24)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("window", [7, 8, 12])
def test_a_window_that_covers_the_grid_gives_the_block_itself(prefix: int, window: int) -> None:
    block, x = made(prefix, qk_norm=prefix == 1)
    torch.testing.assert_close(windows.forward(block, x, GRID, window), block(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_windows_equal_attention_under_a_mask(prefix: int, window: int) -> None:
    """The reference keeps, of the whole attention, only pairs in one window and pairs with a prefix token."""
    block, x = made(prefix)
    rows, columns = torch.meshgrid(torch.arange(GRID[0]), torch.arange(GRID[1]), indexing="ij")
    where = (rows // window * 100 + columns // window).flatten()
    allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
    allowed[prefix:, prefix:] = where[:, None] == where[None, :]
    queries, keys, values = blocks.heads(block.attn, block.attn.qkv(block.norm1(x)), 3)
    scores = (queries @ keys.transpose(-2, -1) * block.attn.scale).masked_fill(~allowed, -torch.inf)
    mixed = block.attn.proj((scores.softmax(-1) @ values).transpose(1, 2).flatten(2))
    expected = x + mixed
    expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(windows.forward(block, x, GRID, window), expected, rtol=1e-5, atol=1e-5)


def test_dividing_and_joining_are_inverse() -> None:
    patches = torch.arange(2 * 3 * 35 * 4.0).reshape(2, 3, 35, 4)
    cut, there = windows.divide(patches, GRID, 3)
    assert cut.shape == (2, 2 * 3, 3, 9, 4)
    assert there is not None
    assert there.sum() == 35
    torch.testing.assert_close(windows.join(cut, GRID, 3), patches, rtol=0, atol=0)
    assert windows.divide(patches, GRID, 1)[1] is None


def test_gradients_flow_through_windows_and_no_pixel_of_another_window_is_seen() -> None:
    block, x = made(0)
    x.requires_grad_()
    windows.forward(block, x, GRID, 3)[:, 0].sum().backward()
    seen = x.grad.abs().sum(dim=(0, 2)).reshape(GRID) > 0
    assert seen[:3, :3].all()
    assert seen.sum() == 9


def test_other_blocks_are_not_cut() -> None:
    assert windows.suits(Block(24, 3))
    assert not windows.suits(ResPostBlock(24, 3))
