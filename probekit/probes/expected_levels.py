"""What Theorem 1 expects of a checkpoint's own masks on a tree of latents: the levels of c, and the binding level."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import xarray as xr

from probekit.collect import Measurements
from probekit.errors import MaskError, ProbeError
from probekit.latents import LatentGraph, expected_levels
from probekit.schema import Variable

_PROTOCOL = (
    "Theorem 1 on the quadtree of the image set, mean over masks drawn with the checkpoint's own ratio and patch size "
    "(random masks; a leaf has the size that it has in the images the checkpoint sees); nothing of the checkpoint is "
    "measured"
)
_REFERENCE = "Kong et al. 2023, Theorem 1; probekit.latents.expected_levels"
_OVER = "masks: normal interval of the Monte Carlo mean; it speaks of the number of masks, not of images"

VARIABLES = (
    Variable(
        "expected_level_share", ("level",), "Mean share of c's members at this height, over masks with a c", "1",
        "none", _PROTOCOL, _REFERENCE, interval=_OVER,
    ),
    Variable(
        "expected_mean_height", (), "Mean height of c's members, over masks with a c", "levels", "none", _PROTOCOL,
        _REFERENCE, interval=_OVER,
    ),
    Variable(
        "expected_binding_level", (), "Height of a hidden observable's lowest ancestor with a visible descendant",
        "levels", "none", _PROTOCOL, _REFERENCE, interval=_OVER,
    ),
)  # fmt: skip
NEEDS = ("images:test",)
REQUIRES = ("latents", "mask", "test")
OPTIONS = {"masks": 1000}


def run(measurements: Measurements, *, masks: int) -> dict[str, xr.DataArray]:
    card, (height, width), images = measurements.card, measurements.image_size, measurements.images("test")
    assert images.height is not None  # required
    leaf = height / 2 ** (images.height - 1)
    if height != width or leaf != int(leaf) or card.patch_size % leaf:
        raise ProbeError(
            f"a patch size of {card.patch_size:g} pixels is no whole number of leaves: a leaf of this tree has "
            f"{leaf:g} pixels, and the theorem's patches are whole leaves"
        )
    try:
        found = _expected(images.height, int(leaf), float(card.mask_ratio), int(card.patch_size), masks)
    except MaskError as error:
        raise ProbeError(
            f"no mask of this ratio and patch size leaves anything to hide on this tree: {error}"
        ) from error
    out: dict[str, xr.DataArray] = {}
    for variable in VARIABLES:
        name = variable.name.removeprefix("expected_")
        coords = {dim: found[dim].values for dim in variable.dims}
        out |= variable.arrays(found[name].values, found[f"{name}_ci"].values, coords=coords)
    return out


@lru_cache(maxsize=256)
def _expected(height: int, leaf: int, ratio: float, patch_size: int, masks: int) -> Any:
    """`expected_levels` of one ratio and patch size, without those dims."""
    graph = LatentGraph.quadtree(height)
    found = expected_levels(graph, [ratio], [patch_size], n_masks=masks, observable_size=leaf)
    return found.isel(mask_ratio=0, patch_size=0, drop=True)
