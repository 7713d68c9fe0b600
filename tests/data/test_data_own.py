"""What a user brings: data sets that are not what their raw arrays say, own splits, copies, odd labels and folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from probekit.collect import Counts, Splits
from probekit.data import SPLITS, Preprocess, duplicates, load
from probekit.data.contact_sheet import contact_sheet
from probekit.data.labelling import read_labels
from probekit.data.splits import split_name
from probekit.errors import DataError
from probekit.probes.requirements import REQUIREMENTS

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(60) % 3


class Cifar:
    """The fields of torchvision's CIFAR10, without its files."""

    def __new__(cls, kind: type | None = None, **changes: Any) -> Any:
        from torchvision.datasets import CIFAR10

        made = object.__new__(kind or CIFAR10)
        made.data, made.targets = PIXELS, LABELS.tolist()
        made.transform = made.target_transform = made.transforms = None
        vars(made).update(changes)
        return made


def seen(images: Any) -> dict[bytes, int]:
    return {images[index].tobytes(): int(images.labels[index]) for index in range(len(images))}


# ---------------------------------------------------------------- a data set is what its items are


def test_a_data_set_is_what_its_items_are() -> None:
    from torchvision.datasets import CIFAR10

    class Negative(CIFAR10):
        def __getitem__(self, index: int) -> tuple[Any, Any]:
            image, label = super().__getitem__(index)
            return Image.fromarray(255 - np.asarray(image)), 2 - label

    plain = {key: label for split in SPLITS for key, label in seen(load(Cifar(), split)).items()}
    assert plain == {image.tobytes(): label for image, label in zip(PIXELS, LABELS.tolist(), strict=True)}
    other = {key: label for split in SPLITS for key, label in seen(load(Cifar(Negative), split)).items()}
    assert other == {(255 - image).tobytes(): 2 - label for image, label in zip(PIXELS, LABELS.tolist(), strict=True)}


def test_wrappers_transforms_and_target_transforms_are_honoured() -> None:
    flipped = Cifar(transform=lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    found = {key for split in SPLITS for key in seen(load(flipped, split))}
    assert found == {image[:, ::-1].tobytes() for image in PIXELS}
    turned = Cifar(target_transform=lambda label: 2 - label)
    swapped = {key: label for split in SPLITS for key, label in seen(load(turned, split)).items()}
    assert swapped == {image.tobytes(): 2 - label for image, label in zip(PIXELS, LABELS.tolist(), strict=True)}
    half = torch.utils.data.Subset(Cifar(), range(0, 60, 2))
    assert sum(len(load(half, split)) for split in SPLITS) == 30


def test_items_that_change_are_refused() -> None:
    draw = np.random.default_rng(0)
    noisy = Cifar(Noisy, transform=lambda image: draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="another image each time it is read: the data set draws at random"):
        load(noisy)


class Noisy(Dataset):
    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.data[index]), self.targets[index]


# ---------------------------------------------------------------- own splits, and copies across them


def test_each_split_may_be_anything(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder({"a": 6, "b": 6})
    np.savez(tmp_path / "set.npz", images=PIXELS[:20], labels=LABELS[:20] % 2, classes=["a", "b"])
    data = {"train": f"imagefolder:{root}", "val": f"numpy:{tmp_path / 'set.npz'}", "test": load("shapes", count=5)}
    assert [len(load(data, split)) for split in SPLITS] == [12, 20, 5]
    assert load(data, "train").split == "train"
    assert REQUIREMENTS["classes"](None, Splits(data, Counts())) == (  # type: ignore[arg-type]
        "its splits name different classes; all must list the same ones in the same order"
    )
    del data["test"]
    splits = Splits(data, Counts(train=8))
    assert (len(splits["train"]), len(splits["val"]), splits.has("test")) == (8, 20, False)


def test_a_given_test_split_is_reported_as_it_is() -> None:
    splits = Splits({"train": (PIXELS[:40], LABELS[:40]), "test": (PIXELS[40:], LABELS[40:])}, Counts())
    assert len(splits["train"]) == 40
    assert set(seen(splits["test"])) == {image.tobytes() for image in PIXELS[40:]}
    with pytest.raises(DataError, match="has no val split, which is needed here"):
        splits["val"]


def test_copies_are_left_out_of_what_is_fitted() -> None:
    images = np.concatenate([PIXELS[:30], PIXELS[40:45], PIXELS[50:52]])
    data = {
        "train": (images, np.arange(37) % 3),
        "val": (PIXELS[38:44], LABELS[38:44]),
        "test": (PIXELS[44:], LABELS[44:]),
    }
    splits = Splits(data, Counts())
    with pytest.warns(UserWarning, match=r"7 of 37 train images are in val and test too .*left out of train"):
        train = splits["train"]
    assert set(seen(train)) == {image.tobytes() for image in PIXELS[:30]}
    assert (len(splits["val"]), len(splits["test"])) == (6, 16)
    assert any("7 of 37 train images" in note for note in splits.notes["train"])
    assert train.fingerprint != load(data, "train").fingerprint
    with pytest.warns(UserWarning, match="1 of 7 val images"):
        assert len(Splits({"val": (PIXELS[:7], LABELS[:7]), "test": (PIXELS[6:], LABELS[6:])}, Counts())["val"]) == 6
    with pytest.raises(DataError, match=r"so that none is left\. Give splits that differ"):
        Splits({"train": (PIXELS, LABELS), "test": (PIXELS, LABELS)}, Counts())["train"]


def test_copies_under_other_names(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"a": 20, "b": 20})
    for name in ("a", "b"):
        for path in sorted((root / name).iterdir()):
            shutil.copy(path, root / name / f"copy of {path.name}")
    splits = Splits(f"imagefolder:{root}", Counts())
    with pytest.warns(UserWarning, match=r"too \(identical contents\)"):
        sets = [splits[split] for split in SPLITS]
    contents = [{(root / path).read_bytes() for path in _paths(images)} for images in sets]
    assert not contents[0] & contents[1] | contents[0] & contents[2] | contents[1] & contents[2]
    assert len(sets[2]) == 16


def test_copies_in_another_format(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    """The same pixels as PNG and as BMP; and as a file here and an array there."""
    root = make_folder({"a": 4, "b": 4})
    other = tmp_path / "other"
    for place, path in enumerate(sorted(root.rglob("*.png"))):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if place in (0, 5) else 255 - pixels).save(other / path.parent.name / f"{path.stem}.bmp")
    data: dict[str, Any] = {"train": f"imagefolder:{root}", "test": f"imagefolder:{other}"}
    with pytest.warns(UserWarning, match="2 of 8 train images are in test too"):
        assert len(Splits(data, Counts())["train"]) == 6
    twin = np.asarray(Image.open(other / "a" / "000.bmp"))
    data["test"] = (np.stack([twin, 255 - twin]), [0, 1])
    with pytest.warns(UserWarning, match="1 of 8 train images are in test too"):
        assert len(Splits(data, Counts())["train"]) == 7


def test_very_many_files_are_compared_as_files_and_that_is_noted(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "DECODED", 10)
    splits = Splits(f"imagefolder:{make_folder({'a': 20, 'b': 20})}", Counts())
    assert len(splits["train"]) == 24
    assert any("looked for as files only" in note for note in splits.notes["train"])


def test_a_shifted_set_loses_what_was_fitted_on(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder({"a": 40, "b": 40})
    np.savez(tmp_path / "shifted.npz", images=PIXELS[:20], labels=LABELS[:20] % 2)
    data = {"train": (PIXELS[10:40], np.arange(30) % 2), "test": (PIXELS[40:], np.arange(20) % 2)}
    spec = f"numpy:{tmp_path / 'shifted.npz'}?whole=true"
    splits = Splits(data, Counts(), shifts=[spec])
    with pytest.warns(UserWarning, match="10 of 20 test images are in train too"):
        shifted = splits.shifted(spec)
    assert set(seen(shifted)) == {image.tobytes() for image in PIXELS[:10]}
    assert any("10 of 20" in note for note in splits.notes[spec])
    assert len(Splits(f"imagefolder:{root}", Counts(), shifts=[spec]).shifted(spec)) == 20


def test_a_val_split_of_a_few_images_is_told(make_folder: Callable[..., Path]) -> None:
    """Ten per cent of the training folder is for selection where only train and test are given."""
    root = make_folder({"train/a": 18, "train/b": 18, "test/a": 2, "test/b": 2})
    splits = Splits(f"imagefolder:{root}", Counts())
    with pytest.warns(UserWarning, match=r"val has 4 images \(90/10 .*: what is selected on them.* left to chance"):
        assert len(splits["val"]) == 4
    assert any("left to chance" in note for note in splits.notes["val"])
    assert len(Splits(f"imagefolder:{root}", Counts(val=4))["val"]) == 4


def _paths(images: Any) -> list[str]:
    inner = getattr(images, "images", None)
    return images.paths if inner is None else [_paths(inner)[position] for position in images.positions]


# ---------------------------------------------------------------- draws


def test_a_draw_keeps_the_classes_own_proportions() -> None:
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    images = RNG.integers(0, 256, (1000, 2, 2, 3), dtype=np.uint8)
    whole = load((images, labels), "train")
    assert np.bincount(whole.labels).tolist() == [420, 120, 60]
    for count in (10, 37, 100, 599):
        drawn = load((images, labels), "train", count=count)
        assert np.abs(np.bincount(drawn.labels, minlength=3) / count - [0.7, 0.2, 0.1]).max() <= 1 / count
        assert set(seen(drawn)) <= set(seen(whole))
    balanced = load((images, labels), "train", count=90, sampling="balanced")
    assert np.bincount(balanced.labels).tolist() == [30, 30, 30]
    assert balanced.facts["sampling"] == "balanced"
    with pytest.raises(DataError, match="sampling='even': it is 'proportional' or 'balanced'"):
        load((images, labels), sampling="even")


def test_draws_and_splits_do_not_depend_on_the_order_of_the_images() -> None:
    order = np.random.default_rng(3).permutation(60)
    for options in ({}, {"count": 7}, {"count": 7, "seed": 2}):
        first = load((PIXELS, LABELS), "train", **options)
        second = load((PIXELS[order], LABELS[order]), "train", **options)
        assert seen(first) == seen(second)
    drawn = [load((PIXELS[o], LABELS[o]), "test", count=9) for o in (np.arange(60), order)]
    assert drawn[0].fingerprint == drawn[1].fingerprint  # a draw has an order of its own


def test_lists_of_class_numbers() -> None:
    """Several labels per image as people keep them, and what looks like it."""
    flags = RNG.random((60, 4)) < 0.4
    flags[0] = [True, True, False, False]  # more than one label, or less
    for rows in ([np.flatnonzero(row).tolist() for row in flags], [set(np.flatnonzero(row).tolist()) for row in flags]):
        with pytest.warns(UserWarning, match=r"several labels per image, given as lists of classes \(4 in all\)"):
            images = load({"test": (PIXELS, rows)}, "test")
        np.testing.assert_array_equal(images.targets, flags)
        assert images.target_kind == "multilabel"
    words = [[("cat", "dog", "eel", "fox")[place] for place in np.flatnonzero(row)] for row in flags]
    with pytest.warns(UserWarning, match="lists of classes"):
        images = load({"test": (PIXELS, words)}, "test")
    assert images.target_names == ("cat", "dog", "eel", "fox")
    with pytest.warns(UserWarning, match="lists of classes"):
        images = load({"test": (PIXELS[:2], [[0, 3], [3, 2]])}, "test", names=list("abcde"))
    assert images.targets.astype(int).tolist() == [[1, 0, 0, 1, 0], [0, 0, 1, 1, 0]]  # type: ignore[union-attr]
    assert load({"test": (PIXELS[:3], [[0], [2], [1]])}, "test").labels.tolist() == [0, 2, 1]  # type: ignore[union-attr]
    for rows, message in (
        ([[0, 0], [1, 2]], r"image 0 has the labels \[0, 0\]; a list of different class numbers"),
        ([[0, -1], [1]], "a list of different class numbers"),
        ([[0, 9], [1]], "the label 9 is not among 3 classes"),
        ([["a", "b"], [0]], "hold texts and numbers"),
        ([[0, 1], [2], [1]], "2 images but 3 lists of labels"),
    ):
        with pytest.raises(DataError, match=message):
            load({"test": (PIXELS[:2], rows)}, "test", **({"names": list("abc")} if "9" in message else {}))


def test_zeros_and_ones_as_losses_take_them() -> None:
    """Floats: one-hot rows are classes, other rows several labels; numbers beside them are to be predicted."""
    with pytest.warns(UserWarning, match="one-hot"):
        images = load({"test": (PIXELS, np.eye(3, dtype=np.float32)[LABELS])}, "test")
    assert images.labels.tolist() == LABELS.tolist()  # type: ignore[union-attr]
    flags = RNG.random((60, 3)) < 0.5
    with pytest.warns(UserWarning, match="several labels"):
        images = load({"test": (PIXELS, flags.astype(np.float32))}, "test")
    assert images.target_kind == "multilabel"
    with pytest.warns(UserWarning, match="floating-point"):
        assert load({"test": (PIXELS, LABELS.astype(float))}, "test").target_kind == "regression"


def test_a_name_of_two_classes() -> None:
    with pytest.raises(DataError, match="the class names 'a' are given more than once"):
        load((PIXELS, LABELS), "test", names=["a", "b", "a"])

    class Cranes(list):
        classes = ("crane", "tench", "crane")

    with pytest.warns(UserWarning, match=r"several classes have the same name \(crane\): numbered"):
        images = load(Cranes(zip(PIXELS, LABELS.tolist(), strict=True)), "test")
    assert images.classes == ("crane (0)", "tench", "crane (2)")


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("training", "testing"), ["train", "test"]),
        (("Train", "Val", "Test"), ["train", "val", "test"]),
        (("images_train", "images_validation"), ["train", "val"]),
        (("train2017", "val2017"), ["train", "val"]),
        (("training_set", "test_set"), ["train", "test"]),
    ],
)
def test_names_of_splits(names: tuple[str, ...], expected: list[str], make_folder: Callable[..., Path]) -> None:
    assert [split_name(name) for name in names] == expected
    for name in names:
        root = make_folder({"cat": 12, "dog": 12}, below=name)
    assert load(f"imagefolder:{root}", "test").classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["trains", "train station", "cat", "test tubes", "training_validation", "2017"])
def test_names_that_are_no_splits(name: str) -> None:
    assert split_name(name) is None


def test_outer_folders_with_the_same_subfolders_are_a_question(make_folder: Callable[..., Path]) -> None:
    make_folder({"cat": 5, "dog": 5}, below="fold1")
    root = make_folder({"cat": 5, "dog": 5}, below="fold2")
    with pytest.raises(
        DataError, match=r"fold1, fold2 in .* hold subfolders of the same names \(cat, dog\). Are they spl"
    ):
        load(f"imagefolder:{root}")
    assert load(f"imagefolder:{root}?levels=1").classes == ("fold1", "fold2")
    for name in ("cat", "dog"):  # one folder of one name in each: the outer ones are classes
        make_folder({"images": 5}, below=name, name="tiny")
    assert load(f"imagefolder:{root.parent / 'tiny'}").classes == ("cat", "dog")


def test_what_archives_and_systems_leave_behind(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 6, "dog": 6, "empty": 0})
    (root / ".DS_Store").write_bytes(b"x")
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    shutil.copytree(root / "cat", root / "__MACOSX" / "cat")
    with pytest.warns(UserWarning, match="passed over") as told:
        images = load(f"imagefolder:{root}", "train")
    assert images.classes == ("cat", "dog")
    assert {str(one.message).split(": ", 1)[1] for one in told} == {
        "passed over __MACOSX", "passed over 1 folders without an image: empty",
    }  # fmt: skip
    assert any("__MACOSX" in note for note in images.notes)


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for index in range(20):
        Image.fromarray(PIXELS[index]).save(tmp_path / f"{index}.png")
    sets = [load(f"imagefolder:{tmp_path}", split) for split in SPLITS]
    assert [len(images) for images in sets] == [12, 4, 4]
    assert all(images.labels is None and images.classes == () for images in sets)
    batch = next(sets[0].batches(4, Preprocess(8, 8)))
    assert sorted(batch) == ["image", "index"]
    assert len(load(f"imagefolder:{tmp_path}", "train", count=5)) == 5
    with pytest.raises(DataError, match="the images have no class labels"):
        sets[0].known_labels  # noqa: B018
    assert load(tmp_path, "train").fingerprint != sets[1].fingerprint
    assert contact_sheet(sets[0], per_class=4).width == contact_sheet(load((PIXELS, LABELS)), per_class=4).width
    assert contact_sheet(load(RNG.integers(0, 256, (9, 8, 8, 6), dtype=np.uint8)), per_class=5)
    bare = load(TensorDataset(torch.from_numpy(PIXELS)), "train")
    assert (bare.labels, len(bare)) == (None, 36)
    assert load(PIXELS, "train").labels is None


def test_some_classes(make_folder: Callable[..., Path]) -> None:
    spec = f"imagefolder:{make_folder({'a': 10, 'b': 10, 'c': 10})}"
    some = load(spec, "train", classes=["c", "a"])
    assert (some.classes, np.bincount(some.labels).tolist()) == (("c", "a"), [6, 6])
    assert all(path.startswith("ca"[label] + "/") for path, label in zip(some.paths, some.labels, strict=True))
    assert load(f"{spec}?classes=c,a", "train").fingerprint == some.fingerprint
    with pytest.raises(DataError, match=r"there is no class 'd'. Known: a, b, c"):
        load(spec, classes=["a", "d"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"a": 10, "b": 10})
    (root / "b").chmod(0)
    try:
        with pytest.raises(DataError, match=r"the folder .*b cannot be read"):
            load(f"imagefolder:{root}")
    finally:
        (root / "b").chmod(0o755)


def test_a_subfolder_that_cannot_be_read_is_named(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"a": 10, "b": 10})
    scandir = os.scandir

    def guarded(path: Any = ".") -> Any:
        if os.fspath(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(
        DataError, match=r"the folder .*/b cannot be read \(Permission denied\): its images would be miss"
    ):
        load(f"imagefolder:{root}")


@pytest.mark.parametrize("kind", ["pipe", "link to a device", "socket"])
def test_what_is_no_regular_file_is_an_error(kind: str, make_folder: Callable[..., Path]) -> None:
    import socket

    root = make_folder({"a": 10, "b": 10})
    target = root / "a" / "x.png"
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(target))
    else:
        target.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"x.png is named like an image but is no regular file"):
        load(f"imagefolder:{root}")


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("labels", "classes", "told"),
    [
        (
            np.array(["dog", "cat", "emu"])[LABELS],
            ("cat", "dog", "emu"),
            "the labels cat, dog, emu are the classes 0 to 2",
        ),
        (np.array([3, 70, 5])[LABELS], ("3", "5", "70"), "the labels 3, 5, 70 are the classes 0 to 2"),
        (LABELS == 1, ("False", "True"), "the labels False, True are the classes 0 to 1"),
        (np.eye(3, dtype=int)[LABELS], ("0", "1", "2"), "the labels are one-hot rows"),
    ],
    ids=["texts", "gaps", "bools", "one-hot"],
)
def test_labels_are_mapped_and_told(labels: np.ndarray, classes: tuple[str, ...], told: str) -> None:
    with pytest.warns(UserWarning, match=told):
        sets = [load((PIXELS, labels), split) for split in SPLITS]
    assert {images.classes for images in sets} == {classes}
    assert any(told in note for note in sets[0].notes)
    texts = {image.tobytes(): str(label) for image, label in zip(PIXELS, labels.tolist(), strict=True)}
    if labels.ndim == 1:
        found = {key: classes[label] for images in sets for key, label in seen(images).items()}
        assert found == texts
    else:
        found = {key: label for images in sets for key, label in seen(images).items()}
        assert found == {image.tobytes(): label for image, label in zip(PIXELS, LABELS.tolist(), strict=True)}


def test_labels_of_two_integer_types_stay_whole_numbers() -> None:
    labels = {"train": LABELS[:30], "test": LABELS[30:].astype(np.uint64)}
    found = read_labels(labels, {"train": 30, "test": 30}, None, "own")
    assert found.classes == ["0", "1", "2"]
    assert (found.labels["test"] == LABELS[30:]).all()
    with pytest.raises(DataError, match="negative"):
        read_labels(labels | {"train": LABELS[:30] - 1}, {"train": 30, "test": 30}, None, "own")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.empty(0, dtype=int), "no images"),
        (np.empty((0, 3), dtype=int), "no images"),
        (np.array([["a", "b"], ["c", "a"]]), "with texts"),
        (np.array([[0, 7], [1, 0]]), "with 0 to 7"),
        (np.array([1e300, 0.5]), "not finite"),
        (np.array([np.nan, 0.5]), "not finite"),
    ],
)
def test_labels_of_no_kind_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels({"all": labels}, {"all": len(labels)}, None, "own")


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (RNG.random((60, 4)) < 0.4, "multilabel", ("0", "1", "2", "3")),
        ((RNG.random((60, 4)) < 0.4).astype(int), "multilabel", ("0", "1", "2", "3")),
        (RNG.normal(size=60), "regression", ("0",)),
        (RNG.normal(size=(60, 2)).astype(np.float32), "regression", ("0", "1")),
    ],
    ids=["bool rows", "rows of 0 and 1", "numbers", "rows of numbers"],
)
def test_several_labels_and_numbers_become_targets(labels: np.ndarray, kind: str, names: tuple[str, ...]) -> None:
    with pytest.warns(UserWarning, match="labels"):
        sets = [load((PIXELS, labels), split) for split in SPLITS]
    rows = labels[:, None] if labels.ndim == 1 else labels
    for images in sets:
        assert (images.labels, images.target_kind, images.target_names) == (None, kind, names)
        assert images.targets is not None
        for index in range(len(images)):
            (place,) = [i for i in range(60) if (PIXELS[i] == images[index]).all()]
            assert images.targets[index] == pytest.approx(rows[place])
    items = [(torch.from_numpy(image).permute(2, 0, 1), label) for image, label in zip(PIXELS, labels, strict=True)]
    with pytest.warns(UserWarning, match="labels"):
        assert load(items, "train").target_kind == kind


# ---------------------------------------------------------------- channels


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 13])
def test_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (30, 16, 16, channels), dtype=np.uint8)
    labels = np.arange(30) % 2
    preprocess = Preprocess(12, 12, (0.5,) * channels, (0.25,) * channels)
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    tensors = TensorDataset(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))
    for data in ((images, labels), (images.transpose(0, 3, 1, 2), labels), tensors, f"numpy:{tmp_path / 'set.npz'}"):
        found = load(data, "train")
        assert (found.channels, found[0].shape) == (channels, (16, 16, channels))
        assert any((found[0] == image).all() for image in images)
        assert next(found.batches(5, preprocess))["image"].shape == (5, channels, 12, 12)
    with pytest.raises(DataError, match=f"The images have {channels} channels and the model takes 5"):
        load((images, labels)).batches(2, Preprocess(8, 8, (0.5,) * 5, (0.5,) * 5))


def test_multi_band_files(tmp_path: Path) -> None:
    import tifffile

    bands = RNG.integers(0, 10000, (12, 9, 7, 6)).astype(np.uint16)
    for index, image in enumerate(bands):
        for folder, name in (("npy", f"{index}.npy"), ("tif", f"{index}.tif")):
            place = tmp_path / folder / "ab"[index % 2]
            place.mkdir(parents=True, exist_ok=True)
            if folder == "npy":
                np.save(place / name, image)
            else:
                tifffile.imwrite(place / name, image, photometric="minisblack", planarconfig="contig")
    for folder in ("npy", "tif"):
        images = load(f"imagefolder:{tmp_path / folder}", "train")
        assert (images.channels, images.facts["scaling"]) == (6, "v / 257")
        number = int(Path(images.paths[0]).stem)  # type: ignore[attr-defined]
        assert (images[0] == np.round(bands[number] / 257)).all()
        scaled = load(f"imagefolder:{tmp_path / folder}?value_range=0,10000", "train")
        assert np.abs(scaled[0] - bands[number] / 10000 * 255).max() <= 0.5 + 1e-9
        assert scaled.facts["scaling"] == "255 (v - 0) / (10000 - 0), clipped"
        assert scaled.fingerprint != images.fingerprint


def test_values_of_unknown_range_are_refused_until_it_is_stated() -> None:
    reflectance = RNG.integers(-100, 12000, (30, 8, 8, 4)).astype(np.int16)
    with pytest.raises(DataError, match=r"holds int16 numbers from -.* state their range, as in value_range"):
        load((reflectance, np.arange(30) % 2))
    found = load((reflectance, np.arange(30) % 2), value_range=(0, 10000))
    assert found[0].max() == 255
    with pytest.raises(DataError, match="the first number must be below the second"):
        load((reflectance, np.arange(30) % 2), value_range=(5, 5))


def test_grey_and_colour_reach_models_of_other_channels() -> None:
    one, three = Preprocess(8, 8, (0.5,), (0.5,)), Preprocess(8, 8)
    with pytest.warns(UserWarning, match="one channel: it sees the luminance"):
        seen_by_one = next(load((PIXELS, LABELS)).batches(3, one))["image"]
    expected = np.asarray(Image.fromarray(load((PIXELS, LABELS))[0]).convert("L"))
    assert seen_by_one[0, 0].numpy() == pytest.approx((expected / 255 - 0.5) / 0.5, abs=1e-6)
    with pytest.raises(DataError, match=r"1 channel \(grey\) and the model takes 3. .*channels=3"):
        load((PIXELS[..., 0], LABELS)).batches(3, three)
    stated = load((PIXELS[..., 0], LABELS), channels=3)
    with pytest.warns(UserWarning, match="three channels: it sees each grey image three times"):
        grey = next(stated.batches(3, three))["image"]
    assert grey.shape == (3, 3, 8, 8)
    assert stated.facts["grey_as_rgb"]
    assert stated.fingerprint != load((PIXELS[..., 0], LABELS)).fingerprint
    for wrong in (4, 1, 0, "3", True):
        with pytest.raises(DataError, match="channels="):
            load((PIXELS, LABELS), channels=wrong)


def test_grey_files_of_arrays_say_so_in_their_spec(tmp_path: Path) -> None:
    np.savez(tmp_path / "grey.npz", images=PIXELS[..., 0], labels=LABELS)
    shown = load(f"numpy:{tmp_path / 'grey.npz'}?channels=3")
    assert (shown.channels, shown.grey_as_rgb) == (1, True)
    assert not load(f"numpy:{tmp_path / 'grey.npz'}").grey_as_rgb


# ---------------------------------------------------------------- how files are decoded


def test_an_exif_rotation_is_applied_unless_it_is_switched_off(tmp_path: Path) -> None:
    picture = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    for index in range(10):
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        picture.save(tmp_path / "ab"[index % 2] / f"{index}.png", exif=exif)
    upright, stored = load(f"imagefolder:{tmp_path}"), load(f"imagefolder:{tmp_path}?exif=off")
    assert (upright[0] == np.asarray(picture.transpose(Image.Transpose.ROTATE_270))).all()
    assert (stored[0] == np.asarray(picture)).all()
    assert upright.fingerprint != stored.fingerprint
    assert (upright.facts["exif"], stored.facts["exif"]) == (True, False)


def test_draft_decoding_is_another_protocol(tmp_path: Path) -> None:
    for index in range(10):
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        smooth = np.linspace(0, 255, 600 * 800 * 3).reshape(600, 800, 3).astype(np.uint8)
        Image.fromarray(smooth).save(tmp_path / "ab"[index % 2] / f"{index}.jpg")
    full, draft = load(f"imagefolder:{tmp_path}"), load(f"imagefolder:{tmp_path}?decode=draft")
    assert (full[0].shape, draft[0].shape) == ((600, 800, 3), (300, 400, 3))
    assert load(f"imagefolder:{tmp_path}?decode=draft:100")[0].shape == (150, 200, 3)
    assert draft.facts["draft"] == 256
    assert draft.fingerprint != full.fingerprint
    with pytest.raises(DataError, match="decode='fast': it is 'full', 'draft' or 'draft:SIDE'"):
        load(f"imagefolder:{tmp_path}?decode=fast")


def test_pictures_beyond_the_limit_are_not_decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from probekit.data import decode

    monkeypatch.setattr(decode, "MAX_PIXELS", 500)
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tmp_path / "deep.png")
    assert decode.open_rgb(tmp_path / "small.png").size == (20, 20)
    with pytest.raises(DataError, match="20 x 20 pixels of 16 bits, more than 250 are not decoded"):
        decode.open_rgb(tmp_path / "deep.png")
