"""Groups of classes: ImageNet's, CIFAR's, an outer level of folders, and the user's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from probekit.data import load
from probekit.data.imagenet import named, synsets
from probekit.data.superclasses import CIFAR10, CIFAR100, imagenet_superclasses, recognised
from probekit.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def test_every_class_of_imagenet_has_one_of_34() -> None:
    found = imagenet_superclasses()
    sizes = Counter(found)
    assert (len(found), len(sizes)) == (1000, 34)
    assert max(sizes.values()) <= 120
    of = dict(zip(synsets(), found, strict=True))
    assert of["n02099601"] == "dog"  # golden retriever
    assert of["n01440764"] == "aquatic vertebrate"  # tench
    assert of["n02123045"] == "feline"  # tabby
    assert of["n04285008"] == "conveyance"  # sports car


def test_imagenet_folders_bring_theirs(make_folder: Callable[..., Path]) -> None:
    for split in ("train", "val"):
        root = make_folder({"n02099601": 10, "n02123045": 10, "n02088364": 10}, below=split)
    images = load(f"imagenet:{root}", "test")
    assert dict(zip(images.classes, images.superclasses or (), strict=True)) == {
        named("n02099601"): "dog", named("n02123045"): "feline", named("n02088364"): "dog",
    }  # fmt: skip
    some = load(f"imagenet:{root}", "test", classes=["n02123045", "n02099601"])
    assert some.classes == (named("n02123045"), named("n02099601"))
    assert some.superclasses == ("feline", "dog")
    assert some.class_indices is not None
    assert [synsets()[number] for number in some.class_indices] == ["n02123045", "n02099601"]


def test_cifar_is_recognised_by_its_classes() -> None:
    names = sorted(name for members in CIFAR100.values() for name in members)
    assert len(names) == len(set(names)) == 100
    assert set(Counter(recognised(names) or ()).values()) == {5}
    ten = sorted(name for members in CIFAR10.values() for name in members)
    images = load((PIXELS[:, :, :, :], np.arange(40) % 10), classes=ten)
    assert images.superclasses is not None
    assert images.superclasses[ten.index("frog")] == "living"
    assert Counter(images.superclasses) == {"living": 6, "made": 4}
    assert recognised(ten[:-1]) is None


def test_an_outer_level_of_folders(make_folder: Callable[..., Path]) -> None:
    make_folder({"cat": 5, "dog": 5}, below="train/animals")
    root = make_folder({"bus": 5, "car": 6}, below="train/vehicles")
    with pytest.warns(UserWarning, match="2 folders are read as superclasses and the 4 folders in them as classes"):
        images = load(f"imagefolder:{root}", "test")
    assert images.classes == ("bus", "car", "cat", "dog")
    assert images.superclasses == ("vehicles", "vehicles", "animals", "animals")
    outer = load(f"imagefolder:{root}?levels=1", "test")
    assert (outer.classes, outer.superclasses) == (("animals", "vehicles"), None)
    assert outer.fingerprint != images.fingerprint


def test_what_the_user_states() -> None:
    given = {"wild": ["0", "2"], "tame": ["1", "3"]}
    images = load((PIXELS, LABELS), superclasses=given)
    assert images.superclasses == ("wild", "tame", "wild", "tame")
    other = load((PIXELS, LABELS), superclasses={"0": "wild", "1": "tame", "2": "wild", "3": "tame"})
    assert other.superclasses == images.superclasses
    assert load((PIXELS, LABELS)).superclasses is None
    assert load((PIXELS, LABELS)).fingerprint != images.fingerprint == other.fingerprint
    with pytest.raises(DataError, match="superclasses say nothing of 2 of 4 classes: 1, 3"):
        load((PIXELS, LABELS), superclasses={"wild": ["0", "2"]})
    with pytest.raises(DataError, match="superclasses name 'cat'"):
        load((PIXELS, LABELS), superclasses={"cat": "wild"})
