"""`photos`: real images with no download, the photographs that scikit-image and scikit-learn install.

`photos` are crops, labelled by the picture they come from. A picture is cut into square blocks with a margin between
them, whole blocks go to train, val or test, and a crop lies within one block: so no pixel is in two splits, and
intervals resample blocks (`groups`), since crops of one block overlap. Half of the pictures are grey and each has its
own colours, which nearly solves the labels: put `probekit.data.baselines.colour_accuracy` beside any accuracy. The set
is meant for reconstruction, attention and low-level probes.

`photos:whole` are the photographs themselves, of different sizes, labelled colour or grey.

Files are read from where the two packages lie; nothing is fetched (scikit-image's own loaders may download).
"""

from __future__ import annotations

import hashlib
import warnings
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from probekit import cache
from probekit.checks import whole
from probekit.data.base import ImageSet, check_count
from probekit.data.decode import open_rgb
from probekit.data.preprocess import FILTERS
from probekit.data.randomness import uniforms
from probekit.data.splits import SHARES, divide
from probekit.errors import DataError

PLACES = {"skimage": "data", "sklearn": "datasets/images"}
"""Where in its package each project keeps its pictures."""

COLOUR = {
    "astronaut": "skimage/astronaut.png",
    "cat": "skimage/chelsea.png",
    "coffee": "skimage/coffee.png",
    "galaxies": "skimage/hubble_deep_field.jpg",
    "tissue": "skimage/ihc.png",
    "motorcycle": "skimage/motorcycle_left.png",
    "retina": "skimage/retina.jpg",
    "rocket": "skimage/rocket.jpg",
    "palace": "sklearn/china.jpg",
    "flower": "sklearn/flower.jpg",
}
GREY = {
    "brick": "skimage/brick.png",
    "photographer": "skimage/camera.png",
    "cell": "skimage/cell.png",
    "clock": "skimage/clock_motion.png",
    "coins": "skimage/coins.png",
    "grass": "skimage/grass.png",
    "gravel": "skimage/gravel.png",
    "moon": "skimage/moon.png",
    "page": "skimage/page.png",
    "text": "skimage/text.png",
}
PICTURES = COLOUR | GREY
"""Class name -> package and file. Drawings, charts, thumbnails and second views of the same scene are left out."""

COUNT = 1000
"""Crops per split where no count is given."""

ROOM = 32
"""Pixels by which a block is larger than a crop, so that crops can be at 33 x 33 places in it."""

MARGIN = 8
"""Pixels between blocks: what a decoder's and a camera's sharpening may carry across."""

BLANK = 2.0
"""A block or crop whose grey levels (of 255) have a smaller standard deviation shows nothing and is left out."""

ATTEMPTS = 6
"""Places in a block at which a crop is tried until it shows something."""

WHOLE_SHARES = {"train": 0.2, "val": 0.2, "test": 0.6}
"""Of the whole photographs most are there to be looked at, so they are in the test split."""


@lru_cache(maxsize=1)
def pictures() -> dict[str, np.ndarray]:
    """Class name -> uint8 (height, width, 3), for the installed photographs; warns of missing ones."""
    found, missing = {}, []
    for name, place in PICTURES.items():
        path = picture_path(place)
        if path.exists():
            found[name] = np.asarray(open_rgb(path, exif=False))
        else:
            missing.append(str(path))
    if missing:
        warnings.warn(
            f"photos: left out {len(missing)} of {len(PICTURES)} pictures that are not installed: {missing}",
            stacklevel=2,
        )
    return found


def picture_path(place: str) -> Path:
    """The file of a picture, found without importing its package."""
    package, file = place.split("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"photos needs the package {package}, which is not installed.")
    return Path(spec.submodule_search_locations[0], *PLACES[package].split("/"), file)


class Blocks(NamedTuple):
    """The blocks of one split: class of each (b,), and its top and left in the picture (b, 2)."""

    classes: list[str]
    labels: np.ndarray
    corners: np.ndarray


@lru_cache(maxsize=4)
def corners(crop: int) -> dict[str, list[tuple[int, int]]]:
    """Class name -> top and left of each block for crops of `crop` pixels, of the pictures that hold three or more."""
    pitch = crop + ROOM + MARGIN
    found = {}
    for name, picture in pictures().items():
        numbers = [(length + MARGIN) // pitch for length in picture.shape[:2]]
        first = [
            (length - number * pitch + MARGIN) // 2 for length, number in zip(picture.shape[:2], numbers, strict=True)
        ]
        places = [
            (first[0] + row * pitch, first[1] + column * pitch)
            for row in range(numbers[0])
            for column in range(numbers[1])
        ]
        places = [place for place in places if not _blank(picture, place, crop + ROOM)]
        if len(places) >= len(SHARES):
            found[name] = places
    return found


def blocks(split: str, crop: int, spec: str) -> Blocks:
    """The blocks of a split, for crops of `crop` pixels."""
    by_class = corners(crop)
    if len(by_class) < 2:
        largest = max(min(picture.shape[:2]) for picture in pictures().values())
        raise DataError(
            f"{spec}: crops of {crop} pixels need blocks of {crop + ROOM}, three per picture; the pictures are smaller "
            f"than that (the largest has a shorter side of {largest} pixels). Choose a smaller crop."
        )
    classes = list(by_class)
    labels = np.repeat(np.arange(len(classes)), [len(places) for places in by_class.values()])
    places = np.array([place for several in by_class.values() for place in several])
    names = [f"photos {classes[label]} {row} {column}" for label, (row, column) in zip(labels, places, strict=True)]
    mine = divide(names, labels, SHARES, classes=classes) == split
    return Blocks(classes, labels[mine], places[mine])


def _blank(picture: np.ndarray, corner: tuple[int, int] | np.ndarray, side: int) -> bool:
    top, left = corner
    return float(picture[top : top + side, left : left + side].std(axis=(0, 1)).max()) < BLANK


def _first_seen(picture: np.ndarray, places: np.ndarray, crop: int) -> np.ndarray:
    """Of the places where a crop could be cut out, the first that shows something (else the last)."""
    return next((place for place in places if not _blank(picture, place, crop)), places[-1])


def default_crop(size: int) -> int:
    """Side of the crops for images of `size` pixels: 64 for small images, so that something is on them; else 96."""
    return 64 if size <= 64 else 96


class Photos(ImageSet):
    """Crops, all of one size. Crop i is of class i modulo the number of classes, from a random block and place."""

    colour_baseline = True

    disjoint = True

    def __init__(self, split: str, size: int, crop: int, *, spec: str, count: int | None, seed: int) -> None:
        self.size = size
        self.crop = crop
        self.blocks = blocks(split, crop, spec)
        n = COUNT if count is None else count
        n_classes = len(self.blocks.classes)
        labels = np.arange(n) % n_classes
        random = uniforms(np.arange(n), 1 + 2 * ATTEMPTS, "photos", seed, split)
        per_class = np.bincount(self.blocks.labels, minlength=n_classes)
        first = np.cumsum(per_class) - per_class
        block = first[labels] + (random[:, 0] * per_class[labels]).astype(np.int64)
        places = (random[:, 1:].reshape(n, ATTEMPTS, 2) * (ROOM + 1)).astype(np.int64)
        places += self.blocks.corners[block][:, None]
        images = [pictures()[self.blocks.classes[label]] for label in labels]
        self.corners = np.stack([_first_seen(*each, crop) for each in zip(images, places, strict=True)])
        super().__init__(
            name="photos",
            spec=spec,
            split=split,
            classes=self.blocks.classes,
            labels=labels,
            origin="decoded",
            facts={"source": "photos", "version": 1, "size": size, "crop": crop, "seed": seed},
            licence="as scikit-image's and scikit-learn's pictures: free to use; china and flower CC BY 2.0",
        )
        self.groups: np.ndarray = block
        self.implied = ("groups",)
        self.description = (
            f"{n} crops of {crop} x {crop} pixels resized to {size} x {size}, from {len(self.blocks.labels)} blocks of "
            f"{n_classes} pictures; a pixel that is shown is shown in {self.overlap:.1f} crops on average"
        )

    @cached_property
    def overlap(self) -> float:
        """In how many of the crops a source pixel appears, on average over the pixels that appear at all."""
        shown = 0
        for block in np.unique(self.groups):
            covered = np.zeros((self.crop + ROOM, self.crop + ROOM), dtype=bool)
            for top, left in self.corners[self.groups == block] - self.blocks.corners[block]:
                covered[top : top + self.crop, left : left + self.crop] = True
            shown += int(covered.sum())
        return len(self) * self.crop**2 / shown

    def read(self, index: int) -> np.ndarray:
        top, left = self.corners[index]
        picture = pictures()[self.classes[self.known_labels[index]]]
        image = picture[top : top + self.crop, left : left + self.crop]
        if self.crop == self.size:
            return image
        return np.asarray(Image.fromarray(image).resize((self.size, self.size), FILTERS["bicubic"]))

    def image_name(self, index: int) -> str:
        top, left = self.corners[index]
        return f"photos/{self.classes[self.known_labels[index]]} at row {top}, column {left}"

    def content(self) -> str:
        return _content(self.classes)


class WholePhotos(ImageSet):
    """The photographs themselves, each in one split, of different sizes."""

    disjoint = True

    def __init__(self, split: str, *, spec: str, count: int | None, seed: int) -> None:
        names = list(pictures())
        labels = np.array([int(name in GREY) for name in names])
        belongs = divide(names, labels, WHOLE_SHARES, classes=["colour", "grey"])
        mine = np.flatnonzero(belongs == split)
        check_count(count, len(mine))
        mine = mine[:count]
        self.titles = [names[index] for index in mine]
        super().__init__(
            name="photos:whole",
            spec=spec,
            split=split,
            classes=["colour", "grey"],
            labels=labels[mine],
            origin="decoded",
            facts={"source": "photos:whole", "version": 1, "pictures": self.titles},
            licence="as scikit-image's and scikit-learn's pictures: free to use; china and flower CC BY 2.0",
            description=f"{len(mine)} whole photographs: {', '.join(self.titles)}",
        )

    def read(self, index: int) -> np.ndarray:
        return pictures()[self.titles[index]]

    def image_name(self, index: int) -> str:
        return f"photos/{self.titles[index]}"

    def content(self) -> str:
        return _content(tuple(self.titles))


@lru_cache(maxsize=4)
def _content(names: tuple[str, ...]) -> str:
    return cache.key(**{name: hashlib.sha256(pictures()[name].tobytes()).hexdigest() for name in names})


def open_split(
    argument: str,
    split: str,
    *,
    spec: str,
    count: int | None = None,
    seed: int = 0,
    size: int = 32,
    crop: int | None = None,
) -> ImageSet:
    """Open a split of the crops, or with the argument "whole" of the photographs.

    Args:
        size: side of the images in pixels.
        crop: side of the crops that they are resized from; default: 64 up to a size of 64, else 96.
    """
    if argument == "whole":
        return WholePhotos(split, spec=spec, count=count, seed=seed)
    if argument:
        raise DataError(f"{spec}: there is no variant {argument!r} of photos. Known: photos, photos:whole.")
    for name, value in {"size": size, "crop": 64 if crop is None else crop}.items():
        whole(f"{spec}: {name}", value, least=8, error=DataError)
    return Photos(split, size, default_crop(size) if crop is None else crop, spec=spec, count=count, seed=seed)
