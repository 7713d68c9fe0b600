"""How alike two representations of the same images are.

Debiased CKA (Murphy et al. 2024, from the unbiased HSIC of Song et al. 2012): the cosine of two Gram matrices without
their diagonals. It is 0 in expectation for independent representations, however wide; plain CKA is not, since an
image is always most like itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.constants import CONFIDENCE
from probekit.errors import ProbeError
from probekit.measures.resample import Blocks, jackknife_ends

Floats = NDArray[np.float64]


def gram(features: ArrayLike) -> Floats:
    """Inner products of centred features (images, dims), the diagonal set to 0: (images, images)."""
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or len(array) < 4:
        raise ProbeError(f"Features of shape {array.shape}, expected (images, dims) with four images or more.")
    if not np.isfinite(array).all():
        raise ProbeError("Features hold NaN or infinity: the model's output is not a number there.")
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
