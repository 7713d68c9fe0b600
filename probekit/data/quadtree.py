"""`quadtree`: images whose latents are known at every level, drawn from `probekit.latents.GeneratingProcess`.

An image is a square grid of patches, the leaves of a tree of latents: each child is an invertible function of its
parent and of noise of its own, with a different function per quarter. A patch is an invertible function of the lowest
latent above it and of its own noise, `grey = 127.5 + contrast * observable`, rounded to 8 bits. The class is carried by
the root, a Gaussian mixture.

Images are drawn in blocks, each a pure function of (functions, seed, split, block number). So image i does not depend
on the number of images, and training never sees an image twice. Splits have the same functions (that is `world`) and
independent draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import asdict
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from probekit import progress
from probekit.data.base import ImageSet
from probekit.data.memory import ArraySet
from probekit.data.quadtree_process import MIDDLE, QuadtreeSettings, generating_process, invert, to_images
from probekit.data.randomness import generator
from probekit.errors import DataError

if TYPE_CHECKING:
    from probekit.latents import Draw

BLOCK = 64
"""Images per block: large enough for batched arithmetic, small enough to stay in the processor's cache."""

COUNT = 2000
"""Images per split where no count is given."""


class _Blocks:
    """The endless row of images that a split of given settings and seed is cut from."""

    def __init__(self, settings: QuadtreeSettings, split: str, seed: int, keep: tuple[Hashable, ...] | None, salt: int):
        self.settings = settings
        self.facts = ("quadtree", seed, split)
        self.keep = keep
        self.salt = salt
        self.images = lru_cache(maxsize=8)(self._images)

    def draw(self, block: int) -> Draw:
        """The draw behind the images of a block (always BLOCK of them)."""
        process = generating_process(self.settings)
        first = process.draw(BLOCK, generator(*self.facts, block))
        if self.keep is None:
            return first
        rng = generator(*self.facts, block, "partners", self.salt, len(self.keep))
        return process.redraw(first, self.keep, rng)

    def _images(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        draw = self.draw(block)
        assert draw.labels is not None
        return to_images(draw, self.settings), draw.labels

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        blocks, within = np.divmod(np.asarray(indices), BLOCK)
        out = np.empty((len(blocks), self.settings.size, self.settings.size, 3), dtype=np.uint8)
        for block in np.unique(blocks):
            mine = blocks == block
            out[mine] = self.images(int(block))[0][within[mine]]
        return out


class Quadtree(ArraySet):
    """A split of the quadtree set, or a set of partners of one (see `partners`).

    Attributes:
        latents: height -> float32 (n, nodes of that height, dim), in raster order; drawn again when first asked for.
        noise: the same of the noise, which has level 0 too, the patches'.
        settings: what the images are drawn from.

    Example:
        >>> images = probekit.data.load("quadtree?height=3", "test")
        >>> images.latents[1].shape[1:]
        (16, 12)
    """

    disjoint = True

    def __init__(
        self,
        settings: QuadtreeSettings,
        split: str,
        *,
        spec: str,
        count: int | None,
        seed: int,
        keep: tuple[Hashable, ...] | None = None,
        salt: int = 0,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.keep = keep
        self._blocks = _Blocks(settings, split, seed, keep, salt)
        n = COUNT if count is None else count
        endless = count is None and split == "train" and keep is None
        images, labels = self._drawn(n, split)
        super().__init__(
            images,
            name="quadtree",
            spec=spec,
            split=split,
            classes=[f"class {index}" for index in range(settings.classes)],
            labels=labels,
            origin="generated",
            facts={"source": "quadtree", "version": 1, "seed": seed, **asdict(settings)}
            | {"noise": list(settings.noise_scales().values())}
            | ({} if keep is None else {"keep": [str(node) for node in keep], "salt": salt}),
            licence="generated; no rights reserved",
            description=("a new image at every step" if endless else f"{n} images")
            + ", drawn from a quadtree of latents: "
            + ", ".join(f"{name}={value}" for name, value in asdict(settings).items()),
        )
        self.height = settings.height
        self.patch_size = settings.patch
        self.endless = endless

    def _drawn(self, n: int, split: str) -> tuple[np.ndarray, np.ndarray]:
        blocks = -(-n // BLOCK)
        images = np.empty((blocks * BLOCK, self.settings.size, self.settings.size, 3), dtype=np.uint8)
        labels = np.empty(blocks * BLOCK, dtype=np.int64)
        with progress.bar(f"quadtree {split}: drawing", blocks * BLOCK) as advance:
            for block in range(blocks):
                part = slice(block * BLOCK, (block + 1) * BLOCK)
                images[part], labels[part] = self._blocks.images(block)
                advance(BLOCK)
        return images[:n], labels[:n]

    implied = ("latents", "noise")

    def content(self) -> str:
        return ""  # `facts` say it all

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (len(indices), size, size, 3). In an endless set, any index from 0 upwards."""
        indices = np.asarray(indices)
        if self.endless and len(indices) and indices.max() >= len(self):
            return self._blocks.pixels(indices)
        return np.asarray(self.images[indices])

    def draws(self) -> Iterable[tuple[slice, Draw]]:
        """The draws behind the images, in order: (which images, draw); the last one may hold more than that."""
        for start in range(0, len(self), BLOCK):
            yield slice(start, min(start + BLOCK, len(self))), self._blocks.draw(start // BLOCK)

    def _collected(self, kind: str, heights: range) -> dict[int, np.ndarray]:
        out: dict[int, np.ndarray] = {}
        with progress.bar(f"quadtree {self.split}: {kind}", len(self)) as advance:
            for part, draw in self.draws():
                for height in heights:
                    values = draw.level(height) if kind == "latents" else draw.noise.level(height)
                    if height not in out:
                        out[height] = np.empty((len(self), *values.shape[1:]), dtype=np.float32)
                    out[height][part] = values[: part.stop - part.start]
                advance(part.stop - part.start)
        return out

    @cached_property
    def latents(self) -> dict[int, np.ndarray]:  # type: ignore[override]  # computed when asked for
        """Height (1 to the root's) -> float32 (n, nodes, dim)."""
        return self._collected("latents", range(1, self.settings.height + 1))

    @cached_property
    def noise(self) -> dict[int, np.ndarray]:  # type: ignore[override]  # computed when asked for
        """Height (0 to the root's) -> float32 (n, nodes, noise dim), at unit scale. The root's is the root itself."""
        return self._collected("noise", range(self.settings.height + 1))

    def partners(self, keep: int | Iterable[Hashable], seed: int = 0) -> Quadtree:
        """For each image one that shares the kept latents (and all their ancestors) and is fresh in everything else.

        Args:
            keep: a level: all latents of at least this height are shared (height + 1: nothing is; 0: the images are
                the same); or nodes of the graph.
            seed: of the fresh noise. Different levels have independent noise.
        """
        graph = generating_process(self.settings).graph
        if isinstance(keep, int):
            if not 0 <= keep <= self.settings.height + 1:
                raise DataError(
                    f"quadtree: partners that share the levels from {keep} up were asked for; levels are "
                    f"0 to {self.settings.height}, and {self.settings.height + 1} shares nothing."
                )
            nodes = tuple(node for node, height in zip(graph.nodes, graph.heights, strict=True) if height >= keep)
        else:
            nodes = tuple(keep)
        return Quadtree(
            self.settings, self.split, spec=self.spec, count=len(self), seed=self.seed, keep=nodes, salt=seed
        )


def rounding_cost(image_set: ImageSet, limit: int = 512) -> dict[str, dict[int, float]]:
    """What rounding to 8 bits costs the inverse.

    Args:
        image_set: a quadtree.
        limit: images to look at.

    Returns:
        `exact_error`: height -> largest absolute error of the latents recovered from the float64 observables (latents
        have unit variance); `rounded_r2`: height -> R² of the latents recovered from the 8-bit images, over all
        nodes and dimensions; `clipped`: {0: share of pixel values outside 0 to 255}.
    """
    if not isinstance(image_set, Quadtree):
        raise DataError(f"{image_set.spec}: only a quadtree's images can be inverted.")
    settings = image_set.settings
    process = generating_process(settings)
    heights = range(1, settings.height + 1)
    exact = dict.fromkeys(heights, 0.0)
    residual, total = dict.fromkeys(heights, 0.0), dict.fromkeys(heights, 0.0)
    clipped, seen = 0.0, 0
    for part, draw in image_set.draws():
        if part.start >= limit:
            break
        from_floats = process.invert(draw.observables)
        from_pixels = invert(to_images(draw, settings), settings)
        for height in heights:
            truth = draw.level(height)
            exact[height] = max(exact[height], float(np.abs(from_floats.level(height) - truth).max()))
            residual[height] += float(((from_pixels.level(height) - truth) ** 2).sum())
            total[height] += float(((truth - truth.mean(0)) ** 2).sum())
        clipped += float((np.abs(draw.level(0) * settings.contrast) > MIDDLE + 0.5).mean())
        seen += 1
    return {
        "exact_error": exact,
        "rounded_r2": {height: 1 - residual[height] / total[height] for height in heights},
        "clipped": {0: clipped / seen},
    }


def open_split(
    argument: str,
    split: str,
    *,
    spec: str,
    count: int | None = None,
    seed: int = 0,
    height: int = QuadtreeSettings.height,
    patch: int = QuadtreeSettings.patch,
    classes: int = QuadtreeSettings.classes,
    root_dim: int = QuadtreeSettings.root_dim,
    noise_dim: int = QuadtreeSettings.noise_dim,
    noise: float | str = QuadtreeSettings.noise,
    spread: float = QuadtreeSettings.spread,
    depth: int = QuadtreeSettings.depth,
    slope: float = QuadtreeSettings.slope,
    tied: bool = QuadtreeSettings.tied,
    contrast: float = QuadtreeSettings.contrast,
    world: int = QuadtreeSettings.world,
) -> ImageSet:
    """Draw a split; the options are those of `QuadtreeSettings`, `seed` is that of the draws."""
    if argument:
        raise DataError(f"{spec}: quadtree takes options, as in quadtree?height=3, but no {argument!r}.")
    settings = QuadtreeSettings(
        height, patch, classes, root_dim, noise_dim, noise, spread, depth, slope, tied, contrast, world
    )
    return Quadtree(settings, split, spec=spec, count=count, seed=seed)
