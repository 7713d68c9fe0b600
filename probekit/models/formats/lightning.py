"""Lightning `.ckpt` files of lightly and solo-learn: MAE's names, the encoder under `backbone.vit.` (lightly) or
`backbone.` (solo-learn), the decoder under a prefix of its own.

The two differ in what no tensor tells: solo-learn leaves its decoder's epsilon at torch's default, and gives its small
and tiny encoders 12 heads.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

from torch import Tensor

from probekit.models.files import Found
from probekit.models.formats import Reading, _names, dinov2, timm_file
from probekit.models.inference import side

NAME = "lightning"
RANK = 55
READS = "Lightning `.ckpt` of lightly and solo-learn, with or without the decoder"
SAY = "`mean`, `std`, `normalised_targets`; `num_heads` where not of a known variant"
SOLO_LEARN_HEADS = {192: 12, 384: 12}
"""Encoder width -> heads where solo-learn's MAE differs from the published ViTs (which have 3 and 6)."""


def matches(found: Found) -> bool:
    at = _names.prefix_of(found.tensors)
    return at is not None and (
        at.startswith(("backbone.", "model.backbone.")) or "pytorch-lightning_version" in found.extras
    )


def _is_solo_learn(found: Found, decoder: dict[str, Tensor]) -> bool:
    """solo-learn's MAE has the encoder right under `backbone.`, and like all its methods a linear `classifier`."""
    marks = (f"backbone.{_names.PROJECTION}", "classifier.weight", "classifier.bias")
    return bool(decoder) and all(mark in found.tensors for mark in marks)


def _family(found: Found) -> tuple[ModuleType, Found] | None:
    """The format of an encoder whose code builds it otherwise, and the file with names as that format has them."""
    at = _names.prefix_of(found.tensors) or ""
    tensors = {name.removeprefix(at): tensor for name, tensor in found.tensors.items() if name.startswith(at)}
    inner = replace(found, tensors=tensors)
    if dinov2.matches(inner):
        return dinov2, inner
    return (timm_file, inner) if "norm_pre.bias" in tensors else None


def read(found: Found) -> Reading:
    if _names.decoder_prefix(found.tensors) is None and (family := _family(found)) is not None:
        module, inner = family
        other: Reading = module.read(inner)
        at = _names.prefix_of(found.tensors) or ""
        other.left_over += [name for name in found.tensors if not name.startswith(at)]
        other.format = f"{NAME} ({module.NAME})"
        return other
    encoder, decoder, left_over, spell = _names.split(found.tensors, found.label)
    reading = Reading(NAME, encoder, decoder, left_over, spell=spell)
    reading.presumed = {"layer_norm_eps": 1e-6, "qkv_bias": True}
    note = "layer-norm epsilon 1e-6: what lightly builds; the file does not store it."
    if _is_solo_learn(found, decoder):
        heads = SOLO_LEARN_HEADS.get(side(encoder, _names.PROJECTION, 0))
        reading.presumed |= {"decoder_layer_norm_eps": 1e-5, "num_heads": heads}
        note = "layer-norm epsilon 1e-6 in the encoder, 1e-5 in the decoder: what solo-learn builds; not in the file."
        if heads is not None:
            reading.warnings.append(
                f"{heads} heads in the encoder: what solo-learn's MAE builds at this width, where other projects have "
                "fewer. If it was built elsewhere, give num_heads= to load."
            )
    reading.notes.append(note)
    if isinstance(found.extras.get("epoch"), int):
        reading.stated["epochs"] = found.extras["epoch"]
    return reading
