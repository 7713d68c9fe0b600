"""What features keep apart on ordinary images: pixels, appearance, layout, the image, its class, its superclass."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from probekit.collect import Measurements
from probekit.data.ladder_views import PROTOCOL as VIEWS_PROTOCOL
from probekit.errors import ProbeError
from probekit.measures.ladder import RUNGS, SCALINGS, Ladder, centred, ladder
from probekit.measures.whitening import RULE
from probekit.probes.intervals import layer_pooling, mean_with_interval
from probekit.schema import Variable

_PROTOCOL = (
    "S = tr Cov(f(x), f(x')) / tr Var f over pairs that share less and less (a closed Sobol index, nothing fitted): "
    "all but pixel noise; layout and image; the image; the class (all pairs of different images); the superclass (all "
    f"pairs of different classes); {VIEWS_PROTOCOL}; no mask; raw, standardised (every dimension at unit variance) or "
    f"{RULE}"
)
_REFERENCE = "probekit; Sobol 1993 for the index"
_OVER = "bootstrap over test images (their groups where the image set has groups) of each image's influence"
_DIMS = ("layer", "pooling", "scaling")
_LEVEL = "; sum of rung number x share, from 0 (pixel noise) over 4 (class) to 5 (superclass)"

BASELINES = ("pixels", "pooled_pixels", "mean_colour")
"""The image itself, averaged down to `PIXELS` a side where it is larger; averaged over 4 x 4 cells; its mean colour."""

PIXELS = 32

VARIABLES = (
    Variable(
        "ladder_share", (*_DIMS, "rung"), "Share of variance by rung of the ladder", "1", "none",
        _PROTOCOL + "; share of a rung = difference of neighbouring indices", _REFERENCE, interval=_OVER,
    ),
    Variable(
        "ladder_level", _DIMS, "Ladder level", "rungs", "none", _PROTOCOL + _LEVEL, _REFERENCE, interval=_OVER,
    ),
    Variable(
        "ladder_level_untrained", _DIMS, "Ladder level of the untrained encoder", "rungs", "none",
        _PROTOCOL + _LEVEL + "; f = the same architecture, freshly initialised", _REFERENCE, interval=_OVER,
    ),
    Variable(
        "ladder_level_baseline", ("baseline", "scaling"), "Ladder level of simple features", "rungs", "none",
        _PROTOCOL + _LEVEL + "; f = all pixels (averaged to at most 32 x 32), pixels averaged over 4 x 4 cells, or "
        "mean colour", _REFERENCE, interval=_OVER,
    ),
)  # fmt: skip
NEEDS = ("ladder",)
REQUIRES = ("test",)
OPTIONS = {"untrained": True}
AFTER = {"untrained": ("untrained:ladder",)}


def run(measurements: Measurements, *, untrained: bool) -> dict[str, xr.DataArray]:
    labels = measurements.classes_and_superclasses(measurements.rows("ladder"))
    coords = {**layer_pooling(measurements), "scaling": list(SCALINGS)}
    shape = (len(measurements.layers), len(measurements.poolings))
    found = of_layers(measurements, measurements, labels)
    share, share_ci = mean_with_interval(measurements, stacked(found, "share_images", (*shape, len(SCALINGS))))
    out = VARIABLES[0].arrays(share, share_ci, coords={**coords, "rung": list(RUNGS)})
    per_image = stacked(found, "level_images", (*shape, len(SCALINGS)))
    out |= VARIABLES[1].arrays(*mean_with_interval(measurements, per_image), coords=coords, per_image=per_image)
    if untrained and (reason := measurements.model.no_twin):
        measurements.lacking["ladder_level_untrained"] = reason
    elif untrained:
        twin = measurements.untrained()
        twin.gather(NEEDS)
        levels = stacked(of_layers(twin, measurements, labels), "level_images", (*shape, len(SCALINGS)))
        out |= VARIABLES[2].arrays(*mean_with_interval(measurements, levels), coords=coords)
    simple = [
        found
        for name, features in zip(BASELINES, baselines(measurements), strict=True)
        for found in scalings(measurements, features, labels, name.replace("_", " "))
    ]
    levels = stacked(simple, "level_images", (len(BASELINES), len(SCALINGS)))
    here = {"baseline": list(BASELINES), "scaling": list(SCALINGS)}
    return out | VARIABLES[3].arrays(*mean_with_interval(measurements, levels), coords=here)


def of_layers(
    source: Measurements, measurements: Measurements, labels: tuple[np.ndarray | None, np.ndarray | None]
) -> list[Ladder | None]:
    """The ladder of every layer, pooling and scaling, in this order; None where it cannot be had."""
    return [
        found
        for layer, pooling in product(source.layers, source.poolings)
        for found in scalings(measurements, source.ladder(layer, pooling), labels, f"layer {layer}, {pooling}")
    ]


def scalings(
    measurements: Measurements, features: np.ndarray, labels: tuple[np.ndarray | None, np.ndarray | None], what: str
) -> list[Ladder | None]:
    """The ladder of one representation in each of `SCALINGS`; None, with the reason kept, where it cannot be had: of
    what is constant or, whitened, too wide."""
    views = centred(features)
    found: list[Ladder | None] = []
    for scaling in SCALINGS:
        try:
            found.append(ladder(views, *labels, scaling=scaling))
        except ProbeError as error:
            measurements.lacking[f"the ladder of {what}, {scaling}"] = str(error)
            found.append(None)
    return found


def stacked(found: list[Ladder | None], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One field of all ladders, (*shape, ...); NaN where there is none."""
    known = next((getattr(one, name) for one in found if one is not None), None)
    if known is None:
        raise ProbeError("Every representation is constant: there is no variance to explain.")
    rows = [np.full_like(known, np.nan) if one is None else getattr(one, name) for one in found]
    return np.stack(rows).reshape(*shape, *known.shape).astype(np.float32)


def baselines(measurements: Measurements) -> list[np.ndarray]:
    """Features of `BASELINES`, each (images, 4, dims), from the views that the checkpoint sees."""
    found: list[list[Tensor]] = [[], [], []]
    for batch in measurements.ladder_views():
        for features, side in zip(found, (min(PIXELS, *batch.shape[-2:]), 4, 1), strict=True):
            features.append(adaptive_avg_pool2d(batch.flatten(0, 1), side).reshape(*batch.shape[:2], -1))
    return [torch.cat(features).numpy() for features in found]
