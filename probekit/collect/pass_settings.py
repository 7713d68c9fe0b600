"""How to run, kept apart from what is measured.

Batch size, device, workers and the cache may change how long a measurement takes but never the number, so they are in
no cache key. What does change a number (precision, seed, mask ratio, the grid of the evaluation masks) is in `facts`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from probekit.checks import whole
from probekit.data import Preprocess
from probekit.errors import ProbeError, did_you_mean

MASK_RATIO = 0.75
"""Share of the image that the evaluation masks hide, for every checkpoint, whatever it was trained with."""

PRECISIONS = ("float32", "bfloat16", "float16")

FEATURES = ("float32", "float16")
"""How pooled features can be stored."""

PICTURE_SIDE = 112
"""Longest side, in pixels, of a picture that is kept for the report."""


@dataclass(frozen=True)
class Preparation:
    """How images go in, where the caller says otherwise than the checkpoint's card; None = as the card says.

    Args:
        image_size: (height, width) in pixels.
        crop_fraction: share of the resized shorter side that the centre crop keeps.
        interpolation: of the resizing.
    """

    image_size: tuple[int, int] | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for, JSON-able."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def of(self, preprocess: Preprocess) -> Preprocess:
        """A checkpoint's own preparation with what was asked for in place of it."""
        changes = self.asked
        if "image_size" in changes:
            changes["height"], changes["width"] = changes.pop("image_size")
        return replace(preprocess, **changes)


@dataclass(frozen=True)
class PassSettings:
    """How to run the passes.

    Args:
        batch_size: images of 224 x 224 pixels per forward, and fewer where they are larger.
        precision: "float32", or "bfloat16" / "float16" for autocast.
        workers: processes that decode images; 0 = a thread.
        cache: keep measurements and probe results on disk.
        seed: of masks, partners, views and fits.
        mask_grid: (rows, columns) of the units that evaluation masks hide; None = the model's own grid.
        picture_side: longest side of kept pictures, in pixels.
        preparation: how images go in.
        layers: which layers probes fit, negative ones counted from the last; None = all.
        poolings: which poolings probes fit; None = all that the checkpoint has.
        features_dtype: how pooled features are stored, "float32" or "float16".
        memory: GiB of features that a fit may hold at a time.

    Raises:
        ProbeError: an unknown precision, or a number out of range.

    Example:
        >>> PassSettings(precision="bfloat16", layers=(-1,)).facts
        {'precision': 'bfloat16', 'seed': 0, 'layers': [-1]}
    """

    batch_size: int = 64
    precision: str = "float32"
    workers: int = 0
    cache: bool = True
    seed: int = 0
    mask_grid: tuple[int, int] | None = None
    picture_side: int = PICTURE_SIDE
    preparation: Preparation = Preparation()
    layers: tuple[int, ...] | None = None
    poolings: tuple[str, ...] | None = None
    features_dtype: str = "float32"
    memory: float = 1.0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ProbeError(f"precision={self.precision!r} is unknown. {did_you_mean(self.precision, PRECISIONS)}")
        if self.features_dtype not in FEATURES:
            raise ProbeError(
                f"features_dtype={self.features_dtype!r} is unknown. {did_you_mean(self.features_dtype, FEATURES)}"
            )
        if not (isinstance(self.memory, int | float) and 0 < self.memory < math.inf):
            raise ProbeError(f"memory={self.memory!r}: expected a number of GiB above 0, such as 1.")
        for name, least, most in (("batch_size", 1, None), ("workers", 0, None), ("seed", 0, 2**32 - 1)):
            value = whole(name, getattr(self, name), least=least, most=most, error=ProbeError)
            object.__setattr__(self, name, value)  # a NumPy number is no JSON

    @property
    def facts(self) -> dict[str, Any]:
        """What determines numbers, JSON-able."""
        chosen = {"layers": self.layers, "poolings": self.poolings}
        return {"precision": self.precision, "seed": self.seed} | {
            name: list(value) for name, value in chosen.items() if value is not None
        }


@dataclass(frozen=True)
class Counts:
    """How many images each part of a measurement uses: the first that many of its split. Images that lie class by
    class are taken in turns: one of each class, then the next of each.

    Args:
        train, val, test: features, for fits, selection and report.
        images: of the test split, for attention statistics and reconstruction metrics.
        pairs: of the test split, for the level spectrum (each with one partner per level).
        ladder: of the test split, for the level ladder (four views each).
        masked: of the test split, for the mask response (each seen under up to 18 masks, and again as four views).
        objects: of the test split, for LiDAR's views; `views` per image.
        shifted: of each shifted test set.
        gradients: of the test split, for integrated gradients.
        pictures: of the test split, kept as pictures.

    Example:
        >>> Counts(train=5000).split("train")
        5000
    """

    train: int = 2000
    val: int = 500
    test: int = 1000
    images: int = 256
    pairs: int = 500
    ladder: int = 1000
    masked: int = 128
    objects: int = 150
    views: int = 8
    shifted: int = 500
    gradients: int = 32
    pictures: int = 8

    def split(self, name: str) -> int:
        return {"train": self.train, "val": self.val, "test": self.test}[name]
