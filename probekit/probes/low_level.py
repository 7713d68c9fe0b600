"""How well mean colour, contrast, edge orientation and local texture are read linearly."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.data import ImageSet
from probekit.measures import regress, texture
from probekit.probes.intervals import OVER_IMAGES, cells, explained, layer_pooling
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "low_level_r2", ("layer", "pooling", "property"), "R² of low-level properties", "1", "none",
        "ridge regression on train, penalty of each dimension chosen on val, R² on test (variance-weighted over the "
        "property's "
        "dimensions); properties of the 8-bit image that the checkpoint sees",
        "probekit (definitions in probekit.measures.texture)", interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test")
REQUIRES = ("splits",)
OPTIONS: dict[str, object] = {}

PIXELS = 1 << 20
"""Pixels that are described at a time: a float64 number for each of them takes 8 MiB."""


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    truth = {
        split: properties(measurements, measurements.images(split), measurements.size(split))
        for split in ("train", "val", "test")
    }
    names = list(truth["test"])
    edges = np.cumsum([truth["test"][name].shape[1] for name in names])[:-1]
    stacked = {split: np.concatenate(list(found.values()), axis=1) for split, found in truth.items()}
    residual = np.zeros((len(measurements.layers), len(measurements.poolings), len(names), measurements.size("test")))
    total = np.zeros_like(residual)
    for i, j, layer, pooling in cells(measurements):
        train, val, test = (measurements.pooled(split, layer, pooling) for split in ("train", "val", "test"))
        predicted = regress.ridge(train, stacked["train"], val, stacked["val"]).predict(test)
        for p, guess in enumerate(np.split(predicted, edges, axis=1)):
            residual[i, j, p], total[i, j, p] = regress.r2_terms(truth["test"][names[p]], guess)
    values, interval, per_image = explained(measurements, residual, total)
    return VARIABLES[0].arrays(
        values, interval, coords={**layer_pooling(measurements), "property": names}, per_image=per_image
    )


def properties(measurements: Measurements, images: ImageSet, rows: int) -> dict[str, np.ndarray]:
    """Property -> float64 (rows, dimensions), of the images as preprocessed."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in texture.TARGETS}
    step = max(1, PIXELS // int(np.prod(measurements.image_size)))
    for start in range(0, rows, step):
        indices = range(start, min(start + step, rows))
        pixels = measurements.pixels(images, indices)
        for name, target in texture.TARGETS.items():
            values = np.asarray(target(pixels), dtype=np.float64)
            found[name].append(values.reshape(len(values), -1))
    return {name: np.concatenate(parts) for name, parts in found.items()}
