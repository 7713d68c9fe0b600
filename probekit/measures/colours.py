"""Maps as pictures: dark is nothing, bright is much. The colours' lightness alone carries the order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

GLOW = ("#140b34", "#52206e", "#a8325e", "#ed6925", "#fbd25b", "#fcffa4")
"""From nothing to much, evenly spaced."""


def painted(maps: ArrayLike) -> NDArray[np.uint8]:
    """Maps of masses as colours, each scaled to its own highest value.

    Args:
        maps: (..., rows, columns), not negative.

    Returns:
        uint8 (..., rows, columns, 3).

    Example:
        >>> painted([[0.0, 1.0]])[0, 1].tolist()
        [252, 255, 164]
    """
    values = np.asarray(maps, dtype=np.float64)
    top = values.max(axis=(-2, -1), keepdims=True)
    stops = np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in GLOW])
    at = np.clip(values / np.where(top > 0, top, 1), 0, 1) * (len(stops) - 1)
    found = np.stack([np.interp(at, np.arange(len(stops)), stops[:, i]) for i in range(3)], axis=-1)
    return found.astype(np.uint8)
