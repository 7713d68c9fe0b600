"""Whether a linear head follows shape or texture where the two disagree (cue-conflict images)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures import classify
from probekit.probes import conflict_spec
from probekit.probes._common import OVER_IMAGES, mean_with_interval
from probekit.probes._head import HEAD, head
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "shape_bias", ("pooling",), "Shape bias", "1", "none",
        HEAD + "; shape decisions / (shape + texture decisions) over images whose shape and texture classes differ and "
        "where one of both is chosen", "Geirhos et al. 2019", interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "shifts")
REQUIRES = ("splits", "classes", "shifts", "conflict")
OPTIONS: dict[str, object] = {}


def run(m: Measurements) -> dict[str, xr.DataArray]:
    spec = conflict_spec(m.sets)
    assert spec is not None  # "conflict" is required
    conflict = m.sets.shifted(spec)
    rows = len(m.store(f"shift:{spec}")["pooled"])
    shape, texture = np.asarray(conflict.shape_labels[:rows]), np.asarray(conflict.texture_labels[:rows])
    decided = np.full((len(m.poolings), rows), np.nan, dtype=np.float32)
    for j, pooling in enumerate(m.poolings):
        predicted = head(m, pooling, m.shifted(spec, pooling)).logits.argmax(axis=1)
        decided[j] = classify.shape_bias(predicted, shape, texture).per_image
    values, interval = mean_with_interval(m, decided)
    out = VARIABLES[0].arrays(values, interval, coords={"pooling": list(m.poolings)}, per_image=decided)
    out["shape_bias"].attrs["decisions"] = np.isfinite(decided).sum(axis=1).tolist()
    return out
