"""What several probes share: walking over layers and poolings, and the wording of intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from probekit.collect import Measurements
from probekit.measures import resample
from probekit.measures.weakness import odd_features, tiny_classes, what_weakens

OVER_TEST = "bootstrap over test images (their groups where the image set has groups)"

OVER_IMAGES = f"{OVER_TEST}; the fit is held fixed"

OVER_OUTCOMES = f"{OVER_IMAGES}; Wilson's interval where all outcomes agree"

OVER_SHIFTED = "bootstrap over the shifted images; the fit is held fixed; Wilson's interval where all outcomes agree"


def cells(measurements: Measurements) -> Iterator[tuple[int, int, int, str]]:
    """(layer position, pooling position, layer, pooling)."""
    for i, layer in enumerate(measurements.layers):
        for j, pooling in enumerate(measurements.poolings):
            yield i, j, layer, pooling


def layer_pooling(measurements: Measurements) -> dict[str, Any]:
    """Coordinates of (layer, pooling)."""
    return {"layer": measurements.layers, "pooling": list(measurements.poolings)}


def resampled(
    measurements: Measurements,
    images: int,
    interval: Callable[..., np.ndarray],
    *columns: np.ndarray,
    groups: np.ndarray | None,
    order: np.ndarray | None,
) -> np.ndarray:
    """An interval of `resample` of columns (..., images); NaN where there is one image, or one group, to resample."""
    if images < 2 or (groups is not None and len(np.unique(groups)) < 2):
        measurements.lacking["intervals"] = (
            "there is one test image, or one group of them: nothing to resample for an interval"
        )
        return np.full((*columns[0].shape[:-1], 2), np.nan)
    return interval(*columns, groups=groups, order=order, seed=measurements.seed)


def mean_with_interval(
    measurements: Measurements, contributions: np.ndarray, *, shifted: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the last axis (NaN = image not used) and its bootstrap interval; `shifted`: not of the test split."""
    counted = np.isfinite(contributions)
    total = np.where(counted, contributions, 0.0).sum(axis=-1, dtype=np.float64)
    values = total / np.maximum(counted.sum(axis=-1), 1)
    values = np.where(counted.any(axis=-1), values, np.nan)
    images = contributions.shape[-1]
    groups, order = (None, None) if shifted else (measurements.groups(images), measurements.order(images))
    return values, resampled(measurements, images, resample.mean_interval, contributions, groups=groups, order=order)


def explained(
    measurements: Measurements, residual: np.ndarray, total: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R² = 1 - sum of residuals / sum of deviations over images (last axis), its interval, and what each image adds.

    NaN where nothing varies. What images add is linearised: its mean is R².
    """
    images = total.shape[-1]
    groups, order = measurements.groups(images), measurements.order(images)
    unexplained = resampled(measurements, images, resample.ratio_interval, residual, total, groups=groups, order=order)
    per_image = 1 - resample.ratio_influence(residual, total)
    return 1 - resample.ratio(residual, total), 1 - unexplained[..., ::-1], per_image.astype(np.float32)


def most_frequent(measurements: Measurements) -> np.ndarray:
    """Whether each test image is of the class that is the most frequent one among the train images: bool (images,)."""
    train = np.bincount(measurements.labels("train"), minlength=len(measurements.images("train").classes))
    return np.asarray(measurements.labels("test") == train.argmax())


def say_what_weakens(measurements: Measurements, values: np.ndarray, interval: np.ndarray, of: str = "") -> None:
    """Store caveats about accuracies with the numbers.

    Args:
        measurements: of the probe.
        values: accuracies, of any shape.
        interval: their intervals, (*values.shape, bound).
        of: which accuracy it is said of, e.g. "k-NN"; empty for the linear probe's.
    """
    usual = float(most_frequent(measurements).mean())
    measurements.lacking |= what_weakens(values, interval, usual, of=of)
    measurements.lacking |= tiny_classes(measurements.labels("test"), list(measurements.images("train").classes))


def say_odd_features(measurements: Measurements) -> None:
    """Says where the pooled features of the last layer never vary, or are larger than any norm gives."""
    for name in measurements.poolings:
        measurements.lacking |= odd_features(measurements.pooled("test", measurements.layers[-1], name), name)
