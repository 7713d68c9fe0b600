"""Architectures read off tensors: shapes tell nearly everything.

What they do not tell (heads, epsilon, a grid that is not square) comes from the caller or the file, else from known
variants, else it is a guess and is recorded as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Any, NamedTuple

from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models import relative
from probekit.models.architecture import Architecture, DecoderArchitecture
from probekit.models.positions import grid_of

HEADS = {
    (192, 12): 3, (384, 12): 6, (768, 12): 12, (1024, 24): 16, (1280, 32): 16, (1152, 27): 16, (1408, 40): 16,
    (1664, 48): 16, (1536, 40): 24,
}  # fmt: skip
"""(width, depth) -> heads of the published ViT-Ti, S, B, L, H, So400m, g, G and DINOv2's g. H has 80 per head."""


PUBLISHED_DECODER = (512, 8)
"""Width and depth of the decoder of all of MAE's published models, which has 16 heads; so has every code that builds
it by default and is read here, but for those whose format says otherwise."""


class Inferred(NamedTuple):
    """An architecture, and how it was settled."""

    architecture: Architecture
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def side(tensors: Mapping[str, Tensor], name: str, axis: int) -> int:
    """The size of a tensor along an axis; 0 if there is no such tensor or axis: placing it will say what is wrong."""
    tensor = tensors.get(name)
    return 0 if tensor is None or not -tensor.ndim <= axis < tensor.ndim else int(tensor.shape[axis])


def depth_of(names: Iterable[str], known: int | None = None, label: str = "") -> int:
    """Number of blocks: as known, else the highest index in the names + 1.

    Args:
        names: of tensors, canonical.
        known: the depth that the file or the caller states.
        label: how messages call the source.

    Raises:
        CheckpointError: far fewer blocks are there; nothing is built from a number that no tensors stand behind.
    """
    there = {int(match[1]) for name in names if (match := BLOCK.match(name))}
    depth = known or max(there, default=-1) + 1
    if depth > len(there) + SPARE:
        missing = next(index for index in range(depth) if index not in there)
        raise CheckpointError(
            f"{label}: {depth:,} blocks are stated or numbered and {len(there)} are there; block {missing} is the "
            "first that is missing. The file is incomplete or damaged: fetch it again."
        )
    return depth


def in_any_block(names: Iterable[str], ending: str) -> bool:
    """Whether any block has such a part: a block that lacks it is then found incomplete."""
    return any(name.startswith("blocks.") and name.endswith(f".{ending}") for name in names)


BLOCK = re.compile(r"blocks\.(\d{1,9})\.")
"""The name of a tensor in a block, and its number."""

SPARE = 64
"""How many blocks may be missing for the missing keys to be listed one by one."""


def guess_heads(width: int, depth: int, per_head: int, part: str) -> tuple[int, str, bool]:
    """Heads for a width: a known variant's, else `per_head` channels each, or the nearest number that divides.

    Returns:
        (heads, how they were settled, whether that is a guess).
    """
    if part == "encoder" and (width, depth) in HEADS:
        heads = HEADS[width, depth]
        how = f"{heads} heads in the encoder: those of the known variant of width {width} and depth {depth}."
        return heads, how, False
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    heads = min(divisors, key=lambda n: (abs(width / n - per_head), -n))
    argument = "num_heads" if part == "encoder" else "decoder_num_heads"
    how = (
        f"The number of heads of the {part} was guessed: {heads} ({width // heads} channels each), since tensors do "
        f"not tell. If it was another, all its numbers are wrong: give {argument}= to load."
    )
    return heads, how, True


def infer(tensors: Mapping[str, Tensor], known: Mapping[str, Any], label: str) -> Inferred:
    """Read an encoder's architecture off tensors with timm's names.

    Args:
        tensors: by name.
        known: what the caller or the file states, by the names in `architecture.FIELDS`; None counts as not stated.
        label: how messages call the source.

    Raises:
        CheckpointError: no patch projection, positions that fit no grid, or heads that do not divide the width.
    """
    known = {name: value for name, value in known.items() if value is not None}
    width, channels, patch = projection(tensors, label)
    depth = depth_of(tensors, known.get("depth"), label)
    told = side(tensors, "blocks.0.attn.q_norm.weight", 0)  # norms of queries are as wide as a head
    notes: tuple[str, ...] = (
        (f"{width // told} heads in the encoder: norms of queries have {told} channels.",) if told else ()
    )
    if told and width % told == 0 and known.get("num_heads", width // told) == width // told:
        heads, warnings = width // told, tuple[str, ...]()
    else:
        heads, notes, warnings = _heads(width, depth, known.get("num_heads"), "encoder", label, _inner(tensors))
    registers, class_token = side(tensors, "reg_token", 1), "cls_token" in tensors
    prefix, size = registers + class_token, known.get("image_size")
    if "pos_embed" not in tensors and size is None and (edges := _by_distance(tensors, prefix, label)) is not None:
        size = edges[0] * patch, edges[1] * patch
    image_size, covers = grid_size(tensors.get("pos_embed"), prefix, patch, size, label)
    grid = image_size[0] // patch, image_size[1] // patch
    mlp, hidden = _mlp(tensors, known.get("mlp"))
    fc_norm = "fc_norm.weight" in tensors
    inferred = Architecture(
        image_size=image_size, vit_patch_size=patch, channels=channels, width=width, depth=depth,
        num_heads=heads, mlp_hidden=hidden, mlp=mlp,
        norm="layer" if in_any_block(tensors, "norm1.bias") or not in_any_block(tensors, "norm1.weight") else "rms",
        activation="silu" if mlp.startswith("swiglu") else known.get("activation", "gelu"),
        layer_norm_eps=known.get("layer_norm_eps", 1e-6),
        qkv_bias=known.get("qkv_bias", in_any_block(tensors, "attn.qkv.bias")),
        qk_norm=in_any_block(tensors, "attn.q_norm.weight"),
        layer_scale=in_any_block(tensors, "ls1.gamma"), class_token=class_token, registers=registers,
        positions="pos_embed" in tensors, positions_cover_prefix=covers, pre_norm="norm_pre.weight" in tensors,
        final_norm=fc_norm or any(name.startswith("norm.") for name in tensors), fc_norm=fc_norm,
        global_pool=known.get("global_pool") or _pool(tensors, class_token, fc_norm),
        head_dim=_head_dim(tensors, heads, width), patch_pre_norm="patch_embed.pre.weight" in tensors,
        patch_norm="patch_embed.norm.weight" in tensors,
        attention_norm=in_any_block(tensors, "attn.norm.weight"), mlp_norm=in_any_block(tensors, "mlp.norm.weight"),
        **_relative(tensors, known.get("rotary"), prefix, grid, label), antialias=bool(known.get("antialias", False)),
    )  # fmt: skip
    return Inferred(inferred, notes, warnings)


def _table(tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """(where, rows) of a table of biases by distance: "shared", "blocks", or nowhere."""
    places = ("relative.table", next((n for n in tensors if n.endswith(".relative.table")), ""))
    where, name = next(((w, n) for w, n in zip(("shared", "blocks"), places, strict=True) if n in tensors), ("", ""))
    return where, side(tensors, name, 0)


def _by_distance(tensors: Mapping[str, Tensor], prefix: int, label: str) -> tuple[int, int] | None:
    """The square grid that a table of biases by distance is of; None if there is no such table."""
    where, rows = _table(tensors)
    return relative.grid_of_table(rows, prefix=prefix, grid=None, label=label)[0] if where else None


def _relative(
    tensors: Mapping[str, Tensor], rotary: dict[str, Any] | None, prefix: int, grid: tuple[int, int], label: str
) -> dict[str, Any]:
    """Fields for positions inside the attention: rotary as known, biases by distance as the tensors have them."""
    where, rows = _table(tensors)
    covers = bool(where) and relative.grid_of_table(rows, prefix=prefix, grid=grid, label=label)[1]
    return {"rotary": rotary, "relative": where, "relative_prefix": covers}


def infer_decoder(
    tensors: Mapping[str, Tensor], known: Mapping[str, Any], encoder: Architecture, label: str
) -> tuple[DecoderArchitecture, tuple[str, ...], tuple[str, ...]]:
    """(decoder, notes, warnings) read off tensors with our names; `known` as in `infer`."""
    known = {name: value for name, value in known.items() if value is not None}
    width, depth = decoder_width(tensors), depth_of(tensors, known.get("decoder_depth"), label) or 1
    given = known.get("decoder_num_heads")
    heads, notes, warnings = _heads(width, depth, given, "decoder", label, _inner(tensors))
    whole = encoder.registers + encoder.class_token
    prefix = side(tensors, "pos_embed", 1) - encoder.grid[0] * encoder.grid[1]
    taken = prefix if "pos_embed" in tensors and 0 <= prefix < whole else None
    if taken is not None:
        notes = (*notes, f"The decoder takes {taken} of the encoder's {whole} prefix tokens, as its positions tell.")
    return (
        DecoderArchitecture(
            width=width,
            depth=depth,
            num_heads=heads,
            mlp_hidden=side(tensors, "blocks.0.mlp.fc1.weight", 0) or 4 * width,
            layer_norm_eps=known.get("decoder_layer_norm_eps", encoder.layer_norm_eps),
            qkv_bias=known.get("qkv_bias", in_any_block(tensors, "attn.qkv.bias")),
            head_dim=_head_dim(tensors, heads, width),
            final_norm=known.get("decoder_final_norm", True),
            prefix=taken,
            layer_scale=in_any_block(tensors, "ls1.gamma"),
            positions="pos_embed" in tensors,
            **_relative(tensors, known.get("decoder_rotary"), whole if taken is None else taken, encoder.grid, label),
        ),
        notes,
        warnings,
    )


def decoder_width(tensors: Mapping[str, Tensor]) -> int:
    """The decoder's width, from whichever tensor tells it; 0 if none does."""
    places = (("mask_token", -1), ("norm.weight", 0), ("pos_embed", -1), ("embed.weight", 0), ("pred.weight", 1))
    return next((width for name, axis in places if (width := side(tensors, name, axis))), 0)


def projection(tensors: Mapping[str, Tensor], label: str) -> tuple[int, int, int]:
    """(width, channels, side of a patch) of the patch projection; CheckpointError if patches are not square."""
    shape = tuple(tensors["patch_embed.proj.weight"].shape)
    if len(shape) != 4 or shape[2] != shape[3] or 0 in shape:
        raise CheckpointError(
            f"{label}: the patch projection has the shape {shape}; expected (width, channels, patch, patch), square "
            "patches of still images."
        )
    return int(shape[0]), int(shape[1]), int(shape[2])


def _inner(tensors: Mapping[str, Tensor]) -> int:
    """Channels of all heads together, where the projections before and after the attention agree on them; else 0."""
    rows = side(tensors, "blocks.0.attn.qkv.weight", 0)
    return rows // 3 if rows and rows == 3 * side(tensors, "blocks.0.attn.proj.weight", 1) else 0


def _head_dim(tensors: Mapping[str, Tensor], heads: int, width: int) -> int | None:
    inner = _inner(tensors)
    return inner // heads if inner and inner != width and inner % heads == 0 else None


def _heads(
    width: int, depth: int, known: int | None, part: str, label: str, inner: int = 0
) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """(heads, notes, warnings): known, a known variant's, or guessed, which is a warning."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    if known is None and part == "decoder" and (width, depth) == PUBLISHED_DECODER and inner in (0, width):
        known, notes = 16, ("16 heads in the decoder: the published decoder of width 512 and depth 8.",)
    if known is None:
        known, how, guessed = guess_heads(width, depth, 64 if part == "encoder" else 32, part)
        notes, warnings = ((), (how,)) if guessed else ((how,), ())
    if known < 1 or (inner or width) % known:
        argument = "num_heads" if part == "encoder" else "decoder_num_heads"
        raise CheckpointError(
            f"{label}: {known} heads do not divide the {part}'s width of {width}. Give another {argument}=, one that "
            "divides it."
        )
    return known, notes, warnings


def _pool(tensors: Mapping[str, Tensor], class_token: bool, fc_norm: bool) -> str:
    """The head input that the weights imply."""
    if "attn_pool.latent" in tensors:
        return "map"
    return "token" if class_token and not fc_norm else "avg"


def _mlp(tensors: Mapping[str, Tensor], known: str | None) -> tuple[str, int]:
    """(kind, hidden width) of the MLPs. A packed SwiGLU's projection is twice as wide as what it returns."""
    if "blocks.0.mlp.fc1_g.weight" in tensors:
        return "swiglu", side(tensors, "blocks.0.mlp.fc1_g.weight", 0) or 1
    hidden, returned = side(tensors, "blocks.0.mlp.fc1.weight", 0), side(tensors, "blocks.0.mlp.fc2.weight", 1)
    packed = returned > 0 and hidden == 2 * returned
    return known or ("swiglu_packed" if packed else "mlp"), hidden or 1


def square(patches: int) -> int | None:
    """Side of a square grid, or None."""
    edge = isqrt(patches)
    return edge if edge * edge == patches and edge else None


def grid_size(
    table: Tensor | None, prefix: int, patch: int, image_size: tuple[int, int] | None, label: str
) -> tuple[tuple[int, int], bool]:
    """(image size, whether the position table has rows for the prefix tokens too).

    A fixed sin-cos table tells its grid; another table is taken as square unless the size is known.
    """
    if table is None:
        return image_size or (14 * patch, 14 * patch), True
    if table.ndim != 3 or table.shape[0] != 1:
        raise CheckpointError(
            f"{label}: position embeddings of shape {tuple(table.shape)}; expected (1, tokens, width)."
        )
    rows = table.shape[1]
    told = [(n, grid) for n in dict.fromkeys((prefix, 0)) if rows > n and (grid := grid_of(table, rows - n))]
    if image_size is not None:
        patches = (image_size[0] // patch) * (image_size[1] // patch)
        if rows not in (patches, patches + prefix):
            raise CheckpointError(
                f"{label}: {rows} position embeddings contradict images of {image_size[0]} x {image_size[1]} pixels "
                f"in patches of {patch}: expected {patches + prefix} (with {prefix} prefix tokens) or {patches}."
            )
        if told and told[0][1] != (image_size[0] // patch, image_size[1] // patch):
            height, width = (edge * patch for edge in told[0][1])
            raise CheckpointError(
                f"{label}: images of {image_size[0]} x {image_size[1]} pixels contradict the sin-cos position "
                f"embeddings, which are of {height} x {width} pixels. Give that, or leave image_size out."
            )
        return image_size, rows == patches + prefix
    for covered, grid in told:
        return (grid[0] * patch, grid[1] * patch), covered == prefix
    for covered in (prefix, 0):
        edge = square(rows - covered)
        if edge:
            return (edge * patch, edge * patch), covered == prefix
    raise CheckpointError(
        f"{label}: {rows} position embeddings ({prefix} of them for prefix tokens) are no square grid of patches. If "
        "images were not square, give image_size=(height, width) to load."
    )
