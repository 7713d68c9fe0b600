"""COCO's polygons and run-length codes as masks, by pycocotools.

pycocotools decodes in C and believes what it is given: runs that are longer than the image are written past its end,
and a polygon takes memory for every pixel of its outline. So both are checked first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from probekit.errors import DataError

OUTLINE = 10**6
"""Longest outline of an object in pixels."""


def mask_of(segmentation: Any, size: tuple[int, int], name: str) -> np.ndarray:
    """The pixels of COCO's polygons or run-length code: bool (height, width).

    Args:
        segmentation: a list of polygons (x, y, x, y, ...), or an object with `counts` and `size`.
        size: (height, width) of the image.
        name: for messages.

    Raises:
        DataError: it is neither, or of another size; or pycocotools is not installed.
    """
    coder = mask_coder()
    try:
        if isinstance(segmentation, list):
            if not segmentation:
                return np.zeros(size, dtype=bool)
            coded = coder.merge(coder.frPyObjects(_outlines(segmentation), *size))
        else:
            coded = coder.frPyObjects({"counts": _runs(segmentation, size), "size": list(size)}, *size)
        return np.asarray(coder.decode(coded)).astype(bool)
    except Exception as error:  # pycocotools raises bare exceptions
        raise DataError(f"{name} has a mask that is neither polygons nor a run-length code ({error}).") from error


def _outlines(polygons: list[Any]) -> list[list[float]]:
    """Check that polygons are finite and that their outlines are at most `OUTLINE` long."""
    found, length = [], 0.0
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        length += float(np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum())
        if len(points) < 2 or not np.isfinite(points).all() or not np.abs(points).max() + length <= OUTLINE:
            raise ValueError(f"an outline of {len(points)} points and {length:.3g} pixels; at most {OUTLINE:,} pixels")
        found.append(points.ravel().tolist())
    return found


def _runs(code: Any, size: tuple[int, int]) -> list[int]:
    """The lengths of runs, which fill the image."""
    counts = code["counts"]
    runs = [int(run) for run in counts] if isinstance(counts, list) else _unpacked(counts, 2 * math.prod(size) + 1)
    if tuple(code["size"]) != size:
        raise ValueError(f"it has {code['size']} pixels; the image has {list(size)}")
    if any(run < 0 for run in runs) or sum(runs) != math.prod(size):
        raise ValueError(f"its runs cover {sum(runs):,} pixels; the image has {math.prod(size):,}")
    return runs


def _unpacked(text: str | bytes, most: int) -> list[int]:
    """The runs of COCO's compressed code: numbers in units of 5 bits, from the fourth on as differences."""
    runs: list[int] = []
    number = place = 0
    for byte in text.encode() if isinstance(text, str) else text:
        unit = byte - 48
        number |= (unit & 0x1F) << 5 * place
        place += 1
        if unit & 0x20:
            if place > 8:
                raise ValueError("a number of more than 40 bits")
            continue
        if unit & 0x10:
            number -= 1 << 5 * place
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        if len(runs) > most:
            raise ValueError(f"more than {most:,} runs, for an image of half as many pixels")
        number = place = 0
    if place:
        raise ValueError("it ends within a number")
    return runs


def mask_coder() -> Any:
    """`pycocotools.mask`, or a DataError that says how to install it."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DataError(
            "Masks in COCO's format and its scores need pycocotools. Run: pip install 'mae-probekit[detection]'"
        ) from error
    return mask
