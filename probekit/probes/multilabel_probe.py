"""How well a linear classifier on frozen features tells several labels per image: mean average precision."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures import multilabel, resample
from probekit.probes.intervals import cells, layer_pooling, mean_with_interval
from probekit.schema import Variable

_PROTOCOL = (
    "a sigmoid head (one logistic regression for each label, L2, on standardised features) fitted on train by L-BFGS, "
    "one penalty for all labels chosen on val; average precision without interpolation on test, mean over the labels "
    "that some test image has"
)

VARIABLES = (
    Variable(
        "mean_average_precision", ("layer", "pooling"), "Mean average precision", "1", "higher", _PROTOCOL,
        "scikit-learn average_precision_score; Everingham et al. 2010 for the mean over labels",
        interval="delete-a-group jackknife over test images, of the labels that images of two blocks or more have; the "
        "fit is held fixed",
    ),
    Variable(
        "label_prevalence", (), "Share of images that have a label", "1", "none",
        "mean over labels and test images: the mean average precision of scores that know nothing", "a baseline",
        interval="bootstrap over test images",
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test")
REQUIRES = ("splits", "multilabel")
OPTIONS: dict[str, object] = {}


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    truth = {split: measurements.targets(split) for split in ("train", "val", "test")}
    images = measurements.size("test")
    values = np.full((len(measurements.layers), len(measurements.poolings)), np.nan)
    interval = np.full((*values.shape, 2), np.nan)
    blocks = resample.blocks(
        images, groups=measurements.groups(images), order=measurements.order(images), seed=measurements.seed
    )
    for i, j, layer, pooling in cells(measurements):
        train, val, test = (measurements.streamed(split, layer, pooling) for split in ("train", "val", "test"))
        head = multilabel.sigmoid_head(
            train, truth["train"], val, truth["val"], device=measurements.device, memory=measurements.memory
        )
        scores = head.logits(test)
        values[i, j] = multilabel.mean_average_precision(truth["test"], scores)
        interval[i, j] = multilabel.jackknife_interval(truth["test"], scores, blocks)
    out = VARIABLES[0].arrays(values, interval, coords=layer_pooling(measurements))
    present = truth["test"].any(axis=0)
    share = truth["test"][:, present].mean(axis=1).astype(np.float32)
    return out | VARIABLES[1].arrays(*mean_with_interval(measurements, share), per_image=share)
