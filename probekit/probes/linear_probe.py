"""How well a linear classifier on frozen features tells the classes, at every layer and pooling."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures.classify import PRESETS
from probekit.measures.linear import topk_correct
from probekit.probes.intervals import OVER_OUTCOMES, cells, layer_pooling, mean_with_interval
from probekit.probes.linear_head import fitted
from probekit.schema import Variable

_PROTOCOL = (
    "Multinomial logistic regression on standardised features (batch norm without affine, eps 1e-6), fitted on train "
    "by "
    "L-BFGS for a grid of L2 penalties, the penalty chosen on val, accuracy on test; see the attribute options for "
    "presets"
)
_REFERENCE = (
    "He et al. 2022 (linear probing with batch norm); Radford et al. 2021 (L-BFGS, penalty chosen on validation)"
)

VARIABLES = (
    Variable(
        "linear_accuracy", ("layer", "pooling"), "Linear accuracy", "1", "higher", _PROTOCOL, _REFERENCE, version=4,
        interval=OVER_OUTCOMES,
    ),
    Variable(
        "linear_accuracy_top5", ("layer", "pooling"), "Linear accuracy, top 5", "1", "higher",
        _PROTOCOL + "; NaN where there are fewer than 6 classes", _REFERENCE, version=4,
        interval=OVER_OUTCOMES,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test")
REQUIRES = ("splits", "classes")
OPTIONS = {"preset": "lbfgs-sweep"}
CHOICES = {"preset": PRESETS}


def run(measurements: Measurements, *, preset: str) -> dict[str, xr.DataArray]:
    labels = measurements.labels("test")
    classes = len(measurements.images("train").classes)
    top1 = np.full((len(measurements.layers), len(measurements.poolings), len(labels)), np.nan, dtype=np.float32)
    top5 = np.full_like(top1, np.nan)
    for i, j, layer, pooling in cells(measurements):
        probe = fitted(measurements, layer, pooling, preset)
        top1[i, j] = topk_correct(probe.logits, labels, 1)
        if classes > 5:
            top5[i, j] = topk_correct(probe.logits, labels, 5)
    if classes <= 5:
        measurements.lacking["linear_accuracy_top5"] = (
            f"there are {classes} classes; five guesses among them are always right"
        )
    out = {}
    for variable, correct in zip(VARIABLES, (top1, top5), strict=True):
        values, interval = mean_with_interval(measurements, correct)
        out |= variable.arrays(values, interval, coords=layer_pooling(measurements), per_image=correct)
    return out
