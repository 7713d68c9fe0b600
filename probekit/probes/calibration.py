"""How far a linear head's confidence is from its accuracy: the expected calibration error."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures import classify, resample
from probekit.measures.retrieval import BINS, calibration_error
from probekit.probes.intervals import mean_with_interval, say_odd_features, say_what_weakens
from probekit.probes.linear_head import HEAD, head
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "linear_calibration_error", ("pooling",), "Calibration error of the linear head", "1", "lower",
        f"{HEAD}; confidence: the largest softmax probability; {BINS} bins of equal width; above 0 in expectation even "
        "for a calibrated head, the more the fewer test images", "Guo et al. 2017",
        interval="delete-a-group jackknife over test images (resampled duplicates would bias it)",
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test")
REQUIRES = ("splits", "classes")
OPTIONS: dict[str, object] = {}


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    labels = measurements.labels("test")
    rows = len(labels)
    values, ends = np.full(len(measurements.poolings), np.nan), np.full((len(measurements.poolings), 2), np.nan)
    groups, order = measurements.groups(rows), measurements.order(rows)
    hits = np.zeros((len(measurements.poolings), rows), dtype=np.float32)
    blocks = resample.blocks(rows, groups=groups, order=order, seed=measurements.seed)
    for j, pooling in enumerate(measurements.poolings):
        probabilities = classify.softmax(head(measurements, pooling).logits)
        sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        hits[j] = right
        kept = [blocks.of_image != number for number in range(blocks.count)]
        left = np.array([calibration_error(sure[part], right[part]) for part in kept])
        values[j] = calibration_error(sure, right)
        ends[j] = np.clip(resample.jackknife_ends(values[j], left), 0, 1)
    say_what_weakens(measurements, *mean_with_interval(measurements, hits), "calibrated head")
    say_odd_features(measurements)
    return VARIABLES[0].arrays(values, ends, coords={"pooling": list(measurements.poolings)})
