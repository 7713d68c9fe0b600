"""The decoder of a masked autoencoder: visible tokens, mask tokens and positions in; pixels of every patch out.

Built from timm blocks, with the names of MAE's own parts. Its position table is a frozen parameter, as MAE's is.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from probekit.models import blocks, relative
from probekit.models.positions import resample, sin_cos


def set_heads(
    blocks: nn.ModuleList, width: int, heads: int, head_dim: int, *, qkv_bias: bool, device: torch.device | str | None
) -> None:
    """Give blocks attention whose heads together are not as wide as the tokens, which timm's classes do not offer."""
    for block in cast("list[Block]", list(blocks)):
        block.attn = Attention(width, heads, attn_head_dim=head_dim, qkv_bias=qkv_bias, device=device)


class Decoder(nn.Module):
    """A transformer over all patches.

    Args:
        encoder_width: width of the tokens that come in.
        width, depth, num_heads: of the decoder.
        vit_patch_size: side of a patch in pixels; a patch has channels * side² values.
        channels: of the images.
        grid: (rows, columns) of the position table.
        num_prefix_tokens: tokens of the encoder in front of the patches ([CLS], registers).
        prefix: how many of these the decoder takes, the first ones; all if None.
        mlp_hidden: width of the hidden layer of the MLPs; 4 * width if None.
        layer_norm_eps: of every layer norm.
        head_dim: channels of a head; width / num_heads if None.
        final_norm: whether a norm stands before the prediction.
        qkv_bias: whether queries, keys and values have a bias.
        layer_scale: whether what a block adds is scaled by channel.
        positions: the record of positions that are not a table alone, a `DecoderArchitecture`; None for the table.
        device: where parameters are made; "meta" makes none.
    """

    def __init__(
        self,
        *,
        encoder_width: int,
        width: int,
        depth: int,
        num_heads: int,
        vit_patch_size: int,
        channels: int = 3,
        grid: tuple[int, int],
        num_prefix_tokens: int = 1,
        prefix: int | None = None,
        mlp_hidden: int | None = None,
        layer_norm_eps: float = 1e-6,
        qkv_bias: bool = True,
        head_dim: int | None = None,
        final_norm: bool = True,
        layer_scale: bool = False,
        antialias: bool = False,
        positions: Any = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.width, self.depth, self.num_heads = width, depth, num_heads
        taken = num_prefix_tokens if prefix is None else prefix
        self.grid, self.num_prefix_tokens, self.antialias = grid, taken, antialias
        self.dropped = num_prefix_tokens - taken
        self.embed = nn.Linear(encoder_width, width, device=device)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width, device=device))
        self.pos_embed: nn.Parameter | None = None
        if positions is None or positions.positions:
            table = torch.zeros(1, taken + grid[0] * grid[1], width, device=device)
            self.pos_embed = nn.Parameter(table, requires_grad=False)
        norm: Any = partial(nn.LayerNorm, eps=layer_norm_eps)
        hidden = 4 * width if mlp_hidden is None else mlp_hidden
        ratio = (hidden + 0.5) / width  # timm rounds down: the half keeps rounding of the quotient from losing a unit
        heads = 1 if head_dim is not None else num_heads
        block = partial(Block, width, heads, mlp_ratio=ratio, qkv_bias=qkv_bias, norm_layer=norm, device=device,
                        init_values=1e-5 if layer_scale else None)  # fmt: skip
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        if head_dim is not None:
            set_heads(self.blocks, width, num_heads, head_dim, qkv_bias=qkv_bias, device=device)
        if positions is not None:
            relative.install(self, positions, grid, width=width, prefix=taken, norm=norm, device=device)
        self.norm = norm(width, device=device) if final_norm else nn.Identity()
        self.pred = nn.Linear(width, vit_patch_size**2 * channels, device=device)

    @torch.no_grad()
    def initialise_positions(self) -> None:
        """The mask token and positions as MAE initialises them."""
        nn.init.normal_(self.mask_token, std=0.02)
        if self.pos_embed is not None:
            self.pos_embed.copy_(sin_cos(self.grid, self.width, num_prefix_tokens=self.num_prefix_tokens))
        relative.initialise(self)

    def _tokens(self, encoded: Tensor, visible: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """Encoder tokens at their places, mask tokens elsewhere, plus positions: (batch, prefix + patches, width)."""
        prefix, patches = self.num_prefix_tokens, grid[0] * grid[1]
        if self.dropped:
            encoded = torch.cat([encoded[:, :prefix], encoded[:, prefix + self.dropped :]], dim=1)
        tokens = self.embed(encoded)
        if visible is not None:
            full = self.mask_token.to(tokens.dtype).expand(len(tokens), patches, -1)
            where = visible[..., None].expand(-1, -1, self.width)
            tokens = torch.cat([tokens[:, :prefix], full.scatter(1, where, tokens[:, prefix:])], dim=1)
        if self.pos_embed is None:
            whole: Tensor = tokens
            return whole
        table = resample(self.pos_embed, self.grid, grid, num_prefix_tokens=prefix, antialias=self.antialias)
        mixed: Tensor = tokens + table
        return mixed

    def forward(
        self, encoded: Tensor, visible: Tensor | None, grid: tuple[int, int], wanted: Tensor | None = None
    ) -> Tensor:
        """Pixels from encoder tokens.

        Args:
            encoded: (batch, prefix + visible, encoder width), after the encoder's final norm.
            visible: int64 (batch, visible), which patches these are; None if all.
            grid: (rows, columns) of the image.
            wanted: int64 (batch, n), the patches to predict; None for all. The last block then works on these alone.

        Returns:
            (batch, patches or n, side² * channels), pixels in the order (row, column, channel).
        """
        x = self._tokens(encoded, visible, grid)
        prefix = self.num_prefix_tokens
        *first, last = cast("list[Block]", list(self.blocks))
        *places, final = relative.places(self, grid, prefix=prefix)
        for block, place in zip(first, places, strict=True):
            x = blocks.forward(block, x, place)
        if wanted is not None and final is None:
            x = blocks.forward_at(last, x, wanted + prefix)
        else:
            x = blocks.forward(last, x, final)[:, prefix:]
            if wanted is not None:
                x = x.gather(1, wanted[..., None].expand(-1, -1, self.width))
        pixels: Tensor = self.pred(self.norm(x))
        return pixels
