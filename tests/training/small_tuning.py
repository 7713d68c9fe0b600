"""An encoder and images so small that fine-tuning takes a second; as a program it runs, to be killed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import probekit
from probekit.models import Checkpoint, MaskedAutoencoder

WHOLE = {
    "preset": "base", "epochs": 4.0, "batch_size": 8, "base_lr": 0.03, "layer_decay": 0.75, "seed": 1, "device": "cpu",
    "threads": 1, "log_every": 3,
}  # fmt: skip
"""MAE's whole recipe: drop path, mixup, cutmix, smoothing, RandAugment, erasing; 12 steps."""

PLAIN = WHOLE | {"preset": "tiny"}
"""Crops, flips and smoothing alone."""


def encoder(seed: int = 0) -> Checkpoint:
    """An encoder of three blocks with fresh weights, and a decoder."""
    model = MaskedAutoencoder.create(
        image_size=(16, 16), vit_patch_size=4, width=16, depth=3, num_heads=2, decoder_width=16, decoder_depth=1,
        decoder_num_heads=2, seed=seed,
    )  # fmt: skip
    return probekit.load(model, device="cpu", mask_ratio=0.75, patch_size=4)


def splits(train: int = 24, other: int = 12) -> dict[str, Any]:
    """Noise in two colours, which are the classes: (images, labels) for each split."""
    found = {}
    for number, (split, count) in enumerate({"train": train, "val": other, "test": other}.items()):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 120, (count, 16, 16, 3), dtype=np.uint8)
        labels = np.arange(count) % 2
        pixels[labels == 1, :, :, 0] += 120
        found[split] = (pixels, labels)
    return found


if __name__ == "__main__":
    probekit.finetune(encoder(), splits(), output=sys.argv[1], save_every=0.0, **WHOLE | {"epochs": 20.0})
