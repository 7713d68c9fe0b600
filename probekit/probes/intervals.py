"""What several probes share: walking over layers and poolings, and the wording of intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from probekit.collect import Measurements
from probekit.measures import resample

OVER_TEST = "bootstrap over test images (their groups where the image set has groups)"

OVER_IMAGES = f"{OVER_TEST}; the fit is held fixed"

OVER_OUTCOMES = f"{OVER_IMAGES}; Wilson's interval where all outcomes agree"

OVER_SHIFTED = "bootstrap over the shifted images; the fit is held fixed; Wilson's interval where all outcomes agree"

FIXED_FIT = "It speaks of this checkpoint and this fit on new images, not of another training run."


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


TINY = 5
"""A class with fewer test images than this is said to be tiny."""

HUGE = 1e6
"""Features whose largest absolute value is above this are said to be huge: a final norm gives about 1 to 100."""


def most_frequent(measurements: Measurements) -> np.ndarray:
    """Whether each test image is of the class that is the most frequent one among the train images: bool (images,)."""
    train = np.bincount(measurements.labels("train"), minlength=len(measurements.images("train").classes))
    return np.asarray(measurements.labels("test") == train.argmax())


def say_what_weakens(measurements: Measurements, values: np.ndarray, interval: np.ndarray, of: str = "") -> None:
    """Says, beside the numbers and kept with them, what makes accuracies mean less than they seem to.

    Args:
        measurements: of the probe.
        values: accuracies, of any shape.
        interval: their intervals, (*values.shape, bound).
        of: which accuracy it is said of, e.g. "k-NN"; empty for the linear probe's.
    """
    said, usual = measurements.lacking, float(most_frequent(measurements).mean())
    if np.isfinite(values).any() and not (interval[..., 0] > usual).any():
        best = float(np.nanmax(values))
        said[f"{of}, margin over the most frequent class" if of else "margin over the most frequent class"] = (
            f"the best accuracy is {best:.3f}, and no interval lies above the {usual:.3f} of always saying the most "
            "frequent class"
        )
    labels, names = measurements.labels("test"), list(measurements.images("train").classes)
    counts = np.bincount(labels, minlength=len(names))
    tiny = [name for name, count in zip(names, counts, strict=True) if 0 < count < TINY]
    if tiny:
        shown = ", ".join(tiny[:5]) + (", ..." if len(tiny) > 5 else "")
        said["tiny classes"] = (
            f"{len(tiny)} of {len(names)} classes have fewer than {TINY} test images ({shown}): their recall, and the "
            "balanced accuracy, rest on those"
        )


def say_odd_features(measurements: Measurements) -> None:
    """Says where the pooled features of the last layer never vary, or are larger than any norm gives."""
    said = measurements.lacking
    for name in measurements.poolings:
        features = measurements.pooled("test", measurements.layers[-1], name)
        if len(features) > 1 and not np.ptp(features, axis=0).any():
            said[f"constant features, {name}"] = "the last layer gives every image the same features"
        if (largest := float(np.abs(features).max())) > HUGE:
            said[f"huge features, {name}"] = (
                f"features of the last layer reach {largest:.1e}, where a final norm gives about 1 to 100: its weights "
                "may be damaged"
            )
