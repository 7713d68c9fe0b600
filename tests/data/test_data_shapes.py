"""Shapes and textures: labels, masks, shifts, sizes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from probekit.data import load
from probekit.data.baselines import colour_accuracy
from probekit.data.drawing import SHAPES, TEXTURES
from probekit.data.shapes import SHIFTS


def test_consistent_conflict_and_crossed() -> None:
    assert len(SHAPES) == len(TEXTURES) == 8
    consistent, conflict, crossed = (load(spec, count=800) for spec in ("shapes", "shapes:conflict", "shapes:crossed"))
    assert (consistent.shape_labels == consistent.texture_labels).all()
    assert (conflict.shape_labels != conflict.texture_labels).all()
    for image_set in (consistent, conflict, crossed):
        assert (image_set.labels == image_set.shape_labels).all()
        assert np.bincount(image_set.labels).tolist() == [100] * 8
    pairs = np.zeros((8, 8), dtype=int)
    np.add.at(pairs, (conflict.shape_labels, conflict.texture_labels), 1)
    assert pairs[~np.eye(8, dtype=bool)].min() >= 5
    np.add.at(pairs, (crossed.shape_labels, crossed.texture_labels), 1)
    assert pairs.min() >= 3


def test_specs_of_shifts_and_conflict_keep_the_size() -> None:
    image_set = load("shapes?size=24", count=2)
    assert image_set.shifts == tuple(f"shapes:{shift}?size=24" for shift in SHIFTS)
    assert image_set.conflict == "shapes:conflict?size=24"
    assert load("shapes", count=2).shifts[0] == "shapes:sketch"
    for spec in (*image_set.shifts, image_set.conflict):
        shifted = load(spec, count=2)
        assert shifted[0].shape == (24, 24, 3)
        assert shifted.classes == image_set.classes
        assert shifted.shifts == ()
        assert shifted.conflict is None
    assert load("shapes:sketch", count=2).texture_labels is None


@pytest.mark.parametrize("shift", ["sketch", "rendition", "viewpoint", "resampled"])
def test_shifted_sets_have_the_same_labels_and_other_images(shift: str) -> None:
    base, shifted = load("shapes", count=40), load(f"shapes:{shift}", count=40)
    assert (base.labels == shifted.labels).all()
    images = [image_set.pixels(np.arange(40)).astype(float) for image_set in (base, shifted)]
    assert np.abs(images[0] - images[1]).mean() > 10


def test_a_resampled_set_follows_the_same_rules() -> None:
    base, again = (
        load(spec, count=400).pixels(np.arange(400)).astype(float) for spec in ("shapes", "shapes:resampled")
    )
    assert np.abs(base.mean((0, 1, 2)) - again.mean((0, 1, 2))).max() < 6
    assert abs(base.std() / again.std() - 1) < 0.05


@pytest.mark.parametrize("variant", ["", ":conflict", ":rendition", ":viewpoint"])
def test_masks_cover_the_object(variant: str) -> None:
    image_set = load(f"shapes{variant}?size=48", count=80)
    masks = image_set.object_masks
    assert masks is not None
    assert masks.dtype == bool
    assert masks.shape == (80, 48, 48)
    shares = masks.mean((1, 2))
    assert shares.min() > 0.02
    assert shares.max() < 0.7
    images = image_set.pixels(np.arange(80)).astype(float)
    for image, mask in zip(images, masks, strict=True):  # the outline is where the brightness jumps
        inner, outer = ndimage.binary_erosion(mask, iterations=1), ~ndimage.binary_dilation(mask, iterations=2)
        assert inner.any()
        assert outer.any()
        if variant in ("", ":conflict"):
            assert image[outer].std(axis=0).max() < 20  # the background is smooth


def test_shapes_are_what_they_are_called() -> None:
    masks = load("shapes?size=64", count=80).object_masks
    assert masks is not None
    by_shape = {name: masks[index::8] for index, name in enumerate(SHAPES)}
    assert all(ndimage.label(~mask)[1] == 2 for mask in by_shape["ring"])
    for name, expected in {"disc": np.pi / 4, "square": 1.0, "triangle": 0.5}.items():
        for mask in by_shape[name]:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
            if name == "disc":
                assert abs(mask.sum() / box - expected) < 0.03
            else:
                assert 0.4 * expected < mask.sum() / box <= 1
    for name in ("disc", "square", "triangle", "plus", "star", "heart", "crescent"):
        assert all(ndimage.label(mask, np.ones((3, 3)))[1] == 1 for mask in by_shape[name]), name
        assert all(ndimage.label(~mask, np.ones((3, 3)))[1] == 1 for mask in by_shape[name]), name


def test_colours_tell_little() -> None:
    train, test = load("shapes:crossed", "train", count=400), load("shapes:crossed", count=200)
    assert colour_accuracy(train, test) < 0.35  # chance is 0.125; the object's area shows in a histogram


@pytest.mark.parametrize("spec", ["shapes", "shapes:sketch"])
def test_any_size_shows_the_same_scene(spec: str) -> None:
    small, large = (load(spec, count=16, size=size).pixels(np.arange(16)) for size in (32, 128))
    reduced = np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BOX)) for image in large])
    assert np.abs(small.astype(float) - reduced).mean() < 6


def test_endless_training_images() -> None:
    train = load("shapes", "train")
    assert train.endless
    assert train.pixels(np.array([10**7, 10**7 + 8])).shape == (2, 32, 32, 3)
    assert (train.pixels(np.array([10**7]))[0] == train.pixels(np.array([5, 10**7]))[1]).all()
