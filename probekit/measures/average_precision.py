"""Average precision of detections, with an interval over images.

pycocotools says which detection matches which object; from there on a score is a function of counts. Here the images
are weighted, so that a bootstrap draw is a row of weights and nothing is matched anew. With weights of 1 the value is
pycocotools' own.

References: Lin et al., "Microsoft COCO" (ECCV 2014); pycocotools, `COCOeval.accumulate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probekit.constants import CONFIDENCE
from probekit.measures import resample

Floats = NDArray[np.float64]

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls that precision is averaged over."""

DRAWS = 500
"""Bootstrap draws."""


@dataclass(frozen=True)
class Matches:
    """The detections of one class in all images, the surest first.

    Attributes:
        image: int64 (n,), the image of each detection.
        right: bool (thresholds, n), whether it matches an object.
        counted: bool (thresholds, n), whether it counts at all: one inside a crowd does not.
        objects: int64 (images,), objects of the class in each image, crowds left out.
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    objects: NDArray[np.int64]


def average_precision(classes: Sequence[Matches], weights: Floats | None = None) -> Floats:
    """Mean over classes of the area under the precision-recall curve: (thresholds,); NaN without objects.

    Args:
        classes: the matches of each class.
        weights: of each image, (images,); None = 1 each. A class without an object among them is left out.

    Returns:
        For each threshold of the overlap; their mean is COCO's AP.
    """
    found = [one for one in (_of_class(matches, weights) for matches in classes) if one is not None]
    return np.mean(found, axis=0) if found else np.full(len(classes[0].right) if classes else 1, np.nan)


def _of_class(matches: Matches, weights: Floats | None) -> Floats | None:
    every = np.ones(len(matches.objects)) if weights is None else weights
    total = float(every @ matches.objects)
    if total == 0:
        return None
    each = every[matches.image]
    hits = np.cumsum((matches.right & matches.counted) * each, axis=1)
    misses = np.cumsum((~matches.right & matches.counted) * each, axis=1)
    precision = hits / np.maximum(hits + misses, np.spacing(1.0))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / total
    out = np.zeros(len(recall))
    for row, (reached, held) in enumerate(zip(recall, precision, strict=True)):
        at = np.searchsorted(reached, RECALLS, side="left")
        out[row] = held[at[at < len(held)]].sum() / len(RECALLS)
    return out


def influence(classes: Sequence[Matches]) -> Floats:
    """What each image adds, linearised: (thresholds, images), whose mean over images is `average_precision`.

    Image i adds AP + n dAP/dw_i, with w_i its weight (Hampel 1974). An image that is left out can take a class with it,
    and the mean would then be over other classes; a derivative keeps them all. It is that of the area under the
    interpolated precision as a whole, of which the mean over 101 recalls is a sum.

    Args:
        classes: the matches of each class.
    """
    value = average_precision(classes)
    slopes = [_slopes(one) for one in classes if one.objects.sum() > 0]
    slope = np.mean(slopes, axis=0) if slopes else np.full((len(value), len(classes[0].objects)), np.nan)
    return np.asarray(value[:, None] + len(classes[0].objects) * slope)


def _slopes(matches: Matches) -> Floats:
    """Derivative of the area with respect to each image's weight, (thresholds, images).

    The area is the mean, over the objects found, of the best precision at their rank or a later one. A weight moves it
    through the number of objects, through those that are found, and through the precision at every later rank.
    """
    images, total = len(matches.objects), float(matches.objects.sum())
    out = np.zeros((len(matches.right), images))
    for row, (right, counted) in enumerate(zip(matches.right, matches.counted, strict=True)):
        hit, miss = (right & counted).astype(float), (~right & counted).astype(float)
        hits, misses = np.cumsum(hit), np.cumsum(miss)
        seen = np.maximum(hits + misses, np.spacing(1.0))
        precision = hits / seen
        best = _best_after(precision)
        held = np.bincount(best, weights=hit, minlength=len(hit)) / seen**2  # objects whose best precision is at a rank
        gained, lost = (np.cumsum((held * others)[::-1])[::-1] for others in (misses, hits))
        each = hit * (precision[best] + gained) - miss * lost
        area = float(hit @ precision[best]) / total
        out[row] = (np.bincount(matches.image, weights=each, minlength=images) - area * matches.objects) / total
    return out


def _best_after(precision: Floats) -> NDArray[np.int64]:
    """The rank of the highest precision from each rank on, the first of equal ones."""
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    ranks = np.where(precision == highest, np.arange(len(precision)), len(precision))
    return np.minimum.accumulate(ranks[::-1])[::-1].astype(np.int64)


def interval(
    classes: Sequence[Matches], *, confidence: float = CONFIDENCE, draws: int = DRAWS, seed: int = 0
) -> tuple[Floats, Floats]:
    """Intervals by bootstrap over images: of the mean over thresholds, (2,), and of each threshold, (thresholds, 2).

    Args:
        classes: the matches of each class.
        confidence: coverage.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        ProbeError: fewer than two images.
    """
    images = len(classes[0].objects)
    resample.units(images, None, None)
    values = np.array([
        average_precision(classes, row) for drawn in resample.counts(images, draws, seed) for row in drawn
    ])  # fmt: skip
    return resample.percentiles(values.mean(axis=1), confidence), resample.percentiles(values, confidence)
