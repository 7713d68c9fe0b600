"""Models by their timm name: built and loaded by timm itself, so that its own conversions apply."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer

from probekit.data.preprocess import FILTERS
from probekit.errors import CheckpointError, did_you_mean
from probekit.models import architecture, hub, relative
from probekit.terminal import errors_alone


def is_mae(name: str) -> bool:
    """Whether a timm name is of MAE's own weights (`vit_base_patch16_224.mae`)."""
    return name.partition(".")[2] == "mae"


def facts(config: dict[str, Any], mae_patch: int | None) -> dict[str, Any]:
    """Fields of the card from timm's pretrained configuration; MAE's weights were trained at 0.75 on normalised
    pixels."""
    known: dict[str, Any] = {"licence": config.get("license")}
    interpolation = config.get("interpolation")
    if config.get("mean") and config.get("std"):
        known |= {"mean": tuple(config["mean"]), "std": tuple(config["std"]), "normalisation_known": True}
    known |= {
        "interpolation": interpolation if interpolation in FILTERS else "bicubic",
        "crop_fraction": config.get("crop_pct") or 1.0,
    }
    if mae_patch is not None:
        known |= {"mask_ratio": 0.75, "patch_size": mae_patch, "normalised_targets": True, "data": "ImageNet-1K"}
    return known


def encoder_on_meta(name: str, arguments: dict[str, Any] | None = None) -> VisionTransformer:
    """The encoder that timm builds under a name, without weights; refused if it is not a plain ViT."""
    told = {key: value for key, value in (arguments or {}).items() if key != "num_classes"}
    try:
        with quiet():
            module = timm.create_model(name, pretrained=False, num_classes=0, device="meta", **told)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        if not told:
            raise
        raise CheckpointError(
            f"timm cannot build {name} with the arguments of its config.json, {told} ({error})."
        ) from error
    if type(module) is not VisionTransformer:
        raise CheckpointError(
            f"timm's {name} is a {type(module).__name__}; expected a VisionTransformer, the one class whose forward "
            "can leave out patches here."
        )
    return module


def is_plain(name: str) -> bool:
    """Whether timm builds its plain VisionTransformer under a name (`architecture` or `architecture.weights`)."""
    check_name(name)
    with quiet():
        return architecture.is_plain(timm.create_model(name, pretrained=False, num_classes=0, device="meta"))


def check_name(name: str) -> dict[str, Any]:
    """timm's pretrained configuration of a name.

    Raises:
        CheckpointError: no such architecture or weights; with the nearest name.
    """
    architecture, dot, _ = name.partition(".")
    if not timm.is_model(architecture):
        vits = timm.list_models(module="vision_transformer")
        raise CheckpointError(f"timm has no model {architecture!r}. {did_you_mean(architecture, vits)}")
    weights = [full for full in timm.list_pretrained(f"{architecture}*") if full.partition(".")[0] == architecture]
    if not weights:
        raise CheckpointError(
            f"timm has no pretrained weights for {architecture!r}. Give a name that has some, or a file."
        )
    if dot and name not in weights:
        raise CheckpointError(f"timm has no weights {name!r}. {did_you_mean(name, weights)}")
    config = timm.get_pretrained_cfg(name)
    return {} if config is None else dict(config.to_dict())


def load(name: str) -> tuple[Any, dict[str, Any], tuple[Path, ...]]:
    """(model with its weights, pretrained configuration, files) of a timm name, downloaded if they are not cached."""
    config = check_name(name)
    overlay: dict[str, Any] = {}
    paths: tuple[Path, ...] = ()
    if config.get("hf_hub_id") and not config.get("file"):
        path = hub.fetch_any(str(config["hf_hub_id"]), hub.WEIGHTS, what=f"timm:{name}")
        overlay, paths = {"file": str(path), "hf_hub_id": None, "url": ""}, (path,)
    elif config.get("file"):
        paths = (Path(config["file"]),)
    with quiet():
        module: Any = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
    return module, config, paths


def rotary(name: str) -> dict[str, Any]:
    """What timm's model of a name tells of an encoder with the same rotary positions.

    Returns:
        `rotary` (see `relative.recorded`), `layer_norm_eps`, and `num_heads` by `width`.

    Raises:
        CheckpointError: no such model, or one without rotary positions.
    """
    if not timm.is_model(name):
        near = [one for part in ("*rope*", "*dinov3*", "eva02*") for one in timm.list_models(part)]
        raise CheckpointError(f"rotary={name!r}: timm has no such model. {did_you_mean(name, near)}")
    with quiet():
        module: Any = timm.create_model(name, pretrained=False, num_classes=0, depth=1)
    record = relative.recorded(getattr(module, "rope", None))
    if record is None:
        raise CheckpointError(
            f"rotary={name!r}: timm's model of this name has no rotary positions. Give one that has, such as "
            "'vit_base_patch16_dinov3', or leave it out."
        )
    block = module.blocks[0]
    known = {"rotary": record, "layer_norm_eps": float(block.norm1.eps)}
    return known | {"width": int(module.embed_dim), "num_heads": int(block.attn.num_heads)}


def quiet() -> AbstractContextManager[None]:
    """timm logs what it leaves out (heads) as warnings; on a good path the user sees none."""
    return errors_alone("timm")
