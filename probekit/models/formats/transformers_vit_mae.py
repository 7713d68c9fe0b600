"""transformers' ViTMAE: separate q, k, v; names changed between versions 4 and 5, and 5 writes a third spelling for
decoders.

`config.json` tells heads, epsilon (the library's default is 1e-12, MAE's presets use 1e-6), mask ratio and pixel
targets; `preprocessor_config.json` the normalisation. Its `patch_size` is the ViT's patch; the mask unit is ours,
`mask_patch_size`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.architecture import Architecture
from probekit.models.card import Card
from probekit.models.card_checks import STATED, acceptable
from probekit.models.files import Found
from probekit.models.formats import Reading, _preprocessor
from probekit.models.formats import probekit as own
from probekit.models.formats._transformers import ANCHOR, spell, split
from probekit.models.inference import depth_of
from probekit.models.mae import MaskedAutoencoder

NAME = "transformers ViTMAE"
RANK = 20
READS = "directory, hub id, `.safetensors` or `.bin`, names of versions 4 and 5, encoder and decoder"
SAY = "for a lone file: `num_heads`, `decoder_num_heads`, `layer_norm_eps`, `normalised_targets`"
DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 12,
    "decoder_num_attention_heads": 16,
    "layer_norm_eps": 1e-12,
    "norm_pix_loss": False,
}
"""What the library takes where a configuration is silent."""


TYPES = ("vit_mae", "vit", "deit")
"""Model types of a configuration that are read here; a model of another type is an adapted encoder."""


def matches(found: Found) -> bool:
    if "model_type" in (found.config or {}):
        return (found.config or {})["model_type"] not in ("vit", "deit")
    return not any("distillation_token" in name for name in found.tensors) and any(
        name.endswith(ANCHOR) for name in found.tensors
    )


def read(found: Found) -> Reading:
    config = {name: value for name, value in (found.config or {}).items() if value is not None}
    _refuse_other_models(found, config)
    _check_values(found.label, config)
    encoder, decoder, left_over, ready = split(found.tensors, found.label)
    reading = Reading(NAME, encoder, decoder, left_over, spell=spell, ready=ready)
    _check_shapes(found.label, config, reading)
    if not config:
        reading.warnings.append(
            "No config.json: the layer-norm epsilon was taken as transformers' default, 1e-12 (MAE's presets use "
            "1e-6), and heads, mask ratio and pixel targets are unknown. Load the directory, or the file beside its "
            "config.json."
        )
    reading.presumed = architecture(DEFAULTS) if config else {"layer_norm_eps": 1e-12, "qkv_bias": True}
    reading.stated = architecture(config)
    if config:
        reading.stated |= training(config)
    ratio = reading.stated.get("mask_ratio")
    if ratio is not None and not acceptable("mask_ratio", ratio):
        reading.warnings.append(f"mask_ratio is {ratio!r}, which is no ratio from 0 to 1: taken as not recorded.")
        del reading.stated["mask_ratio"]
    ours = config.get("probekit") or {}
    reading.stated |= {name: ours[name] for name in (*STATED, "antialias") if name in ours}
    return reading


def architecture(config: dict[str, Any]) -> dict[str, Any]:
    """What a configuration says of the architecture that shapes do not."""
    names = {
        "num_attention_heads": "num_heads", "decoder_num_attention_heads": "decoder_num_heads",
        "layer_norm_eps": "layer_norm_eps", "num_hidden_layers": "depth", "decoder_num_hidden_layers": "decoder_depth",
        "qkv_bias": "qkv_bias",
    }  # fmt: skip
    known = {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
    return known | ({"image_size": _size(config["image_size"])} if "image_size" in config else {})


def training(config: dict[str, Any]) -> dict[str, Any]:
    """How it was trained, as far as a configuration says."""
    patch = _size(config.get("patch_size"))
    return {
        "mask_ratio": config.get("mask_ratio"),
        "patch_size": config.get("mask_patch_size") or (patch[0] if patch else None),
        "normalised_targets": bool(config.get("norm_pix_loss", DEFAULTS["norm_pix_loss"])),
    }


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _positive(value: Any, kind: type[int | float] = int) -> bool:
    """Whether a JSON value is a number above 0 (a bool is none); `kind=float` takes integers too."""
    return isinstance(value, int | kind) and not isinstance(value, bool) and value > 0


def _is_size(value: Any) -> bool:
    return _positive(value) or (isinstance(value, list | tuple) and len(value) == 2 and all(map(_positive, value)))


COUNTS = ("num_hidden_layers", "num_attention_heads", "decoder_num_hidden_layers", "decoder_num_attention_heads")
SHAPES = {
    "hidden_size": ("encoder", "patch_embed.proj.weight", 0),
    "num_channels": ("encoder", "patch_embed.proj.weight", 1),
    "patch_size": ("encoder", "patch_embed.proj.weight", 2),
    "intermediate_size": ("encoder", "blocks.0.mlp.fc1.weight", 0),
    "decoder_hidden_size": ("decoder", "mask_token", 2),
    "decoder_intermediate_size": ("decoder", "blocks.0.mlp.fc1.weight", 0),
}
"""What a configuration says that tensors say too: (part, tensor, axis)."""


def _check_values(label: str, config: dict[str, Any]) -> None:
    """Refuse values of the wrong kind here, by name, before anything is built from them."""
    whole, sizes = (*COUNTS, *SHAPES, "mask_patch_size"), ("image_size", "patch_size")
    expected: dict[str, tuple[str, Callable[[Any], bool]]] = {
        name: ("a whole number above 0", _positive) for name in whole
    } | {name: ("a whole number above 0, or two", _is_size) for name in sizes}
    expected["layer_norm_eps"] = ("a number above 0", lambda value: _positive(value, float))
    expected["norm_pix_loss"] = ("true or false", lambda value: value in (0, 1))
    expected["probekit"] = ("an object", lambda value: isinstance(value, dict))
    for name, (kind, good) in expected.items():
        if name in config and not good(config[name]):
            raise CheckpointError(
                f"{label}: {name} in config.json is {config[name]!r}; expected {kind}. Correct it, or fetch it again."
            )


def _check_shapes(label: str, config: dict[str, Any], reading: Reading) -> None:
    """Refuse a configuration that contradicts the weights beside it."""
    wrong = []
    for name, (part, key, axis) in SHAPES.items():
        tensor = (reading.encoder if part == "encoder" else reading.decoder).get(key)
        if name not in config or tensor is None or tensor.ndim <= axis:
            continue
        stated = config[name] if isinstance(config[name], list | tuple) else [config[name]]
        if any(value != tensor.shape[axis] for value in stated):
            wrong.append(f"{name} is {config[name]}, the weights have {tensor.shape[axis]}")
    for name, tensors in (("num_hidden_layers", reading.encoder), ("decoder_num_hidden_layers", reading.decoder)):
        depth = depth_of(tensors)
        if config.get(name, depth) < depth:  # fewer in the weights: the keys that are missing will be named
            wrong.append(f"{name} is {config[name]}, the weights have {depth}")
    if wrong:
        raise CheckpointError(
            f"{label}: config.json contradicts the weights: {'; '.join(wrong)}. One of the two files is of another "
            "model: fetch both again."
        )


def _refuse_other_models(found: Found, config: dict[str, Any]) -> None:
    kind = config.get("model_type", "vit_mae")
    if kind not in TYPES:
        raise CheckpointError(
            f"{found.label} is a transformers model of type {kind!r}; expected 'vit_mae'. A ViT of another training "
            "is read as a timm model: load('timm:NAME'), or convert its weights to timm's names."
        )
    if config.get("hidden_act", "gelu") != "gelu":
        raise CheckpointError(
            f"{found.label}: hidden_act is {config['hidden_act']!r}; expected 'gelu', the only one ViTMAE was "
            "published with."
        )


# --- writing ----------------------------------------------------------------------------------------------------------


def write(
    model: MaskedAutoencoder, card: Card, dtype: torch.dtype | None
) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
    """(JSON files by name, tensors) of a directory that `from_pretrained` reads.

    Names are those of transformers 4, which 5 reads too; the other way round fails.
    """
    record = model.architecture
    own.refuse_unnamed(record)
    refuse(record)
    config = config_of(record, card, dtype)
    return {"config.json": config, "preprocessor_config.json": _preprocessor.written(card)}, tensors_of(model)


def refuse(record: Architecture) -> None:
    """Raise with the name of everything that transformers' ViTMAE cannot hold."""
    (height, width), decoder = record.image_size, record.decoder
    parts = {
        "no [CLS] token": not record.class_token,
        f"{record.registers} register tokens": record.registers,
        "fc_norm": record.fc_norm,
        "no final norm": not record.final_norm,
        "no position embeddings": not record.positions,
        "positions for patches only": record.class_token and not record.positions_cover_prefix,
        "a norm before the blocks": record.pre_norm,
        "layer scale": record.layer_scale or (decoder is not None and decoder.layer_scale),
        "query and key norms": record.qk_norm,
        f"MLPs of kind {record.mlp}": record.mlp != "mlp",
        "RMS norms": record.norm != "layer",
        f"{record.activation} activations": record.activation != "gelu",
        f"images of {height} x {width} pixels, which are not square": height != width,
        f"{record.global_pool!r} pooling": record.global_pool not in ("token", ""),
        "heads of another width than width / heads": record.head_dim or (decoder is not None and decoder.head_dim),
        "rotary or relative positions": any((one.rotary or one.relative) for one in (record, decoder) if one),
        "norms inside the attention or the MLPs": record.attention_norm or record.mlp_norm,
        "a norm in the patch embedding": record.patch_pre_norm or record.patch_norm,
        "a decoder without a final norm": decoder is not None and not decoder.final_norm,
        "a decoder that takes not all prefix tokens": decoder is not None and decoder.prefix is not None,
        "another layer-norm epsilon in the decoder than in the encoder": (
            decoder is not None and decoder.layer_norm_eps != record.layer_norm_eps
        ),
    }
    found = [name for name, there in parts.items() if there]
    if found:
        raise CheckpointError(
            f"transformers' ViTMAE cannot hold this model: it has {', '.join(found)}. Save it with "
            'format="probekit", which holds everything that probekit.load reads.'
        )


def config_of(record: Architecture, card: Card, dtype: torch.dtype | None) -> dict[str, Any]:
    """`config.json` of a ViTMAE; ours under `mask_patch_size` and `probekit`."""
    decoder = record.decoder
    config: dict[str, Any] = {
        "architectures": ["ViTMAEModel" if decoder is None else "ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "hidden_size": record.width,
        "num_hidden_layers": record.depth,
        "num_attention_heads": record.num_heads,
        "intermediate_size": record.mlp_hidden,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": record.layer_norm_eps,
        "qkv_bias": record.qkv_bias,
        "image_size": record.image_size[0],
        "patch_size": record.vit_patch_size,
        "num_channels": record.channels,
        "norm_pix_loss": bool(card.normalised_targets),
        "torch_dtype": str(dtype or torch.float32).removeprefix("torch."),
        "mask_patch_size": card.patch_size,
        "probekit": card.recorded() | {"antialias": record.antialias},
    }
    if decoder is not None:
        config |= {
            "decoder_hidden_size": decoder.width, "decoder_num_hidden_layers": decoder.depth,
            "decoder_num_attention_heads": decoder.num_heads, "decoder_intermediate_size": decoder.mlp_hidden,
        }  # fmt: skip
    if isinstance(card.mask_ratio, float | int):
        config["mask_ratio"] = card.mask_ratio
    return config


def tensors_of(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """The weights under version 4's names; q, k and v apart. An encoder alone has ViTMAEModel's names, without
    `vit.`."""
    out: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        theirs = spell(name)
        if model.decoder is None:
            theirs = theirs.removeprefix("vit.")
        if "{query,key,value}" in theirs:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                out[theirs.replace("{query,key,value}", part)] = third
        else:
            out[theirs] = tensor
    return out
