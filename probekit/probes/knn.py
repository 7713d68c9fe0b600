"""How well the nearest neighbours of an image's features share its class, by DINO's weighted vote."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures.knn import KS, TEMPERATURE, knn, usable_ks
from probekit.measures.linear import varies
from probekit.probes.intervals import (
    OVER_OUTCOMES,
    cells,
    layer_pooling,
    mean_with_interval,
    say_odd_features,
    say_what_weakens,
)
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "knn_accuracy", ("layer", "pooling", "k"), "k-NN accuracy", "1", "higher",
        f"L2-normalised features, cosine similarity, votes of the k nearest train images weighted by exp(similarity / "
        f"{TEMPERATURE}), accuracy on test; a k above the number of train images is that number; all train images vote "
        "where features never vary", "Caron et al. 2021 (DINO), k-NN evaluation", version=2, interval=OVER_OUTCOMES,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:test")
REQUIRES = ("train", "test", "classes")
OPTIONS = {"ks": list(KS), "temperature": TEMPERATURE}


def run(measurements: Measurements, *, ks: list[int], temperature: float) -> dict[str, xr.DataArray]:
    train_labels, test_labels = measurements.labels("train"), measurements.labels("test")
    classes = len(measurements.images("train").classes)
    ks = list(usable_ks(ks, len(train_labels)))
    correct = np.zeros(
        (len(measurements.layers), len(measurements.poolings), len(ks), len(test_labels)), dtype=np.float32
    )
    for i, j, layer, pooling in cells(measurements):
        train, test = (measurements.streamed(split, layer, pooling) for split in ("train", "test"))
        if not varies(train):  # [CLS] at the embedding: all are as near, whichever k come first
            correct[i, j] = np.bincount(train_labels).argmax() == test_labels
            continue
        found = knn(
            train, train_labels, test, classes=classes, ks=tuple(ks), temperature=temperature,
            device=measurements.device, memory=measurements.memory,
        )  # fmt: skip
        predicted = dict(zip(found.ks, found.predicted, strict=True))
        correct[i, j] = np.stack([predicted[k] for k in ks]) == test_labels
    values, interval = mean_with_interval(measurements, correct)
    say_what_weakens(measurements, values, interval, "k-NN")
    say_odd_features(measurements)
    coords = {**layer_pooling(measurements), "k": list(ks)}
    return VARIABLES[0].arrays(values, interval, coords=coords, per_image=correct)
