"""A model that costs nothing on images of 16 x 16 pixels, shared by the tests of collect, probes and evaluation."""

from __future__ import annotations

import numpy as np

from probekit import models
from probekit.collect import Counts

SPEC = "quadtree?height=3&noise_dim=3&root_dim=3&classes=3"
COUNTS = Counts(
    train=40,
    val=20,
    test=30,
    images=25,
    pairs=20,
    ladder=20,
    masked=6,
    objects=6,
    views=3,
    shifted=10,
    gradients=4,
    pictures=3,
)
QUICK = {"segmentation": {"steps": 10}, "depth": {"steps": 4}, "attentive_probe": {"steps": 20}}
"""Options of probes that would take long with their own: fits end early."""


def tiny(seed: int = 0, **changes) -> models.Checkpoint:
    shape = {
        "image_size": (16, 16), "vit_patch_size": 4, "width": 32, "depth": 2, "num_heads": 2, "decoder_width": 16,
        "decoder_depth": 1, "decoder_num_heads": 2,
    }  # fmt: skip
    return models.load(models.MaskedAutoencoder.create(**{**shape, **changes}, seed=seed), device="cpu")


def coloured(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """300 images of one colour with noise, and what is to be told of them: two labels, or two numbers."""
    rng = np.random.default_rng(0)
    colours = rng.random((300, 3))
    images = colours[:, None, None] * 200 + rng.random((300, 16, 16, 3)) * 55
    told = colours[:, :2] > 0.6 if kind == "multilabel" else (colours[:, :2] * 3 - 1).astype(np.float32)
    return images.astype(np.uint8), told
