"""What Theorem 1 expects of a checkpoint's masks, beside what was measured, where the latents are known."""

from __future__ import annotations

from functools import lru_cache

import xarray as xr

from probekit.collect import PreparedModel, Splits
from probekit.errors import MaskError
from probekit.evaluation.results import Arrays
from probekit.latents import LatentGraph, expected_levels

MASKS = 1000
"""Masks drawn for an expectation."""

NAMES = {
    "level_share": "expected_level_share",
    "mean_height": "expected_mean_height",
    "binding_level": "expected_binding_level",
}


def beside(prepared: PreparedModel, sets: Splits) -> Arrays:
    """`expected_*` for a checkpoint whose ratio and patch size are known, on a tree of latents; else nothing.

    The mask unit is taken relative to the image: a leaf of the tree has the size that it has after preprocessing. Where
    the unit is no whole number of leaves, the theorem's patches are not the tree's, and nothing is said.
    """
    card, images = prepared.checkpoint.card, sets.any
    if images.height is None or images.patch_size is None or card.mask_ratio is None or card.patch_size is None:
        return {}
    leaves = 2 ** (images.height - 1)
    leaf = prepared.size[0] / leaves
    if prepared.size[0] != prepared.size[1] or leaf != int(leaf) or card.patch_size % leaf:
        return {}
    try:
        return dict(_expected(images.height, int(leaf), float(card.mask_ratio), int(card.patch_size)))
    except MaskError:
        return {}  # a unit that leaves nothing to hide on this tree


@lru_cache(maxsize=256)
def _expected(height: int, leaf: int, ratio: float, patch_size: int) -> tuple[tuple[str, xr.DataArray], ...]:
    graph = LatentGraph.quadtree(height)
    found = expected_levels(graph, [ratio], [patch_size], n_masks=MASKS, observable_size=leaf)
    out = []
    for name, ours in NAMES.items():
        array = found[name].isel(mask_ratio=0, patch_size=0, drop=True)
        array.attrs = {key: value for key, value in array.attrs.items() if isinstance(value, str | int | float)}
        out.append((ours, array))
    return tuple(out)
