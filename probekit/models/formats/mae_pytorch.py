"""pengzhiliang/MAE-pytorch: no [CLS], positions that are a 1-D sinusoid and never stored, no key biases.

Its targets are normalised for each channel of a patch apart, of pixels that are not normalised.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.card_checks import acceptable
from probekit.models.files import Found
from probekit.models.formats import Reading, _names
from probekit.models.inference import side
from probekit.models.positions import sinusoid

NAME = "pengzhiliang/MAE-pytorch"
RANK = 23
READS = "encoder and decoder; positions are computed (a 1-D sinusoid)"
SAY = "`image_size` if it is not 224 or in `args`"
MARK = "encoder_to_decoder.weight"


def matches(found: Found) -> bool:
    return MARK in found.tensors and f"encoder.{_names.PROJECTION}" in found.tensors


def read(found: Found) -> Reading:
    encoder: dict[str, Tensor] = {}
    decoder: dict[str, Tensor] = {}
    left_over = []
    for name, tensor in found.tensors.items():
        part, _, rest = name.partition(".")
        if name == MARK:
            decoder |= {"embed.weight": tensor, "embed.bias": torch.zeros(len(tensor)) if tensor.ndim else tensor}
        elif name == "mask_token":
            decoder[name] = tensor
        elif part == "decoder" and rest:
            decoder[rest.replace("head.", "pred.")] = tensor
        elif part == "encoder" and _names.ENCODER.match(rest):
            encoder[rest] = tensor
        else:
            left_over.append(name)
    missing = _names.fuse_biases(encoder) + [f"decoder.{name}" for name in _names.fuse_biases(decoder)]
    reading = Reading(NAME, encoder, decoder, left_over, missing, spell=_spell)
    reading.notes = [
        "layer-norm epsilon 1e-6: what its presets use; the file does not store it.",
        "Keys have no bias in this code: it is zero.",
    ]
    reading.stated = _stated(found)
    edge = found.args.get("input_size") or 224
    reading.presumed = {
        "layer_norm_eps": 1e-6, "qkv_bias": True, "interpolation": "bicubic", "normalised_targets": True,
        "decoder_num_heads": max(1, side(decoder, "mask_token", -1) // 64), "positions": (int(edge), int(edge)),
    }  # fmt: skip
    reading.compute = compute
    reading.warnings.append(
        "Its targets are normalised for each channel of a patch apart; reconstructions are scaled with one mean and "
        "deviation a patch, so their colours are approximate."
    )
    if "input_size" not in found.args:
        reading.warnings.append(
            "The image size is not recorded: 224 x 224 pixels were assumed for the computed positions. If it was "
            "another, all numbers are wrong: give image_size= to load."
        )
    return reading


def compute(reading: Reading, image_size: tuple[int, int], label: str) -> None:
    """Fill in the positions for images of this size."""
    patch = side(reading.encoder, _names.PROJECTION, -1)
    if not patch or image_size[0] % patch or image_size[1] % patch:
        raise CheckpointError(f"{label}: image_size {image_size} does not divide into patches of {patch} pixels.")
    patches = (image_size[0] // patch) * (image_size[1] // patch)
    widths = side(reading.encoder, _names.PROJECTION, 0), side(reading.decoder, "mask_token", -1)
    reading.encoder["pos_embed"] = sinusoid(patches, widths[0])
    reading.decoder["pos_embed"] = sinusoid(patches, widths[1])


def _stated(found: Found) -> dict[str, object]:
    args = found.args
    known: dict[str, object] = {"mask_ratio": args.get("mask_ratio"), "seed": args.get("seed")}
    if isinstance(args.get("normlize_target"), bool):
        known["normalised_targets"] = args["normlize_target"]
    return {name: value for name, value in known.items() if value is not None and acceptable(name, value)}


def _spell(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "decoder":
        special = {"embed.weight": MARK, "mask_token": "mask_token"}
        return special.get(rest, name.replace("pred.", "head."))
    return name
