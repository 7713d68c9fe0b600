"""`shapes:scenes`: images of several objects, each with its class, box and mask, for detection without a download.

Two to six of the shapes of `shapes` lie on one background, each of its own size, place, texture and colours. The class
is the shape; texture and shape are independent. Later objects lie above earlier ones; a mask holds the visible pixels,
and an object of which less than half is visible is left out of the list (it stays in the picture). Every image is a
pure function of (seed, split, index), so training never sees an image twice.
"""

from __future__ import annotations

import numpy as np

from probekit.checks import whole
from probekit.data.base import ImageSet
from probekit.data.drawing import (
    CHUNK_PIXELS,
    N_PHASES,
    SHAPES,
    TAU,
    TEXTURES,
    background,
    between,
    colours,
    distances,
    plane,
    rounded,
    textures,
    turned,
)  # fmt: skip
from probekit.data.instances import Instances, Objects, boxes_of
from probekit.data.maps import PixelMaps
from probekit.data.randomness import uniforms
from probekit.errors import DataError

SIZE = 64

FEWEST, MOST = 2, 6
"""Objects of an image; one that finds no free place is left out, but never the first."""

RADII = (0.2, 0.42)
"""Smallest and largest radius, in units of half the image's side."""

TRIES = 6
"""Places that are tried for each object."""

APART = 0.8
"""Least distance of two centres, in units of the sum of their radii."""

VISIBLE = 0.5
"""Share of an object that must be seen, for it to be listed."""

OBJECT = 24 + N_PHASES + 2 * TRIES
"""Uniform random numbers per object; the first 24 are those of `shapes` where they mean the same."""


class Scenes(ImageSet):
    """A split. Images are drawn when read."""

    in_memory = True

    disjoint = True

    def __init__(self, split: str, size: int, *, spec: str, count: int | None, usual: int, seed: int) -> None:
        n = usual if count is None else count
        self.size, self.seed = size, seed
        super().__init__(
            name="shapes:scenes",
            spec=spec,
            split=split,
            classes=(),
            labels=None,
            size=n,
            origin="generated",
            facts={"source": "shapes", "version": 1, "variant": "scenes", "size": size, "seed": seed},
            licence="generated; no rights reserved",
            description=f"{n} scenes of {FEWEST} to {MOST} drawn objects: {len(SHAPES)} shapes, "
            f"{len(TEXTURES)} textures",
        )
        self.endless = count is None and split == "train"
        self.instances = Instances(self._objects, range(n), classes=tuple(SHAPES), filled=np.ones_like)
        self.segmentation = PixelMaps(self._segmentation, range(n), classes=("background", *SHAPES))

    def read(self, index: int) -> np.ndarray:
        return np.asarray(self.pixels(np.array([index]))[0])

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (len(indices), size, size, 3). In an endless set, any index from 0 upwards."""
        indices = np.asarray(indices)
        out = np.empty((len(indices), self.size, self.size, 3), dtype=np.uint8)
        step = max(1, CHUNK_PIXELS // self.size**2)
        for start in range(0, len(indices), step):
            rows = slice(start, start + step)
            out[rows] = self._drawn(indices[rows])
        return out

    def layout(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Random numbers (n, MOST, OBJECT), centres with radii (n, MOST, 3), and which objects exist, (n, MOST)."""
        drawn = uniforms(np.asarray(indices), MOST * OBJECT, "scenes", self.seed, self.split)
        random = drawn.reshape(len(drawn), MOST, OBJECT)
        wanted = FEWEST + (random[:, 0, 9] * (MOST - FEWEST + 1)).astype(np.int64)
        placed = np.zeros((len(random), MOST, 3))
        there = np.zeros((len(random), MOST), dtype=bool)
        for slot in range(MOST):
            radius = RADII[0] + (RADII[1] - RADII[0]) * random[:, slot, 1]
            done = slot >= wanted
            for attempt in range(TRIES):
                at = random[:, slot, OBJECT - 2 * TRIES + 2 * attempt :][:, :2]
                centre = (2 * at - 1) * (0.96 - radius)[:, None]
                far = np.hypot(*np.moveaxis(placed[:, :slot, :2] - centre[:, None], -1, 0))
                free = (far >= APART * (placed[:, :slot, 2] + radius[:, None])) | ~there[:, :slot]
                here = free.all(axis=1) & ~done
                placed[here, slot] = np.column_stack([centre, radius])[here]
                there[here, slot], done = True, done | here
        return random, placed, there

    def _parts(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Random numbers, which objects exist, classes (n, MOST), and signed distances in pixels, (n, MOST, size,
        size)."""
        random, placed, there = self.layout(indices)
        kinds = (random[:, :, 0] * len(SHAPES)).astype(np.int64)
        distance = np.empty((len(random), MOST, self.size, self.size))
        x, y = plane(self.size)
        for slot in range(MOST):
            across, down, radius = (placed[:, slot, i, None, None] for i in range(3))
            radius = np.where(there[:, slot, None, None], radius, 1.0)
            u, v = turned(x - across, y - down, (random[:, slot, 2] - 0.5) * 0.12 * TAU)
            distance[:, slot] = distances(kinds[:, slot], u / radius, v / radius) * radius * self.size / 2
        return random, there, kinds, distance

    def _drawn(self, indices: np.ndarray) -> np.ndarray:
        random, there, _, distance = self._parts(indices)
        image = background(random[:, 0], self.size, "scenes")
        for slot in range(MOST):
            inside = np.clip(0.5 - distance[:, slot], 0, 1) * there[:, slot, None, None]
            light, dark = colours(random[:, slot], "scenes")
            brightness = self._texture(random[:, slot])[..., None]
            image = image + inside[..., None] * (dark + (light - dark) * brightness - image)
        return rounded(image)

    def _texture(self, r: np.ndarray) -> np.ndarray:
        """Brightness (n, size, size) of objects, fine enough to be seen on a small one."""
        x, y = plane(self.size)
        kinds = (r[:, 8] * len(TEXTURES)).astype(np.int64)
        u, v = turned(x, y, (r[:, 11] - 0.5) * 0.12 * TAU)
        period = between(r[:, 10], 0.2, 0.28)
        u, v = u / period + between(r[:, 12], 0, 1), v / period + between(r[:, 13], 0, 1)
        return textures(kinds, u, v, r[:, 24 : 24 + N_PHASES])

    def _visible(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes (k,) and visible pixels, bool (k, size, size), of the objects that are listed."""
        _, there, kinds, distance = self._parts(np.array([index]))
        whole_, slots = distance[0] <= 0, np.flatnonzero(there[0])
        masks = np.stack([whole_[slot] & ~whole_[slots[slots > slot]].any(axis=0) for slot in slots])
        seen = masks.sum(axis=(1, 2)) >= VISIBLE * np.maximum(1, whole_[slots].sum(axis=(1, 2)))
        return kinds[0, slots[seen]], masks[seen]

    def _objects(self, index: int) -> Objects:
        labels, masks = self._visible(index)
        return Objects(
            boxes_of(masks), labels, np.zeros(len(labels), dtype=bool), masks.sum(axis=(1, 2), dtype=np.float64), masks
        )

    def _segmentation(self, index: int) -> np.ndarray:
        """The class of each pixel, int64 (size, size): 0 = background, 1 + the number of the shape on an object."""
        _, there, kinds, distance = self._parts(np.array([index]))
        out = np.zeros((self.size, self.size), dtype=np.int64)
        for slot in np.flatnonzero(there[0]):
            out[distance[0, slot] <= 0] = 1 + kinds[0, slot]
        return out


def open_split(split: str, *, spec: str, count: int | None, usual: int, seed: int, size: int) -> ImageSet:
    """Draw a split.

    Args:
        count: of images; None = as many as is usual, and in the train split without end.
        usual: that number.
        size: image side in pixels, at least 32.
    """
    size = whole(f"{spec}: size", size, least=32, error=DataError)
    return Scenes(split, size, spec=spec, count=count, usual=usual, seed=seed)
