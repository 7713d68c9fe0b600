"""What several probes share: walking over layers and poolings, and the wording of intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from probekit.collect import Measurements
from probekit.measures import resample

OVER_IMAGES = "bootstrap over test images (their groups where the image set has groups); the fit is held fixed"

FIXED_FIT = "It speaks of this checkpoint and this fit on new images, not of another training run."


def cells(m: Measurements) -> Iterator[tuple[int, int, int, str]]:
    """(layer position, pooling position, layer, pooling)."""
    for i, layer in enumerate(m.layers):
        for j, pooling in enumerate(m.poolings):
            yield i, j, layer, pooling


def layer_pooling(m: Measurements) -> dict[str, Any]:
    """Coordinates of (layer, pooling)."""
    return {"layer": m.layers, "pooling": list(m.poolings)}


def mean_with_interval(m: Measurements, contributions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the last axis (NaN = image not used) and its bootstrap interval."""
    counted = np.isfinite(contributions)
    total = np.where(counted, contributions, 0.0).sum(axis=-1, dtype=np.float64)
    values = total / np.maximum(counted.sum(axis=-1), 1)
    values = np.where(counted.any(axis=-1), values, np.nan)
    interval = resample.mean_interval(contributions, groups=m.groups(contributions.shape[-1]), seed=m.seed)
    return values, interval
