"""lucidrains/vit-pytorch: ViT, and MAE around it. Heads of 64 channels each, whatever the width; no biases of q, k, v.

Its MAE leaves [CLS] out of the encoder and so do we where a decoder is there. Newer versions normalise the pixels of a
patch before they project them, and the token after.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.files import Found
from probekit.models.formats import Reading
from probekit.models.formats._pixels import channels_first
from probekit.models.inference import side

NAME = "lucidrains/vit-pytorch"
RANK = 30
READS = "ViT, and MAE with its decoder"
SAY = "heads if not 64 channels each; `mean`, `std`"
LAYER = {
    "0.norm": "norm1", "0.fn.norm": "norm1", "0.to_qkv": "attn.qkv", "0.fn.to_qkv": "attn.qkv",
    "0.fn.fn.to_qkv": "attn.qkv", "0.to_out.0": "attn.proj", "0.fn.to_out.0": "attn.proj",
    "1.net.0": "norm2", "1.net.1": "mlp.fc1", "1.net.4": "mlp.fc2",
    "1.norm": "norm2", "1.fn.net.0": "mlp.fc1", "1.fn.net.3": "mlp.fc2",
}  # fmt: skip
"""Inside a layer, in newer and older versions (where norms wrapped what they come before)."""
ATTENTION = re.compile(r"(?P<at>(?:.+\.)?)transformer\.layers\.0\.0\.(?:fn\.)*to_qkv\.weight$")


def _at(found: Found) -> str | None:
    return next((match["at"] for name in found.tensors if (match := ATTENTION.match(name))), None)


def matches(found: Found) -> bool:
    at = _at(found)
    return at is not None and f"{at}pos_embedding" in found.tensors


def read(found: Found) -> Reading:
    at, tensors = _at(found) or "", found.tensors
    base = at.removesuffix("encoder.")
    has_decoder = f"{base}to_pixels.weight" in tensors and at.endswith("encoder.")
    reading = Reading(NAME, {}, spell=lambda name: name)
    for name, tensor in tensors.items():
        inner = _layer(name.removeprefix(f"{at}transformer.")) if name.startswith(f"{at}transformer.") else None
        outer = (
            _layer(name.removeprefix(f"{base}decoder.")) if has_decoder and name.startswith(f"{base}decoder.") else None
        )
        if inner is not None:
            reading.encoder[inner] = tensor
        elif outer is not None:
            reading.decoder[outer] = tensor
        elif not name.startswith((f"{base}patch_to_emb.", f"{at}to_patch_embedding.")):
            reading.left_over.append(name)
    _embedding(reading, tensors, at, found.label, without_cls=has_decoder)
    if has_decoder:
        _decoder(reading, tensors, base)
    reading.presumed = {"layer_norm_eps": 1e-5, "qkv_bias": False, "normalised_targets": False}
    for part, name in (("encoder", "num_heads"), ("decoder", "decoder_num_heads")):
        inner_width = side(getattr(reading, part), "blocks.0.attn.proj.weight", 1)
        reading.presumed[name] = max(1, inner_width // 64) if inner_width else None
    reading.notes.append("layer-norm epsilon 1e-5: torch's default, which its code uses; the file does not store it.")
    reading.warnings.append(
        "Heads of 64 channels: what vit-pytorch builds by default. If they were wider or narrower, give num_heads= and "
        "decoder_num_heads= to load."
    )
    return reading


def _layer(name: str) -> str | None:
    if match := re.match(r"layers\.(\d+)\.(.+)\.(weight|bias)$", name):
        return f"blocks.{match[1]}.{LAYER[match[2]]}.{match[3]}" if match[2] in LAYER else None
    return name if name in ("norm.weight", "norm.bias") else None


def _embedding(reading: Reading, tensors: dict[str, Tensor], at: str, label: str, *, without_cls: bool) -> None:
    """Patch projection, norms around it, tokens and positions."""
    found = {n.removeprefix(f"{at}to_patch_embedding."): t for n, t in tensors.items() if n.startswith(f"{at}to_patch")}
    matrix = next((name for name, tensor in found.items() if name.endswith("weight") and tensor.ndim == 2), None)
    if matrix is None:
        raise CheckpointError(f"{label}: vit-pytorch names without a patch projection ({at}to_patch_embedding).")
    number = int(matrix.partition(".")[0])
    weight = found[matrix]
    channels, size = _geometry(weight.shape[1], label)
    turned = channels_first(weight, channels, 1).reshape(len(weight), channels, size, size)
    reading.encoder |= {"patch_embed.proj.weight": turned, "patch_embed.proj.bias": found[f"{number}.bias"]}
    for kind in ("weight", "bias"):
        if (before := found.get(f"{number - 1}.{kind}")) is not None:
            reading.encoder[f"patch_embed.pre.{kind}"] = channels_first(before, channels, 0)
        if (after := found.get(f"{number + 1}.{kind}")) is not None:
            reading.encoder[f"patch_embed.norm.{kind}"] = after
    table = tensors[f"{at}pos_embedding"]
    table, token = table[None] if table.ndim == 2 else table, tensors.get(f"{at}cls_token")
    reading.left_over = [n for n in reading.left_over if n not in (f"{at}pos_embedding", f"{at}cls_token")]
    has_token = token is not None and token.numel() > 0
    if has_token and without_cls:
        reading.encoder["pos_embed"] = table[:, 1:]
        reading.left_over.append(f"{at}cls_token")
    else:
        reading.encoder["pos_embed"] = table
        if token is not None and has_token:
            reading.encoder["cls_token"] = token.reshape(1, 1, -1)


def _geometry(values: int, label: str) -> tuple[int, int]:
    """(channels, side of a patch) of so many values a patch: three channels, else one, else refused."""
    for channels in (3, 1, 2, 4):
        edge = round((values / channels) ** 0.5)
        if edge and edge * edge * channels == values:
            return channels, edge
    raise CheckpointError(f"{label}: patches of {values} values, which are no square patches of 1 to 4 channels.")


def _decoder(reading: Reading, tensors: dict[str, Tensor], base: str) -> None:
    """What stands around the decoder's layers."""
    width, token = side(tensors, f"{base}decoder_pos_emb.weight", 1), tensors.get(f"{base}mask_token")
    names = {"to_pixels.": "pred.", "enc_to_dec.": "embed."}
    for theirs, ours in names.items():
        for kind in ("weight", "bias"):
            if (tensor := tensors.get(f"{base}{theirs}{kind}")) is not None:
                reading.decoder[f"{ours}{kind}"] = tensor
    if "embed.weight" not in reading.decoder:  # equal widths: nothing stands between the two
        reading.decoder |= {"embed.weight": torch.eye(width), "embed.bias": torch.zeros(width)}
    if token is not None:
        reading.decoder["mask_token"] = token.reshape(1, 1, -1)
    if width:
        table, patches = tensors[f"{base}decoder_pos_emb.weight"], reading.encoder["pos_embed"].shape[1]
        reading.decoder["pos_embed"] = table[:patches][None]  # one row too many where [CLS] was counted
    taken = ("to_pixels.", "enc_to_dec.", "mask_token", "decoder_pos_emb.")
    reading.left_over = [n for n in reading.left_over if not n.removeprefix(base).startswith(taken)]
