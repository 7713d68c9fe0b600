"""transformers' ViT and DeiT (`ViTModel`, `ViTForImageClassification`, ...): ViTMAE's encoder without the masking.

DeiT's distillation token is a second prefix token with a position of its own.
"""

from __future__ import annotations

from probekit.models.files import Found
from probekit.models.formats import Reading
from probekit.models.formats import transformers_vit_mae as vit_mae

NAME = "transformers ViT"
RANK = 21
READS = "encoder, from a directory or hub id"
SAY = "nothing beside its `config.json`"
TYPES = ("vit", "deit")
"""Model types of a configuration that are read here."""


def matches(found: Found) -> bool:
    config = found.config or {}
    return config.get("model_type") in TYPES or (
        not config and any("embeddings.distillation_token" in n for n in found.tensors)
    )


def read(found: Found) -> Reading:
    reading = vit_mae.read(found)
    reading.format = NAME
    for name in ("mask_ratio", "patch_size", "normalised_targets"):  # of masked training, which this was not
        reading.stated.pop(name, None)
    return reading
