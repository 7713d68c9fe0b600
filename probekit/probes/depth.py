"""How well frozen patch tokens tell the depth of every pixel, by a linear head over bins of depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from probekit.collect import Measurements
from probekit.errors import ProbeError
from probekit.measures import dense, dense_heads, resample
from probekit.measures.selection import described
from probekit.probes import dense_pixels
from probekit.probes.intervals import OVER_IMAGES, resampled
from probekit.probes.patch_tokens import Reader
from probekit.probes.pictures import examples
from probekit.schema import Variable

BINS = 256

PROTOCOL = (
    f"linear: {dense_pixels.FITTED}; {BINS} bins of equal width between the least and the greatest depth drawn from "
    "train; the prediction is the mean of the bins' centres under the softmax. Over all pixels of known depth of the "
    f"test set, {dense_pixels.SCORED}"
)
SOURCES = "Oquab et al. 2024 (DINOv2, linear depth); Bhat et al. 2021 (bins); Eigen et al. 2014 (errors)"
VARIABLES = (
    Variable(
        "depth_error", ("layer", "readout"), "Depth, root mean squared error", "m", "lower",
        f"Root mean squared error. {PROTOCOL}", SOURCES, interval=OVER_IMAGES,
    ),
    Variable(
        "depth_within", ("layer", "readout"), "Depth within a factor of 1.25", "1", "higher",
        f"Share of pixels with max(predicted / true, true / predicted) < {dense.RATIO}. {PROTOCOL}", SOURCES,
        interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("tokens:train", "tokens:val", "tokens:test")
REQUIRES = ("splits", "depth", "places")
OPTIONS = {"steps": dense_heads.STEPS}


def run(measurements: Measurements, *, steps: int) -> dict[str, xr.DataArray]:
    maps = dense_pixels.maps_of(measurements, "depth")
    samples = {split: dense_pixels.Sample(measurements, split, maps[split]) for split in ("train", "val")}
    low, high = depth_range(samples["train"].values)
    layers = list(measurements.token_layers)
    sums = np.zeros((3, len(layers), 1, measurements.size("test")))
    rates: list[float] = []
    shares: list[float] = []
    shown: list[np.ndarray] = []
    centres = torch.linspace(low, high, 2 * BINS + 1)[1::2].to(measurements.device)

    def target(values: np.ndarray) -> np.ndarray:
        known = np.isfinite(values)
        place = np.clip((np.where(known, values, low) - low) / (high - low) * BINS, 0, BINS - 1)
        return np.where(known, place, dense_heads.NONE).astype(np.int64)

    def expected(found: Tensor) -> Tensor:
        return found.softmax(dim=1) @ centres

    for i, layer in enumerate(layers):
        read = {split: Reader(measurements, split, layer, 1.0) for split in maps}
        head = dense_pixels.fitted_head(read, samples, target, classes=BINS, steps=steps)
        rates.append(head.rate)
        shares, shown = [], []
        for place, (guess, true, share) in enumerate(
            dense_pixels.predicted(read["test"], maps["test"], head.logits, expected)
        ):
            sums[:, i, 0, place] = dense.depth_sums(guess, true)
            shares.append(share)
            if len(shown) < examples(measurements):
                shown.append(dense_pixels.pictures(guess, true, measurements))
    coords: dict[str, Any] = {"layer": layers, "readout": ["linear"]}
    out = arrays(measurements, sums, coords)
    for name in ("depth_error", "depth_within"):
        out[name].attrs |= {
            "pixels_seen": float(np.mean(shares)),
            "bins": [low, high],
            **described(rates, dense_heads.RATES),
        }
    unit = maps["test"].unit or "m"
    out["depth_error"].attrs["units"] = unit
    words = f"depth in {unit} (linear, layer {layers[-1]})"
    return out | dense_pixels.examples_of("depth", words, shown, measurements)


def depth_range(values: np.ndarray) -> tuple[float, float]:
    """Least and greatest depth drawn from train."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() == known.max():
        raise ProbeError(
            "The train images have no pixel of known depth, or one depth everywhere: nothing to fit. Depths of 0 are "
            "unknown; check the folder `depth` and `scale`."
        )
    return float(known.min()), float(known.max())


def arrays(measurements: Measurements, sums: np.ndarray, coords: dict[str, Any]) -> dict[str, xr.DataArray]:
    """Both errors with their intervals, from the sums of each image (`dense.depth_sums`)."""
    square, within, pixels = sums
    images = pixels.shape[-1]
    more = {"groups": measurements.groups(images), "order": measurements.order(images)}
    ends = [
        resampled(measurements, images, resample.ratio_interval, above, pixels, **more) for above in (square, within)
    ]
    error, share = np.sqrt(resample.ratio(square, pixels)), resample.ratio(within, pixels)
    per_image = resample.ratio_influence(within, pixels).astype(np.float32)
    first = VARIABLES[0].arrays(error, np.sqrt(ends[0]), coords=coords)
    return first | VARIABLES[1].arrays(share, ends[1], coords=coords, per_image=per_image)
