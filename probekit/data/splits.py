"""How data without splits is divided, and how `count` images are chosen: by hashes of names, never by position.

A hash of the relative path puts a file in the same split wherever the folder lies and whatever is added beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probekit.data.base import check_count
from probekit.data.randomness import unit_interval
from probekit.errors import DataError

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
"""Shares of a set that comes without splits, per class."""

VAL_SHARE = 0.1
"""Share of a given train split that becomes `val`, per class, where only train and test are given."""


def divide(names: Sequence[str], labels: np.ndarray, shares: dict[str, float], *, classes: Sequence[str]) -> np.ndarray:
    """Which split each image belongs to: an array of split names (n,).

    Within each class, images are ranked by a hash of their name and the ranks are cut by `shares`, so that every split
    gets its share of every class to within one image, and at least one.
    """
    labels = np.asarray(labels)
    ranks = np.array([unit_interval(f"split {name}") for name in names])
    result = np.empty(len(names), dtype=object)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < len(shares):
            raise DataError(
                f"The class {classes[label]!r} has {len(members)} image(s): too few to be divided into "
                f"{', '.join(shares)}. Add images, remove the class, or provide split folders."
            )
        ordered = members[np.argsort(ranks[members], kind="stable")]
        ends = np.round(np.cumsum(list(shares.values())) * len(ordered)).astype(int)
        ends = np.clip(ends, np.arange(1, len(shares) + 1), len(ordered) - np.arange(len(shares) - 1, -1, -1))
        for split, part in zip(shares, np.split(ordered, ends[:-1]), strict=True):
            result[part] = split
    return result


def choose(names: Sequence[str], labels: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """Indices, ascending, of `count` images spread evenly over the classes; all of them if `count` is None.

    The choice for a smaller count is contained in that for a larger one with the same seed.
    """
    labels = np.asarray(labels)
    check_count(count, len(names))
    if count is None:
        return np.arange(len(names))
    order = np.argsort([unit_interval(f"choose {seed} {name}") for name in names], kind="stable")
    turn = np.empty(len(names), dtype=np.int64)  # an image of turn t is the t-th of its class
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = np.arange(len(members))
    position = np.empty(len(names), dtype=np.int64)
    position[order] = np.arange(len(names))
    return np.sort(np.lexsort((position, turn))[:count])
