"""`coco:DIR`: images with objects, in COCO's layout: `annotations/instances_*.json`, a split per file.

| file                                  | its images                                                            |
|---------------------------------------|-----------------------------------------------------------------------|
| `annotations/instances_train2017.json` | `train2017/`, `images/train2017/`, `images/` or the folder itself     |
| `annotations/instances_val2017.json`   | `val2017/`, ...                                                       |
| `annotations/instances_test*.json`     | likewise, where there is one                                          |

With train and val alone, val is reported and a tenth of train is what is selected on (`probekit.data.splits`). Classes
are COCO's categories in the order of their numbers. Polygons and run-length codes become masks by pycocotools, so they
are the masks that COCO's own scores are computed with.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from probekit import cache
from probekit.data.base import ImageSet
from probekit.data.coco_masks import mask_of
from probekit.data.decode import MAX_PIXELS
from probekit.data.files import FileSet, digests
from probekit.data.folder import existing_folder
from probekit.data.instances import Instances, Objects
from probekit.data.request import Request
from probekit.data.selecting import pictures_below, select
from probekit.data.splits import split_name
from probekit.errors import DataError
from probekit.files import read_json

LARGEST = 4 * 2**30
"""Bytes of a file of annotations; COCO's own train file has 0.45 GB."""

MASKS = 2**30
"""Most bytes of the masks of one image."""

NEEDED = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("image_id", "category_id", "bbox", "segmentation"),
    "categories": ("id", "name"),
}
"""What is read of each entry."""


class Annotated(NamedTuple):
    """One file of annotations."""

    file: str
    """Relative to the folder."""
    paths: list[str]
    sizes: list[tuple[int, int]]
    """(height, width) of each image."""
    objects: list[list[dict[str, Any]]]
    """The annotations of each image."""


class CocoSet(FileSet):
    """Images in files, with their objects in a file of annotations."""

    def __init__(self, root: Path, paths: list[str], annotations: str, **description: Any) -> None:
        super().__init__(root, paths, **description)
        self.annotations = annotations

    def content(self) -> str:
        return cache.key(images=super().content(), annotations=digests(self.root, [self.annotations]))


def open_split(argument: str, request: Request, *, name: str | None = None) -> ImageSet:
    """Open a folder in COCO's layout.

    Args:
        argument: the folder.
        request: which images.
        name: of the set; default: "coco" where the folder holds COCO's 80 classes, else the folder's name.

    Raises:
        DataError: no file of annotations, one that lacks something, files with other classes, or images that are not
            there. Masks that are read without pycocotools: the message says how to install it.
    """
    spec = request.spec
    if request.draft:
        raise DataError(f"{spec}: decode={request.decode!r} would change the images' size, and boxes are in pixels.")
    root = existing_folder(argument, spec)
    found = {split: _read(root, file, spec) for split, file in _files(root, spec).items()}
    classes, identifiers = _classes({split: categories for split, (_, categories) in found.items()}, spec)
    parts = {split: annotated for split, (annotated, _) in found.items()}
    chosen = select(pictures_below(root, {split: part.paths for split, part in parts.items()}), request)
    part = parts[chosen.part]
    facts: dict[str, Any] = {"source": "coco", "object_classes": list(classes), **chosen.facts, **request.decoding}
    result = CocoSet(
        root,
        [part.paths[i] for i in chosen.indices],
        part.file,
        exif=request.exif,
        name=name or ("coco" if len(classes) == 80 else root.name),
        origin="decoded",
        facts=facts,
        licence="as the folder's",
        **chosen.options(request),
    )
    reader = _Reader(part, {int(number): place for place, number in enumerate(identifiers)})
    result.instances = Instances(
        reader.objects, chosen.indices, classes=classes, identifiers=identifiers, filled=reader.filled
    )
    chosen.finish(result)
    return result


def _files(root: Path, spec: str) -> dict[str, Path]:
    """The file of annotations of each split."""
    folder = root / "annotations"
    given = sorted(folder.glob("instances_*.json"))
    found: dict[str, Path] = {}
    for file in given:
        split = split_name(file.stem.removeprefix("instances_"))
        if split in found:
            raise DataError(f"{spec}: {found[split].name} and {file.name} are both {split}. Keep one of them.")
        if split:
            found[split] = file
    if not found:
        held = ", ".join(path.name for path in given[:4]) or "none"
        raise DataError(
            f"{spec}: no annotations/instances_train*.json, instances_val*.json or instances_test*.json in {root} "
            f"(files of that kind: {held}). COCO's layout is expected: annotations/instances_val2017.json beside "
            "val2017/."
        )
    return found


def _read(root: Path, file: Path, spec: str) -> tuple[Annotated, list[dict[str, Any]]]:
    """A file of annotations, its images in the file's order, and its categories."""
    content = read_json(file, what="a file of annotations", limit=LARGEST, error=DataError)
    for key, names in NEEDED.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or (key == "images" and not entries):
            raise DataError(f"{spec}: {file} has no list {key!r}; COCO's instances_*.json is expected.")
        for entry in entries:
            lacking = [name for name in names if not isinstance(entry, dict) or name not in entry]
            if lacking:
                raise DataError(f"{spec}: {file}: an entry of {key!r} has no {', '.join(lacking)}.")
    images = content["images"]
    _check_images(images, f"{spec}: {file}")
    rows = {image["id"]: row for row, image in enumerate(images)}
    objects: list[list[dict[str, Any]]] = [[] for _ in images]
    for one in content["annotations"]:
        if not isinstance(one["image_id"], int | str) or one["image_id"] not in rows:
            raise DataError(f"{spec}: {file}: an object is in image {one['image_id']!r:.80}, which is not listed.")
        objects[rows[one["image_id"]]].append(one)
    folder = _folder(root, file.stem.removeprefix("instances_"), images[0]["file_name"], spec)
    paths = [(folder / str(image["file_name"])).as_posix() for image in images]
    sizes = [(image["height"], image["width"]) for image in images]
    return Annotated(file.relative_to(root).as_posix(), paths, sizes, objects), content["categories"]


def _check_images(images: list[dict[str, Any]], where: str) -> None:
    """Numbers that differ, names of files below the folder, and sizes that can be decoded."""
    known = set()
    for image in images:
        number, name = image["id"], image["file_name"]
        size = image["height"], image["width"] = _whole(image["height"]), _whole(image["width"])
        if not isinstance(number, int | str) or number in known:
            raise DataError(f"{where}: the image number {number!r:.80} is there twice, or is no number.")
        known.add(number)
        if not isinstance(name, str) or not name or PurePosixPath(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{where}: file_name={name!r:.80}: expected the name of an image below the folder.")
        if not all(type(side) is int and side > 0 for side in size):
            raise DataError(f"{where}: {name} has {size!r:.80} pixels; expected a height and width, above 0.")
        if size[0] * size[1] > MAX_PIXELS:
            raise DataError(f"{where}: {name} has {size!r:.80} pixels; at most {MAX_PIXELS:,} are decoded.")


def _whole(value: Any) -> Any:
    """A whole number that was written as 640.0, as one; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _folder(root: Path, name: str, first: str, spec: str) -> PurePosixPath:
    """The folder of a split's images, relative to the root: the first one in which the first image is."""
    folders = [name, f"images/{name}", "images", f"{name}/images", "."]
    for folder in folders:
        if (root / folder / first).is_file():
            return PurePosixPath(folder)
    raise DataError(f"{spec}: the image {first} is in none of {', '.join(folders)} below {root}.")


def _classes(categories: dict[str, list[dict[str, Any]]], spec: str) -> tuple[tuple[str, ...], list[int]]:
    """Names and numbers of the classes, which all splits share."""
    for split, entries in categories.items():
        for one in entries:
            one["id"] = _whole(one["id"])
        wrong = [one for one in entries if type(one["id"]) is not int or not isinstance(one["name"], str)]
        numbers = [one["id"] for one in entries if not wrong]
        if wrong or len(set(numbers)) < len(numbers):
            entry = wrong[0] if wrong else next(one for one in entries if numbers.count(one["id"]) > 1)
            raise DataError(f"{spec}: {split}: the category {entry!r:.80} is there twice, or has no number and name.")
    listed = {split: sorted((one["id"], one["name"]) for one in entries) for split, entries in categories.items()}
    (first, expected), *others = listed.items()
    for split, found in others:
        if found != expected:
            odd = sorted(set(found) ^ set(expected))[0]
            raise DataError(f"{spec}: the categories of {first} and {split} differ, for instance in {odd}.")
    if not expected:
        raise DataError(f"{spec}: the files of annotations list no categories.")
    return tuple(name for _, name in expected), [number for number, _ in expected]


class _Reader:
    """From annotations to objects; pixels are decoded when they are asked for."""

    def __init__(self, part: Annotated, places: dict[int, int]) -> None:
        self.part, self.places = part, places

    def filled(self, indices: np.ndarray) -> np.ndarray:
        return np.array([any(not one.get("iscrowd") for one in self.part.objects[i]) for i in indices], dtype=bool)

    def objects(self, index: int) -> Objects:
        """The objects of an image, in the file's order."""
        listed, size, path = self.part.objects[index], self.part.sizes[index], self.part.paths[index]
        try:
            labels = np.array([self.places[int(one["category_id"])] for one in listed], dtype=np.int64)
            corners = np.array([one["bbox"] for one in listed], dtype=np.float64).reshape(len(listed), 4)
            areas = np.array([one.get("area", np.nan) for one in listed], dtype=np.float64)
            if not np.isfinite(corners).all() or (areas < 0).any() or np.isinf(areas).any():
                raise ValueError("numbers that are not finite")
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"{self.part.file}: an object of {path} has no class of the list, no box (left, top, width, height), "
                f"or no area ({error!r:.100})."
            ) from error
        if len(listed) * size[0] * size[1] > MASKS:
            raise DataError(
                f"{self.part.file}: {path} has {len(listed):,} objects of {size[0]} x {size[1]} pixels each."
            )
        masks = [mask_of(one["segmentation"], size, f"{self.part.file}: an object of {path}") for one in listed]
        stacked = np.stack(masks) if masks else np.zeros((0, *size), dtype=bool)
        crowd = np.array([bool(one.get("iscrowd")) for one in listed], dtype=bool)
        corners[:, 2:] += corners[:, :2]
        areas = np.where(np.isnan(areas), stacked.sum(axis=(1, 2)), areas)
        return Objects(corners, labels, crowd, areas, stacked)
