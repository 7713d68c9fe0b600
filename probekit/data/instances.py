"""Objects of an image set: a box, a class and a mask for each, read when they are asked for.

Boxes are (left, top, right, bottom) in pixels from the image's upper left corner, so that the pixel in the corner is
the box (0, 0, 1, 1). A crowd is a region of many objects without masks of their own: it is left out of training, and a
detection inside it is neither right nor wrong (COCO's rule).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Objects(NamedTuple):
    """What is in one image; an entry (or row) for each of n objects."""

    boxes: np.ndarray
    """float64 (n, 4): left, top, right, bottom."""
    labels: np.ndarray
    """int64 (n,), into `Instances.classes`."""
    crowd: np.ndarray
    """bool (n,), regions of many objects."""
    areas: np.ndarray
    """float64 (n,), pixels of the object."""
    masks: np.ndarray
    """bool (n, height, width), its visible pixels."""


class Instances:
    """The objects of each image.

    Attributes:
        classes: names, in the order of their numbers.
        identifiers: int64 (classes,), the number of each class in the source's own files.
        filled: bool (n,), whether an image has an object that is no crowd.
    """

    def __init__(
        self,
        read: Callable[[int], Objects],
        positions: Sequence[int] | np.ndarray,
        *,
        classes: Sequence[str],
        filled: Callable[[np.ndarray], np.ndarray],
        identifiers: Sequence[int] | None = None,
    ) -> None:
        """`read` gives the objects at a position, `filled` says of several whether there are any; image i has those at
        `positions[i]`."""
        self._read, self._filled = read, filled
        self._positions = np.asarray(positions, dtype=np.int64)
        self.classes = tuple(classes)
        self.identifiers = np.arange(1, len(classes) + 1) if identifiers is None else np.asarray(identifiers, np.int64)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Objects:
        """The objects of an image. In an endless set, of any index from 0 upwards."""
        at = self._positions[index] if 0 <= index < len(self) else index
        return self._read(int(at))

    @property
    def filled(self) -> np.ndarray:
        return np.asarray(self._filled(self._positions), dtype=bool)

    def take(self, positions: np.ndarray) -> Instances:
        """The objects of some images."""
        return Instances(
            self._read,
            self._positions[positions],
            classes=self.classes,
            filled=self._filled,
            identifiers=self.identifiers.tolist(),
        )


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """The smallest box around each mask: float64 (n, 4) from bool (n, height, width); all 0 for an empty mask.

    >>> boxes_of(np.eye(3, dtype=bool)[None])
    array([[0., 0., 3., 3.]])
    """
    boxes = np.zeros((len(masks), 4))
    for row, mask in enumerate(masks):
        down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(down):
            boxes[row] = across[0], down[0], across[-1] + 1, down[-1] + 1
    return boxes
