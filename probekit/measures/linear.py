"""Linear classifiers on frozen features: reading features in chunks, standardising them, applying heads, scoring.

Features may be larger than memory (a NumPy memmap, a zarr array): they are only ever sliced by rows, and each chunk is
standardised as it is read. Standardisation is the batch norm without affine parameters of MAE's linear protocol: the
training features' mean and (biased) variance, epsilon 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from probekit.errors import ProbeError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EPSILON = 1e-6
"""Added to the variance, as in `BatchNorm1d(affine=False, eps=1e-6)`."""
CHUNK_BYTES = 32 << 20
"""Features read at a time, in bytes of float32."""
MEMORY_BYTES = 1 << 30
"""Training features that a fit may hold at a time; of more, chunks are read again each time they are needed."""


class Rows(Protocol):
    """Anything with rows: a NumPy array or memmap, a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, key: Any, /) -> Any: ...


def chunk_rows(dims: int) -> int:
    """How many rows of `dims` features are read at a time; of narrow ones no more than of wider ones, since what is
    computed of them (similarities, kernels) is wide."""
    return max(256, CHUNK_BYTES // (4 * max(dims, 512)))


def chunks(features: Rows, dtype: type | None = np.float32) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first row, rows) of features (n, d), as contiguous arrays of `dtype`; None for their own."""
    n, dims = features.shape
    step = chunk_rows(dims)
    for start in range(0, n, step):
        yield start, np.ascontiguousarray(np.asarray(features[start : start + step]), dtype=dtype)


def varies(features: Rows) -> bool:
    """Whether any two rows differ; NaN differs from everything."""
    first = np.asarray(features[:1])
    return any(bool((rows != first).any()) for _, rows in chunks(features, None))


def checked(features: Rows, name: str = "features") -> tuple[int, int]:
    """(n, d) of `features`, or a `ProbeError` if they are not a table."""
    if len(features.shape) != 2 or 0 in features.shape:
        raise ProbeError(f"{name} of shape {tuple(features.shape)}, expected (images, dims), neither of them 0.")
    return features.shape[0], features.shape[1]


def same_dims(features: Rows, dims: int, name: str) -> None:
    """A `ProbeError` unless `features` is (n, dims), as the training features are."""
    _, other = checked(features, name)
    if dims != other:
        raise ProbeError(f"Training features have {dims} dims, {name} {other}: they must come from the same layer.")


def refuse_nan(rows: NDArray[Any], start: int) -> None:
    """A `ProbeError` naming the first row that is not finite; `start` is the number of the first of these rows."""
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = start + int(np.flatnonzero(~finite)[0])
        raise ProbeError(
            f"Features hold NaN or infinity, first in row {bad}: the model's output is not a number there."
        )


def checked_labels(labels: Any, n: int, classes: int, name: str = "labels") -> Ints:
    """Labels as int64 (n,) in 0..classes-1, of two classes at least, or a `ProbeError`."""
    if np.shape(labels) == (n,) and n < classes:
        raise ProbeError(f"{n} images for {classes} classes ({name}): a classifier needs at least one image of each.")
    array = label_numbers(labels, n, classes, name)
    if array.min() == array.max():
        raise ProbeError(f"All {n} {name} are of one class ({array.min()}): there is nothing to tell apart.")
    return array


def label_numbers(labels: Any, n: int, classes: int, name: str = "labels") -> Ints:
    """Labels as int64 (n,) in 0..classes-1, or a `ProbeError`."""
    array = np.asarray(labels)
    if array.shape != (n,):
        raise ProbeError(f"{name} of shape {array.shape} for {n} images: expected one for each.")
    if array.dtype.kind not in "iu":
        raise ProbeError(f"{name} are {array.dtype}, expected whole numbers.")
    if array.min() < 0 or array.max() >= classes:
        raise ProbeError(f"{name} reach from {array.min()} to {array.max()}, expected 0 to {classes - 1}.")
    return array.astype(np.int64)


@dataclass(frozen=True)
class Standardiser:
    """Subtract `mean`, divide by `scale`, both float64 (d,)."""

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, features: Rows) -> Standardiser:
        """Of the training features, in two passes (exact however large the mean is); NaN or infinity is an error."""
        n, dims = checked(features)
        total = np.zeros(dims)
        for start, rows in chunks(features, np.float64):
            refuse_nan(rows, start)
            total += rows.sum(axis=0)
        mean = total / n
        squares = np.zeros(dims)
        for _, rows in chunks(features, np.float64):
            squares += ((rows - mean) ** 2).sum(axis=0)
        return cls(mean, np.sqrt(squares / n + EPSILON))

    def __call__(self, rows: NDArray[Any]) -> Floats:
        """Standardised rows, float64."""
        return np.asarray((rows - self.mean) / self.scale)

    def chunks(self, features: Rows, name: str = "features") -> Iterator[tuple[int, Floats]]:
        """(first row, standardised rows) of other features than those it was fitted on; NaN or infinity is an
        error."""
        same_dims(features, len(self.mean), name)
        for start, rows in chunks(features, np.float64):
            refuse_nan(rows, start)
            yield start, self(rows)


@dataclass(frozen=True)
class Standardised:
    """Features that are standardised as they are read."""

    features: Rows
    standardise: Standardiser

    @property
    def shape(self) -> tuple[int, ...]:
        return self.features.shape

    def __getitem__(self, key: Any, /) -> Floats:
        return self.standardise(np.asarray(self.features[key], dtype=np.float64))


@dataclass(frozen=True)
class Linear:
    """Several linear heads (one for each tried setting) on the same standardised features.

    Args:
        standardise: fitted on the training features.
        weights: float64 (settings, d, classes), on standardised features.
        bias: float64 (settings, classes).
        settings: what each head was fitted with: a penalty or a learning rate.
    """

    standardise: Standardiser
    weights: Floats
    bias: Floats
    settings: tuple[float, ...]

    def logits(self, features: Rows, which: int = 0) -> Floats:
        """Scores of one head: (n, classes)."""
        parts = [rows @ self.weights[which] + self.bias[which] for _, rows in self.standardise.chunks(features)]
        return np.concatenate(parts)

    def correct(self, features: Rows, labels: Ints) -> Bools:
        """Whether each head is right about each row: (settings, n)."""
        settings, dims, classes = self.weights.shape
        labels = label_numbers(labels, checked(features)[0], self.weights.shape[2])
        table = self.weights.transpose(1, 0, 2).reshape(dims, -1)
        parts = []
        for start, rows in self.standardise.chunks(features):
            scores = (rows @ table).reshape(len(rows), settings, classes) + self.bias
            parts.append(scores.argmax(axis=-1) == labels[start : start + len(rows), None])
        return np.concatenate(parts).T

    def accuracies(self, features: Rows, labels: Ints) -> Floats:
        """Top-1 accuracy of each head, (settings,)."""
        return np.asarray(self.correct(features, labels).mean(axis=1))

    def raw(self, which: int = 0) -> tuple[Floats, Floats]:
        """One head as (weights (d, classes), bias (classes,)) on features as they come, standardisation folded in."""
        weights = self.weights[which] / self.standardise.scale[:, None]
        return weights, self.bias[which] - self.standardise.mean @ weights


def topk_correct(logits: NDArray[np.floating], labels: Ints, k: int = 1) -> Bools:
    """Whether the label is among the k highest scores, (n,); ties go to the lower class.

    Raises:
        ProbeError: fewer than k + 1 classes, where every guess would be right; NaN.
    """
    if np.isnan(logits).any():
        raise ProbeError("Scores hold NaN: no class is the likeliest.")
    if logits.shape[1] <= k:
        raise ProbeError(f"Top-{k} among {logits.shape[1]} classes is always right: it needs more than {k} classes.")
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    better = (logits > own) | ((logits == own) & earlier)
    return np.asarray(better.sum(axis=1) < k)
