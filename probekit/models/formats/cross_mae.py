"""CrossMAE: MAE's encoder without a final norm; its decoder attends across and is not built here."""

from __future__ import annotations

from dataclasses import replace

from probekit.models.files import Found
from probekit.models.formats import Reading, mae

NAME = "CrossMAE"
RANK = 48
READS = "encoder"
SAY = "nothing; reconstruction is not available, since its decoder attends across"


def _crosses(name: str) -> bool:
    return "decoder_blocks." in name and ".cross_attn." in name


def matches(found: Found) -> bool:
    return mae.PROJECTION in found.tensors and any(map(_crosses, found.tensors))


def read(found: Found) -> Reading:
    outside = ("decoder_", "mask_token", "dec_norms.", "wfm.")
    encoder = {name: tensor for name, tensor in found.tensors.items() if not name.startswith(outside)}
    reading = mae.read(replace(found, tensors=encoder))
    reading.format = NAME
    reading.presumed["final_norm"] = any(name.startswith("norm.") for name in encoder)
    reading.left_over += [name for name in found.tensors if name.startswith(outside)]
    reading.warnings.append(
        "Its decoder attends from hidden patches to features of several layers, which is not built here: the encoder "
        "alone is read, and reconstruction is not available."
    )
    return reading
