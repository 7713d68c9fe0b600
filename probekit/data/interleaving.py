"""Some images of another set, or all of them in another order.

Folders list their images class by class. The first 256 images of such a set show a few classes only, and what is true
of them need not be true of all. `interleave_classes` puts them into an order in which every beginning has all classes
in their own proportions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probekit import cache
from probekit.data.base import PER_IMAGE, PER_MAP, ImageSet
from probekit.data.sampling import ordered

SHARED = (
    "channels",
    "class_indices",
    "class_members",
    "colour_baseline",
    "conflict",
    "implied",
    "in_memory",
    "notes",
    "shifts",
    "superclasses",
    "target_kind",
    "target_names",
    "grey_as_rgb",
    "unreadable",
)
"""What holds for a selection of images as it holds for all of them."""


class Subset(ImageSet):
    """Images of another set.

    Args:
        images: the other set.
        positions: which of its images, in this order.
        facts: how they were chosen (JSON-able); part of the fingerprint.
    """

    def __init__(self, images: ImageSet, positions: np.ndarray, facts: dict[str, Any]) -> None:
        super().__init__(
            name=images.name, spec=images.spec, split=images.split, classes=images.classes,
            labels=None if images.labels is None else images.labels[positions], size=len(positions),
            origin=images.origin, facts=facts, licence=images.licence, description=images.description,
        )  # fmt: skip
        self.images, self.positions = images, positions
        for name in PER_IMAGE:
            values = getattr(images, name)
            setattr(self, name, None if values is None else np.asarray(values)[positions])
        for name in PER_MAP:
            maps = getattr(images, name)
            setattr(self, name, None if maps is None else maps.take(positions))
        for name in SHARED:
            setattr(self, name, getattr(images, name))

    def read(self, index: int) -> np.ndarray:
        return self.images.read(int(self.positions[index]))

    def picture(self, index: int) -> Any:
        return self.images.picture(int(self.positions[index]))

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        return self.images.pixels(self.positions[indices])

    def image_name(self, index: int) -> str:
        return self.images.image_name(int(self.positions[index]))

    def rank_keys(self) -> Sequence[str]:
        keys = self.images.rank_keys()
        return [keys[position] for position in self.positions]

    def file_digests(self) -> list[str] | None:
        found = self.images.file_digests()
        return None if found is None else [found[position] for position in self.positions]

    def pixel_digests(self) -> list[str]:
        found = self.images.pixel_digests()
        return [found[position] for position in self.positions]

    def content(self) -> str:
        return cache.key(images=self.images.fingerprint, positions=self.positions.tolist())


def interleave_classes(images: ImageSet) -> ImageSet:
    """Returns `images`, reordered if each class is one block of them. Generated sets are in random order already."""
    labels = images.labels
    if labels is None or images.latents is not None:
        return images
    one_behind_the_other = 0 < np.count_nonzero(np.diff(labels)) == len(np.unique(labels)) - 1
    if not one_behind_the_other:
        return images
    order = ordered(images.rank_keys(), labels, seed=0, sampling="proportional")
    return Subset(images, order, {"order": "classes interleaved in their own proportions"})
