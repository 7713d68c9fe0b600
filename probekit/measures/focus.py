"""How much of a map over an image (attention, attribution) falls on the object, against chance.

Chance is the object's share of the area: a map that ignores the image scores that. Maps stay on their own grid (ViT
patches); masks are averaged down to it, so that a patch half covered counts half.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.errors import ProbeError

Floats = NDArray[np.float64]


class Focus(NamedTuple):
    """Per image, (n,): NaN where the map is zero or the image has no object."""

    share: Floats
    """Share of the map's mass on the object, in [0, 1]."""
    chance: Floats
    """Share of the area that the object takes, in [0, 1]."""


def area_fraction(masks: ArrayLike, grid: tuple[int, int]) -> Floats:
    """How much of each cell of `grid` (rows, columns) the masks bool (n, height, width) cover: (n, rows, columns).

    Sides need not be multiples of the grid's: a pixel that two cells share is split by area.
    """
    array = np.asarray(masks)
    if array.ndim != 3 or array.dtype != np.bool_:
        raise ProbeError(f"Object masks are {array.dtype} {array.shape}, expected bool (n, height, width).")
    down, across = (overlaps(side, cells) for side, cells in zip(array.shape[1:], grid, strict=True))
    cover = np.zeros((len(array), *grid))
    for place, mask in enumerate(array):  # one at a time: in float64 all masks of large images would fill the memory
        cover[place] = down @ mask.astype(np.float64) @ across.T
    return cover


def overlaps(side: int, cells: int) -> Floats:
    """Share of each cell's length that each pixel covers, (cells, side); rows sum to one."""
    edges = np.arange(cells + 1) * side / cells
    pixels = np.arange(side)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return np.asarray(np.maximum(high - low, 0) * cells / side)


def object_share(maps: ArrayLike, masks: ArrayLike) -> Focus:
    """Share of each map on its object.

    Args:
        maps: (n, rows, columns), not negative (take absolute values of attributions first).
        masks: bool (n, height, width), True on the object; any size.

    Raises:
        ProbeError: negative or NaN maps, shapes that do not fit.
    """
    array = np.asarray(maps, dtype=np.float64)
    if array.ndim != 3 or len(array) != len(np.asarray(masks)):
        raise ProbeError(
            f"Maps of shape {array.shape} for {len(np.asarray(masks))} masks, expected (n, rows, columns)."
        )
    if not (array >= 0).all():
        raise ProbeError(
            "Maps hold negative numbers or NaN: a share needs masses (take absolute values of attributions)."
        )
    cover = area_fraction(masks, (array.shape[1], array.shape[2]))
    total, area = array.sum(axis=(1, 2)), cover.mean(axis=(1, 2))
    on = np.einsum("nrc,nrc->n", array, cover)
    used = (total > 0) & (area > 0)
    share = np.divide(on, total, out=np.full(len(array), np.nan), where=used)
    return Focus(share, np.where(used, area, np.nan))
