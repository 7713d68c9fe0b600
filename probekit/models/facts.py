"""Facts of a checkpoint as coordinates of a results dataset, named alike in all results."""

from __future__ import annotations

import math
from typing import Any

from probekit import schema
from probekit.models.card import Card
from probekit.models.contract import TokenModel


def coordinates(card: Card, model: TokenModel, image_height: int) -> dict[str, Any]:
    """Coordinates along a `checkpoint` of one, as `xarray.Dataset.assign_coords` takes them.

    Args:
        card, model: of the checkpoint.
        image_height: of the images that the model sees, in pixels.

    Returns:
        Name -> (dim, [value], attributes). An unknown number, or a range (low, high), is NaN; an unknown text is empty.

    Example:
        >>> checkpoint = load("shipped:untrained-s0")  # doctest: +SKIP
        >>> coordinates(checkpoint.card, checkpoint.model, 32)["depth"][1]  # doctest: +SKIP
        [4.0]
    """
    numbers: dict[str, Any] = {
        "mask_ratio": card.mask_ratio,
        "patch_size": card.patch_size,
        "vit_patch_size": card.vit_patch_size,
        "seed": card.seed,
        "epochs": card.epochs,
        "images_seen": card.images_seen,
        "normalised_targets": getattr(model, "normalised_targets", None) if model.has_decoder else None,
        "image_height": image_height,
        "depth": model.depth,
        "width": model.width,
    }
    values: dict[str, Any] = {
        name: math.nan if value is None or isinstance(value, tuple) else float(value) for name, value in numbers.items()
    }
    values |= {"sha256": card.sha256, "trained_on": str(card.data or ""), "finetuned": str(card.finetuned or "")}
    return {name: ("checkpoint", [value], schema.COORDS[name]) for name, value in values.items()}
