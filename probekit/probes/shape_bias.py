"""Whether a linear head follows shape or texture where the two disagree (cue-conflict images)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.errors import ProbeError
from probekit.measures import classify
from probekit.probes.intervals import OVER_SHIFTED, mean_with_interval
from probekit.probes.linear_head import HEAD, head_logits, own_classes
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "shape_bias", ("pooling",), "Shape bias", "1", "none",
        HEAD + "; shape decisions / (shape + texture decisions) over images whose shape and texture classes differ and "
        "where one of both is chosen", "Geirhos et al. 2019", version=4, interval=OVER_SHIFTED,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test", "conflict")
REQUIRES = ("splits", "classes", "conflict")
OPTIONS = {"conflict": None}


def run(measurements: Measurements, *, conflict: str | None) -> dict[str, xr.DataArray]:
    spec = measurements.conflict
    assert spec is not None  # required
    images = measurements.shifted_images(spec)
    if images.shape_labels is None or images.texture_labels is None:
        raise ProbeError(f"{spec} has no labels of shape and texture; a cue-conflict set has both.")
    rows = len(measurements.shifted(spec, measurements.poolings[0]))
    shape, texture = np.asarray(images.shape_labels[:rows]), np.asarray(images.texture_labels[:rows])
    decided = np.full((len(measurements.poolings), rows), np.nan, dtype=np.float32)
    for j, pooling in enumerate(measurements.poolings):
        predicted = own_classes(
            measurements, images, head_logits(measurements, pooling, measurements.shifted(spec, pooling))
        ).argmax(axis=1)
        decided[j] = classify.shape_bias(predicted, shape, texture).per_image
    values, interval = mean_with_interval(measurements, decided, shifted=True)
    out = VARIABLES[0].arrays(values, interval, coords={"pooling": list(measurements.poolings)}, per_image=decided)
    out["shape_bias"].attrs["images_of"] = "the cue-conflict set"
    out["shape_bias"].attrs["decisions"] = np.isfinite(decided).sum(axis=1).tolist()
    return out
