"""Targets that are no classes, of generated images: for the probes that take such."""

from __future__ import annotations

from typing import Any

import numpy as np

from probekit import data


def shape_and_texture(counts: dict[str, int]) -> dict[str, Any]:
    """Two labels per image: its shape, and its texture, drawn independently of it."""
    found = {}
    for split in ("train", "val", "test"):
        drawn = data.load(f"shapes:crossed?count={counts[split]}", split)
        labels = np.hstack([np.eye(len(drawn.classes))[kind] for kind in (drawn.labels, drawn.texture_labels)])
        found[split] = (np.stack([drawn[i] for i in range(counts[split])]), labels.astype(bool))
    return found


def root(counts: dict[str, int]) -> dict[str, Any]:
    """Numbers per image: the root of the generating process."""
    found = {}
    for split in ("train", "val", "test"):
        drawn = data.load(f"quadtree?count={counts[split]}", split)
        found[split] = (np.stack([drawn[i] for i in range(counts[split])]), drawn.latents[4].reshape(counts[split], -1))
    return found
