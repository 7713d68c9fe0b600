"""Architectures, read off the tensors themselves: which timm `VisionTransformer` and which decoder these weights are
of.

Shapes tell nearly everything. What they do not tell (heads, epsilon, a grid that is not square) comes from the format
or the caller, else from known variants, else it is a guess and recorded as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from math import isqrt
from typing import Any

from timm.layers import RmsNorm, SwiGLU, SwiGLUPacked
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from probekit.errors import CheckpointError
from probekit.models.decoder import Decoder
from probekit.models.encoders import epsilon

HEADS = {
    (192, 12): 3, (384, 12): 6, (768, 12): 12, (1024, 24): 16, (1280, 32): 16, (1152, 27): 16, (1408, 40): 16,
    (1664, 48): 16, (1536, 40): 24,
}  # fmt: skip
"""(width, depth) -> heads of the published ViT-Ti, S, B, L, H, So400m, g, G and DINOv2's g. H has 80 per head."""

MLPS = {"mlp": Mlp, "swiglu_packed": SwiGLUPacked, "swiglu": SwiGLU}
NORMS = {"layer": nn.LayerNorm, "rms": RmsNorm}


@dataclass(frozen=True)
class EncoderSpec:
    """The arguments that determine a timm `VisionTransformer`'s arithmetic."""

    image_size: tuple[int, int]
    vit_patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_hidden: int
    mlp: str = "mlp"
    norm: str = "layer"
    activation: str = "gelu"
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True
    qk_norm: bool = False
    layer_scale: bool = False
    class_token: bool = True
    registers: int = 0
    positions: bool = True
    positions_cover_prefix: bool = True
    pre_norm: bool = False
    final_norm: bool = True
    fc_norm: bool = False
    global_pool: str = "token"

    def build(self, device: str = "meta") -> VisionTransformer:
        """The module, its weights not initialised (on `meta`: not even allocated)."""
        return VisionTransformer(
            img_size=self.image_size,
            patch_size=self.vit_patch_size,
            num_classes=0,
            global_pool=self.global_pool,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_ratio=(self.mlp_hidden + 0.5) / self.width,  # timm rounds down: the half guards the quotient's rounding
            qkv_bias=self.qkv_bias,
            qk_norm=self.qk_norm,
            init_values=1e-5 if self.layer_scale else None,
            class_token=self.class_token,
            reg_tokens=self.registers,
            pos_embed="learn" if self.positions else "none",
            no_embed_class=not self.positions_cover_prefix,
            pre_norm=self.pre_norm,
            final_norm=self.final_norm,
            fc_norm=self.fc_norm,
            norm_layer=partial(NORMS[self.norm], eps=self.layer_norm_eps),
            act_layer=nn.GELU if self.activation == "gelu" else self.activation,
            mlp_layer=MLPS[self.mlp],
            weight_init="skip",
            device=device,
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Settled:
    """What tensors do not tell; None where it must be inferred or guessed."""

    num_heads: int | None = None
    decoder_num_heads: int | None = None
    layer_norm_eps: float | None = None
    decoder_layer_norm_eps: float | None = None
    image_size: tuple[int, int] | None = None
    depth: int | None = None
    decoder_depth: int | None = None
    global_pool: str | None = None
    qkv_bias: bool | None = None
    activation: str = "gelu"
    mlp: str | None = None


def side(tensors: Mapping[str, Tensor], name: str, axis: int) -> int:
    """The size of a tensor along an axis; 0 if there is no such tensor or axis: placing it will say what is wrong."""
    tensor = tensors.get(name)
    return 0 if tensor is None or not -tensor.ndim <= axis < tensor.ndim else int(tensor.shape[axis])


def depth_of(names: Iterable[str], prefix: str = "blocks.") -> int:
    """Number of blocks that the names mention: the highest index + 1."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return max((int(match[1]) + 1 for name in names if (match := pattern.match(name))), default=0)


def in_any_block(names: Iterable[str], ending: str) -> bool:
    """Whether any block has such a part: one block that lacks it is then found missing, not taken for the
    architecture."""
    return any(name.startswith("blocks.") and name.endswith(f".{ending}") for name in names)


def guess_heads(width: int, depth: int, per_head: int, part: str) -> tuple[int, str, bool]:
    """Heads for a width: a known variant's, else `per_head` channels each, or the nearest number that divides.

    Returns:
        (heads, how they were settled, whether that is a guess).
    """
    if part == "encoder" and (width, depth) in HEADS:
        heads = HEADS[width, depth]
        return (
            heads,
            f"{heads} heads in the encoder: those of the known variant of width {width} and depth {depth}.",
            False,
        )
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    heads = min(divisors, key=lambda n: (abs(width / n - per_head), -n))
    argument = "num_heads" if part == "encoder" else "decoder_num_heads"
    how = (
        f"The number of heads of the {part} was guessed: {heads} ({width // heads} channels each), since tensors do "
        f"not tell. If it was another, all its numbers are wrong: give {argument}= to load."
    )
    return heads, how, True


def square(patches: int) -> int | None:
    """Side of a square grid, or None."""
    side = isqrt(patches)
    return side if side * side == patches and side else None


def projection(tensors: Mapping[str, Tensor], label: str) -> tuple[int, int]:
    """(width, side of a patch) of the patch projection; CheckpointError if it is none of square colour patches."""
    shape = tuple(tensors["patch_embed.proj.weight"].shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or 0 in shape:
        raise CheckpointError(
            f"{label}: the patch projection has the shape {shape}; expected (width, 3, patch, patch), square patches "
            "of colour images."
        )
    return shape[0], shape[2]


def encoder_spec(tensors: Mapping[str, Tensor], settled: Settled, num_heads: int, label: str) -> EncoderSpec:
    """Read an encoder's architecture off tensors with timm's names.

    Raises:
        CheckpointError: no patch projection or blocks, or position embeddings that fit no grid.
    """
    width, patch = projection(tensors, label)
    registers = side(tensors, "reg_token", 1)
    class_token = "cls_token" in tensors
    prefix = registers + class_token
    image_size, covers = _grid(tensors.get("pos_embed"), prefix, patch, settled.image_size, label)
    mlp, hidden = _mlp(tensors, settled)
    fc_norm = "fc_norm.weight" in tensors
    return EncoderSpec(
        image_size=image_size, vit_patch_size=patch, width=width, depth=settled.depth or depth_of(tensors),
        num_heads=num_heads, mlp_hidden=hidden, mlp=mlp,
        norm="layer" if in_any_block(tensors, "norm1.bias") or not in_any_block(tensors, "norm1.weight") else "rms",
        activation="silu" if mlp.startswith("swiglu") else settled.activation,
        layer_norm_eps=1e-6 if settled.layer_norm_eps is None else settled.layer_norm_eps,
        qkv_bias=settled.qkv_bias if settled.qkv_bias is not None else in_any_block(tensors, "attn.qkv.bias"),
        qk_norm=in_any_block(tensors, "attn.q_norm.weight"),
        layer_scale=in_any_block(tensors, "ls1.gamma"), class_token=class_token, registers=registers,
        positions="pos_embed" in tensors, positions_cover_prefix=covers, pre_norm="norm_pre.weight" in tensors,
        final_norm=fc_norm or any(name.startswith("norm.") for name in tensors), fc_norm=fc_norm,
        global_pool=settled.global_pool or _pool(tensors, class_token, fc_norm),
    )  # fmt: skip


def _pool(tensors: Mapping[str, Tensor], class_token: bool, fc_norm: bool) -> str:
    """The head input that the weights imply."""
    if "attn_pool.latent" in tensors:
        return "map"
    return "token" if class_token and not fc_norm else "avg"


def _mlp(tensors: Mapping[str, Tensor], settled: Settled) -> tuple[str, int]:
    """Kind and hidden width of the MLPs. A packed SwiGLU has one projection that is twice as wide as what it
    returns."""
    if "blocks.0.mlp.fc1_g.weight" in tensors:
        return "swiglu", side(tensors, "blocks.0.mlp.fc1_g.weight", 0) or 1
    hidden, returned = side(tensors, "blocks.0.mlp.fc1.weight", 0), side(tensors, "blocks.0.mlp.fc2.weight", 1)
    packed = returned > 0 and hidden == 2 * returned
    return settled.mlp or ("swiglu_packed" if packed else "mlp"), hidden or 1


def _grid(
    table: Tensor | None, prefix: int, patch: int, image_size: tuple[int, int] | None, label: str
) -> tuple[tuple[int, int], bool]:
    """(image size, whether the position table has rows for the prefix tokens too)."""
    if table is None:
        return image_size or (14 * patch, 14 * patch), True
    if table.ndim != 3 or table.shape[0] != 1:
        raise CheckpointError(
            f"{label}: position embeddings of shape {tuple(table.shape)}; expected (1, tokens, width)."
        )
    rows = table.shape[1]
    if image_size is not None:
        patches = (image_size[0] // patch) * (image_size[1] // patch)
        if rows not in (patches, patches + prefix):
            raise CheckpointError(
                f"{label}: {rows} position embeddings contradict images of {image_size[0]} x {image_size[1]} pixels "
                f"in patches of {patch}: expected {patches + prefix} (with {prefix} prefix tokens) or {patches}."
            )
        return image_size, rows == patches + prefix
    for covered in (prefix, 0):
        side = square(rows - covered)
        if side:
            return (side * patch, side * patch), covered == prefix
    raise CheckpointError(
        f"{label}: {rows} position embeddings ({prefix} of them for prefix tokens) are no square grid of patches. If "
        "images were not square, give image_size=(height, width) to load."
    )


def decoder_module(
    tensors: Mapping[str, Tensor], settled: Settled, num_heads: int, encoder: VisionTransformer
) -> Decoder:
    """The decoder, on `meta`, that tensors with our names are of; its shapes are compared by the caller."""
    return Decoder(
        encoder_width=encoder.embed_dim,
        width=decoder_width(tensors),
        depth=settled.decoder_depth or depth_of(tensors) or 1,
        num_heads=num_heads,
        vit_patch_size=encoder.patch_embed.patch_size[0],
        grid=encoder.patch_embed.grid_size,
        num_prefix_tokens=encoder.num_prefix_tokens,
        mlp_hidden=side(tensors, "blocks.0.mlp.fc1.weight", 0) or None,
        layer_norm_eps=settled.decoder_layer_norm_eps or epsilon(encoder),
        qkv_bias=settled.qkv_bias if settled.qkv_bias is not None else in_any_block(tensors, "attn.qkv.bias"),
        device="meta",
    )


def decoder_width(tensors: Mapping[str, Tensor]) -> int:
    """The decoder's width, from whichever tensor tells it; 0 if none does."""
    places = (("mask_token", -1), ("norm.weight", 0), ("pos_embed", -1), ("embed.weight", 0), ("pred.weight", 1))
    return next((width for name, axis in places if (width := side(tensors, name, axis))), 0)
