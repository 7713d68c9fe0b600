"""Which images are taken where fewer are wanted than there are.

The order of images depends on texts that stay with them (a relative path, a digest of the pixels) and on the seed, not
on their positions: the same images in another order give the same draw. A smaller draw is contained in a larger one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probekit.data.base import check_count
from probekit.data.randomness import unit_interval


def draw(
    keys: Sequence[str], labels: np.ndarray | None, count: int | None, seed: int, sampling: str = "proportional"
) -> np.ndarray:
    """Chooses `count` images.

    Args:
        keys: a text per image that stays with it; images with equal keys are taken in their order.
        labels: int64 (n,), or None.
        count: how many; None = all, in their own order.
        seed: of the draw.
        sampling: "proportional": every beginning of the draw has the classes in their own proportions, to within one
            image; "balanced": one of each class in turns.

    Returns:
        int64 (count,): indices in the order of the draw.

    Raises:
        DataError: `count` is below 1 or above the number of images.

    Example:
        >>> draw(["a", "b", "c", "d"], np.array([0, 0, 0, 1]), 2, seed=0, sampling="balanced").tolist()
        [2, 3]
    """
    check_count(count, len(keys))
    return np.arange(len(keys)) if count is None else ordered(keys, labels, seed, sampling)[:count]


def ordered(keys: Sequence[str], labels: np.ndarray | None, seed: int, sampling: str) -> np.ndarray:
    """All indices in the order of the draw (see `draw`)."""
    order = np.argsort([unit_interval(f"choose {seed} {key}") for key in keys], kind="stable")
    labels = np.zeros(len(keys), dtype=np.int64) if labels is None else np.asarray(labels)
    by_class = order[np.argsort(labels[order], kind="stable")]
    found, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    place = np.searchsorted(found, labels[by_class])
    turn = np.empty(len(keys))
    turn[by_class] = np.arange(len(keys)) - first[place]  # the t-th image of its class
    if sampling == "proportional":
        turn[by_class] = (turn[by_class] + 0.5) / sizes[place]  # its quantile within the class
    position = np.empty(len(keys), dtype=np.int64)
    position[order] = np.arange(len(keys))
    return np.lexsort((position, turn))
