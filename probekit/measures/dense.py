"""Scores of what is predicted for every pixel, and where pixels lie on a grid of patches.

All scores are taken on the image's own pixels, so that ViT patches of 4, 8 and 16 pixels compare. They are ratios of
sums over pixels of the whole set: functions here return the sums of each image, which can be added and resampled.

Sources: Everingham et al., "The Pascal visual object classes challenge" (2010; IoU over the whole set); Eigen et al.,
"Depth map prediction from a single image" (2014); Yang and Ramanan, "Articulated human detection" (2013; PCK).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.constants import CONFIDENCE
from probekit.measures import resample

Floats = NDArray[np.float64]


class Places(NamedTuple):
    """Pixels of an image that the model sees, and where they lie in its input.

    Attributes:
        rows, columns: numbers of the image's own rows and columns, int64.
        y, x: their centres as a share of the input's height and width, in (0, 1).
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    y: Floats
    x: Floats


def places(size: tuple[int, int], resized: tuple[int, int], corner: tuple[int, int], crop: tuple[int, int]) -> Places:
    """Which pixels of an image lie in the crop that a model sees.

    Args:
        size: (height, width) of the image.
        resized: of the image after resizing.
        corner: (top, left) of the crop in it.
        crop: (height, width) of the crop.

    Example:
        >>> places((2, 4), (4, 8), (0, 2), (4, 4)).x
        array([0.25, 0.75])
    """
    found = []
    for side, to, start, kept in zip(size, resized, corner, crop, strict=True):
        share = ((np.arange(side) + 0.5) * to / side - start) / kept
        inside = np.flatnonzero((share > 0) & (share < 1))
        found.append((inside, share[inside]))
    (rows, y), (columns, x) = found
    return Places(rows, columns, y, x)


# --- segmentation ---------------------------------------------------------------------------------------------------


def class_counts(predicted: ArrayLike, truth: ArrayLike, classes: int, ignore: int | None = None) -> NDArray[np.int64]:
    """Pixels of each class in an image: right ones, and those of the union of prediction and truth: (2, classes).

    Args:
        predicted, truth: class numbers of the same shape.
        classes: how many there are.
        ignore: number in `truth` of pixels that count for nothing.
    """
    guess, true = np.asarray(predicted).ravel(), np.asarray(truth).ravel()
    if ignore is not None:
        guess, true = guess[true != ignore], true[true != ignore]
    right = np.bincount(true[guess == true], minlength=classes)
    union = np.bincount(true, minlength=classes) + np.bincount(guess, minlength=classes) - right
    return np.stack([right, union])


def mean_iou(right: ArrayLike, union: ArrayLike) -> Floats:
    """Mean over classes of intersection over union, from sums over the whole set.

    Args:
        right, union: (..., classes), summed over images. A class that is neither predicted nor there is left out.

    Returns:
        (...), in [0, 1]; NaN where there is no class at all.

    Example:
        >>> float(mean_iou([3, 1, 0], [4, 2, 0]))
        0.625
    """
    above, below = np.asarray(right, dtype=np.float64), np.asarray(union, dtype=np.float64)
    share = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    known = (below > 0).sum(axis=-1)
    return np.asarray(np.where(known > 0, share.sum(axis=-1) / np.maximum(known, 1), np.nan))


def mean_iou_interval(
    right: ArrayLike,
    union: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    order: ArrayLike | None = None,
    seed: int = 0,
) -> Floats:
    """Bootstrap interval of `mean_iou` over images: (1, 2).

    Args:
        right, union: (classes, images), counts of each image.
        groups, order, seed: as in `resample.ratio_interval`.
    """
    columns = np.concatenate([np.asarray(right, dtype=np.float64), np.asarray(union, dtype=np.float64)])
    sums = resample.bootstrap_sums(columns, groups=groups, order=order, seed=seed)
    drawn = mean_iou(*np.split(sums, 2, axis=1))
    return resample.percentiles(drawn[:, None], CONFIDENCE)


# --- depth ----------------------------------------------------------------------------------------------------------

RATIO = 1.25
"""A depth is right to within this factor."""


def depth_sums(predicted: ArrayLike, truth: ArrayLike) -> Floats:
    """Of an image's pixels of known depth: sum of squared errors, pixels within a factor of 1.25, pixels: (3,).

    Args:
        predicted: positive.
        truth: of the same shape; NaN where unknown.
    """
    true = np.asarray(truth, dtype=np.float64)
    known = np.isfinite(true)
    true, guess = true[known], np.asarray(predicted, dtype=np.float64)[known]
    within = np.maximum(guess / true, true / guess) < RATIO
    return np.array([np.square(guess - true).sum(), within.sum(), known.sum()], dtype=np.float64)


# --- correspondence -------------------------------------------------------------------------------------------------


def correct_matches(
    predicted: ArrayLike, truth: ArrayLike, size: tuple[int, int], thresholds: ArrayLike
) -> NDArray[np.int64]:
    """How many points are matched to within a share of the image's longer side: (thresholds,).

    Args:
        predicted, truth: (points, 2), row and column in pixels.
        size: (height, width) of the image.
        thresholds: shares; a point at exactly the distance counts as correct.
    """
    gap = np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    distance = np.hypot(gap[:, 0], gap[:, 1])
    reach = np.asarray(thresholds, dtype=np.float64) * max(size)
    found: NDArray[np.int64] = (distance[:, None] <= reach).sum(axis=0)
    return found
