"""MAEs whose positions are inside the attention: rotary angles, or biases by the distance of two patches.

Names are those of timm's EVA and rope ViTs, of naver's rope-vit and of BEiT, with MAE's decoder beside them. Learned
frequencies and tables of biases are in the file. Computed angles leave no tensor: then `load(rotary=NAME)` tells whose
they are, for this format as for all others with MAE's names.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from timm.layers import gen_relative_position_index  # type: ignore[attr-defined]  # public, but not in its `__all__`
from torch import Tensor

from probekit.errors import CheckpointError
from probekit.models.files import Found
from probekit.models.formats import Reading, _names, mae, timm_file
from probekit.models.inference import side

NAME = "rotary or relative positions"
RANK = 42
READS = "MAE, or an encoder alone, in the names of timm's rope ViTs and EVA, rope-vit or BEiT"
SAY = "`rotary`: timm's name of a model with the same positions, unless they are learned; `num_heads`; `mean`, `std`"

TABLE = "relative_position_bias_table"
RENAMED = (
    (re.compile(r"(.*blocks\.\d+\.)attn\.(?:rel_pos\.)?relative_position_bias_table$"), r"\1relative.table"),
    (re.compile(r"(.*?)(decoder_)?(?:shared_rel_pos|rel_pos_bias)\.relative_position_bias_table$"),
     r"\1\2relative.table"),
    (re.compile(r"(.*?)(decoder_)?(?:rope\.)?freqs$"), r"\1\2rope.freqs"),
    (re.compile(r"(.*blocks\.\d+\.)gamma_([12])$"), r"\1ls\2.gamma"),
)  # fmt: skip
"""From the names of any of these codes to ours."""

MARKS = re.compile(r"(?:.*\.)?(?:rope\.freqs|(?:decoder_)?freqs|blocks\.\d+\.(?:gamma_1|attn\.q_proj\.weight))$")
COMPUTED = re.compile(r"(?:.*\.)?(?:relative_position_index|(?:decoder_)?freqs_t_[xy]|rope\.(?:t_x|t_y))$")
"""Stored copies of what the grid determines."""


def matches(found: Found) -> bool:
    if _names.prefix_of(found.tensors) is None or any(".layers." in name for name in found.tensors):
        return False
    return any(MARKS.match(name) or name.endswith(TABLE) for name in found.tensors)


def read(found: Found) -> Reading:
    at = _names.prefix_of(found.tensors) or ""
    computed = {name: tensor for name, tensor in found.tensors.items() if COMPUTED.match(name)}
    tensors = {_named(n.removeprefix(at)): t for n, t in found.tensors.items() if n not in computed}
    inner = replace(found, tensors=tensors)
    reading: Reading = (mae if mae.matches(inner) else timm_file).read(inner)
    reading.format = NAME
    for part in (reading.encoder, reading.decoder):
        reading.missing += _fused(part) + _names.fuse_biases(part)
    if reading.missing:
        reading.notes.append("Keys have no bias in this variant: it is zero, which is what its code adds.")
    _frequencies(reading, computed)
    for name, index in computed.items():
        if name.endswith("relative_position_index"):
            _check_index(name, index, found.label)
    return reading


def _named(name: str) -> str:
    for pattern, ours in RENAMED:
        if match := pattern.match(name):
            return match.expand(ours)
    return name


def _fused(tensors: dict[str, Tensor]) -> list[str]:
    """Put separate projections of queries, keys and values together; returns the biases that were missing."""
    missing = []
    for name in [name for name in tensors if name.endswith(".attn.q_proj.weight")]:
        stem = name.removesuffix("q_proj.weight")
        parts = [tensors.pop(f"{stem}{one}_proj.weight", None) for one in "qkv"]
        biases = {one: tensors.pop(f"{stem}{one}_proj.bias", None) for one in "qkv"}
        if any(part is None for part in parts):
            continue  # the fused projection is then missing, which placing says
        weights = [part for part in parts if part is not None]
        tensors[f"{stem}qkv.weight"] = torch.cat(weights)
        if any(bias is not None for bias in biases.values()):
            missing += [f"{stem}{one}_proj.bias" for one, bias in biases.items() if bias is None]
            rows = zip(weights, biases.values(), strict=True)
            tensors[f"{stem}qkv.bias"] = torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in rows])
    return missing


def _frequencies(reading: Reading, computed: dict[str, Tensor]) -> None:
    """Rotary positions with learned frequencies: which axis comes first is only told by stored coordinates."""
    for part, prefix in ((reading.encoder, ""), (reading.decoder, "decoder_")):
        if "rope.freqs" not in part:
            continue
        if part["rope.freqs"].ndim == 4:
            reading.stated[f"{prefix}num_heads"] = side(part, "rope.freqs", 2)
        told = next((c for n, c in computed.items() if n.endswith("t_x") and ("decoder" in n) == bool(prefix)), None)
        if told is not None and told.ndim == 1 and len(told) > 1:
            axes = "xy" if float(told[1]) == 1 else "ij"
            reading.stated[f"{prefix}rotary"] = {"kind": "mixed", "grid_indexing": axes}
            continue
        reading.presumed[f"{prefix}rotary"] = {"kind": "mixed", "grid_indexing": "xy"}
        reading.warnings.append(
            f"The {'decoder' if prefix else 'encoder'} has learned rotary frequencies, and the file does not say which "
            "axis comes first: columns were taken, as in rope-vit and in timm's named models. If it was rows, all "
            "numbers are wrong: load the module itself."
        )


def _check_index(name: str, index: Tensor, label: str) -> None:
    """Refuse a stored index of distances that is in another order than BEiT's and timm's."""
    tokens = index.shape[0] if index.ndim == 2 else 0
    for covers in (1, 0):
        patches = tokens - covers
        grids = [(rows, patches // rows) for rows in range(1, min(patches, 64) + 1) if patches % rows == 0]
        for grid in grids if tokens <= 64 * 64 + 1 else ():
            corner = index[covers, covers].item() if patches > 0 else None
            if corner == 2 * grid[0] * grid[1] - grid[0] - grid[1] and torch.equal(
                index.long(), gen_relative_position_index(grid, class_token=bool(covers))
            ):
                return
    raise CheckpointError(
        f"{label}: {name} {tuple(index.shape)} numbers the distances between patches in another order than BEiT and "
        "timm do, so its biases cannot be placed. Wrap the model: probekit.Encoder.wrap(function, ...)."
    )
