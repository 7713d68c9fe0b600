"""timm: a bare file of `VisionTransformer` weights, read by its shapes.

Its epsilon and activation are then timm's defaults. A norm before the blocks means CLIP's family, which has torch's
epsilon; whether it also has the quick GELU of OpenAI's weights, no tensor tells.
"""

from __future__ import annotations

from probekit.models.files import Found
from probekit.models.formats import Reading, _names

NAME = "timm"
RANK = 70
READS = "a bare file of a plain ViT, any number of channels (torchgeo): encoder"
SAY = "`mean`, `std`; `num_heads` where not of a known variant"


def matches(found: Found) -> bool:
    return _names.PROJECTION in found.tensors


def read(found: Found) -> Reading:
    encoder, decoder, left_over, spell = _names.split(found.tensors, found.label)
    clip = "norm_pre.bias" in encoder
    epsilon = 1e-5 if clip else 1e-6
    reading = Reading(NAME, encoder, decoder, left_over, spell=spell)
    reading.presumed = {"layer_norm_eps": epsilon, "antialias": True}
    family = "for CLIP" if clip else "by default"
    reading.notes.append(f"layer-norm epsilon {epsilon:g}: what timm builds {family}; a bare file does not store it.")
    reading.notes.append("Activation GELU: what timm builds by default; a bare file does not store it.")
    if clip:
        reading.warnings.append(
            "A norm before the blocks: this is CLIP's family, of which OpenAI's models have quick GELU activations. "
            "GELU was taken. If that is wrong, so are all numbers: load 'timm:NAME', or the directory with timm's "
            "config.json."
        )
    return reading
