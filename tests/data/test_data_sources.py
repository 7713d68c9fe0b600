"""Arrays, torch data sets, torchvision, Hugging Face and tar shards: the same images come out, in splits."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from probekit.data import SPLITS, ImageSet, Preprocess, load
from probekit.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 9, 8, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def check_splits(sets: list[ImageSet], sizes: list[int], pixels: np.ndarray = PIXELS) -> None:
    """Together the splits are `pixels`, each once, with their labels."""
    assert [len(image_set) for image_set in sets] == sizes
    known = {image.tobytes(): label for image, label in zip(pixels, LABELS, strict=True)}
    seen = [image_set[index].tobytes() for image_set in sets for index in range(len(image_set))]
    assert len(set(seen)) == sum(sizes)
    for image_set in sets:
        assert [known[image_set[index].tobytes()] for index in range(len(image_set))] == image_set.labels.tolist()
        assert len({image_set.fingerprint for image_set in sets}) == len(sets)
        channels = image_set.channels
        preprocess = Preprocess(8, 8, (0.5,) * channels, (0.5,) * channels)
        shape = next(iter(image_set.batches(4, preprocess)))["image"].shape
        assert shape == (min(4, len(image_set)), channels, 8, 8)


class Items(Dataset):
    """A torch data set that yields what it is given."""

    def __init__(self, images: Any, labels: Any = LABELS) -> None:
        self.images = images
        self.numbers = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], self.numbers[index]


# ---------------------------------------------------------------- in memory


def test_a_pair_of_arrays() -> None:
    check_splits([load((PIXELS, LABELS), split) for split in SPLITS], [18, 6, 6])
    named = load((PIXELS, LABELS), classes=["a", "b", "c"], name="mine", count=3)
    assert named.classes == ("a", "b", "c")
    assert named.name == "mine"
    assert sorted(named.labels) == [0, 1, 2]
    assert named.fingerprint.startswith("stored-")
    other = PIXELS.copy()
    other[:, 0, 0, 0] ^= 1
    assert load((other, LABELS)).fingerprint != load((PIXELS, LABELS)).fingerprint


@pytest.mark.parametrize(
    "images",
    [PIXELS.transpose(0, 3, 1, 2), torch.from_numpy(PIXELS), PIXELS[..., 0], PIXELS[..., :1]],
    ids=["channels first", "tensor", "grey", "one channel"],
)
def test_layouts_of_arrays(images: Any) -> None:
    expected = PIXELS if np.asarray(images).size == PIXELS.size else PIXELS[..., :1]
    sets = [load((images, LABELS), split) for split in SPLITS]
    assert {image_set.channels for image_set in sets} == {expected.shape[3]}
    check_splits(sets, [18, 6, 6], expected)


def test_given_splits_are_taken_as_they_are() -> None:
    given = {"train": (PIXELS[:18], LABELS[:18]), "test": (PIXELS[18:], LABELS[18:])}
    assert [len(load(given, split)) for split in ("train", "test")] == [18, 12]
    assert load(given, "train").facts["split_rule"] == "given as train"
    with pytest.raises(DataError, match="There is no val split; there is train, test"):
        load(given, "val")


def test_splits_by_other_names_and_labels_in_a_column() -> None:
    given = {"Training": (PIXELS[:18], LABELS[:18, None]), "Validation": (PIXELS[18:], LABELS[18:])}
    assert [len(load(given, split)) for split in ("train", "val")] == [18, 12]


def test_a_dict_of_image_sets() -> None:
    sets = {split: load("shapes", split, count=4) for split in ("train", "test")}
    assert load(sets, "train") is sets["train"]
    with pytest.raises(DataError, match="There is no val split; there is train, test"):
        load(sets, "val")


def test_where_data_lies_does_not_change_its_splits(tmp_path: Path) -> None:
    names = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for name in names:
        np.savez(name, images=PIXELS, labels=LABELS)
    first, second = (load(f"numpy:{name}", "val") for name in names)
    assert first.fingerprint == second.fingerprint == load((PIXELS, LABELS), "val").fingerprint


def test_what_pairs_are_refused() -> None:
    cases: list[tuple[Any, str]] = [
        ((PIXELS * 2.0, LABELS), r"holds float64 numbers from 0 to .* state their range, as in value_range"),
        ((PIXELS.astype(str), LABELS), "images are <U3; an array of numbers is expected"),
        ((PIXELS[0, 0], LABELS), r"images have shape \(8, 3\); expected"),
        ((PIXELS, LABELS[:7]), r"30 images but labels of shape \(7,\) and type int64; one label per image"),
        ((PIXELS, LABELS - 1), "10 labels are negative, such as -1; whole numbers from 0 upwards"),
        ({"trian": (PIXELS, LABELS)}, r"Splits are train, val, test, not 'trian'. Did you mean 'train'"),
        (3.5, "float is no image set: a spec"),
        ({}, "an empty dict was given"),
        ({"val": (PIXELS, LABELS), "validation": (PIXELS, LABELS)}, "The val split is given twice"),
        ((PIXELS[:0], LABELS[:0]), "arrays has no images"),
        ((PIXELS, [[0.5], [1, 2], [2]] * 10), "rows of different lengths. For several labels per image give lists"),
        ((PIXELS, LABELS * np.nan), "labels that are not finite"),
        ((PIXELS, 10**9 * LABELS), "the label 2000000000 is too large for the number of a class"),
        ((PIXELS, np.stack([LABELS, LABELS], axis=1)), "a row of labels holds bools"),
    ]
    for thing, message in cases:
        with pytest.raises(DataError, match=message):
            load(thing)
    with pytest.raises(DataError, match=r"data in memory has no option 'nmae'. Did you mean 'name'"):
        load((PIXELS, LABELS), nmae="mine")
    with pytest.raises(DataError, match=r"the label 2 has no name among 2 classes"):
        load((PIXELS, LABELS), classes=["a", "b"])


@pytest.mark.parametrize(
    "images",
    [
        [Image.fromarray(image) for image in PIXELS],
        list(PIXELS),
        list(torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255),
        list(torch.from_numpy(PIXELS).permute(0, 3, 1, 2)),
    ],
    ids=["PIL", "arrays", "ToTensor", "uint8 tensors"],
)
def test_torch_data_sets(images: Any) -> None:
    check_splits([load(Items(images), split) for split in SPLITS], [18, 6, 6])


def test_a_tensor_data_set() -> None:
    tensors = TensorDataset(torch.from_numpy(PIXELS).permute(0, 3, 1, 2), torch.from_numpy(LABELS))
    check_splits([load(tensors, split) for split in SPLITS], [18, 6, 6])


def test_what_data_sets_are_refused() -> None:
    normalised = Items(list((torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255 - 0.5) / 0.2))
    with pytest.raises(DataError, match=r"holds float32 numbers from .* leave Normalize out of a data set's trans"):
        load(normalised)

    images = [Image.fromarray(image) for image in PIXELS]
    cases: dict[str, Any] = {
        "15 of 30 items have no label": [None, 1] * 15,
        r"Items\[0\] has the label '\[\[": np.zeros((30, 2, 2)),
        r"Items\[0\] has the label .*boxes": [{"boxes": 1}] * 30,
    }
    for message, labels in cases.items():
        with pytest.raises(DataError, match=message):
            load(Items(images, labels))
    with pytest.raises(DataError, match=r"list has no images"):
        load([])
    with pytest.raises(DataError, match=r"list\[0\] is dict; a pair \(image, label\) is expected .*save_to_disk"):
        load([{"image": images[0], "label": 0}])
    named, other = Items(images), Items(images)
    named.classes, other.classes = ["a", "b", "c"], ["a", "c", "b"]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"the splits train and test have different classes: the same, in another"):
        load({"train": named, "test": other})

    class Endless(IterableDataset):
        def __iter__(self) -> Iterator[int]:
            return iter(range(3))

    with pytest.raises(DataError, match=r"An IterableDataset has no order: make a list of it"):
        load(Endless())
    with pytest.raises(DataError, match=r"\[0\] is str of shape \(\); an image is"):
        load(["just", "texts"])


# ---------------------------------------------------------------- NumPy files


def test_numpy_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=PIXELS, labels=LABELS, classes=["x", "y", "z"])
    check_splits([load(f"numpy:{tmp_path / 'set.npz'}", split) for split in SPLITS], [18, 6, 6])
    assert load(f"numpy:{tmp_path / 'set.npz'}").classes == ("x", "y", "z")
    folder = tmp_path / "folder"
    folder.mkdir()
    for split, part in {"train": slice(0, 15), "val": slice(15, 21), "test": slice(21, 30)}.items():
        np.save(folder / f"{split}_images.npy", PIXELS[part])
        np.save(folder / f"{split}_labels.npy", LABELS[part])
    check_splits([load(f"numpy:{folder}", split) for split in SPLITS], [15, 6, 9])


def test_numpy_files_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder"):
        load(f"numpy:{tmp_path / 'none.npz'}")
    np.savez(tmp_path / "other.npz", x=PIXELS, y=LABELS)
    with pytest.raises(DataError, match=r"has the arrays x, y; images and labels are expected"):
        load(f"numpy:{tmp_path / 'other.npz'}")
    np.savez(tmp_path / "whole.npz", images=PIXELS, labels=LABELS)
    whole = (tmp_path / "whole.npz").read_bytes()
    flipped = whole[:500] + bytes([whole[500] ^ 255]) + whole[501:]
    for data in (b"PK nothing", b"nothing", b"", whole[: len(whole) // 2], flipped):
        (tmp_path / "broken.npz").write_bytes(data)
        with pytest.raises(DataError, match=r"cannot read .*broken.npz"):
            load(f"numpy:{tmp_path / 'broken.npz'}")
    np.save(tmp_path / "one.npy", PIXELS)
    with pytest.raises(DataError, match=r"one.npy is one array; images and labels are expected"):
        load(f"numpy:{tmp_path / 'one.npy'}")


# ---------------------------------------------------------------- torchvision


def write_mnist(root: Path) -> None:
    """Files as the MNIST distribution has them: 24 training images and 6 test images."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for kind, part in {"train": slice(0, 24), "t10k": slice(24, 30)}.items():
        grey, labels = PIXELS[part, ..., 0], LABELS[part].astype(np.uint8)
        (raw / f"{kind}-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 0x803, *grey.shape) + grey.tobytes())
        (raw / f"{kind}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 0x801, len(labels)) + labels.tobytes())


def test_torchvision_with_train_and_test(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    with pytest.warns(UserWarning, match=r"7 of 10 classes have no image and are left out: 3 - three"):
        sets = [load(f"torchvision:MNIST:{tmp_path}", split) for split in SPLITS]
    check_splits(sets, [21, 3, 6], PIXELS[..., :1])
    assert sets[0].classes == ("0 - zero", "1 - one", "2 - two")
    assert any("7 of 10 classes" in note for note in sets[0].notes)


def test_torchvision_without_splits(tmp_path: Path) -> None:
    for index, (image, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        (tmp_path / f"class{label}").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"class{label}" / f"{index}.png")
    check_splits([load(f"torchvision:ImageFolder:{tmp_path}", split) for split in SPLITS], [18, 6, 6])
    assert load(f"torchvision:ImageFolder:{tmp_path}").classes == ("class0", "class1", "class2")


def test_torchvision_with_named_splits(tmp_path: Path) -> None:
    for index, (image, label) in enumerate(zip(PIXELS, LABELS % 2, strict=True)):
        split = "train" if index < 18 else "valid" if index < 24 else "test"
        folder = tmp_path / "rendered-sst2" / split / ("negative", "positive")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    sets = [load(f"torchvision:RenderedSST2:{tmp_path}", split) for split in SPLITS]
    assert [len(image_set) for image_set in sets] == [18, 6, 6]
    assert sets[0].facts["split_rule"] == "train as given"


def test_torchvision_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"torchvision has no data set 'CIFAR11'. Did you mean 'CIFAR10'"):
        load(f"torchvision:CIFAR11:{tmp_path}")
    with pytest.raises(DataError, match="torchvision has no data set 'VisionDataset'"):
        load(f"torchvision:VisionDataset:{tmp_path}")
    with pytest.raises(DataError, match=r"cannot open CIFAR10 in .*download=true to the spec"):
        load(f"torchvision:CIFAR10:{tmp_path}")
    with pytest.raises(DataError, match=r"write torchvision:NAME:DIR, e.g"):
        load("torchvision:CIFAR10")


# ---------------------------------------------------------------- Hugging Face


def hub_rows(part: slice = slice(None)) -> Any:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    images = [Image.fromarray(image) for image in PIXELS[part]]
    return datasets.Dataset.from_dict({"image": images, "label": LABELS[part].tolist()}, features=features)


def test_hub_data_on_disk(tmp_path: Path) -> None:
    import datasets

    hub_rows().save_to_disk(tmp_path / "plain")
    check_splits([load(f"hf:{tmp_path / 'plain'}", split) for split in SPLITS], [18, 6, 6])
    splits = {"train": hub_rows(slice(0, 21)), "validation": hub_rows(slice(21, 30))}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "split")
    sets = [load(f"hf:{tmp_path / 'split'}", split) for split in SPLITS]
    assert len(sets[2]) == 9
    assert sets[0].classes == ("a", "b", "c")
    check_splits(sets, [len(image_set) for image_set in sets])
    part = [load(f"hf:{tmp_path / 'split'}:train", split) for split in SPLITS]
    assert sum(map(len, part)) == 21


def test_hub_splits_without_labels_are_left_out_and_told(tmp_path: Path) -> None:
    import datasets

    bare = hub_rows(slice(0, 5)).map(lambda _: {"label": -1})
    splits = {"train": hub_rows(slice(0, 21)), "validation": hub_rows(slice(21, 30)), "test": bare, "extra": bare}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "challenge")
    image_set = load(f"hf:{tmp_path / 'challenge'}")
    assert len(image_set) == 9
    assert image_set.description.endswith("left out: extra, test (no labels)")
    with pytest.raises(DataError, match=r"all: 5 of 5 images have no label"):
        load(f"hf:{tmp_path / 'challenge'}:test")


def test_hub_data_that_is_refused(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).save_to_disk(tmp_path / "texts")
    with pytest.raises(DataError, match=r"one Image column is expected; it has text \(Value\), label \(Value\)"):
        load(f"hf:{tmp_path / 'texts'}")
    datasets.DatasetDict({"train": hub_rows()}).save_to_disk(tmp_path / "train")
    with pytest.raises(DataError, match=r"there is no split 'tarin'. Did you mean 'train'"):
        load(f"hf:{tmp_path / 'train'}:tarin")
    texts = hub_rows().cast_column("label", datasets.Value("string"))
    texts.save_to_disk(tmp_path / "labels")
    with pytest.warns(UserWarning, match="the labels 0, 1, 2 are the classes 0 to 2"):
        check_splits([load(f"hf:{tmp_path / 'labels'}", split) for split in SPLITS], [18, 6, 6])
    hub_rows().remove_columns("label").save_to_disk(tmp_path / "bare")
    assert load(f"hf:{tmp_path / 'bare'}", "train").labels is None
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"cannot open the data set"):
        load(f"hf:{tmp_path / 'nothing'}")


# ---------------------------------------------------------------- tar shards


def write_shard(path: Path, indices: range, *, label: str = "cls", image: bool = True, text: str = "") -> None:
    with tarfile.open(path, "w") as tar:
        for index in indices:
            buffer = io.BytesIO()
            Image.fromarray(PIXELS[index]).save(buffer, "PNG")
            number = int(LABELS[index])
            written = text or (str(number) if label == "cls" else json.dumps({"label": number}))
            members = {"png": buffer.getvalue()} if image else {}
            for ending, data in {**members, label: written.encode()}.items():
                if ending:
                    member = tarfile.TarInfo(f"part/{index:04d}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def test_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "set-000.tar", range(12))
    write_shard(tmp_path / "set-001.tar", range(12, 30), label="json")
    for pattern in (tmp_path, tmp_path / "set-{000..001}.tar", tmp_path / "set-*.tar"):
        check_splits([load(f"webdataset:{pattern}", split) for split in SPLITS], [18, 6, 6])
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\n")
    image_set = load(f"webdataset:{tmp_path / 'set-{000..001}.tar'}")
    assert image_set.classes == ("ant", "bee", "cow")
    assert image_set.name == "set"
    assert "/part/00" in image_set.image_name(0)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["train-000", "train-001", "val-000"], "{train-{000..001},val-000}.tar"),
        (["train-7", "train-9", "val-0"], "{train-{7,9},val-*}.tar"),
        (["imagenet1k-train-00", "imagenet1k-train-01", "imagenet1k-validation-00"], ""),
        (["train/00", "train/01", "val/00"], ""),
        (["train/00", "train/01", "val/00"], "*/*.tar"),
    ],
)
def test_ways_to_name_shards(names: list[str], pattern: str, tmp_path: Path) -> None:
    for name, part in zip(names, (range(9), range(9, 18), range(18, 30)), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_shard(tmp_path / f"{name}.tar", part)
    check_splits([load(f"webdataset:{tmp_path / pattern}", split) for split in SPLITS], [15, 3, 12])


def test_shards_by_split(tmp_path: Path) -> None:
    for split, part in {"train": range(15), "val": range(15, 21), "test": range(21, 30)}.items():
        write_shard(tmp_path / f"{split}-0.tar", part)
    check_splits([load(f"webdataset:{tmp_path}", split) for split in SPLITS], [15, 6, 9])
    write_shard(tmp_path / "other.tar", range(3))
    with pytest.raises(DataError, match=r"1 shards, such as other.tar, do not say which split they are"):
        load(f"webdataset:{tmp_path}")


def test_shards_that_are_refused(tmp_path: Path) -> None:
    cases = {"none-*": "there is no shard", "set-{0..1}": "there is no shard .*set-1.tar"}
    write_shard(tmp_path / "set-0.tar", range(6))
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            load(f"webdataset:{tmp_path / name}.tar")
    write_shard(tmp_path / "bare.tar", range(6), label="")
    assert load(f"webdataset:{tmp_path / 'bare.tar'}", "train").labels is None
    with tarfile.open(tmp_path / "bare.tar", "a") as tar:
        member = tarfile.TarInfo("part/0000.cls")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"1"))
    with pytest.raises(DataError, match=r"5 images in .*bare.tar, such as 'part/0001', have no label"):
        load(f"webdataset:{tmp_path / 'bare.tar'}")
    write_shard(tmp_path / "labels.tar", range(6), image=False)
    with pytest.raises(DataError, match=r"labels.tar holds no image"):
        load(f"webdataset:{tmp_path / 'labels.tar'}")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "set-0.tar").read_bytes()[:700])
    (tmp_path / "text.tar").write_text("no archive, but long enough to be looked at as one" * 20)
    for name in ("cut", "text"):
        with pytest.raises(DataError, match=f"cannot read .*{name}.tar.* Shards are tar files without compression"):
            load(f"webdataset:{tmp_path / name}.tar")
    for number, text in enumerate(('{"label": 1.5}', '{"label": -1}', '{"label": "cat"}', '{"class": 1}', "[1]")):
        write_shard(tmp_path / f"odd{number}.tar", range(6), label="json", text=text)
        with pytest.raises(DataError, match=r"0000.json holds (no label|the label .*; a whole number from 0 upwards)"):
            load(f"webdataset:{tmp_path / f'odd{number}.tar'}")
    write_shard(tmp_path / "gap.tar", range(0, 30, 3))
    with tarfile.open(tmp_path / "gap.tar", "a") as tar:
        member = tarfile.TarInfo("part/0000.cls")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(DataError, match=r"0000.cls holds no label: a whole number is expected"):
        load(f"webdataset:{tmp_path / 'gap.tar'}")


def test_no_library_warns(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(Items([Image.fromarray(image) for image in PIXELS]))
        hub_rows().save_to_disk(tmp_path / "plain")
        list(load(f"hf:{tmp_path / 'plain'}").batches(3, Preprocess(8, 8), workers=1))
