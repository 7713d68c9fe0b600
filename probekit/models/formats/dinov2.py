"""facebookresearch/dinov2: timm's names but for registers and the SwiGLU; positions cover [CLS] and never the
registers."""

from __future__ import annotations

from dataclasses import replace

from probekit.models.files import Found
from probekit.models.formats import Reading, _names, timm_file

NAME = "facebookresearch/dinov2"
RANK = 45
READS = "encoder, with registers and SwiGLU"
SAY = "`mean`, `std`"


def matches(found: Found) -> bool:
    return (
        _names.PROJECTION in found.tensors
        and _names.decoder_prefix(found.tensors) is None
        and ("register_tokens" in found.tensors or "blocks.0.mlp.w12.weight" in found.tensors)
    )


def read(found: Found) -> Reading:
    renames = {"register_tokens": "reg_token"}
    tensors = {
        renames.get(n, n.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")): t
        for n, t in found.tensors.items()
    }
    if "reg_token" in tensors:
        # [CLS] alone of the prefix has a position: added to it once and for all, the table covers patches only.
        tensors["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
        tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
    reading = timm_file.read(replace(found, tensors=tensors))
    reading.format = NAME
    reading.presumed["antialias"] = False
    return reading
