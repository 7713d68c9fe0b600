"""What a mask at evaluation does: how far features move, what level is left, how well hidden pixels are predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from probekit import masking
from probekit.collect import Measurements
from probekit.errors import ProbeError
from probekit.measures import resample
from probekit.measures.ladder import ladder
from probekit.measures.similarity import debiased_cka_interval
from probekit.probes.intervals import OVER_TEST, mean_with_interval
from probekit.schema import Variable

SCALING = "standardised"
"""Of the ladder: whitening would need more images than a mask response is worth."""

_GRID = ("eval_mask_ratio", "eval_patch_size")
_DIMS = (*_GRID, "layer")
_MASK = (
    "random masks of the named ratio (0 = none) and unit in pixels, one for each image by its pixels and the seed, the "
    "same for every checkpoint"
)
_TOKENS = "mean of the visible patch tokens"
_REFERENCE = "probekit; after Kong et al. 2023, where the encoder's output is a function of the visible patches"

VARIABLES = (
    Variable(
        "response_similarity", _DIMS, "Cosine of masked and unmasked features", "1", "none",
        f"cosine of the {_TOKENS} with and without the mask, each centred by its mean over images, mean over images; "
        f"{_MASK}", _REFERENCE, interval=OVER_TEST,
    ),
    Variable(
        "response_cka", _DIMS, "Debiased CKA of masked and unmasked features", "1", "none",
        f"debiased CKA (Murphy et al. 2024) between the {_TOKENS} with and without the mask; {_MASK}", _REFERENCE,
        interval="delete-a-block jackknife over test images (20 blocks)",
    ),
    Variable(
        "response_level", _DIMS, "Ladder level under a mask", "rungs", "none",
        f"the ladder level (probe level_ladder, {SCALING}) of the {_TOKENS}, every view under a mask of its own; "
        f"{_MASK}", _REFERENCE, interval=OVER_TEST,
    ),
    Variable(
        "response_ssim", _GRID, "SSIM of hidden pixels", "1", "higher",
        f"SSIM map of the image with predicted hidden pixels pasted in, averaged over hidden pixels; {_MASK}",
        _REFERENCE, interval=OVER_TEST,
    ),
    Variable(
        "response_mse", _GRID, "MSE of hidden pixels", "1", "lower",
        f"mean squared error of predicted hidden pixels in [0, 1]; {_MASK}", _REFERENCE, interval=OVER_TEST,
    ),
    Variable(
        "response_hidden", _GRID, "Share of the image that is really hidden", "1", "none",
        "hidden units / units: it differs from the ratio where units are few", _REFERENCE,
        no_interval="a setting, not a measurement",
    ),
)  # fmt: skip
NEEDS = ("masked",)
REQUIRES = ("test", "hides")
OPTIONS = {"level": True, "pixels": True}
AFTER = {"level": ("masked_ladder",), "pixels": ("masked_pixels",)}

Values = tuple[Any, Any, Any]
"""A value, its interval (2,), and its contributions per image, or None."""


def run(measurements: Measurements, *, level: bool, pixels: bool) -> dict[str, xr.DataArray]:
    grid = measurements.response_grid()
    if not grid:
        raise ProbeError("the evaluation masks have one unit only: nothing can be hidden and leave something visible")
    side = measurements.image_size[0] / measurements.mask_grid[0]
    ratios, units = sorted({ratio for ratio, _ in grid}), sorted({unit for _, unit in grid})
    coords = {"eval_mask_ratio": [0.0, *ratios], "eval_patch_size": [unit * side for unit in units]}
    layered = {**coords, "layer": measurements.layers}
    out: dict[str, xr.DataArray] = {}
    for variable, measure in ((VARIABLES[0], cosine), (VARIABLES[1], cka)):
        out |= over_layers(measurements, variable, layered, ratios, units, measure)
    if level:
        measurements.gather(["masked_ladder"])
        out |= over_layers(measurements, VARIABLES[2], layered, ratios, units, height)
    if pixels and measurements.model.has_decoder:
        measurements.gather(["masked_pixels"])
        out |= of_pixels(measurements, coords, ratios, units)
    elif pixels:
        without = "the checkpoint is an encoder alone: it has no decoder to predict hidden pixels with"
        measurements.lacking |= {"response_ssim": without, "response_mse": without}
    total = int(np.prod(measurements.mask_grid))
    hidden = [[masking.real_ratio(total // unit**2, ratio) for unit in units] for ratio in ratios]
    return out | VARIABLES[5].arrays([[0.0] * len(units), *hidden], coords=coords)


def over_layers(
    measurements: Measurements,
    variable: Variable,
    coords: dict[str, Any],
    ratios: list[float],
    units: list[int],
    measure: Callable[[Measurements, float, int, int], Values],
) -> dict[str, xr.DataArray]:
    """A variable of every ratio, unit and layer. Without a mask the unit makes no difference."""
    shape = (len(ratios) + 1, len(units), len(measurements.layers))
    values, interval = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    images: list[Any] = [None] * int(np.prod(shape))
    for k, layer in enumerate(measurements.layers):
        free = measure(measurements, 0.0, 1, layer)
        for i, ratio in enumerate([0.0, *ratios]):
            for j, unit in enumerate(units):
                found = free if ratio == 0 else measure(measurements, ratio, unit, layer)
                values[i, j, k], interval[i, j, k], images[np.ravel_multi_index((i, j, k), shape)] = found
    known = next((one for one in images if one is not None), None)
    per_image = None
    if known is not None:
        filled = [np.full_like(known, np.nan) if one is None else one for one in images]
        per_image = np.stack(filled).reshape(*shape, -1).astype(np.float32)
    return variable.arrays(values, interval, coords=coords, per_image=per_image)


def unmasked(measurements: Measurements, layer: int) -> np.ndarray:
    """Features without a mask, of the images that masks are drawn for: float32 (images, width)."""
    return measurements.pooled("test", layer, "mean")[: measurements.rows("masked")]


def masked(measurements: Measurements, ratio: float, unit: int, layer: int) -> np.ndarray:
    """Features under a mask; ratio 0 is none."""
    return unmasked(measurements, layer) if ratio == 0 else measurements.masked(ratio, unit, layer)


def cosine(measurements: Measurements, ratio: float, unit: int, layer: int) -> Values:
    """Cosine of centred features with and without the mask."""
    pair = [unmasked(measurements, layer), masked(measurements, ratio, unit, layer)]
    free, seen = (one.astype(np.float64) - one.mean(axis=0, dtype=np.float64) for one in pair)
    norms = np.linalg.norm(free, axis=1) * np.linalg.norm(seen, axis=1)
    per_image = np.divide((free * seen).sum(axis=1), norms, out=np.full(len(free), np.nan), where=norms > 0)
    return (*mean_with_interval(measurements, per_image), per_image)


def cka(measurements: Measurements, ratio: float, unit: int, layer: int) -> Values:
    """Debiased CKA of features with and without the mask."""
    rows = measurements.rows("masked")
    blocks = resample.blocks(rows, groups=measurements.groups(rows), order=measurements.order(rows))
    return (
        *debiased_cka_interval(unmasked(measurements, layer), masked(measurements, ratio, unit, layer), blocks),
        None,
    )


def height(measurements: Measurements, ratio: float, unit: int, layer: int) -> Values:
    """The ladder level of features under the mask."""
    rows = measurements.rows("masked")
    views = measurements.ladder(layer, "mean")[:rows] if ratio == 0 else measurements.masked_ladder(ratio, unit, layer)
    classes, superclasses = measurements.classes_and_superclasses(rows)
    try:
        per_image = ladder(views, classes, superclasses, scaling=SCALING).level_images
    except ProbeError as error:
        measurements.lacking["response_level"] = str(error)
        return np.nan, np.nan, None
    return (*mean_with_interval(measurements, per_image), per_image)


def of_pixels(
    measurements: Measurements, coords: dict[str, Any], ratios: list[float], units: list[int]
) -> dict[str, xr.DataArray]:
    """SSIM and MSE of hidden pixels. Without a mask there are none: NaN."""
    rows = measurements.rows("masked")
    out: dict[str, xr.DataArray] = {}
    found = {(ratio, unit): measurements.masked_pixels(ratio, unit) for ratio in ratios for unit in units}
    for variable, name in ((VARIABLES[3], "ssim"), (VARIABLES[4], "mse")):
        if name not in found[ratios[0], units[0]]:
            measurements.lacking[variable.name] = "the images are smaller than the window of SSIM"
            continue
        per_image = np.full((len(ratios) + 1, len(units), rows), np.nan, dtype=np.float32)
        for (ratio, unit), values in found.items():
            per_image[1 + ratios.index(ratio), units.index(unit)] = values[name]
        out |= variable.arrays(*mean_with_interval(measurements, per_image), coords=coords, per_image=per_image)
    return out
