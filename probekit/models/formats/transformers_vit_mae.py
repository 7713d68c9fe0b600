"""transformers' ViTMAE: separate q, k, v; names changed between versions 4 and 5, and 5 writes a third spelling for
decoders.

`config.json` tells heads, epsilon (the library's default is 1e-12, MAE's presets use 1e-6), mask ratio and pixel
targets; `preprocessor_config.json` the normalisation. Its `patch_size` is the ViT's patch; the mask unit is ours,
`mask_patch_size`.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.architecture import Settled, depth_of
from probekit.models.card import RECORDED
from probekit.models.files import Found
from probekit.models.formats import Reading, _names

NAME = "transformers ViTMAE"
RANK = 20
DEFAULTS = {
    "num_attention_heads": 12,
    "decoder_num_attention_heads": 16,
    "layer_norm_eps": 1e-12,
    "norm_pix_loss": False,
}
"""What the library takes where a configuration is silent."""

PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
"""Pillow's filters by number, as `resample` has them."""

EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
ENCODER_LAYER = re.compile(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)$")
LAYERS = re.compile(r"(?:vit\.)?(?:encoder\.layer|layers)\.\d|decoder\.(?:decoder_layers|decoder_encoder\.layer)\.\d")
DECODER_LAYER = re.compile(r"(?:decoder_layers|decoder_encoder\.layer)\.(\d+)\.(.+)$")
MODULES = {
    "attention.attention.query": "q", "attention.attention.key": "k", "attention.attention.value": "v",
    "attention.q_proj": "q", "attention.k_proj": "k", "attention.v_proj": "v",
    "attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj",
    "layernorm_before": "norm1", "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1", "mlp.fc1": "mlp.fc1", "output.dense": "mlp.fc2", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
"""Inside a layer, both versions' names; q, k and v are then fused."""


def matches(found: Found) -> bool:
    if "model_type" in (found.config or {}):
        return True
    return any(name.endswith("embeddings.patch_embeddings.projection.weight") for name in found.tensors)


def _layer(match: re.Match[str] | None) -> str | None:
    """blocks.N.<timm name, or q / k / v>.<weight or bias>"""
    if match is None:
        return None
    module, _, kind = match[2].rpartition(".")
    return f"blocks.{match[1]}.{MODULES[module]}.{kind}" if module in MODULES else None


def canonical(name: str) -> tuple[str, str] | None:
    """(part, name) of a tensor's name in either version; None if it is neither encoder's nor decoder's."""
    if name.startswith("decoder."):
        inner = name.removeprefix("decoder.")
        if inner == "mask_token":
            return "decoder", inner
        if match := re.match(r"decoder_(embed\..+|norm\..+|pred\..+|pos_embed)$", inner):
            return "decoder", match[1]
        layer = _layer(DECODER_LAYER.match(inner))
        return None if layer is None else ("decoder", layer)
    inner = name.removeprefix("vit.")
    known = EMBEDDINGS.get(inner) or _layer(ENCODER_LAYER.match(inner))
    return None if known is None else ("encoder", known)


def fuse(tensors: dict[str, Tensor], label: str) -> dict[str, Tensor]:
    """q, k, v of every layer into `attn.qkv`; what lacks a partner keeps its name, and is then found missing."""
    fused = dict(tensors)
    for name in tensors:
        if match := re.match(r"(blocks\.\d+\.)q\.(weight|bias)$", name):
            parts = [f"{match[1]}{part}.{match[2]}" for part in "qkv"]
            if all(part in tensors for part in parts):
                kinds = {(tuple(tensors[part].shape), tensors[part].dtype, tensors[part].layout) for part in parts}
                if len(kinds) > 1 or not tensors[name].ndim or tensors[name].layout != torch.strided:
                    raise CheckpointError(
                        f"{label}: queries, keys and values of block {name.split('.')[1]} contradict each other: "
                        f"their {match[2]} are {', '.join(str(tuple(tensors[part].shape)) for part in parts)} of "
                        f"{', '.join(str(tensors[part].dtype) for part in parts)}. The file mixes two models."
                    )
                fused[f"{match[1]}attn.qkv.{match[2]}"] = torch.cat([fused.pop(part) for part in parts])
    return fused


def spell(name: str) -> str:
    """From a canonical name to version 4's, for messages."""
    part, _, rest = name.partition(".")
    if match := re.match(r"blocks\.(\d+)\.(.+)\.(\w+)$", rest):
        layers = "vit.encoder.layer" if part == "encoder" else "decoder.decoder_layers"
        theirs = {"attn.qkv": "attention.attention.{query,key,value}"} | {
            ours: name for name, ours in reversed(MODULES.items())
        }
        return f"{layers}.{match[1]}.{theirs.get(match[2], match[2])}.{match[3]}"
    if part == "encoder":
        return "vit." + next((theirs for theirs, ours in EMBEDDINGS.items() if ours == rest), rest)
    return "decoder." + (rest if rest == "mask_token" else f"decoder_{rest}")


def read(found: Found) -> Reading:
    config = {name: value for name, value in (found.config or {}).items() if value is not None}
    _refuse_other_models(found, config)
    _check_values(found.label, config)
    reading = Reading(NAME, {}, spell=spell)
    for name, tensor in found.tensors.items():
        place = canonical(name)
        if place is None:
            reading.left_over.append(name)
        else:
            (reading.encoder if place[0] == "encoder" else reading.decoder)[place[1]] = tensor
    _names.refuse_other_arithmetic(reading.left_over, "", found.label, LAYERS)
    reading.encoder, reading.decoder = fuse(reading.encoder, found.label), fuse(reading.decoder, found.label)
    _check_shapes(found.label, config, reading)
    told = DEFAULTS | config if config else {}
    reading.settled = Settled(
        num_heads=told.get("num_attention_heads"),
        decoder_num_heads=told.get("decoder_num_attention_heads"),
        layer_norm_eps=told.get("layer_norm_eps", DEFAULTS["layer_norm_eps"]),
        image_size=_size(config.get("image_size")),
        depth=config.get("num_hidden_layers"),
        decoder_depth=config.get("decoder_num_hidden_layers"),
        qkv_bias=bool(told.get("qkv_bias", True)),
    )
    if not config:
        reading.warnings.append(
            "No config.json: the layer-norm epsilon was taken as transformers' default, 1e-12 (MAE's presets use "
            "1e-6), and heads, mask ratio and pixel targets are unknown. Load the directory, or the file beside its "
            "config.json."
        )
    reading.facts = facts(found, told)
    ratio = reading.facts.get("mask_ratio")
    if ratio is not None and not (ratio == 0 or (_positive(ratio, float) and ratio < 1)):
        reading.warnings.append(f"mask_ratio is {ratio!r}, which is no ratio from 0 to 1: taken as not recorded.")
        reading.facts["mask_ratio"] = None
    reading.antialias = bool((told.get("probekit") or {}).get("antialias", False))
    return reading


def facts(found: Found, told: dict[str, Any]) -> dict[str, Any]:
    """What the configuration files record; ours win over theirs, since theirs cannot say "unknown"."""
    known: dict[str, Any] = {}
    if told:
        patch = _size(told.get("patch_size"))
        known = {"mask_ratio": told.get("mask_ratio"), "normalised_targets": bool(told["norm_pix_loss"])}
        known["patch_size"] = told.get("mask_patch_size") or (patch[0] if patch else None)
    seen = found.preprocessor or {}
    if "image_mean" in seen and "image_std" in seen:
        known |= {"mean": seen["image_mean"], "std": seen["image_std"], "normalisation_known": True}
    if isinstance(seen.get("resample"), int) and seen["resample"] in PILLOW:
        known["interpolation"] = PILLOW[seen["resample"]]
    edge, crop = (value if isinstance(value, dict) else {} for value in (seen.get("size"), seen.get("crop_size")))
    if seen.get("do_center_crop") and _positive(crop.get("height")) and _positive(edge.get("shortest_edge")):
        known["crop_fraction"] = crop["height"] / edge["shortest_edge"]
    ours = told.get("probekit") or {}
    return known | {name: ours[name] for name in (*RECORDED, "patch_size", "name") if name in ours}


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _positive(value: Any, kind: type = int) -> bool:
    """Whether a JSON value is a number above 0 (a bool is none); `kind=float` takes integers too."""
    return isinstance(value, (int, kind)) and not isinstance(value, bool) and value > 0


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
    expected = {name: ("a whole number above 0", _positive) for name in whole} | {
        name: ("a whole number above 0, or two", _is_size) for name in sizes
    }
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
        told = config[name] if isinstance(config[name], list | tuple) else [config[name]]
        if any(value != tensor.shape[axis] for value in told):
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
    if kind != "vit_mae":
        raise CheckpointError(
            f"{found.label} is a transformers model of type {kind!r}; expected 'vit_mae'. A ViT of another training "
            "is read as a timm model: load('timm:NAME'), or convert its weights to timm's names."
        )
    if config.get("hidden_act", "gelu") != "gelu":
        raise CheckpointError(
            f"{found.label}: hidden_act is {config['hidden_act']!r}; expected 'gelu', the only one ViTMAE was "
            "published with."
        )
