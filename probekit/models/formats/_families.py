"""Families of networks that no format here reads: what their names give away, and which way is open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor


class Family(NamedTuple):
    """A family, recognised by a pattern in any name."""

    pattern: str
    name: str
    way: str


ADAPTED = (
    "Load it as 'timm:NAME' or from a directory with its library's config.json, which are adapted as encoders; for a "
    "network of your own: probekit.Encoder.wrap(function, ...)."
)
"""The way that is open for every other encoder."""

FAMILIES = (
    Family(r"lora_[AB]\b|lora_(?:embedding|magnitude)", "a LoRA adapter", "Merge it into its base model first (peft: "
           "merge_and_unload(), then save_pretrained), and load that directory."),
    Family(r"patch_embed\.\d+\.proj", "a vision transformer with groups of channels (SatMAE)", ADAPTED),
    Family(r"channel_embed", "a vision transformer with embeddings of channels", ADAPTED),
    Family(r"mask_unit|\breps?\.\d|q_pool", "a hierarchical transformer (Hiera)", ADAPTED),
    Family(r"layers\.\d+\.blocks", "a hierarchical transformer (Swin)", ADAPTED),
    Family(r"stages\.\d", "a hierarchical network (ConvNeXt, Swin)", ADAPTED),
    Family(r"relative_position_bias_table", "a Swin or BEiT, with relative positions", ADAPTED),
    Family(r"rel_pos", "a ViT with relative positions", ADAPTED),
    Family(r"\brope\b|rotary|freqs_c", "a ViT with rotary positions", ADAPTED),
    Family(r"input_adapters|output_adapters", "a multi-modal MAE (MultiMAE, 4M)", ADAPTED),
    Family(r"decoder.*cross_attn", "an autoencoder with a cross-attention decoder", ADAPTED),
    Family(r"layer1\.0\.conv1\.weight", "a ResNet", ADAPTED),
    Family(r"transformer\.resblocks", "a CLIP model of open_clip", ADAPTED),
    Family(r"embeddings\.word_embeddings|model\.embed_tokens", "a language model", "Give a vision model."),
    Family(r"downsample|features\.0", "a convolutional network", ADAPTED),
)  # fmt: skip
"""Most specific first."""


def recognised(names: Iterable[str]) -> Family | None:
    """The first family whose pattern is in a name."""
    text = "\n".join(names)  # no pattern reaches over the end of a line
    return next((family for family in FAMILIES if re.search(family.pattern, text)), None)


def other(tensors: Mapping[str, Tensor]) -> Family | None:
    """The family of tensors whose shapes give it away: patches in time."""
    for name, tensor in tensors.items():
        if name.endswith(("patch_embed.proj.weight", "projection.weight", "conv_proj.weight")) and tensor.ndim == 5:
            return Family("", "a video model: its patches extend in time (Conv3d)", ADAPTED)
    return recognised(tensors)
