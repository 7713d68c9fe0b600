"""Class-sorted images in turns."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.collect import Counts, Splits
from probekit.data import ArraySet, load
from probekit.data.base import KNOWN
from probekit.data.interleaving import interleave_classes

CLASSES = ("a", "b", "c")


def class_by_class(split: str = "test", each: int = 20) -> ArraySet:
    labels = np.repeat(np.arange(3), each)
    images = np.tile(np.arange(3 * each, dtype=np.uint8)[:, None, None, None], (1, 8, 8, 3))
    images[:, 1] = ("train", "val", "test").index(split)
    made = ArraySet(
        images, name="sorted", spec="sorted", split=split, classes=CLASSES, labels=labels, origin="stored", facts={}
    )
    made.groups = np.arange(3 * each) // 2
    return made


def test_the_first_images_are_of_all_classes_and_each_keeps_what_belongs_to_it() -> None:
    given = class_by_class()
    found = interleave_classes(given)
    assert np.bincount(found.labels[:6]).tolist() == [2, 2, 2]
    assert np.bincount(found.labels).tolist() == [20, 20, 20]
    at = [int(found[index][0, 0, 0]) for index in range(len(found))]
    assert sorted(at) == list(range(60))
    np.testing.assert_array_equal(found.labels, given.labels[at])
    np.testing.assert_array_equal(found.groups, given.groups[at])
    np.testing.assert_array_equal(found.pixels(np.array([5, 2])), given.pixels(np.array([at[5], at[2]])))
    assert found.image_name(3) == given.image_name(at[3])
    assert found.fingerprint != given.fingerprint
    assert found.fingerprint == interleave_classes(class_by_class()).fingerprint


def test_classes_may_lie_in_any_order() -> None:
    given = class_by_class()
    given.labels = np.repeat([2, 0, 1], 20)
    assert np.bincount(interleave_classes(given).labels[:6]).tolist() == [2, 2, 2]
    given.labels = np.repeat([2, 0, 1, 0], 15)
    assert interleave_classes(given) is given


def test_sets_that_are_mixed_already_stay_as_they_are() -> None:
    mixed = load("shapes", "test", count=30)
    assert interleave_classes(mixed) is mixed
    generated = load("quadtree", "test", count=30)
    assert interleave_classes(generated) is generated


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_evaluation_looks_at_all_classes_and_counts_do_not_change_their_order(split: str) -> None:
    every = {name: class_by_class(name) for name in ("train", "val", "test")}
    few, all_of_them = Splits(every, Counts(train=9, val=9, images=9))[split], Splits(every, Counts())[split]
    assert np.bincount(few.labels[:9]).tolist() == [3, 3, 3]
    assert few.fingerprint == all_of_them.fingerprint
    np.testing.assert_array_equal(few.labels, all_of_them.labels)


def test_the_fingerprint_of_an_array_set_is_of_all_that_it_holds() -> None:
    prints = {class_by_class().fingerprint}
    changes = {name: np.ones(60, dtype=np.int64) for name in ("groups", "object_masks", "shape_labels")}
    changes |= {"latents": {1: np.ones((60, 1, 2))}, "class_members": ((1, 2), (3,), (4,))}
    for name, value in (changes | {"groups ": [0] * 60}).items():
        other = class_by_class()
        setattr(other, name.strip(), value)
        prints.add(other.fingerprint)
    other = class_by_class()
    other.images = other.images + 1
    prints.add(other.fingerprint)
    assert len(prints) == 8
    assert class_by_class().fingerprint in prints


@pytest.mark.parametrize("spec", ["shapes", "shapes:conflict", "photos", "quadtree"])
def test_what_a_shipped_set_implies_is_not_digested_again(spec: str) -> None:
    images = load(spec, "test", count=5)
    told = [name for name in KNOWN if name not in images.implied and getattr(images, name) is not None]
    assert told == []
