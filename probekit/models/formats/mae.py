"""facebookresearch/mae: `.pth` files, bare or under `model`, with or without the decoder, pretrained or fine-tuned.

Training checkpoints keep the script's arguments in `args`, which tell the mask ratio and the pixel targets. Published
files keep none: their names tell whether targets were normalised (`mae_pretrain_*` yes, `mae_visualize_*` no).
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from probekit.models.card_checks import acceptable
from probekit.models.files import Found
from probekit.models.formats import Reading, _names
from probekit.models.inference import side

PROJECTION = _names.PROJECTION
NAME = "facebookresearch/mae"
RANK = 60
READS = "`.pth` of MAE and what has its names (U-MAE, SatMAE without groups, registers): encoder, full, fine-tuned"
SAY = "`mean`, `std` unless it is a published file; heads of models of other sizes; `normalised_targets` without `args`"
CROP = 224 / 256
PUBLISHED = re.compile(r"mae_(pretrain|visualize|finetuned?)_vit_(base|large|huge)")
"""Names of the published files, which were trained with ImageNet's mean and deviation."""
DIGESTS = {
    "8cad7c": "mae_pretrain_vit_base", "b8b06e": "mae_pretrain_vit_large", "9bdbb0": "mae_pretrain_vit_huge",
    "1b25e9": "mae_finetuned_vit_base", "51f550": "mae_finetuned_vit_large", "2541f2": "mae_finetuned_vit_huge",
}  # fmt: skip
"""Published files under any name: the beginnings of their MD5, as its README and FINETUNE.md list them."""
SHAPES = ((768, 12), (1024, 24), (1280, 32))
"""Widths and depths of the published files: no other file is read for its digest."""
PRESETS = re.compile(r"mae_vit_(base|large|huge)_patch\d+(_dec512d8b)?$")
"""Models of its training script, all of which have 16 heads in the decoder."""


def matches(found: Found) -> bool:
    if _names.PROJECTION not in found.tensors:
        return False
    if _names.decoder_prefix(found.tensors) is not None or "mask_ratio" in found.args:
        return True
    return _is_fine_tuned(found) or _names.is_sin_cos(found.tensors)


def _is_fine_tuned(found: Found) -> bool:
    """`fc_norm` beside a [CLS] token, and nothing that MAE's ViTs lack: timm's averaging ViTs have no [CLS]."""
    names = found.tensors.keys()
    others = {"reg_token", "blocks.0.ls1.gamma", "blocks.0.attn.q_bias"}
    return {"fc_norm.weight", "cls_token"} <= names and not names & others


def read(found: Found) -> Reading:
    encoder, decoder, left_over, spell = _names.split(found.tensors, found.label)
    notes = ["layer-norm epsilon 1e-6: what all of MAE's presets use; the file does not store it."]
    reading = Reading(NAME, encoder, decoder, left_over, notes=notes, spell=spell)
    reading.presumed = {"layer_norm_eps": 1e-6, "qkv_bias": True, "crop_fraction": CROP, "interpolation": "bicubic"}
    name = _published(found, reading)
    if name:
        reading.presumed |= {"normalisation_known": True, "decoder_num_heads": 16}
    elif PRESETS.match(str(found.args.get("model", ""))):
        reading.presumed["decoder_num_heads"] = 16
    reading.presumed["normalised_targets"] = _targets_by_name(name or found.name)
    reading.stated = stated(found, side(found.tensors, _names.PROJECTION, -1))
    if _is_fine_tuned(found) and "norm.weight" not in found.tensors:  # U-MAE has both norms, and is pretrained
        reading.stated["finetuned"] = "yes, by its fc_norm; how and on what is not recorded"
    return reading


def _published(found: Found, reading: Reading) -> str:
    """Which published file this is, by its name or contents; empty if none."""
    if PUBLISHED.match(found.name):
        return found.name
    table, depth = reading.encoder.get("pos_embed"), sum(name.endswith(".attn.qkv.weight") for name in reading.encoder)
    if reading.decoder or found.args or len(found.paths) != 1 or table is None:
        return ""
    if (table.shape[-1], depth) not in SHAPES:
        return ""
    with found.paths[0].open("rb") as stream:
        name = DIGESTS.get(hashlib.file_digest(stream, "md5").hexdigest()[:6], "")
    if name:
        reading.notes.append(f"Published as {name}.pth, by its MD5.")
    return name


def stated(found: Found, patch: int) -> dict[str, Any]:
    """What the script's arguments record."""
    args = found.args
    known: dict[str, Any] = {}
    if all(acceptable(name, args.get(name)) and args.get(name) is not None for name in ("mean", "std")):
        known |= {"mean": args["mean"], "std": args["std"], "normalisation_known": True}
    if isinstance(args.get("norm_pix_loss"), bool):
        known["normalised_targets"] = args["norm_pix_loss"]
    if isinstance(args.get("mask_ratio"), int | float):
        known |= {"mask_ratio": float(args["mask_ratio"]), "patch_size": patch}
        known |= {"seed": args.get("seed"), "data": str(args.get("data_path") or "") or None}
        if isinstance(found.extras.get("epoch"), int):
            known["epochs"] = found.extras["epoch"] + 1
    return {name: value for name, value in known.items() if acceptable(name, value)}


def _targets_by_name(name: str) -> bool | None:
    if "mae_visualize" in name:
        return False
    return True if "mae_pretrain" in name else None
