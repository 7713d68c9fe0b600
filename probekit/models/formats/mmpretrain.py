"""mmpretrain and mmselfsup: `backbone.layers.N.ln1 ...` and, with the decoder, `neck.decoder_blocks.N ...`.

The training configuration is stored as text under `meta`; the mask ratio and the pixel targets are read from it.
"""

from __future__ import annotations

import re
from typing import Any

from probekit.models.files import Found
from probekit.models.formats import Reading, _names
from probekit.models.inference import side

NAME = "mmpretrain"
RANK = 40
READS = "`.pth` of mmpretrain and mmselfsup, with or without the decoder"
SAY = "`mean`, `std` where `meta` has no configuration; decoder heads if not 32 channels each"

LAYER = [
    (r"\.(?:ln|norm)([12])\.", r".norm\1."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    (r"\.gamma([12])\.weight$", r".ls\1.gamma"),
    (r"\.gamma([12])$", r".ls\1.gamma"),
]
"""Inside a layer, from their names to timm's."""

TOP = {"ln1": "norm", "norm1": "norm", "ln2": "fc_norm", "norm2": "fc_norm", "pre_norm": "norm_pre"}
"""Norms outside the layers."""


def matches(found: Found) -> bool:
    return any(re.search(r"(^|\.)layers\.0\.(ln1|attn\.qkv)\.", name) for name in found.tensors) and any(
        name.endswith("patch_embed.projection.weight") for name in found.tensors
    )


def encoder_name(name: str) -> str | None:
    """From a name inside the backbone to timm's."""
    if name in ("cls_token", "pos_embed"):
        return name
    if match := re.match(r"patch_embed\.(projection|norm)\.(.+)$", name):
        return f"patch_embed.{'proj' if match[1] == 'projection' else 'norm'}.{match[2]}"
    if name.startswith("layers."):
        for pattern, replacement in LAYER:
            name = re.sub(pattern, replacement, name)
        return "blocks." + name.removeprefix("layers.")
    module, _, rest = name.partition(".")
    return f"{TOP[module]}.{rest}" if module in TOP and rest else None


def neck_name(name: str) -> str | None:
    """From a name inside the neck to our decoder's."""
    if name == "mask_token":
        return name
    if match := re.match(r"(?:ln1|norm1|decoder_norm)\.(.+)$", name):
        return f"norm.{match[1]}"
    for pattern, replacement in LAYER:
        name = re.sub(pattern, replacement, name)
    return _names.decoder_name(name)


def read(found: Found) -> Reading:
    reading = Reading(NAME, {}, presumed={"layer_norm_eps": 1e-6, "qkv_bias": True})
    at = next(n for n in found.tensors if n.endswith("patch_embed.projection.weight")).removesuffix(
        "patch_embed.projection.weight"
    )
    for name, tensor in found.tensors.items():
        inner = encoder_name(name.removeprefix(at)) if name.startswith(at) else None
        behind = neck_name(name.removeprefix("neck.")) if name.startswith("neck.") else None
        if inner is not None:
            reading.encoder[inner] = tensor
        elif behind is not None:
            reading.decoder[behind] = tensor
        else:
            reading.left_over.append(name)
    strange = [name for name in reading.left_over if name.startswith((f"{at}layers.", f"{at}rel_pos"))]
    _names.refuse_other_arithmetic([name.replace(f"{at}layers.", "blocks.") for name in strange], "", found.label)
    reading.notes.append("layer-norm epsilon 1e-6: what its MAE configurations use; the file does not store it.")
    reading.stated = stated(found, side(reading.encoder, _names.PROJECTION, -1))
    return reading


def stated(found: Found, patch: int) -> dict[str, Any]:
    """What the stored configuration says, where it is plain text."""
    meta = found.extras.get("meta")
    text = str(meta.get("cfg") or meta.get("config") or "") if isinstance(meta, dict) else ""
    ratio, targets = (
        re.search(r"mask_ratio\s*=\s*([\d.]+)", text),
        re.search(r"norm_pix(?:_loss)?\s*=\s*(True|False)", text),
    )
    known: dict[str, Any] = {}
    scale = {name: _numbers(text, name) for name in ("mean", "std")}
    if all(scale.values()):
        known |= scale | {"normalisation_known": True}
    if ratio:
        known |= {"mask_ratio": float(ratio[1]), "patch_size": patch}
    if targets:
        known["normalised_targets"] = targets[1] == "True"
    return known


def _numbers(text: str, name: str) -> list[float] | None:
    """Mean or deviation of pixels in [0, 1] from a configuration, which has them of pixels up to 255."""
    match = re.search(rf"\b{name}\s*=\s*[\[(]([\d.,\s]+)[\])]", text)
    numbers = [float(part) for part in match[1].split(",") if part.strip()] if match else []
    return [number / 255 for number in numbers] if numbers and max(numbers) > 1 else numbers or None
