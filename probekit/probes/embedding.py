"""The features of the last layer in two dimensions (t-SNE), and how separate the classes are in them (silhouette)."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from scipy.spatial.distance import pdist, squareform

from probekit.collect import Measurements
from probekit.measures import label_free, resample
from probekit.probes.intervals import cells, layer_pooling
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "silhouette", ("layer", "pooling"), "Silhouette by class", "1", "higher",
        "mean silhouette coefficient of test images' standardised features by class, euclidean distance; not of the "
        "t-SNE "
        "coordinates, which depend on their seed", "Rousseeuw 1987", version=2,
        interval="subsampling of test images without replacement (resampled duplicates would bias it)",
    ),
)  # fmt: skip
DRAWS = 200
"""Subsamples for the interval."""

NEEDS = ("features:test",)
REQUIRES = ("test", "classes")
OPTIONS = {"images": 200, "perplexity": 30.0}


def run(measurements: Measurements, *, images: int, perplexity: float) -> dict[str, xr.DataArray]:
    rows = min(images, measurements.size("test"))
    labels = measurements.labels("test")[:rows]
    values = np.full((len(measurements.layers), len(measurements.poolings)), np.nan)
    interval = np.full((*values.shape, 2), np.nan)
    for i, j, layer, pooling in cells(measurements):
        features = standardised(measurements.pooled("test", layer, pooling)[:rows])
        if not features.any():
            continue  # [CLS] at the embedding is the same for every image
        values[i, j], interval[i, j] = resample.subsample_interval(
            partial(mean_silhouette, squareform(pdist(features)), labels),
            rows,
            groups=measurements.groups(rows),
            order=measurements.order(rows),
            draws=DRAWS,
            seed=measurements.seed,
        )
    if np.isnan(values).all():
        measurements.lacking["silhouette"] = "every layer gives all images the same features"
    out = VARIABLES[0].arrays(values, interval, coords=layer_pooling(measurements))
    return out | {"embedding_xy": coordinates(measurements, rows, perplexity)}


def mean_silhouette(distances: np.ndarray, labels: np.ndarray, kept: np.ndarray) -> float:
    """Mean silhouette of the kept images."""
    return float(label_free.silhouette(distances[np.ix_(kept, kept)], labels[kept]).mean())


def standardised(features: np.ndarray) -> np.ndarray:
    """Each dimension at mean 0 and variance 1; dimensions without variance at 0."""
    wide = features.astype(np.float64)
    wide -= wide.mean(axis=0)
    deviation = wide.std(axis=0)
    return wide / np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-300), deviation, np.inf)


def coordinates(measurements: Measurements, rows: int, perplexity: float) -> xr.DataArray:
    """t-SNE of the last layer's mean-pooled features: (layer_kept, image, axis).

    A picture, not a number: its descent amplifies what rounding changes in the features, such as another batch size.
    """
    from sklearn.manifold import TSNE

    layer = measurements.layers[-1]
    features = standardised(measurements.pooled("test", layer, "mean")[:rows])
    smooth = min(perplexity, max(1.0, (rows - 1) / 3))
    if features.any():
        found = TSNE(perplexity=smooth, init="pca", random_state=measurements.seed, max_iter=500).fit_transform(
            features
        )
    else:
        measurements.lacking["embedding_xy"] = (
            "the last layer gives all images the same features: there is nothing to lay out"
        )
        found = np.full((rows, 2), np.nan)
    attrs = {"long_name": "t-SNE", "units": "1", "perplexity": smooth, "pooling": "mean"}
    return xr.DataArray(
        found[None].astype(np.float32),
        dims=("layer_kept", "image", "axis"),
        coords={"layer_kept": [layer], "axis": ["x", "y"]},
        attrs=attrs,
    )
