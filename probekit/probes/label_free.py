"""Measures that need no labels: effective rank, spectrum decay, LiDAR, Fourier amplitudes, CKA of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.errors import ProbeError
from probekit.measures import label_free, resample, subsets
from probekit.probes.intervals import cells, layer_pooling, mean_with_interval
from probekit.schema import Variable

_JACKKNIFE = "delete-a-group jackknife over test images (resampled duplicates would bias it)"
_CELL = ("layer", "pooling")
_AT_N = (
    "the value grows with the number of images (and of views): it is the value at this number, its interval too, and "
    "compares with others at the same number only"
)
_SUBSETS = (
    "the same, mean over subsets of a stated number of images (options at_images, at_objects and at_views; drawn "
    "without replacement, every image nearly equally often), so that image sets of different size compare"
)
_OF_SUBSETS = "delete-a-group jackknife over test images of the mean over subsets"

VARIABLES = (
    Variable(
        "rankme", _CELL, "RankMe", "dimensions", "none",
        f"exp of the entropy of the normalised singular values of test features; {_AT_N}",
        "Garrido et al. 2023", version=2, interval=_JACKKNIFE,
    ),
    Variable(
        "alpha_req", _CELL, "alpha-ReQ", "1", "none",
        f"decay exponent of the eigenvalues of the features' covariance; {_AT_N}", "Agrawal et al. 2022", version=2,
        interval=_JACKKNIFE,
    ),
    Variable(
        "lidar", _CELL, "LiDAR", "dimensions", "none",
        "effective rank of the linear discriminant matrix of augmented views (random resized crop of area 0.2 to 1, "
        f"flip, drawn by the image's pixels), an image being a class; {_AT_N}", "Thilak et al. 2024", version=3,
        interval=_JACKKNIFE,
    ),
    Variable(
        "fourier_amplitude", ("layer", "frequency"), "Fourier log-amplitude", "log", "none",
        "log-amplitude of the patch tokens' two-dimensional Fourier transform along the diagonal, relative to "
        "frequency 0, mean over channels and images; frequency 1 is half a cycle per patch in both directions",
        "Park and Kim 2022", version=2, interval="bootstrap over test images",
    ),
    Variable(
        "cka", ("pooling", "layer", "layer_other"), "Linear CKA of layers", "1", "none",
        "linear centred kernel alignment of the features of two layers over test images", "Kornblith et al. 2019",
        interval=_JACKKNIFE,
    ),
    Variable(
        "rankme_at_n", _CELL, "RankMe of subsets", "dimensions", "none", f"RankMe: {_SUBSETS}",
        "Garrido et al. 2023; Hoeffding 1948", interval=_OF_SUBSETS,
    ),
    Variable(
        "alpha_req_at_n", _CELL, "alpha-ReQ of subsets", "1", "none", f"alpha-ReQ: {_SUBSETS}",
        "Agrawal et al. 2022; Hoeffding 1948", interval=_OF_SUBSETS,
    ),
    Variable(
        "lidar_at_n", _CELL, "LiDAR of subsets", "dimensions", "none",
        f"LiDAR: {_SUBSETS}; of each image the first views", "Thilak et al. 2024; Hoeffding 1948",
        interval=_OF_SUBSETS,
    ),
)  # fmt: skip
NEEDS = ("features:test", "views", "fourier")
REQUIRES = ("test",)
AT_IMAGES, AT_OBJECTS, AT_VIEWS = 256, 40, 4
OPTIONS: dict[str, object] = {"at_images": AT_IMAGES, "at_objects": AT_OBJECTS, "at_views": AT_VIEWS}

AT_N = {"rankme_at_n": label_free.rankme, "alpha_req_at_n": label_free.alpha_req, "lidar_at_n": label_free.lidar}


def run(
    measurements: Measurements, *, at_images: int = AT_IMAGES, at_objects: int = AT_OBJECTS, at_views: int = AT_VIEWS
) -> dict[str, xr.DataArray]:
    sizes = {"rankme_at_n": at_images, "alpha_req_at_n": at_images, "lidar_at_n": at_objects}
    return full(measurements) | of_subsets(measurements, sizes, at_views)


def full(measurements: Measurements) -> dict[str, xr.DataArray]:
    """The measures at all images there are."""
    shape = (len(measurements.layers), len(measurements.poolings))
    found = {variable.name: (np.full(shape, np.nan), np.full((*shape, 2), np.nan)) for variable in VARIABLES[:3]}
    for i, j, layer, pooling in cells(measurements):
        for name, (value, interval) in measured(measurements, layer, pooling).items():
            found[name][0][i, j], found[name][1][i, j] = value, interval
    for name in found:
        if np.isnan(found[name][0]).all():
            measurements.lacking.setdefault(name, "every layer gives all images the same features")
    out: dict[str, xr.DataArray] = {}
    for variable in VARIABLES[:3]:
        out |= variable.arrays(*found[variable.name], coords=layer_pooling(measurements))
        out[variable.name].attrs["long_name"] = f"{variable.long_name} at {images_of(measurements, variable.name)}"
    try:
        return out | amplitudes(measurements) | similarity(measurements)
    except ProbeError as error:
        measurements.lacking["cka"] = str(error)
        return out | amplitudes(measurements)


def of_subsets(measurements: Measurements, sizes: dict[str, int], views: int) -> dict[str, xr.DataArray]:
    """RankMe, alpha-ReQ and LiDAR at the same numbers of images whatever the image set.

    Args:
        sizes: variable -> images of a subset.
        views: of each image, for LiDAR.
    """
    shape = (len(measurements.layers), len(measurements.poolings))
    out: dict[str, xr.DataArray] = {}
    for variable in VARIABLES[5:]:
        name, size = variable.name, sizes[variable.name]
        lidar = name == "lidar_at_n"
        many = f"{size} images" + f" x {views} views" * lidar
        images = measurements.rows("objects") if lidar else measurements.size("test")
        values, interval = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
        if images < size or (lidar and measurements.counts.views < views):
            measurements.lacking[name] = (
                f"{images_of(measurements, name)} are too few for subsets of {many}: give more (counts), or ask for "
                "smaller subsets (options of label_free: at_images, at_objects, at_views)"
            )
        else:
            chosen = subsets.subsets(images, size, order=measurements.order(images), seed=measurements.seed)
            blocks = left_out(measurements, images)
            for i, j, layer, pooling in cells(measurements):
                if not np.ptp(measurements.pooled("test", layer, pooling), axis=0).any():
                    continue
                rows = measurements.views(layer, pooling) if lidar else measurements.pooled("test", layer, pooling)
                rows = rows[:, :views] if lidar else rows
                try:
                    values[i, j], interval[i, j] = subsets.mean_over_subsets(AT_N[name], rows, chosen, blocks)
                except ProbeError as error:
                    measurements.lacking[name] = f"layer {layer}, {pooling}: {error}"
        out |= variable.arrays(values, interval, coords=layer_pooling(measurements))
        out[name].attrs["long_name"] = f"{variable.long_name} of {many}"
    return out


def images_of(measurements: Measurements, name: str) -> str:
    """The number of images that a statistic is of, in words."""
    if not name.startswith("lidar"):
        return f"{measurements.size('test')} images"
    return f"{measurements.rows('objects')} images x {measurements.counts.views} views"


def amplitudes(measurements: Measurements) -> dict[str, xr.DataArray]:
    """Fourier log-amplitudes of all layers, where they lie on one grid."""
    reason = measurements.no_common_grid
    if reason:
        measurements.lacking["fourier_amplitude"] = reason
        return {}
    fourier = np.moveaxis(measurements.recorded("fourier", "fourier"), 0, -1)
    values, interval = mean_with_interval(measurements, fourier)
    frequency = 2 * np.arange(fourier.shape[1]) / min(measurements.layer_grid(0))
    return VARIABLES[3].arrays(values, interval, coords={"layer": measurements.all_layers, "frequency": frequency})


def measured(measurements: Measurements, layer: int, pooling: str) -> dict[str, tuple[float, Any]]:
    """The measures of one layer and pooling with jackknife intervals; without those that fail, whose reason is kept."""
    features, views = measurements.pooled("test", layer, pooling), measurements.views(layer, pooling)
    if not np.ptp(features, axis=0).any():
        return {}  # [CLS] at the embedding is the same for every image
    found: dict[str, tuple[float, Any]] = {}
    where = f"layer {layer}, {pooling}"
    try:
        found |= label_free.jackknife_spectrum(features, left_out(measurements, len(features)))
    except ProbeError as error:
        measurements.lacking.update(dict.fromkeys(("rankme", "alpha_req"), f"{where}: {error}"))
    if np.isnan(found.get("alpha_req", (0.0,))[0]):
        measurements.lacking["alpha_req"] = (
            f"{where}: the features have not the 15 non-zero eigenvalues of the covariance that the fit needs"
        )
    try:
        found["lidar"] = label_free.jackknife_lidar(views, left_out(measurements, len(views)))
    except ProbeError as error:
        measurements.lacking["lidar"] = f"{where}: {error}"
    return found


def left_out(measurements: Measurements, images: int) -> resample.Blocks:
    """The blocks of test images that a jackknife leaves out."""
    return resample.blocks(
        images, groups=measurements.groups(images), order=measurements.order(images), seed=measurements.seed
    )


class Tables(Sequence[np.ndarray]):
    """Test features of layers, each read when it is asked for: all of them at once may be larger than memory."""

    def __init__(self, measurements: Measurements, layers: list[int], pooling: str) -> None:
        self.m, self.layers, self.pooling = measurements, layers, pooling

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return self.m.pooled("test", self.layers[index], self.pooling)


def similarity(measurements: Measurements) -> dict[str, xr.DataArray]:
    """CKA of every pair of layers."""
    shape = (len(measurements.poolings), len(measurements.layers), len(measurements.layers))
    values, interval = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    blocks = left_out(measurements, measurements.size("test"))
    for p, pooling in enumerate(measurements.poolings):
        varies = np.flatnonzero(
            [np.ptp(measurements.pooled("test", layer, pooling), axis=0).any() for layer in measurements.layers]
        )
        if varies.size > 1:
            rows, columns = np.ix_(varies, varies)
            tables = Tables(measurements, [measurements.layers[layer] for layer in varies], pooling)
            values[p, rows, columns], interval[p, rows, columns] = label_free.jackknife_cka_pairs(tables, blocks)
        values[p, varies, varies], interval[p, varies, varies] = 1.0, 1.0
    coords = {"pooling": list(measurements.poolings), "layer": measurements.layers, "layer_other": measurements.layers}
    return VARIABLES[4].arrays(values, interval, coords=coords)
