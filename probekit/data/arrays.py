"""Data that is already in memory, or in NumPy files: a pair (images, labels), any torch `Dataset`, or splits of either.

`numpy:PATH` is an `.npz` file, or a folder of `.npy` files, with the arrays `images` and `labels`, or with the splits
as `train_images`, `train_labels` and so on; `classes` (texts) is optional. Images are 8-bit: uint8 (n, height, width,
3), (n, 3, height, width) or grey (n, height, width[, 1]). Splits that are missing are made as `probekit.data.splits`
says, with an image's position in its array as its name.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from probekit import cache, progress
from probekit.data.base import SPLITS, ArraySet, ImageSet
from probekit.data.decode import BROKEN, rgb, unreadable
from probekit.data.splits import ALIASES, Part, check_no_gaps, pick
from probekit.data.unreadable import chosen_images
from probekit.errors import DataError, did_you_mean


class TorchSet(ImageSet):
    """A map-style torch `Dataset` of (image, label): an image is a PIL picture, a uint8 array or tensor, or a float
    tensor (3, height, width) in [0, 1] as `ToTensor` makes it."""

    def __init__(self, dataset: Any, part: str, positions: np.ndarray, **description: Any) -> None:
        super().__init__(**description)
        self.dataset = dataset
        self.part = part
        self.positions = positions

    def read(self, index: int) -> np.ndarray:
        return item_image(self.dataset, int(self.positions[index]), self.image_name(index))

    def image_name(self, index: int) -> str:
        return f"{self.spec} {self.part}[{self.positions[index]}]"

    def content(self) -> str:
        digests = []
        with progress.bar(f"{self.name}: reading contents", len(self)) as advance:
            for index in range(len(self)):
                image = self.read(index)
                digests.append([image.shape, hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()])
                advance()
        return cache.key(images=digests)


def item_image(dataset: Any, position: int, name: str) -> np.ndarray:
    """The image of an item of a torch data set: uint8 (height, width, 3); a DataError if it cannot be read."""
    try:
        return as_rgb(dataset[position][0], name)
    except DataError:
        raise
    except BROKEN as error:
        raise unreadable(name, error) from error


def as_rgb(image: Any, name: str) -> np.ndarray:
    """One image of any of the kinds that data sets yield -> uint8 (height, width, 3)."""
    if isinstance(image, Image.Image):
        return np.asarray(rgb(image, name))
    array = np.asarray(image.float() if getattr(image, "is_floating_point", bool)() else image)  # bfloat16 too
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        if array.size and not (array.min() >= 0 and array.max() <= 1):
            raise DataError(
                f"{name} holds fractional numbers from {array.min():.3g} to {array.max():.3g}; pixels in [0, 1] or "
                "8-bit pixels are expected. Leave Normalize out of its transforms: normalising is the model card's."
            )
        array = np.floor(array * 255 + 0.5).astype(np.uint8)
    return np.asarray(as_pixels(array[None], name)[0])


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
    if n == 0:
        raise DataError(f"{name} has no images.")
    array = array[:, 0] if array.shape == (n, 1) else array
    if array.shape != (n,):
        raise DataError(f"{name}: {n} images but labels of shape {array.shape}; one label per image is expected.")
    if array.dtype.kind not in "iu" or array.min() < 0:
        lowest = f" from {array.min()}" if array.dtype.kind in "iuf" else f" such as {array[0]!r}"
        raise DataError(
            f"{name}: labels are {array.dtype}{lowest}; whole numbers from 0 upwards are expected (names of classes go "
            "into `classes`)."
        )
    return array.astype(np.int64)


def item_label(item: Any, name: str) -> int:
    """The label of an item (image, label) of a data set."""
    if not isinstance(item, tuple | list) or len(item) < 2:
        hint = (
            " (a Hugging Face data set: write it with save_to_disk and open hf:FOLDER)" if hasattr(item, "keys") else ""
        )
        raise DataError(f"{name} is {type(item).__name__}; a pair (image, label) is expected{hint}.")
    label = np.asarray(item[1])
    if label.size != 1 or label.dtype.kind not in "iu":
        raise DataError(f"{name} has the label {item[1]!r}; a whole number is expected.")
    return int(label.item())


def from_memory(
    thing: Any,
    split: str,
    *,
    count: int | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    on_unreadable: str = "stop",
) -> ImageSet:
    """An image set of what is in memory.

    Args:
        thing: a pair (images, labels), a torch `Dataset`, or a dict of either by split; or a dict of ImageSets, of
            which the one of the split is returned as it is.
        classes: names; default: the data set's own `classes`, else the numbers.
        name: of the set.
        on_unreadable: "stop" or "skip" (see `probekit.data.unreadable`).
    """
    given = by_split(thing) if isinstance(thing, Mapping) else {"all": thing}
    first = next(iter(given.values()))
    if any(isinstance(one, ImageSet) for one in given.values()):
        if split not in given or not isinstance(given[split], ImageSet):
            raise DataError(f"There is no ImageSet for the {split} split; there is {', '.join(given)}.")
        return cast(ImageSet, given[split])
    label = name or ("arrays" if isinstance(first, tuple) else type(first).__name__)
    return open_given(
        given, split, spec=label, name=label, count=count, seed=seed, classes=classes, on_unreadable=on_unreadable
    )


def by_split(thing: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping of splits, by the names that are used here."""
    out: dict[str, Any] = {}
    for key, value in thing.items():
        known = "all" if key == "all" else ALIASES.get(str(key).lower())
        if known is None:
            raise DataError(f"Splits are {', '.join(SPLITS)}, not {key!r}. {did_you_mean(str(key), SPLITS)}")
        if known in out:
            raise DataError(f"The {known} split is given twice, the second time as {key!r}.")
        out[known] = value
    if not out or ("all" in out and len(out) > 1):
        raise DataError(f"Splits are {', '.join(SPLITS)}; {', '.join(out) or 'an empty dict'} was given.")
    return out


def open_given(
    given: Mapping[str, Any],
    split: str,
    *,
    spec: str,
    name: str,
    count: int | None,
    seed: int,
    classes: Sequence[str] | None = None,
    on_unreadable: str = "stop",
) -> ImageSet:
    """A split out of pairs of arrays or torch data sets by split ("all": without splits)."""
    sources = {key: _unpacked(thing, spec) for key, thing in given.items()}
    labels = {key: source[1] for key, source in sources.items()}
    named = list(classes) if classes else _named({key: source[2] for key, source in sources.items() if source[2]}, spec)
    if not named:
        named = [str(number) for number in range(1 + max(int(array.max()) for array in labels.values()))]
    for key, array in labels.items():
        if array.max(initial=-1) >= len(named):
            raise DataError(f"{spec}: the label {array.max()} has no name among {len(named)} classes.")
        check_no_gaps(array, named, spec if key == "all" else f"{spec}, {key}")
    parts = {key: Part([f"{key}[{i}]" for i in range(len(array))], array) for key, array in labels.items()}
    choice = pick(split, parts, named, spec)
    data, part = sources[choice.part][0], parts[choice.part]
    in_memory = isinstance(data, np.ndarray)
    chosen, left_out = chosen_images(
        part,
        choice.indices,
        named,
        count=count,
        seed=seed,
        spec=spec,
        on_unreadable=on_unreadable,
        read=lambda index: data[index] if in_memory else item_image(data, index, part.names[index]),
        name=lambda index: f"{spec} {part.names[index]}",
    )
    description: dict[str, Any] = {
        "name": name,
        "spec": spec,
        "split": split,
        "classes": named,
        "labels": labels[choice.part][chosen],
        "facts": {"source": "memory", "split_rule": choice.rule},
        "licence": "as the data's",
        "description": f"{len(chosen)} images in {len(named)} classes; splits: {choice.rule}",
    }
    if in_memory:
        return ArraySet(np.ascontiguousarray(data[chosen]), origin="stored", **description)
    result = TorchSet(data, choice.part, chosen, origin="decoded", **description)
    result.unreadable = left_out
    return result


def _named(lists: dict[str, Sequence[Any]], spec: str) -> list[str]:
    """The class names that data sets bring along, which must be the same for all splits; empty if they bring none."""
    texts = {
        key: [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in names]
        for key, names in lists.items()
    }
    for key, names in texts.items():
        first = next(iter(texts))
        if names != texts[first]:
            differing = sorted(set(names) ^ set(texts[first])) or "the same, in another order"
            raise DataError(f"{spec}: the splits {first} and {key} have different classes: {differing}.")
    return next(iter(texts.values()), [])


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
            try:
                item = dataset[index]
            except BROKEN as error:
                raise unreadable(f"{spec}[{index}]", error) from error
            found.append(item_label(item, f"{spec}[{index}]"))
            advance()
    return as_labels(found, len(dataset), spec)


def open_split(argument: str, split: str, *, spec: str, count: int | None = None, seed: int = 0) -> ImageSet:
    """Open `.npz` or a folder of `.npy` files."""
    path = Path(argument)
    arrays = _stored_arrays(path, spec)
    pairs = {key.removesuffix("_images"): key for key in arrays if key.endswith("_images")}
    classes = [str(text) for text in arrays["classes"]] if "classes" in arrays else None
    if "images" in arrays:
        given = {"all": _pair(arrays, "", path, spec)}
    else:
        given = {key: _pair(arrays, f"{key}_", path, spec) for key in pairs if key.lower() in ALIASES}
    if not given:
        raise DataError(
            f"{spec}: {path} has the arrays {', '.join(sorted(arrays)) or 'none'}; "
            "images and labels are expected, or train_images, train_labels and so on."
        )
    return open_given(by_split(given), split, spec=spec, name=path.stem, count=count, seed=seed, classes=classes)


def _pair(arrays: Mapping[str, np.ndarray], prefix: str, path: Path, spec: str) -> tuple[np.ndarray, np.ndarray]:
    if f"{prefix}labels" not in arrays:
        raise DataError(f"{spec}: {path} has {prefix}images but no {prefix}labels.")
    return arrays[f"{prefix}images"], arrays[f"{prefix}labels"]


def _stored_arrays(path: Path, spec: str) -> dict[str, np.ndarray]:
    if not path.exists():
        raise DataError(f"{spec}: there is no file or folder {path}.")
    if path.suffix == ".npy":
        raise DataError(f"{spec}: {path} is one array; images and labels are expected, in an .npz file or a folder.")
    try:
        if path.is_dir():
            return {file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))}
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{spec}: cannot read {path} (arrays of numbers, without Python objects): {error}") from error
