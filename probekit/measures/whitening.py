"""Whitening with shrinkage: features in coordinates where every invertible linear map of them looks the same.

Plain whitening by the sample covariance divides noise by noise where there are few images per dimension: small sample
eigenvalues are too small, large ones too large. Shrinking towards one common variance (Ledoit and Wolf, 2004) mends
this, but it erases directions of small variance, which an invertible map can make of any direction. So each
eigenvalue is corrected by itself, by the amount that random matrix theory gives for it (Ledoit and Wolf, 2020): a
factor near 1 wherever there are many images per dimension, whatever the scale of the direction.

Source: Ledoit and Wolf, "Analytical nonlinear shrinkage of large-dimensional covariance matrices" (Annals of
Statistics, 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.errors import ProbeError
from probekit.measures.linear import Rows, chunks

Floats = NDArray[np.float64]

IMAGES_PER_DIMENSION = 2
"""Fewer images than this per dimension, and whitened numbers speak of the sample, not of the features."""

SMALLEST = 1e-10
"""Directions of less variance than this share of the largest are rounding of float32, and are left out."""

RULE = (
    "standardised, then whitened by the correlation matrix with Ledoit and Wolf's analytical nonlinear shrinkage (2020)"
)


@dataclass(frozen=True)
class Whitening:
    """A fitted whitening: `(features - mean) @ matrix` has unit variance in every direction that is kept.

    Attributes:
        mean: (dims,).
        matrix: (dims, kept directions).
        shrinkage: the largest change of a kept eigenvalue, as |log(shrunk / sample)|; 0 is none.
    """

    mean: Floats
    matrix: Floats
    shrinkage: float

    def __call__(self, features: ArrayLike) -> Floats:
        """Whitened features: (..., dims) -> (..., kept directions)."""
        return np.asarray((np.asarray(features, dtype=np.float64) - self.mean) @ self.matrix)


def fit_whitening(features: ArrayLike | Rows, *, samples: int | None = None) -> Whitening:
    """Fit a whitening to features (n, dims).

    Args:
        features: one row per observation, read in chunks, three times. Constant dims are left out.
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
    table: Any = features if hasattr(features, "shape") else np.asarray(features, dtype=np.float64)
    if len(table.shape) != 2 or table.shape[0] < 2:
        raise ProbeError(f"Features of shape {table.shape}, expected (images, dims) with two images or more.")
    images, width = table.shape
    total, squares, peak = np.zeros(width), np.zeros(width), 0.0
    for _, rows in chunks(table, np.float64):
        if not np.isfinite(rows).all():
            raise ProbeError("Features hold NaN or infinity: the model's output is not a number there.")
        total += rows.sum(axis=0)
        peak = max(peak, float(np.abs(rows).max()))
    mean = total / images
    for _, rows in chunks(table, np.float64):
        squares += ((rows - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / images)
    varies = deviation > 1e-6 * max(peak, np.finfo(float).tiny)
    count = images if samples is None else samples
    _check_count(int(varies.sum()), count)
    products = np.zeros((int(varies.sum()),) * 2)
    for _, rows in chunks(table, np.float64):
        scaled = (rows[:, varies] - mean[varies]) / deviation[varies]
        products += scaled.T @ scaled
    rotation, shrinkage = _rotation(products / images, count)
    matrix = np.zeros((width, rotation.shape[1]))
    matrix[varies] = rotation / deviation[varies, None]
    return Whitening(mean, matrix, shrinkage)


def whitening_matrix(covariance: ArrayLike, samples: int) -> Floats:
    """The matrix of a whitening from a covariance that is known: (dims, kept directions).

    Args:
        covariance: (dims, dims). Dims without variance are left out.
        samples: independent observations that it was estimated from.

    Raises:
        ProbeError: fewer than two samples per varying dim, or no variance.
    """
    array = np.asarray(covariance, dtype=np.float64)
    deviation = np.sqrt(np.maximum(np.diagonal(array), 0))
    varies = deviation > 1e-6 * max(float(deviation.max()), np.finfo(float).tiny)
    _check_count(int(varies.sum()), samples)
    inverse = 1 / deviation[varies]
    rotation, _ = _rotation(array[np.ix_(varies, varies)] * np.outer(inverse, inverse), samples)
    matrix = np.zeros((len(array), rotation.shape[1]))
    matrix[varies] = rotation * inverse[:, None]
    return matrix


def _check_count(dims: int, count: int) -> None:
    if not dims:
        raise ProbeError("The features are constant: there is nothing to whiten.")
    if count < IMAGES_PER_DIMENSION * dims:
        raise ProbeError(
            f"{count} images for {dims} dimensions: whitening needs at least {IMAGES_PER_DIMENSION} images per "
            f"dimension. Use {IMAGES_PER_DIMENSION * dims} images or more, or another scaling."
        )


def _rotation(correlation: Floats, count: int) -> tuple[Floats, float]:
    """Eigenvectors of a correlation matrix over the roots of their shrunk eigenvalues, and the largest shrinkage."""
    values, vectors = np.linalg.eigh(correlation)
    kept = values > SMALLEST * values[-1]
    shrunk = shrunk_eigenvalues(values[kept], count)
    return vectors[:, kept] / np.sqrt(shrunk), float(np.abs(np.log(shrunk / values[kept])).max())


def shrunk_eigenvalues(values: ArrayLike, samples: int) -> Floats:
    """Eigenvalues of a covariance matrix, corrected for the number of samples: (dims,).

    Args:
        values: sample eigenvalues, positive, ascending, (dims,).
        samples: observations that the matrix was estimated from, more than dims.

    Returns:
        The shrunk eigenvalues, from a kernel estimate (Epanechnikov, bandwidth in proportion to each eigenvalue) of the
        spectrum's density and of its Hilbert transform; equations 4.7 to 4.9 of the source.
    """
    found = np.asarray(values, dtype=np.float64)
    ratio, width = len(found) / samples, samples ** (-1 / 3)
    bandwidth = width * found[None, :]
    x = (found[:, None] - found[None, :]) / bandwidth
    root = np.sqrt(5.0)
    density = (0.75 / root * np.maximum(1 - x**2 / 5, 0) / bandwidth).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        curve = 0.75 / (root * np.pi) * (1 - x**2 / 5) * np.log(np.abs((root - x) / (root + x)))
    curve = np.where(np.isclose(np.abs(x), root), 0.0, curve) - 0.3 / np.pi * x
    far = np.abs(x) > 100  # there the two terms cancel to less than rounding, and a kernel is a point
    curve = np.where(far, -1 / (np.pi * np.where(far, x, 1.0)), curve)
    hilbert = (curve / bandwidth).mean(axis=1)
    real = 1 - ratio - np.pi * ratio * found * hilbert
    return np.asarray(found / ((np.pi * ratio * found * density) ** 2 + real**2))
