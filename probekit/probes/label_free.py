"""Measures of the features that need no labels: effective rank, spectrum decay, LiDAR, Fourier amplitudes, CKA of
layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.errors import ProbeError
from probekit.measures import resample, spectrum
from probekit.probes._common import cells, layer_pooling, mean_with_interval
from probekit.schema import Variable

_JACKKNIFE = "delete-a-group jackknife over test images (resampled duplicates would bias it)"
_CELL = ("layer", "pooling")

VARIABLES = (
    Variable(
        "rankme", _CELL, "RankMe", "dimensions", "none",
        "exp of the entropy of the normalised singular values of test features",
        "Garrido et al. 2023", interval=_JACKKNIFE,
    ),
    Variable(
        "alpha_req", _CELL, "alpha-ReQ", "1", "none", "decay exponent of the eigenvalues of the features' covariance",
        "Agrawal et al. 2022", interval=_JACKKNIFE,
    ),
    Variable(
        "lidar", _CELL, "LiDAR", "dimensions", "none",
        "effective rank of the linear discriminant matrix of augmented views (random resized crop of area 0.2 to 1, "
        "flip), an image "
        "being a class", "Thilak et al. 2024", interval=_JACKKNIFE,
    ),
    Variable(
        "fourier_amplitude", ("layer", "frequency"), "Fourier log-amplitude", "log", "none",
        "log-amplitude of the patch tokens' two-dimensional Fourier transform by radial frequency, relative to "
        "frequency 0, mean "
        "over channels and images", "Park and Kim 2022", interval="bootstrap over test images",
    ),
    Variable(
        "cka", ("pooling", "layer", "layer_other"), "Linear CKA of layers", "1", "none",
        "linear centred kernel alignment of the features of two layers over test images", "Kornblith et al. 2019",
        no_interval="a map to look at; the jackknife of every pair of layers would cost more than all other probes",
    ),
)  # fmt: skip
NEEDS = ("features:test", "views", "fourier")
REQUIRES = ("test",)
OPTIONS: dict[str, object] = {}


def run(m: Measurements) -> dict[str, xr.DataArray]:
    out: dict[str, xr.DataArray] = {}
    measures = {
        "rankme": (lambda layer, pooling: m.pooled("test", layer, pooling), spectrum.rankme),
        "alpha_req": (lambda layer, pooling: m.pooled("test", layer, pooling), spectrum.alpha_req),
        "lidar": (m.views, spectrum.lidar),
    }
    for variable in VARIABLES[:3]:
        features, measure = measures[variable.name]
        values = np.full((len(m.layers), len(m.poolings)), np.nan)
        interval = np.full((*values.shape, 2), np.nan)
        for i, j, layer, pooling in cells(m):
            values[i, j], interval[i, j] = measured(m, features(layer, pooling), measure)
        out |= variable.arrays(values, interval, coords=layer_pooling(m))
    fourier = np.moveaxis(np.asarray(m.store("fourier")["fourier"][:]), 0, -1)
    values, interval = mean_with_interval(m, fourier)
    bins = np.linspace(0, 1, fourier.shape[1])
    out |= VARIABLES[3].arrays(values, interval, coords={"layer": m.layers, "frequency": bins})
    return out | similarity(m)


def measured(m: Measurements, features: np.ndarray, measure: Any) -> tuple[float, Any]:
    """A measure and its jackknife interval; NaN where it is not defined (features that do not vary)."""
    try:
        value = measure(features)
        around = resample.jackknife_interval(
            lambda kept: measure(features[kept]), len(features), groups=m.groups(len(features))
        )
    except ProbeError:
        return np.nan, (np.nan, np.nan)
    return value, around


def similarity(m: Measurements) -> dict[str, xr.DataArray]:
    """CKA of every pair of layers."""
    found = np.full((len(m.poolings), len(m.layers), len(m.layers)), np.nan)
    for p, pooling in enumerate(m.poolings):
        tables = [m.pooled("test", layer, pooling) for layer in m.layers]
        for a, b in np.ndindex(len(tables), len(tables)):
            if a > b:
                found[p, a, b] = found[p, b, a]
            elif min(np.ptp(tables[a], axis=0).max(), np.ptp(tables[b], axis=0).max()) > 0:
                found[p, a, b] = spectrum.linear_cka(tables[a], tables[b])
    coords = {"pooling": list(m.poolings), "layer": m.layers, "layer_other": m.layers}
    return VARIABLES[4].arrays(found, coords=coords)
