"""Training streams and views: pure functions of the step, and the augmentation against torchvision's."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from probekit.data import Preprocess, TrainingStream, Views, crops, load
from probekit.data.crops import ATTEMPTS, crop_boxes, crop_table, resize_weights, resized_crops
from probekit.errors import DataError

SIZE = Preprocess(16, 16)


def folder_stream(make_folder: Callable[..., Path], **options: object) -> TrainingStream:
    image_set = load(f"imagefolder:{make_folder({'a': 25, 'b': 25}, below='train')}", "train")
    return TrainingStream(image_set, 6, SIZE, seed=3, **options)  # type: ignore[arg-type]


def test_a_batch_is_a_function_of_its_step(make_folder: Callable[..., Path]) -> None:
    stream, again = folder_stream(make_folder), folder_stream(make_folder)
    straight = [stream.batch(step) for step in range(12)]
    assert straight[0].shape == (6, 3, 16, 16)
    assert straight[0].dtype == torch.float32
    assert torch.equal(again.batch(11), straight[11])  # as if a run had resumed there
    for start, stop in ((0, 12), (7, 9)):
        assert all(torch.equal(*pair) for pair in zip(again.iterate(start, stop), straight[start:stop], strict=True))


def test_workers_do_not_change_the_bytes(make_folder: Callable[..., Path]) -> None:
    alone, shared = folder_stream(make_folder), folder_stream(make_folder, workers=2)
    assert not alone.packed
    assert all(torch.equal(*pair) for pair in zip(alone.iterate(0, 6), shared.iterate(0, 6), strict=True))
    assert torch.equal(pickle.loads(pickle.dumps(alone)).batch(2), alone.batch(2))


def test_epochs_follow_each_other_without_a_gap() -> None:
    image_set = load("photos", "train", count=50)
    stream = TrainingStream(image_set, 8, SIZE, seed=1)
    seen = np.concatenate([stream.indices(step) for step in range(25)])
    for epoch in range(4):
        assert sorted(seen[50 * epoch : 50 * epoch + 50]) == list(range(50))
    assert seen[:50].tolist() != seen[50:100].tolist()
    other = TrainingStream(image_set, 8, SIZE, seed=2)
    assert other.indices(0).tolist() != stream.indices(0).tolist()


@pytest.mark.parametrize("spec", ["photos?count=50", "shapes"])
def test_processes_together_see_what_one_alone_would(spec: str) -> None:
    image_set = load(spec, "train")
    single = TrainingStream(image_set, 12, SIZE, seed=5)
    several = [TrainingStream(image_set, 4, SIZE, seed=5, rank=rank, world=3) for rank in range(3)]
    for step in (0, 7):
        together = torch.cat([stream.batch(step) for stream in several])
        assert torch.allclose(together, single.batch(step), atol=1e-6)


def test_generated_sets_never_repeat_and_known_latents_are_not_augmented() -> None:
    quadtree = load("quadtree?height=3", "train")
    stream = TrainingStream(quadtree, 32, Preprocess(16, 16))
    assert not stream.augment
    expected = Preprocess(16, 16).normalise(
        torch.from_numpy(quadtree.pixels(np.arange(3200, 3232))).permute(0, 3, 1, 2)
    )
    assert torch.allclose(stream.batch(100), expected, atol=1e-5)
    assert TrainingStream(load("shapes", "train"), 4, SIZE).augment
    assert len({image.numpy().tobytes() for step in range(4) for image in stream.batch(step)}) == 128


def test_boxes_are_distributed_as_torchvisions() -> None:
    sizes, scale = np.array([[48, 80]]), (0.2, 1.0)
    boxes = crop_boxes(np.repeat(sizes, 4000, 0), np.random.default_rng(0).random((4000, 4 * ATTEMPTS)), scale)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= 48).all()
    assert (boxes[:, 1] + boxes[:, 3] <= 80).all()
    torch.manual_seed(0)
    image = torch.zeros(3, 48, 80)
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(4000)])
    for column in range(4):
        error = np.sqrt((boxes[:, column].var() + theirs[:, column].var()) / 4000)
        assert abs(boxes[:, column].mean() - theirs[:, column].mean()) < 4 * error
    assert abs((boxes[:, 2] * boxes[:, 3]).mean() / (theirs[:, 2] * theirs[:, 3]).mean() - 1) < 0.03


def test_where_no_box_fits_the_centre_is_taken() -> None:
    boxes = crop_boxes(np.array([[10, 100], [100, 10], [10, 10]]), np.full((3, 4 * ATTEMPTS), 0.999), (0.99, 1.0))
    assert boxes[0].tolist() == [0, 43, 10, 13]
    assert boxes[1].tolist() == [43, 0, 13, 10]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_crops_in_memory_are_pillows_up_to_its_rounding(interpolation: str) -> None:
    rng = np.random.default_rng(0)
    images = np.stack([np.asarray(Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)).resize((40, 36)))
                       for _ in range(30)])  # fmt: skip
    boxes = crop_boxes(np.tile([36, 40], (30, 1)), rng.random((30, 4 * ATTEMPTS)), (0.1, 1.0))
    flips = rng.random(30) < 0.5
    for target in (16, 48):  # shrinking and enlarging
        ours = resized_crops(images, boxes, flips, target, target, interpolation)
        for image, (top, left, height, width), flip, result in zip(images, boxes.tolist(), flips, ours, strict=True):
            box = (left, top, left + width, top + height)
            theirs = np.asarray(
                Image.fromarray(image).resize((target, target), Image.Resampling[interpolation.upper()], box=box)
            )
            theirs = theirs[:, ::-1] if flip else theirs
            assert np.abs(result.permute(1, 2, 0).numpy() - theirs).max() < 1.6


def test_resize_weights_are_a_partition_of_unity() -> None:
    weights = resize_weights(np.array([0, 3]), np.array([9, 4]), 9, 5, "bicubic")
    assert weights.shape == (2, 5, 9)
    assert np.allclose(weights.sum(2), 1)
    identity = resize_weights(np.array([0]), np.array([7]), 7, 7, "bicubic")
    assert np.allclose(identity[0], np.eye(7))


def test_half_are_mirrored_and_none_if_asked() -> None:
    image_set = load("photos", "train", count=4)
    whole = {"scale": (1.0, 1.0)}
    plain = TrainingStream(image_set, 64, Preprocess(32, 32), flip=False, **whole)  # type: ignore[arg-type]
    mirrored = TrainingStream(image_set, 64, Preprocess(32, 32), **whole)  # type: ignore[arg-type]
    same = (plain.batch(0) == mirrored.batch(0)).all(dim=1).all(dim=1).all(dim=1)
    assert 16 < int(same.sum()) < 48
    assert torch.allclose(plain.batch(0)[~same].flip(3), mirrored.batch(0)[~same], atol=1e-5)


def test_views_are_different_and_always_the_same(make_folder: Callable[..., Path]) -> None:
    folder = load(f"imagefolder:{make_folder({'a': 10, 'b': 10})}", "train")
    for image_set in (folder, load("shapes", count=12)):
        views = Views(image_set, SIZE, 3, seed=1)
        batch = views.batch(np.array([4, 0, 4]))
        assert batch.shape == (3, 3, 3, 16, 16)
        assert torch.equal(batch[0], batch[2])
        assert torch.allclose(views.batch(np.array([0]))[0], batch[1], atol=1e-6)
        assert not torch.equal(batch[0, 0], batch[0, 1])
        assert not torch.equal(Views(image_set, SIZE, 3, seed=2).batch(np.array([4]))[0], batch[0])


def test_what_is_refused() -> None:
    image_set = load("shapes", "train", count=4)
    with pytest.raises(DataError, match=r"scale=\(0, 1\): the crop's share of the area"):
        TrainingStream(image_set, 2, SIZE, scale=(0, 1))
    with pytest.raises(DataError, match="batch_size=2, rank=2, world=2"):
        TrainingStream(image_set, 2, SIZE, rank=2, world=2)
    with pytest.raises(DataError, match="resized with bicubic, bilinear or box, not with 'nearest'"):
        TrainingStream(image_set, 2, Preprocess(8, 8, interpolation="nearest"))
    with pytest.raises(DataError, match="0 views per image"):
        Views(image_set, SIZE, 0)


def test_looked_up_crops_are_the_computed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 12, 10, 3), dtype=np.uint8)
    boxes = crop_boxes(np.tile([12, 10], (40, 1)), rng.random((40, 4 * ATTEMPTS)), (0.2, 1.0))
    flips = rng.random(40) < 0.5
    table = crop_table((12, 10), (8, 16), "bicubic")
    looked_up = resized_crops(images, boxes, flips, 8, 16, "bicubic")
    monkeypatch.setattr(crops, "crop_table", lambda *sizes: None)
    assert table is not None
    assert torch.equal(looked_up, resized_crops(images, boxes, flips, 8, 16, "bicubic"))
    monkeypatch.undo()
    assert crop_table((224, 224), (224, 224), "bicubic") is None  # it would take gigabytes
