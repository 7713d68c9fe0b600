"""transformers' names of a ViT's parts and of ViTMAE's decoder, to canonical ones and back.

They changed between versions 4 and 5, and 5 writes a third spelling for decoders. Queries, keys and values are apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.formats import _names

EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.distillation_token": "reg_token",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
ENCODER_LAYER = re.compile(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)$")
LAYERS = re.compile(r"(?:encoder\.layer|layers|decoder_layers|decoder_encoder\.layer)\.\d")
ANCHOR = "embeddings.patch_embeddings.projection.weight"
DECODER_NAMES = re.compile(r"(?P<prefix>(?:.+\.)?)decoder_(?:embed|norm|pred|pos_embed|layers|encoder)(?:\.|$)")
DECODER_TOP = re.compile(r"decoder_(embed\..+|norm\..+|pred\..+|pos_embed)$")
QUERY = re.compile(r"(blocks\.\d+\.)q\.(weight|bias)$")
DECODER_LAYER = re.compile(r"(?:decoder_layers|decoder_encoder\.layer)\.(\d+)\.(.+)$")
MODULES = {
    "attention.attention.query": "q", "attention.attention.key": "k", "attention.attention.value": "v",
    "attention.q_proj": "q", "attention.k_proj": "k", "attention.v_proj": "v",
    "attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj",
    "layernorm_before": "norm1", "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1", "mlp.fc1": "mlp.fc1", "output.dense": "mlp.fc2", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
"""Inside a layer, both versions' names; q, k and v are then fused."""


def _layer(match: re.Match[str] | None) -> str | None:
    """blocks.N.<timm name, or q / k / v>.<weight or bias>"""
    if match is None:
        return None
    module, _, kind = match[2].rpartition(".")
    return f"blocks.{match[1]}.{MODULES[module]}.{kind}" if module in MODULES else None


def place(name: str, at: str, behind: str) -> tuple[str, str] | None:
    """(part, canonical name) of a tensor in either version; None if it is neither encoder's nor decoder's.

    Args:
        name: in the file.
        at, behind: prefixes of the encoder and of the decoder.
    """
    if behind and name.startswith(behind):
        inner = name.removeprefix(behind)
        if inner == "mask_token":
            return "decoder", inner
        if match := DECODER_TOP.match(inner):
            return "decoder", match[1]
        layer = _layer(DECODER_LAYER.match(inner))
        return None if layer is None else ("decoder", layer)
    inner = name.removeprefix(at)
    known = EMBEDDINGS.get(inner) or _layer(ENCODER_LAYER.match(inner)) if name.startswith(at) else None
    return None if known is None else ("encoder", known)


def split(
    tensors: Mapping[str, Tensor], label: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str], Callable[[], object]]:
    """(encoder, decoder, left over, ready) under canonical names, wherever in the names the two parts are.

    `ready` waits for the fused tensors, which are filled in the background while the model is built.
    """
    ends = [name.removesuffix(ANCHOR) for name in tensors if name.endswith(ANCHOR)]
    at = min(ends, key=len, default="vit.")
    found = [match["prefix"] for name in tensors if (match := DECODER_NAMES.match(name))]
    behind = min(found, key=len, default="decoder.")
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
    left_over = []
    for name, tensor in tensors.items():
        where = place(name, at, behind)
        if where is None:
            left_over.append(name)
        else:
            parts[where[0]][where[1]] = tensor
    inside = re.compile(rf"(?:{re.escape(at)}|{re.escape(behind)})(?:{LAYERS.pattern})")
    _names.refuse_other_arithmetic(left_over, "", label, inside)
    copies: list[tuple[Tensor, Tensor]] = []
    encoder, decoder = (fuse(parts[part], label, copies) for part in ("encoder", "decoder"))
    return encoder, decoder, left_over, _copied(copies)


def fuse(tensors: dict[str, Tensor], label: str, copies: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """q, k, v of every layer into `attn.qkv`; what lacks a partner keeps its name, and is then found missing.

    The fused tensors are empty; what belongs in them is added to `copies`, as (place, values).
    """
    fused = dict(tensors)
    for name in tensors:
        if match := QUERY.match(name):
            parts = [f"{match[1]}{part}.{match[2]}" for part in "qkv"]
            if all(part in tensors for part in parts):
                kinds = {(tuple(tensors[part].shape), tensors[part].dtype, tensors[part].layout) for part in parts}
                if len(kinds) > 1 or not tensors[name].ndim or tensors[name].layout != torch.strided:
                    raise CheckpointError(
                        f"{label}: queries, keys and values of block {name.split('.')[1]} contradict each other: "
                        f"their {match[2]} are {', '.join(str(tuple(tensors[part].shape)) for part in parts)} of "
                        f"{', '.join(str(tensors[part].dtype) for part in parts)}. The file mixes two models."
                    )
                values = [fused.pop(part) for part in parts]
                first = values[0]
                kind = torch.float32 if first.is_floating_point() else first.dtype
                whole = first.new_empty((3 * len(first), *first.shape[1:]), dtype=kind)
                fused[f"{match[1]}attn.qkv.{match[2]}"] = whole
                if len(first):  # nothing to copy of an empty tensor, which has no three chunks
                    copies += zip(whole.chunk(3), values, strict=True)
    return fused


def _copied(copies: list[tuple[Tensor, Tensor]]) -> Callable[[], object]:
    """Begin to copy values to their places, in a thread; returns what waits for the end."""
    if not copies:
        return lambda: None
    guard = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad

    def copy() -> None:
        with guard():
            torch._foreach_copy_([place for place, _ in copies], [values for _, values in copies])

    executor = ThreadPoolExecutor(1, thread_name_prefix="probekit-copy")
    future = executor.submit(copy)
    executor.shutdown(wait=False)
    return future.result


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
