"""Data that is in memory: arrays, torch data sets, and dicts of splits of anything that `load` takes.

| `data`                                  | read as                                                        |
|-----------------------------------------|----------------------------------------------------------------|
| `(images, labels)`, `images`            | arrays (see `bands` and `labelling`); divided into splits      |
| a torch `Dataset`                       | its items (see `torch_dataset`); divided into splits           |
| `{"train": X, "val": Y, "test": Z}`     | each value is anything that `load` takes, and is not divided   |

Data without splits is divided as `probekit.data.splits` says, by a digest of each image: the same images in another
order give the same splits, and copies of an image fall next to each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from probekit.data.bands import ValueRange, as_range, channels_last, scaling, to_uint8
from probekit.data.base import SPLITS, ImageSet, pixel_digest
from probekit.data.labelling import Labelling, read_labels
from probekit.data.request import Request
from probekit.data.selecting import Found, select
from probekit.data.splits import Part, split_name
from probekit.data.torch_dataset import Items, ReadOnce, TorchSet, item_image, items_of
from probekit.errors import DataError, did_you_mean


class ArraySet(ImageSet):
    """Images in memory. The fingerprint covers their bytes.

    Args:
        images: uint8 (n, height, width, channels).
        description: what `ImageSet` takes: `name`, `spec`, `split`, `classes`, `labels`, `origin`, `facts`.

    Raises:
        DataError: another type or shape, or another number of labels.

    Example:
        >>> grey = np.zeros((4, 8, 8, 1), dtype=np.uint8)
        >>> ArraySet(grey, name="grey", spec="grey", split="test", classes="ab", labels=[0, 1, 0, 1],
        ...          origin="stored", facts={})
        <ArraySet 'grey' test: 4 images, 2 classes>
    """

    in_memory = True

    def __init__(self, images: np.ndarray, **description: Any) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] < 1:
            raise DataError(
                f"{description.get('spec')}: images are {images.dtype} of shape {images.shape}; "
                "uint8 of shape (n, height, width, channels) is expected."
            )
        super().__init__(**({"size": len(images)} | description))
        if len(images) != len(self):
            raise DataError(f"{self.spec}: {len(images)} images but {len(self)} labels.")
        self.images = images
        self.channels = images.shape[3]

    def read(self, index: int) -> np.ndarray:
        return np.asarray(self.images[index])

    def rank_keys(self) -> Sequence[str]:
        return self.pixel_digests()

    def pixel_digests(self) -> list[str]:
        return [pixel_digest(image) for image in self.images]

    def content(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(self.images[indices])


class Source(NamedTuple):
    """One given split: what the images are read from, what is known of it, and names of its classes."""

    thing: Any
    items: Items
    names: Sequence[str] | None


def by_split(thing: Mapping[Any, Any]) -> dict[str, Any]:
    """A mapping of splits, by the names that are used here.

    Raises:
        DataError: a key names no split, or two name the same.

    Example:
        >>> by_split({"Training": 1, "dev": 2})
        {'train': 1, 'val': 2}
    """
    out: dict[str, Any] = {}
    for key, value in thing.items():
        known = "all" if key == "all" else split_name(str(key))
        if known is None:
            raise DataError(f"Splits are {', '.join(SPLITS)}, not {key!r}. {did_you_mean(str(key), SPLITS)}")
        if known in out:
            raise DataError(f"The {known} split is given twice, the second time as {key!r}.")
        out[known] = value
    if not out or ("all" in out and len(out) > 1):
        raise DataError(f"Splits are {', '.join(SPLITS)}; {', '.join(out) or 'an empty dict'} was given.")
    return out


def is_array_like(thing: Any) -> bool:
    """Whether this is data in memory: arrays, a pair of them, or a data set."""
    return not isinstance(thing, ImageSet | str | bytes | Mapping) and not hasattr(thing, "__fspath__")


def read_once(source: Any) -> Any:
    """`source` with its torch data sets wrapped, so that opening several splits reads their items once."""
    if isinstance(source, Mapping):
        return {key: read_once(one) for key, one in source.items()}
    in_arrays = isinstance(source, np.ndarray | tuple) or hasattr(source, "is_floating_point")
    indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    return ReadOnce(source) if is_array_like(source) and indexed and not in_arrays else source


def open_given(
    given: Mapping[str, Any],
    request: Request,
    *,
    name: str | None = None,
    names: Sequence[str] | None = None,
    value_range: Any = None,
) -> ImageSet:
    """A split out of arrays or torch data sets.

    Args:
        given: by split, or "all" for data without splits.
        request: which images.
        name: of the set; default: "arrays", or the class of the data set.
        names: of the classes; default: the data set's own `classes`, else the labels themselves.
        value_range: (lowest, highest) pixel value, for numbers that are neither 8-bit, 16-bit nor in [0, 1].
    """
    spec, limits = request.spec, as_range(value_range, request.spec)
    skip = request.on_unreadable == "skip"
    sources = {key: _source(thing, spec, limits, skip=skip) for key, thing in given.items()}
    theirs, renamed = _named({k: s.names for k, s in sources.items() if s.names}, spec)
    named = names if names is not None else theirs
    if named is None and _are_names(request.classes, sources):
        named, request = request.classes, replace(request, classes=None)
    sizes = {key: len(source.items.keys) for key, source in sources.items()}
    empty = [key for key, size in sizes.items() if size == 0]
    if empty:
        raise DataError(f"{spec}{'' if empty[0] == 'all' else ', ' + empty[0]} has no images.")
    labelling = read_labels({key: source.items.labels for key, source in sources.items()}, sizes, named, spec)
    parts = {key: Part.of(source.items.keys, labelling.labels[key]) for key, source in sources.items()}
    chosen = select(
        Found(
            parts,
            labelling.classes,
            lambda part, index: _read(sources[part], index, f"{spec} {part}[{index}]", limits),
            lambda part, index: f"{spec} {part}[{index}]",
            notes=labelling.notes + (renamed if named is theirs else ()),
        ),
        request,
    )
    source = sources[chosen.part]
    description: dict[str, Any] = {
        "name": name or spec,
        "facts": {"source": "memory", **chosen.facts},
        "licence": "as the data's",
        **chosen.options(request),
    }
    result = _set(source, chosen.part, chosen.indices, limits, description)
    chosen.finish(result)
    _set_targets(result, labelling, chosen.part, chosen.indices)
    return result


def _set(
    source: Source, part: str, indices: np.ndarray, limits: ValueRange | None, description: dict[str, Any]
) -> ImageSet:
    raw = source.items.images
    if raw is None:
        keys = [source.items.keys[index] for index in indices]
        exact = source.items.exact
        return TorchSet(
            source.thing, part, indices, keys, value_range=limits, exact=exact, origin="decoded", **description
        )
    how = scaling(raw.dtype, limits)
    if how:
        description["facts"]["scaling"] = how
    pixels = to_uint8(raw[indices], description["spec"], limits)
    return ArraySet(np.ascontiguousarray(pixels), origin="stored", **description)


def _set_targets(images: ImageSet, labelling: Labelling, part: str, indices: np.ndarray) -> None:
    if labelling.kind is not None:
        images.targets = labelling.targets[part][indices]
        images.target_kind, images.target_names = labelling.kind, labelling.names


def _are_names(classes: Sequence[str] | None, sources: Mapping[str, Source]) -> bool:
    """Whether `classes` gives names to numbered labels (else it picks classes by the names that they have)."""
    known = [source.items.labels for source in sources.values() if source.items.labels is not None]
    if classes is None or not known:
        return False
    numbered = [np.asarray(labels) for labels in known]
    if any(array.dtype.kind not in "iub" for array in numbered):
        return False
    return not {str(value) for array in numbered for value in np.unique(array)} & {str(name) for name in classes}


def _read(source: Source, index: int, name: str, limits: ValueRange | None) -> None:
    """Reads an image, or raises a DataError."""
    if index in source.items.broken:
        raise DataError(f"Cannot read the image {name}.")
    if source.items.images is None:
        item_image(source.thing, index, name, limits)


def _named(lists: dict[str, Sequence[Any]], spec: str) -> tuple[list[str] | None, tuple[str, ...]]:
    """The class names that data sets bring along, which must be the same for all splits; None if they bring none.

    A name that stands for two classes (ImageNet's "crane") gets the number of the class behind it, which a note tells.
    """
    texts = {
        key: [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in names]
        for key, names in lists.items()
    }
    for key, names in texts.items():
        first = next(iter(texts))
        if names != texts[first]:
            differing = sorted(set(names) ^ set(texts[first])) or "the same, in another order"
            raise DataError(f"{spec}: the splits {first} and {key} have different classes: {differing}.")
    found = next(iter(texts.values()), None)
    twice = {name for name in found or () if (found or []).count(name) > 1}
    if found is None or not twice:
        return found, ()
    distinct = [f"{name} ({number})" if name in twice else name for number, name in enumerate(found)]
    note = f"several classes have the same name ({', '.join(sorted(twice)[:5])}): numbered"
    return distinct, (note,)


def _source(thing: Any, spec: str, limits: ValueRange | None, *, skip: bool) -> Source:
    """What a pair of arrays, an array of images, or a torch data set holds."""
    pair = thing if isinstance(thing, tuple) and len(thing) == 2 else (thing, None)
    if isinstance(thing, np.ndarray | tuple) or hasattr(thing, "is_floating_point"):  # arrays, or a tensor
        raw = np.asarray(pair[0])
        if raw.dtype.kind not in "iubf":
            raise DataError(f"{spec}: images are {raw.dtype}; an array of numbers is expected.")
        images = channels_last(raw, spec, first=hasattr(pair[0], "numpy"))
        to_uint8(images[:1], spec, limits)  # values of unknown range are refused before anything is digested
        return Source(thing, Items(images, pair[1], [pixel_digest(image) for image in images]), None)
    once = thing
    thing = thing.dataset if isinstance(thing, ReadOnce) else thing
    if not (callable(getattr(thing, "__getitem__", None)) and callable(getattr(thing, "__len__", None))):
        raise DataError(
            f"{type(thing).__name__} is no image set: a spec (text), an array of images, a pair (images, labels) of "
            "arrays, or a torch Dataset with __getitem__ and __len__ is expected. An IterableDataset has no order: "
            "make a list of it."
        )
    classes = getattr(thing, "classes", None)
    return Source(
        thing, items_of(once, spec, limits, skip=skip), classes if isinstance(classes, list | tuple) else None
    )
