"""What is measured: one checkpoint and one image set, as a probe sees them.

Facts come from the settings and the checkpoint; images come as the checkpoint sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from probekit.collect import tokens
from probekit.collect.freed import give_back_after
from probekit.collect.identity import ranks
from probekit.collect.image_sets import Splits
from probekit.collect.ladder import RATIOS, LadderSource, units_that_fit
from probekit.collect.pass_settings import Counts
from probekit.collect.prepared import Pairs, PreparedModel
from probekit.data import ImageSet, Preprocess
from probekit.errors import ProbeError, did_you_mean


class Subject:
    """A checkpoint and an image set: their facts and the images.

    Args:
        prepared: the checkpoint, and how images are put before it.
        sets: the splits.
    """

    def __init__(self, prepared: PreparedModel, sets: Splits) -> None:
        self.prepared = prepared
        self.sets = sets
        self.lacking: dict[str, str] = {}

    # --- facts ------------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        return self.sets.counts

    @property
    def seed(self) -> int:
        return self.prepared.settings.seed

    @property
    def all_layers(self) -> list[int]:
        return list(range(self.prepared.layers))

    @cached_property
    def layers(self) -> list[int]:
        asked = self.prepared.settings.layers
        if asked is None:
            return self.all_layers
        count = self.prepared.layers
        if not all(-count <= layer < count for layer in asked):
            raise ProbeError(
                f"layers={list(asked)}: {self.prepared.checkpoint.name} has the layers 0 (embedding) to {count - 1}; "
                "negative numbers count from the last, -1."
            )
        return sorted({layer % count for layer in asked})

    @cached_property
    def poolings(self) -> tuple[str, ...]:
        asked, known = self.prepared.settings.poolings, self.prepared.poolings
        for name in asked or ():
            if name not in known:
                raise ProbeError(
                    f"poolings={list(asked or ())}: {self.prepared.checkpoint.name} has {', '.join(known)}. "
                    f"{did_you_mean(name, known)}"
                )
        return known if asked is None else tuple(name for name in known if name in asked)

    @property
    def all_poolings(self) -> tuple[str, ...]:
        """Names of the poolings that the checkpoint has."""
        return self.prepared.poolings

    def asked_for(self, array: xr.DataArray) -> xr.DataArray:
        """A result without the layers and poolings that were not asked for."""
        wanted = {"layer": self.layers, "layer_other": self.layers}
        others = set(self.prepared.poolings) - set(self.poolings)
        for dim in set(array.dims) & set(array.coords):
            labels = array[dim].values.tolist()
            if dim in wanted:
                array = array.sel({dim: [label for label in labels if label in wanted[str(dim)]]})
            elif dim == "pooling" and others & set(labels):
                array = array.sel({dim: [label for label in labels if label not in others]})
        return array

    @property
    def grid(self) -> tuple[int, int]:
        return self.prepared.grid

    def layer_grid(self, layer: int) -> tuple[int, int]:
        """(rows, columns) of a layer's patches; they differ between layers of hierarchical encoders."""
        return self.prepared.layer_grid(layer)

    def has_places(self, layer: int) -> bool:
        """Whether the places of a layer's patch tokens in the image are known."""
        return self.prepared.shapes[layer].grid is not None

    @property
    def no_common_grid(self) -> str | None:
        """Why maps of different layers do not lie on one grid of patches; None if they do."""
        return self.prepared.no_common_grid

    @property
    def widths(self) -> list[int]:
        """Width of the features of each layer."""
        return [shape.width for shape in self.prepared.shapes]

    @property
    def token_layers(self) -> list[int]:
        """The layers whose patch tokens a probe may read: those asked for, else the last."""
        return list(tokens.chosen(self.prepared))

    @property
    def mask_grid(self) -> tuple[int, int]:
        return self.prepared.mask_grid

    @property
    def image_size(self) -> tuple[int, int]:
        return self.prepared.size

    @property
    def picture_side(self) -> int:
        return self.prepared.settings.picture_side

    @property
    def batch_size(self) -> int:
        return self.prepared.batch_size()

    @property
    def device(self) -> str:
        return str(self.prepared.device)

    @property
    def card(self) -> Any:
        return self.prepared.checkpoint.card

    @property
    def model(self) -> Any:
        return self.prepared.model

    @property
    def shifts(self) -> tuple[str, ...]:
        return self.sets.shifts

    @property
    def conflict(self) -> str | None:
        return self.sets.conflict

    # --- images -----------------------------------------------------------------------------------------------------

    def images(self, split: str = "test") -> ImageSet:
        """A split; its first `size(split)` images are used."""
        return self.sets[split]

    def size(self, split: str) -> int:
        """How many images of a split are used."""
        return self.sets.size(split)

    def shifted_images(self, spec: str) -> ImageSet:
        """A shifted test set, or the cue-conflict set."""
        return self.sets.shifted(spec)

    def partners(self) -> Pairs:
        """The test images with partners that share their latents of height >= h, h = 1..H."""
        return self.sets.pairs(self.seed)

    def labels(self, split: str) -> np.ndarray:
        """Classes of the used images of a split: int64 (images,)."""
        return np.asarray(self.images(split).known_labels[: self.size(split)])

    def classes_and_superclasses(self, rows: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Class and superclass of the first test images, int64 (rows,) each, -1 where unknown; None where the image
        set has none, or one superclass for all. What is missing is noted in `lacking`.
        """
        images = self.images("test")
        if images.labels is None:
            self.lacking["the rungs class and superclass"] = "the images have no labels: the ladder ends at `image`"
            return None, None
        classes = np.asarray(images.labels[:rows])
        if images.superclasses is None or len(set(images.superclasses)) < 2:
            self.lacking["the rung superclass"] = "no superclasses are known: the ladder ends at `class`"
            return classes, None
        numbers = np.unique(np.asarray(images.superclasses), return_inverse=True)[1]
        return classes, np.where(classes >= 0, numbers[classes], -1)

    def targets(self, split: str) -> np.ndarray:
        """What a probe predicts instead of a class: bool or float32 (images, targets)."""
        targets = self.images(split).targets
        if targets is None:
            raise ProbeError(f"The {split} split of {self.images(split).name} has no targets.")
        return np.asarray(targets[: self.size(split)])

    def groups(self, rows: int) -> np.ndarray | None:
        """What intervals resample instead of single test images, (rows,), if the image set says so."""
        groups = self.images("test").groups
        return None if groups is None else np.asarray(groups[:rows])

    def order(self, rows: int, split: str = "test") -> np.ndarray:
        """Rank of each of the first images by a digest of its pixels: int64 (rows,). What is drawn from images in this
        order does not depend on the order they come in.
        """
        return ranks(self.images(split), rows)

    def pixels(self, images: ImageSet, indices: Iterable[int]) -> np.ndarray:
        """Images as the checkpoint sees them, before normalisation: uint8 (n, height, width, channels)."""
        return np.stack([self.prepared.preprocess(images[int(index)]) for index in indices])

    def inputs(self, images: ImageSet, rows: np.ndarray) -> np.ndarray:
        """Some images as the checkpoint gets them, normalised: float32 (len(rows), channels, height, width)."""
        batches = images.batches(256, self.prepared.preprocess, indices=rows)
        return np.concatenate([batch["image"].numpy() for batch in batches])

    @property
    def preprocess(self) -> Preprocess:
        """What turns an image of the set into what the checkpoint sees."""
        return self.prepared.preprocess

    def batches(self, indices: np.ndarray, size: int, split: str = "test") -> Iterator[tuple[Any, Any]]:
        """(images, labels) of a split on the model's device, normalised, `size` at a time: two tensors."""
        found = self.images(split).batches(size, self.prepared.preprocess, indices=indices, device=self.device)
        for batch in found:
            yield batch["image"], batch["label"]

    def object_masks(self, rows: int) -> np.ndarray:
        """Object masks of the first test images, resized and cropped as these are: bool (rows, height, width)."""
        return self.prepared.masks(self.images("test"), np.arange(rows))

    def hidden_units(self, rows: int) -> Any:
        """The evaluation masks of the first test images on `mask_grid`: a bool tensor (rows, units), or None."""
        return self.prepared.hidden_units(self.images("test"), rows)

    def rows(self, limit: str) -> int:
        """How many test images a part of the measurement uses, by its name in `Counts`."""
        return min(int(getattr(self.counts, limit)), self.size("test"))

    def ladder_views(self) -> Iterator[Tensor]:
        """The views themselves, as the model sees them: float32 (some images, 4, channels, height, width) at a time."""
        source = self._ladder_source(self.rows("ladder"))
        for batch in source.batches(self.prepared, 0, source.rows):
            yield batch.images.reshape(-1, source.per_row, *batch.images.shape[1:]).cpu()
            give_back_after(batch.images.nbytes)

    def response_grid(self) -> list[tuple[float, int]]:
        """(mask ratio, side of the hidden unit in units of `mask_grid`) of the passes under evaluation masks."""
        return [(ratio, unit) for unit in units_that_fit(self.mask_grid) for ratio in RATIOS]

    def _ladder_source(self, rows: int) -> LadderSource:
        return LadderSource(self.images("test"), rows, self.seed)
