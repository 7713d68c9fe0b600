"""The level spectrum: how much of a representation's variance the latents of each height explain, with nothing fitted.

For pairs (x, x') that share a set K of latents and have fresh noise elsewhere,

    S_K = tr Cov(f(x), f(x')) / tr Var f,    Var f = the mean of Var f(x) and Var f(x')

is the share of f's variance that K explains (a closed Sobol index). With K = the latents of height >= h, the share of
level h is S_h - S_(h+1), where S_0 = 1 and S_(H+1) = 0, and the representation level is the sum of h x share.

Tokens are (pairs, positions, dims): covariance and variance are over pairs at each position and traces are summed over
positions, else position embeddings would count as shared content. `standardised` gives every (position, dim) unit
variance, so that a few outlier dims do not rule; those without variance are left out.

`level_terms` gives each pair's own part of numerator and denominator, which is what intervals resample.

Source of the index: Sobol (1993); Saltelli et al. (2010).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.errors import ProbeError, did_you_mean

Floats = NDArray[np.float64]

SCALINGS = ("raw", "standardised")
NO_VARIANCE = 1e-12
"""Variance, relative to the largest mean square of a feature, below which a feature counts as constant."""

AT_ONCE = 1 << 20
"""Numbers of a batch that are centred at a time, where it holds more: 8 MiB in float64."""


def flat(features: ArrayLike, least: int = 2) -> Floats:
    """(pairs, features) in float64; NaN is an error, and so are fewer pairs than `least`."""
    array = np.asarray(features, dtype=np.float64)
    if array.ndim < 2 or len(array) < least:
        raise ProbeError(
            f"Features of shape {array.shape}, expected two pairs or more: (pairs, dims) or (pairs, positions, dims)."
        )
    if not np.isfinite(array).all():
        raise ProbeError("Features hold NaN or infinity: the model's output is not a number there.")
    return array.reshape(len(array), -1)


def weights_of(variance: Floats, square: Floats, scaling: str) -> Floats:
    """What each feature's covariance is multiplied by: 1, or 1 / variance; 0 for constant features."""
    if scaling not in SCALINGS:
        raise ProbeError(f"No scaling {scaling!r}. {did_you_mean(scaling, SCALINGS)}")
    varies = variance > NO_VARIANCE * max(float(square.max()), np.finfo(float).tiny)
    if not varies.any():
        raise ProbeError("The representation is constant: no variance that latents could explain.")
    if scaling == "raw":
        return varies.astype(np.float64)
    return np.divide(1.0, variance, out=np.zeros_like(variance), where=varies)


def level_terms(features: ArrayLike, partner: ArrayLike, *, scaling: str = "raw") -> tuple[Floats, Floats]:
    """Each pair's part of covariance and of variance, (pairs,) both: S_K = Σ first / Σ second.

    Args:
        features, partner: (pairs, dims) or (pairs, positions, dims): f(x) and f(x').
        scaling: "raw" or "standardised".

    Raises:
        ProbeError: constant representation, NaN, shapes that differ, unknown scaling.
    """
    ours, theirs = flat(features), flat(partner)
    if ours.shape != theirs.shape:
        raise ProbeError(f"Features {ours.shape} and partners {theirs.shape} differ in shape: they must come in pairs.")
    return terms_about(ours, theirs, (Moments().update(ours), Moments().update(theirs)), scaling=scaling)


def terms_about(
    features: Floats, partner: Floats, moments: tuple[Moments, Moments], *, scaling: str = "raw"
) -> tuple[Floats, Floats]:
    """As `level_terms`, of some of the pairs, given the moments of all: what is too large for memory goes in parts.

    Args:
        features, partner: (some pairs, dims), in float64 as `flat` gives them.
        moments: of the features and of the partners, over all pairs.
        scaling: "raw" or "standardised".
    """
    about, other = moments
    variance = 0.5 * (about.variance + other.variance)
    weights = weights_of(variance, variance + 0.5 * (about.mean**2 + other.mean**2), scaling)
    ours, theirs = features - about.mean, partner - other.mean
    return (ours * theirs) @ weights, 0.5 * (ours**2 + theirs**2) @ weights


def level_share(features: ArrayLike, partner: ArrayLike, *, scaling: str = "raw") -> float:
    """S_K, at most 1 (and not below 0 but for chance). See `level_terms`."""
    covariance, variance = level_terms(features, partner, scaling=scaling)
    return float(covariance.sum() / variance.sum())


class Moments:
    """Mean and variance of every feature over images, batch by batch (Chan's update: exact however large the mean
    is)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(())
        self._squares: Floats = np.zeros(())

    def update(self, batch: ArrayLike) -> Moments:
        """Add a batch (n, ...)."""
        array = np.asarray(batch)
        mean = array.mean(axis=0, dtype=np.float64)
        step, squares = max(1, AT_ONCE // max(1, mean.size)), np.zeros_like(mean)
        for start in range(0, len(array), step):
            around = array[start : start + step] - mean
            around *= around
            squares += around.sum(axis=0)
        self._merge(len(array), mean, squares)
        return self

    def _merge(self, count: int, mean: Floats, squares: Floats) -> None:
        total = self.count + count
        if not self.count:
            self.mean, self._squares = np.zeros_like(mean), np.zeros_like(squares)
        shift = mean - self.mean
        self._squares += squares
        self._squares += shift**2 * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    @property
    def variance(self) -> Floats:
        """Biased variance over images, one for each feature."""
        return np.asarray(self._squares / self.count)


def spectrum(nested: ArrayLike) -> Floats:
    """Shares of levels 0..H, (..., H + 1), from nested shares S_1..S_H, (..., H). They sum to one."""
    array = np.asarray(nested, dtype=np.float64)
    one, zero = np.ones((*array.shape[:-1], 1)), np.zeros((*array.shape[:-1], 1))
    return -np.diff(np.concatenate([one, array, zero], axis=-1), axis=-1)


def representation_level(shares: ArrayLike) -> Floats:
    """Mean height, Σ h x share, (...), of level shares (..., H + 1)."""
    array = np.asarray(shares, dtype=np.float64)
    return np.asarray(array @ np.arange(array.shape[-1], dtype=np.float64))
