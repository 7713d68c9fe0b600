"""IcarusWizard/MAE: `patchify`, `transformer.N`; no position for [CLS], no projection and no norm in the decoder."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from probekit.models.files import Found
from probekit.models.formats import Reading
from probekit.models.formats._pixels import channels_last
from probekit.models.inference import side

NAME = "IcarusWizard/MAE"
RANK = 25
READS = "encoder and decoder, or the classifier made from the encoder"
SAY = "`num_heads` and `decoder_num_heads` if they are not 3; `layer_norm_eps` with a recent timm (1e-6)"
TOP = {"patchify": "patch_embed.proj", "layer_norm": "norm"}
HEADS = 3
"""What its models have by default, in encoder and decoder."""


def _prefix(found: Found) -> str | None:
    ends = [n.removesuffix("patchify.weight") for n in found.tensors if re.match(r"(?:.+\.)?patchify\.weight$", n)]
    return min(ends, key=len, default=None)


def matches(found: Found) -> bool:
    at = _prefix(found)
    return at is not None and f"{at}pos_embedding" in found.tensors


def read(found: Found) -> Reading:
    at = _prefix(found) or ""
    behind = f"{at.removesuffix('encoder.')}decoder."
    encoder: dict[str, Tensor] = {}
    decoder: dict[str, Tensor] = {}
    left_over = []
    channels = side(found.tensors, f"{at}patchify.weight", 1)
    for name, tensor in found.tensors.items():
        if name.startswith(behind):
            decoder |= _decoder(name.removeprefix(behind), tensor, channels)
        elif name.startswith(at) and (inner := _encoder(name.removeprefix(at))):
            encoder[inner] = _positions(tensor, 1) if inner == "pos_embed" else tensor
        else:
            left_over.append(name)
    if decoder:
        width = side(encoder, "norm.weight", 0)
        decoder |= {"embed.weight": torch.eye(width), "embed.bias": torch.zeros(width)}
    reading = Reading(NAME, encoder, decoder, left_over, spell=lambda name: _spell(name, at, behind))
    biased = any(name.endswith("attn.qkv.bias") for name in encoder)
    reading.presumed = {"layer_norm_eps": 1e-5, "qkv_bias": biased, "num_heads": HEADS, "decoder_num_heads": HEADS}
    reading.presumed |= {"decoder_final_norm": False, "normalised_targets": False}
    reading.notes.append("layer-norm epsilon 1e-5: torch's default, which its code uses; the file does not store it.")
    reading.warnings.append(
        "3 heads in encoder and decoder: what IcarusWizard/MAE builds by default. If it was built otherwise, give "
        "num_heads= and decoder_num_heads= to load."
    )
    return reading


def _positions(tensor: Tensor, blank: int) -> Tensor:
    """(tokens, 1, width) -> (1, blank + tokens, width): [CLS] has no position."""
    if tensor.ndim != 3:
        return tensor
    table = tensor.transpose(0, 1)
    return torch.cat([table.new_zeros(1, blank, table.shape[-1]), table], dim=1)


def _encoder(name: str) -> str | None:
    if name == "cls_token":
        return name
    if name == "pos_embedding":
        return "pos_embed"
    if name.startswith("transformer."):
        return f"blocks.{name.removeprefix('transformer.')}"
    module, _, kind = name.rpartition(".")
    return f"{TOP[module]}.{kind}" if module in TOP else None


def _decoder(name: str, tensor: Tensor, channels: int) -> dict[str, Tensor]:
    """The tensor under our name; its prediction's values have channels first."""
    if name == "pos_embedding":
        return {"pos_embed": _positions(tensor, 0)}
    if name.startswith("head."):
        return {name.replace("head.", "pred."): channels_last(tensor, channels) if tensor.ndim else tensor}
    return {name.replace("transformer.", "blocks."): tensor}


def _spell(name: str, at: str, behind: str) -> str:
    part, _, rest = name.partition(".")
    rest = rest.replace("blocks.", "transformer.").replace("pos_embed", "pos_embedding").replace("pred.", "head.")
    for theirs, ours in TOP.items():
        rest = rest.replace(f"{ours}.", f"{theirs}.") if part == "encoder" and rest.startswith(f"{ours}.") else rest
    return (at if part == "encoder" else behind) + rest
