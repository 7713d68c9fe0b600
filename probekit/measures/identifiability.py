"""Whether single features stand for single latents: MCC, DCI and SAP, on codes (images, features) and known latents.

R² asks whether latents can be read from all features together; a rotation of the latents has an R² of 1. These ask for
the axes too. What is chosen (which feature stands for which latent) is chosen on fitting images, and what is reported
is of other images, so that independent codes come out at 0 (MCC, SAP) however many there are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from probekit.errors import ProbeError

Floats = NDArray[np.float64]


def correlations(codes: ArrayLike, latents: ArrayLike) -> Floats:
    """Pearson's correlation of every feature with every latent: (features, latents); 0 where either is constant."""
    first, second = (np.asarray(one, dtype=np.float64) for one in (codes, latents))
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or len(first) < 3:
        raise ProbeError(
            f"Codes of shape {first.shape} and latents of shape {second.shape}; expected (images, features) and "
            "(images, latents) of the same three images or more."
        )
    first, second = (one - one.mean(axis=0) for one in (first, second))
    norms = np.linalg.norm(first, axis=0)[:, None] * np.linalg.norm(second, axis=0)
    return np.asarray(np.divide(first.T @ second, norms, out=np.zeros_like(norms), where=norms > 0))


class Match(NamedTuple):
    """Which feature stands for which latent, with the sign of their correlation; the two best features of each."""

    feature: NDArray[np.intp]
    latent: NDArray[np.intp]
    sign: Floats
    best: NDArray[np.intp]
    """(2, latents): the features of the largest and second largest correlation."""


def match(codes: ArrayLike, latents: ArrayLike) -> Match:
    """Features matched one to one to latents for the largest sum of |correlations| (Hungarian algorithm)."""
    found = correlations(codes, latents)
    if len(found) < 2:
        raise ProbeError(f"{len(found)} feature: identifiability compares two or more.")
    feature, latent = linear_sum_assignment(-np.abs(found))
    best = np.argsort(-np.abs(found), axis=0, kind="stable")[:2]
    return Match(feature, latent, np.sign(found[feature, latent]), best)


def mcc(codes: ArrayLike, latents: ArrayLike, chosen: Match) -> float:
    """Mean correlation coefficient of matched features and latents, with the signs of the match.

    Args:
        codes, latents: of other images than the match was made on.
        chosen: `match` on fitting images.

    Returns:
        1 where features are the latents, permuted, scaled and sign-flipped; 0 in expectation if independent. A latent
        without a feature (fewer features than latents) counts as 0.

    References:
        Hyvärinen and Morioka 2016; Khemakhem et al. 2020.
    """
    found = correlations(codes, latents)
    return float((found[chosen.feature, chosen.latent] * chosen.sign).sum() / found.shape[1])


def sap(codes: ArrayLike, latents: ArrayLike, chosen: Match) -> float:
    """Separated attribute predictability: R² of the best single feature of a latent less that of the second best.

    Returns:
        Mean over latents: 1 where each latent is one feature and no other knows of it; 0 in expectation if independent.

    References:
        Kumar et al. 2018, equation 11; the two features are chosen on fitting images here.
    """
    found = correlations(codes, latents) ** 2
    columns = np.arange(found.shape[1])
    return float((found[chosen.best[0], columns] - found[chosen.best[1], columns]).mean())


def dci(importance: ArrayLike) -> tuple[float, float]:
    """Disentanglement and completeness from the importance of each feature for each latent.

    Disentanglement: whether a feature is important for one latent alone; 1 - entropy over latents, features weighted by
    their share of importance. Completeness: whether one feature alone is important for a latent.

    Args:
        importance: (features, latents), not negative: absolute weights of a regression on standardised features. Each
            latent's are brought to a sum of 1, so that penalties that differ between latents do not count.

    Returns:
        Two numbers from 0 to 1; NaN where nothing is important, or there is one latent (one feature) only.

    References:
        Eastwood and Williams 2018, equations 1 to 3.
    """
    matrix = np.abs(np.asarray(importance, dtype=np.float64))
    sums = matrix.sum(axis=0)
    matrix = np.divide(matrix, sums, out=np.zeros_like(matrix), where=sums > 0)
    total = matrix.sum()
    if total <= 0 or not np.isfinite(total) or min(matrix.shape) < 2:
        return float("nan"), float("nan")
    rows, columns = matrix.sum(axis=1), matrix.sum(axis=0)
    disentanglement = 1 - _entropy(matrix) / np.log(matrix.shape[1])
    completeness = 1 - _entropy(matrix.T) / np.log(matrix.shape[0])
    return float(rows / total @ disentanglement), float(columns / total @ completeness)


def _entropy(matrix: Floats) -> Floats:
    """Of each row, taken as a distribution; rows of zeros count as uniform, and have no weight."""
    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.full_like(matrix, 1 / matrix.shape[1]), where=sums > 0)
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1))
