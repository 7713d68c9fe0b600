"""`preprocessor_config.json`: how images are brought to a model, as transformers' image processors read it.

It is read beside any weights, whatever their format.
"""

from __future__ import annotations

from typing import Any

from probekit.models.card import Card
from probekit.models.card_checks import acceptable

PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
"""Pillow's filters by number, as `resample` has them."""


def read(seen: dict[str, Any]) -> dict[str, Any]:
    """What `preprocessor_config.json` says of how images are brought to the model."""
    known: dict[str, Any] = {}
    if "image_mean" in seen and "image_std" in seen:
        known |= {"mean": seen["image_mean"], "std": seen["image_std"], "normalisation_known": True}
    if isinstance(seen.get("resample"), int) and seen["resample"] in PILLOW:
        known["interpolation"] = PILLOW[seen["resample"]]
    edge, crop = (value if isinstance(value, dict) else {} for value in (seen.get("size"), seen.get("crop_size")))
    if seen.get("do_center_crop") and _above_0(crop.get("height")) and _above_0(edge.get("shortest_edge")):
        known["crop_fraction"] = min(1.0, crop["height"] / edge["shortest_edge"])
    return {name: value for name, value in known.items() if acceptable(name, value)}


def _above_0(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def written(card: Card) -> dict[str, Any]:
    """`preprocessor_config.json` of a ViTImageProcessor; its crop is what `crop_fraction` says."""
    height, width = card.image_size
    resample = {name: number for number, name in PILLOW.items()}.get(card.interpolation)
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": resample is not None,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 3 if resample is None else resample,
        "size": {"height": height, "width": width},
        "image_mean": list(card.mean),
        "image_std": list(card.std),
    }
