"""Ours: `MaskedAutoencoder.state_dict()`, bare or under `model`, and directories of `save(format="probekit")`.

A state dict describes itself: what shapes do not tell is JSON in its entry `_extra_state`. Without that entry the usual
rules for heads apply.
"""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin, get_type_hints

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.architecture import MLPS, Architecture
from probekit.models.card import Card
from probekit.models.card_checks import STATED
from probekit.models.files import Found
from probekit.models.formats import Reading
from probekit.models.inference import side
from probekit.models.mae import MaskedAutoencoder

NAME = "probekit"
RANK = 10
READS = '`state_dict()`, bare or in a training checkpoint; directories of `save(format="probekit")`; modules'
SAY = "nothing"
VERSION = 1
STATE = "_extra_state"
DESCRIBED = (
    "num_heads", "decoder_num_heads", "layer_norm_eps", "decoder_layer_norm_eps", "global_pool", "qkv_bias",
    "antialias", "normalised_targets", "mean", "std", "decoder_final_norm", "rotary",
    "decoder_rotary",
)  # fmt: skip
"""What `_extra_state` says, besides the grid (see `MaskedAutoencoder.description`)."""


# --- reading ----------------------------------------------------------------------------------------------------------


def matches(found: Found) -> bool:
    ours = "encoder.patch_embed.proj.weight" in found.tensors and not _doubled(found)
    marked = any(mark in found.tensors for mark in (STATE, "decoder.embed.weight", "decoder.mask_token"))
    return (found.config or {}).get("format") == NAME or (ours and marked)


def _doubled(found: Found) -> bool:
    """Whether the patch embedding stands once more, under `encoder.vit.`: stable-pretraining's names."""
    return "encoder.vit.patch_embed.proj.weight" in found.tensors


def read(found: Found) -> Reading:
    config = found.config or {}
    version = config.get("version", VERSION)
    if config.get("format") == NAME and not (isinstance(version, int) and version <= VERSION):
        raise CheckpointError(
            f"{found.label} is of version {version} of this format; this probekit reads up to {VERSION}. Upgrade it."
        )
    tensors = dict(found.tensors)
    stored = tensors.pop(STATE, None)
    reading = Reading(NAME, {})
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in ("encoder", "decoder"):
            (reading.encoder if part == "encoder" else reading.decoder)[rest] = tensor
        else:
            reading.left_over.append(name)
    if stored is not None:
        described = _description(stored, found.label)
        patch = side(reading.encoder, "patch_embed.proj.weight", -1)
        reading.stated = {name: described.get(name) for name in DESCRIBED}
        reading.stated["image_size"] = tuple(edge * patch for edge in described["grid"])
    else:
        reading.notes.append("layer-norm epsilon 1e-6: what MaskedAutoencoder.create uses; these weights do not say.")
        reading.presumed = {} if "encoder" in config else {"layer_norm_eps": 1e-6}
    reading.stated["normalisation_known"] = stored is not None
    if "encoder" in config:
        reading.module = _encoder(config["encoder"], found.label)
    card = config.get("card") or found.extras.get("card")
    if isinstance(card, dict):
        reading.stated |= {name: card[name] for name in STATED if name in card}
    return reading


def _description(stored: Tensor, label: str) -> dict[str, Any]:
    """What a state dict says of itself (see `MaskedAutoencoder.description`)."""
    try:
        described: dict[str, Any] = json.loads(bytes(stored.tolist()))
        rows, columns = (int(edge) for edge in described["grid"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{label}: its entry {STATE!r} is damaged ({error}); expected the JSON that MaskedAutoencoder.state_dict() "
            "writes. Fetch the file again, or remove the entry and give num_heads= and decoder_num_heads= to load."
        ) from error
    return described | {"grid": [rows, columns]}


def _encoder(record: Any, label: str) -> VisionTransformer:
    """The encoder on `meta` that a configuration describes."""
    try:
        _check_kinds(record)
        return Architecture(**dict(record) | {"image_size": tuple(record["image_size"])}).build()
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, ArithmeticError, AssertionError) as error:
        raise CheckpointError(
            f"{label}: 'encoder' in config.json describes no encoder ({error}); expected what "
            'save(format="probekit") writes. Fetch it again.'
        ) from error


def _check_kinds(record: Any) -> None:
    """TypeError for a value that is of another kind than the architecture's field, or a number below 0."""
    hints = get_type_hints(Architecture) | {"image_size": list[int]}
    for name, value in dict(record).items():
        kinds = [get_origin(kind) or kind for kind in get_args(hints.get(name)) or (hints.get(name, type(value)),)]
        kinds = [list] if name == "image_size" else [*kinds, *([int] if float in kinds else [])]
        numbers = value if isinstance(value, list) else [value]
        below = any(type(number) in (int, float) and not 0 <= number < 1e9 for number in numbers)
        if type(value) not in kinds or below or (name == "image_size" and [*map(type, value)] != [int, int]):
            raise TypeError(f"{name} is {repr(value)[:60]}")


# --- writing ----------------------------------------------------------------------------------------------------------


def write(
    model: MaskedAutoencoder, card: Card, dtype: torch.dtype | None
) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
    """(JSON files by name, tensors) of a directory in our format."""
    record = model.architecture
    refuse_unnamed(record)
    _check_rebuilds(model, record)
    config = {"format": NAME, "version": VERSION, "encoder": record.encoder_record(), "card": card.recorded()}
    return {"config.json": config}, dict(model.state_dict())


def refuse_unnamed(record: Architecture) -> None:
    """CheckpointError if a part of the encoder has no name in an architecture's record."""
    known = record.block == "Block" and record.mlp in MLPS and record.activation.islower()
    if not known:
        kind = record.block if record.block != "Block" else f"Block with {record.mlp} and {record.activation}"
        raise CheckpointError(
            f"An encoder of {kind} cannot be saved. Expected timm's Block with one of {', '.join(MLPS)}. Save its "
            "state_dict with torch.save, and load it as a module of its class."
        )


def _check_rebuilds(model: MaskedAutoencoder, record: Architecture) -> None:
    """Refuse a model that its record does not build again: other keys, or another output for the same image."""
    again, state = record.build(), model.encoder.state_dict()
    same = {name: tensor.shape for name, tensor in state.items()} == {n: t.shape for n, t in again.state_dict().items()}
    if same:
        again.load_state_dict(state, strict=True, assign=True)
        scale = {"mean": model.pixels.mean, "std": model.pixels.std}
        twin = MaskedAutoencoder(again, None, normalised_targets=None, antialias=model.antialias, **scale).eval()
        training = model.training
        with torch.inference_mode():
            shape = (1, model.channels, *model.image_size)
            image = torch.linspace(-1, 1, torch.Size(shape).numel(), device=model.device).sin().reshape(shape)
            tokens, expected = twin.encode(image), model.eval().encode(image)
            pooled = torch.equal(twin.pool(tokens, "native"), model.pool(expected, "native"))
            same = torch.equal(tokens.nan_to_num(), expected.nan_to_num()) and (pooled or bool(expected.isnan().any()))
        model.train(training)
    if not same:
        raise CheckpointError(
            "This encoder has parts that the probekit format does not describe: built again from its description, it "
            "has other keys or gives other numbers. Save its state_dict with torch.save, and load it under its timm "
            "name."
        )
