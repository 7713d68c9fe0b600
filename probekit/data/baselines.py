"""Colour-only baselines, reported next to accuracies on sets whose colours nearly determine the labels."""

from __future__ import annotations

import numpy as np

from probekit.data.base import ImageSet
from probekit.errors import DataError

BINS = 4
K = 5


def colour_histograms(image_set: ImageSet, *, bins: int = BINS, rows: int | None = None) -> np.ndarray:
    """Share of an image's pixels in each of bins³ cells of the RGB cube: float32 (n, bins³), rows sum to 1."""
    if image_set.channels != 3:
        raise DataError(f"{image_set.spec}: the images have {image_set.channels} channels; RGB images are expected.")
    out = np.empty((len(image_set) if rows is None else rows, bins**3), dtype=np.float32)
    for index in range(len(out)):
        cells = image_set[index].reshape(-1, 3).astype(np.int64) * bins // 256
        codes = (cells[:, 0] * bins + cells[:, 1]) * bins + cells[:, 2]
        out[index] = np.bincount(codes, minlength=bins**3) / len(codes)
    return out


def colour_accuracy(train: ImageSet, test: ImageSet, *, bins: int = BINS, k: int = K) -> float:
    """Accuracy in [0, 1] of k nearest neighbours by colour histogram; see `colour_correct`."""
    return float(colour_correct(train, test, bins=bins, k=k).mean())


def colour_correct(
    train: ImageSet, test: ImageSet, *, bins: int = BINS, k: int = K, counts: tuple[int, int] | None = None
) -> np.ndarray:
    """Whether k nearest neighbours by colour histogram, under the Hellinger distance, tell an image's class: bool (n,).

    Args:
        train: what the neighbours come from.
        test: what is reported on; the classes must be the same.
        bins: per colour channel.
        k: neighbours that vote; ties go to the class of the nearest.
        counts: how many images of each are used, the first ones; None = all.
    """
    if train.classes != test.classes:
        raise DataError(
            f"{train.spec} and {test.spec} have different classes ({len(train.classes)} and {len(test.classes)}): "
            "the labels of one mean nothing for the other."
        )
    of_train, of_test = counts or (len(train), len(test))
    if of_train < k:
        raise DataError(f"{train.spec}: {of_train} images are fewer than the k={k} neighbours that vote.")
    known, asked = (
        np.sqrt(colour_histograms(images, bins=bins, rows=rows))
        for images, rows in ((train, of_train), (test, of_test))
    )
    right = np.zeros(of_test, dtype=bool)
    for start in range(0, len(asked), 512):
        similarity = asked[start : start + 512] @ known.T
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        for row, labels in enumerate(train.known_labels[nearest]):
            votes = np.bincount(labels)
            tied = np.flatnonzero(votes == votes.max())
            first = next(label for label in labels if label in tied)
            right[start + row] = first == test.known_labels[start + row]
    return right
