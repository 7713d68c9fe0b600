"""Anything else with MAE's or timm's names under a prefix (`module.`, `model.`, `encoder.`, `teacher.`, ...), which is
stripped."""

from __future__ import annotations

from dataclasses import replace

from probekit.models.files import Found
from probekit.models.formats import Reading, _names, dinov2, long_seq_mae, mae, timm_file

NAME = "prefixed"
RANK = 90
READS = "anything else with MAE's or timm's names"
SAY = "as the format beneath"


def matches(found: Found) -> bool:
    return _names.prefix_of(found.tensors) is not None


def read(found: Found) -> Reading:
    """Strip the prefix and ask the formats that know the names beneath it."""
    at, behind = _names.prefix_of(found.tensors) or "", _names.decoder_prefix(found.tensors)
    beside = behind == "" != at  # the decoder stands outside the encoder's prefix
    stripped = {name.removeprefix(at): t for name, t in found.tensors.items() if beside or name.startswith(at)}
    inner = replace(found, tensors=stripped)
    family = next((module for module in (dinov2, long_seq_mae, mae, timm_file) if at and module.matches(inner)), None)
    if family is not None and (beside or behind in (None, at)):
        reading: Reading = family.read(inner)
        reading.left_over += [name for name in found.tensors if not (beside or name.startswith(at))]
    else:
        encoder, decoder, left_over, spell = _names.split(found.tensors, found.label)
        reading = Reading(NAME, encoder, decoder, left_over, presumed={"layer_norm_eps": 1e-6}, spell=spell)
        reading.notes.append("layer-norm epsilon 1e-6 was assumed; the file does not store it.")
    reading.format = f"{NAME} ({at}*)"
    return reading
