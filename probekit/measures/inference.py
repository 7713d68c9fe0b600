"""Tests and intervals of means: standard errors, Student's t, corrections for many comparisons.

Plain functions on arrays, used by contrasts between checkpoints, by comparisons of settings over seeds, and by the
report, so that one question has one answer. `scipy.special` gives the distributions: `scipy.stats` would cost a second
of start-up.

Sources: Welch, Biometrika 34 (1947); Satterthwaite, Biometrics Bulletin 2 (1946); Holm, Scandinavian Journal of
Statistics 6 (1979); Benjamini and Hochberg, JRSS B 57 (1995); Bartlett, Proc. Royal Society A 160 (1937); Liang and
Zeger, Biometrika 73 (1986) for the error of means over groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from probekit.errors import ProbeError

Floats = NDArray[np.float64]

CORRECTIONS = ("bonferroni", "holm", "bh")
"""Corrections for many comparisons: the first two bound the chance of any false finding, "bh" (Benjamini and Hochberg)
the expected share of false ones among the findings."""


def t_quantile(confidence: float, freedom: ArrayLike) -> Floats:
    """How many standard errors a two-sided interval of that coverage reaches, by Student's t; NaN at no freedom."""
    found = special.stdtrit(np.asarray(freedom, dtype=np.float64), 0.5 + confidence / 2)
    return np.asarray(found, dtype=np.float64)


def t_test(estimate: ArrayLike, error: ArrayLike, freedom: ArrayLike) -> Floats:
    """Two-sided p-value of an estimate with that standard error and degrees of freedom.

    Without any error, a difference has p = 0 and no difference p = 1. NaN where one of the three is missing or there
    is no freedom.
    """
    values, errors = np.asarray(estimate, dtype=np.float64), np.asarray(error, dtype=np.float64)
    freedom = np.asarray(freedom, dtype=np.float64)
    score = np.divide(np.abs(values), errors, out=np.where(values == 0, 0.0, np.inf), where=errors > 0)
    p = 2 * special.stdtr(np.maximum(freedom, 1), -score)
    return np.where(np.isnan(values) | np.isnan(errors) | ~(freedom > 0), np.nan, p)


def mean_error(values: ArrayLike, groups: ArrayLike | None = None) -> tuple[Floats, Floats, Floats]:
    """Mean over the last axis with its standard error.

    With n values used in G groups, var = G / (G - 1) * sum_g (sum of the residuals of g)² / n². Without groups each
    value is one, and this is the usual s² / n.

    Args:
        values: (..., n); NaN = not used there.
        groups: (n,), values of one group are not independent.

    Returns:
        Mean, standard error, and degrees of freedom (groups - 1), each (...). Means are NaN where nothing was used,
        errors where fewer than two groups were.
    """
    array = np.asarray(values, dtype=np.float64)
    used = ~np.isnan(array)
    number = used.sum(axis=-1)
    mean = np.where(number > 0, np.where(used, array, 0.0).sum(axis=-1) / np.maximum(number, 1), np.nan)
    residual = np.where(used, array - mean[..., None], 0.0)
    present = used
    if groups is not None:
        codes, count = _codes(groups, array.shape[-1])
        residual = _summed(residual, codes, count)
        present = np.ones_like(residual, bool) if used.all() else _summed(used, codes, count) > 0
    units = present.sum(axis=-1)
    scale = units / np.maximum(units - 1, 1) / np.maximum(number, 1) ** 2
    error = np.where(units > 1, np.sqrt(scale * (residual**2).sum(axis=-1)), np.nan)
    return mean, error, np.maximum(units - 1, 0).astype(np.float64)


def all_pairs(values: ArrayLike, confidence: float, groups: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Paired differences of all pairs of rows over the images that both have.

    Args:
        values: per-image contributions (rows, images), NaN = image not used.
        confidence: coverage.
        groups: (images,), images of one group are not independent.

    Returns:
        The mean of row i minus row j, and the half width of its interval (Student's t); both (rows, rows), NaN where
        fewer than two images (groups) are shared.
    """
    array = np.asarray(values, dtype=np.float64)
    mean, half = np.full((2, len(array), len(array)), np.nan)
    alike: dict[bytes, list[int]] = {}
    for i, used in enumerate(~np.isnan(array)):
        alike.setdefault(used.tobytes(), []).append(i)
    for members in alike.values():
        others = np.setdiff1d(np.arange(len(array)), members)
        for i in members if len(others) else ():  # a row at a time: never (rows, rows, images) in memory
            centre, error, freedom = mean_error(array[i] - array[others], groups)
            mean[i, others] = np.where(np.isnan(error), np.nan, centre)
            half[i, others] = t_quantile(confidence, np.maximum(freedom, 1)) * error
        square = np.ix_(members, members)
        mean[square], half[square] = _pairs_alike(array[members], confidence, groups)
    return mean, half


def _pairs_alike(rows: Floats, confidence: float, groups: ArrayLike | None) -> tuple[Floats, Floats]:
    """`all_pairs` of rows that use the same images: the residual of a difference is the difference of residuals, so
    that images are summed over groups once for each row, not for each pair."""
    used = ~np.isnan(rows[0])
    number, values = int(used.sum()), rows[:, used]
    nothing = np.full((len(rows), len(rows)), np.nan)
    if not number:
        return nothing, nothing
    centre = values.mean(axis=-1)
    residual = values - centre[:, None]
    if groups is not None:
        codes, units = _codes(np.asarray(groups)[used], number)
        residual = _summed(residual, codes, units)
    units = residual.shape[-1]
    if units < 2:
        return nothing, nothing
    squares = np.zeros_like(nothing)
    for i in range(len(rows) - 1):
        apart = residual[i + 1 :] - residual[i]
        squares[i, i + 1 :] = squares[i + 1 :, i] = np.einsum("ij,ij->i", apart, apart)
    error = np.sqrt(units / (units - 1) / number**2 * squares)
    return centre[:, None] - centre, float(t_quantile(confidence, units - 1)) * error


def _codes(groups: ArrayLike, n: int) -> tuple[NDArray[np.int64], int]:
    given = np.asarray(groups)
    if given.shape != (n,):
        raise ProbeError(f"groups of shape {given.shape} for {n} values, expected ({n},).")
    found, index = np.unique(given, return_inverse=True)
    return index.astype(np.int64), len(found)


def _summed(values: NDArray[np.generic], codes: NDArray[np.int64], count: int) -> Floats:
    """Sums over groups of the last axis: (..., groups)."""
    rows = values.reshape(-1, values.shape[-1])
    out = np.empty((len(rows), count))
    for place, row in enumerate(rows):
        out[place] = np.bincount(codes, row, count)
    return out.reshape(*values.shape[:-1], count)


def adjusted(p_values: ArrayLike, method: str) -> Floats:
    """p-values adjusted for their number, in their order; NaN stays NaN and is not counted.

    Args:
        p_values: of any shape; all of them are one family.
        method: "bonferroni", "holm" (never worse), or "bh" (Benjamini and Hochberg: the share of false findings).
    """
    array = np.asarray(p_values, dtype=np.float64)
    flat, out = array.ravel(), np.full(array.size, np.nan)
    known = np.flatnonzero(~np.isnan(flat))
    order = known[np.argsort(flat[known], kind="stable")]
    count, rank = len(order), np.arange(1, len(order) + 1)
    if method == "bonferroni":
        found = flat[order] * count
    elif method == "holm":
        found = np.maximum.accumulate(flat[order] * (count + 1 - rank))
    elif method == "bh":
        found = np.minimum.accumulate((flat[order] * count / rank)[::-1])[::-1]
    else:
        raise ProbeError(f"method={method!r}: expected one of {', '.join(CORRECTIONS)}.")
    out[order] = np.minimum(found, 1.0)
    return out.reshape(array.shape)


def corrected_confidence(confidence: float, comparisons: int) -> float:
    """Coverage of each of several intervals so that all hold together with `confidence` (Bonferroni)."""
    if comparisons < 1:
        raise ProbeError(f"comparisons={comparisons}: expected 1 or more.")
    return 1 - (1 - confidence) / comparisons


def weighted_means(samples: Sequence[ArrayLike], weights: ArrayLike) -> tuple[float, float, float]:
    """A weighted sum of the means of independent samples that need not vary alike (Welch, Satterthwaite).

    Args:
        samples: each (n,), n of 2 or more where its weight is not 0.
        weights: (samples,), for a difference of two means [1, -1].

    Returns:
        Estimate, standard error, degrees of freedom.
    """
    chosen = [(w, np.asarray(x, dtype=np.float64)) for w, x in zip(np.asarray(weights), samples, strict=True) if w]
    if any(len(x) < 2 for _, x in chosen):
        return float(sum(w * x.mean() for w, x in chosen)), float("nan"), 0.0
    parts = np.array([w**2 * x.var(ddof=1) / len(x) for w, x in chosen])
    freedom = np.array([len(x) - 1 for _, x in chosen])
    estimate, variance = sum(w * x.mean() for w, x in chosen), parts.sum()
    if variance == 0:
        return float(estimate), 0.0, float(freedom.min())
    return float(estimate), float(np.sqrt(variance)), float(variance**2 / (parts**2 / freedom).sum())


def equal_variances(samples: Sequence[ArrayLike]) -> float:
    """p-value of Bartlett's test that normal samples have one variance; NaN with fewer than two samples of two or more.

    Args:
        samples: each (n,); samples of one value say nothing and are left out.
    """
    values = [np.asarray(x, dtype=np.float64) for x in samples]
    values = [x for x in values if len(x) > 1]
    if len(values) < 2:
        return float("nan")
    freedom = np.array([len(x) - 1 for x in values], dtype=np.float64)
    variances = np.array([x.var(ddof=1) for x in values])
    whole = float((freedom * variances).sum() / freedom.sum())
    if not whole:
        return 1.0
    if not variances.all():
        return 0.0
    statistic = freedom.sum() * np.log(whole) - (freedom * np.log(variances)).sum()
    shrink = 1 + ((1 / freedom).sum() - 1 / freedom.sum()) / (3 * (len(values) - 1))
    return float(special.chdtrc(len(values) - 1, statistic / shrink))


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation (ties share their mean rank); NaN with fewer than three points or no spread."""
    a, b = ranks(first), ranks(second)
    if len(a) < 3:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale else float("nan")


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1; ties share their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], dtype=np.float64)
