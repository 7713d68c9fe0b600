"""Ours: `MaskedAutoencoder.state_dict()`, bare or under `model`, and directories of `save(format="probekit")`.

A state dict describes itself: what shapes do not tell is JSON in its entry `_extra_state`. Without that entry the usual
rules for heads apply.
"""

from __future__ import annotations

import json
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.architecture import EncoderSpec, Settled, side
from probekit.models.card import RECORDED
from probekit.models.files import Found
from probekit.models.formats import Reading

NAME = "probekit"
RANK = 10
VERSION = 1
STATE = "_extra_state"


def _prefix(found: Found) -> str | None:
    """'' or 'module.' (a wrapper's), if the names are ours."""
    for prefix in ("", "module.", "_orig_mod."):
        ours = f"{prefix}encoder.patch_embed.proj.weight" in found.tensors
        if ours and (
            prefix + STATE in found.tensors
            or f"{prefix}decoder.embed.weight" in found.tensors
            or f"{prefix}decoder.mask_token" in found.tensors
        ):
            return prefix
    return None


def matches(found: Found) -> bool:
    return (found.config or {}).get("format") == NAME or _prefix(found) is not None


def read(found: Found) -> Reading:
    prefix, config = _prefix(found) or "", found.config or {}
    version = config.get("version", VERSION)
    if config.get("format") == NAME and not (isinstance(version, int) and version <= VERSION):
        raise CheckpointError(
            f"{found.label} is of version {version} of this format; this probekit reads up to {VERSION}. Upgrade it."
        )
    tensors = {name.removeprefix(prefix): tensor for name, tensor in found.tensors.items()}
    stored = tensors.pop(STATE, None)
    told = {} if stored is None else _told(stored, found.label)
    reading = Reading(NAME, {}, antialias=bool(told.get("antialias", False)))
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in ("encoder", "decoder"):
            (reading.encoder if part == "encoder" else reading.decoder)[rest] = tensor
        else:
            reading.left_over.append(name)
    patch = side(reading.encoder, "patch_embed.proj.weight", -1)
    size = (told["grid"][0] * patch, told["grid"][1] * patch) if told else None
    reading.settled = Settled(
        num_heads=told.get("num_heads"),
        decoder_num_heads=told.get("decoder_num_heads"),
        layer_norm_eps=told.get("layer_norm_eps", None if "encoder" in config else 1e-6),
        decoder_layer_norm_eps=told.get("decoder_layer_norm_eps"),
        image_size=size,
        global_pool=told.get("global_pool"),
        qkv_bias=told.get("qkv_bias"),
    )
    if not told:
        reading.notes.append("layer-norm epsilon 1e-6: what MaskedAutoencoder.create uses; these weights do not say.")
    if "encoder" in config:
        reading.module = _encoder(config["encoder"], found.label)
    reading.facts = {name: told[name] for name in ("normalised_targets", "mean", "std") if name in told}
    reading.facts |= {"normalisation_known": bool(told)}
    card = config.get("card") or found.extras.get("card")
    if isinstance(card, dict):
        reading.facts |= {name: card[name] for name in (*RECORDED, "patch_size", "name") if name in card}
    return reading


def _told(stored: Tensor, label: str) -> dict[str, Any]:
    """What a state dict says of itself (see `MaskedAutoencoder.description`)."""
    try:
        told = json.loads(bytes(stored.tolist()))
        rows, columns = (int(side) for side in told["grid"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{label}: its entry {STATE!r} is damaged ({error}); expected the JSON that MaskedAutoencoder.state_dict() "
            "writes. Fetch the file again, or remove the entry and give num_heads= and decoder_num_heads= to load."
        ) from error
    return told | {"grid": [rows, columns]}


def _encoder(spec: Any, label: str) -> VisionTransformer:
    """The encoder on `meta` that a configuration describes."""
    try:
        return EncoderSpec(**dict(spec) | {"image_size": tuple(spec["image_size"])}).build()
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, ArithmeticError, AssertionError) as error:
        raise CheckpointError(
            f"{label}: 'encoder' in config.json describes no encoder ({error}); expected what "
            'save(format="probekit") writes. Fetch it again.'
        ) from error
