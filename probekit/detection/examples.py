"""Images with their objects as a detector takes them, fitted into the canvas; and batches as functions of the step."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probekit.data import ImageSet
from probekit.data.instances import Instances, Objects, boxes_of
from probekit.data.loading import ahead
from probekit.data.preprocess import resized
from probekit.data.randomness import generator, uniforms
from probekit.detection.settings import DetectorSettings
from probekit.errors import DataError

SMALLEST = 1.0
"""Least side, in pixels of the canvas, of a box that is trained on."""

DRAWS = 4
"""Random numbers per image: size, place (two), mirrored."""

Convert = Callable[[np.ndarray], np.ndarray]


class Example(NamedTuple):
    """An image, uint8 (channels, height, width), and its objects; `target` is what torchvision's detectors take."""

    image: Tensor
    target: dict[str, Tensor]


def instances_of(images: ImageSet) -> Instances:
    """The objects of an image set; a DataError if it has none."""
    if images.instances is None:
        raise DataError(
            f"{images.spec}: the images come without objects (boxes, masks, classes), which detection needs. "
            "'shapes:scenes' and 'coco:DIR' have them."
        )
    return images.instances


def size_on(canvas: tuple[int, int], size: tuple[int, ...], factor: float = 1.0) -> tuple[int, int]:
    """(height, width) of an image that just fits into the canvas, times a factor.

    >>> size_on((64, 64), (480, 640))
    (48, 64)
    """
    scale = min(canvas[0] / size[0], canvas[1] / size[1]) * factor
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fitted(pixels: np.ndarray, canvas: tuple[int, int]) -> Tensor:
    """An image, uint8 (height, width, channels), as large as the canvas allows: uint8 (channels, ...)."""
    size = size_on(canvas, pixels.shape[:2])
    out = pixels if size == pixels.shape[:2] else resized(pixels, size, "bilinear")
    return torch.from_numpy(np.ascontiguousarray(out.transpose(2, 0, 1)))


def augmented(pixels: np.ndarray, objects: Objects, settings: DetectorSettings, numbers: np.ndarray) -> Example:
    """An image at a random size, cropped to the canvas at a random place, mirrored or not, with its objects.

    Args:
        pixels: uint8 (height, width, channels).
        objects: of the image; crowds are left out.
        settings: `image_size`, `jitter`, `flip`.
        numbers: in [0, 1), (DRAWS,).
    """
    canvas, (low, high) = settings.image_size, settings.jitter
    whole = size_on(canvas, pixels.shape[:2], low + (high - low) * numbers[0])
    size = min(whole[0], canvas[0]), min(whole[1], canvas[1])
    top, left = (int(numbers[1 + axis] * (whole[axis] - size[axis] + 1)) for axis in (0, 1))
    scale = whole[0] / pixels.shape[0], whole[1] / pixels.shape[1]
    box = left / scale[1], top / scale[0], (left + size[1]) / scale[1], (top + size[0]) / scale[0]
    same = size == pixels.shape[:2] == whole
    image = pixels if same else resized(pixels, size, "bilinear", box)
    boxes, labels, masks = cropped(objects, scale, (top, left), size)
    if settings.flip and numbers[3] < 0.5:
        image, masks = image[:, ::-1], masks[:, :, ::-1]
        boxes = np.column_stack([size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]])
    return Example(
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        {
            "boxes": torch.from_numpy(np.ascontiguousarray(boxes)).float(),
            "labels": torch.from_numpy(labels + 1),  # 0 is the background
            "masks": torch.from_numpy(np.ascontiguousarray(masks)).to(torch.uint8),
        },
    )


def cropped(
    objects: Objects, scale: tuple[float, float], corner: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, labels and masks of what is left of the objects in a crop of the rescaled image.

    A box that is cut becomes the smallest one around what is left of its mask.

    Args:
        objects: of the image as it is.
        scale: of the rescaled image, down and across.
        corner: (top, left) of the crop, in pixels of the rescaled image.
        size: (height, width) of the crop.
    """
    shape = objects.masks.shape[1:]
    rows, columns = (
        np.minimum(((np.arange(size[axis]) + corner[axis] + 0.5) / scale[axis]).astype(np.int64), shape[axis] - 1)
        for axis in (0, 1)
    )
    masks = objects.masks[:, rows][:, :, columns]
    moved = objects.boxes * np.tile(scale[::-1], 2) - np.tile(corner[::-1], 2)
    boxes = np.clip(moved, 0, np.tile(size[::-1], 2))
    cut = (np.abs(boxes - moved) > 1).any(axis=1)
    boxes[cut] = boxes_of(masks[cut])
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    kept = (sides >= SMALLEST) & masks.any(axis=(1, 2)) & ~objects.crowd
    return boxes[kept], objects.labels[kept], masks[kept]


class Stream:
    """Training batches: each a pure function of the seed and the step.

    An endless set gives ever new images. Of any other, images without objects are left out, and the rest is gone
    through in a fresh random order per epoch.

    Args:
        images: a train split with objects.
        settings: of the run.
        convert: brings an image to the model's channels.
        rank, world: this process, and how many there are.
    """

    def __init__(
        self, images: ImageSet, settings: DetectorSettings, convert: Convert, *, rank: int = 0, world: int = 1
    ) -> None:
        self.images, self.settings, self.convert = images, settings, convert
        self.rank, self.world = rank, world
        self.instances = instances_of(images)
        self.usable = np.arange(0) if images.endless else np.flatnonzero(self.instances.filled)
        if not images.endless and not len(self.usable):
            raise DataError(f"{images.spec}: no {images.split} image has an object, so there is nothing to train on.")

    def indices(self, positions: np.ndarray) -> np.ndarray:
        """Which images stand at positions of the stream."""
        if self.images.endless:
            return positions
        epochs, within = np.divmod(positions, len(self.usable))
        return np.array([self._order(int(e))[w] for e, w in zip(epochs, within, strict=True)], dtype=np.int64)

    def _order(self, epoch: int) -> np.ndarray:
        return _ordered(len(self.usable), self.settings.seed, epoch, self.usable.tobytes())

    def batch(self, step: int) -> list[Example]:
        """This process's examples of a step."""
        size = self.settings.batch_size // self.world
        positions = np.arange(size, dtype=np.int64) + (step * self.world + self.rank) * size
        numbers = uniforms(positions, DRAWS, "detection", self.settings.seed)
        rows = zip(self.indices(positions).tolist(), numbers, strict=True)
        return [self._example(index, row) for index, row in rows]

    def _example(self, index: int, numbers: np.ndarray) -> Example:
        pixels, objects = self._read(index)
        return augmented(self.convert(pixels), objects, self.settings, numbers)

    def _read(self, index: int) -> tuple[np.ndarray, Objects]:
        if self.images.endless:
            return self.images.pixels(np.array([index]))[0], self.instances[index]
        return read(self.images, index)

    def iterate(self, start: int, stop: int, workers: int = 0) -> Generator[list[Example], None, None]:
        """The batches of steps `start` to `stop`, computed ahead of the caller."""
        return ahead(self.batch, range(start, stop), workers=workers, prefetch=2)


@lru_cache(maxsize=2)
def _ordered(count: int, seed: int, epoch: int, usable: bytes) -> np.ndarray:
    """A random order of the images that can be used."""
    return np.frombuffer(usable, dtype=np.int64)[generator("detection order", seed, epoch).permutation(count)]


def read(images: ImageSet, index: int) -> tuple[np.ndarray, Objects]:
    """An image and its objects, which must be of the same size.

    Raises:
        DataError: they are not.
    """
    pixels, objects = images.read(index), instances_of(images)[index]
    if len(objects.masks) and objects.masks.shape[1:] != pixels.shape[:2]:
        raise DataError(
            f"{images.image_name(index)} is {pixels.shape[0]} x {pixels.shape[1]} pixels, its objects are given for "
            f"{objects.masks.shape[1]} x {objects.masks.shape[2]}. If the file says how to turn it, open the set with "
            "?exif=off."
        )
    return pixels, objects
