"""How well numbers that belong to an image are read from frozen features by ridge regression: R²."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures import regress
from probekit.probes.intervals import OVER_IMAGES, cells, explained, layer_pooling
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "target_r2", ("layer", "pooling", "output"), "R² of targets", "1", "higher",
        "ridge regression on standardised features, fitted on train, the penalty of each target chosen on val, R² on "
        "test; NaN for a target that does not vary there", "standard; scikit-learn r2_score", interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test")
REQUIRES = ("splits", "regression")
OPTIONS: dict[str, object] = {}


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    truth = {split: measurements.targets(split) for split in ("train", "val", "test")}
    names = list(measurements.images("test").target_names)
    shape = (len(measurements.layers), len(measurements.poolings), len(names), measurements.size("test"))
    residual, total = np.zeros(shape), np.zeros(shape)
    for i, j, layer, pooling in cells(measurements):
        train, val, test = (measurements.streamed(split, layer, pooling) for split in ("train", "val", "test"))
        predicted = regress.ridge(train, truth["train"], val, truth["val"]).predict(test)
        for k in range(len(names)):
            residual[i, j, k], total[i, j, k] = regress.r2_terms(truth["test"][:, k], predicted[:, k])
    values, interval, per_image = explained(measurements, residual, total)
    coords = {**layer_pooling(measurements), "output": names}
    return VARIABLES[0].arrays(values, interval, coords=coords, per_image=per_image)
