"""What determines a run of detection: every setting that the trained weights depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probekit.errors import TrainingError
from probekit.models import MaskedAutoencoder, windows
from probekit.training.recipe import Recipe, check_counts, check_ranges, resolved
from probekit.training.recipe import check as check_recipe
from probekit.training.tuning_settings import EVERYTHING, part_trained

LEVELS = 4
"""Maps of the pyramid."""

STRIDE = 4
"""Pixels of the finest map's cell, where the ViT's patch is a power of two; else the nearest stride above or below."""

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "image_size": 64, "images": 4_000, "batch_size": 8, "base_lr": 0.032, "warmup": 0.1, "layer_decay": 0.9,
        "window": 8, "global_blocks": 2, "pyramid_width": 64, "head_width": 128, "box_convolutions": 0,
        "mask_convolutions": 1, "anchor_scale": 4.0, "jitter": (0.8, 1.2), "proposals": 100, "samples": 32,
    },
    "base": {
        "image_size": 1024, "images": 11_800_000, "batch_size": 64, "base_lr": 4e-4, "weight_decay": 0.1,
        "layer_decay": 0.7, "warmup": 0.0014, "window": 14, "global_blocks": 4, "pyramid_width": 256,
        "head_width": 1024, "box_convolutions": 4, "mask_convolutions": 4, "anchor_scale": 8.0, "jitter": (0.1, 2.0),
        "proposals": 1000, "samples": 512, "drop_path": 0.1,
    },
}  # fmt: skip
"""`base` is ViTDet's recipe for a ViT-B on COCO (100 epochs), but for the schedule, which here is a cosine; `tiny` is
for models and images as small as those that ship with probekit, on two cores."""


@dataclass(frozen=True, kw_only=True)
class DetectorSettings(Recipe):
    """Everything that the trained weights depend on: what every `Recipe` has, and what is of detection alone.

    Attributes:
        init, init_sha256, init_tensors: the checkpoint, its file's sha256 and that of its tensors.
        image_size: (height, width) that images are fitted into; what is left over is padded at the right and below.
        layer_decay: factor of the rate from each block of the ViT to the one below.
        clip: longest gradient.
        drop_path: rate of the last block; from 0 in the first one it grows with depth.
        last_blocks: how many of the ViT's last blocks are trained; -1 = the whole ViT, 0 = none of it.
        window: side of attention's windows in patches; 0 = every block attends to everything.
        global_blocks: blocks that attend to everything, spread evenly, the last one among them.
        pyramid_width: channels of the pyramid's maps and of the heads' convolutions.
        head_width: of the box head's hidden layers.
        box_convolutions, mask_convolutions: of the heads; a box head without convolutions has two hidden layers.
        anchor_scale: side of a map's anchors, in its cells.
        jitter: smallest and largest factor on the images' size while training; what sticks out is cropped.
        flip: mirror half of the images.
        proposals: regions per image that reach the heads.
        samples: regions per image that the box head is trained on.

    Example:
        >>> PRESETS["tiny"]["image_size"], PRESETS["base"]["global_blocks"]
        (64, 4)
    """

    init: str
    init_sha256: str
    init_tensors: str
    image_size: tuple[int, int]
    layer_decay: float
    window: int
    global_blocks: int
    pyramid_width: int
    head_width: int
    box_convolutions: int
    mask_convolutions: int
    anchor_scale: float
    proposals: int
    samples: int
    jitter: tuple[float, float]
    flip: bool = True
    clip: float = 1.0
    drop_path: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    last_blocks: int = EVERYTHING

    @property
    def finetuned(self) -> str:
        """What of the encoder was trained, in the words that mark results."""
        return part_trained(self.last_blocks)


def strides(patch: int) -> tuple[float, ...]:
    """Pixels of a cell of each map of the pyramid, finest first.

    >>> strides(16), strides(4), strides(14)
    ((4.0, 8.0, 16.0, 32.0), (4.0, 8.0, 16.0, 32.0), (3.5, 7.0, 14.0, 28.0))
    """
    return tuple(patch * 2.0 ** (level - finest(patch)) for level in range(LEVELS))


def finest(patch: int) -> int:
    """How often the finest map doubles the ViT's own: negative where it halves it."""
    return round(math.log2(patch / STRIDE))


def resolve(preset: str, overrides: Mapping[str, Any], model: MaskedAutoencoder, **known: Any) -> DetectorSettings:
    """Checked settings.

    Args:
        preset: a name in `PRESETS`.
        overrides: any setting; None means "as the preset has it".
        model: that is fine-tuned.
        known: the fields that a preset does not give.

    Raises:
        TrainingError: an unknown name, a number out of range, or sizes that do not fit the model.
    """
    told = dict(overrides)
    if told.get("image_size") is None and preset in PRESETS:  # the preset's, on this model's own grid
        cell = int(strides(model.vit_patch_size)[-1])
        told["image_size"] = math.ceil(PRESETS[preset]["image_size"] / cell) * cell
    settings = resolved(DetectorSettings, "detect", PRESETS, preset, told, known)
    check(settings)
    check_model(settings, model)
    return settings


def check(settings: DetectorSettings) -> None:
    """Raise a TrainingError for a number out of its range, NaN included."""
    low, high = settings.jitter
    check_recipe(settings)
    counts = ("pyramid_width", "head_width", "mask_convolutions", "proposals", "samples", "global_blocks")
    check_counts(settings, counts)
    check_ranges(settings, {
        "clip": ("a number above 0", settings.clip > 0),
        "layer_decay": ("a number in (0, 1]", 0 < settings.layer_decay <= 1),
        "drop_path": ("a share in [0, 1)", 0 <= settings.drop_path < 1),
        "jitter": ("two factors, 0 < smallest <= largest", 0 < low <= high < math.inf),
        "anchor_scale": ("a number above 0", 0 < settings.anchor_scale < math.inf),
        "window": ("a number of patches, or 0 for none", settings.window >= 0),
        "last_blocks": ("a number of blocks, 0 for none, or None for all", settings.last_blocks >= EVERYTHING),
        "box_convolutions": ("0 or more", settings.box_convolutions >= 0),
    })  # fmt: skip


def check_model(settings: DetectorSettings, model: MaskedAutoencoder) -> None:
    """Raise a TrainingError where settings do not fit the model."""
    cell = int(strides(model.vit_patch_size)[-1])
    near = [max(cell, round(side / cell) * cell) for side in settings.image_size]
    if any(side % cell or side < cell for side in settings.image_size):
        raise TrainingError(
            f"image_size={settings.image_size}: with ViT patches of {model.vit_patch_size} pixels both sides are "
            f"multiples of {cell}, the coarsest cell of the pyramid. The nearest size is {tuple(near)}."
        )
    if settings.last_blocks > model.depth:
        raise TrainingError(f"last_blocks={settings.last_blocks}: the model has {model.depth} blocks.")
    if settings.window and not all(windows.suits(block) for block in model.encoder.blocks):
        raise TrainingError(
            f"Attention of {type(model.encoder.blocks[0]).__name__} blocks cannot be cut into windows. Use window=0."
        )
