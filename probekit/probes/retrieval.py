"""How well an image's features find the other images of its class: mean average precision over test images."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures.retrieval import average_precision, random_precision
from probekit.measures.weakness import tiny_classes, what_weakens
from probekit.probes.intervals import cells, layer_pooling, mean_with_interval, say_odd_features
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "retrieval_map", ("layer", "pooling"), "Mean average precision of retrieval", "1", "higher",
        "each test image is a query for the other test images of its class, ranked by cosine similarity; average "
        "precision, mean over queries that have another image of their class; nothing fitted",
        "Manning et al. 2008, section 8.4",
        interval="bootstrap over queries (their groups where the image set has groups); the gallery is held fixed",
    ),
)  # fmt: skip
NEEDS = ("features:test",)
REQUIRES = ("test", "classes")
OPTIONS: dict[str, object] = {}


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    labels = measurements.labels("test")
    found = np.full((len(measurements.layers), len(measurements.poolings), len(labels)), np.nan, dtype=np.float32)
    for i, j, layer, pooling in cells(measurements):
        features = measurements.pooled("test", layer, pooling)
        if np.ptp(features, axis=0).any():  # [CLS] at the embedding is the same for every image: no ranking
            found[i, j] = average_precision(features, labels)
    values, interval = mean_with_interval(measurements, found)
    measurements.lacking |= what_weakens(
        values, interval, random_precision(labels), of="retrieval", score="mean average precision", over="chance",
        without="a random order",
    )  # fmt: skip
    measurements.lacking |= tiny_classes(labels, list(measurements.images("test").classes))
    say_odd_features(measurements)
    return VARIABLES[0].arrays(values, interval, coords=layer_pooling(measurements), per_image=found)
