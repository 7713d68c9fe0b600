"""Augmented images, as pure functions of (seed, position): training batches by step, and several views of one image.

A `TrainingStream` has no state that a resumed run would have to restore: `batch(step)` can be asked for in any order,
and the images that `world` processes get together do not depend on how many they are. The augmentation is MAE's:
random resized crop (area 0.2 to 1, aspect 3/4 to 4/3, bicubic) and a horizontal flip. Images that lie in memory (or
fit there) are cropped and resized as two batched matrix products with the filter weights of Pillow's antialiased
bicubic; others are decoded and resized one by one, in processes where asked.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from probekit import progress
from probekit.data.base import ImageSet
from probekit.data.crops import ATTEMPTS, crop_boxes, resized_crops
from probekit.data.loading import ahead
from probekit.data.preprocess import Preprocess, resized
from probekit.data.randomness import generator, uniforms
from probekit.errors import DataError

if TYPE_CHECKING:
    import torch

MEMORY_LIMIT = 2**30
"""Splits of one image size that take at most this many bytes when decoded are kept in memory while training."""

_PACKED: WeakKeyDictionary[ImageSet, np.ndarray | None] = WeakKeyDictionary()
"""Decoded pixels by image set, so that several runs on one set decode it once."""


def packed(image_set: ImageSet) -> np.ndarray | None:
    """All images, uint8 (n, h, w, c), kept as long as the set; None if their sizes differ or they do not fit."""
    if image_set not in _PACKED:
        _PACKED[image_set] = _decoded(image_set)
    return _PACKED[image_set]


def _decoded(image_set: ImageSet) -> np.ndarray | None:
    first = image_set[0]
    if first.size * len(image_set) > MEMORY_LIMIT:
        return None
    images = np.empty((len(image_set), *first.shape), dtype=np.uint8)
    with progress.bar(f"{image_set.name}: decoding into memory", len(images)) as advance:
        for index in range(len(images)):
            image = image_set.read(index)
            if image.shape != first.shape:
                return None
            images[index] = image
            advance()
    return images


class _Augmented:
    """What streams and views share: reading, cropping, resizing and normalising images at given random numbers."""

    def __init__(
        self, image_set: ImageSet, preprocess: Preprocess, scale: tuple[float, float], flip: bool, augment: bool
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise DataError(f"scale={scale}: the crop's share of the area must satisfy 0 < smallest <= largest <= 1.")
        if augment and preprocess.interpolation not in ("bicubic", "bilinear", "box"):
            raise DataError(
                f"Random crops are resized with bicubic, bilinear or box, not with {preprocess.interpolation!r}."
            )
        preprocess.announce(image_set)
        self.image_set = image_set
        self.preprocess = preprocess
        self.scale = scale
        self.flip = flip
        self.augment = augment
        self.packed = image_set.in_memory or image_set.endless

    def pack(self) -> None:
        """Decode everything into memory, if all images have one size and fit."""
        if not self.packed:
            self._images = packed(self.image_set)
            self.packed = self._images is not None

    def uint8(self, indices: np.ndarray, randoms: np.ndarray) -> np.ndarray:
        """Images one by one: uint8 (n, height, width, channels). `randoms` is (n, 4 * ATTEMPTS + 1)."""
        size = self.preprocess.height, self.preprocess.width
        out = np.empty((len(indices), *size, self.preprocess.channels), dtype=np.uint8)
        for row, index in enumerate(indices):
            image = self.image_set.read(int(index))
            if not self.augment:
                out[row] = self.preprocess(image)
                continue
            top, left, height, width = crop_boxes(np.array([image.shape[:2]]), randoms[row : row + 1, 1:], self.scale)[
                0
            ].tolist()
            box = left, top, left + width, top + height
            crop = resized(self.preprocess.convert(image), size, self.preprocess.interpolation, box)
            out[row] = crop[:, ::-1] if self.flip and randoms[row, 0] < 0.5 else crop
        return out

    def packed_float(self, indices: np.ndarray, randoms: np.ndarray) -> torch.Tensor:
        """Images all at once: float32 (n, channels, height, width) in [0, 255]."""
        import torch

        stored = getattr(self, "_images", None)
        images = self.image_set.pixels(indices) if stored is None else stored[indices]
        if images.shape[3] != self.preprocess.channels:
            images = np.stack([self.preprocess.convert(image) for image in images])
        if self.augment:
            boxes, flips = self.drawn_crops(randoms, images.shape[1:3])
            return resized_crops(
                images, boxes, flips, self.preprocess.height, self.preprocess.width, self.preprocess.interpolation
            )
        if images.shape[1:3] != (self.preprocess.height, self.preprocess.width):
            images = np.stack([self.preprocess(image) for image in images])
        return torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32)

    def drawn_crops(self, randoms: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes, int64 (n, 4), and flips, bool (n,), of images of one (height, width) at given random numbers."""
        boxes = crop_boxes(np.tile(size, (len(randoms), 1)), randoms[:, 1:], self.scale)
        return boxes, (randoms[:, 0] < 0.5) & self.flip

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """float (n, 3, height, width) in [0, 255] -> normalised as the model expects."""
        return self.preprocess.normalise(pixels)


class TrainingStream(_Augmented):
    """Training batches without end.

    A set with `endless` (generated, and no `count` given) gives images that were never seen before, un-augmented
    unless asked otherwise; any other is gone through in a fresh random order per epoch, epochs following each other
    without a gap or a short batch.

    Args:
        image_set: usually a train split.
        batch_size: images per batch and process.
        preprocess: size, interpolation and normalisation.
        seed: of order and augmentation.
        scale: range of the crop's area, as a share of the image's.
        flip: whether half of the images are mirrored.
        augment: None: as the image set allows (sets with known latents are not augmented: it would change them).
        rank, world: this process, and how many there are.
        workers: processes that decode (sets in memory need none).

    Raises:
        DataError: a batch of no images, a rank out of range, or a range of crops outside (0, 1].

    Example:
        >>> stream = TrainingStream(probekit.data.load("shapes", "train"), 4, Preprocess(32, 32))
        >>> stream.batch(0).shape
        torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        preprocess: Preprocess,
        *,
        seed: int = 0,
        scale: tuple[float, float] = (0.2, 1.0),
        flip: bool = True,
        augment: bool | None = None,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world:
            raise DataError(
                f"batch_size={batch_size}, rank={rank}, world={world}: batches of at least 1, rank < world."
            )
        chosen = image_set.height is None if augment is None else augment
        super().__init__(image_set, preprocess, scale, flip, chosen)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.workers = workers
        self.endless = image_set.endless
        self._order = lru_cache(maxsize=2)(self._epoch_order)
        self.pack()

    def positions(self, step: int) -> np.ndarray:
        """Which images of the stream make up this process's batch: int64 (batch_size,)."""
        start = (step * self.world + self.rank) * self.batch_size
        return np.arange(start, start + self.batch_size, dtype=np.int64)

    def indices(self, step: int) -> np.ndarray:
        """Which images of the set they are: int64 (batch_size,)."""
        return self.located(self.positions(step))

    def located(self, positions: np.ndarray) -> np.ndarray:
        """Which images of the set stand at positions of the stream: int64, one each."""
        if self.endless:
            return positions
        epochs, within = np.divmod(positions, len(self.image_set))
        found = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            found[epochs == epoch] = self._order(epoch)[within[epochs == epoch]]
        return found

    def crops(self, positions: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and flips at positions of the stream, of images of one (height, width)."""
        return self.drawn_crops(self._randoms(positions), size)

    def _randoms(self, positions: np.ndarray) -> np.ndarray:
        return uniforms(positions, 4 * ATTEMPTS + 1, "augmentation", self.seed)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        return generator("training order", self.seed, epoch).permutation(len(self.image_set))

    def _pixels(self, step: int) -> np.ndarray | torch.Tensor:
        randoms = self._randoms(self.positions(step))
        if self.packed:
            return self.packed_float(self.indices(step), randoms)
        return self.uint8(self.indices(step), randoms)

    def _tensor(self, pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
        import torch

        if isinstance(pixels, np.ndarray):
            pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return self.normalise(pixels)

    def batch(self, step: int) -> torch.Tensor:
        """The batch of a step, a pure function of (seed, step, rank, world).

        Args:
            step: number of the step, from 0.

        Returns:
            float32 (batch_size, channels, height, width), normalised.
        """
        return self._tensor(self._pixels(step))

    def iterate(
        self, start_step: int = 0, stop_step: int | None = None, *, prefetch: int = 2
    ) -> Generator[torch.Tensor, None, None]:
        """Batches in order, computed ahead of the caller.

        Args:
            start_step: the first step.
            stop_step: the step before which it ends; None goes on without end.
            prefetch: batches that are prepared ahead.

        Yields:
            `batch(start_step)`, `batch(start_step + 1)`, ...
        """
        steps = range(start_step, 2**62 if stop_step is None else stop_step)
        workers = 0 if self.packed else self.workers
        for pixels in ahead(_Step(self), steps, workers=workers, prefetch=prefetch):
            yield self._tensor(pixels)

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: without the cache of orders, which is a function."""
        state = dict(self.__dict__)
        del state["_order"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._order = lru_cache(maxsize=2)(self._epoch_order)


class _Step:
    """`stream._pixels`, as something that a process can be sent."""

    def __init__(self, stream: TrainingStream) -> None:
        self.stream = stream

    def __call__(self, step: int) -> np.ndarray | torch.Tensor:
        return self.stream._pixels(step)


class Views(_Augmented):
    """Several augmented views of each image, the same ones whenever asked: for measures that compare views (LiDAR).

    Args:
        image_set, preprocess, scale, flip: as in `TrainingStream`.
        count: views per image.
        seed: of the views.
        keys: whole numbers >= 0, one per image, that its views are drawn by; None = by its index.

    Raises:
        DataError: fewer than one view per image.

    Example:
        >>> views = Views(probekit.data.load("shapes", "test"), Preprocess(32, 32), count=2)
        >>> views.batch(np.arange(4)).shape
        torch.Size([4, 2, 3, 32, 32])
    """

    def __init__(
        self,
        image_set: ImageSet,
        preprocess: Preprocess,
        count: int,
        *,
        seed: int = 0,
        scale: tuple[float, float] = (0.2, 1.0),
        flip: bool = True,
        keys: np.ndarray | None = None,
    ) -> None:
        super().__init__(image_set, preprocess, scale, flip, True)
        if count < 1:
            raise DataError(f"{count} views per image were asked for; at least 1 is needed.")
        self.count = count
        self.seed = seed
        self.keys = keys

    def batch(self, indices: np.ndarray) -> torch.Tensor:
        """The views of some images. An image's views depend on its index (or its key) and the seed alone.

        Args:
            indices: int (n,), numbers of images in the set.

        Returns:
            float32 (n, count, channels, height, width), normalised.
        """
        import torch

        drawn_by = np.asarray(indices if self.keys is None else self.keys[indices])
        positions = (drawn_by[:, None] * self.count + np.arange(self.count)).reshape(-1)
        randoms = uniforms(positions, 4 * ATTEMPTS + 1, "views", self.seed)
        repeated = np.repeat(np.asarray(indices), self.count)
        if self.packed:
            pixels = self.packed_float(repeated, randoms)
        else:
            pixels = torch.from_numpy(self.uint8(repeated, randoms)).permute(0, 3, 1, 2)
        out = self.normalise(pixels)
        return out.reshape(len(indices), self.count, *out.shape[1:])
