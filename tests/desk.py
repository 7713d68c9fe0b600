"""A reader's desk: two checkpoints and an image folder, on which the commands of README and documentation are run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import warm
from PIL import Image

from probekit import models

SMALL = " --preset tiny --image-size 64 --images 128 --set width=16 --set depth=1 --set num_heads=2"
SMALL += " --set decoder_width=16 --set decoder_num_heads=2"
FEW = """ --counts '{"train": 40, "val": 20, "test": 20, "images": 8, "pairs": 8, "shifted": 10, "objects": 6}'"""
TUNED = "--preset tiny --epochs 1 --batch-size 8 --device cpu"
DETECTED = "--preset tiny --images 4 --batch-size 2 --test-images 2 --image-size 32 --device cpu"

PROGRAMS = {
    "probekit": ["-m", "probekit.cli"],
    "python": [],
    ".venv/bin/python": [],
    "accelerate": ["-m", "accelerate.commands.accelerate_cli"],
}


def laid(folder: Path) -> Path:
    """A folder with the checkpoints `A` and `B`, and with the images of three classes under `data`."""
    for seed, name in enumerate("AB"):
        net = models.MaskedAutoencoder.create(
            image_size=(32, 32), vit_patch_size=8, width=24, depth=2, num_heads=2, decoder_width=16, decoder_depth=1,
            decoder_num_heads=2, seed=seed,
        )  # fmt: skip
        checkpoint = models.load(net, name=name, device="cpu")
        checkpoint.card.mask_ratio, checkpoint.card.patch_size, checkpoint.card.seed = 0.75, 8, seed
        checkpoint.card.data, checkpoint.card.images_seen = "quadtree", 1000
        checkpoint.save(folder / name)
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 12)):
        for label in ("cat", "dog", "emu"):
            place = folder / "data" / split / label
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return folder


def environment(desk: Path) -> dict[str, str]:
    return os.environ | {"PROBEKIT_CACHE": str(desk / "cache"), "OMP_NUM_THREADS": "1"}


def run(line: str, desk: Path, instead: Mapping[str, str]) -> None:
    """Run a command on the desk, with what stands for the reader's own things replaced, in order."""
    for old, new in instead.items():
        assert old in line
        line = line.replace(old, new)
    for folder in ("/data/val", "/data/imagenet"):
        line = line.replace(folder, str(desk / "data"))
    words = shlex.split(line, comments=True)
    done = warm.run(*PROGRAMS[words[0]], *words[1:], cwd=desk, env=environment(desk))
    assert done.returncode == 0, done.stderr[-2000:]
