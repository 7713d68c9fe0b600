"""A model so small that a whole training run takes a second, and images that need no file."""

from __future__ import annotations

import numpy as np

from probekit.data import ArraySet

SIZES = {
    "image_size": 16, "vit_patch_size": 4, "width": 16, "depth": 1, "num_heads": 2,
    "decoder_width": 16, "decoder_depth": 1, "decoder_num_heads": 2, "batch_size": 8,
    "base_lr": 2e-3,
}  # fmt: skip


def some_images(count: int = 24) -> ArraySet:
    """Random pictures, the same whenever asked."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(count) % 2
    return ArraySet(
        pixels, name="noise", spec="noise", split="train", classes=["a", "b"], labels=labels, origin="stored", facts={}
    )
