"""k nearest neighbours by DINO's protocol: normalised features, cosine, votes weighted by exp(similarity / T).

Similarities are computed a block of test images against a block of training images at a time, and only the best are
kept: memory does not grow with the training set. All k come from one sorted list.

Source: Wu et al., "Unsupervised feature learning via non-parametric instance discrimination" (2018); Caron et al.
(2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probekit.errors import ProbeError
from probekit.measures.linear import MEMORY_BYTES, Floats, Ints, Rows, checked, checked_labels, chunks, same_dims

KS = (10, 20, 100, 200)
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Neighbours:
    """Predictions for each k.

    Args:
        predicted: classes (k, test images).
        ks: the k in use: asked for, capped by the number of training images, without repeats.
    """

    predicted: Ints
    ks: tuple[int, ...]


def usable_ks(ks: Sequence[int], n: int) -> tuple[int, ...]:
    """`ks` capped at `n` training images, ascending, without repeats."""
    if not ks or min(ks) < 1:
        raise ProbeError(f"k = {tuple(ks)}: expected one or more whole numbers above 0.")
    return tuple(sorted({min(k, n) for k in ks}))


def normalised(rows: NDArray[Any], device: torch.device) -> Tensor:
    """Rows of unit length as float32 (zero rows stay zero); NaN is an error."""
    table = torch.from_numpy(rows).to(device)
    if not bool(torch.isfinite(table).all()):
        raise ProbeError("Features hold NaN or infinity: the model's output is not a number there.")
    return torch.nn.functional.normalize(table, dim=1)


def knn(
    train: Rows,
    train_labels: NDArray[Any],
    test: Rows,
    *,
    classes: int,
    ks: Sequence[int] = KS,
    temperature: float = TEMPERATURE,
    chunk: int = 1024,
    device: str = "cpu",
    memory: int = MEMORY_BYTES,
) -> Neighbours:
    """Predicted classes of test images by their neighbours among training images.

    Args:
        train, test: features (n, d): arrays, memmaps or zarr arrays.
        train_labels: whole numbers in 0..classes-1.
        classes: their number.
        ks: numbers of neighbours; those above the number of training images are capped (see `Neighbours.ks`).
        temperature: T; votes weigh exp(cosine / T).
        chunk: test images at a time.
        device: where to compute.
        memory: bytes of features that may be kept: training images if they fit, else as many test images as do, and
            training images are read once for each such part. The numbers are the same.
    """
    n, dims = checked(train, "training features")
    same_dims(test, dims, "test features")
    if not temperature > 0:
        raise ProbeError(f"temperature={temperature}: expected a number above 0, such as {TEMPERATURE}.")
    where = torch.device(device)
    labels = torch.from_numpy(checked_labels(train_labels, n, classes)).to(where)
    used = usable_ks(ks, n)
    bank = [(start, normalised(rows, where)) for start, rows in chunks(train)] if n * dims * 4 <= memory else None
    left = memory - (n * dims * 4 if bank else 0)
    together = max(chunk, left // (4 * (dims + 3 * used[-1])))  # test rows, each with its neighbours
    predicted = []
    for first in range(0, test.shape[0], together):
        seen = normalised(np.asarray(test[first : first + together], dtype=np.float32), where)
        parts = torch.split(seen, chunk)
        found: list[tuple[Tensor, Tensor] | None] = [None] * len(parts)
        for start, block in bank or ((start, normalised(rows, where)) for start, rows in chunks(train)):
            found = [nearer(part, block, start, used[-1], so_far) for part, so_far in zip(parts, found, strict=True)]
        for pair in found:
            assert pair is not None  # there is a training image
            predicted.append(votes(pair[0], labels[pair[1]], used, classes, temperature))
    return Neighbours(torch.cat(predicted, dim=1).cpu().numpy(), used)


def nearer(
    part: Tensor, block: Tensor, start: int, k: int, found: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Similarities and training rows of the k nearest, best first, each (rows, k): of a block of training images, whose
    first has the number `start`, and of those found before it."""
    similarity = part @ block.T
    best, rows = similarity.topk(min(k, similarity.shape[1]), dim=1)
    rows = rows + start
    if found is None:
        return best, rows
    best, rows = torch.cat([found[0], best], dim=1), torch.cat([found[1], rows], dim=1)
    best, order = best.topk(min(k, best.shape[1]), dim=1)
    return best, rows.gather(1, order)


def votes(similarity: Tensor, labels: Tensor, ks: tuple[int, ...], classes: int, temperature: float) -> Tensor:
    """The class with most votes for each k, (k, rows). Votes are relative to the nearest one's, which changes no
    order."""
    weights = torch.exp((similarity - similarity[:, :1]).double() / temperature)
    scores = torch.zeros(len(labels), classes, dtype=torch.float64, device=labels.device)
    winners, done = [], 0
    for k in ks:
        scores.scatter_add_(1, labels[:, done:k], weights[:, done:k])
        winners.append(scores.argmax(dim=1))
        done = k
    return torch.stack(winners)


def accuracy(neighbours: Neighbours, labels: Ints) -> Floats:
    """Top-1 accuracy of each k, (k,)."""
    return np.asarray((neighbours.predicted == labels).mean(axis=1))
