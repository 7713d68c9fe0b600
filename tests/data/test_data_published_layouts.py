"""Folders exactly as Pascal VOC 2012, ADE20K and COCO 2017 are published, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as pycocotools
import pytest
from PIL import Image

import probekit
from probekit.collect import Counts
from probekit.data import load
from probekit.data.dense import VOC
from probekit.data.maps import PixelMaps
from probekit.models import MaskedAutoencoder

RNG = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def colour_map() -> list[int]:
    """VOC's palette: the bits of a class number spread over the three colours."""
    colours = np.zeros((256, 3), int)
    for number in range(256):
        rest = number
        for bit in range(7, -1, -1):
            colours[number] |= [(rest >> channel & 1) << bit for channel in range(3)]
            rest >>= 3
    return colours.ravel().tolist()


def voc(root: Path) -> dict[str, np.ndarray]:
    """VOCdevkit/VOC2012: few of the images are segmented, masks are palette images, borders are 255."""
    names = {"train": [f"2007_{i:06d}" for i in range(20)], "val": [f"2007_{i:06d}" for i in range(20, 26)]}
    masks = {}
    for stem in [*names["train"], *names["val"], "2008_000001", "2008_000002"]:
        size = tuple(RNG.integers(20, 50, 2))
        picture(root / "JPEGImages" / f"{stem}.jpg", size)
        text(root / "Annotations" / f"{stem}.xml", "<annotation/>")
        if stem.startswith("2008"):
            continue  # for detection only
        mask = np.zeros(size, np.uint8)
        mask[4:14, 5:15] = 255
        mask[5:13, 6:14] = 1 + int(stem[-2:]) % 20
        for folder in ("SegmentationClass", "SegmentationObject"):
            coded = Image.fromarray(mask if folder == "SegmentationClass" else np.minimum(mask, 1), mode="P")
            coded.putpalette(colour_map())
            (root / folder).mkdir(exist_ok=True)
            coded.save(root / folder / f"{stem}.png")
        masks[stem] = mask
    lists = root / "ImageSets" / "Segmentation"
    for split, stems in (names | {"trainval": [*names["train"], *names["val"]]}).items():
        text(lists / f"{split}.txt", *stems)
        text(root / "ImageSets" / "Main" / f"{split}.txt", *stems, "2008_000001")
    text(root / "ImageSets" / "Main" / "aeroplane_train.txt", "2007_000000  1")
    return masks


@pytest.mark.filterwarnings("ignore:.*what is selected on them:UserWarning")
def test_pascal_voc(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    masks = voc(root)
    images = load(f"segmentation:{root}", "test")
    maps = images.segmentation
    assert isinstance(maps, PixelMaps)
    assert (images.name, maps.classes, maps.ignore, len(maps)) == ("voc", VOC, 255, 6)
    for index in range(6):
        np.testing.assert_array_equal(maps[index], masks[Path(images.image_name(index)).stem])
        assert images[index].shape[:2] == maps[index].shape
    sizes = {split: len(load(f"segmentation:{root}", split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 18, "val": 2, "test": 6}
    tiny = MaskedAutoencoder.create(
        image_size=(16, 16), vit_patch_size=4, width=16, depth=1, num_heads=2, decoder_width=16, decoder_depth=1,
        decoder_num_heads=2, seed=0,
    )  # fmt: skip
    ds = probekit.evaluate(
        tiny, ["segmentation"], data=f"segmentation:{root}", counts=Counts(train=18, val=2, test=6, pictures=1),
        options={"segmentation": {"steps": 3}}, cache=False,
    )  # fmt: skip
    assert ((ds.segmentation_miou >= 0) & (ds.segmentation_miou <= 1)).all()
    assert list(ds.segmentation_miou.attrs["classes"])[:3] == list(VOC[:3])


def test_ade20k(tmp_path: Path) -> None:
    root = tmp_path / "ADEChallengeData2016"
    masks = {}
    for split, short, count in (("training", "train", 12), ("validation", "val", 4)):
        for number in range(1, count + 1):
            stem = f"ADE_{short}_{number:08d}"
            picture(root / "images" / split / f"{stem}.jpg", (32, 40))
            masks[stem] = RNG.integers(0, 151, (32, 40)).astype(np.uint8)
            (root / "annotations" / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(masks[stem]).save(root / "annotations" / split / f"{stem}.png")
    rows = [f"{number}\t0.1\t100\t10\t1\t{'wall' if number == 1 else f'thing{number}, other name'}"
            for number in range(1, 151)]  # fmt: skip
    text(root / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName", *rows)
    text(root / "sceneCategories.txt", *(f"{stem} bathroom" for stem in masks))
    images = load(f"segmentation:{root}", "test")
    maps = images.segmentation
    assert isinstance(maps, PixelMaps)
    assert (images.name, len(maps.classes), maps.classes[:2], maps.ignore) == ("ade20k", 150, ("wall", "thing2"), 255)
    assert len(maps) == 4
    for index in range(4):
        mask = masks[Path(images.image_name(index)).stem].astype(int)
        np.testing.assert_array_equal(maps[index], np.where(mask == 0, 255, mask - 1))


def coco(root: Path) -> dict[str, Any]:
    """Objects as polygons in one and in two parts, a crowd as an uncompressed run-length code, images without any."""
    whole: dict[str, Any] = {}
    categories = [{"supercategory": "person", "id": 1, "name": "person"},
                  {"supercategory": "vehicle", "id": 90, "name": "truck"}]  # fmt: skip
    for split, count in (("train2017", 14), ("val2017", 4)):
        images, annotations = [], []
        for number in range(count):
            name = f"{number + 9:012d}.jpg"
            picture(root / split / name, (40, 56))
            images.append({"license": 1, "file_name": name, "height": 40.0, "width": 56, "id": number + 9,
                           "date_captured": "2013-11-14", "coco_url": "", "flickr_url": ""})  # fmt: skip
            if number == 1:
                continue  # an image without objects
            one = {"image_id": number + 9, "iscrowd": 0}
            first = [5.0, 4.0, 25.0, 4.0, 25.0, 24.0, 5.0, 24.0]
            second = [40.0, 20.0, 50.0, 20.0, 50.0, 34.0, 40.0, 34.0]
            flat = np.zeros((40, 56), np.uint8, order="F")
            flat[30:38, 2:20] = 1
            counts, value = [0], 0
            for pixel in flat.ravel(order="F"):
                if pixel != value:
                    counts.append(0)
                    value = pixel
                counts[-1] += 1
            annotations += [
                one | {"id": 10 * number + 1, "category_id": 90, "bbox": [5.0, 4.0, 20.0, 20.0], "area": 400.0,
                       "segmentation": [first]},
                one | {"id": 10 * number + 2, "category_id": 1, "bbox": [5.0, 4.0, 45.0, 30.0], "area": 540.0,
                       "segmentation": [first, second]},
                one | {"id": 10 * number + 3, "category_id": 1, "bbox": [2.0, 30.0, 18.0, 8.0], "area": 144.0,
                       "segmentation": {"counts": counts, "size": [40, 56]}, "iscrowd": 1},
            ]  # fmt: skip
        content = {"info": {"year": 2017}, "licenses": [{"id": 1}], "images": images}
        whole[split] = content | {"annotations": annotations, "categories": categories}
        for kind in ("instances", "captions", "person_keypoints"):
            told = whole[split] if kind == "instances" else content | {"annotations": []}
            text(root / "annotations" / f"{kind}_{split}.json", json.dumps(told))
    return whole


def test_coco_2017(tmp_path: Path) -> None:
    coco(tmp_path)
    sizes = {split: len(load(f"coco:{tmp_path}", split)) for split in ("train", "val", "test")}
    assert sizes["test"] == 4
    assert sizes["train"] + sizes["val"] == 14
    images = load(f"coco:{tmp_path}", "test", whole=True)
    instances = images.instances
    assert instances is not None
    assert (instances.classes, instances.identifiers.tolist()) == (("person", "truck"), [1, 90])
    assert instances.filled.tolist() == [True, False, True, True]
    objects = instances[0]
    assert objects.labels.tolist() == [1, 0, 0]
    assert objects.crowd.tolist() == [False, False, True]
    np.testing.assert_array_equal(objects.boxes[1], [5, 4, 50, 34])
    two = pycocotools.frPyObjects([[5, 4, 25, 4, 25, 24, 5, 24], [40, 20, 50, 20, 50, 34, 40, 34]], 40, 56)
    np.testing.assert_array_equal(objects.masks[1], pycocotools.decode(pycocotools.merge(two)))
    crowd = np.zeros((40, 56), bool)
    crowd[30:38, 2:20] = True
    np.testing.assert_array_equal(objects.masks[2], crowd)
