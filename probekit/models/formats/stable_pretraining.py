"""stable-pretraining's MAE: a timm ViT under `encoder.vit.`, its patch embedding once more under `encoder.`.

The decoder takes patches alone. Its mask token has the encoder's width and goes through a projection of its own, which
is a constant: it is applied here.
"""

from __future__ import annotations

import re

from torch import Tensor

from probekit.models.files import Found
from probekit.models.formats import Reading, _names
from probekit.models.formats._pixels import channels_last
from probekit.models.inference import side

NAME = "stable-pretraining"
RANK = 22
READS = "encoder and decoder"
SAY = "`num_heads` and `decoder_num_heads` where they are not those of a known variant"
DECODER = "decoder.transformer."
RENAMED = {"context_proj.": "embed.", "final_norm.": "norm.", "output_proj.": "pred."}


def _at(found: Found) -> str | None:
    ends = [n.removesuffix(f"{DECODER}context_proj.weight") for n in found.tensors if n.endswith("context_proj.weight")]
    return ends[0] if ends and f"{ends[0]}encoder.vit.{_names.PROJECTION}" in found.tensors else None


def matches(found: Found) -> bool:
    return _at(found) is not None


def read(found: Found) -> Reading:
    at, tensors = _at(found) or "", found.tensors
    reading = Reading(NAME, {}, spell=lambda name: _spell(name, at))
    channels = side(tensors, f"{at}encoder.vit.{_names.PROJECTION}", 1)
    for name, tensor in tensors.items():
        rest = name.removeprefix(at)
        if rest.startswith("encoder.vit.") and _names.ENCODER.match(inner := rest.removeprefix("encoder.vit.")):
            reading.encoder[inner] = tensor
        elif rest.startswith(DECODER) and "query_proj" not in rest:
            inner = rest.removeprefix(DECODER).replace(".norm3.", ".norm2.")
            for theirs, ours in RENAMED.items():
                inner = re.sub(f"^{re.escape(theirs)}", ours, inner)
            reading.decoder[inner] = channels_last(tensor, channels) if inner.startswith("pred.") else tensor
        elif not rest.startswith(("encoder.patch_embed.", "decoder.")):
            reading.left_over.append(name)
    _names.refuse_other_arithmetic(reading.left_over, f"{at}encoder.vit.", found.label)
    token, weight, bias = (
        tensors.get(at + name)
        for name in ("decoder.mask_token", f"{DECODER}query_proj.weight", f"{DECODER}query_proj.bias")
    )
    if token is not None and weight is not None and bias is not None and token.shape[-1:] == weight.shape[1:]:
        reading.decoder["mask_token"] = _projected(token, weight, bias)
    reading.presumed = {"layer_norm_eps": 1e-6, "decoder_layer_norm_eps": 1e-5, "qkv_bias": True}
    reading.notes.append(
        "layer-norm epsilon 1e-6 in the encoder, 1e-5 in the decoder: what it builds; not in the file."
    )
    return reading


def _projected(token: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return token.float() @ weight.float().T + bias.float()


def _spell(name: str, at: str) -> str:
    part, _, rest = name.partition(".")
    if part == "encoder":
        return f"{at}encoder.vit.{rest}"
    if rest == "mask_token":
        return f"{at}decoder.mask_token"
    for theirs, ours in RENAMED.items():
        rest = re.sub(f"^{re.escape(ours)}", theirs, rest)
    return at + DECODER + rest.replace(".norm2.", ".norm3.")
