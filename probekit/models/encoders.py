"""What a timm `VisionTransformer` must be to serve as an encoder here, and what its modules tell of its arithmetic."""

from __future__ import annotations

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from probekit.errors import CheckpointError


def check(encoder: nn.Module) -> None:
    """Refuse by name what is no plain timm VisionTransformer."""
    kind = type(encoder)
    if kind is not VisionTransformer:
        raise CheckpointError(
            f"The encoder is a {kind.__module__}.{kind.__name__}; expected timm's VisionTransformer. Other classes do "
            "not take a part of the patches in a way that this model could reproduce."
        )
    embed = encoder.patch_embed
    if type(embed).__name__ != "PatchEmbed":
        raise CheckpointError(f"The encoder embeds patches with {type(embed).__name__}; expected timm's PatchEmbed.")
    if embed.patch_size[0] != embed.patch_size[1] or embed.proj.weight.shape[1] != 3:
        raise CheckpointError(
            f"The encoder takes patches of {tuple(embed.patch_size)} pixels and {embed.proj.weight.shape[1]} "
            "channels; expected square patches and 3 channels."
        )


def num_heads(encoder: VisionTransformer) -> int:
    """Attention heads per block; 0 for block types that keep none of their own."""
    return int(getattr(getattr(encoder.blocks[0], "attn", None), "num_heads", 0))


def epsilon(encoder: VisionTransformer) -> float:
    """The epsilon of the blocks' norms (layer norms, or RMS norms)."""
    found = (getattr(module, "eps", None) for module in encoder.blocks.modules())
    return float(next(eps for eps in found if eps is not None))
