"""Speed of image sets: folders against torchvision's `ImageFolder` + `DataLoader`, and images generated per second.

    python benchmarks/bench_data.py [--workers 0 2] [--repeats 3]

Folders are decoded, resized to the model's size and normalised into float batches, with the same bytes at the end (this
is checked) and the same number of processes on both sides, in turns; what is printed is the median of the ratios of
images per second. The folders are made on the spot: photographs of about ImageNet's size, and small images of CIFAR's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.data import SPLITS, Preprocess, TrainingStream, load
from probekit.data.photos import pictures

BATCH = 64


def make_folder(root: Path, count: int, height: int, width: int, *, split: str = "test", jitter: int = 0) -> Path:
    """JPEG files cut out of the photographs that ship, in the layout split/class/file; sides vary by up to `jitter`."""
    rng = np.random.default_rng(0)
    sources = [picture for picture in pictures().values() if min(picture.shape[:2]) >= 300]
    for index in range(count):
        picture = Image.fromarray(sources[index % len(sources)])
        side = int(rng.integers(150, 300))
        left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
        more = rng.integers(0, jitter + 1, 2)
        crop = picture.resize((width + more[0], height + more[1]), box=(left, top, left + side, top + side))
        target = root / split / f"class{index % 4}" / f"{index:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        crop.save(target, quality=90)
    return root


def torchvision_batches(root: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    resize = [transforms.Resize(int(size / 0.875), transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(size)]
    steps = [*resize, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    folder = datasets.ImageFolder(str(root / "test"), transforms.Compose(steps))
    for images, _ in DataLoader(folder, batch_size=BATCH, num_workers=workers):
        yield images


def probekit_batches(root: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    image_set = load(f"imagefolder:{root}")
    for batch in image_set.batches(BATCH, Preprocess(size, size, crop_fraction=0.875), workers=workers):
        yield batch["image"]


Batches = Callable[[], Iterator[torch.Tensor]]


def seconds(batches: Batches) -> float:
    start = time.perf_counter()
    for batch in batches():
        batch.mean()  # as a caller would, read it
    return time.perf_counter() - start


def compare(ours: Batches, theirs: Batches, repeats: int, count: int) -> str:
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    ratio = statistics.median(their / our for our, their in pairs)
    speed = statistics.median(count / our for our, _ in pairs)
    return f"{ratio:5.2f} x torchvision  ({speed:,.0f} images/s here)"


def folders(workers: list[int], repeats: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name, count, shape, size in (("photographs 375 x 500 -> 224", 192, (375, 500), 224),
                                         ("small images 32 x 32 -> 32", 2048, (32, 32), 32)):  # fmt: skip
            root = make_folder(Path(scratch) / str(size), count, *shape)
            sides = zip(probekit_batches(root, size, 0), torchvision_batches(root, size, 0), strict=True)
            same = size == 32 or all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in sides)
            assert same, "the two sides do not compute the same images"
            for number in workers:
                pair = partial(probekit_batches, root, size, number), partial(torchvision_batches, root, size, number)
                print(f"imagefolder, {name}, {number} processes: {compare(*pair, repeats, count)}")


def drafted(repeats: int, count: int = 48, size: int = 224) -> None:
    """Large photographs, one process. Decoding at a reduced size (`decode=draft`) is another protocol, so how far its
    pixels are from the full ones is printed beside its speed. A card for n images a second needs n / speed cores.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = make_folder(Path(scratch), count, 1200, 1600)
        preprocess = Preprocess(size, size, crop_fraction=0.875)
        full, draft = load(f"imagefolder:{root}"), load(f"imagefolder:{root}?decode=draft")
        pair = partial(full.batches, BATCH, preprocess), partial(draft.batches, BATCH, preprocess)
        fast = [partial(_images, each) for each in (pair[1], pair[0])]
        gap = np.mean([np.abs(preprocess(full[i]).astype(float) - preprocess(draft[i])).mean() for i in range(count)])
        theirs = partial(torchvision_batches, root, size, 0)
        print(f"photographs 1200 x 1600 -> {size}, decode=full: {compare(fast[1], theirs, repeats, count)}")
        print(f"photographs 1200 x 1600 -> {size}, decode=draft: {compare(fast[0], theirs, repeats, count)}, "
              f"pixels differ by {gap:.2f} of 255 on average")  # fmt: skip


def _images(batches: Callable[[], Iterator[dict[str, torch.Tensor]]]) -> Iterator[torch.Tensor]:
    return (batch["image"] for batch in batches())


def training(workers: list[int], repeats: int, count: int = 256, size: int = 224) -> None:
    """Random resized crops and flips of files of different sizes: batches without end on both sides."""
    crop = transforms.RandomResizedCrop(size, (0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC)
    steps = [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    normalised = transforms.Compose([*steps, transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    with tempfile.TemporaryDirectory() as scratch:
        for split in SPLITS:
            root = make_folder(Path(scratch), count, 375, 500, split=split, jitter=40)
        image_set, folder = load(f"imagefolder:{root}", "train"), datasets.ImageFolder(str(root / "train"), normalised)
        for number in workers:

            def ours(number: int = number) -> Iterator[torch.Tensor]:
                stream = TrainingStream(image_set, BATCH, Preprocess(size, size), workers=number)
                return stream.iterate(0, count // BATCH)

            def theirs(number: int = number) -> Iterator[torch.Tensor]:
                return (images for images, _ in DataLoader(folder, BATCH, shuffle=True, num_workers=number))

            speed = compare(ours, theirs, repeats, count)
            print(f"imagefolder, augmented training batches of photographs, {number} processes: {speed}")


def generated(repeats: int) -> None:
    """Images per second of processor time, in one thread."""
    torch.set_num_threads(1)
    for spec in ("quadtree", "shapes"):
        train = load(spec, "train")
        stream = TrainingStream(train, 512, Preprocess(32, 32), augment=False)
        jobs = {"8-bit images": lambda step, s=train: s.pixels(np.arange(512 * step, 512 * (step + 1))),
                "training batches": stream.batch}  # fmt: skip
        for name, job in jobs.items():
            times = []
            for step in range(20, 20 + repeats):
                start = time.process_time()
                job(step)
                times.append(time.process_time() - start)
            print(f"{spec} 32 x 32, {name}: {512 / statistics.median(times):,.0f} per second and core "
                  f"(best {512 / min(times):,.0f})")  # fmt: skip
    photos = load("photos", "train", count=500)
    stream = TrainingStream(photos, 512, Preprocess(32, 32))
    times = [seconds(lambda step=step: iter([stream.batch(step)])) for step in range(repeats)]
    print(f"in memory 32 x 32, augmented training batches: {512 / statistics.median(times):,.0f} per second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    generated(options.repeats)
    folders(options.workers, options.repeats)
    drafted(options.repeats)
    training(options.workers, options.repeats)


if __name__ == "__main__":
    main()
