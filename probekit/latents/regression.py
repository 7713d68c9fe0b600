"""How much of one set of vectors another determines: R² of ridge and of kernel ridge regression, on held-out samples.

R² is over all outputs together, 1 - (squared errors) / (squared deviations): outputs count by their variance. Penalty
and kernel width are chosen on a validation half of the training samples, never on the test samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

PENALTIES = tuple(10.0**power for power in range(-7, 3))
"""Ridge penalties tried, relative to the mean eigenvalue."""

WIDTHS = (0.5, 1.0, 2.0, 4.0)
"""Kernel widths tried, in units of sqrt(dimension) of the standardised inputs."""


@dataclass(frozen=True)
class Fit:
    """Squared errors and squared deviations of each test sample, (samples,), summed over outputs."""

    errors: Floats
    deviations: Floats

    @property
    def r2(self) -> float:
        """1 - errors / deviations; NaN where the target does not vary."""
        total = float(self.deviations.sum())
        return 1.0 - float(self.errors.sum()) / total if total > 0 else float("nan")

    def interval(self, weights: Floats) -> tuple[float, float]:
        """95 % bootstrap interval over test samples (the fitted regression is held fixed).

        Args:
            weights: from `resamples`; figures that share them are resampled together.
        """
        total = weights @ self.deviations
        if not (total > 0).all():
            return float("nan"), float("nan")
        low, high = np.quantile(1.0 - (weights @ self.errors) / total, [0.025, 0.975])
        return float(low), float(high)


def resamples(samples: int, rng: np.random.Generator, count: int = 1000) -> Floats:
    """Bootstrap weights (count, samples): how often each resample draws each sample, over the number of samples."""
    return np.asarray(rng.multinomial(samples, np.full(samples, 1.0 / samples), count) / samples)


def regress(
    train_x: Floats, train_y: Sequence[Floats], test_x: Floats, test_y: Sequence[Floats], *, kernel: bool
) -> list[Fit]:
    """Regress several targets on the same inputs, linearly or with a Gaussian kernel.

    Args:
        train_x: (samples, inputs).
        train_y: targets, each (samples, outputs); one Fit for each.
        test_x: (test samples, inputs).
        test_y: targets, as `train_y`.
        kernel: kernel ridge regression instead of linear ridge.
    """
    mean, scale = train_x.mean(0), train_x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    x, x_test = (train_x - mean) / scale, (test_x - mean) / scale
    half = len(x) // 2
    fit, rest = slice(0, half), slice(half, None)
    widths = [width * np.sqrt(x.shape[1]) for width in WIDTHS] if kernel else [0.0]
    best = [(np.inf, 0.0, 0.0)] * len(train_y)
    for width in widths:
        solve = _Ridge(x[fit], width)
        for place, y in enumerate(train_y):
            for penalty, predicted in zip(PENALTIES, solve(y[fit], x[rest], PENALTIES), strict=True):
                error = float(((predicted - y[rest]) ** 2).sum())
                best[place] = min(best[place], (error, width, penalty))
    fits: list[Fit | None] = [None] * len(train_y)
    for width in sorted({chosen[1] for chosen in best}):
        solve = _Ridge(x, width)
        for place, (y, y_test) in enumerate(zip(train_y, test_y, strict=True)):
            if best[place][1] == width:
                (predicted,) = solve(y, x_test, [best[place][2]])
                errors = ((predicted - y_test) ** 2).sum(1)
                fits[place] = Fit(errors, ((y_test - y_test.mean(0)) ** 2).sum(1))
    return [fit for fit in fits if fit is not None]


class _Ridge:
    """Ridge regression on a Gram matrix (linear if width is 0), one eigendecomposition for all penalties and targets.

    With K = V diag(w) V', the dual weights for a penalty p are V diag(1 / (w + p)) V' (y - mean y). A linear kernel on
    standardised inputs needs no intercept beyond the mean; for the Gaussian one the mean is a good centre.
    """

    def __init__(self, x: Floats, width: float) -> None:
        self.x, self.width = x, width
        if width == 0.0:
            self.values, self.vectors = np.linalg.eigh(x.T @ x)
        else:
            self.values, self.vectors = np.linalg.eigh(self._gram(x, x))

    def _gram(self, a: Floats, b: Floats) -> Floats:
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T
        return np.asarray(np.exp(-np.maximum(squared, 0.0) / (2.0 * self.width**2)))

    def __call__(self, y: Floats, x: Floats, penalties: Sequence[float]) -> list[Floats]:
        mean = y.mean(0)
        features = x if self.width == 0.0 else self._gram(x, self.x)
        target = self.x.T @ (y - mean) if self.width == 0.0 else y - mean
        rotated, projected = self.vectors.T @ target, features @ self.vectors
        unit = float(self.values.mean())
        spectrum = np.maximum(self.values, 0.0)[:, None]
        return [np.asarray(projected @ (rotated / (spectrum + penalty * unit))) + mean for penalty in penalties]
