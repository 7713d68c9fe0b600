"""Images with a class or a depth for every pixel: `segmentation:DIR`, `camvid:DIR` and `depth:DIR`.

| layout                                                        | read as                                         |
|---------------------------------------------------------------|-------------------------------------------------|
| `images/SPLIT/*`, `masks/SPLIT/*` (or `SPLIT/images/*`, ...)   | splits as named; pairs by relative path          |
| `images/*`, `masks/*`                                         | divided 60/20/20 by a hash of the path           |
| `JPEGImages`, `SegmentationClass`, `ImageSets/Segmentation/*.txt` | Pascal VOC: 21 classes, 255 ignored          |
| `images/training`, `annotations/training`, ...                | ADE20K: 150 classes; 0 is ignored, k is class k - 1 |
| `camvid:DIR`                                                  | CamVid's 11 classes; 11 is ignored               |
| `images/`, `depth/`                                           | depths: 16-bit PNG x `scale`, or `.npy` in metres |

Masks are PNG files of class numbers (palette or grey). The folder of masks may also be called labels, annotations or
SegmentationClass. Names of classes stand in `classes.txt`, one a line; without it they are numbers, up to the largest
in the masks. A depth of 0 is unknown. The images have no class labels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from probekit import cache, files, progress
from probekit.data.bands import open_bands
from probekit.data.base import ImageSet
from probekit.data.decode import BROKEN, check_regular, check_size, unreadable
from probekit.data.files import FileSet, digests
from probekit.data.folder import existing_folder
from probekit.data.listing import images_below
from probekit.data.maps import PixelMaps
from probekit.data.request import Request
from probekit.data.selecting import pictures_below, select
from probekit.data.splits import split_name
from probekit.errors import DataError

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
MOST_CLASSES = 4096
"""Class numbers from this on are taken for a mistake."""

IGNORE = 255
"""Class number of pixels that count for nothing, where the layout has no other."""

IMAGES = ("images", "image", "imgs", "img", "rgb", "JPEGImages")
MAPS = {
    "masks": ("masks", "mask", "labels", "label", "annotations", "segmentation", "SegmentationClass"),
    "depth": ("depth", "depths", "depth_maps"),
}


class Pairs(NamedTuple):
    """Relative paths of images and of their maps, one each."""

    images: list[str]
    maps: list[str]


class DenseSet(FileSet):
    """Images in files, with a map in a file each."""

    def __init__(self, root: Path, pairs: Pairs, **description: Any) -> None:
        super().__init__(root, pairs.images, **description)
        self.map_paths = pairs.maps

    def content(self) -> str:
        return cache.key(images=super().content(), maps=digests(self.root, self.map_paths))


def open_split(
    argument: str, request: Request, *, ignore: int | None = None, scale: float = 0.001, name: str | None = None
) -> ImageSet:
    """Open images with a map each.

    Args:
        argument: the folder.
        request: which images.
        ignore: the class number that counts for nothing; default: the layout's own, else 255.
        scale: metres per unit of a 16-bit depth image.
        name: of the set; default: the folder's name.
    """
    spec = request.spec
    root = existing_folder(argument, spec)
    kind = "depth" if spec.startswith("depth:") else "masks"
    layout, parts = _layout(root, kind, spec)
    chosen = select(pictures_below(root, {split: pairs.images for split, pairs in parts.items()}), request)
    pairs = parts[chosen.part]
    mine = Pairs([pairs.images[i] for i in chosen.indices], [pairs.maps[i] for i in chosen.indices])
    facts: dict[str, Any] = {"source": spec.partition(":")[0], "layout": layout, **chosen.facts, **request.decoding}
    maps, told = _maps(root, layout, kind, parts, mine, spec, ignore, scale)
    result = DenseSet(
        root,
        mine,
        exif=request.exif,
        draft=request.draft,
        name=name or (layout if layout in ("camvid", "voc", "ade20k") else root.name),
        origin="decoded",
        facts=facts | told,
        licence="CC BY-NC 4.0 (CamVid)" if layout == "camvid" else "as the folder's",
        **chosen.options(request),
    )
    if kind == "depth":
        result.depth = maps
    else:
        result.segmentation = maps
    chosen.finish(result)
    return result


def _layout(root: Path, kind: str, spec: str) -> tuple[str, dict[str, Pairs]]:
    """Name of the layout, and the pairs by split."""
    voc = root / "ImageSets" / "Segmentation"
    if kind == "masks" and voc.is_dir():
        texts = [path for path in sorted(voc.glob("*.txt")) if path.stem in ("train", "val", "test")]
        lists = {path.stem: " ".join(_lines(path)).split() for path in texts}
        return "voc", {
            key: Pairs(
                [f"JPEGImages/{stem}.jpg" for stem in stems], [f"SegmentationClass/{stem}.png" for stem in stems]
            )
            for key, stems in lists.items()
        }
    pictures, maps = _folder(root, IMAGES), _folder(root, MAPS[kind])
    if pictures and maps:
        by_split = _by_split(root, pictures, maps, spec)
        ade = kind == "masks" and maps.name == "annotations" and (pictures / "training").is_dir()
        return "camvid" if spec.startswith("camvid:") else "ade20k" if ade else "images and " + kind, by_split
    found = {}
    for entry in sorted(root.iterdir()):
        split = split_name(entry.name) if entry.is_dir() else None
        inner = (_folder(entry, IMAGES), _folder(entry, MAPS[kind])) if split else (None, None)
        if split and inner[0] and inner[1]:
            found[split] = _paired(root, inner[0], inner[1], spec)
    if not found:
        raise DataError(
            f"{spec}: {root} has no folders images and {kind}, neither directly nor in train, val and test. Found: "
            f"{', '.join(sorted(path.name for path in root.iterdir())[:8]) or 'nothing'}."
        )
    return "images and " + kind, found


def _folder(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _by_split(root: Path, pictures: Path, maps: Path, spec: str) -> dict[str, Pairs]:
    inside = {entry: split_name(entry.name) for entry in sorted(pictures.iterdir()) if entry.is_dir()}
    splits = {split: entry for entry, split in inside.items() if split and (maps / entry.name).is_dir()}
    if splits:
        return {split: _paired(root, entry, maps / entry.name, spec) for split, entry in splits.items()}
    return {"all": _paired(root, pictures, maps, spec)}


def _paired(root: Path, pictures: Path, maps: Path, spec: str) -> Pairs:
    """Images and maps whose relative paths are the same but for their endings; every image needs its map."""
    images = {Path(path).with_suffix("").as_posix(): path for path in images_below(pictures, spec)[0]}
    found = {Path(path).with_suffix("").as_posix(): path for path in images_below(maps, spec)[0]}
    missing = [path for stem, path in images.items() if stem not in found]
    if missing or not images:
        raise DataError(
            f"{spec}: {len(missing)} of {len(images)} images in {pictures} have no map of the same name in {maps}"
            + (f", such as {missing[0]}." if missing else ".")
        )
    stems = sorted(images)
    return Pairs(
        [(pictures / images[stem]).relative_to(root).as_posix() for stem in stems],
        [(maps / found[stem]).relative_to(root).as_posix() for stem in stems],
    )


def _maps(
    root: Path,
    layout: str,
    kind: str,
    parts: dict[str, Pairs],
    mine: Pairs,
    spec: str,
    ignore: int | None,
    scale: float,
) -> tuple[PixelMaps, dict[str, Any]]:
    """The maps of the chosen images, and what they mean, as facts."""

    def sized(read: Callable[[Path], np.ndarray]) -> Callable[[int], np.ndarray]:
        def checked(index: int) -> np.ndarray:
            found = read(root / mine.maps[index])
            width, height = opened(root / mine.images[index], whole=False).size
            if found.shape not in ((height, width), (width, height)):
                raise DataError(
                    f"{root / mine.maps[index]} is {found.shape[0]} x {found.shape[1]} pixels, its image "
                    f"{height} x {width}; the same size is expected."
                )
            return found

        return checked

    if kind == "depth":
        read = sized(lambda path: _depths(path, scale))
        return PixelMaps(read, range(len(mine.maps)), unit="m"), {"scale": scale}
    classes = {"voc": VOC, "camvid": CAMVID}.get(layout) or _class_names(root, layout)
    if ignore is None:
        ignore = len(CAMVID) if layout == "camvid" else IGNORE
    if not classes:
        largest = _largest(root, [path for pairs in parts.values() for path in pairs.maps], ignore, spec)
        classes = tuple(str(number) for number in range(largest + 1))
    if len(classes) > MOST_CLASSES:
        raise DataError(f"{root / 'classes.txt'} names {len(classes):,} classes; at most {MOST_CLASSES:,} are read.")

    def numbers(path: Path) -> np.ndarray:
        found = class_numbers(path)
        return np.where(found == 0, IGNORE, found - 1) if layout == "ade20k" else found

    told = {"segmentation_classes": list(classes), "ignore": ignore}
    return PixelMaps(sized(numbers), range(len(mine.maps)), classes=classes, ignore=ignore), told


def _class_names(root: Path, layout: str) -> tuple[str, ...]:
    """From `classes.txt`, or ADE20K's `objectInfo150.txt`; empty if neither is there."""
    named = root / "classes.txt"
    if named.is_file():
        return tuple(_lines(named))
    if layout != "ade20k":
        return ()
    info = root / "objectInfo150.txt"
    rows = [line.split("\t") for line in _lines(info)[1:]] if info.is_file() else []
    return tuple(row[-1].split(",")[0].strip() for row in rows) or tuple(str(number) for number in range(150))


def _lines(path: Path) -> list[str]:
    """The lines of a text."""
    content = files.read_bytes(path, what="a list", limit=2**24, error=DataError)
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8 ({error}). Expected a name a line.") from error


def _largest(root: Path, paths: list[str], ignore: int, spec: str) -> int:
    largest = 0
    with progress.bar(f"{spec}: looking for the classes", len(paths)) as advance:
        for path in paths:
            found = class_numbers(root / path)
            largest = max(largest, int(found[found != ignore].max(initial=0)))
            if largest >= MOST_CLASSES:
                raise DataError(
                    f"{root / path} holds the class {largest}; at most {MOST_CLASSES:,} classes are read. If it is no "
                    "class, state it with ?ignore=."
                )
            advance()
    return largest


def class_numbers(path: Path) -> np.ndarray:
    """The class numbers in a mask: int64 (height, width), from a palette, grey or 16-bit PNG."""
    image = opened(path)
    if image.mode not in ("P", "L", "1", "I", "I;16", "I;16B"):
        raise DataError(f"{path} holds colours ({image.mode}); a mask holds class numbers, as a palette or grey image.")
    return np.asarray(image).astype(np.int64)


def _depths(path: Path, scale: float) -> np.ndarray:
    """Depths in metres, float32 (height, width), NaN where unknown."""
    if path.suffix.lower() == ".npy":
        found = open_bands(path)[..., 0].astype(np.float32)
    else:
        image = opened(path)
        if image.mode not in ("I", "I;16", "I;16B", "L", "F"):
            raise DataError(f"{path} holds colours ({image.mode}); a depth image is grey, of 16 bits.")
        found = np.asarray(image).astype(np.float32) * np.float32(scale)
    return np.where(np.isfinite(found) & (found > 0), found, np.float32(np.nan))


def opened(path: Path, *, whole: bool = True) -> Image.Image:
    """Open a picture without conversion; read only its size unless `whole`."""
    check_regular(path, str(path))
    try:
        with Image.open(path) as image:
            check_size(image, str(path))
            if whole:
                image.load()
            return image
    except DataError:
        raise
    except BROKEN as error:
        raise unreadable(str(path), error) from error
