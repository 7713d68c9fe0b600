"""How well a linear classifier on frozen features tells the classes, at every layer and pooling."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures import classify, resample
from probekit.measures.classify import PRESETS
from probekit.measures.linear import topk_correct
from probekit.probes.intervals import (
    OVER_IMAGES,
    OVER_OUTCOMES,
    cells,
    layer_pooling,
    mean_with_interval,
    most_frequent,
    say_odd_features,
    say_what_weakens,
)
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
    Variable(
        "balanced_accuracy", ("layer", "pooling"), "Balanced linear accuracy", "1", "higher",
        _PROTOCOL + "; mean over classes of the share of a class's test images that are right, so that every class "
        "counts the same", _REFERENCE, interval=f"{OVER_IMAGES}, of each image's influence",
    ),
    Variable(
        "class_recall", ("layer", "pooling", "class"), "Recall by class", "1", "higher",
        _PROTOCOL + "; the share of a class's test images that are right", _REFERENCE,
        interval="Wilson's, over the test images of the class; the fit is held fixed",
    ),
    Variable(
        "majority_accuracy", (), "Accuracy of the most frequent class", "1", "none",
        "the most frequent class of the train images, said of every test image: what an accuracy has to exceed",
        "a baseline", interval=OVER_OUTCOMES,
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
    top5, predicted = np.full_like(top1, np.nan), np.zeros(top1.shape, dtype=np.int32)
    for i, j, layer, pooling in cells(measurements):
        probe = fitted(measurements, layer, pooling, preset)
        top1[i, j] = topk_correct(probe.logits, labels, 1)
        predicted[i, j] = probe.logits.argmax(axis=1)
        if classes > 5:
            top5[i, j] = topk_correct(probe.logits, labels, 5)
    if classes <= 5:
        measurements.lacking["linear_accuracy_top5"] = (
            f"there are {classes} classes; five guesses among them are always right"
        )
    accuracy, plain = mean_with_interval(measurements, top1)
    say_what_weakens(measurements, accuracy, plain)
    say_odd_features(measurements)
    out: dict[str, xr.DataArray] = {}
    balanced = classify.balanced_contributions(top1, labels)
    for variable, correct in zip(VARIABLES[:3], (top1, top5, balanced), strict=True):
        values, interval = mean_with_interval(measurements, correct)
        # Outcomes that all agree leave nothing to resample: then it is the interval of the plain accuracy, Wilson's.
        interval = np.where(np.ptp(interval, axis=-1, keepdims=True) < 1e-6, plain, interval)
        out |= variable.arrays(values, interval, coords=layer_pooling(measurements), per_image=correct)
    return out | by_class(measurements, top1, labels) | {"linear_prediction": stored(measurements, predicted)}


def by_class(measurements: Measurements, correct: np.ndarray, labels: np.ndarray) -> dict[str, xr.DataArray]:
    """Recall of every class, and the accuracy of saying the most frequent one."""
    names = list(measurements.images("train").classes)
    own = labels == np.arange(len(names))[:, None]  # (classes, images)
    counts, right = own.sum(axis=1), correct @ own.T.astype(np.float64)
    recall = np.divide(right, counts, out=np.full(right.shape, np.nan), where=counts > 0)
    coords = {**layer_pooling(measurements), "class": names}
    out = VARIABLES[3].arrays(recall, resample.wilson(right, np.broadcast_to(counts, right.shape)), coords=coords)
    hit = most_frequent(measurements).astype(np.float32)
    return out | VARIABLES[4].arrays(*mean_with_interval(measurements, hit), per_image=hit)


def stored(measurements: Measurements, predicted: np.ndarray) -> xr.DataArray:
    """The predicted classes, small: with `label`, anything else can be computed from them."""
    attrs = {
        "long_name": "Class that the linear probe predicts",
        "classes": list(measurements.images("train").classes),
        "units": "1",
    }
    coords = layer_pooling(measurements)
    return xr.DataArray(predicted, dims=("layer", "pooling", "image"), coords=coords, attrs=attrs)
