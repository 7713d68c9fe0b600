"""How well the latents of each level, and each level's own noise, are read from the features, linearly and not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.collect.recorders import chosen_nodes
from probekit.measures import regress
from probekit.measures.linear import Rows
from probekit.probes.intervals import OVER_IMAGES, explained
from probekit.schema import Variable

TARGETS = ("latent", "noise")
REGRESSORS = ("linear", "nonlinear")
READOUTS = ("global", "local")

VARIABLES = (
    Variable(
        "latent_r2", ("readout", "regressor", "target", "layer", "level"), "R² of latents", "1", "higher",
        "regression on train, strength chosen on val, R² on test (variance-weighted over dimensions and nodes). "
        "linear: ridge; "
        "nonlinear: kernel ridge (RBF, Nyström landmarks; the last layer alone unless the option nonlinear_layers is "
        "all). global: mean-pooled patch tokens; local: tokens under the "
        "latent's support. Nodes of a level: those on the diagonal, evenly spread. A latent carries all higher levels, "
        "so its R² is "
        "flattered by the top; the R² of the level's own noise is not",
        "Kong et al. 2023, Theorem 2 (a test of); kernel ridge: Williams and Seeger 2001", interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test", "local:train", "local:val", "local:test")
REQUIRES = ("latents", "places", "splits")
OPTIONS = {"landmarks": 256, "nonlinear_layers": "last"}
CHOICES = {"nonlinear_layers": ("last", "all", "none")}


def run(measurements: Measurements, *, landmarks: int, nonlinear_layers: str) -> dict[str, xr.DataArray]:
    truth = {split: targets(measurements, split) for split in ("train", "val", "test")}
    names = list(truth["test"])
    height = max(level for _, level, _ in names)
    curved = {"last": measurements.layers[-1:], "all": measurements.layers, "none": []}[nonlinear_layers]
    shape = (len(READOUTS), len(REGRESSORS), len(TARGETS), len(measurements.layers), height, measurements.size("test"))
    residual, total = np.zeros(shape), np.zeros(shape)
    for position, layer in enumerate(measurements.layers):
        for r, regressor in enumerate(REGRESSORS if layer in curved else REGRESSORS[:1]):
            for g, readout in enumerate(READOUTS):
                predicted = predictions(measurements, truth, layer, readout, regressor, landmarks)
                for t, level in np.ndindex(len(TARGETS), height):
                    cell = (g, r, t, position, level)
                    residual[cell], total[cell] = errors(truth["test"], predicted, TARGETS[t], level + 1)
    values, interval, per_image = explained(measurements, residual, total)
    coords = {
        "readout": list(READOUTS), "regressor": list(REGRESSORS), "target": list(TARGETS), "layer": measurements.layers,
        "level": list(range(1, height + 1)),
    }  # fmt: skip
    return VARIABLES[0].arrays(values, interval, coords=coords, per_image=per_image)


Truth = dict[tuple[str, int, int], np.ndarray]


def targets(measurements: Measurements, split: str) -> Truth:
    """(target, level, place among the chosen nodes) -> float64 (images, dim), levels 1..H."""
    images, rows = measurements.images(split), measurements.size(split)
    assert images.latents is not None  # required
    assert images.noise is not None
    out = {}
    for target, known in (("latent", images.latents), ("noise", images.noise)):
        for level in sorted(level for level in known if level > 0):
            for place, node in enumerate(chosen_nodes(known[level].shape[1])):
                out[target, level, place] = np.asarray(known[level][:rows, node], dtype=np.float64)
    return out


def predictions(
    measurements: Measurements, truth: dict[str, Truth], layer: int, readout: str, regressor: str, landmarks: int
) -> Truth:
    """Predictions on test for every target: one fit for all where the features are the same, else one per node."""
    if readout == "global":
        groups = [list(truth["test"])]
    else:
        places = dict.fromkeys((level, place) for _, level, place in truth["test"])
        groups = [[(target, *place) for target in TARGETS] for place in places]
    out: Truth = {}
    for column, group in enumerate(groups):
        stacked = {split: np.concatenate([truth[split][name] for name in group], axis=1) for split in truth}
        if readout == "global":
            features = {split: measurements.streamed(split, layer, "mean") for split in truth}
        else:
            features = {split: measurements.local(split, layer, column) for split in truth}
        fit = fitted(measurements, features, stacked, regressor, landmarks)
        predicted = fit.predict(features["test"])
        edges = np.cumsum([truth["test"][name].shape[1] for name in group])[:-1]
        out |= dict(zip(group, np.split(predicted, edges, axis=1), strict=True))
    return out


def fitted(
    measurements: Measurements,
    features: Mapping[str, Rows],
    stacked: dict[str, np.ndarray],
    regressor: str,
    landmarks: int,
) -> regress.Ridge | regress.KernelRidge:
    """A fit on train with its strength chosen on val."""
    known = (features["train"], stacked["train"], features["val"], stacked["val"])
    if regressor == "linear":
        return regress.ridge(*known)
    images = features["train"].shape[0]
    return regress.kernel_ridge(
        *known,
        landmarks=min(landmarks, images),
        scales=(1.0,),
        order=measurements.order(images, "train"),
        seed=measurements.seed,
    )


def errors(truth: Truth, predicted: Truth, target: str, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared residuals and deviations of each image, over all dimensions of a level's chosen nodes."""
    names = [name for name in truth if name[:2] == (target, level)]
    known = np.concatenate([truth[name] for name in names], axis=1)
    return regress.r2_terms(known, np.concatenate([predicted[name] for name in names], axis=1))
