"""Random resized crops of many images at once: boxes by torchvision's rule, resizing as batched matrix products.

The weights are those of Pillow's antialiased filters, so that crops equal Pillow's to rounding. Where all crops of one
image size fit, they are looked up in a table (`CropTable`) instead of computed for each batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

TABLE_LIMIT = 2**26
"""Weights of all crops of an image size are computed once and looked up if they take at most this many bytes."""

ASPECTS = (3 / 4, 4 / 3)
ATTEMPTS = 10


def crop_boxes(sizes: np.ndarray, randoms: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Random resized crops by torchvision's rule: up to ten draws of area and aspect, else the largest centre crop.

    Args:
        sizes: (n, 2) height and width.
        randoms: (n, 4 * ATTEMPTS) uniform in [0, 1).
        scale: range of the crop's area as a share of the image's.

    Returns:
        int64 (n, 4): top, left, height, width.
    """
    heights, widths = sizes[:, :1], sizes[:, 1:]
    area, aspect, down, right = np.split(randoms, 4, axis=1)
    area = heights * widths * (scale[0] + area * (scale[1] - scale[0]))
    aspect = np.exp(np.log(ASPECTS[0]) + aspect * (np.log(ASPECTS[1]) - np.log(ASPECTS[0])))
    width = np.round(np.sqrt(area * aspect)).astype(np.int64)
    height = np.round(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width >= 1) & (width <= widths) & (height >= 1) & (height <= heights)
    top = np.floor(down * (heights - height + 1)).astype(np.int64)
    left = np.floor(right * (widths - width + 1)).astype(np.int64)
    boxes = np.stack([top, left, height, width], axis=-1)
    first = np.argmax(fits, axis=1)
    chosen = boxes[np.arange(len(boxes)), first]
    for row in np.flatnonzero(~fits.any(axis=1)):
        chosen[row] = _centre_box(*sizes[row])
    return np.asarray(chosen)


def _centre_box(height: int, width: int) -> tuple[int, int, int, int]:
    if width < ASPECTS[0] * height:
        crop_height, crop_width = round(width / ASPECTS[0]), width
    elif width > ASPECTS[1] * height:
        crop_height, crop_width = height, round(height * ASPECTS[1])
    else:
        crop_height, crop_width = height, width
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _kernel(distance: np.ndarray, interpolation: str) -> np.ndarray:
    """Filter weight at a distance in units of the filter's grid: Keys' cubic with a = -0.5, a triangle, or a box."""
    x = np.abs(distance)
    if interpolation == "bicubic":
        near = (1.5 * x - 2.5) * x * x + 1
        far = ((-0.5 * x + 2.5) * x - 4) * x + 2
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return np.asarray(np.maximum(1 - x, 0) if interpolation == "bilinear" else (x <= 0.5).astype(float))


def resize_weights(start: np.ndarray, length: np.ndarray, source: int, target: int, interpolation: str) -> np.ndarray:
    """Weights that crop [start, start + length) of `source` pixels and resize it to `target`: (n, target, source).

    As in Pillow, the filter widens when shrinking and sees the pixels around the crop as far as the image reaches.
    """
    ratio = (length / target)[:, None, None]
    widened = np.maximum(ratio, 1.0)
    centre = start[:, None, None] + (np.arange(target)[None, :, None] + 0.5) * ratio
    weights = _kernel((np.arange(source)[None, None, :] + 0.5 - centre) / widened, interpolation)
    return np.asarray(weights / weights.sum(axis=2, keepdims=True))


class CropTable:
    """The resize weights of every crop of images of one size, so that a crop is two rows looked up.

    Args:
        source: (height, width) of the images.
        target: (height, width) wanted.
        interpolation: as for `resize_weights`.
        device: where the tables lie.
    """

    def __init__(
        self, source: tuple[int, int], target: tuple[int, int], interpolation: str, device: torch.device | str = "cpu"
    ) -> None:
        import torch

        self.source = source
        down, right = (_all_weights(side, out, interpolation) for side, out in zip(source, target, strict=True))
        self.down = torch.from_numpy(down).to(device)
        self.right = torch.from_numpy(np.concatenate([right, right[:, ::-1]])).to(device)
        if self.down.is_cuda:
            torch.cuda.synchronize()  # whoever looks it up may be on another stream

    def numbers(self, boxes: np.ndarray, flips: np.ndarray) -> np.ndarray:
        """int64 (n, 2): the rows of the two tables for boxes (top, left, height, width), flipped where asked."""
        height, width = self.source
        down = boxes[:, 0] * (height + 1) + boxes[:, 2]
        right = boxes[:, 1] * (width + 1) + boxes[:, 3] + flips * width * (width + 1)
        return np.stack([down, right], axis=1)

    def crop(self, pixels: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """float (n, channels, h, w) in [0, 255] -> (n, channels, height, width), each image cropped and resized."""
        return _resize(pixels, self.down[numbers[:, 0]], self.right[numbers[:, 1]])


def _all_weights(source: int, target: int, interpolation: str) -> np.ndarray:
    """float32 (source * (source + 1), target, source): row start * (source + 1) + length; impossible ones are zero."""
    start, length = (part.reshape(-1) for part in np.mgrid[:source, : source + 1])
    possible = (length > 0) & (start + length <= source)
    table = np.zeros((len(start), target, source), dtype=np.float32)
    table[possible] = resize_weights(start[possible], length[possible], source, target, interpolation)
    return table


@lru_cache(maxsize=4)
def crop_table(
    source: tuple[int, int], target: tuple[int, int], interpolation: str, device: torch.device | str = "cpu"
) -> CropTable | None:
    """The table for these sizes, made once; None if it would take more than `TABLE_LIMIT`."""
    size = sum(4 * (side + 1) * side * side * out for side, out in zip(source, target, strict=True))
    return CropTable(source, target, interpolation, device) if size <= TABLE_LIMIT else None


def _resize(pixels: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Rows, then columns; clipped in between, as Pillow does."""
    return (down[:, None] @ (pixels @ right.transpose(1, 2)[:, None]).clamp_(0, 255)).clamp_(0, 255)


def resized_crops(
    images: np.ndarray, boxes: np.ndarray, flips: np.ndarray, height: int, width: int, interpolation: str
) -> torch.Tensor:
    """uint8 (n, h, w, c) -> float32 (n, c, height, width) in [0, 255]: each crop, resized, flipped where asked."""
    import torch

    source = images.shape[1], images.shape[2]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32)
    table = crop_table(source, (height, width), interpolation)
    if table is not None:
        return table.crop(pixels, torch.from_numpy(table.numbers(boxes, flips)))
    rows = resize_weights(boxes[:, 0], boxes[:, 2], source[0], height, interpolation)
    columns = resize_weights(boxes[:, 1], boxes[:, 3], source[1], width, interpolation)
    columns[flips] = columns[flips, ::-1]
    return _resize(pixels, torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(columns.astype(np.float32)))
