"""timm's attention, opened up in two ways: with the softmax probabilities kept, and for some of the queries only.

Fused attention never forms the probabilities, so whoever hooks it gets nothing. Here they are computed once, in the
very forward whose output they determine, and handed out. Both functions give what the block itself gives, to rounding.
"""

from __future__ import annotations

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block, ResPostBlock
from torch import Tensor, nn
from torch.nn import functional as F


def opens(block: nn.Module) -> bool:
    """Whether the probabilities of this block can be had: its attention is softmax(q k / sqrt(d)) v, as timm writes
    it."""
    return type(block) in (Block, ResPostBlock) and type(block.attn) is Attention


def _heads(attention: Attention, x: Tensor, parts: int) -> tuple[Tensor, ...]:
    """(batch, tokens, parts * width) -> `parts` tensors (batch, heads, tokens, head width)."""
    batch, tokens, _ = x.shape
    return x.reshape(batch, tokens, parts, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def _output(attention: Attention, mixed: Tensor, x: Tensor) -> Tensor:
    """From (batch, heads, tokens, head width) to the attention module's output, (batch, tokens, width)."""
    mixed = attention.norm(mixed.transpose(1, 2).flatten(2))
    gate = getattr(attention, "gate", None)  # newer timm only
    if gate is not None:
        mixed = mixed * gate(x).sigmoid()
    return attention.proj_drop(attention.proj(mixed))


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over keys, in place where no gradient needs the scores."""
    if scores.requires_grad:
        return scores.softmax(dim=-1)
    return torch.softmax(scores, dim=-1, out=scores)


def attend(attention: Attention, x: Tensor) -> tuple[Tensor, Tensor]:
    """The output (batch, tokens, width) and the probabilities (batch, heads, queries, keys) that made it."""
    queries, keys, values = _heads(attention, attention.qkv(x), 3)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    probabilities = _softmax((queries * attention.scale) @ keys.transpose(-2, -1))
    return _output(attention, attention.attn_drop(probabilities) @ values, x), probabilities


def block_with_probabilities(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """A block's output and its attention probabilities; only for blocks that `opens` says yes to."""
    if isinstance(block, ResPostBlock):
        mixed, probabilities = attend(block.attn, x)
        x = x + block.drop_path1(block.norm1(mixed))
        return x + block.drop_path2(block.norm2(block.mlp(x))), probabilities
    mixed, probabilities = attend(block.attn, block.norm1(x))
    x = x + block.drop_path1(block.ls1(mixed))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x)))), probabilities


def block_at(block: Block, x: Tensor, index: Tensor) -> Tensor:
    """The block's output for some tokens only: keys and values of all, queries and MLP of those.

    Args:
        block: a timm `Block` with plain attention.
        x: (batch, tokens, width).
        index: int64 (batch, chosen), the tokens wanted.

    Returns:
        (batch, chosen, width), equal to `block(x)` at these tokens.
    """
    attention, width = block.attn, x.shape[-1]
    normed, where = block.norm1(x), index[..., None].expand(-1, -1, width)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    split = attention.num_heads * attention.head_dim
    chosen = normed.gather(1, where)
    (queries,) = _heads(attention, F.linear(chosen, weight[:split], None if bias is None else bias[:split]), 1)
    keys, values = _heads(attention, F.linear(normed, weight[split:], None if bias is None else bias[split:]), 2)
    dropout = attention.attn_drop.p if attention.training else 0.0
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    mixed = _output(attention, F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout), chosen)
    out = x.gather(1, where) + block.drop_path1(block.ls1(mixed))
    return out + block.drop_path2(block.ls2(block.mlp(block.norm2(out))))
