"""What holds for every image set that ships, and how specs are read."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from probekit.data import SPLITS, ArraySet, ImageSet, Preprocess, load
from probekit.data.spec import parse
from probekit.errors import DataError

SETS = [
    "quadtree?height=3",
    "photos",
    "shapes",
    "shapes:conflict",
    "shapes:crossed",
    "shapes:sketch",
    "shapes:rendition",
    "shapes:resampled",
    "shapes:viewpoint",
]


def digests(image_set: ImageSet) -> set[str]:
    return {hashlib.sha256(image_set[index].tobytes()).hexdigest() for index in range(len(image_set))}


@pytest.mark.parametrize("spec", SETS)
def test_contract(spec: str) -> None:
    image_set = load(spec, "val", count=48)
    assert len(image_set) == 48
    assert image_set.labels.dtype == np.int64
    assert image_set.labels.shape == (48,)
    assert image_set.spec == spec
    assert image_set.split == "val"
    image = image_set[-1]
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image_set.description
    assert image_set.licence != "unknown"
    assert {image_set[index].shape for index in range(48)} == {image.shape}
    assert (image_set[np.int64(47)] == image).all()
    with pytest.raises(IndexError):
        image_set[48]
    with pytest.raises(TypeError):
        image_set[0:2]  # type: ignore[index]


@pytest.mark.parametrize("spec", SETS)
def test_splits_share_no_image_and_repeat_none(spec: str) -> None:
    seen = [digests(load(spec, split, count=60)) for split in SPLITS]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 180


@pytest.mark.parametrize("spec", SETS)
def test_the_same_spec_and_seed_give_the_same_bytes(spec: str) -> None:
    first, second, other = load(spec, count=24), load(spec, count=24), load(spec, count=24, seed=1)
    assert all((first[index] == second[index]).all() for index in range(24))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint.startswith(f"{first.origin}-")
    assert other.fingerprint != first.fingerprint
    assert digests(other) != digests(first)


@pytest.mark.parametrize("spec", SETS)
def test_a_smaller_count_is_the_beginning_of_a_larger_one(spec: str) -> None:
    small, large = load(spec, count=20), load(spec, count=90)
    assert (small.labels == large.labels[:20]).all()
    assert all((small[index] == large[index]).all() for index in range(20))
    assert small.fingerprint != large.fingerprint


@pytest.mark.parametrize("spec", ["quadtree?height=3", "photos", "shapes:viewpoint"])
@pytest.mark.parametrize("preprocess", [None, Preprocess(24, 20, interpolation="bilinear", crop_fraction=0.9)])
def test_batches_do_not_depend_on_workers_or_batch_size(spec: str, preprocess: Preprocess | None) -> None:
    image_set = load(spec, count=30)
    single = next(iter(image_set.batches(30, preprocess)))
    assert single["index"].tolist() == list(range(30))
    assert single["label"].tolist() == image_set.labels.tolist()
    assert single["image"].dtype == (torch.uint8 if preprocess is None else torch.float32)
    if preprocess is None:
        assert (single["image"][7].permute(1, 2, 0).numpy() == image_set[7]).all()
    else:
        assert single["image"].shape == (30, 3, 24, 20)
    for size, workers in ((7, 0), (11, 1), (4, 2)):
        parts = [batch["image"] for batch in image_set.batches(size, preprocess, workers=workers)]
        assert torch.equal(torch.cat(parts), single["image"])


def test_batches_of_chosen_indices_in_their_order() -> None:
    image_set = load("shapes", count=20)
    batches = list(image_set.batches(3, indices=[5, 2, 19, 2]))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == [5, 2, 19, 2]
    assert torch.equal(batches[0]["image"][1], batches[1]["image"][0])
    with pytest.raises(DataError, match=r"indices run from 0 to 20, but the test split has 20 images"):
        image_set.batches(3, indices=[0, 20])


def test_nothing_global_is_drawn_from() -> None:
    before = np.random.get_state()[1].copy(), torch.get_rng_state().clone()  # noqa: NPY002
    image_set = load("photos", count=12)
    list(image_set.batches(4, Preprocess(16, 16), workers=2))
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_the_same_bytes_in_another_process() -> None:
    code = "from probekit.data import load; import hashlib; " + "; ".join(
        f"print(hashlib.sha256(load({spec!r}, count=9).pixels(__import__('numpy').arange(9)).tobytes()).hexdigest())"
        for spec in SETS[:3]
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    here = [hashlib.sha256(load(spec, count=9).pixels(np.arange(9)).tobytes()).hexdigest() for spec in SETS[:3]]
    assert out.stdout.split() == here


def test_leaving_a_loop_early_ends_the_thread_and_the_processes() -> None:
    import multiprocessing
    import threading
    import time

    image_set = load("photos", count=64)
    threads = threading.active_count()
    for workers in (0, 1):
        iterator = image_set.batches(2, Preprocess(16, 16), workers=workers)
        next(iterator)
        iterator.close()
    until = time.monotonic() + 20  # a queue's own thread ends a moment after the queue
    while (threading.active_count() > threads or multiprocessing.active_children()) and time.monotonic() < until:
        time.sleep(0.02)
    assert threading.active_count() <= threads
    assert not multiprocessing.active_children()


def test_specs() -> None:
    assert parse("quadtree?height=3&noise=0.5&tied=false") == (
        "quadtree", "", {"height": 3, "noise": 0.5, "tied": False},
    )  # fmt: skip
    assert parse("torchvision:CIFAR10:/a/b?c") == ("torchvision", "CIFAR10:/a/b?c", {})
    assert parse("imagefolder:/a?on_unreadable=skip")[2] == {"on_unreadable": "skip"}
    with pytest.raises(DataError, match="gives the option 'a' twice"):
        parse("quadtree?a=1&a=2")


def test_options_of_the_call_win() -> None:
    assert load("shapes?size=16&count=8", size=20)[0].shape == (20, 20, 3)
    assert len(load("shapes?count=8")) == 8
    assert len(load("shapes?count=8", count=5)) == 5
    numpys = load("quadtree?height=2", count=np.int64(3), spread=np.float32(2))
    assert numpys.fingerprint == load("quadtree?height=2&spread=2.0", count=3).fingerprint


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("quadtre", "Unknown image set 'quadtre'. Did you mean 'quadtree'?"),
        ("imagenet-v3:/x", "Did you mean 'imagenet-v2'?"),
        ("shapes:skech", "no variant 'skech' of shapes. Did you mean 'sketch'?"),
        ("shapes?sise=3", "shapes has no option 'sise'. Did you mean 'size'?"),
        ("photos:hole", "no variant 'hole' of photos"),
        ("quadtree:deep", "quadtree takes options, as in quadtree?height=3, but no 'deep'"),
        ("imagefolder", "does not say where the data is: write imagefolder:DIR"),
        ("torchvision", "write torchvision:NAME:DIR"),
        ("shapes?size=4", "size=4; expected a whole number of at least 16"),
        ("photos?size=4", "size=4; expected a whole number of at least 8"),
        ("photos?size=big", "photos: size='big'; a whole number is expected"),
        ("shapes?size=true", "shapes: size=True; a whole number is expected"),
        ("quadtree?count=many", "count='many'; a whole number or none is expected"),
        ("quadtree?count=1.5", "count=1.5; a whole number or none is expected"),
        ("quadtree?count=-5", "count=-5 images were asked for; it must be at least 1"),
        ("shapes?seed=x", "seed='x'; a whole number is expected"),
        ("quadtree?tied=3", "tied=3; true or false is expected"),
        ("quadtree?contrast=inf", "contrast=inf; a number is expected"),
        ("", "Unknown image set ''. Known: camvid, coco, cue-conflict"),
        ("photos?crop=900", "the pictures are smaller"),
    ],
)
def test_errors_name_the_way_out(spec: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        load(spec)
    assert message in str(error.value)


def test_a_bare_folder_is_told_its_spec(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"Did you mean 'imagefolder:{tmp_path}'"):
        load(str(tmp_path))


def test_bad_splits_and_counts() -> None:
    with pytest.raises(DataError, match=r"Unknown split 'tset'; it is one of train, val, test. Did you mean 'test'"):
        load("shapes", "tset")
    with pytest.raises(DataError, match="count=0 images were asked for; it must be at least 1"):
        load("shapes", count=0)
    with pytest.raises(DataError, match="Batches of 0 images"):
        load("shapes", count=2).batches(0)
    with pytest.raises(DataError, match="count=13 images were asked for, but there are only 12"):
        load("photos:whole", count=13)


def test_an_image_set_is_returned_as_it_is() -> None:
    image_set = load("shapes", count=4)
    assert load(image_set, "train") is image_set


def test_array_sets_are_checked() -> None:
    facts = dict(name="x", spec="x", split="test", origin="stored", facts={})
    with pytest.raises(DataError, match="labels run from 0 to 3, but there are 2 classes"):
        ArraySet(np.zeros((2, 4, 4, 3), np.uint8), labels=np.array([0, 3]), classes=["a", "b"], **facts)
    with pytest.raises(DataError, match=r"images are float64 of shape \(2, 4, 4, 3\)"):
        ArraySet(np.zeros((2, 4, 4, 3)), labels=np.array([0, 1]), classes=["a", "b"], **facts)
    with pytest.raises(DataError, match="3 images but 2 labels"):
        ArraySet(np.zeros((3, 4, 4, 3), np.uint8), labels=np.array([0, 1]), classes=["a", "b"], **facts)
