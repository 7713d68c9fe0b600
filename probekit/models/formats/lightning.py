"""Lightning `.ckpt` files of lightly and solo-learn: MAE's names, the encoder under `backbone.` or `backbone.vit.`, the
decoder under a prefix of its own."""

from __future__ import annotations

from probekit.models.architecture import Settled
from probekit.models.files import Found
from probekit.models.formats import Reading, _names

NAME = "lightning"
RANK = 55


def matches(found: Found) -> bool:
    at = _names.prefix_of(found.tensors)
    return at is not None and (
        at.startswith(("backbone.", "model.backbone.")) or "pytorch-lightning_version" in found.extras
    )


def read(found: Found) -> Reading:
    encoder, decoder, left_over, spell = _names.split(found.tensors, found.label)
    notes = ["layer-norm epsilon 1e-6: what lightly and solo-learn build; the file does not store it."]
    reading = Reading(
        NAME, encoder, decoder, left_over, settled=Settled(layer_norm_eps=1e-6, qkv_bias=True), notes=notes, spell=spell
    )
    if isinstance(found.extras.get("epoch"), int):
        reading.facts["epochs"] = found.extras["epoch"]
    return reading
