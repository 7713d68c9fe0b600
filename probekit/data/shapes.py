"""`shapes`: objects whose shape and texture are both labels, drawn in any combination, with their masks.

| spec               | what is in it                                                                              |
|--------------------|--------------------------------------------------------------------------------------------|
| `shapes`           | consistent: every shape has its own texture, so either tells the class                      |
| `shapes:conflict`  | the texture is that of another class: which of the two does a classifier go by?             |
| `shapes:crossed`   | texture and shape independent                                                              |
| `shapes:sketch`    | the same objects as outlines on paper, no texture                                          |
| `shapes:rendition` | the same objects recoloured and restyled: wobbly dark contours, saturated inks, coarser texture |
| `shapes:resampled` | drawn anew by the same rules (nothing shifts but the sample)                               |
| `shapes:viewpoint` | the same classes turned, slanted, nearer or farther, off centre, on a busy background      |
| `shapes:scenes`    | several objects an image, with boxes, masks and classes (`probekit.data.scenes`)            |

The label is the shape; `texture_labels` is the class whose texture it is. Colours carry no information: an object has
one light and one dark colour of any hue, the background is in between. Every image is a pure function of (seed, split,
index), so training never sees an image twice.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from probekit.checks import whole
from probekit.data import scenes
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
from probekit.data.maps import PixelMaps
from probekit.data.randomness import uniforms
from probekit.errors import DataError, did_you_mean

VARIANTS = ("consistent", "conflict", "crossed", "sketch", "rendition", "resampled", "viewpoint")
SHIFTS = ("sketch", "rendition", "resampled", "viewpoint")
USUAL = -1
"""A size that says: as is usual."""

COUNT = 2000
"""Images per split where no count is given."""

NUMBERS = 32 + 2 * N_PHASES
"""Uniform random numbers per image."""


class Scene(NamedTuple):
    """What images are drawn from; each array has one entry (or row) per image."""

    shape: np.ndarray
    texture: np.ndarray
    random: np.ndarray


class Shapes(ImageSet):
    """A split of one variant. Images are drawn when read."""

    in_memory = True

    disjoint = True

    def __init__(self, variant: str, split: str, size: int, *, spec: str, count: int | None, seed: int) -> None:
        self.variant = variant
        self.size = size
        self.seed = seed
        self.stream = "resampled" if variant == "resampled" else "scene"
        n = COUNT if count is None else count
        self.split = split
        scene = self.scene(np.arange(n))
        super().__init__(
            name="shapes" if variant == "consistent" else f"shapes:{variant}",
            spec=spec,
            split=split,
            classes=list(SHAPES),
            labels=scene.shape,
            origin="generated",
            facts={"source": "shapes", "version": 1, "variant": variant, "size": size, "seed": seed},
            licence="generated; no rights reserved",
            description=f"{n} drawn objects, {variant}: {len(SHAPES)} shapes, {len(TEXTURES)} textures",
        )
        self.implied = ("shape_labels", "texture_labels", "object_masks")
        self.shape_labels = self.labels
        self.texture_labels = None if variant == "sketch" else scene.texture
        self.segmentation = PixelMaps(self._segmentation, range(n), classes=("background", *SHAPES))
        self.endless = count is None and split == "train"
        options = "" if size == 32 else f"?size={size}"
        if variant == "consistent":
            self.shifts = tuple(f"shapes:{shift}{options}" for shift in SHIFTS)
            self.conflict = f"shapes:conflict{options}"

    def scene(self, indices: np.ndarray) -> Scene:
        """Classes in turn, everything else at random."""
        random = uniforms(indices, NUMBERS, "shapes", self.stream, self.seed, self.split)
        shape = np.asarray(indices) % len(SHAPES)
        if self.variant == "conflict":
            texture = (shape + 1 + (random[:, 0] * (len(TEXTURES) - 1)).astype(np.int64)) % len(TEXTURES)
        elif self.variant == "crossed":
            texture = (random[:, 0] * len(TEXTURES)).astype(np.int64)
        else:
            texture = shape
        return Scene(shape, texture, random)

    def read(self, index: int) -> np.ndarray:
        return np.asarray(self.pixels(np.array([index]))[0])

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (len(indices), size, size, 3). In an endless set, any index from 0 upwards."""
        indices = np.asarray(indices)
        out = np.empty((len(indices), self.size, self.size, 3), dtype=np.uint8)
        for part in self._chunks(len(indices)):
            out[part] = draw(self.scene(indices[part]), self.size, self.variant)
        return out

    def _chunks(self, n: int) -> list[slice]:
        step = max(1, CHUNK_PIXELS // self.size**2)
        return [slice(start, min(start + step, n)) for start in range(0, n, step)]

    def _segmentation(self, index: int) -> np.ndarray:
        """The class of each pixel, int64 (size, size): 0 = background, 1 + the number of the shape on the object."""
        scene = self.scene(np.array([index]))
        inside = outline(scene, self.size, self.variant)[0][0] <= 0
        return np.where(inside, 1 + scene.shape[0], 0)

    @cached_property
    def object_masks(self) -> np.ndarray:  # type: ignore[override]  # computed when asked for
        """bool (n, size, size): pixels at least half covered by the object."""
        masks = np.empty((len(self), self.size, self.size), dtype=bool)
        for part in self._chunks(len(self)):
            masks[part] = outline(self.scene(np.arange(len(self))[part]), self.size, self.variant)[0] <= 0
        return masks


def outline(scene: Scene, size: int, variant: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Signed distance from the object's edge in pixels (n, size, size); its frame's x and y; and pixels per unit."""
    x, y = plane(size)
    r = scene.random
    if variant == "viewpoint":
        radius = between(r[:, 1], 0.4, 0.8)
        shift, turn = 0.95 - radius, (r[:, 2] - 0.5) * 0.5 * TAU
        slant = between(r[:, 5], 0.6, 1.0)
    else:
        radius = between(r[:, 1], 0.58, 0.8)
        shift, turn = 0.9 - radius, (r[:, 2] - 0.5) * 0.12 * TAU
        slant = np.ones_like(radius)
    x = x - shift * between(r[:, 3], -1, 1)
    y = y - shift * between(r[:, 4], -1, 1)
    if variant in ("sketch", "rendition"):  # drawn by hand: the lines wobble
        amount = 0.03
        x, y = (
            x + amount * np.sin(TAU * (1.3 * y + between(r[:, 6], 0, 1))),
            y + amount * np.sin(TAU * (1.1 * x + between(r[:, 7], 0, 1))),
        )
    x, y = turned(x, y / slant, turn)
    x, y = x / radius, y / radius
    pixels = radius * slant * size / 2  # of one unit of the object's frame, where it is most foreshortened
    return distances(scene.shape, x, y) * pixels, x, y, pixels


def draw(scene: Scene, size: int, variant: str) -> np.ndarray:
    """Images of scenes: uint8 (n, size, size, 3)."""
    distance, *_ = outline(scene, size, variant)
    if variant == "sketch":
        paper, ink = between(scene.random[:, 8], 0.9, 1.0), between(scene.random[:, 9], 0.0, 0.2)
        width = max(1.0, 0.045 * size)
        line = np.clip(0.5 + width / 2 - np.abs(distance), 0, 1)
        return rounded(np.repeat((paper + (ink - paper) * line)[..., None], 3, axis=3))
    inside = np.clip(0.5 - distance, 0, 1)[..., None]
    light, dark = colours(scene.random, variant)
    brightness = texture(scene, size, variant)[..., None]
    image = background(scene.random, size, variant)
    image = image + inside * (dark + (light - dark) * brightness - image)
    if variant == "rendition":
        line = np.clip(0.5 + 0.025 * size - np.abs(distance), 0, 1)[..., None]
        image = image * (1 - 0.9 * line)
    return rounded(image)


def texture(scene: Scene, size: int, variant: str) -> np.ndarray:
    """Brightness (n, size, size). It lies in the picture, not in the object's frame: it tells nothing of the shape."""
    x, y = plane(size)
    r = scene.random
    period = between(r[:, 10], 0.34, 0.44) * (1.35 if variant == "rendition" else 1.0)  # 2 is the whole image
    u, v = turned(x, y, (r[:, 11] - 0.5) * 0.12 * TAU)
    u, v = u / period + between(r[:, 12], 0, 1), v / period + between(r[:, 13], 0, 1)
    return textures(scene.texture, u, v, r[:, 32 : 32 + N_PHASES])


def open_split(
    argument: str, split: str, *, spec: str, count: int | None = None, seed: int = 0, size: int = USUAL
) -> ImageSet:
    """Draw a split.

    Args:
        argument: a variant; none means consistent.
        size: image side in pixels, at least 16; -1: the usual one, 32, and 64 for scenes.
    """
    variant = argument or "consistent"
    if variant == "scenes":
        side = scenes.SIZE if size == USUAL else size
        return scenes.open_split(split, spec=spec, count=count, usual=COUNT, seed=seed, size=side)
    if variant not in VARIANTS:
        near = did_you_mean(variant, (*VARIANTS, "scenes"))
        raise DataError(f"{spec}: there is no variant {variant!r} of shapes. {near}")
    size = whole(f"{spec}: size", 32 if size == USUAL else size, least=16, error=DataError)
    return Shapes(variant, split, size, spec=spec, count=count, seed=seed)
