"""What a probe may ask of a checkpoint and an image set, and the reason to give where they lack it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from probekit.collect import PreparedModel, Splits
from probekit.data import SPLITS
from probekit.models import MaskedAutoencoder


def _decoder(prepared: PreparedModel, splits: Splits) -> str | None:
    if prepared.model.has_decoder:
        return None
    return "the checkpoint is an encoder alone: it has no decoder to reconstruct with"


def _hides(prepared: PreparedModel, splits: Splits) -> str | None:
    able = isinstance(prepared.model, MaskedAutoencoder)
    return None if able else "the encoder always sees the whole image: it cannot leave out patches"


def _attention(prepared: PreparedModel, splits: Splits) -> str | None:
    return prepared.model.no_attention or prepared.no_places


def _places(prepared: PreparedModel, splits: Splits) -> str | None:
    return prepared.no_places


def _common_grid(prepared: PreparedModel, splits: Splits) -> str | None:
    return prepared.no_common_grid


def _cls(prepared: PreparedModel, splits: Splits) -> str | None:
    return None if "cls" in prepared.poolings else "the checkpoint has no [CLS] token"


def _mask(prepared: PreparedModel, splits: Splits) -> str | None:
    card = prepared.checkpoint.card
    unknown = [
        name
        for name, value in (("mask ratio", card.mask_ratio), ("patch size", card.patch_size))
        if not isinstance(value, int | float)
    ]
    return f"the checkpoint's {' and '.join(unknown)} of training {_is(unknown)} unknown" if unknown else None


def _is(listed: Sequence[str]) -> str:
    return "is" if len(listed) == 1 else "are"


def _splits(prepared: PreparedModel, splits: Splits) -> str | None:
    missing = [split for split in SPLITS if not splits.has(split)]
    if not missing:
        return None
    return (
        f"the image set has no {' and no '.join(missing)} split; this probe fits, selects and reports: give all three"
    )


def _classes(prepared: PreparedModel, splits: Splits) -> str | None:
    labels = splits.any.labels
    if labels is None:
        return "the images have no class labels"
    if isinstance(splits.source, Mapping) and len({splits[split].classes for split in SPLITS if splits.has(split)}) > 1:
        return "its splits name different classes; all must list the same ones in the same order"
    if len(np.unique(labels)) < 2:
        only = splits.any.classes[int(labels[0])]
        return f"the image set has one class only ({only!r}); a classifier needs two or more"
    return None


def _unless(met: Callable[[Splits], object], reason: str) -> Callable[[PreparedModel, Splits], str | None]:
    """The requirement that something holds of the image set."""
    return lambda prepared, splits: None if met(splits) else reason


REQUIREMENTS: dict[str, Callable[[PreparedModel, Splits], str | None]] = {
    "decoder": _decoder,
    "hides": _hides,
    "attention": _attention,
    "cls": _cls,
    "places": _places,
    "common_grid": _common_grid,
    "mask": _mask,
    "splits": _splits,
    "train": _unless(lambda splits: splits.has("train"), "the image set has no train split to fit on"),
    "test": _unless(lambda splits: splits.has("test"), "the image set has no test split"),
    "classes": _classes,
    "latents": _unless(
        lambda splits: splits.any.height is not None,
        "the latents of these images are not known (they are on 'quadtree')",
    ),
    "multilabel": _unless(
        lambda splits: splits.any.target_kind == "multilabel",
        "the image set has not several labels per image (bool, images x labels)",
    ),
    "regression": _unless(
        lambda splits: splits.any.target_kind == "regression",
        "the image set has no numbers to predict (float, images x targets)",
    ),
    "object_masks": _unless(
        lambda splits: splits.any.object_masks is not None, "the image set has no object masks (it has on 'shapes')"
    ),
    "segmentation": _unless(
        lambda splits: splits.any.segmentation is not None,
        "the image set has no class for every pixel (it has on 'shapes' and segmentation:DIR)",
    ),
    "depth": _unless(
        lambda splits: splits.any.depth is not None,
        "the image set has no depth for every pixel (it has on 'stereo_motorcycle', depth:DIR)",
    ),
    "matches": _unless(
        lambda splits: hasattr(splits.any, "correspondences"),
        "no second view with known matches comes with the images (on 'stereo_motorcycle' it does)",
    ),
    "conflict": _unless(
        lambda splits: splits.conflict,
        "no version of the image set has conflicting shape and texture (one of 'shapes' has)",
    ),
    "shifts": _unless(lambda splits: splits.shifts, "the image set has no shifted versions (it has on 'shapes')"),
    "colour_baseline": _unless(
        lambda splits: splits.any.colour_baseline,
        "the colours of this image set do not nearly tell its classes (they do on 'photos')",
    ),
}
"""Name -> function that gives the reason why it is not met, or None."""
