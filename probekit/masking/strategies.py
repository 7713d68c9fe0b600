"""Masking strategies: which units are hidden, for a number of masks at once.

Each takes (masks, unit grid, hidden units, generator) and returns bool (masks, units), True = hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

Grid = tuple[int, int]
"""Rows and columns."""

BLOCK_ASPECT = 0.3
"""Narrowest block of the strategy "block": height / width is log-uniform in [0.3, 1 / 0.3] (BEiT, arXiv 2106.08254)."""

BLOCK_UNITS = 4
"""Smallest block of the strategy "block", in units, while as many are left to hide (BEiT has 16 patches of 196)."""


def _random(n: int, units: Grid, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` of the units, every subset equally likely."""
    return lowest(torch.rand(n, units[0] * units[1], generator=generator), count)


def lowest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """True at the `count` lowest scores of each row."""
    order = scores.argsort(dim=1, stable=True)
    return torch.zeros(order.shape, dtype=torch.bool).scatter_(1, order[:, :count], True)


def _block(n: int, units: Grid, count: int, generator: torch.Generator) -> torch.Tensor:
    """Rectangles of random place, area and aspect until `count` units are hidden; the last one is cut."""
    rng = _numpy(generator)
    hidden = np.zeros((n, *units), dtype=bool)
    for mask in hidden:
        left = count
        while left:
            area = rng.uniform(min(BLOCK_UNITS, left), left)
            aspect = math.exp(rng.uniform(math.log(BLOCK_ASPECT), -math.log(BLOCK_ASPECT)))
            height = min(max(round(math.sqrt(area * aspect)), 1), units[0])
            width = min(max(round(math.sqrt(area / aspect)), 1), units[1])
            top = int(rng.integers(units[0] - height + 1))
            start = int(rng.integers(units[1] - width + 1))
            block = mask[top : top + height, start : start + width]
            rows, columns = np.nonzero(~block)
            block[rows[:left], columns[:left]] = True
            left -= min(left, rows.size)
        # The cut takes what comes first in the block: without this flip, upper and left units would be hidden more.
        down, right = (1 - 2 * rng.integers(2, size=2)).tolist()
        mask[...] = mask[::down, ::right].copy()
    return torch.from_numpy(hidden.reshape(n, units[0] * units[1]))


def _structure(n: int, units: Grid, count: int, generator: torch.Generator) -> torch.Tensor:
    """Whole subtrees of the quadtree over the units, as large as the count allows.

    Going down from the root, children in random order are hidden whole while they fit, and what is left of the count
    goes into the first that does not. The nodes with both hidden and visible units are therefore one path from the
    root, and the root alone where the count is made of whole quadrants.
    """
    rng = _numpy(generator)
    hidden = np.zeros((n, *units), dtype=bool)
    for mask in hidden:
        part, left = mask, count
        while left:
            for child in _quadrants(part, rng):
                if child.size > left:
                    part = child
                    break
                child[...] = True
                left -= child.size
                if not left:
                    break
    return torch.from_numpy(hidden.reshape(n, units[0] * units[1]))


def _quadrants(part: NDArray[np.bool_], rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """The two or four parts of a rectangle, in random order; a side of one unit is not split."""
    rows, columns = (side // 2 if side > 1 else side for side in part.shape)
    parts = [part[:rows, :columns], part[:rows, columns:], part[rows:, :columns], part[rows:, columns:]]
    parts = [child for child in parts if child.size]
    return [parts[index] for index in rng.permutation(len(parts))]


def _numpy(generator: torch.Generator) -> np.random.Generator:
    """A NumPy generator seeded by, and advancing, a torch one: many small draws are faster there."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator).item()))


STRATEGIES: dict[str, Callable[[int, Grid, int, torch.Generator], torch.Tensor]] = {
    "random": _random,
    "block": _block,
    "structure": _structure,
}
"""Name -> function of (masks, unit grid, hidden units, generator) that gives bool (masks, units)."""
