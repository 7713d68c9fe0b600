"""ImageNet and its variants, ObjectNet and cue conflicts: classes, mappings, layouts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probekit.data import load
from probekit.data.cue_conflict import CLASSES, MEMBERS
from probekit.data.imagenet import lemmas, synsets
from probekit.errors import DataError


def fill(root: Path, names: Iterable[str], *, count: int = 1) -> Path:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (6, 6), (number % 256, number // 256, index)).save(root / name / f"{index}.png")
    return root


def shown(image: np.ndarray) -> int:
    """The number that `fill` painted."""
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


def test_lists_of_classes() -> None:
    assert len(synsets()) == len(set(synsets())) == 1000
    assert synsets()[0] == "n01440764"
    assert lemmas()["n01440764"].startswith("tench")
    for file in ("imagenet_r_synsets.txt", "imagenet_a_synsets.txt"):
        assert len(synsets(file)) == 200
        assert set(synsets(file)) < set(synsets())


def test_imagenet_reports_its_validation_folder(tmp_path: Path) -> None:
    chosen = [synsets()[index] for index in (7, 2, 999)]
    fill(tmp_path / "train", chosen, count=20)
    fill(tmp_path / "val", chosen, count=3)
    sets = {split: load(f"imagenet:{tmp_path}", split) for split in ("train", "val", "test")}
    assert {split: len(image_set) for split, image_set in sets.items()} == {"train": 54, "val": 6, "test": 9}
    assert sets["test"].class_indices.tolist() == [2, 7, 999]
    assert sets["test"].classes[0] == f"{synsets()[2]} {lemmas()[synsets()[2]].split(',')[0]}"
    assert all(path.startswith("val/") for path in sets["test"].paths)  # type: ignore[attr-defined]
    fill(tmp_path / "train", ["n00000000"], count=2)
    fill(tmp_path / "val", ["n00000000"], count=2)
    with pytest.raises(DataError, match=r"the folder 'n00000000' is no class of imagenet"):
        load(f"imagenet:{tmp_path}")


def test_imagenet_as_it_is_often_laid_out(tmp_path: Path) -> None:
    chosen = [synsets()[index] for index in (7, 2)]
    fill(tmp_path / "train", chosen, count=20)
    fill(tmp_path / "val", chosen, count=3)
    (tmp_path / "test").mkdir()
    Image.new("RGB", (6, 6)).save(tmp_path / "test" / "ILSVRC2012_test_00000001.JPEG")
    (tmp_path / "meta.bin").write_bytes(b"")
    image_set = load(f"imagenet:{tmp_path}")
    assert all(path.startswith("val/") for path in image_set.paths)  # type: ignore[attr-defined]
    assert "the images in test have no labels and are left out" in image_set.description
    for folder in (tmp_path / "val").iterdir():
        for path in folder.iterdir():
            path.rename(tmp_path / "val" / f"{folder.name}-{path.name}")
        folder.rmdir()
    with pytest.raises(DataError, match=r"images in .*val lie in no folder of their class"):
        load(f"imagenet:{tmp_path}")


def test_the_numbered_folders_of_v2_are_sorted_as_numbers(tmp_path: Path) -> None:
    image_set = load(f"imagenet-v2:{fill(tmp_path, map(str, range(1000)))}")
    assert image_set.class_indices.tolist() == list(range(1000))
    assert image_set.labels.tolist() == list(range(1000))
    assert all(shown(image_set[index]) == index for index in (0, 2, 10, 999))
    assert image_set.classes[10].startswith(synsets()[10])


def test_v2_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder '1000' is no class number from 0 to 999"):
        load(f"imagenet-v2:{fill(tmp_path / 'a', ['1000', '1'])}")
    with pytest.raises(DataError, match=r"the folder 'cat' is no class number"):
        load(f"imagenet-v2:{fill(tmp_path / 'b', ['cat', '1'])}")


@pytest.mark.parametrize("variant", ["imagenet-r", "imagenet-a"])
def test_variants_have_their_own_200_classes(variant: str, tmp_path: Path) -> None:
    own = synsets(f"{variant.replace('-', '_')}_synsets.txt")
    image_set = load(f"{variant}:{fill(tmp_path / 'all', own)}")
    assert len(image_set.classes) == 200
    assert [synsets()[index] for index in image_set.class_indices] == sorted(own)
    assert image_set.name == variant
    few = fill(tmp_path / "few", own[:4])
    with pytest.raises(DataError, match=f"has 4 classes; {variant} has 200. Is it complete"):
        load(f"{variant}:{few}")
    assert len(load(f"{variant}:{few}?partial=true").classes) == 4
    foreign = next(synset for synset in synsets() if synset not in own)
    fill(few, [foreign])
    with pytest.raises(DataError, match=f"the folder '{foreign}' is no class of {variant}"):
        load(f"{variant}:{few}?partial=true")


def test_sketch_and_test_sets_have_no_training_split(tmp_path: Path) -> None:
    fill(tmp_path / "sketch", synsets()[:3])
    assert load(f"imagenet-sketch:{tmp_path / 'sketch'}?partial=true").name == "imagenet-sketch"
    with pytest.raises(DataError, match=r"is a test set and has no train split. Fit and select on another set"):
        load(f"imagenet-sketch:{tmp_path / 'sketch'}?partial=true", "train")


@pytest.fixture
def objectnet(tmp_path: Path) -> Path:
    """Two classes that ImageNet has, one that it has not, with mapping files as distributed."""
    for number, name in enumerate(["air_freshener", "alarm_clock", "backpack"]):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(3):
            image = np.full((12, 10, 3), [255, 0, 0], np.uint8)
            image[2:-2, 2:-2] = [number, index, 7]
            Image.fromarray(image).save(tmp_path / "images" / name / f"{index}.png")
    folder = tmp_path / "mappings"
    folder.mkdir()
    labels = {"air_freshener": "Air freshener", "alarm_clock": "Alarm clock", "backpack": "Backpack"}
    (folder / "folder_to_objectnet_label.json").write_text(json.dumps(labels))
    stands_for = {"Alarm clock": "digital clock; analog clock", "Backpack": "backpack, back pack"}
    (folder / "objectnet_to_imagenet_1k.json").write_text(json.dumps(stands_for))
    (folder / "imagenet_to_label_2012_v2").write_text("backpack, back pack\nanalog clock\ndigital clock\n")
    (folder / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps({"414": 0, "409": 1, "530": 2}))
    return tmp_path


def test_objectnet(objectnet: Path) -> None:
    image_set = load(f"objectnet:{objectnet}")
    assert image_set.classes == ("alarm_clock", "backpack")
    assert image_set.class_members == ((409, 530), (414,))
    assert image_set.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert image_set[4].shape == (8, 6, 3)
    assert (image_set[4] == [2, 1, 7]).all()
    assert "1 of 3 classes, with 3 images, have no ImageNet class" in image_set.description


def test_objectnet_errors(objectnet: Path) -> None:
    with pytest.raises(DataError, match=r"is a test set and has no val split"):
        load(f"objectnet:{objectnet}", "val")
    with pytest.raises(DataError, match=r"has no folder images; images and mappings are expected"):
        load(f"objectnet:{objectnet / 'images'}")
    (objectnet / "mappings" / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps({"414": 0, "409": 1}))
    with pytest.raises(DataError, match=r"maps 'Alarm clock' to 'digital clock', which is no ImageNet class"):
        load(f"objectnet:{objectnet}")
    (objectnet / "mappings" / "imagenet_to_label_2012_v2").unlink()
    with pytest.raises(DataError, match=r"mappings lacks imagenet_to_label_2012_v2, which come with ObjectNet"):
        load(f"objectnet:{objectnet}")


def stimuli(root: Path) -> Path:
    for number, shape in enumerate(CLASSES):
        (root / shape).mkdir(parents=True)
        for texture in (CLASSES[number - 1], CLASSES[(number + 3) % 16], shape):
            name = f"{shape}{number}-{texture}2.png"
            Image.new("RGB", (6, 6), (number, CLASSES.index(texture), 0)).save(root / shape / name)
    return root


def test_cue_conflicts(tmp_path: Path) -> None:
    image_set = load(f"cue-conflict:{stimuli(tmp_path)}")
    assert len(image_set.classes) == 16
    assert len(image_set) == 32
    assert (image_set.shape_labels == image_set.labels).all()
    for index in range(32):
        painted = image_set[index][0, 0]
        assert (painted[:2] == [image_set.shape_labels[index], image_set.texture_labels[index]]).all()
    assert (image_set.shape_labels != image_set.texture_labels).all()
    assert "16 images without a conflict are left out" in image_set.description
    few = load(f"cue-conflict:{tmp_path}", count=16)
    assert (np.bincount(few.labels) == 1).all()
    assert len(few.texture_labels) == 16


def test_members_of_the_16_classes() -> None:
    every = [number for members in MEMBERS.values() for number in members]
    assert len(every) == len(set(every)) == 207
    words = {name: {lemmas()[synsets()[number]] for number in members} for name, members in MEMBERS.items()}
    assert words["airplane"] == {"airliner"}
    assert all("elephant" in text for text in words["elephant"])
    assert all("clock" in text for text in words["clock"])
    assert all("chair" in text or "throne" in text for text in words["chair"])
    assert any("Chihuahua" in lemmas()[synsets()[number]] for number in range(150, 154))
    assert all("keyboard" in text for text in words["keyboard"])


def test_cue_conflict_errors(tmp_path: Path) -> None:
    root = stimuli(tmp_path / "a")
    Image.new("RGB", (6, 6)).save(root / "cat" / "dog1-oven2.png")
    with pytest.raises(DataError, match=r"cat/dog1-oven2.png does not tell its shape and texture; cat/cat7-elephant2"):
        load(f"cue-conflict:{root}")
    with pytest.raises(DataError, match=r"the folder 'cats' is none of the 16 classes. Did you mean 'cat'"):
        load(f"cue-conflict:{fill(tmp_path / 'b', ['cats', 'dog'])}")
    with pytest.raises(DataError, match=r"lacks folders for airplane, bear"):
        load(f"cue-conflict:{fill(tmp_path / 'c', ['cat', 'dog'])}")
