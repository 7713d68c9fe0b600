"""Mean cross-entropy of linear classifiers and its gradient, in the principal axes of the features.

Features are read in row chunks; float32 products are summed in float64. They are kept in memory only if they fit there,
else read again each time. Nothing is drawn: results differ by rounding alone when images come in
another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probekit.measures.linear import MEMORY_BYTES, Floats, Ints, Rows, Standardiser, checked, chunks, refuse_nan

LOGIT_BYTES = 1 << 20
"""Logits worked on at a time: they should stay in the processor's cache."""
FLAT = 1e-12
"""Least variance of an axis."""
LEAST_CURVATURE = 1e-2
"""Least p(1 - p) of a class in the initial matrix, of all classes' mean: a class without images has none."""


class State(NamedTuple):
    """A point, its mean cross-entropy, the gradient of that, and `Problem.evaluate`'s curvature."""

    point: Tensor
    loss: float
    slope: Tensor
    curvature: Tensor


class Table:
    """Centred rows, float32, with a last column of ones for the bias: kept in memory if they fit, else
    read again.

    Iterating gives parts of as many rows as have at most `LOGIT_BYTES` of logits.
    """

    def __init__(
        self, features: Rows, mean: NDArray[np.float32], classes: int, device: torch.device, memory: int
    ) -> None:
        self.features, self.mean, self.device = features, mean, device
        self.step = max(256, LOGIT_BYTES // (4 * classes))
        n, dims = checked(features)
        self.bytes = n * dims * 4 if n * dims * 4 <= memory else 0  # of what is kept
        self._kept = list(self._read()) if self.bytes else None

    def _read(self) -> Iterator[Tensor]:
        for start, rows in chunks(self.features, None):  # the mean goes before float32 does
            refuse_nan(rows, start)
            table = np.ones((len(rows), rows.shape[1] + 1), dtype=np.float32)
            np.subtract(rows, self.mean, out=table[:, :-1], casting="same_kind")
            yield torch.from_numpy(table).to(self.device)

    def __iter__(self) -> Iterator[Tensor]:
        for rows in self._read() if self._kept is None else self._kept:
            yield from torch.split(rows, self.step)


class Problem:
    """Features and labels, and the loss.

    Points are (classes, d + 1) in the principal axes of the standardised features, the bias last. What takes a point to
    weights on a `Table` is one matrix: the axes, and what is left of standardising once the mean is gone. Its tables
    keep at most `memory` bytes together.
    """

    def __init__(self, features: Rows, labels: Ints, classes: int, device: str, memory: int = MEMORY_BYTES) -> None:
        self.n, self.dims = checked(features)
        self.classes, self.device, self._memory = classes, torch.device(device), memory
        self.standardise = Standardiser.of(features)
        self._mean = self.standardise.mean.astype(np.float32)
        self._labels = torch.from_numpy(labels).to(self.device)
        self._table = self.table(features)
        products = torch.zeros(self.dims + 1, self.dims + 1, dtype=torch.float64, device=self.device)
        for rows in self._table:
            products += rows.T @ rows
        rest = self._rest()
        variances, axes = torch.linalg.eigh((rest @ products @ rest.T)[:-1, :-1] / self.n)
        self.variances = torch.cat([variances.clamp(min=FLAT), variances.new_ones(1)])
        self.axes = torch.zeros_like(products)
        self.axes[:-1, :-1], self.axes[-1, -1] = axes, 1
        self._basis = (self.axes.T @ rest).float()

    def _rest(self) -> Tensor:
        """(d + 1, d + 1): takes a row of a table, as a column, to standardised features and the one."""
        scale, mean = (torch.from_numpy(x).to(self.device) for x in (self.standardise.scale, self.standardise.mean))
        left = mean - torch.from_numpy(self._mean).to(self.device)  # what float32 cannot hold of the mean
        rest = torch.diag(torch.cat([1 / scale, scale.new_ones(1)]))
        rest[:-1, -1] = -left / scale
        return rest

    def table(self, features: Rows) -> Table:
        """Features of the same layer, as `accuracy` takes them."""
        table = Table(features, self._mean, self.classes, self.device, self._memory)
        self._memory -= table.bytes
        return table

    def start(self) -> State:
        """All classes alike."""
        return self.evaluate(torch.zeros(self.classes, self.dims + 1, dtype=torch.float64, device=self.device))

    def evaluate(self, point: Tensor) -> State:
        """Mean cross-entropy, its gradient (classes, d + 1), and each class's mean p(1 - p), (classes, 1)."""
        weights = point.float() @ self._basis
        loss, start = torch.zeros((), dtype=torch.float64, device=self.device), 0
        slope = torch.zeros_like(point)
        curvature = torch.zeros(self.classes, dtype=torch.float64, device=self.device)
        for rows in self._table:
            chances = weights @ rows.T
            loss += softmax_in_place(chances, own := self._labels[None, start : start + len(rows)])
            curvature += chances.sum(dim=1) - torch.linalg.vecdot(chances, chances)
            chances.scatter_add_(0, own, chances.new_full((1, 1), -1).expand(own.shape))
            slope += chances @ rows
            start += len(rows)
        slope = (slope.float() @ self._basis.T).double()
        curvature = curvature.clamp(min=LEAST_CURVATURE * float(curvature.mean()) + FLAT) / self.n
        return State(point, float(loss) / self.n, slope / self.n, curvature[:, None])

    def accuracy(self, point: Tensor, table: Table, labels: Tensor) -> float:
        """Top-1 on other rows."""
        weights = point.float() @ self._basis
        guesses = torch.cat([(weights @ rows.T).argmax(dim=0) for rows in table])
        return float((guesses == labels).double().mean())

    def weights(self, point: Tensor) -> Floats:
        """(d + 1, classes) on standardised features, the bias last."""
        return np.asarray((point @ self.axes.T).T.cpu().numpy())


def softmax_in_place(logits: Tensor, labels: Tensor) -> Tensor:
    """Turn logits (classes, rows) into probabilities; return the summed loss of labels (1, rows)."""
    logits -= logits.amax(dim=0)
    own = logits.gather(0, labels)
    logits.exp_()
    sums = logits.sum(dim=0)
    logits /= sums
    return (sums.log() - own).sum(dtype=torch.float64)
