"""Maps of an image set: one number per pixel (class, depth, disparity), read when they are asked for.

A map has its image's size. `prepared` brings maps to a model's input by nearest neighbour, with the image's own
geometry: pixel (y, x) of the map belongs to pixel (y, x) of the preprocessed image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probekit.data.preprocess import Preprocess
from probekit.errors import DataError


class PixelMaps:
    """One map per image.

    Attributes:
        classes: names of the classes, in the order of their numbers; empty for depth and disparity.
        ignore: the number of pixels that count for nothing; None if there is none. Unknown depths are NaN.
        unit: of the values, such as "m"; empty for classes.
    """

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        positions: Sequence[int] | np.ndarray,
        *,
        classes: Sequence[str] = (),
        ignore: int | None = None,
        unit: str = "",
    ) -> None:
        """`read` gives the map at a position, (height, width); image i has the one at `positions[i]`."""
        self._read = read
        self._positions = np.asarray(positions, dtype=np.int64)
        self.classes = tuple(classes)
        self.ignore = ignore
        self.unit = unit

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> np.ndarray:
        """The map of an image, (height, width): whole numbers for classes, float32 otherwise."""
        found = self._read(int(self._positions[range(len(self))[index]]))
        if self.classes and found.size:
            wrong = (found < 0) | (found >= len(self.classes))
            wrong &= found != self.ignore if self.ignore is not None else True
            if wrong.any():
                raise DataError(
                    f"The map of image {index} holds the class {found[wrong][0]}; there are {len(self.classes)} "
                    f"(0 to {len(self.classes) - 1}), and {self.ignore} is ignored. State another number with ?ignore=."
                )
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All maps, (n, height, width), where they have one size."""
        return np.stack([self[index] for index in range(len(self))]).astype(dtype)

    def take(self, positions: np.ndarray) -> PixelMaps:
        """The maps of some images."""
        return PixelMaps(
            self._read, self._positions[positions], classes=self.classes, ignore=self.ignore, unit=self.unit
        )

    def prepared(self, indices: Sequence[int] | np.ndarray, preprocess: Preprocess) -> np.ndarray:
        """Maps as a model's input is: resized by nearest neighbour and cropped, (len(indices), height, width).

        Args:
            indices: which images.
            preprocess: of the model.

        Example:
            >>> images = load("shapes", count=4)
            >>> images.segmentation.prepared([0, 1], Preprocess(64, 64)).shape
            (2, 64, 64)
        """
        return np.stack([preprocess.nearest(self[int(index)]) for index in indices])
