"""torchvision's ViT, and lightly's masked autoencoders that were built from it (those before it turned to timm).

lightly's old decoder is another torchvision encoder, with `decoder_embed` before and `prediction_head` behind it; later
ones are MAE's. The arithmetic is timm's: exact GELU, epsilon 1e-6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from probekit.models.files import Found
from probekit.models.formats import Reading, _names

NAME = "torchvision"
RANK = 35
READS = "ViTs; lightly's MAE from before it used timm"
SAY = "`num_heads` where it is not that of a known variant; `mean`, `std`"
PROJECTION = "conv_proj.weight"
ENCODER = {
    "conv_proj": "patch_embed.proj", "class_token": "cls_token", "encoder.pos_embedding": "pos_embed",
    "encoder.ln": "norm",
}  # fmt: skip
DECODER = {"decoder_embed": "embed", "pos_embedding": "pos_embed", "ln": "norm", "prediction_head": "pred"}
LAYER = {
    "ln_1": "norm1", "self_attention.in_proj_": "attn.qkv", "self_attention.out_proj": "attn.proj", "ln_2": "norm2",
    "mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2", "mlp.linear_1": "mlp.fc1", "mlp.linear_2": "mlp.fc2",
}  # fmt: skip
"""Inside a layer; the MLP's names changed between torchvision 0.12 and 0.13."""
LAYERS = re.compile(r".*layers\.encoder_layer_\d|.*conv_proj\.")
"""Left-over names that mean another forward."""


def matches(found: Found) -> bool:
    return any(name.endswith("encoder.pos_embedding") for name in found.tensors) and _at(found) is not None


def _at(found: Found) -> str | None:
    return _names.prefix_of(found.tensors, PROJECTION)


def _behind(names: Iterable[str], encoder: str) -> str | None:
    """The decoder's prefix: of any name that is not the encoder's and could be a decoder's."""
    pattern = r"((?:.+\.)?)(?:decoder_\w+|prediction_head|pos_embedding|layers\.encoder_layer_\d+|ln)(?:\.|$)"
    matches = (re.match(pattern, name) for name in names if not name.startswith(encoder))
    return min((match[1] for match in matches if match), key=len, default=None)


def canonical(name: str, top: dict[str, str], layers: str) -> str | None:
    """From a name under a prefix to ours; None if it is not in that part."""
    if match := re.match(re.escape(layers) + r"encoder_layer_(\d+)\.(.+?)\.?(weight|bias)$", name):
        return f"blocks.{match[1]}.{LAYER[match[2]]}.{match[3]}" if match[2] in LAYER else None
    if name in top:
        return top[name]
    module, _, kind = name.rpartition(".")
    return f"{top[module]}.{kind}" if module in top and kind in ("weight", "bias") else None


def spell(name: str, at: str, behind: str) -> str:
    """From a canonical name to theirs, for messages."""
    part, _, rest = name.partition(".")
    prefix, top, layers = (at, ENCODER, "encoder.layers.") if part == "encoder" else (behind, DECODER, "layers.")
    if match := re.match(r"blocks\.(\d+)\.(.+)\.(\w+)$", rest):
        theirs = next((old for old, ours in LAYER.items() if ours == match[2]), match[2])
        return f"{prefix}{layers}encoder_layer_{match[1]}.{theirs}{'' if theirs.endswith('_') else '.'}{match[3]}"
    module = next((old for old, ours in top.items() if rest == ours or rest.startswith(f"{ours}.")), rest)
    return prefix + module + (rest.removeprefix(top[module]) if module in top else "")


def read(found: Found) -> Reading:
    at = _at(found) or ""
    behind = _behind(found.tensors, f"{at}encoder.")
    encoder: dict[str, Tensor] = {}
    decoder: dict[str, Tensor] = {}
    left_over = []
    for name, tensor in found.tensors.items():
        inner = canonical(name.removeprefix(at), ENCODER, "encoder.layers.") if name.startswith(at) else None
        outer = None
        if behind is not None and name.startswith(behind):
            rest = name.removeprefix(behind)
            outer = canonical(rest, DECODER, "layers.") or _names.decoder_name(rest)
        if inner is not None:
            encoder[inner] = tensor
        elif outer is not None:
            decoder[outer] = tensor
        else:
            left_over.append(name)
    _names.take_mask_token(
        found.tensors, decoder, left_over, (behind or "", "", at), next(iter(encoder.values()), None)
    )
    _names.refuse_other_arithmetic(left_over, "", found.label, LAYERS)
    notes = ["layer-norm epsilon 1e-6: what torchvision and lightly build; the file does not store it."]
    presumed = {"layer_norm_eps": 1e-6, "qkv_bias": True}
    reading = Reading(NAME, encoder, decoder, left_over, presumed=presumed, notes=notes)
    reading.spell = lambda name: spell(name, at, behind or at)
    if isinstance(found.extras.get("epoch"), int):
        reading.stated["epochs"] = found.extras["epoch"]
    return reading
