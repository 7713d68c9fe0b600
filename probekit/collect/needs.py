"""What can be measured: by which recorder, on which images, and what a pass costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from probekit.collect import pictures, recorders, tokens
from probekit.collect.prepared import Source
from probekit.collect.recorders import Recorder
from probekit.data import SPLITS


class Need(NamedTuple):
    """Where a measurement comes from: its recorder (None: the images), the split, and what limits it in `Counts`."""

    recorder: type[Recorder] | None
    split: str
    limit: str


NEEDS: dict[str, Need] = {
    **{f"images:{split}": Need(None, split, split) for split in SPLITS},
    **{f"features:{split}": Need(recorders.Pooled, split, split) for split in SPLITS},
    **{f"local:{split}": Need(recorders.Local, split, split) for split in SPLITS},
    **{f"tokens:{split}": Need(tokens.Tokens, split, split) for split in SPLITS},
    "attention": Need(recorders.AttentionStatistics, "test", "images"),
    "attention_maps": Need(recorders.AttentionMaps, "test", "images"),
    "fourier": Need(recorders.Fourier, "test", "images"),
    "moments": Need(recorders.Moments, "test", "pairs"),
    "reconstruction": Need(pictures.Reconstruction, "test", "images"),
    "pictures": Need(pictures.Pictures, "test", "pictures"),
}
"""What one pass over a split can give; `images:SPLIT` needs no pass."""

EXTRA = ("pairs", "ladder", "masked", "masked_ladder", "masked_pixels", "views", "shifts", "conflict")
"""What takes passes of its own: (1 + H) forwards per pair, four views per image, the images (their four views; their
pixels) under each evaluation mask, the views of LiDAR, each shifted set, the cue-conflict set."""

LIMITS = {
    "pairs": "pairs", "ladder": "ladder", "masked": "masked", "masked_ladder": "masked", "masked_pixels": "masked",
    "views": "objects", "shifts": "shifted", "conflict": "shifted",
}  # fmt: skip
"""Which of `Counts` limits an extra pass."""

IMPLIED = {"pairs": ("moments", "features:test"), "masked": ("features:test",), "masked_ladder": ("ladder",)}
"""What an extra pass needs to have been measured before."""

GRADIENT_STEPS = 8
"""Forwards, each with a gradient, per image whose integrated gradients are taken."""


class Stage(NamedTuple):
    """One pass: its source of images, and its recorders."""

    title: str
    source: Source
    recorders: Callable[[], dict[str, Recorder]]
    countable: bool = True
    """Whether the recorders can be made before the passes before it are done."""


class Planned(NamedTuple):
    """What a pass costs: rows of images, forwards of each, how many forwards in all are not in the cache, and the bytes
    that features and tokens take there.
    """

    title: str
    images: int
    per_image: int
    missing: int
    bytes: int = 0


def reads_pooled(need: str) -> bool:
    """Whether it is, or is computed from, stored pooled features: its numbers depend on how those are rounded."""
    return need.startswith("features:") or need in ("pairs", "masked", "views", "shifts", "conflict")


def of_twin(need: str) -> bool:
    """Whether it is a need of an untrained twin."""
    return need.startswith("untrained")


def measurable(need: str) -> bool:
    """Whether `gather` measures it; otherwise the probe itself runs the forward passes."""
    return need != "gradients" and not of_twin(need)
