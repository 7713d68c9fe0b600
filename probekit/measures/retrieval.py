"""Average precision of retrieval by class, and the calibration error of a classifier's confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.errors import ProbeError

Floats = NDArray[np.float64]

BINS = 15
"""Of equal width in confidence, as Guo et al. have it."""

CHUNK = 256
"""Queries whose similarities exist at a time."""


def average_precision(features: ArrayLike, labels: ArrayLike) -> Floats:
    """Average precision of each image as a query for the others of its class, by cosine similarity.

    Args:
        features: (images, dims).
        labels: (images,).

    Returns:
        (images,), from 0 to 1; NaN for an image without another one of its class. Equal similarities rank by number.

    References:
        Manning et al. 2008, "Introduction to information retrieval", section 8.4.
    """
    array, known = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if array.ndim != 2 or known.shape != (len(array),):
        raise ProbeError(
            f"Features of shape {array.shape} and labels of shape {known.shape}; expected one label an image."
        )
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    array = array / np.where(norms > 0, norms, 1.0)
    out = np.full(len(array), np.nan)
    for start in range(0, len(array), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(array)))
        similarity = array[rows] @ array.T
        similarity[np.arange(len(rows)), rows] = -np.inf  # the query itself comes last, and is cut off
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
        relevant = known[order] == known[rows][:, None]
        precision = np.cumsum(relevant, axis=1) / np.arange(1, order.shape[1] + 1)
        found = relevant.sum(axis=1)
        sums = (precision * relevant).sum(axis=1)
        out[rows] = np.divide(sums, found, out=np.full(len(rows), np.nan), where=found > 0)
    return out


def random_precision(labels: ArrayLike) -> float:
    """Mean over queries of what `average_precision` is in expectation if the others come in a random order.

    Of a query with r relevant among n others it is (r - 1) / (n - 1) + (n - r) H(n) / (n (n - 1)), where H(n) is the
    sum of 1 / k up to n. NaN where no image has another one of its class.

    Example:
        >>> random_precision([0, 0, 1, 1])  # one of three: (1 + 1 / 2 + 1 / 3) / 3
        0.6111111111111112
    """
    known = np.asarray(labels)
    n, (_, place, counts) = len(known) - 1, np.unique(known, return_inverse=True, return_counts=True)
    relevant = (counts[place] - 1).astype(np.float64)
    relevant = relevant[relevant > 0]
    if n < 2 or not len(relevant):
        return 1.0 if len(relevant) else float("nan")
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    return float(((relevant - 1) / (n - 1) + (n - relevant) * harmonic / (n * (n - 1))).mean())


def calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: |accuracy - confidence| of bins of equal width, weighted by their images.

    Args:
        confidence: (images,), the probability of the predicted class.
        correct: (images,), whether it is right.
        bins: of equal width from 0 to 1, each open below and closed above.

    Returns:
        From 0 to 1; 0 where confidence is accuracy in every bin. It is above 0 in expectation even then, the more the
        fewer images there are.

    References:
        Guo et al. 2017, "On calibration of modern neural networks", equation 3.
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if sure.shape != right.shape or sure.ndim != 1 or not len(sure) or sure.min() < 0 or sure.max() > 1 + 1e-9:
        raise ProbeError(
            f"Confidences of shape {sure.shape} for {right.shape} outcomes; expected one from 0 to 1 each."
        )
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=right - sure, minlength=bins)
    return float(np.abs(gap).sum() / len(sure))
