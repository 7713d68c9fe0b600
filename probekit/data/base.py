"""The base class of image sets: images in a fixed order, with labels and further annotations.

An `ImageSet` is final data, not a stream: index i is always the same image. What is unknown for a set is None, never a
guess. One function makes batches for all sets (`probekit.data.loading`).
"""

from __future__ import annotations

import abc
import hashlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from probekit import cache, progress
from probekit.data import loading
from probekit.data.decode import decoder_versions
from probekit.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from probekit.data.instances import Instances
    from probekit.data.maps import PixelMaps
    from probekit.data.preprocess import Preprocess

SPLITS = ("train", "val", "test")
"""train: to fit on; val: to select on; test: to report. They never share an image."""

PER_IMAGE = ("object_masks", "shape_labels", "texture_labels", "groups", "targets")
"""Attributes of an `ImageSet` that hold an array with one entry per image, or None."""

PER_MAP = ("segmentation", "depth", "instances")
"""Attributes that hold a map per image (`PixelMaps`) or its objects (`Instances`), or None."""

KNOWN = (*PER_IMAGE, "latents", "noise", "class_indices", "class_members", "superclasses")
"""What may be known of the images beside pixels and labels."""


def check_split(split: str) -> str:
    """Returns `split` if it is one of `SPLITS`; a `DataError` otherwise."""
    if split not in SPLITS:
        raise DataError(f"Unknown split {split!r}; it is one of {', '.join(SPLITS)}. {did_you_mean(split, SPLITS)}")
    return split


def check_count(count: int | None, available: int | None = None) -> int | None:
    """Returns `count` if that many images exist; a `DataError` otherwise."""
    if count is not None and count < 1:
        raise DataError(f"count={count} images were asked for; it must be at least 1.")
    if count is not None and available is not None and count > available:
        raise DataError(f"count={count} images were asked for, but there are only {available}.")
    return count


class ImageSet(abc.ABC):
    """Images in a fixed order, with labels.

    Attributes:
        name: short, for tables and coordinates, e.g. "quadtree".
        spec: what `load` was given.
        split: "train", "val" or "test".
        classes: names of the classes, in the order of their numbers; empty without labels.
        labels: int64 (n,), or None if the images have no class labels.
        targets: (n, k), what a probe predicts instead of a class: bool for several labels per image, float32 for
            regression; or None. `target_kind` is "multilabel" or "regression", `target_names` has k names.
        superclasses: the name of each class's superclass, in the order of `classes`; or None.
        channels: number of channels of every image; 3 = RGB.
        grey_as_rgb: whether a model with three channels may see grey images three times (`load(..., channels=3)`).
        origin: "generated" (same bytes on any machine), "decoded" (same bytes for the same library versions) or
            "stored" (bytes as given). The fingerprint starts with it.
        facts: what determines the images and labels besides the contents of files (JSON-able).
        notes: sentences on what was left out, renamed, drawn or assumed while the set was opened.
        licence, description: for people.
        latents, noise: dict level -> float array (n, nodes, dim), nodes in raster order at their level; or None.
        height, patch_size: of the tree of latents, and of its leaves in pixels; or None.
        object_masks: bool (n, height, width), True on the object; or None.
        segmentation, depth: one map per image, read when asked for (`probekit.data.maps.PixelMaps`); or None.
        instances: the objects of each image, read when asked for (`probekit.data.instances.Instances`); or None.
        shape_labels, texture_labels: int64 (n,), into `classes`, where an image has both; or None.
        groups: int64 (n,), the unit that intervals must resample (images of one group are not independent); or None.
        class_indices: int64 (len(classes),), the number of each class in ImageNet-1k; or None. A class that joins
            several of them has them in `class_members` instead (a tuple of tuples).
        shifts: specs of shifted versions of the test split.
        conflict: spec of the set in which shape and texture disagree, for a set in which they agree; or None.
        unreadable: names of images that were left out because `on_unreadable="skip"`.
        colour_baseline: True where colour alone nearly tells the labels, so that a colour histogram's accuracy
            (`probekit.data.baselines`) belongs beside any accuracy.
        disjoint: True if the source guarantees that its splits share no image.

    Example:
        >>> images = probekit.data.load("shapes", "test", count=8)
        >>> images, images[0].shape, images.labels.dtype
        (<Shapes 'shapes' test: 8 images, 8 classes>, (32, 32, 3), dtype('int64'))
    """

    latents: dict[int, np.ndarray] | None = None
    noise: dict[int, np.ndarray] | None = None
    height: int | None = None
    patch_size: int | None = None
    object_masks: np.ndarray | None = None
    segmentation: PixelMaps | None = None
    depth: PixelMaps | None = None
    instances: Instances | None = None
    shape_labels: np.ndarray | None = None
    texture_labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    targets: np.ndarray | None = None
    target_kind: str | None = None
    target_names: tuple[str, ...] = ()
    superclasses: tuple[str, ...] | None = None
    channels: int = 3
    grey_as_rgb: bool = False
    class_indices: np.ndarray | None = None
    class_members: tuple[tuple[int, ...], ...] | None = None
    shifts: tuple[str, ...] = ()
    conflict: str | None = None
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    colour_baseline: bool = False
    disjoint: bool = False
    implied: tuple[str, ...] = ()
    """Which of `KNOWN` follow from `facts` and contents, and so need no digest of their own in the fingerprint."""
    endless: bool = False
    """Whether `pixels` takes any index >= 0 in the train split, so that training never sees an image twice."""
    in_memory: bool = False
    """Whether `pixels` is cheap, so that worker processes would only cost time."""

    def __init__(
        self,
        *,
        name: str,
        spec: str,
        split: str,
        classes: Sequence[str],
        labels: np.ndarray | None,
        origin: str,
        facts: Mapping[str, Any],
        licence: str = "unknown",
        description: str = "",
        size: int | None = None,
    ) -> None:
        """Set what every image set has.

        Args:
            name, spec, split, classes, origin, facts, licence, description: see `ImageSet`.
            labels: (n,), numbers of classes, or None.
            size: number of images where `labels` is None.

        Raises:
            DataError: no images, an unknown split, or labels that are no numbers of classes.
        """
        self.name = name
        self.spec = spec
        self.split = check_split(split)
        self.classes = tuple(str(label) for label in classes)
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.origin = origin
        self.facts = dict(facts)
        self.licence = licence
        self.description = description
        self._size = int(size or 0) if self.labels is None else len(self.labels)
        if self._size == 0:
            raise DataError(f"{spec}: the {split} split has no images.")
        if self.labels is not None:
            self._check_labels(self.labels)

    def _check_labels(self, labels: np.ndarray) -> None:
        if labels.ndim != 1:
            raise DataError(f"{self.spec}: labels have shape {labels.shape}; one number per image is expected.")
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise DataError(
                f"{self.spec}: labels run from {labels.min()} to {labels.max()}, "
                f"but there are {len(self.classes)} classes (0 to {len(self.classes) - 1})."
            )

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as it is, uint8 (height, width, channels); a negative index counts from the end."""
        index = range(len(self))[operator.index(index)]  # negative indices, and an IndexError past the end
        return self.read(index)

    def __repr__(self) -> str:
        classes = f"{len(self.classes)} classes" if self.labels is not None else "no labels"
        return f"<{type(self).__name__} {self.spec!r} {self.split}: {len(self)} images, {classes}>"

    @property
    def known_labels(self) -> np.ndarray:
        """`labels`, for what cannot do without: a DataError if the set has none."""
        if self.labels is None:
            raise DataError(f"{self.spec}: the images have no class labels, which are needed here.")
        return self.labels

    def partners(self, keep: int, seed: int = 0) -> ImageSet:
        """A second set whose image i shares some latents with image i of this one.

        Args:
            keep: lowest height of the latents that are shared; those below are drawn anew.
            seed: of the new latents.

        Returns:
            As many images, without labels of their own.

        Raises:
            DataError: the images are not made from latents.
        """
        raise DataError(f"{self.spec}: the images come from no known latents, so they have no partners.")

    @abc.abstractmethod
    def read(self, index: int) -> np.ndarray:
        """Decode one image.

        Args:
            index: 0 to n - 1.

        Returns:
            uint8 (height, width, channels).

        Raises:
            DataError: the image cannot be read; it names the image.
        """

    def picture(self, index: int) -> Any:
        """As `read`, or a Pillow picture of the same pixels where that saves copying a large image."""
        return self.read(index)

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """Decode several images of one size.

        Args:
            indices: int (m,), each from 0 to n - 1.

        Returns:
            uint8 (m, height, width, channels).

        Raises:
            DataError: an image cannot be read, or the images differ in size.
        """
        images = [self.read(int(index)) for index in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != images[0].shape:
                raise DataError(
                    f"{self.spec}: {self.image_name(int(index))} is {image.shape[0]} x {image.shape[1]} pixels and "
                    f"{self.image_name(int(indices[0]))} {images[0].shape[0]} x {images[0].shape[1]}: images of "
                    "different sizes make no batch; pass a Preprocess to have them resized."
                )
        return np.stack(images)

    def image_name(self, index: int) -> str:
        """What to call an image in a message. Differs from that of every other image of all splits."""
        return f"{self.spec}#{self.split}/{index}"

    def rank_keys(self) -> Sequence[str]:
        """A text for each image that stays with it if the images are reordered: its relative path or its content."""
        return [str(index) for index in range(len(self))]

    def file_digests(self) -> list[str] | None:
        """A digest of each image's file; None if the images are not files."""
        return None

    def pixel_digests(self) -> list[str]:
        """A digest of each image's pixels, decoded: equal digests mean identical images."""
        with progress.bar(f"{self.name}: comparing contents", len(self)) as advance:
            found = []
            for index in range(len(self)):
                found.append(pixel_digest(self.read(index)))
                advance()
        return found

    def content(self) -> str:
        """A digest of everything that the pixels depend on besides `facts`, such as file contents."""
        return ""

    @cached_property
    def fingerprint(self) -> str:
        """What images and labels depend on: `<origin>-<32 hexadecimal digits>`. Changes if any image changes."""
        facts = {
            "facts": self.facts,
            "split": self.split,
            "classes": self.classes,
            "labels": None if self.labels is None else cache.key(labels=self.labels.tolist()),
            "content": self.content(),
        }
        if self.origin == "decoded":
            facts["libraries"] = decoder_versions()
        told = {name: getattr(self, name) for name in KNOWN if name not in self.implied}
        if any(value is not None for value in told.values()):
            facts["known"] = {name: _digest(value) for name, value in told.items() if value is not None}
        return f"{self.origin}-{cache.key(**facts)}"

    def batches(
        self,
        size: int,
        preprocess: Preprocess | None = None,
        *,
        indices: np.ndarray | Sequence[int] | None = None,
        device: str = "cpu",
        workers: int = 0,
        prefetch: int = 2,
    ) -> Iterator[dict[str, Any]]:
        """Batches of images as tensors.

        Args:
            size: images per batch; the last batch may be smaller.
            preprocess: resizes, crops and normalises; None leaves the pixels as they are stored.
            indices: which images, in this order; default: all.
            device: where the tensors go.
            workers: processes that decode; 0 = one thread beside the caller's. Does not change the bytes.
            prefetch: batches that are prepared ahead. Does not change the bytes.

        Returns:
            Dicts with `image`: float32 (b, channels, height, width), normalised (uint8 without `preprocess`);
            `index`: int64 (b,); and `label`: int64 (b,), if the set has labels.

        Raises:
            DataError: an image cannot be read, or its channels do not fit `preprocess`.

        Example:
            >>> images = probekit.data.load("shapes", "val", count=8)
            >>> next(images.batches(4))["image"].shape
            torch.Size([4, 3, 32, 32])
        """
        return loading.batches(self, size, preprocess, indices=indices, device=device, workers=workers,
                               prefetch=prefetch)  # fmt: skip


def pixel_digest(image: np.ndarray) -> str:
    """A digest of the shape and pixels of an image: 32 hexadecimal digits."""
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16)
    digest.update(str(image.shape).encode())
    return digest.hexdigest()


def _digest(value: Any) -> str:
    """Of an array, a dict of arrays or nested tuples of numbers."""
    parts = value if isinstance(value, Mapping) else {"": value}
    digest = hashlib.sha256()
    for key, part in parts.items():
        text = not isinstance(part, np.ndarray)  # tuples may be ragged
        array = np.frombuffer(repr(part).encode(), dtype=np.uint8) if text else np.ascontiguousarray(part)
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
