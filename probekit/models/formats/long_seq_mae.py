"""long_seq_mae: MAE's names; masks in units of `mask_downsampling` patches; a variant without key biases."""

from __future__ import annotations

from probekit.models.files import Found
from probekit.models.formats import Reading, _names, mae

NAME = "long_seq_mae"
RANK = 50


def matches(found: Found) -> bool:
    if _names.PROJECTION not in found.tensors:
        return False
    if "mask_downsampling" in found.args:
        return True
    return any(name.endswith(".attn.q_bias") for name in found.tensors) and not any(
        "relative_position" in n for n in found.tensors
    )


def read(found: Found) -> Reading:
    reading = mae.read(found)
    reading.format = NAME
    reading.missing += _names.fuse_biases(reading.encoder) + [
        f"decoder_{n}" for n in _names.fuse_biases(reading.decoder)
    ]
    if reading.missing:
        reading.notes.append("Keys have no bias in this variant: it is zero, which is what its code adds.")
    patch = int(found.tensors[_names.PROJECTION].shape[-1])
    reading.facts["patch_size"] = (
        int(found.args["mask_downsampling"]) * patch if "mask_downsampling" in found.args else None
    )
    return reading
