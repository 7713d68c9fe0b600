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


def run(m: Measurements, *, conflict: str | None) -> dict[str, xr.DataArray]:
    spec = m.sets.conflict
    assert spec is not None  # required
    images = m.sets.shifted(spec)
    if images.shape_labels is None or images.texture_labels is None:
        raise ProbeError(f"{spec} has no labels of shape and texture; a cue-conflict set has both.")
    rows = m.store(f"shift:{spec}")["pooled"].shape[0]
    shape, texture = np.asarray(images.shape_labels[:rows]), np.asarray(images.texture_labels[:rows])
    decided = np.full((len(m.poolings), rows), np.nan, dtype=np.float32)
    for j, pooling in enumerate(m.poolings):
        predicted = own_classes(m, images, head_logits(m, pooling, m.shifted(spec, pooling))).argmax(axis=1)
        decided[j] = classify.shape_bias(predicted, shape, texture).per_image
    values, interval = mean_with_interval(m, decided, shifted=True)
    out = VARIABLES[0].arrays(values, interval, coords={"pooling": list(m.poolings)}, per_image=decided)
    out["shape_bias"].attrs["images_of"] = "the cue-conflict set"
    out["shape_bias"].attrs["decisions"] = np.isfinite(decided).sum(axis=1).tolist()
    return out
