"""What is tried on annotations, masks, tables of features, and options in a text: damaged, or made to exhaust."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kinds
import numpy as np
from damage import ALL, CHANGED, ODD
from PIL import Image
from trial import Trial

import probekit
from probekit import models, netcdf, report, schema

# --- annotations ------------------------------------------------------------------------------------------------------


def coco(folder: Path, count: int) -> Iterator[Trial]:
    """COCO's files with a value replaced by one of another kind, or damaged as a whole."""
    half = count // 2
    draw = random.Random(0)
    for number in range(count - half):
        file = coco_folder(kinds._new(folder))
        content = json.loads(file.read_text())
        path = draw.choice(list(_paths(content)))
        value = draw.choice(ODD_VALUES)
        kinds._set(content, path, value)
        file.write_text(json.dumps(content))
        name = f"{'.'.join(map(str, path))} = {value!r:.40} ({number})"
        yield Trial("coco", name, lambda file=file: read_objects(file))
    ways = ODD | {"garbage": CHANGED["garbage"]}
    yield from kinds.damaged("coco", coco_folder, read_objects, folder, half, ways, same=False)


def coco_folder(place: Path) -> Path:
    """A folder in COCO's layout; returns its file of annotations."""
    (place / "val2017").mkdir(parents=True)
    (place / "annotations").mkdir()
    entries = []
    for number in range(3):
        Image.new("RGB", (20, 12), (number, 9, 9)).save(place / "val2017" / f"{number}.jpg")
        outline = [2.0, 2.0, 9.0, 2.0, 9.0, 8.0]
        code = {"counts": [20, 100, 120], "size": [12, 20]}
        packed = {"counts": "d0T1h3", "size": [12, 20]}
        for segmentation in ([outline], code, packed):
            entries.append({
                "id": len(entries) + 1, "image_id": number, "category_id": 7, "bbox": [2, 2, 7, 6], "area": 30.0,
                "iscrowd": 0, "segmentation": segmentation,
            })  # fmt: skip
    images = [{"id": number, "file_name": f"{number}.jpg", "height": 12, "width": 20} for number in range(3)]
    file = place / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps({
        "images": images, "annotations": entries, "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
    }))  # fmt: skip
    return file


def read_objects(file: Path) -> None:
    found = probekit.data.load(f"coco:{file.parents[1]}", "test")
    for index in range(len(found)):
        found[index], found.instances[index]


ODD_VALUES: tuple[Any, ...] = (
    *kinds.ODD_VALUES, 2**31, -(2**63), 1e300, "../../../../etc/passwd", "/etc/passwd", [[1e9, 0, 0, 1e9, 5, 5]],
    [[float("nan")] * 6], [[1, 2, 3]], [[0, 0, 1e6, 0] * 2000], {"counts": [2**31], "size": [12, 20]},
    {"counts": "z" * 1000, "size": [12, 20]}, {"counts": [240], "size": [2**20, 2**20]}, {"counts": "", "size": None},
    [240, 2**40], "P" * 50,
)  # fmt: skip


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of everything inside lists and objects, few entries of long lists."""
    inside = value.items() if isinstance(value, dict) else list(enumerate(value))[:3] if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*before, key)
        yield from _paths(inner, (*before, key))


# --- masks ------------------------------------------------------------------------------------------------------------


def masks(folder: Path, count: int) -> Iterator[Trial]:
    """Folders of images and masks with a mask, an image or the names of classes damaged."""

    def colours(file: Path, draw: random.Random) -> None:
        Image.new("RGB", (20, 20)).save(file)

    def large_numbers(file: Path, draw: random.Random) -> None:
        Image.fromarray(np.full((20, 20), 2**31 - 1, dtype=np.int32)).save(file, format="TIFF")
        file.rename(file.with_suffix(".tif"))

    def sixteen_bits(file: Path, draw: random.Random) -> None:
        Image.fromarray(np.full((20, 20), 65_535, dtype=np.uint16)).save(file)

    def other_size(file: Path, draw: random.Random) -> None:
        Image.new("L", (7, 9)).save(file)

    def bomb(file: Path, draw: random.Random) -> None:
        file.write_bytes(kinds._png(30_000, 30_000, 16, 0, bytes(1000)))

    def names(file: Path, draw: random.Random) -> None:
        text = draw.choice([b"\xff\xfe\x00", b"a\n" * 10**6, b"\x1b[31mred\nblue\n", b""])
        (file.parents[2] / "classes.txt").write_bytes(text)

    own = {
        "colours": colours, "large numbers": large_numbers, "16 bits": sixteen_bits, "size": other_size, "bomb": bomb,
        "names": names,
    }  # fmt: skip
    yield from kinds.damaged("masks", pairs, read_masks, folder, count, {**own, **ALL}, same=False)


def pairs(place: Path) -> Path:
    """Images and masks; returns a mask."""
    draw = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (place / kind / split).mkdir(parents=True)
        for number in range(3):
            picture = draw.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(picture).save(place / "images" / split / f"{number}.png")
            Image.fromarray(draw.integers(0, 3, (20, 20)).astype(np.uint8)).save(
                place / "masks" / split / f"{number}.png"
            )
    return place / "masks" / "test" / "1.png"


def read_masks(file: Path) -> None:
    found = probekit.data.load(f"segmentation:{file.parents[2]}", "test")
    for index in range(len(found)):
        found[index], found.segmentation[index]


# --- features ---------------------------------------------------------------------------------------------------------


def features(folder: Path, count: int) -> Iterator[Trial]:
    """Tables of features, damaged, and given where results are expected."""
    table = probekit.features(kinds.small_model(), kinds.SPEC, count=20, cache=False)

    def make(place: Path) -> Path:
        return netcdf.write(table, place / "features.nc")

    readers: list[Callable[[Path], Any]] = [
        lambda file: netcdf.read(file, "").features.values.tobytes(),
        lambda file: report.html(file, script="") and None,
        lambda file: probekit.summary(file) and None,
        lambda file: schema.read(file) and None,
    ]
    for number, read in enumerate(readers):
        some = len(range(number, count, len(readers)))
        yield from kinds.damaged("features", make, read, folder / str(number), some, ALL, same=number == 0)


# --- options ----------------------------------------------------------------------------------------------------------

NAMES = (
    "num_heads", "decoder_num_heads", "image_size", "layer_norm_eps", "normalised_targets", "mean", "std",
    "interpolation", "crop_fraction", "mask_ratio", "patch_size", "epochs", "key", "rotary", "name", "__class__",
)  # fmt: skip
SETS = {
    "quadtree": ("height", "noise_dim", "root_dim", "classes", "noise", "size", "count", "seed", "channels"),
    "shapes": ("size", "count", "classes", "seed", "sampling", "decode", "channels", "exact"),
    "shapes:scenes": ("size", "count", "seed"),
    "photos": ("count", "classes", "sampling", "on_unreadable", "decode", "exif", "whole", "side"),
    "stereo_motorcycle": ("size", "count", "seed", "stride"),
}
VALUES = (
    "", "0", "-1", "1e999", "nan", "inf", "999999999", "99999999999999999999", "9" * 5000, "1,2,3", "16,9999999", "a",
    "\x1b[31mred", "\x00", "../../etc/passwd", "[]", "{}", "true", "none", "0.5", "1,0", "%s%n", "draft:999999999999",
    "1=2", "x" * 10_000,
)  # fmt: skip


def options(folder: Path, count: int) -> Iterator[Trial]:
    """Options in the text of a checkpoint or of an image set, with values of all kinds."""
    saved = kinds.small_model().save(kinds._new(folder) / "saved")
    draw = random.Random(0)
    for number in range(count):
        value = draw.choice(VALUES)
        if number % 2:
            text = f"{saved}?{draw.choice(NAMES)}={value}"
            yield Trial("options", text[-60:], lambda text=text: _loaded(text))
        else:
            name = draw.choice(list(SETS))
            text = f"{name}?{draw.choice(SETS[name])}={value}"
            yield Trial("options", text[:60], lambda text=text: _opened(text))


def _loaded(text: str) -> None:
    import torch

    checkpoint = models.load(text, device="cpu")
    with torch.inference_mode():
        checkpoint.model.encode(torch.zeros(1, 3, *checkpoint.model.image_size))


def _opened(text: str) -> None:
    found = probekit.data.load(text, "test")
    for batch in found.batches(4, indices=np.arange(min(4, len(found)))):
        assert len(batch["image"])
