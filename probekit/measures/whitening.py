"""Whitening with shrinkage: features in coordinates where every invertible linear map of them looks the same.

Plain whitening by the sample covariance divides noise by noise where there are few images per dimension. So features
are standardised first (which makes units irrelevant) and their correlation matrix is shrunk towards the identity, by
the amount that Ledoit and Wolf (2004) derive from the data. With many images the shrinkage vanishes and the result is
invariant under every invertible linear map, up to a rotation.

Source: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004), as
scikit-learn has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.covariance import ledoit_wolf_shrinkage

from probekit.errors import ProbeError

Floats = NDArray[np.float64]

IMAGES_PER_DIMENSION = 2
"""Fewer images than this per dimension, and whitened numbers speak of the sample, not of the features."""

SMALLEST = 1e-10
"""Directions of less variance than this share of the largest are rounding of float32, and are left out."""

RULE = "standardised, then whitened by the correlation matrix shrunk towards the identity (Ledoit-Wolf)"


@dataclass(frozen=True)
class Whitening:
    """A fitted whitening: `(features - mean) @ matrix` has unit variance in every direction that is kept.

    Attributes:
        mean: (dims,).
        matrix: (dims, kept directions).
        shrinkage: weight of the identity, from 0 (none) to 1.
    """

    mean: Floats
    matrix: Floats
    shrinkage: float

    def __call__(self, features: ArrayLike) -> Floats:
        """Whitened features: (..., dims) -> (..., kept directions)."""
        return np.asarray((np.asarray(features, dtype=np.float64) - self.mean) @ self.matrix)


def fit_whitening(features: ArrayLike, *, samples: int | None = None) -> Whitening:
    """Fit a whitening to features (n, dims).

    Args:
        features: one row per observation. Constant dims are left out.
        samples: independent rows among them, where several rows belong to one image; None = all.

    Returns:
        The fitted `Whitening`.

    Raises:
        ProbeError: fewer than two independent rows per varying dim, constant features, or values that are not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3))
        >>> np.allclose(np.cov(fit_whitening(x)(x).T), np.eye(3), atol=0.1)
        True
    """
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or len(array) < 2:
        raise ProbeError(f"Features of shape {array.shape}, expected (images, dims) with two images or more.")
    if not np.isfinite(array).all():
        raise ProbeError("Features hold NaN or infinity: the model's output is not a number there.")
    mean, deviation = array.mean(axis=0), array.std(axis=0)
    varies = deviation > 1e-6 * max(float(np.abs(array).max()), np.finfo(float).tiny)
    dims, count = int(varies.sum()), len(array) if samples is None else samples
    if not dims:
        raise ProbeError("The features are constant: there is nothing to whiten.")
    if count < IMAGES_PER_DIMENSION * dims:
        raise ProbeError(
            f"{count} images for {dims} dimensions: whitening needs at least {IMAGES_PER_DIMENSION} images per "
            f"dimension. Use {IMAGES_PER_DIMENSION * dims} images or more, or another scaling."
        )
    scaled = (array[:, varies] - mean[varies]) / deviation[varies]
    shrinkage = min(1.0, float(ledoit_wolf_shrinkage(scaled, assume_centered=True)) * len(array) / count)
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    kept = values > SMALLEST * values[-1]
    shrunk = (1 - shrinkage) * values[kept] + shrinkage
    matrix = np.zeros((array.shape[1], int(kept.sum())))
    matrix[varies] = vectors[:, kept] / np.sqrt(shrunk) / deviation[varies, None]
    return Whitening(mean, matrix, shrinkage)
