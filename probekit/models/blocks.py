"""timm's blocks, run in three ways: unchanged but without extra copies, with the softmax probabilities kept, and for
some of the tokens only.

Fused attention never forms the probabilities, so a hook cannot read them. Here they are computed once, in the
very forward whose output they determine, and handed out. All three give what the block itself gives, to rounding.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from timm.layers import Attention, Mlp, apply_rot_embed_cat  # type: ignore[attr-defined]  # not in its `__all__`
from timm.layers.attention import AttentionRope
from timm.models.vision_transformer import Block, ResPostBlock
from torch import Tensor, nn
from torch.nn import functional as F

from probekit.models.relative import Place

TimmModule: TypeAlias = Any
"""A block or part of one: `nn.Module` types its attributes as `Tensor | Module`, which says less than timm does."""


def opens(block: TimmModule) -> bool:
    """Whether the probabilities of this block can be had: its attention is timm's softmax(q k / sqrt(d)) v."""
    return type(block) in (Block, ResPostBlock) and type(block.attn) in (Attention, AttentionRope)


def forward(block: TimmModule, x: Tensor, place: Place | None = None) -> Tensor:
    """`block(x)`; where no gradient is wanted, sums and activations are written over what is not needed any more.

    Args:
        block: one of timm's.
        x: (batch, tokens, width).
        place: where the tokens stand, for attention that asks.
    """
    if place is not None:
        bias = None if place.bias is None else place.bias.to(x.dtype)
        return finish(block, x, block.attn(block.norm1(x), rope=place.rope, attn_mask=bias))
    if torch.is_grad_enabled() or type(block) is not Block or _hooked(block):
        whole: Tensor = block(x)
        return whole
    return finish(block, x, block.attn(block.norm1(x)))


def forward_with_probabilities(block: TimmModule, x: Tensor, place: Place | None = None) -> tuple[Tensor, Tensor]:
    """A block's output and its attention probabilities; only for blocks that `opens` says yes to."""
    if isinstance(block, ResPostBlock):
        mixed, probabilities = attend(block.attn, x)
        x = x + block.drop_path1(block.norm1(mixed))
        return x + block.drop_path2(block.norm2(block.mlp(x))), probabilities
    mixed, probabilities = attend(block.attn, block.norm1(x), place)
    return finish(block, x, mixed), probabilities


def forward_at(block: TimmModule, x: Tensor, index: Tensor) -> Tensor:
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
    (queries,) = heads(attention, F.linear(chosen, weight[:split], None if bias is None else bias[:split]), 1)
    keys, values = heads(attention, F.linear(normed, weight[split:], None if bias is None else bias[split:]), 2)
    dropout = attention.attn_drop.p if attention.training else 0.0
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    mixed = output(attention, F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout), chosen)
    return finish(block, x.gather(1, where), mixed)


def attend(attention: TimmModule, x: Tensor, place: Place | None = None) -> tuple[Tensor, Tensor]:
    """The output (batch, tokens, width) and the probabilities (batch, heads, queries, keys) that made it."""
    queries, keys, values = heads(attention, attention.qkv(x), 3)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    if place is not None and place.rope is not None:
        queries, keys = (_turned(attention, part, place.rope).type_as(values) for part in (queries, keys))
    scores = (queries * attention.scale) @ keys.transpose(-2, -1)
    if place is not None and place.bias is not None:
        scores = scores + place.bias.to(scores.dtype)
    probabilities = scores.softmax(dim=-1) if scores.requires_grad else torch.softmax(scores, dim=-1, out=scores)
    return output(attention, attention.attn_drop(probabilities) @ values, x), probabilities


def _turned(attention: TimmModule, x: Tensor, rope: Tensor) -> Tensor:
    """Queries or keys (batch, heads, tokens, head width), those of patches turned by their angles."""
    first, patches = x[:, :, : attention.num_prefix_tokens], x[:, :, attention.num_prefix_tokens :]
    return torch.cat([first, apply_rot_embed_cat(patches, rope, half=attention.rotate_half)], dim=2)


def heads(attention: TimmModule, x: Tensor, parts: int) -> tuple[Tensor, ...]:
    """(batch, tokens, parts * width) -> `parts` tensors (batch, heads, tokens, head width)."""
    batch, tokens, _ = x.shape
    return x.reshape(batch, tokens, parts, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def output(attention: TimmModule, mixed: Tensor, x: Tensor) -> Tensor:
    """From (batch, heads, tokens, head width) to the attention module's output, (batch, tokens, width)."""
    mixed = attention.norm(mixed.transpose(1, 2).flatten(2))
    gate = getattr(attention, "gate", None)  # newer timm only
    if gate is not None:
        mixed = mixed * gate(x).sigmoid()
    out: Tensor = attention.proj_drop(attention.proj(mixed))
    return out


def finish(block: TimmModule, x: Tensor, mixed: Tensor) -> Tensor:
    """What follows a block's attention: both residual sums and the MLP."""
    x = _add(x, block.drop_path1(block.ls1(mixed)))
    return _add(x, block.drop_path2(block.ls2(_mlp(block.mlp, block.norm2(x)))))


def _add(x: Tensor, fresh: Tensor) -> Tensor:
    """x + fresh, written over `fresh`, which nobody else holds, unless a gradient or its type (autocast) forbids."""
    spare = not (x.requires_grad or fresh.requires_grad) and x.dtype == fresh.dtype
    return fresh.add_(x) if spare else x + fresh


def _mlp(mlp: TimmModule, x: Tensor) -> Tensor:
    """`mlp(x)`, its GELU written over its input, which is its largest tensor by far."""
    if torch.is_grad_enabled() or type(mlp) is not Mlp or type(mlp.act) is not nn.GELU or _hooked(mlp):
        plain: Tensor = mlp(x)
        return plain
    hidden = torch.ops.aten.gelu_(mlp.fc1(x), approximate=mlp.act.approximate)
    out: Tensor = mlp.drop2(mlp.fc2(mlp.norm(mlp.drop1(hidden))))
    return out


def _hooked(module: nn.Module) -> bool:
    """Whether someone listens to this module, and so must see it called."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
