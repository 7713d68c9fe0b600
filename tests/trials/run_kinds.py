"""What is tried on the directories of fine-tuning and of detection: interrupted and finished runs with a file damaged.

The same command must end with the same numbers, or refuse.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kinds
import numpy as np
from damage import ALL
from trial import Trial, judged

import probekit
from probekit import models, schema


def labelled() -> dict[str, Any]:
    """Noise in two colours, which are the classes: (images, labels) for each split."""
    found = {}
    for number, (split, count) in enumerate({"train": 16, "val": 8, "test": 8}.items()):
        pixels = np.random.default_rng(number).integers(0, 120, (count, 16, 16, 3), dtype=np.uint8)
        labels = np.arange(count) % 2
        pixels[labels == 1, :, :, 0] += 120
        found[split] = (pixels, labels)
    return found


def tune(place: Path) -> str:
    start = models.load(kinds.small_model().model, device="cpu", mask_ratio=0.75, patch_size=4)
    probekit.finetune(
        start, labelled(), output=place, preset="tiny", epochs=3.0, batch_size=8, device="cpu", threads=1, log_every=1,
        save_every=0.0,
    )  # fmt: skip
    return kinds.weights(place) + kinds.digest_of(schema.read(place / "results.nc"))


def detect(place: Path) -> str:
    small = {
        "image_size": 32, "batch_size": 2, "images": 4, "pyramid_width": 16, "head_width": 16, "proposals": 20,
        "samples": 8, "window": 4,
    }  # fmt: skip
    ds = probekit.detect(
        "shipped:cifar10-r0.75-p8-s0", "shapes:scenes?size=32", output=place, test_images=2, device="cpu", threads=1,
        log_every=1, save_every=0.0, **small,
    )  # fmt: skip
    return kinds.digest_of(ds)


def tunings(folder: Path, count: int) -> Iterator[Trial]:
    """Directories of fine-tuning."""
    yield from _damaged("tunings", tune, folder, count)


def detections(folder: Path, count: int) -> Iterator[Trial]:
    """Directories of detection."""
    yield from _damaged("detections", detect, folder, count)


def _damaged(kind: str, run: Callable[[Path], str], folder: Path, count: int) -> Iterator[Trial]:
    finished = kinds._new(folder) / "run"
    expected = run(finished)
    begun = kinds._new(folder) / "run"
    judged(Trial(kind, "begin", lambda: kinds.interrupted(begun, run, states=2), seconds=60))
    names = sorted(ALL)
    for number in range(count):
        draw = random.Random(f"{kind}{number}")
        place = kinds._new(folder) / "run"
        whole = draw.random() < 0.5
        shutil.copytree(finished if whole else begun, place)
        inside = sorted(file for file in place.rglob("*") if file.is_file() and file.name not in (".lock", "README.md"))
        file, way = draw.choice(inside), names[number % len(names)]
        ALL[way](file, draw)
        name = f"{'finished' if whole else 'begun'} {file.relative_to(place)}: {way}"
        yield Trial(kind, name, lambda place=place: run(place), expected, 120)
