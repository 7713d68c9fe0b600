"""Examples: boxes, masks and pixels stay together through size, crop and mirror; batches are functions of the step."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.data import load
from probekit.data.instances import Instances, Objects, boxes_of
from probekit.data.memory import open_given
from probekit.detection.examples import Stream, augmented, cropped, fitted, instances_of, read, size_on
from probekit.errors import DataError


def scene() -> tuple[np.ndarray, Objects]:
    """A white square and a white bar on black, 40 x 60 pixels."""
    masks = np.zeros((2, 40, 60), dtype=bool)
    masks[0, 10:20, 30:40] = True
    masks[1, 5:35, 2:10] = True
    pixels = np.repeat((masks.any(axis=0) * 255).astype(np.uint8)[..., None], 3, axis=2)
    return pixels, Objects(boxes_of(masks), np.array([2, 0]), np.zeros(2, bool), masks.sum((1, 2)) * 1.0, masks)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_and_masks_follow_the_pixels(vit, settings, seed) -> None:
    pixels, objects = scene()
    chosen = settings(vit(), image_size=64, jitter=(0.6, 2.0))
    example = augmented(pixels, objects, chosen, np.random.default_rng(seed).random(4))
    white = example.image[0].numpy() > 127
    masks = example.target["masks"].numpy().astype(bool)
    assert example.image.shape[1:] == masks.shape[1:]
    assert max(white.shape) <= 64
    assert (masks.any(axis=0) != white).mean() < 0.02
    assert (masks.sum(axis=0) <= 1).all()
    found = example.target["boxes"].numpy()
    assert np.abs(found - boxes_of(masks)).max() <= 1.5
    assert found.min() >= 0
    assert (found[:, 2:] <= white.shape[::-1]).all()
    assert set(example.target["labels"].tolist()) <= {3, 1}


def test_mirroring_is_exact(vit, settings) -> None:
    pixels, objects = scene()
    chosen = settings(vit(), image_size=64, jitter=(1.0, 1.0))
    plain = augmented(pixels, objects, chosen, np.array([0, 0, 0, 0.9]))
    mirrored = augmented(pixels, objects, chosen, np.array([0, 0, 0, 0.1]))
    np.testing.assert_array_equal(mirrored.image.flip(2), plain.image)
    np.testing.assert_array_equal(mirrored.target["masks"].flip(2), plain.target["masks"])
    width = plain.image.shape[2]
    np.testing.assert_allclose(width - mirrored.target["boxes"][:, [2, 0]], plain.target["boxes"][:, [0, 2]], atol=1e-4)


def test_what_is_cut_gets_the_box_of_its_rest_and_what_is_gone_is_gone() -> None:
    _, objects = scene()
    boxes, labels, masks = cropped(objects, (1.0, 1.0), (12, 5), (28, 30))
    np.testing.assert_array_equal(boxes, [[25, 0, 30, 8], [0, 0, 5, 23]])
    assert labels.tolist() == [2, 0]
    assert masks.shape == (2, 28, 30)
    assert cropped(objects, (1.0, 1.0), (12, 45), (28, 10))[0].shape == (0, 4)
    crowd = objects._replace(crowd=np.array([True, False]))
    assert cropped(crowd, (1.0, 1.0), (0, 0), (40, 60))[1].tolist() == [0]
    assert size_on((64, 64), (40, 60)) == (43, 64)
    assert fitted(np.zeros((40, 60, 3), np.uint8), (64, 32)).shape == (3, 21, 32)


def test_batches_are_functions_of_the_step_and_processes_share_them(vit, settings) -> None:
    chosen = settings(vit(), batch_size=4, image_size=64)
    scenes = load("shapes:scenes", "train")
    whole = Stream(scenes, chosen, np.asarray)
    parts = [Stream(scenes, chosen, np.asarray, rank=rank, world=2).batch(3) for rank in (0, 1)]
    (again,) = Stream(scenes, chosen, np.asarray).iterate(3, 4)
    for one, other, third in zip(whole.batch(3), parts[0] + parts[1], again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.target["boxes"], third.target["boxes"])


def with_objects(filled: list[bool]) -> object:
    """Images whose number is their grey, of which some have an object."""
    images = open_given({"all": np.repeat(np.arange(len(filled), dtype=np.uint8), 3072).reshape(-1, 32, 32, 3)},
                        request=_request())  # fmt: skip
    one = Objects(
        np.array([[2.0, 2, 9, 9]]), np.zeros(1, int), np.zeros(1, bool), np.ones(1), np.ones((1, 32, 32), bool)
    )
    none = Objects(*(values[:0] for values in one))
    images.instances = Instances(
        lambda index: one if filled[index] else none, range(len(filled)), classes=("thing",),
        filled=lambda at: np.array(filled)[at],
    )  # fmt: skip
    return images


def _request():  # type: ignore[no-untyped-def]
    from probekit.data.request import Request

    return Request(spec="greys", split="train", whole=True)


def test_every_image_with_an_object_is_seen_once_an_epoch(vit, settings) -> None:
    chosen = settings(vit(), batch_size=3, jitter=(1.0, 1.0))
    stream = Stream(with_objects([True, False, True, True, False, True, True, True]), chosen, np.asarray)
    seen = [int(one.image[0, 0, 0]) for step in range(4) for one in stream.batch(step)]
    assert sorted(seen[:6]) == sorted(seen[6:]) == [0, 2, 3, 5, 6, 7]
    assert seen[:6] != seen[6:]
    with pytest.raises(DataError, match="nothing to train on"):
        Stream(with_objects([False] * 3), chosen, np.asarray)


def test_images_without_objects_and_turned_ones_are_refused() -> None:
    with pytest.raises(DataError, match="'shapes:scenes' and 'coco:DIR' have them"):
        instances_of(load("shapes", count=2))
    images = with_objects([True])
    images.instances._read = lambda index: Objects(
        np.zeros((1, 4)), np.zeros(1, int), np.zeros(1, bool), np.ones(1), np.ones((1, 16, 32), bool)
    )
    with pytest.raises(DataError, match=r"given for 16 x 32.*\?exif=off"):
        read(images, 0)
