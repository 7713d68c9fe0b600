"""What the numbers separate: two kinds of uncertainty that must not be mixed up.

An *interval* in a results file resamples images: it speaks of one checkpoint on one image set. Another training run
with the same setting would give another checkpoint, and only runs that differ in nothing but their seed show by how
much. So settings are compared by their means over seeds, with a standard deviation pooled over all settings that have
more than one seed, and a t quantile with the pooled degrees of freedom. Where no setting has two seeds, nothing is
claimed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probekit.schema import CONFIDENCE


def t_quantile(confidence: float, freedom: int) -> float:
    """The two-sided quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats would cost a second of start-up

    return float(stdtrit(freedom, 0.5 + confidence / 2))


def normal_quantile(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2))


@dataclass(frozen=True)
class Seeds:
    """Between-seed spread, pooled over settings. `deviation` is NaN where `freedom` is 0."""

    deviation: float
    freedom: int

    def least_difference(self, first: int, second: int, comparisons: int = 1) -> float:
        """How far apart the means of two settings with that many seeds must lie for a 95 % t-interval of their
        difference to exclude 0; `comparisons` > 1 corrects by Bonferroni. Infinite without replicated seeds."""
        if not self.freedom:
            return math.inf
        quantile = t_quantile(1 - (1 - CONFIDENCE) / max(comparisons, 1), self.freedom)
        return quantile * self.deviation * math.sqrt(1 / first + 1 / second)


def between_seeds(groups: Sequence[Sequence[float]]) -> Seeds:
    """Pooled standard deviation of the values within groups (one group per setting, one value per seed)."""
    squares, freedom = 0.0, 0
    for group in groups:
        values = np.asarray(group, dtype=float)
        squares += float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
        freedom += max(len(values) - 1, 0)
    return Seeds(math.sqrt(squares / freedom) if freedom else math.nan, freedom)


def all_pairs(images: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Paired differences of all pairs of rows over the images both have.

    Args:
        images: per-image contributions (checkpoint, image), NaN where an image was not used.
        groups: group of each image (int), where images of a group are not independent.

    Returns:
        The mean of row i minus row j, and the half width of its 95 % interval by normal approximation; both
        (checkpoint, checkpoint), NaN where fewer than two images (groups) are shared. The variance of the mean is
        that of sums over groups, G / (G - 1) * sum_g (sum over g of (d - mean))^2 / n^2; without groups each image is
        one.
    """
    used = np.isfinite(images)
    filled = np.where(used, images, 0.0)
    codes = np.arange(images.shape[1]) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1 if len(codes) else 0
    mean, half = np.full((2, len(images), len(images)), np.nan)
    for i in range(len(images)):  # a row at a time: (checkpoint, image) arrays, never (checkpoint, checkpoint, image)
        shared = used & used[i]
        number = shared.sum(1)
        difference = np.where(shared, filled[i] - filled, 0.0)
        centre = difference.sum(1) / np.maximum(number, 1)
        residual = np.where(shared, difference - centre[:, None], 0.0)
        sums, present = (
            (residual, shared) if groups is None else (summed(residual, codes, count), summed(shared, codes, count) > 0)
        )
        clusters = present.sum(1)
        scale = clusters / np.maximum(clusters - 1, 1) / np.maximum(number, 1) ** 2
        enough = clusters >= 2
        mean[i] = np.where(enough, centre, np.nan)
        half[i] = np.where(enough, normal_quantile(CONFIDENCE) * np.sqrt(scale * (sums**2).sum(1)), np.nan)
    return mean, half


def summed(values: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """Sums over groups of columns: (rows, count)."""
    out = np.zeros((count, len(values)))
    np.add.at(out, codes, values.T)
    return out.T


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation (ties share their mean rank); NaN with fewer than three points or no spread."""
    if len(first) < 3:
        return math.nan
    a, b = ranks(np.asarray(first, dtype=float)), ranks(np.asarray(second, dtype=float))
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale else math.nan


def ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
