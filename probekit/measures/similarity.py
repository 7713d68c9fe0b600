"""How alike two representations of the same images are, by four metrics, each against images paired at random.

Debiased CKA (Murphy et al. 2024, from the unbiased HSIC of Song et al. 2012): the cosine of two Gram matrices without
their diagonals. It is 0 in expectation for independent representations, however wide; plain CKA is not, since an
image is always most like itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from probekit.constants import CONFIDENCE
from probekit.errors import ProbeError, did_you_mean
from probekit.measures.label_free import table
from probekit.measures.resample import Blocks, jackknife_ends

Floats = NDArray[np.float64]

LEAST = 4
"""Images that the debiased estimates need."""


def gram(features: ArrayLike) -> Floats:
    """Inner products of centred features (images, dims), the diagonal set to 0: (images, images)."""
    array = table(features, LEAST)
    array = array - array.mean(axis=0)
    found = array @ array.T
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)


def hsic(first: Floats, second: Floats) -> float:
    """Unbiased HSIC of two Gram matrices without diagonals (Song et al. 2012, equation 5)."""
    n = len(first)
    rows, columns = first.sum(axis=0), second.sum(axis=0)
    value = np.vdot(first, second) + rows.sum() * columns.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows @ columns)
    return float(value / (n * (n - 3)))


def cka_of(first: Floats, second: Floats) -> float:
    """Debiased CKA of two Gram matrices without diagonals; NaN where a representation has no structure at all."""
    norm = hsic(first, first) * hsic(second, second)
    return hsic(first, second) / float(np.sqrt(norm)) if norm > 0 else float("nan")


def debiased_cka(first: ArrayLike, second: ArrayLike) -> float:
    """Debiased CKA of two representations of the same images.

    Args:
        first, second: (images, dims), of any two widths; four images or more.

    Returns:
        At most 1 (the same up to rotation and scale); 0 in expectation if independent; NaN for constant features.

    Raises:
        ProbeError: shapes that do not fit, or values that are not finite.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 8))
        >>> round(debiased_cka(x, 3 * x[:, ::-1] + 1), 6)
        1.0
    """
    ours, theirs = gram(first), gram(second)
    if ours.shape != theirs.shape:
        raise ProbeError(f"{len(ours)} and {len(theirs)} images: similarity compares features of the same images.")
    return cka_of(ours, theirs)


def debiased_cka_interval(
    first: ArrayLike, second: ArrayLike, blocks: Blocks, confidence: float = CONFIDENCE
) -> tuple[float, Floats]:
    """Debiased CKA and its delete-a-block jackknife interval, (value, (2,)); see `debiased_cka`."""
    ours, theirs = gram(first), gram(second)
    left = []
    for block in range(blocks.count):
        kept = blocks.of_image != block
        left.append(cka_of(ours[np.ix_(kept, kept)], theirs[np.ix_(kept, kept)]))
    value = cka_of(ours, theirs)
    return value, jackknife_ends(np.asarray(value), np.asarray(left), confidence)


# --- other metrics, and the permutation null --------------------------------------------------------------------------

METRICS = ("cka", "mutual_knn", "procrustes", "rsa")
"""Debiased CKA, mutual k nearest neighbours, orthogonal Procrustes, representational similarity analysis."""

NEIGHBOURS = 10
"""k of the mutual neighbours, as Huh et al. have it."""

PERMUTATIONS = 20
"""Pairings of images at random that make the null."""


class Similarity(NamedTuple):
    """How alike two representations are, against images paired at random."""

    value: float
    """(raw - null) / (1 - null): 0 in expectation for independent representations, 1 for the same."""
    interval: Floats
    """(2,): the wider of the delete-a-block jackknife's and the permutation null's, cut at 1."""
    raw: float
    """The metric itself."""
    null: float
    """Its mean over images paired at random: it grows with the widths."""


def _nearest(products: Floats, k: int) -> NDArray[np.bool_]:
    products = products.copy()
    np.fill_diagonal(products, -np.inf)
    k = min(k, len(products) - 1)
    order = np.argpartition(-products, k - 1, axis=1)[:, :k]
    found = np.zeros(products.shape, dtype=np.bool_)
    np.put_along_axis(found, order, True, axis=1)
    return found


def mutual_knn(first: ArrayLike, second: ArrayLike, k: int = NEIGHBOURS) -> float:
    """Share of an image's k nearest neighbours that two representations agree on, mean over images.

    Args:
        first, second: (images, dims), of any two widths.
        k: neighbours by cosine similarity, fewer where there are fewer images.

    Returns:
        From 0 to 1; k / (images - 1) in expectation if independent.

    References:
        Huh et al. 2024, "The Platonic representation hypothesis", equation 11.
    """
    return _agreement(_cosines(table(first, LEAST)), _cosines(table(second, LEAST)), k)


def procrustes(first: ArrayLike, second: ArrayLike) -> float:
    """How well one representation is rotated onto the other: the nuclear norm of X'Y, both centred and of norm 1.

    Args:
        first, second: (images, dims); the narrower one is filled up with zeros, which changes nothing.

    Returns:
        From 0 to 1: the cosine of the angular Procrustes distance. It is high for independent wide representations,
        so read it against the null.

    References:
        Schönemann 1966; Williams et al. 2021, "Generalized shape metrics on neural representations".
    """
    return float(np.linalg.svd(_factor(first).T @ _factor(second), compute_uv=False).sum())


def _factor(features: ArrayLike) -> Floats:
    """Centred features of Frobenius norm 1, turned into at most as many columns as there are images."""
    array = table(features, LEAST)
    array = array - array.mean(axis=0)
    norm = np.linalg.norm(array)
    array = array / norm if norm > 0 else array
    if array.shape[1] > len(array):
        left, values, _ = np.linalg.svd(array, full_matrices=False)
        array = left * values
    return np.asarray(array)


def rsa(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's correlation of two representations' dissimilarities between images, 1 - Pearson's correlation.

    Args:
        first, second: (images, dims), two dims or more each.

    Returns:
        From -1 to 1; NaN where an image's features are all the same number.

    References:
        Kriegeskorte et al. 2008, "Representational similarity analysis".
    """
    return _correlation(_ranks(_dissimilarity(first)), _ranks(_dissimilarity(second)))


def _dissimilarity(features: ArrayLike) -> Floats:
    array = table(features, LEAST)
    array = array - array.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        array = array / norms
    return np.asarray(1 - array @ array.T)


def _ranks(dissimilarity: Floats) -> Floats:
    """Ranks of the pairs, symmetric (images, images), 0 on the diagonal, mean 0 over pairs."""
    from scipy.stats import rankdata  # a third of a second, for this alone

    above = np.triu_indices(len(dissimilarity), 1)
    pairs = dissimilarity[above]
    ranks = np.full(len(pairs), np.nan) if np.isnan(pairs).any() else rankdata(pairs)
    out = np.zeros_like(dissimilarity)
    out[above] = ranks - ranks.mean()
    return out + out.T


def _correlation(first: Floats, second: Floats) -> float:
    norm = float(np.sqrt(np.vdot(first, first) * np.vdot(second, second)))
    return float(np.vdot(first, second)) / norm if norm > 0 else float("nan")


class _Metric(NamedTuple):
    """A metric in three steps, so that what depends on one representation is done once.

    `of`: features -> what is kept of them. `kept`: of a part of the images. `pair`: two of them -> the metric.
    """

    of: Callable[[Floats], Floats]
    kept: Callable[[Floats, NDArray[np.intp]], Floats]
    pair: Callable[[Floats, Floats], float]


def _square(matrix: Floats, chosen: NDArray[np.intp]) -> Floats:
    return np.asarray(matrix[np.ix_(chosen, chosen)])


def _cosines(features: Floats) -> Floats:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(norms > 0, norms, 1.0)
    return np.asarray(unit @ unit.T)


def _agreement(first: Floats, second: Floats, k: int = NEIGHBOURS) -> float:
    ours, theirs = _nearest(first, k), _nearest(second, k)
    return float((ours & theirs).sum() / ours.sum())


_STEPS = {
    "cka": _Metric(gram, _square, cka_of),
    "mutual_knn": _Metric(_cosines, _square, _agreement),
    "procrustes": _Metric(_factor, lambda array, chosen: array[chosen], procrustes),
    "rsa": _Metric(_dissimilarity, _square, lambda a, b: _correlation(_ranks(a), _ranks(b))),
}


def similarity(
    first: ArrayLike, second: ArrayLike, metric: str, blocks: Blocks, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Similarity:
    """One metric of two representations of the same images, against a null of images paired at random.

    Similarity grows with width and depth alone (Procrustes and neighbours most), so the raw metric says little. The
    null keeps everything of both representations but which image is which.

    Args:
        first, second: (images, dims), of any two widths.
        metric: "cka", "mutual_knn", "procrustes" or "rsa".
        blocks: of images that the jackknife leaves out (`resample.blocks`).
        permutations: pairings at random.
        seed: of the pairings.

    Returns:
        `Similarity(value, interval, raw, null)`; NaN where the metric is not defined (constant features).

    Raises:
        ProbeError: an unknown metric, other numbers of images, or values that are not finite.

    References:
        Gröger et al. 2026, arXiv 2602.14486 (calibration by permutation).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(60, 8))
        >>> round(similarity(x, 2 * x, "procrustes", resample.blocks(60)).value, 6)
        1.0
    """
    if metric not in METRICS:
        raise ProbeError(f"No similarity is called {metric!r}. {did_you_mean(metric, METRICS)}")
    ours, theirs = table(first, LEAST), table(second, LEAST)
    if len(ours) != len(theirs):
        raise ProbeError(f"{len(ours)} and {len(theirs)} images: similarity compares features of the same images.")
    steps = _STEPS[metric]
    if not np.ptp(ours, axis=0).any() or not np.ptp(theirs, axis=0).any():
        return Similarity(np.nan, np.full(2, np.nan), np.nan, np.nan)
    one, two = steps.of(ours), steps.of(theirs)
    raw = steps.pair(one, two)
    rng = np.random.default_rng(seed)
    drawn = [steps.pair(one, steps.kept(two, rng.permutation(len(ours)))) for _ in range(permutations)]
    null, spread = float(np.mean(drawn)), float(np.std(drawn, ddof=1))
    chosen = [np.flatnonzero(blocks.of_image != block) for block in range(blocks.count)]
    left = np.array([steps.pair(steps.kept(one, part), steps.kept(two, part)) for part in chosen])
    ends = jackknife_ends(np.asarray(raw), left)
    times = special.stdtrit(permutations - 1, 0.5 + CONFIDENCE / 2) * (1 + 1 / permutations) ** 0.5
    reach = max(raw - ends[0], times * spread)
    room = max(1 - null, np.finfo(np.float64).eps)
    value = (raw - null) / room
    return Similarity(value, np.array([value - reach / room, min(1.0, value + reach / room)]), raw, null)
