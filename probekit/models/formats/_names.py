"""The names that MAE's code and timm share, under whatever prefix: `patch_embed`, `blocks.N`, `decoder_blocks.N`,
..."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from math import isqrt

import torch
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.positions import grid_of

PROJECTION = "patch_embed.proj.weight"

ENCODER = re.compile(
    r"(cls_token|pos_embed|reg_token|register_tokens|patch_embed\..+|norm_pre\..+|blocks\.\d+\..+|norm\..+|fc_norm\..+|attn_pool\..+|rope\.freqs|relative\.table)$"
)
"""Names of a timm encoder."""

DECODER = re.compile(r"decoder_(?:(embed|norm|pred|rope|relative)\.(.+)|(pos_embed)|blocks\.(\d+\..+))$")
"""Names of MAE's decoder; `mask_token` is its too, but not its alone."""

OTHER_ARITHMETIC = re.compile(r"(dist_token|rope|freqs|.*relative_position|.*rel_pos|blocks\.|patch_embed\.)")
"""Left-over names that mean another forward than a ViT's: not to be ignored."""


def decoder_name(name: str) -> str | None:
    """From MAE's decoder name to ours; None if it is no decoder name."""
    match = DECODER.match(name)
    if match is None:
        return None
    module, rest, positions, block = match.groups()
    return positions or (f"blocks.{block}" if block else f"{module}.{rest}")


def spell_mae(name: str, encoder: str = "", decoder: str = "") -> str:
    """From a canonical name to MAE's own, under prefixes."""
    part, _, rest = name.partition(".")
    if part == "encoder":
        return encoder + rest
    return decoder + (rest if rest == "mask_token" else f"decoder_{rest}")


def prefix_of(names: Iterable[str], ending: str = PROJECTION) -> str | None:
    """The prefix of the network to read: of several, a teacher's, else one that is no moving average, else the
    shortest."""
    found = [name.removesuffix(ending) for name in names if name == ending or name.endswith(f".{ending}")]
    return min(found, key=lambda p: ("teacher" not in p, "momentum" in p or "ema" in p, len(p)), default=None)


def decoder_prefix(names: Iterable[str]) -> str | None:
    """The prefix before `decoder_embed`, `decoder_blocks`, ..., the shortest of several."""
    matches = (
        re.match(r"(?P<prefix>(?:.+\.)?)decoder_(?:embed|blocks|norm|pred|pos_embed)(?:\.|$)", name) for name in names
    )
    return min((match["prefix"] for match in matches if match), key=len, default=None)


def split(
    tensors: Mapping[str, Tensor], label: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str], Callable[[str], str]]:
    """(encoder, decoder, left over, spelling) of a state dict in MAE's names under any prefix.

    Raises:
        CheckpointError: left-over names inside the encoder that would change its arithmetic.
    """
    at, behind = prefix_of(tensors) or "", decoder_prefix(tensors)
    encoder: dict[str, Tensor] = {}
    decoder: dict[str, Tensor] = {}
    left_over = []
    for name, tensor in tensors.items():
        inner = decoder_name(name.removeprefix(behind)) if behind is not None and name.startswith(behind) else None
        if inner is not None:
            decoder[inner] = tensor
        elif name.startswith(at) and ENCODER.match(name.removeprefix(at)):
            encoder[name.removeprefix(at)] = tensor
        else:
            left_over.append(name)
    take_mask_token(tensors, decoder, left_over, (behind or "", "", at), next(iter(encoder.values()), None))
    _place_registers(encoder)
    if "norm.weight" in encoder and "fc_norm.weight" in encoder:  # U-MAE: the second one belongs to a probe
        for name in [name for name in encoder if name.startswith("fc_norm.")]:
            del encoder[name]
            left_over.append(at + name)
    refuse_other_arithmetic(left_over, at, label)
    return encoder, decoder, left_over, lambda name: spell_mae(name, at, behind or at)


def _place_registers(encoder: dict[str, Tensor]) -> None:
    """Registers that stand after [CLS] without positions: [CLS]'s own position is added to it once and for all."""
    table, token = encoder.get("pos_embed"), encoder.get("cls_token")
    registers = encoder.pop("register_tokens", encoder.get("reg_token"))
    if registers is None:
        return
    encoder["reg_token"] = registers
    if table is None or token is None or table.ndim != 3 or registers.ndim != 3:
        return
    rows, whole = table.shape[1], 1 + registers.shape[1]
    fits = [n for n in (1, 0, whole) if rows > n and (grid_of(table, rows - n) or isqrt(rows - n) ** 2 == rows - n)]
    if fits and fits[0] == 1:
        encoder["cls_token"], encoder["pos_embed"] = token + table[:, :1], table[:, 1:]


def take_mask_token(
    tensors: Mapping[str, Tensor],
    decoder: dict[str, Tensor],
    left_over: list[str],
    places: Iterable[str],
    first: Tensor | None,
) -> None:
    """Move the decoder's mask token to the decoder.

    A lone mask token as wide as the encoder's tokens (DINOv2, iBOT) is no decoder and stays left over; a lone one of
    another width is the remains of a decoder, which is then missing.
    """
    for place in places:
        name = f"{place}mask_token"
        if name not in tensors or name not in left_over:
            continue
        width, encoder_width = (0 if t is None or not t.ndim else t.shape[-1] for t in (tensors[name], first))
        if decoder or (encoder_width and width != encoder_width):
            decoder["mask_token"] = tensors[name]
            left_over.remove(name)
        return


def refuse_other_arithmetic(
    left_over: Iterable[str], prefix: str, label: str, meant: re.Pattern[str] = OTHER_ARITHMETIC
) -> None:
    """Raise if a left-over name under the encoder's prefix means another forward than a plain ViT's."""
    strange = [name for name in left_over if name.startswith(prefix) and meant.match(name.removeprefix(prefix))]
    if strange:
        raise CheckpointError(
            f"{label}: a vision transformer of another family: {', '.join(strange[:4])} ({len(strange)} such names) "
            "have no place in a plain ViT, so its numbers could not be reproduced. Expected MAE or timm "
            "VisionTransformer names."
        )


def is_sin_cos(encoder: Mapping[str, Tensor]) -> bool:
    """Whether the encoder's positions are MAE's sin-cos table: what tells an MAE file from timm's others."""
    table = encoder.get("pos_embed")
    if table is None or table.ndim != 3 or table.shape[1] < 2:
        return False
    return grid_of(table, table.shape[1] - 1) is not None


def fuse_biases(encoder: dict[str, Tensor]) -> list[str]:
    """Turn `attn.q_bias`, `attn.v_bias` (no key bias) into `attn.qkv.bias` with zeros for the keys; returns what it
    added."""
    added = []
    for name in [name for name in encoder if name.endswith(".attn.q_bias")]:
        stem = name.removesuffix("q_bias")
        if f"{stem}v_bias" in encoder:
            query, value = encoder.pop(name), encoder.pop(f"{stem}v_bias")
            encoder[f"{stem}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
            added.append(f"{stem}k_bias")
    return added
