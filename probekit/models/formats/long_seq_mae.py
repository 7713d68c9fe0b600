"""long_seq_mae: MAE's names; masks in units of `mask_downsampling` patches; a variant without key biases."""

from __future__ import annotations

from probekit.errors import CheckpointError
from probekit.models.files import Found
from probekit.models.formats import Reading, _names, mae
from probekit.models.inference import side

NAME = "long_seq_mae"
RANK = 50
READS = "as MAE, with its mask unit"
SAY = "as MAE"


def matches(found: Found) -> bool:
    if _names.PROJECTION not in found.tensors:
        return False
    if "mask_downsampling" in found.args or "decoder_downsample.weight" in found.tensors:
        return True
    split = any(name.endswith(".attn.q_bias") for name in found.tensors)
    return split and not any("relative_position" in name for name in found.tensors) and _plain_mlp(found)


def _plain_mlp(found: Found) -> bool:
    """EVA's ViTs have no key bias either, but gated MLPs, and rotary positions that leave no tensor."""
    hidden = side(found.tensors, "blocks.0.mlp.fc1.weight", 0)
    return hidden > 0 and hidden == side(found.tensors, "blocks.0.mlp.fc2.weight", 1)


def read(found: Found) -> Reading:
    _refuse_coarse_decoders(found)
    reading = mae.read(found)
    reading.format = NAME
    reading.missing += _names.fuse_biases(reading.encoder) + [
        f"decoder_{n}" for n in _names.fuse_biases(reading.decoder)
    ]
    if reading.missing:
        reading.notes.append("Keys have no bias in this variant: it is zero, which is what its code adds.")
    unit = found.args.get("mask_downsampling")
    patch = side(found.tensors, _names.PROJECTION, -1)
    reading.stated["patch_size"] = unit * patch if isinstance(unit, int) else None
    return reading


def _refuse_coarse_decoders(found: Found) -> None:
    """A decoder on a grid coarser than the encoder's (`decoder_downsampling` above 1) is another network."""
    extra = [name for name in found.tensors if "decoder_downsample." in name or "decoder_upsample." in name]
    if extra:
        raise CheckpointError(
            f"{found.label}: its decoder works on a coarser grid than its encoder ({', '.join(extra)}); expected one "
            "of the same grid (decoder_downsampling 1). Remove every key with 'decoder' and mask_token to use the "
            "encoder alone."
        )
