"""Positions inside the attention: rotary angles of queries and keys, and biases by the distance of two patches.

Both belong to a patch's true place in the image. Where patches are hidden, those that are seen keep their own angles
and their own distances. The modules are timm's (`AttentionRope`, its rotary embeddings, its index of distances); a
block with such positions is a plain `Block` whose attention is `AttentionRope`.

References: Heo et al., "Rotary position embedding for vision transformer", ECCV 2024; Bao et al., "BEiT", ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import isqrt
from typing import Any, NamedTuple

import torch
from timm.layers import create_rope_embed, gen_relative_position_index  # type: ignore[attr-defined]  # not in `__all__`
from timm.layers.attention import AttentionRope
from torch import Tensor, nn
from torch.nn import functional as F

from probekit.errors import CheckpointError

KINDS = {"RotaryEmbeddingCat": "cat", "RotaryEmbeddingMixed": "mixed", "RotaryEmbeddingDinoV3": "dinov3"}
"""timm's kinds of rotary positions by their class."""

LARGEST = 64
"""Patches on a side up to which tables of distances are read: an index of all pairs grows with the fourth power."""

PREFIX_ROWS = 3
"""Rows of BEiT's table for [CLS]: to a patch, from a patch, to itself."""


class Place(NamedTuple):
    """What a block's attention takes besides its tokens."""

    rope: Tensor | None
    """Sines and cosines: (patches, 2 * head width), with (batch, heads or 1) in front where patches are hidden."""
    bias: Tensor | None
    """Added to the scores: (batch or 1, heads, tokens, tokens)."""


class Distances(nn.Module):
    """A learned bias for each distance between two patches, one for every head.

    Args:
        grid: (rows, columns) of patches that the table is of.
        heads: of the attention.
        covers_prefix: whether the table has rows for a [CLS] token; prefix tokens have no bias where it has none.
        device: where the table is made.
    """

    def __init__(
        self, grid: tuple[int, int], heads: int, *, covers_prefix: bool, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        self.grid, self.extra = grid, PREFIX_ROWS if covers_prefix else 0
        self.table = nn.Parameter(torch.zeros(distances(grid) + self.extra, heads, device=device))

    def forward(self, grid: tuple[int, int], prefix: int) -> Tensor:
        """(1, heads, prefix + patches, prefix + patches); for another grid, the table is resampled (bicubic)."""
        extra = self.extra
        table: Tensor = self.table
        if grid != self.grid:
            between, rest = table[: len(table) - extra], table[len(table) - extra :]
            shape, size = ([2 * edge - 1 for edge in edges] for edges in (self.grid, grid))
            image = between.T.reshape(1, -1, *shape).float()
            image = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
            table = torch.cat([image.flatten(2)[0].T.to(table.dtype), rest])
        index = gen_relative_position_index(grid, class_token=bool(extra), device=table.device)
        bias = table[index.flatten()].reshape(*index.shape, -1).permute(2, 0, 1)
        padded: Tensor = F.pad(bias, (0 if extra else prefix, 0) * 2)
        return padded[None]


def distances(grid: tuple[int, int]) -> int:
    """Number of distances (down, right) between two patches of a grid."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1)


def places(module: Any, grid: tuple[int, int], visible: Tensor | None = None, *, prefix: int) -> Iterator[Place | None]:
    """For each of a module's blocks, where its tokens stand; None for blocks that do not ask.

    Args:
        module: an encoder or decoder with `blocks`, and perhaps `rope` and `relative`.
        grid: (rows, columns) of the image.
        visible: int64 (batch, visible), which patches are there; None for all.
        prefix: tokens before the patches.
    """
    rotary, shared = getattr(module, "rope", None), getattr(module, "relative", None)
    angles = None if rotary is None else rotary.get_embed(list(grid))
    common = None if shared is None else _kept(shared(grid, prefix), visible, prefix)
    for index, block in enumerate(module.blocks):
        own = getattr(block, "relative", None)
        bias = common if own is None else _kept(own(grid, prefix), visible, prefix)
        mine = angles[index] if angles is not None and angles.ndim == 4 else angles
        if mine is not None and visible is not None:  # the angles of the patches that are there
            mine = mine[:, visible].transpose(0, 1) if mine.ndim == 3 else mine[visible][:, None]
        yield None if mine is None and bias is None else Place(mine, bias)


def _kept(bias: Tensor, visible: Tensor | None, prefix: int) -> Tensor:
    """The biases (1, heads, n, n) between the tokens that are there: (batch, heads, kept, kept)."""
    if visible is None:
        return bias
    there = torch.cat([torch.arange(prefix, device=visible.device).expand(len(visible), -1), visible + prefix], dim=1)
    return bias[0][:, there[:, :, None], there[:, None, :]].transpose(0, 1)


# --- building ---------------------------------------------------------------------------------------------------------


def install(
    module: Any, record: Any, grid: tuple[int, int], *, width: int, prefix: int, norm: Any, device: Any
) -> None:
    """Give a module's blocks the attention that such positions need, and the module the positions.

    Args:
        module: an encoder or decoder with `blocks` of timm's `Block`.
        record: an `Architecture` or `DecoderArchitecture` with `rotary` or `relative`.
        grid: of the position table.
        width: of the tokens.
        prefix: tokens before the patches.
        norm: makes a norm of some width.
        device: "meta" for parameters that are filled later; what is computed is never there.
    """
    if record.rotary is None and not record.relative:
        return
    heads, rotary = record.num_heads, record.rotary or {}
    attention = partial(
        AttentionRope, width, heads, attn_head_dim=record.head_dim, qkv_bias=record.qkv_bias, norm_layer=norm,
        qk_norm=getattr(record, "qk_norm", False), scale_norm=getattr(record, "attention_norm", False),
        num_prefix_tokens=prefix, rotate_half=bool(rotary.get("rotate_half")), device=device,
    )  # fmt: skip
    for block in module.blocks:
        block.attn = attention()
        if record.relative == "blocks":
            block.relative = Distances(grid, heads, covers_prefix=record.relative_prefix, device=device)
    if record.relative == "shared":
        module.relative = Distances(grid, heads, covers_prefix=record.relative_prefix, device=device)
    if record.rotary is not None:
        module.rope = built(record.rotary, width=heads * (record.head_dim or width // heads), heads=heads,
                            depth=len(module.blocks))  # fmt: skip


def built(rotary: Mapping[str, Any], *, width: int, heads: int, depth: int) -> nn.Module:
    """timm's rotary positions from their record.

    Raises:
        CheckpointError: the record holds what such positions do not have.
    """
    _check(rotary)
    options = {name: value for name, value in rotary.items() if name != "kind" and value is not None}
    if rotary["kind"] == "cat":
        options |= {"in_pixels": False}
    if rotary["kind"] == "mixed":
        options = {"depth": depth} | {n: v for n, v in options.items() if n in ("grid_indexing", "temperature")}
    if "ref_feat_shape" in options:
        options["ref_feat_shape"] = tuple(options["ref_feat_shape"])
    made: nn.Module = create_rope_embed(rope_type=rotary["kind"], dim=width, num_heads=heads, **options)
    return made


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9


FIELDS: dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: value in KINDS.values(),
    "temperature": lambda value: _number(value) and value > 0,
    "grid_offset": _number,
    "grid_indexing": lambda value: value in ("ij", "xy"),
    "rotate_half": lambda value: isinstance(value, bool),
    "ref_feat_shape": lambda value: len(value) == 2 and all(_number(edge) and edge > 0 for edge in value),
}
"""What a record of rotary positions holds, and what may stand there."""


def _check(rotary: Any) -> None:
    try:
        wrong = [name for name, value in rotary.items() if not FIELDS[name](value)]
        wrong += [] if "kind" in rotary else ["no kind"]
    except (TypeError, KeyError, AttributeError) as error:
        wrong = [str(error)]
    if wrong:
        raise CheckpointError(f"A record of rotary positions is damaged ({', '.join(wrong)}). Fetch the file again.")


def recorded(rope: Any) -> dict[str, Any] | None:
    """The record of timm's rotary positions, as JSON takes it: `built` makes the same again. None for none.

    Raises:
        CheckpointError: they are of another kind, or have options that the record does not hold.
    """
    if rope is None:
        return None
    names = ("temperature", "grid_offset", "grid_indexing", "rotate_half", "ref_feat_shape")
    kind = KINDS.get(type(rope).__name__)
    record = {"kind": kind} | {n: v for n in names if (v := getattr(rope, n, None)) not in (None, False, 0.0)}
    if "ref_feat_shape" in record:
        record["ref_feat_shape"] = list(record["ref_feat_shape"])
    same = kind is not None
    if same:
        heads, depth = getattr(rope, "num_heads", 1), getattr(rope, "depth", 1)
        same = _options(built(record, width=rope.dim, heads=heads, depth=depth)) == _options(rope)
    if not same:
        raise CheckpointError(
            f"Rotary positions of timm's {type(rope).__name__} with options of their own are not read as part of a "
            "masked autoencoder. As an encoder alone: load 'timm:NAME', or probekit.Encoder.wrap(function, ...)."
        )
    return record


def _options(rope: nn.Module) -> dict[str, Any]:
    """The plain attributes that decide what rotary positions compute for a grid."""
    grid = ("feat_shape", "t_x", "t_y", "pos_embed", "pos_embed_cached", "training")
    given = {name: value for name, value in vars(rope).items() if name not in grid and not name.startswith("_")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def initialise(module: Any) -> None:
    """Draw what is learned of such positions anew, as timm does: no biases, rotations of random direction."""
    for part in module.modules():
        if isinstance(part, Distances):
            nn.init.zeros_(part.table)
    if (rotary := recorded(getattr(module, "rope", None))) is not None and rotary["kind"] == "mixed":
        rope = module.rope
        again: Any = built(rotary, width=rope.dim, heads=rope.num_heads, depth=rope.depth)
        rope.freqs.copy_(again.freqs)


# --- reading ----------------------------------------------------------------------------------------------------------


def grid_of_table(rows: int, *, prefix: int, grid: tuple[int, int] | None, label: str) -> tuple[tuple[int, int], bool]:
    """(grid, whether [CLS] has rows) of a table of distances.

    Args:
        rows: of the table.
        prefix: tokens before the patches.
        grid: where something else tells it; else it is taken as square.
        label: how messages call the source.

    Raises:
        CheckpointError: no grid has so many distances.
    """
    for covers in (True, False) if prefix == 1 else (False,):
        left = rows - PREFIX_ROWS * covers
        side = isqrt(max(left, 0))
        edges = ((side + 1) // 2,) * 2 if grid is None else grid
        if distances(edges) == left and max(edges) <= LARGEST:
            return edges, covers
    fits = "a square grid" if grid is None else f"a grid of {grid[0]} x {grid[1]}"
    raise CheckpointError(
        f"{label}: a table of {rows} relative positions is not that of {fits} of up to {LARGEST} x {LARGEST} patches "
        f"({prefix} prefix tokens). If images were of another shape, give image_size=(height, width) to load."
    )


def shaped(tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The tensors with the frequencies of all heads apart, as timm has them."""
    out, rope = dict(tensors), getattr(module, "rope", None)
    name = "rope.freqs"
    if rope is not None and name in out and out[name].ndim == 3 and out[name].numel() == rope.freqs.numel():
        out[name] = out[name].reshape(rope.freqs.shape)
    return out
