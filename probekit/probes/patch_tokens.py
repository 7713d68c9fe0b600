"""Patch tokens of a layer for heads that look at patches: from the store where they are kept, else computed again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from probekit.collect import Measurements
from probekit.data import Views
from probekit.measures import attentive

HELD = 2**27
"""Bytes of float16 tokens of one layer and split that are held in memory; of more, each batch reads its own rows."""

WHOLE = 2**30
"""Bytes of float16 tokens of one layer up to which all images are shuffled together; of more, `PART` at a time."""

AT_ONCE = 2**26
"""Bytes of float16 tokens that are read at a time."""

PART = 1024
"""Images that are shuffled together, so that what is read lies near."""


class Reader:
    """Tokens of one layer and split: from the store where they are kept, else from the frozen encoder.

    Args:
        measurements: with the tokens gathered.
        split, layer: whose.
        scale: what tokens are divided by.
    """

    def __init__(self, measurements: Measurements, split: str, layer: int, scale: float) -> None:
        self.measurements, self.split, self.layer, self.scale = measurements, split, layer, scale
        self.rows = measurements.size(split)
        store, name = measurements.store(f"tokens:{split}"), f"tokens_{layer}"
        self.stored = store[name] if name in store.names() else None
        held = self.stored is not None and self.stored.nbytes <= HELD
        self._table = np.asarray(self.stored[:]) if self.stored is not None and held else None

    @cached_property
    def labels(self) -> Tensor:
        """Classes of the images, on the device."""
        return torch.from_numpy(self.measurements.labels(self.split)).to(self.measurements.device)

    def tokens(self, rows: np.ndarray) -> Tensor:
        """(rows, patches, width), float32 on the device, scaled; `rows` sorted."""
        if self.stored is None:
            batches = self.measurements.batches(rows, self.measurements.batch_size, self.split)
            return joined((self._encoded(images) for images, _ in batches), len(rows))
        step = max(1, AT_ONCE // (2 * math.prod(self.stored.shapes[0])))
        parts = (self._read(rows[start : start + step]) for start in range(0, len(rows), step))
        return joined(parts, len(rows)).div_(self.scale)

    def _read(self, rows: np.ndarray) -> Tensor:
        """Some tokens as they are kept, in float16, on the device."""
        assert self.stored is not None  # `tokens` asks for it only then
        kept = self.stored.taken(0, rows) if self._table is None else self._table[rows]
        return torch.from_numpy(kept).to(self.measurements.device)

    def all(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image in order, batch by batch."""
        for start in range(0, self.rows, attentive.BATCH):
            rows = np.arange(start, min(start + attentive.BATCH, self.rows))
            yield self.tokens(rows), self.labels[rows]

    def drawn(self, augment: bool) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
        """Shuffled batches; the order depends only on the images' pixels and the seed."""

        def batches(steps: int) -> Iterator[tuple[Tensor, Tensor]]:
            for epoch, rows in self.shuffled(steps, attentive.BATCH):
                yield (self._augmented(rows, epoch) if augment else self.tokens(rows)), self.labels[rows]

        return batches

    def shuffled(self, steps: int, most: int) -> Iterator[tuple[int, np.ndarray]]:
        """The number of the epoch and the rows of each of so many batches; drawn from the seed and the pixels alone."""
        rng = np.random.default_rng(self.measurements.seed)
        epochs = ((epoch, rows) for epoch in itertools.count() for rows in self.epoch(rng, most))
        return itertools.islice(epochs, steps)

    def epoch(self, rng: np.random.Generator, most: int) -> Iterator[np.ndarray]:
        """Rows of one pass over the images, in batches of `most`; a last, smaller one is left out."""
        ranked = np.argsort(self.measurements.order(self.rows, self.split))
        parted = self.stored is not None and self.stored.nbytes > WHOLE
        if parted:
            starts = rng.permutation(np.arange(0, self.rows, PART))
            order = np.concatenate([rng.permutation(np.arange(at, min(at + PART, self.rows))) for at in starts])
        else:
            order = ranked[rng.permutation(self.rows)]
        size = min(most, self.rows)
        for start in range(0, self.rows - size + 1, size):
            rows = order[start : start + size]
            yield np.sort(rows) if self.stored is None or parted else rows

    # --- from the encoder -------------------------------------------------------------------------------------------

    def _encoded(self, images: Tensor) -> Tensor:
        """Patch tokens of the layer, scaled. The encoder stays as it is."""
        return self.measurements.patch_tokens(images, self.layer) / self.scale

    def _augmented(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Tokens of a random crop and flip of each image, others in every epoch."""
        measurements = self.measurements
        keys = measurements.order(self.rows, self.split)
        images_of = measurements.images(self.split)
        views = Views(images_of, measurements.preprocess, 1, seed=measurements.seed + epoch, keys=keys)
        size = measurements.batch_size
        drawn = (views.batch(rows[start : start + size])[:, 0] for start in range(0, len(rows), size))
        return joined((self._encoded(images.to(measurements.device)) for images in drawn), len(rows))


def joined(parts: Iterable[Tensor], rows: int) -> Tensor:
    """So many rows of tokens in float32, filled part by part: no batch is in memory twice."""
    out, filled = torch.empty(0), 0
    for part in parts:
        if not filled:
            out = torch.empty(rows, *part.shape[1:], device=part.device)
        out[filled : filled + len(part)] = part
        filled += len(part)
    return out
