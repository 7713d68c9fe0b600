"""What a pass looks at: one checkpoint, one split of an image set, prepared as the checkpoint's card asks.

A `Source` says which images go through the model for which row: the images themselves, an image with its partners, or
several views of it. All sources give rows in the order of the image set, so that a row number is an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from probekit import masking
from probekit.collect.identity import image_keys
from probekit.collect.pass_settings import MASK_RATIO, PassSettings
from probekit.data import ImageSet, Preprocess, Views
from probekit.errors import ProbeError

if TYPE_CHECKING:
    from probekit.models import Checkpoint, LayerShape
    from probekit.models.mae import MaskedAutoencoder


REFERENCE_SIDE = 224
"""Side in pixels of the images that `batch_size` counts."""

SEED_STEP = 0x9E3779B1
"""Odd, so that every seed changes the 32 bits that torch's generator looks at; 2**32 over the golden ratio."""


@dataclass
class Batch:
    """Images of some rows on the model's device: `images` (rows * per_row, channels, H, W); `tokens` after the final
    norm; `hidden`, bool (rows * per_row, patches), where the model sees a part of the patches only."""

    indices: np.ndarray
    images: Tensor
    tokens: Tensor | None = None
    hidden: Tensor | None = None


class PreparedModel:
    """A checkpoint with its preprocessing, masks and precision.

    Attributes:
        model, preprocess, settings: as they are.
        grid: (rows, columns) of ViT patches.
        shapes: what each layer 0..L holds; layers differ in hierarchical models.
        mask_grid: (rows, columns) of evaluation mask units.
        poolings: names of the poolings that differ (`native` is left out where it is `cls` or `mean`).
    """

    def __init__(self, checkpoint: Checkpoint, settings: PassSettings) -> None:
        self.checkpoint = checkpoint
        self.model = checkpoint.model
        self.preprocess: Preprocess = settings.preparation.of(checkpoint.preprocess)
        self.settings = settings
        self.grid: tuple[int, int] = self.model.grid(self.preprocess.height, self.preprocess.width)
        self.shapes: tuple[LayerShape, ...] = self.model.shapes(*self.size)
        self.mask_grid = (settings.mask_grid if self.model.has_decoder else None) or self.grid
        if self.grid[0] % self.mask_grid[0] or self.grid[1] % self.mask_grid[1]:
            raise ProbeError(
                f"Evaluation masks on a grid of {self.mask_grid} units do not fit {checkpoint.name}'s grid of "
                f"{self.grid} ViT "
                "patches: its rows and columns must be whole multiples."
            )

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def decoding_model(self) -> MaskedAutoencoder:
        """The model, for what needs its decoder."""
        if not self.model.has_decoder:
            raise ProbeError(f"{self.checkpoint.name} has no decoder, so it reconstructs no images.")
        return cast("MaskedAutoencoder", self.model)

    @property
    def size(self) -> tuple[int, int]:
        return self.preprocess.height, self.preprocess.width

    def batch_size(self, per_row: int = 1) -> int:
        """Rows that go through the model together, with `per_row` images each.

        Images larger than 224 x 224 go in smaller batches, since memory grows with their pixels. On a processor, which
        a few of them keep as busy, batches shrink with the square: four images of 448 x 448 in place of 64 of 224.
        """
        share = min(1.0, REFERENCE_SIDE**2 / (self.size[0] * self.size[1]))
        images = self.settings.batch_size * (share**2 if self.device.type == "cpu" else share)
        return max(1, int(images) // per_row)

    @property
    def layers(self) -> int:
        """Number of layers that are traced: the embedding and the blocks."""
        return int(self.model.depth) + 1

    def layer_grid(self, index: int) -> tuple[int, int]:
        """(rows, columns) of a layer's patches."""
        grid = self.shapes[index].grid
        if grid is None:
            raise ProbeError(f"{self.checkpoint.name}: {self.no_places}.")
        return grid

    @property
    def no_places(self) -> str | None:
        """Why the places of patch tokens in the image are unknown; None if they are known in every layer."""
        unknown = [index for index, shape in enumerate(self.shapes) if shape.grid is None]
        if not unknown:
            return None
        return (
            f"the {self.shapes[unknown[0]].patches} patch tokens of layer {unknown[0]} form no grid of the image's "
            "proportions, so their places are unknown"
        )

    @property
    def no_common_grid(self) -> str | None:
        """Why maps of different layers do not lie on one grid of patches; None if they do."""
        if self.no_places:
            return self.no_places
        grids = sorted({shape.grid for shape in self.shapes if shape.grid}, reverse=True)
        shown = ", ".join(f"{rows} x {columns}" for rows, columns in grids)
        return None if len(grids) == 1 else f"its layers lie on different grids of patches ({shown})"

    @cached_property
    def poolings(self) -> tuple[str, ...]:
        names = tuple(self.model.poolings)
        tokens = self.model.num_prefix_tokens + self.shapes[-1].patches
        generator = torch.Generator().manual_seed(0)
        trial = torch.randn(2, tokens, self.model.width, generator=generator).to(self.device)
        with torch.inference_mode():
            pooled = {name: self.model.pool(trial, name) for name in names}
        plain = [name for name in names if name != "native"]
        same = "native" in names and any(torch.equal(pooled["native"], pooled[name]) for name in plain)
        return tuple(plain) if same else names

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What determines the model's outputs on given images, JSON-able."""
        return {
            "weights": self.checkpoint.card.sha256,
            "model": self.model.description(),
            "preprocess": self.preprocess.fingerprint,
            "precision": self.settings.precision,
            "torch": torch.__version__.split("+")[0],
        } | ({"features": self.settings.features_dtype} if self.settings.features_dtype != "float32" else {})

    def hidden_units(self, image_set: ImageSet, rows: int) -> Tensor | None:
        """The evaluation masks of the first images on `mask_grid`, bool (rows, units); None where nothing can be
        hidden. An image's mask depends on its pixels and the seed, not on its place.
        """
        if math.prod(self.mask_grid) < 2:
            return None
        masks = []
        for key in image_keys(image_set, rows).tolist():
            generator = torch.Generator().manual_seed((key ^ (self.settings.seed * SEED_STEP)) % 2**32)
            hidden, _ = masking.sample_hidden(
                1, self.mask_grid, mask_ratio=MASK_RATIO, patch_size=1, vit_patch_size=1, generator=generator
            )
            masks.append(hidden)
        return torch.cat(masks)

    def masks(self, image_set: ImageSet, indices: np.ndarray) -> np.ndarray:
        """Object masks resized and cropped as the images are: bool (n, height, width)."""
        assert image_set.object_masks is not None  # a probe that reads them requires them
        grey = np.asarray(image_set.object_masks[indices], dtype=np.uint8) * np.uint8(255)
        return np.stack([self.preprocess(np.repeat(mask[..., None], 3, axis=2))[..., 0] > 127 for mask in grey])

    def autocast(self) -> Any:
        enabled = self.settings.precision != "float32"
        dtype = getattr(torch, self.settings.precision) if enabled else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled)


class Source:
    """The images of a set, one per row."""

    name = "images"
    per_row = 1

    def __init__(self, image_set: ImageSet, rows: int) -> None:
        self.image_set = image_set
        self.rows = min(rows, len(image_set))

    @property
    def facts(self) -> dict[str, Any]:
        return {"source": self.name, "images": self.image_set.fingerprint, "rows": self.rows}

    def batches(self, prepared: PreparedModel, start: int, stop: int) -> Iterator[Batch]:
        """Rows start..stop-1 in order."""
        indices = np.arange(start, stop)
        size, workers = prepared.batch_size(self.per_row), prepared.settings.workers
        for batch in self.image_set.batches(
            size, prepared.preprocess, indices=indices, device=str(prepared.device), workers=workers
        ):
            yield Batch(batch["index"].cpu().numpy(), batch["image"])


class Pairs(Source):
    """Each image followed by its partners: one that shares all latents of height >= h, for h = 1..H.

    A batch is (1 + H) blocks of the same rows: the images, their partners of h = 1, and so on.
    """

    name = "partners"

    def __init__(self, image_set: ImageSet, rows: int, seed: int) -> None:
        super().__init__(image_set, rows)
        self.seed = seed
        self.height = int(image_set.height or 0)
        self.per_row = 1 + self.height
        self._partners: list[ImageSet] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        return super().facts | {"partners": self.height, "seed": self.seed}

    @property
    def partners(self) -> list[ImageSet]:
        """One image set per height 1..H; made when first needed and kept, since every checkpoint sees the same ones."""
        if self._partners is None:
            self._partners = [self.image_set.partners(h, seed=self.seed) for h in range(1, self.height + 1)]
        return self._partners

    def batches(self, prepared: PreparedModel, start: int, stop: int) -> Iterator[Batch]:
        indices = np.arange(start, stop)
        size = prepared.batch_size(self.per_row)
        streams = [
            one.batches(
                size,
                prepared.preprocess,
                indices=indices,
                device=str(prepared.device),
                workers=prepared.settings.workers,
            )
            for one in (self.image_set, *self.partners)
        ]
        for parts in zip(*streams, strict=True):
            yield Batch(parts[0]["index"].cpu().numpy(), torch.cat([part["image"] for part in parts]))


class ViewSource(Source):
    """Several augmented views of each image; a batch lists all views of its first row, then of the next."""

    name = "views"

    def __init__(self, image_set: ImageSet, rows: int, views: int, seed: int) -> None:
        super().__init__(image_set, rows)
        self.per_row = views
        self.seed = seed

    @property
    def facts(self) -> dict[str, Any]:
        return super().facts | {"views": self.per_row, "seed": self.seed, "drawn_by": "pixels"}

    def batches(self, prepared: PreparedModel, start: int, stop: int) -> Iterator[Batch]:
        keys = image_keys(self.image_set, self.rows)
        views = Views(self.image_set, prepared.preprocess, self.per_row, seed=self.seed, keys=keys)
        size = prepared.batch_size(self.per_row)
        for first in range(start, stop, size):
            indices = np.arange(first, min(first + size, stop))
            images = views.batch(indices).flatten(0, 1).to(prepared.device)
            yield Batch(indices, images)
