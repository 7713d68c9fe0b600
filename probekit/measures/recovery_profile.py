"""The recovery profile: R² of each level's own noise, what training added to it, how much and how high it is.

For every level h, recovery(h) is the mean over nodes of R², 1 - Σ residual² / Σ deviation² over images; the untrained
twin's is the mean over its initialisations; gain(h) is their difference. Over the levels that gained,

    amount = Σ gain(h),        height = Σ h gain(h) / amount.

All intervals come from one bootstrap over images, with the same resampled images for the encoder and its twins: gains
are paired differences. The levels that gained are those of the estimate, in every draw, so that the amount's interval
can reach below 0: a sum of positive parts never would, even of noise. Height is defined where it does not.

A regressor reads less than there is: of the same latents, less the more the map that made the features bends. What is
left unread shrinks with the training images n and the landmarks, about as 1 / root(n). So a regressor of half the
strength (half the images, half the landmarks) tells where recovery is going:

    limit(h) = recovery(h) + max(recovery(h) - recovery at half strength(h), 0) / (root(2) - 1),      at most 1.

Recovery is a lower bound and the limit an estimate of what endless images would read (Richardson's extrapolation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.constants import CONFIDENCE
from probekit.errors import ProbeError
from probekit.measures import resample

Floats = NDArray[np.float64]


TO_THE_LIMIT = 1 / (2**0.5 - 1)
"""What is left to read, over what doubling the regressor's strength brought, where it shrinks as 1 / root(n)."""


@dataclass(frozen=True)
class Estimate:
    """A value, its interval (..., 2), and what each image adds, (..., images), whose mean is the value."""

    value: Floats
    interval: Floats
    per_image: Floats


@dataclass(frozen=True)
class RecoveryProfile:
    """Estimates over (layers, levels), and `amount` and `height` over (layers,); the last four None without twins."""

    recovery: Estimate
    untrained: Estimate | None = None
    gain: Estimate | None = None
    amount: Estimate | None = None
    height: Estimate | None = None


def recovery_profile(
    residual: ArrayLike,
    total: ArrayLike,
    levels: ArrayLike,
    *,
    untrained: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    order: ArrayLike | None = None,
    seed: int = 0,
) -> RecoveryProfile:
    """The profile from squared errors of predictions on test images.

    Args:
        residual: (layers, nodes, images), squared error of each image's prediction, summed over the node's dimensions.
        total: (nodes, images), squared deviation from the mean.
        levels: (nodes,), the level of each node, 1..H; every level has one or more.
        untrained: (twins, layers, nodes, images), the residuals of untrained twins; None without.
        groups, order, seed: as in `resample.ratio_interval`.

    Returns:
        The `RecoveryProfile`. Intervals are NaN where there is one image, or one group, to resample.

    Raises:
        ProbeError: shapes that do not fit.
    """
    errors, deviation = np.asarray(residual, dtype=np.float64)[None], np.asarray(total, dtype=np.float64)
    height = np.asarray(levels, dtype=np.int64)
    if untrained is not None:
        errors = np.concatenate([errors, np.asarray(untrained, dtype=np.float64)])
    if errors.ndim != 4 or errors.shape[2:] != deviation.shape or height.shape != deviation.shape[:1]:
        raise ProbeError(
            f"Residuals {errors.shape[1:]}, deviations {deviation.shape} and levels {height.shape}: expected "
            "(layers, nodes, images), (nodes, images) and (nodes,)."
        )
    mean_of = _mean_of(height)
    influence = mean_of @ (1 - resample.ratio_influence(errors, deviation))
    drawn = _drawn(errors, deviation, groups, order, seed) @ mean_of.T
    recovery = _estimate(influence[0], drawn[:, 0])
    if len(errors) == 1:
        return RecoveryProfile(recovery)
    return _with_twins(recovery, influence, drawn)


def recovery_limit(
    residual: ArrayLike,
    weaker: ArrayLike,
    total: ArrayLike,
    levels: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    order: ArrayLike | None = None,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Recovery extrapolated to endless training images: (layers, levels), and its interval (layers, levels, 2).

    Args:
        residual, weaker: (layers, nodes, images), squared errors of the regressor, and of one of half its strength.
        total, levels, groups, order, seed: as in `recovery_profile`.
    """
    deviation, height = np.asarray(total, dtype=np.float64), np.asarray(levels, dtype=np.int64)
    errors = np.stack([np.asarray(residual, dtype=np.float64), np.asarray(weaker, dtype=np.float64)])
    mean_of = _mean_of(height)
    value = _limit((1 - resample.ratio(errors, deviation)) @ mean_of.T, 0)
    drawn = _limit(_drawn(errors, deviation, groups, order, seed) @ mean_of.T, 1)
    return value, resample.percentiles(drawn, CONFIDENCE)


def _limit(recovery: Floats, axis: int) -> Floats:
    """The limit, from recovery at full and at half strength along an axis."""
    full, half = np.moveaxis(recovery, axis, 0)
    return np.asarray(np.minimum(full + np.maximum(full - half, 0) * TO_THE_LIMIT, 1))


def _mean_of(height: NDArray[np.int64]) -> Floats:
    """(levels, nodes): weights of the mean over the nodes of each level, 1..H."""
    return np.stack([(height == level) / (height == level).sum() for level in range(1, height.max() + 1)])


def _with_twins(recovery: Estimate, influence: Floats, drawn: Floats) -> RecoveryProfile:
    """The whole profile, from `influence` (1 + twins, layers, levels, images), `drawn` (draws, 1 + twins, ...)."""
    untrained = _estimate(influence[1:].mean(axis=0), drawn[:, 1:].mean(axis=1))
    gains, gain_draws = influence[0] - untrained.per_image, drawn[:, 0] - drawn[:, 1:].mean(axis=1)
    gain = _estimate(gains, gain_draws)
    gained = np.where(gain.value > 0, 1.0, 0.0)  # (layers, levels)
    amount = _estimate((gained[..., None] * gains).sum(axis=1), (gained * gain_draws).sum(axis=-1))
    weights = gained * np.arange(1, gained.shape[1] + 1)
    above, above_draws = (weights[..., None] * gains).sum(axis=1), (weights * gain_draws).sum(axis=-1)
    below_draws = (gained * gain_draws).sum(axis=-1)
    known = (amount.value > 0) & (amount.interval[:, 0] > 0)
    ratio = np.where(known[:, None], resample.ratio_influence(above, amount.per_image), np.nan)
    ratio_draws = np.divide(
        above_draws, below_draws, out=np.full_like(above_draws, np.nan), where=known & (below_draws > 0)
    )
    return RecoveryProfile(recovery, untrained, gain, amount, _estimate(ratio, ratio_draws))


def _drawn(errors: Floats, deviation: Floats, groups: ArrayLike | None, order: ArrayLike | None, seed: int) -> Floats:
    """R² of resampled images: (draws, 1 + twins, layers, nodes); NaN where there is nothing to resample."""
    images, cells = deviation.shape[1], errors.shape[:-1]
    if images < 2 or (groups is not None and len(np.unique(np.asarray(groups))) < 2):
        return np.full((1, *cells), np.nan)
    columns = np.concatenate([errors.reshape(-1, images), deviation])
    sums = resample.bootstrap_sums(columns, groups=groups, order=order, seed=seed)
    above, below = sums[:, : -len(deviation)].reshape(-1, *cells), sums[:, None, None, -len(deviation) :]
    return 1 - np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _estimate(per_image: Floats, drawn: Floats) -> Estimate:
    return Estimate(per_image.mean(axis=-1), resample.percentiles(drawn, CONFIDENCE), per_image)
