"""Data that is already in memory, or in NumPy files: a pair (images, labels), any torch `Dataset`, or splits of either.

`numpy:PATH` is an `.npz` file, or a folder of `.npy` files, with the arrays `images` and `labels`, or with the splits
as `train_images`, `train_labels` and so on; `classes` (texts) is optional. Images are 8-bit: uint8 (n, height, width,
3), (n, 3, height, width) or grey (n, height, width[, 1]). Splits that are missing are made as `probekit.data.splits`
says, with an image's position in its array as its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from probekit import cache, progress
from probekit.data.base import SPLITS, ArraySet, ImageSet
from probekit.data.decode import rgb
from probekit.data.splits import Part, check_no_gaps, choose, pick
from probekit.errors import DataError, did_you_mean


class StoredArrays(ArraySet):
    """Images as they were given; the fingerprint is that of their bytes."""

    def content(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.images)).hexdigest()


class TorchSet(ImageSet):
    """A map-style torch `Dataset` of (image, label): an image is a PIL picture, a uint8 array or tensor, or a float
    tensor (3, height, width) in [0, 1] as `ToTensor` makes it."""

    def __init__(self, dataset: Any, positions: np.ndarray, **description: Any) -> None:
        super().__init__(**description)
        self.dataset = dataset
        self.positions = positions

    def read(self, index: int) -> np.ndarray:
        return as_rgb(self.dataset[int(self.positions[index])][0], self.image_name(index))

    def image_name(self, index: int) -> str:
        return f"{self.spec}[{self.positions[index]}]"

    def content(self) -> str:
        digests = []
        with progress.bar(f"{self.name}: reading contents", len(self)) as advance:
            for index in range(len(self)):
                image = self.read(index)
                digests.append([image.shape, hashlib.sha256(np.ascontiguousarray(image)).hexdigest()])
                advance()
        return cache.key(images=digests)


def as_rgb(image: Any, name: str) -> np.ndarray:
    """One image of any of the kinds that data sets yield -> uint8 (height, width, 3)."""
    if isinstance(image, Image.Image):
        return np.asarray(rgb(image, name))
    array = np.asarray(image)
    if array.dtype.kind == "f":
        if array.size and not (array.min() >= 0 and array.max() <= 1):
            raise DataError(
                f"{name} holds fractional numbers from {array.min():.3g} to {array.max():.3g}; pixels in [0, 1] or "
                "8-bit pixels are expected. Leave Normalize out of its transforms: normalising is the model card's."
            )
        array = np.floor(array * 255 + 0.5).astype(np.uint8)
    return as_pixels(array[None], name)[0]


def as_pixels(images: np.ndarray, name: str) -> np.ndarray:
    """Many 8-bit images in any of the usual layouts -> uint8 (n, height, width, 3)."""
    if images.dtype != np.uint8:
        raise DataError(
            f"{name}: images are {images.dtype}; 8-bit pixels (uint8, 0 to 255) are expected. "
            "Convert fractions in [0, 1] by (images * 255).round().astype('uint8')."
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"{name}: images have shape {images.shape}; expected (n, height, width, 3), (n, 3, height, width) or "
            "(n, height, width) for grey."
        )
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images


def as_labels(labels: Any, n: int, name: str) -> np.ndarray:
    """Labels as int64 (n,), counted from 0."""
    array = np.asarray(labels)
    if array.shape != (n,):
        raise DataError(f"{name}: {n} images but labels of shape {array.shape}; one label per image is expected.")
    if array.dtype.kind not in "iu" or (n and array.min() < 0):
        raise DataError(
            f"{name}: labels are {array.dtype} from {array.min()}; whole numbers from 0 upwards are expected."
        )
    return array.astype(np.int64)


def from_memory(
    thing: Any,
    split: str,
    *,
    count: int | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    name: str | None = None,
) -> ImageSet:
    """An image set of what is in memory.

    Args:
        thing: a pair (images, labels), a torch `Dataset`, or a dict of either by split.
        classes: names; default: the data set's own `classes`, else the numbers.
        name: of the set.
    """
    given = dict(thing) if isinstance(thing, Mapping) else {"all": thing}
    unknown = [key for key in given if key not in (*SPLITS, "all")]
    if unknown or not given:
        raise DataError(
            f"Splits are {', '.join(SPLITS)}, not {unknown or 'empty'}. {did_you_mean(str(unknown), SPLITS)}"
        )
    first = next(iter(given.values()))
    label = name or ("arrays" if isinstance(first, tuple) else type(first).__name__)
    return open_given(given, split, spec=label, name=label, count=count, seed=seed, classes=classes)


def open_given(
    given: Mapping[str, Any],
    split: str,
    *,
    spec: str,
    name: str,
    count: int | None,
    seed: int,
    classes: Sequence[str] | None = None,
    licence: str = "as the data's",
) -> ImageSet:
    """A split out of pairs of arrays or torch data sets by split ("all": without splits)."""
    sources = {key: _unpacked(thing, spec) for key, thing in given.items()}
    labels = {key: source[1] for key, source in sources.items()}
    named = classes or next((source[2] for source in sources.values() if source[2]), None)
    if named is None:
        named = [str(number) for number in range(1 + max(int(array.max(initial=-1)) for array in labels.values()))]
    for key, array in labels.items():
        if array.max(initial=-1) >= len(named):
            raise DataError(f"{spec}: the label {array.max()} has no name among {len(named)} classes.")
        check_no_gaps(array, named, spec if key == "all" else f"{spec}, {key}")
    parts = {key: Part([f"{spec}[{i}]" for i in range(len(array))], array) for key, array in labels.items()}
    choice = pick(split, parts, named, spec)
    names = [parts[choice.part].names[index] for index in choice.indices]
    chosen = choice.indices[choose(names, labels[choice.part][choice.indices], count, seed)]
    description: dict[str, Any] = {
        "name": name,
        "spec": spec,
        "split": split,
        "classes": named,
        "labels": labels[choice.part][chosen],
        "facts": {"source": "memory", "split_rule": choice.rule},
        "licence": licence,
        "description": f"{len(chosen)} images in {len(named)} classes; splits: {choice.rule}",
    }
    data = sources[choice.part][0]
    if isinstance(data, np.ndarray):
        return StoredArrays(np.ascontiguousarray(data[chosen]), origin="stored", **description)
    return TorchSet(data, chosen, origin="decoded", **description)


def _unpacked(thing: Any, spec: str) -> tuple[Any, np.ndarray, Sequence[str] | None]:
    """(pixels or data set, labels, class names or None) of a pair of arrays or a torch data set."""
    if isinstance(thing, tuple) and len(thing) == 2:
        pixels = as_pixels(np.asarray(thing[0]), spec)
        return pixels, as_labels(thing[1], len(pixels), spec), None
    if not (callable(getattr(thing, "__getitem__", None)) and callable(getattr(thing, "__len__", None))):
        raise DataError(
            f"{type(thing).__name__} is no image set: a spec (text), a pair (images, labels) of arrays, or a torch "
            "Dataset with __getitem__ and __len__ is expected. An IterableDataset has no order: make a list of it."
        )
    classes = getattr(thing, "classes", None)
    stored = getattr(thing, "data", None)
    labels = _labels(thing, spec)
    untouched = getattr(thing, "transform", None) is None and getattr(thing, "transforms", None) is None
    if untouched and stored is not None and len(stored) == len(thing) and not isinstance(stored, list):
        return as_pixels(np.asarray(stored), spec), labels, classes
    return thing, labels, classes


def _labels(dataset: Any, spec: str) -> np.ndarray:
    """The labels that a data set lists (`targets`, `labels` or `_labels`), else those of its items, one by one."""
    for attribute in ("targets", "labels", "_labels"):
        listed = getattr(dataset, attribute, None)
        if listed is not None and len(listed) == len(dataset) and getattr(dataset, "target_transform", None) is None:
            return as_labels(listed, len(dataset), spec)
    found = []
    with progress.bar(f"{spec}: reading labels", len(dataset)) as advance:
        for index in range(len(dataset)):
            item = dataset[index]
            if not isinstance(item, tuple | list) or len(item) < 2:
                raise DataError(f"{spec}[{index}] is {type(item).__name__}; a pair (image, label) is expected.")
            found.append(int(item[1]))
            advance()
    return as_labels(found, len(dataset), spec)


def open_split(argument: str, split: str, *, spec: str, count: int | None = None, seed: int = 0) -> ImageSet:
    """Open `.npz` or a folder of `.npy` files."""
    path = Path(argument)
    arrays = _stored_arrays(path, spec)
    classes = [str(text) for text in arrays["classes"]] if "classes" in arrays else None
    if "images" in arrays:
        given = {"all": _pair(arrays, "", path, spec)}
    else:
        given = {key: _pair(arrays, f"{key}_", path, spec) for key in SPLITS if f"{key}_images" in arrays}
    if not given:
        raise DataError(
            f"{spec}: {path} has the arrays {', '.join(sorted(arrays)) or 'none'}; "
            "images and labels are expected, or train_images, train_labels and so on."
        )
    return open_given(given, split, spec=spec, name=path.stem, count=count, seed=seed, classes=classes)


def _pair(arrays: Mapping[str, np.ndarray], prefix: str, path: Path, spec: str) -> tuple[np.ndarray, np.ndarray]:
    if f"{prefix}labels" not in arrays:
        raise DataError(f"{spec}: {path} has {prefix}images but no {prefix}labels.")
    return arrays[f"{prefix}images"], arrays[f"{prefix}labels"]


def _stored_arrays(path: Path, spec: str) -> dict[str, np.ndarray]:
    if not path.exists():
        raise DataError(f"{spec}: there is no file or folder {path}.")
    try:
        if path.is_dir():
            return {file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))}
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{spec}: cannot read {path}: {error}") from error
