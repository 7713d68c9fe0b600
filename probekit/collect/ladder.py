"""Passes that look at an image in several ways: as the views of the level ladder, and with patches hidden."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probekit import masking
from probekit.collect.identity import image_keys
from probekit.collect.kept import Kept
from probekit.collect.pictures import STATISTICS, originals_of, reference_of, unfit
from probekit.collect.prepared import Batch, PreparedModel, Source
from probekit.collect.recorders import Recorder, Rows
from probekit.data import ImageSet
from probekit.data.ladder_views import PROTOCOL, LadderViews
from probekit.data.randomness import words
from probekit.measures import images

RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Evaluation mask ratios of the mask response, besides 0."""

KEPT_VIEWS = 1 << 27
"""Bytes of views that are kept for the untrained twin, the baselines, masks and the next checkpoint: 2,000 images of
32 px. Drawing views takes a third of the time of a small encoder's forwards. Larger sets are not kept in part: the
first views would have gone when they are asked for again."""

drawn_views: Kept[Tensor] = Kept(KEPT_VIEWS)

UNITS = (1, 2, 4)
"""Sides of the units that are hidden as a whole, in units of the evaluation masks."""


class LadderSource(Source):
    """The four views of each image that the level ladder compares; a batch lists all views of its first row first."""

    name = "ladder"
    per_row = LadderViews.count

    def __init__(self, image_set: ImageSet, rows: int, seed: int) -> None:
        super().__init__(image_set, rows)
        self.seed = seed

    @property
    def facts(self) -> dict[str, Any]:
        return super().facts | {"views": PROTOCOL, "seed": self.seed, "drawn_by": "pixels"}

    def views(self, prepared: PreparedModel) -> LadderViews:
        """The views as the model sees them."""
        keys = image_keys(self.image_set, self.rows)
        return LadderViews(self.image_set, prepared.preprocess, keys, seed=self.seed)

    def batches(self, prepared: PreparedModel, start: int, stop: int) -> Iterator[Batch]:
        views, size = self.views(prepared), prepared.batch_size(self.per_row)
        place = self.image_set.fingerprint, prepared.preprocess.fingerprint, self.seed
        room = 4 * prepared.preprocess.channels * math.prod(prepared.size) * self.per_row
        for first in range(start, stop, size):
            indices = np.arange(first, min(first + size, stop))
            key, draw = (*place, indices.tobytes()), partial(views.batch, indices)
            images = drawn_views.get(key, draw) if room * self.rows <= KEPT_VIEWS else draw()
            yield Batch(indices, images.flatten(0, 1).to(prepared.device))


class MaskedSource(Source):
    """The images of another source, each with a mask of its own.

    Args:
        source: what is masked. Every view of an image gets its own mask.
        ratio: share of units to hide.
        unit: side of a unit, in units of the evaluation masks (`PreparedModel.mask_grid`).
        seed: of the masks; an image's mask depends on its pixels and the seed, not on its place.
    """

    def __init__(self, source: Source, ratio: float, unit: int, seed: int) -> None:
        super().__init__(source.image_set, source.rows)
        self.source, self.ratio, self.unit, self.seed = source, ratio, unit, seed
        self.name, self.per_row = f"masked {source.name}", source.per_row

    @property
    def facts(self) -> dict[str, Any]:
        return self.source.facts | {"mask_ratio": self.ratio, "mask_unit": self.unit, "mask_seed": self.seed}

    def batches(self, prepared: PreparedModel, start: int, stop: int) -> Iterator[Batch]:
        keys = image_keys(self.image_set, self.rows)
        for batch in self.source.batches(prepared, start, stop):
            drawn = [self.generator(int(key), view) for key in keys[batch.indices] for view in range(self.per_row)]
            hidden = masking.sample_hidden_each(
                1, prepared.mask_grid, mask_ratio=self.ratio, patch_size=self.unit, vit_patch_size=1, generators=drawn
            )
            hidden = masking.expand(hidden[:, 0], prepared.mask_grid, prepared.grid)
            yield replace(batch, hidden=hidden.to(prepared.device))

    def generator(self, key: int, view: int) -> torch.Generator:
        """What draws the mask of one view of one image."""
        facts = ("evaluation mask", self.seed, key, view, f"{self.ratio:g}", self.unit)
        return torch.Generator().manual_seed(words(*facts)[0] >> 1)


def units_that_fit(grid: tuple[int, int]) -> tuple[int, ...]:
    """The `UNITS` that tile this grid of evaluation masks into two units or more."""
    rows, columns = grid
    return tuple(unit for unit in UNITS if not rows % unit and not columns % unit and rows * columns // unit**2 > 1)


class PooledViews(Recorder):
    """`<pooling>_<layer>`: float32 (rows, views, width), for every layer and the given poolings."""

    name = "pooled_views"

    def __init__(self, prepared: PreparedModel, source: Source, poolings: Sequence[str]) -> None:
        super().__init__(prepared, source)
        self.poolings = tuple(poolings)
        self._rows: Rows = {}

    @property
    def facts(self) -> dict[str, Any]:
        return {"poolings": self.poolings}

    @property
    def row_bytes(self) -> int:
        width = sum(shape.width for shape in self.prepared.shapes)
        return 4 * self.source.per_row * len(self.poolings) * width

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        for name in self.poolings:
            pooled = self.prepared.model.pool(tokens, name).reshape(len(batch.indices), self.source.per_row, -1)
            self._rows[f"{name}_{index}"] = pooled.cpu().numpy().astype(np.float32, copy=False)

    def rows(self, batch: Batch) -> Rows:
        found, self._rows = self._rows, {}
        return found


class MaskedPixels(Recorder):
    """`ssim`, `mse`: float32 (rows,), of the hidden pixels, predicted from the visible patches of a `MaskedSource`.

    One more forward of encoder and decoder. Without `ssim` where images are too small for it.
    """

    name = "masked_pixels"
    more_forwards = 1

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        trial = np.zeros((1, len(prepared.preprocess.mean), *prepared.size), dtype=np.float32)
        self.structured = unfit(images.SsimReference, trial) is None

    @property
    def facts(self) -> dict[str, Any]:
        return {"statistics": STATISTICS}

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        """The pixels come from a forward of their own."""

    def rows(self, batch: Batch) -> Rows:
        assert batch.hidden is not None  # a MaskedSource gives it
        prepared = self.prepared
        originals = originals_of(prepared, batch.images)
        flags = masking.expand(batch.hidden.cpu(), prepared.grid, prepared.size).reshape(-1, *prepared.size).numpy()
        predicted = (
            prepared.decoding_model.reconstruct(batch.images, batch.hidden, statistics=STATISTICS).float().cpu().numpy()
        )
        found = {"mse": images.masked_mse(originals, predicted, flags)}
        if self.structured:
            place = (self.source.image_set.fingerprint, prepared.preprocess.pixels_fingerprint, batch.indices.tobytes())
            reference = reference_of("ssim", images.SsimReference, originals, place)
            found["ssim"] = reference.masked(images.paste(originals, predicted, flags), flags)
        return {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}
