"""How `quadtree` images follow from latents, and latents from images: settings, process, rounding, inverse.

An image is a square grid of patches, the leaves of a tree of latents. Each child is an invertible function of its
parent and of its own noise, with a different function per quarter. A patch is an invertible function of the lowest
latent above it and of its own noise: `grey = 127.5 + contrast * observable`, rounded to 8 bits. The root carries the
class; it is a Gaussian mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from probekit.checks import whole
from probekit.errors import DataError

if TYPE_CHECKING:
    from probekit.latents import Draw, GeneratingProcess

MIDDLE = 127.5
"""Grey level of an observable of 0."""

CALIBRATION = 1024
"""Samples that set the functions' affine maps to unit variance; the images depend on it."""


@dataclass(frozen=True)
class QuadtreeSettings:
    """What the images are drawn from; every default of the set stands here.

    Args:
        height: of the tree; the image has 2^(height - 1) patches per side.
        patch: size of a leaf in pixels. Mask units of 1x, 2x, 4x this size hide whole subtrees.
        classes: components of the root's mixture.
        root_dim: dimension of the root.
        noise_dim: fresh noise dimensions of every latent below the root. The observables' noise fills what is left.
        noise: its standard deviation where it enters, the parents having 1 per dimension: a number for all levels, or
            a text with one per height from the patches upwards, of which the last holds for all higher levels too:
            "0.1,0.5" is 0.1 for patches and 0.5 for latents (the root has none).
        spread: distance of the mixture's means from the centre, in standard deviations of a component.
        depth, slope: layers per function, and slope of their leaky ReLU below zero (1: linear).
        tied: whether all nodes of one height and quarter share their function (else every node has its own).
        contrast: standard deviation of the pixels in grey levels (of 255).
        world: seed of the functions.
    """

    height: int = 4
    patch: int = 4
    classes: int = 8
    root_dim: int = 4
    noise_dim: int = 4
    noise: float | str = 1.0
    spread: float = 3.0
    depth: int = 2
    slope: float = 0.25
    tied: bool = True
    contrast: float = 36.0
    world: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("height", 1),
            ("patch", 1),
            ("classes", 2),
            ("root_dim", 1),
            ("noise_dim", 1),
            ("depth", 1),
        ):
            whole(f"quadtree: {name}", getattr(self, name), least=least, error=DataError)
        if self.patch_noise_dim < 1:
            raise DataError(
                f"quadtree: patches of {self.patch} x {self.patch} x 3 pixels hold {3 * self.patch**2} dimensions, "
                f"but the latent above one has {self.lowest_dim} already, and noise must have room. "
                "Choose a larger patch, or a smaller height, root_dim or noise_dim."
            )
        if not self.contrast > 0:
            raise DataError(f"quadtree: contrast={self.contrast}; a number above 0 is expected.")
        if not 0 < self.slope <= 1:
            raise DataError(f"quadtree: slope={self.slope}; a number above 0 and up to 1 is expected.")
        if not self.spread >= 0:
            raise DataError(f"quadtree: spread={self.spread}; a number of at least 0 is expected.")
        if self.world < 0:
            raise DataError(f"quadtree: world={self.world}; a seed of at least 0 is expected.")
        self.noise_scales()

    @property
    def size(self) -> int:
        """Image side in pixels."""
        return self.patch * self.grid

    @property
    def grid(self) -> int:
        """Patches per side."""
        return int(2 ** (self.height - 1))

    @property
    def lowest_dim(self) -> int:
        """Dimension of the latents of height 1."""
        return self.root_dim + self.noise_dim * (self.height - 1)

    @property
    def patch_noise_dim(self) -> int:
        """Noise dimensions of a patch."""
        return 3 * self.patch**2 - self.lowest_dim

    def noise_scales(self) -> dict[int, float]:
        """Standard deviation of the noise by height, 0 to height - 1."""
        texts = str(self.noise).split(",")
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= self.height or not all(0 < number < np.inf for number in numbers):
            raise DataError(
                f"quadtree: noise={self.noise!r}; a number above 0 is expected, or up to {self.height} of them with "
                f"commas, for the heights 0 to {self.height - 1}."
            )
        numbers += numbers[-1:] * (self.height - len(numbers))
        return dict(enumerate(numbers))


@lru_cache(maxsize=8)
def generating_process(settings: QuadtreeSettings) -> GeneratingProcess:
    """The process that the images of these settings are drawn from, and with it the graph (`.graph`)."""
    from probekit.latents import GeneratingProcess, LatentGraph
    from probekit.latents.families import quadtree_position

    dims = dict.fromkeys(range(1, settings.height), settings.noise_dim)
    graph = LatentGraph.quadtree(
        settings.height, {0: settings.patch_noise_dim, **dims, settings.height: settings.root_dim}
    )
    return GeneratingProcess(
        graph,
        seed=settings.world,
        depth=settings.depth,
        slope=settings.slope,
        noise_scale=settings.noise_scales(),
        root="mixture",
        n_classes=settings.classes,
        mixture_spread=settings.spread,
        tie=quadtree_position if settings.tied else None,
        calibration=CALIBRATION,
    )


def to_images(draw: Draw, settings: QuadtreeSettings) -> np.ndarray:
    """The observables of a draw, rounded and clipped: uint8 (n, size, size, 3)."""
    layout = draw.layout
    positions = layout.graph.at_height(0)
    (block,) = np.unique(layout.block[positions])  # the patches are alike, so they are computed together
    values, order = draw.blocks[block], layout.row[positions]  # (patches, n, patch² x 3)
    n, grid, patch = values.shape[1], settings.grid, settings.patch
    images = np.empty((n, grid, patch, grid, patch, 3), dtype=np.uint8)
    for row in range(grid):  # a row of patches at a time stays in the processor's cache
        grey = values[order[row * grid : (row + 1) * grid]]
        grey *= settings.contrast
        grey += MIDDLE + 0.5  # the half makes the cut below a rounding
        np.clip(grey, 0, 255, out=grey)
        tiles = grey.astype(np.uint8).reshape(grid, n, patch, patch, 3)
        images[:, row] = tiles.transpose(1, 2, 0, 3, 4)
    return images.reshape(n, settings.size, settings.size, 3)


def to_observables(images: np.ndarray, settings: QuadtreeSettings) -> np.ndarray:
    """The inverse of `to_images` but for its rounding and clipping: float64 (n, patches, patch² x 3)."""
    n, grid, patch = len(images), settings.grid, settings.patch
    tiles = images.reshape(n, grid, patch, grid, patch, 3).transpose(0, 1, 3, 2, 4, 5)
    return (tiles.reshape(n, grid * grid, patch * patch * 3).astype(np.float64) - MIDDLE) / settings.contrast


def invert(images: np.ndarray, settings: QuadtreeSettings) -> Draw:
    """The latents and noise that images (n, size, size, 3) determine; `draw.level(height)` is (n, nodes, dim)."""
    process = generating_process(settings)
    observables = to_observables(images, settings)
    nodes = process.graph.observables
    return process.invert({node: observables[:, index] for index, node in enumerate(nodes)})
