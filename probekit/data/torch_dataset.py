"""A map-style torch `Dataset`: it is what its `__getitem__` returns.

Many data sets keep raw arrays (`data`, `targets`), and subclasses or wrappers return something else. So images and
labels are read from the items. The raw arrays serve only where the class's own code proves them equal: a torchvision
class whose `__getitem__` nobody overrode, without transforms (`PROVEN`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from probekit import cache, progress
from probekit.data.bands import ValueRange, channels_last, to_uint8
from probekit.data.base import ImageSet, pixel_digest
from probekit.data.decode import BROKEN, rgb, unreadable
from probekit.errors import DataError

PROVEN = {
    "CIFAR10": ("data", "targets"),
    "MNIST": ("data", "targets"),
    "SVHN": ("data", "labels"),
    "DatasetFolder": ("", "targets"),
}
"""torchvision class -> the attributes that its own `__getitem__` reads images and labels from."""


class Items(NamedTuple):
    """What is known of a data set: raw images (or None: ask the items), labels (or None), a text per image that stays
    with it, the positions of items that cannot be read, and whether the texts are digests of the items' pixels."""

    images: np.ndarray | None
    labels: Any
    keys: Sequence[str]
    broken: frozenset[int] = frozenset()
    exact: bool = False


class ReadOnce:
    """A data set whose items are read for their labels and digests once, however many splits are opened.

    For one evaluation: a data set that is changed meanwhile is not noticed.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.known: dict[tuple[ValueRange | None, bool], Items] = {}


class TorchSet(ImageSet):
    """Items (image, label) of a data set: an image is a PIL picture, or an array or tensor of 8-bit pixels or of
    fractions in [0, 1], as `ToTensor` makes it."""

    def __init__(
        self,
        dataset: Any,
        part: str,
        positions: np.ndarray,
        keys: Sequence[str],
        *,
        value_range: ValueRange | None = None,
        exact: bool = False,
        **description: Any,
    ) -> None:
        super().__init__(**description)
        self.exact = exact
        self.dataset = dataset
        self.part = part
        self.positions = positions
        self.keys = keys
        self.value_range = value_range
        self.channels = self.read(0).shape[2]

    def read(self, index: int) -> np.ndarray:
        return item_image(self.dataset, int(self.positions[index]), self.image_name(index), self.value_range)

    def image_name(self, index: int) -> str:
        return f"{self.spec} {self.part}[{self.positions[index]}]"

    def rank_keys(self) -> Sequence[str]:
        return self.keys

    def pixel_digests(self) -> list[str]:
        return list(self.keys) if self.exact else super().pixel_digests()

    def content(self) -> str:
        return cache.key(images=super().pixel_digests())  # read now: the data set may have been changed


def items_of(dataset: Any, spec: str, value_range: ValueRange | None, *, skip: bool) -> Items:
    """What a data set holds.

    Args:
        dataset: with `__getitem__` and `__len__`; or a `ReadOnce`.
        spec: for messages.
        value_range: of the pixels, where it is not the usual one.
        skip: whether items that cannot be read are counted instead of stopping.

    Raises:
        DataError: an item cannot be read, is no pair, or differs from one reading to the next.
    """
    if isinstance(dataset, ReadOnce):
        key = value_range, skip
        if key not in dataset.known:
            dataset.known[key] = items_of(dataset.dataset, spec, value_range, skip=skip)
        return dataset.known[key]
    proven = _proven(dataset)
    if proven is not None:
        return proven
    return _all_items(dataset, spec, value_range, skip=skip)


def _proven(dataset: Any) -> Items | None:
    """Raw arrays and labels, where the class's own `__getitem__` is known to return them."""
    torchvision = sys.modules.get("torchvision.datasets")
    for name, (images, labels) in PROVEN.items():
        known = getattr(torchvision, name, None)
        own = type(dataset)
        if known is None or not isinstance(dataset, known) or dataset.target_transform is not None:
            continue
        if own.__getitem__ is not known.__getitem__ or own.__len__ is not known.__len__:
            continue
        if not images:
            paths = [PurePath(path) for path, _ in dataset.samples]
            return Items(None, list(dataset.targets), ["/".join(path.parts[-2:]) for path in paths])
        raw = channels_last(np.asarray(getattr(dataset, images)), name)
        keys = [pixel_digest(image) for image in raw]
        return Items(raw if dataset.transform is None else None, np.asarray(getattr(dataset, labels)), keys)
    return None


def _all_items(dataset: Any, spec: str, value_range: ValueRange | None, *, skip: bool) -> Items:
    labels: list[Any] = []
    keys: list[str] = []
    broken: set[int] = set()
    with progress.bar(f"{spec}: reading items", len(dataset)) as advance:
        for index in range(len(dataset)):
            name = f"{spec}[{index}]"
            try:
                item = dataset[index]
            except BROKEN as error:
                if not skip:
                    raise unreadable(name, error) from error
                broken.add(index)
                labels.append(labels[-1] if labels else None)
                keys.append(f"broken {index}")
                continue
            image, label = _pair(item, name)
            labels.append(label)
            keys.append(pixel_digest(as_pixels(image, name, value_range)))
            if index == 0 and pixel_digest(item_image(dataset, 0, name, value_range)) != keys[0]:
                raise DataError(
                    f"{name} is another image each time it is read: the data set draws at random. Leave random "
                    "transforms out of it; views and crops are drawn by seed here."
                )
            advance()
    without = [label is None for label in labels]
    if any(without) and not all(without):
        raise DataError(f"{spec}: {sum(without)} of {len(labels)} items have no label.")
    return Items(None, None if all(without) else labels, keys, frozenset(broken), exact=True)


def _pair(item: Any, name: str) -> tuple[Any, Any]:
    """(image, label) of an item; the label is None where the item is an image alone."""
    if hasattr(item, "keys"):
        raise DataError(
            f"{name} is {type(item).__name__}; a pair (image, label) is expected (a Hugging Face data set: write it "
            "with save_to_disk and open hf:FOLDER)."
        )
    if not isinstance(item, tuple | list):
        return item, None
    if not item:
        raise DataError(f"{name} is empty; a pair (image, label) is expected.")
    if len(item) == 1 or item[1] is None:
        return item[0], None
    label = item[1]
    if isinstance(label, str):
        return item[0], label
    array = np.asarray(label)
    if array.dtype.kind not in "iubf" or array.ndim > 1:
        raise DataError(
            f"{name} has the label {str(label)[:60]!r}; a whole number, a text, or a row of numbers is expected."
        )
    return item[0], array[0] if array.shape == (1,) and array.dtype.kind != "f" else array[()]


def item_image(dataset: Any, position: int, name: str, value_range: ValueRange | None = None) -> np.ndarray:
    """The image of an item: uint8 (height, width, channels); a DataError if it cannot be read."""
    try:
        return as_pixels(_pair(dataset[position], name)[0], name, value_range)
    except DataError:
        raise
    except BROKEN as error:
        raise unreadable(name, error) from error


def as_pixels(image: Any, name: str, value_range: ValueRange | None = None) -> np.ndarray:
    """One image of any of the kinds that data sets yield -> uint8 (height, width, channels)."""
    if isinstance(image, Image.Image):
        return np.asarray(rgb(image, name))
    tensor = hasattr(image, "is_floating_point")
    array = np.asarray(image.float() if tensor and image.is_floating_point() else image)  # bfloat16 too
    if array.ndim not in (2, 3) or array.dtype.kind not in "iubf":
        raise DataError(
            f"{name} is {type(image).__name__} of shape {array.shape}; an image is a PIL picture, or numbers of shape "
            "(height, width), (height, width, channels) or (channels, height, width)."
        )
    return to_uint8(channels_last(array[None], name, first=tensor)[0], name, value_range)
