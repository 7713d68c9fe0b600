"""How close reconstructions come in structure (SSIM, FSIM) and pixels (PSNR, MSE), without and with masks."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import MASK_RATIO, Measurements, pictures
from probekit.errors import ProbeError
from probekit.measures.fsim import FsimReference
from probekit.measures.images import SsimReference
from probekit.probes.intervals import OVER_TEST, mean_with_interval
from probekit.schema import Variable

_TARGETS = "normalised targets undone with one mean and variance from all visible pixels of the image"
_UNTRAINED = (
    "the loss of most masked autoencoders never trained the decoder on visible patches, and all are visible here: "
    "read it beside the number of hidden pixels"
)
_FULL = (
    f"reconstruction without masking (the paper's Figure 5), nothing pasted, RGB in [0, 1]; {_TARGETS}; {_UNTRAINED}"
)
_MASKED = (
    f"reconstruction from {1 - MASK_RATIO:.0%} of the image, hidden pixels only; {MASK_RATIO:.0%} hidden at random, "
    f"same pixels for every checkpoint, drawn for each image by its pixels on the grid of the attribute mask_grid; "
    f"{_TARGETS}"
)
_PASTED = "; the map of the image with visible pixels pasted, averaged over hidden pixels"
_HOW = {
    "ssim": (
        "SSIM",
        "1",
        "higher",
        "Gaussian window sigma 1.5, population covariance (scikit-image)",
        "Wang et al. 2004",
    ),
    "fsim": ("FSIM", "1", "higher", "FSIMc on RGB (as piq.fsim, chromatic)", "Zhang et al. 2011"),
    "psnr": ("PSNR", "dB", "higher", "per image, capped at 100 dB, then averaged", "standard"),
    "mse": ("Mean squared error", "1", "lower", "over pixels and channels", "standard"),
}


def _variable(name: str, masked: bool) -> Variable:
    title, units, better, how, reference = _HOW[name]
    if not masked:
        return Variable(
            name, (), title, units, better, f"{how}; {_FULL} (masked_{name})", reference, interval=OVER_TEST
        )
    how += _PASTED if name in ("ssim", "fsim") else ""
    protocol = f"{how}; {_MASKED}"
    return Variable(
        f"masked_{name}",
        (),
        f"{title} of hidden pixels",
        units,
        better,
        protocol,
        reference,
        version=3,
        interval=OVER_TEST,
    )


VARIABLES = tuple(_variable(name, masked) for masked in (False, True) for name in _HOW)
NEEDS = ("reconstruction", "pictures")
REQUIRES = ("decoder", "test")
OPTIONS: dict[str, object] = {}


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    stored = set(measurements.store("reconstruction").names())
    for name in stored & {"mse", "masked_mse"}:
        broken = ~np.isfinite(measurements.recorded("reconstruction", name))
        if broken.any():
            raise ProbeError(
                f"Reconstructions of {broken.sum()} of {len(broken)} images hold NaN or infinity ({name}): the "
                "decoder's weights are damaged, or the precision is too low for them."
            )
    out: dict[str, xr.DataArray] = {}
    for variable in VARIABLES:
        if variable.name not in stored:
            measurements.lacking[variable.name] = reason(measurements, variable.name.removeprefix("masked_"))
            continue
        per_image = measurements.recorded("reconstruction", variable.name)
        values, interval = mean_with_interval(measurements, per_image)
        out |= variable.arrays(values, interval, per_image=per_image)
        if variable.name.startswith("masked_"):
            out[variable.name].attrs["mask_grid"] = list(measurements.mask_grid)
    return out | _pictures(measurements)


def reason(measurements: Measurements, metric: str) -> str:
    """Why a metric was not recorded."""
    make = {"ssim": SsimReference, "fsim": FsimReference}.get(metric)
    trial = np.zeros((1, len(measurements.preprocess.mean), *measurements.image_size), dtype=np.float32)
    return (make and pictures.unfit(make, trial)) or (
        "the ViT patches of the checkpoints that are compared fit no common grid of two units or more, on which the "
        "same pixels could be hidden for all"
        if measurements.grid != (1, 1)
        else "the grid of ViT patches has one patch: nothing can be hidden"
    )


def _pictures(measurements: Measurements) -> dict[str, xr.DataArray]:
    from probekit.probes.pictures import example_images, example_masks, shrink

    recorded = measurements.store("pictures").names()
    dims = ("example", "row", "column", "channel")
    out = {"example_image": example_images(measurements)}
    if measurements.mask_grid != (1, 1):
        out["example_hidden"] = example_masks(measurements)
    for name, stored in (("example_reconstruction", "pasted"), ("example_reconstruction_full", "full")):
        if stored in recorded:
            out[name] = xr.DataArray(shrink(measurements.recorded("pictures", stored), measurements), dims=dims)
    out["example_reconstruction_full"].attrs["long_name"] = "Reconstruction without masking"
    if "example_reconstruction" in out:
        out["example_reconstruction"].attrs["long_name"] = "Reconstruction of hidden patches, visible ones pasted"
    return out
