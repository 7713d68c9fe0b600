"""Images that lie class by class, taken in turns: one of each class, then the next of each.

Folders list their images class by class. Whoever looks at the first 256 images of such a set would see a few classes
only, and call what is true of them true of all.
"""

from __future__ import annotations

import numpy as np

from probekit import cache
from probekit.data.base import PER_IMAGE, ImageSet
from probekit.data.splits import turns

SHARED = (
    "class_indices",
    "class_members",
    "shifts",
    "conflict",
    "unreadable",
    "colour_baseline",
    "in_memory",
    "implied",
)


class Interleaved(ImageSet):
    """The images of another set, in another order."""

    def __init__(self, images: ImageSet, positions: np.ndarray) -> None:
        super().__init__(
            name=images.name, spec=images.spec, split=images.split, classes=images.classes,
            labels=images.labels[positions], origin=images.origin, facts={"order": "in turns"},
            licence=images.licence, description=images.description,
        )  # fmt: skip
        self.images, self.positions = images, positions
        for name in PER_IMAGE:
            values = getattr(images, name)
            setattr(self, name, None if values is None else np.asarray(values)[positions])
        for name in SHARED:
            setattr(self, name, getattr(images, name))

    def read(self, index: int) -> np.ndarray:
        return self.images.read(int(self.positions[index]))

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        return self.images.pixels(self.positions[indices])

    def image_name(self, index: int) -> str:
        return self.images.image_name(int(self.positions[index]))

    def content(self) -> str:
        return cache.key(images=self.images.fingerprint)


def interleave_classes(images: ImageSet) -> ImageSet:
    """`images`, in turns if their classes lie one behind the other.

    Splits whose latents are known are generated in random order, and stay as they are.
    """
    labels = images.labels
    one_behind_the_other = 0 < np.count_nonzero(np.diff(labels)) == len(np.unique(labels)) - 1
    if not one_behind_the_other or images.latents is not None:
        return images
    return Interleaved(images, turns([str(index) for index in range(len(labels))], labels, seed=0))
