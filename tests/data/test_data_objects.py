"""Image sets with objects: boxes, masks and classes of generated scenes and of COCO's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from probekit.data import load
from probekit.data.duplicates import without_copies
from probekit.data.instances import boxes_of
from probekit.data.interleaving import Subset
from probekit.errors import DataError


def test_scenes_are_a_function_of_seed_split_and_index() -> None:
    scenes = load("shapes:scenes", "train")
    some = scenes.pixels(np.array([7, 3_000_000]))
    assert some.shape == (2, 64, 64, 3)
    assert scenes.endless
    np.testing.assert_array_equal(load("shapes:scenes", "train", count=9)[7], some[0])
    assert (load("shapes:scenes", "val", count=9)[7] != some[0]).any()
    assert (load("shapes:scenes", "train", count=9, seed=1)[7] != some[0]).any()
    assert len(scenes.instances[3_000_000].labels) >= 1


def test_objects_of_scenes_fit_their_pixels() -> None:
    scenes = load("shapes:scenes?size=96", "test", count=40)
    sizes = []
    for index in range(len(scenes)):
        objects, classes = scenes.instances[index], scenes.segmentation[index]
        np.testing.assert_array_equal(objects.boxes, boxes_of(objects.masks))
        assert (objects.masks.sum(axis=0) <= 1).all()
        for label, mask, area in zip(objects.labels, objects.masks, objects.areas, strict=True):
            assert set(np.unique(classes[mask])) == {label + 1}
            assert mask.sum() == area > 0
        assert not objects.crowd.any()
        sizes.append(len(objects.labels))
    assert min(sizes) >= 1
    assert 2 < np.mean(sizes) < 5
    assert scenes.instances.filled.all()
    assert len(scenes.instances.classes) == 8


def test_a_mask_lies_where_the_object_is_drawn() -> None:
    """Inside the mask the pixels differ from the background, which is smooth; outside all masks it is smooth."""
    scenes = load("shapes:scenes?size=128", "test", count=10)
    for index in range(10):
        inside = scenes.instances[index].masks.any(axis=0) | (scenes.segmentation[index] > 0)
        jumps = np.abs(np.diff(scenes[index].astype(int), axis=1)).sum(axis=2) > 60
        away = ~binary_dilation(inside, iterations=2)  # edges are soft
        assert not (jumps & away[:, 1:] & away[:, :-1]).any()
        assert (jumps & inside[:, 1:]).any()


def test_size_and_variant_errors_name_the_way_out() -> None:
    with pytest.raises(DataError, match="size=16; expected a whole number of at least 32"):
        load("shapes:scenes?size=16")
    with pytest.raises(DataError, match="scenes"):
        load("shapes:scene")


# --- COCO's layout ---------------------------------------------------------------------------------------------------

pycocotools = pytest.importorskip("pycocotools.mask")


def write(root: Path, split: str = "val2017", *, count: int = 3, folder: str | None = None) -> dict[str, Any]:
    """A folder in COCO's layout: each image has a polygon, a run-length code, and a crowd."""
    place = root / (split if folder is None else folder)
    place.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        pixels = np.random.default_rng([index, len(split)]).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{split}-{index}.png")
        images.append({"id": 100 + index, "file_name": f"{split}-{index}.png", "height": 20, "width": 30})
        square = np.zeros((20, 30), dtype=np.uint8, order="F")
        square[5:9, 10:16] = 1
        coded = pycocotools.encode(square)
        coded["counts"] = coded["counts"].decode()
        runs = {"size": [20, 30], "counts": [0, 20, 580]}  # the first column
        box = {"image_id": 100 + index, "iscrowd": 0}
        annotations += [
            box | {"id": 10 * index + 1, "category_id": 7, "bbox": [2.5, 3, 6, 4], "area": 24.0,
                   "segmentation": [[2.5, 3, 8.5, 3, 8.5, 7, 2.5, 7]]},
            box | {"id": 10 * index + 2, "category_id": 3, "bbox": [10, 5, 6, 4], "area": 24.0, "segmentation": coded},
            box | {"id": 10 * index + 3, "category_id": 3, "bbox": [0, 0, 1, 20], "area": 20.0, "segmentation": runs,
                   "iscrowd": 1},
        ]  # fmt: skip
    categories = [{"id": 7, "name": "kite"}, {"id": 3, "name": "car"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return content


@pytest.mark.parametrize("folder", [None, "images/val2017", "images", "."])
def test_coco_reads_boxes_classes_masks_and_crowds(tmp_path: Path, folder: str | None) -> None:
    write(tmp_path, folder=folder)
    images = load(f"coco:{tmp_path}", "test", whole=True)
    assert images.instances.classes == ("car", "kite")
    assert images.instances.identifiers.tolist() == [3, 7]
    objects = images.instances[1]
    np.testing.assert_array_equal(objects.boxes, [[2.5, 3, 8.5, 7], [10, 5, 16, 9], [0, 0, 1, 20]])
    assert objects.labels.tolist() == [1, 0, 0]
    assert objects.crowd.tolist() == [False, False, True]
    assert objects.areas.tolist() == [24, 24, 20]
    assert objects.masks.shape == (3, 20, 30)
    np.testing.assert_array_equal(np.argwhere(objects.masks[1])[[0, -1]], [[5, 10], [8, 15]])
    assert objects.masks[2][:, 0].all()
    assert objects.masks[2].sum() == 20
    polygon = pycocotools.decode(pycocotools.frPyObjects([[2.5, 3, 8.5, 3, 8.5, 7, 2.5, 7]], 20, 30))[..., 0]
    np.testing.assert_array_equal(objects.masks[0], polygon)


def test_coco_reports_val_and_selects_on_a_tenth_of_train(tmp_path: Path) -> None:
    write(tmp_path, "train2017", count=20)
    write(tmp_path, "val2017", count=3)
    sizes = {split: len(load(f"coco:{tmp_path}", split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 18, "val": 2, "test": 3}
    train = load(f"coco:{tmp_path}", "train")
    assert len(without_copies(train, [load(f"coco:{tmp_path}", "test")])) == 18
    few = Subset(train, np.array([3, 1]), {"chosen": "by hand"})
    np.testing.assert_array_equal(few.instances[1].boxes, train.instances[1].boxes)
    assert len(few.instances) == 2


def test_images_without_objects_are_known(tmp_path: Path) -> None:
    content = write(tmp_path)
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 101 or one["iscrowd"]]
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    images = load(f"coco:{tmp_path}", "test", whole=True)
    assert images.instances.filled.tolist() == [True, False, True]
    assert images.instances[1].crowd.tolist() == [True]


def test_the_fingerprint_changes_with_the_annotations(tmp_path: Path) -> None:
    content = write(tmp_path)
    before = load(f"coco:{tmp_path}", "test", whole=True).fingerprint
    content["annotations"][0]["bbox"] = [2, 3, 6, 5]
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    assert load(f"coco:{tmp_path}", "test", whole=True).fingerprint != before


def test_broken_annotations_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="COCO's layout is expected"):
        load(f"coco:{tmp_path}", "test")
    content = write(tmp_path)
    file = tmp_path / "annotations" / "instances_val2017.json"

    def broken(change: dict[str, Any]) -> Any:
        file.write_text(json.dumps(content | change))
        return load(f"coco:{tmp_path}", "test", whole=True)

    with pytest.raises(DataError, match="an entry of 'annotations' has no bbox, segmentation"):
        broken({"annotations": [{"image_id": 100, "category_id": 3}]})
    with pytest.raises(DataError, match="image 5, which is not listed"):
        broken({"annotations": [content["annotations"][0] | {"image_id": 5}]})
    with pytest.raises(DataError, match=r"the image gone\.png is in none of"):
        broken({"images": [content["images"][0] | {"file_name": "gone.png"}], "annotations": []})
    with pytest.raises(DataError, match="neither polygons nor a run-length code"):
        assert broken({"annotations": [content["annotations"][0] | {"segmentation": {"counts": 3}}]}).instances[0]
    with pytest.raises(DataError, match="no class of the list"):
        assert broken({"annotations": [content["annotations"][0] | {"category_id": 99}]}).instances[0]
    broken({"categories": content["categories"][:1]})
    write(tmp_path, "train2017")
    with pytest.raises(DataError, match="categories of train and val differ"):
        load(f"coco:{tmp_path}", "test")
    with pytest.raises(DataError, match="boxes are in pixels"):
        load(f"coco:{tmp_path}?decode=draft", "test")
