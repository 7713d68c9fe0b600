"""A statistic at a stated number of images, so that image sets of different size compare.

RankMe, alpha-ReQ and LiDAR grow with the number of images. Their mean over subsets of n images estimates their
expectation at n, whatever the number of images there are (a U-statistic). Subsets are drawn without replacement and use
every image nearly equally often: images lie on a circle in random order, and subsets are arcs of it, evenly spaced.

The interval is the delete-a-block jackknife of that mean: a block of images is left out of every subset it is in.

Source: Hoeffding (1948) for U-statistics, Arvesen (1969) for their jackknife.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.errors import ProbeError
from probekit.measures.resample import Blocks, jackknife_ends

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST, MOST = 2, 16
"""Subsets that are drawn: as many as cover all images, within these limits; one where a subset is all images."""


def subsets(images: int, size: int, *, order: ArrayLike | None = None, seed: int = 0) -> Ints:
    """Subsets of `size` of the images, that use each image nearly equally often: (subsets, size), ascending rows.

    Args:
        images: how many there are.
        size: images of a subset.
        order: (images,), each number once; rows are sorted by it before they are drawn. None = as they come.
        seed: of the draw.

    Raises:
        ProbeError: fewer images than a subset has.

    Example:
        >>> np.unique(subsets(30, 10), return_counts=True)[1].max()
        1
    """
    if size > images:
        raise ProbeError(f"subsets of {size} images need {size} or more, there are {images}")
    place = np.arange(images) if order is None else np.argsort(np.asarray(order), kind="stable")
    circle = place[np.random.default_rng(seed).permutation(images)]
    count = 1 if size == images else int(np.clip(-(-images // size), FEWEST, MOST))
    starts = np.arange(count) * images // count
    return np.sort(circle[(starts[:, None] + np.arange(size)) % images], axis=1)


def mean_over_subsets(
    statistic: Callable[[NDArray[np.floating]], float], rows: NDArray[np.floating], chosen: Ints, blocks: Blocks
) -> tuple[float, Floats]:
    """Mean of a statistic over subsets of the images, and its delete-a-block jackknife interval (2,).

    Args:
        statistic: from the rows of some images to a number.
        rows: (images, ...).
        chosen: (subsets, size), rows of each subset (`subsets`).
        blocks: which block each image belongs to (`resample.blocks`).
    """
    values = np.empty((len(chosen), 1 + blocks.count))
    for subset, index in enumerate(chosen):
        values[subset, 0] = statistic(rows[index])
        block = blocks.of_image[index]
        for left in range(blocks.count):
            kept = index[block != left]
            values[subset, 1 + left] = statistic(rows[kept]) if len(kept) < len(index) else values[subset, 0]
    mean = values.mean(axis=0)
    return float(mean[0]), jackknife_ends(mean[0], mean[1:])
