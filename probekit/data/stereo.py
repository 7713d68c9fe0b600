"""`stereo_motorcycle`: windows of a rectified stereo pair with true disparity, which scikit-image installs.

One scene (Middlebury 2014, "Motorcycle"), seen from the left and from the right. Pixel (y, x) of the left image is
pixel (y, x - d) of the right one, where d is the disparity; this was checked on the pixels (the loader's own
documentation has it the other way round). Depth in metres is baseline x focal length / (d + difference of the principal
points). Splits are bands of columns of the left image, so no pixel of it is in two splits. Windows of a split overlap;
intervals resample rows of windows (`groups`).

Reference: Scharstein et al., "High-resolution stereo datasets with subpixel-accurate ground truth", GCPR 2014.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from probekit import cache
from probekit.data.base import ImageSet, check_count
from probekit.data.decode import open_rgb
from probekit.data.maps import PixelMaps
from probekit.data.photos import picture_path
from probekit.errors import DataError

FOCAL, BASELINE, PRINCIPAL_OFFSET = 994.978, 0.193001, 31.086
"""Pixels, metres, pixels: the calibration of the images that scikit-image installs."""

BANDS = {"train": (0, 444), "val": (444, 592), "test": (592, 741)}
"""Columns of the left image that belong to each split."""

SIZE, STRIDE = 128, 20


@lru_cache(maxsize=1)
def _scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left and right image, uint8 (500, 741, 3), and the left image's disparity, float32 (500, 741)."""
    left, right = (np.asarray(open_rgb(picture_path(f"skimage/motorcycle_{side}.png"))) for side in ("left", "right"))
    with np.load(picture_path("skimage/motorcycle_disp.npz"), allow_pickle=False) as stored:
        return left, right, stored["arr_0"].astype(np.float32)


class StereoWindows(ImageSet):
    """Windows of the left image.

    Attributes:
        depth: of each pixel, in metres.
        disparity: of each pixel, in pixels of the window.
    """

    disjoint = True

    def __init__(self, split: str, size: int, *, spec: str, count: int | None) -> None:
        left, _, _ = _scene()
        start, stop = BANDS[split]
        corners = [
            (top, column)
            for top in range(0, left.shape[0] - size + 1, STRIDE)
            for column in range(start, stop - size + 1, STRIDE)
        ]
        check_count(count, len(corners))
        order = np.random.default_rng(0).permutation(len(corners))[:count]
        self.corners = np.array(corners, dtype=np.int64)[order]
        self.size = size
        super().__init__(
            name="stereo_motorcycle",
            spec=spec,
            split=split,
            classes=[],
            labels=None,
            size=len(self.corners),
            origin="decoded",
            facts={"source": "stereo_motorcycle", "version": 1, "size": size, "stride": STRIDE},
            licence="Middlebury 2014 stereo data, as scikit-image installs it",
            description=f"{len(self.corners)} windows of {size} x {size} pixels of one scene, with disparity and depth",
        )
        self.groups: np.ndarray = self.corners[:, 0] // size
        self.implied = ("groups",)
        self.disparity = PixelMaps(self._disparity, range(len(self)), unit="pixel")
        self.depth = PixelMaps(self._depth, range(len(self)), unit="m")

    def _window(self, values: np.ndarray, index: int) -> np.ndarray:
        top, left = self.corners[index]
        return values[top : top + self.size, left : left + self.size]

    def read(self, index: int) -> np.ndarray:
        return self._window(_scene()[0], index)

    def right(self, index: int) -> np.ndarray:
        """The right image at the same rows and columns: uint8 (size, size, 3)."""
        return self._window(_scene()[1], index)

    def _disparity(self, index: int) -> np.ndarray:
        found = self._window(_scene()[2], index)
        return np.where(np.isfinite(found), found, np.float32(np.nan))

    def _depth(self, index: int) -> np.ndarray:
        return (BASELINE * FOCAL / (self._disparity(index) + PRINCIPAL_OFFSET)).astype(np.float32)

    def correspondences(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of the left window whose match is in the right window: float64 (m, 2) each, row and column."""
        disparity = self._disparity(index)
        rows, columns = np.nonzero(np.isfinite(disparity))
        matched = columns - disparity[rows, columns].astype(np.float64)
        inside = matched >= 0
        left = np.stack([rows, columns], axis=1)[inside].astype(np.float64)
        return left, np.stack([rows[inside].astype(np.float64), matched[inside]], axis=1)

    def image_name(self, index: int) -> str:
        top, left = self.corners[index]
        return f"stereo_motorcycle at row {top}, column {left}"

    def content(self) -> str:
        return cache.key(scene=[hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in _scene()])


def open_split(
    argument: str, split: str, *, spec: str, count: int | None = None, seed: int = 0, size: int = SIZE
) -> ImageSet:
    """Open a split.

    Args:
        argument: none.
        split: a band of columns.
        spec: for messages.
        count: number of windows.
        seed: has no effect; the windows are fixed.
        size: side of the windows in pixels, 32 to 148.
    """
    if argument:
        raise DataError(f"{spec}: stereo_motorcycle has no variant {argument!r}.")
    if not 32 <= size <= 148:
        raise DataError(f"{spec}: size={size}; windows of 32 to 148 pixels fit in every split.")
    return StereoWindows(split, size, spec=spec, count=count)
