"""What determines a fine-tuning run: all that changes the weights; MAE's recipes, and one for small images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from probekit import cache
from probekit.errors import TrainingError
from probekit.training import recipe
from probekit.training.recipe import Recipe

RANDAUGMENT = "rand-m9-mstd0.5-inc1"
"""timm's name of RandAugment with magnitude 9 and deviation 0.5."""

MAE: dict[str, Any] = {
    "batch_size": 1024, "warmup": 0.05, "min_lr": 1e-6, "weight_decay": 0.05, "drop_path": 0.1, "mixup": 0.8,
    "cutmix": 1.0, "smoothing": 0.1, "randaugment": RANDAUGMENT, "erasing": 0.25, "scale": (0.08, 1.0),
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "epochs": 40.0, "batch_size": 64, "base_lr": 2e-2, "warmup": 0.1, "min_lr": 0.0, "layer_decay": 0.75,
        "drop_path": 0.0, "mixup": 0.0, "cutmix": 0.0, "smoothing": 0.1, "randaugment": "", "erasing": 0.0,
        "scale": (0.4, 1.0),
    },
    "base": MAE | {"epochs": 100.0, "base_lr": 5e-4, "layer_decay": 0.65},
    "large": MAE | {"epochs": 50.0, "base_lr": 1e-3, "layer_decay": 0.75, "warmup": 0.1},
}  # fmt: skip
"""`base` and `large` are MAE's for ViT-B and ViT-L on ImageNet-1K (warm-up of 5 epochs); `tiny` is for small encoders
and images on two cores, its epochs and rate chosen on val. Every entry can be overridden by an argument of the same
name."""

LOOKS = 20
"""Most times that `val` is looked at."""

EVERYTHING = -1
"""`last_blocks` of full fine-tuning, as it is recorded."""


def part_trained(last_blocks: int) -> str:
    """What of an encoder is trained, in words; `last_blocks` as in `TuningSettings`.

    >>> part_trained(EVERYTHING), part_trained(4), part_trained(0)
    ('full', 'last 4 blocks', 'head only')
    """
    return {EVERYTHING: "full", 0: "head only"}.get(last_blocks, f"last {last_blocks} blocks")


@dataclass(frozen=True, kw_only=True)
class TuningSettings(Recipe):
    """Everything that fine-tuned weights depend on: what every `Recipe` has, and what is of fine-tuning alone.

    Attributes:
        epochs: passes over the train split.
        last_blocks: how many of the last blocks are trained, beside the head; 0 = the head alone, -1 = everything.
        layer_decay: factor of the learning rate from one layer to the one below it; the head has the full rate.
        min_lr: learning rate that the cosine ends at, before the factors of layers.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        mixup, cutmix: parameters of their beta distributions; 0 = off. Where both are on, half of the batches get each.
        smoothing: of labels.
        randaugment: timm's name of a policy; empty = off.
        erasing: share of images in which a rectangle is replaced by noise.
        augment: random resized crops and, with `flip`, horizontal flips.
        scale: range of a crop's area, as a share of the image's.
        flip: whether half of the images are mirrored.
        init, init_sha256, init_tensors: the checkpoint that the run begins with.
    """

    epochs: float
    layer_decay: float
    drop_path: float
    mixup: float
    cutmix: float
    smoothing: float
    randaugment: str
    erasing: float
    scale: tuple[float, float]
    min_lr: float
    last_blocks: int = EVERYTHING

    not_compared = (*Recipe.not_compared, "images")
    augment: bool = True
    flip: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    init: str = ""
    init_sha256: str = ""
    init_tensors: str = ""

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed in pairs."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def trained(self) -> str:
        """What of the encoder is trained, in words."""
        return part_trained(self.last_blocks)

    def checks(self) -> set[int]:
        """Steps after which `val` is looked at: the end of every epoch, or `LOOKS` times, evenly spaced."""
        looks = min(LOOKS, max(1, round(self.epochs)))
        return {max(1, round(self.steps * number / looks)) for number in range(1, looks + 1)}

    def words(self) -> str:
        """How and on what, in a line, for cards and coordinates; the same for all seeds and checkpoints."""
        code = cache.key(options=self.options())[:8]
        return f"{self.trained}, on {self.data} ({self.data_fingerprint}), recipe {code}"


def resolve(preset: str, overrides: dict[str, Any], **known: Any) -> TuningSettings:
    """Settings from a preset, with overrides; checked."""
    settings = recipe.resolved(TuningSettings, "finetune", PRESETS, preset, overrides, known)
    check(settings)
    return settings


def check(settings: TuningSettings) -> None:
    """Raise for numbers out of their range, NaN included.

    Raises:
        TrainingError: naming the setting and what was expected.
    """
    recipe.check(settings)
    low, high = settings.scale
    recipe.check_ranges(settings, {
        "layer_decay": ("a number above 0 and at most 1", 0 < settings.layer_decay <= 1),
        "min_lr": ("a finite number, 0 or more", 0 <= settings.min_lr < math.inf),
        "drop_path": ("a rate in [0, 1)", 0 <= settings.drop_path < 1),
        "mixup": ("a finite number, 0 or more", 0 <= settings.mixup < math.inf),
        "cutmix": ("a finite number, 0 or more", 0 <= settings.cutmix < math.inf),
        "smoothing": ("a share in [0, 1)", 0 <= settings.smoothing < 1),
        "erasing": ("a share in [0, 1]", 0 <= settings.erasing <= 1),
        "scale": ("two shares, 0 < smallest <= largest <= 1", 0 < low <= high <= 1),
    })  # fmt: skip
    part = settings.batch_size // settings.accumulate
    if settings.mixes and part % 2:
        raise TrainingError(
            f"mixup and cutmix mix images in pairs, and a micro-batch has {part}. Choose a batch_size whose "
            "micro-batches are even, or set mixup=0 and cutmix=0."
        )
