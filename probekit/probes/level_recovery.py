"""How much of each level's own noise is read from the features, and what training added: how much, and how high."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.collect.recorders import chosen_nodes
from probekit.collect.stored import Column
from probekit.errors import ProbeError
from probekit.measures import regress
from probekit.measures.linear import Rows
from probekit.measures.recovery_profile import RecoveryProfile, recovery_limit, recovery_profile
from probekit.measures.resample import ratio
from probekit.measures.whitening import IMAGES_PER_DIMENSION, RULE
from probekit.probes.intervals import OVER_IMAGES
from probekit.schema import Variable

TWINS = 2
"""Initialisations of the untrained twin that are averaged."""

SCALE = 1.5
"""Width of the kernel, times the median distance between landmarks."""

READOUTS = ("local", "global")

_PROTOCOL = (
    "R² of the noise that belongs to a latent alone (not of the latent, which carries all higher levels), mean over "
    "the chosen nodes of a level (on the diagonal, evenly spread). Kernel ridge regression (RBF, Nyström landmarks: "
    f"option landmarks; width {SCALE} x their median distance) fitted on train, on whitened features ({RULE}), so that "
    f"every invertible linear map of the features reads alike; on standardised ones where train has fewer than "
    f"{IMAGES_PER_DIMENSION} images per dimension (attribute whitened: 0 at those layers), and as the option inputs "
    "says; for each target the penalty (and, with inputs=either, the inputs) chosen on val; for each level the readout "
    "(local: tokens under the latent's support averaged; global: all patch tokens averaged) chosen on val; reported on "
    "test"
)
_TWIN = f"; the same architecture with weights drawn anew, mean of {TWINS} initialisations"
_REFERENCE = (
    "probekit; Kong et al. 2023, Theorem 2 (invariant under invertible maps as far as the regressor is flexible); "
    "kernel ridge: Williams and Seeger 2001"
)
_PAIRED = f"{OVER_IMAGES}; the twins see the same images in every draw"

VARIABLES = (
    Variable(
        "level_recovery", ("layer", "level"), "Recovery of a level's own noise", "1", "higher",
        _PROTOCOL + ". A lower bound of what can be read: of the same latents, the less the more the map that made the "
        "features bends", _REFERENCE, version=3,
        interval=f"{OVER_IMAGES}; the upper end reaches to that of level_recovery_limit, since the regressor may not "
        "read all there is",
    ),
    Variable(
        "level_recovery_untrained", ("layer", "level"), "Recovery of a level's own noise, untrained", "1", "none",
        _PROTOCOL + _TWIN, _REFERENCE, version=2, interval=OVER_IMAGES,
    ),
    Variable(
        "recovery_gain", ("layer", "level"), "Gain of recovery by training", "1", "higher",
        _PROTOCOL + "; minus the untrained twin's" + _TWIN, _REFERENCE, version=2, interval=_PAIRED,
    ),
    Variable(
        "gain_amount", ("layer",), "Amount gained over all levels", "1", "higher",
        _PROTOCOL + "; gain = this minus the untrained twin's" + _TWIN + "; amount = sum of the gains over the levels "
        "that gained; the levels are held fixed in the interval, which can reach below 0", _REFERENCE, version=2,
        interval=_PAIRED,
    ),
    Variable(
        "gain_height", ("layer",), "Mean height of what was gained", "levels", "none",
        _PROTOCOL + "; gain = this minus the untrained twin's" + _TWIN + "; height = sum of level x gain / amount over "
        "the levels that gained; NaN where the interval of the amount reaches 0", _REFERENCE, version=2,
        interval=_PAIRED,
    ),
    Variable(
        "level_recovery_limit", ("layer", "level"), "Recovery of a level's own noise, at endless training images", "1",
        "higher", _PROTOCOL + "; extrapolated from this and from half the training images and landmarks, as if what is "
        "left unread shrank with the root of their number (it may shrink faster), at most 1", _REFERENCE,
        interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test", "local:train", "local:val", "local:test")
REQUIRES = ("latents", "places", "splits")
OPTIONS = {"landmarks": 512, "untrained": True, "inputs": "whitened"}
AFTER = {"untrained": tuple(f"{twin}:{need}" for twin in ("untrained", "untrained-1") for need in NEEDS)}
CHOICES = {"inputs": ("whitened", "standardised", "either")}
"""`whitened` gives the same number for every invertible linear map of the features. `standardised` reads .03 to .04
more of a trained encoder, which keeps what matters in directions of large variance, but not the same after a map (seen:
.87 of plain latents, .76 to .87 of mixed ones). `either` takes the better of both on val, target by target."""

VERSION = 1
"""Of the residuals that are kept: grows whenever they would differ."""


def run(measurements: Measurements, *, landmarks: int, untrained: bool, inputs: str) -> dict[str, xr.DataArray]:
    truth = {split: own_noise(measurements, split) for split in ("train", "val", "test")}
    regressor = Regressor(landmarks, regress.INPUTS if inputs == "either" else (inputs,))
    found = residuals(measurements, truth, regressor)
    twins = twin_residuals(measurements, truth, regressor) if untrained else None
    images = measurements.size("test")
    profile = recovery_profile(
        found.test, truth["test"].deviation, truth["test"].levels, untrained=twins,
        groups=measurements.groups(images), order=measurements.order(images), seed=measurements.seed,
    )  # fmt: skip
    out = labelled(measurements, profile)
    limit, limit_ci = endless(measurements, truth, regressor, found)
    coords = {dim: out["level_recovery"][dim].values for dim in ("layer", "level")}
    out |= VARIABLES[5].arrays(limit, limit_ci, coords=coords)
    upper = out["level_recovery_ci"].sel(bound="upper")
    out["level_recovery_ci"].loc[{"bound": "upper"}] = np.fmax(upper, limit_ci[..., 1])
    out["level_recovery"].attrs["readout"] = found.readout.tolist()
    out["level_recovery"].attrs["whitened"] = found.whitened.tolist()
    if inputs == "whitened" and (layers := narrow_layers(measurements)):
        measurements.lacking["level_recovery, whitened"] = (
            f"whitening needs {IMAGES_PER_DIMENSION} training images per dimension, there are "
            f"{measurements.size('train')} images: at layer {', '.join(map(str, layers))} the inputs are standardised "
            "instead, and the number is not the same for every invertible map (counts: train)"
        )
    return out


def endless(
    measurements: Measurements, truth: dict[str, Noise], regressor: Regressor, found: Residuals
) -> tuple[np.ndarray, np.ndarray]:
    """Recovery at endless training images, (layers, levels) and its interval; NaN where half of them are too few."""
    weaker, images = residuals(measurements, truth, replace(regressor, halved=True)), measurements.size("test")
    value, interval = recovery_limit(
        found.test, weaker.test, truth["test"].deviation, truth["test"].levels, groups=measurements.groups(images),
        order=measurements.order(images), seed=measurements.seed,
    )  # fmt: skip
    train = measurements.size("train")
    for row, layer in enumerate(measurements.layers):
        dims = measurements.streamed("train", layer, "mean").shape[1]
        if regressor.of(train, dims) != regressor.of(train // 2, dims):
            value[row], interval[row] = np.nan, np.nan
            measurements.lacking["level_recovery_limit"] = (
                f"the limit compares with half the training images, and whitening needs {IMAGES_PER_DIMENSION} per "
                f"dimension: half of {train} are too few at layer {layer} (counts: train)"
            )
    return value, interval


def narrow_layers(measurements: Measurements) -> list[int]:
    """The layers with too few training images per dimension to whiten."""
    widths = {layer: measurements.streamed("train", layer, "mean").shape[1] for layer in measurements.layers}
    return [layer for layer, width in widths.items() if measurements.size("train") < IMAGES_PER_DIMENSION * width]


@dataclass(frozen=True)
class Regressor:
    """How noise is read from features.

    Attributes:
        landmarks: images that span the kernel's functions.
        inputs: what kinds of inputs are tried, of `regress.INPUTS`.
        halved: of half the strength: half the training images (by digest) and half the landmarks.
    """

    landmarks: int
    inputs: tuple[str, ...]
    halved: bool = False

    def of(self, images: int, dims: int) -> tuple[str, ...]:
        """The kinds of inputs that this many training images allow; standardised ones always do."""
        enough = images >= IMAGES_PER_DIMENSION * dims
        return tuple(kind for kind in self.inputs if kind == "standardised" or enough) or regress.INPUTS[:1]


@dataclass(frozen=True)
class Noise:
    """The own noise of the chosen nodes of all levels, for the images of one split.

    Attributes:
        levels: (nodes,), the level of each.
        values: for each node float64 (images, dims).
    """

    levels: np.ndarray
    values: list[np.ndarray]

    @property
    def deviation(self) -> np.ndarray:
        """Squared deviation of each image from the mean: (nodes, images)."""
        return np.stack([regress.r2_terms(one, np.broadcast_to(one.mean(axis=0), one.shape))[1] for one in self.values])


def own_noise(measurements: Measurements, split: str) -> Noise:
    """The noise of the chosen nodes, levels 1..H in order: the nodes whose tokens the pass has recorded."""
    known = measurements.images(split).noise
    assert known is not None  # required
    rows = measurements.size(split)
    nodes = [(level, node) for level in sorted(known) if level > 0 for node in chosen_nodes(known[level].shape[1])]
    values = [np.asarray(known[level][:rows, node], dtype=np.float64) for level, node in nodes]
    return Noise(np.array([level for level, _ in nodes]), values)


@dataclass(frozen=True)
class Residuals:
    """What the chosen readout of every layer and level leaves unexplained.

    Attributes:
        test: (layers, nodes, images), squared errors.
        readout: (layers, levels), which of `READOUTS` was chosen on val.
        whitened: (layers,), share of the targets whose chosen inputs were whitened.
    """

    test: np.ndarray
    readout: np.ndarray
    whitened: np.ndarray


def residuals(source: Measurements, truth: dict[str, Noise], regressor: Regressor) -> Residuals:
    """Fit every layer and readout; choose a readout for every level."""
    levels = truth["test"].levels
    deviation = truth["val"].deviation
    kept, readout, whitened = [], [], []
    for layer in source.layers:
        val, test, white = zip(*(readings(source, truth, layer, name, regressor) for name in READOUTS), strict=True)
        score = 1 - ratio(np.stack(val), deviation)  # (readouts, nodes)
        best = [int(score[:, levels == level].mean(axis=1).argmax()) for level in np.unique(levels)]
        kept.append(np.stack([test[best[level - 1]][node] for node, level in enumerate(levels)]))
        readout.append([READOUTS[one] for one in best])
        whitened.append(np.mean(white))
    return Residuals(np.stack(kept), np.array(readout), np.array(whitened))


def readings(
    source: Measurements, truth: dict[str, Noise], layer: int, readout: str, regressor: Regressor
) -> tuple[np.ndarray, np.ndarray, float]:
    """Squared errors of every node on val and on test, (nodes, images) each, and the share of whitened targets."""
    nodes = range(len(truth["test"].levels))
    pooled = {split: source.streamed(split, layer, "mean") for split in truth}
    if readout == "global":
        return fitted(source, pooled, truth, list(nodes), regressor)
    found = []
    for node in nodes:
        features = {split: source.local(split, layer, node) for split in truth}
        found.append(fitted(source, features, truth, [node], regressor))
    val, test, white = zip(*found, strict=True)
    return np.concatenate(val), np.concatenate(test), float(np.mean(white))


def fitted(
    source: Measurements,
    features: Mapping[str, Rows],
    truth: dict[str, Noise],
    nodes: list[int],
    regressor: Regressor,
) -> tuple[np.ndarray, np.ndarray, float]:
    """One regression of several nodes' noise on the same features; see `readings`."""
    wanted = {split: np.concatenate([truth[split].values[node] for node in nodes], axis=1) for split in truth}
    train = features["train"]
    order, landmarks = source.order(train.shape[0], "train"), regressor.landmarks
    rows = np.arange(len(order))
    if regressor.halved:
        rows, landmarks = np.sort(np.argsort(order)[: len(order) // 2]), landmarks // 2
        train = train.chosen(rows) if isinstance(train, Column) else train[rows]
    known = train, wanted["train"][rows], features["val"], wanted["val"]
    images, dims = known[0].shape
    try:
        fit = regress.kernel_ridge(
            *known, landmarks=min(landmarks, images), scales=(SCALE,), inputs=regressor.of(images, dims),
            order=order[rows], seed=source.seed,
        )  # fmt: skip
    except ProbeError:  # constant features, of which nothing can be read: the best guess is the mean
        predicted = {
            split: np.broadcast_to(wanted["train"].mean(axis=0), wanted[split].shape) for split in ("val", "test")
        }
        white = 0.0
    else:
        predicted = {split: fit.predict(features[split]) for split in ("val", "test")}
        white = float(np.mean([kind == "whitened" for kind in fit.inputs]))
    edges = np.cumsum([truth["test"].values[node].shape[1] for node in nodes])[:-1]
    errors = {
        split: np.stack([(part**2).sum(axis=1) for part in np.split(predicted[split] - wanted[split], edges, axis=1)])
        for split in predicted
    }
    return errors["val"], errors["test"], white


def twin_residuals(measurements: Measurements, truth: dict[str, Noise], regressor: Regressor) -> np.ndarray | None:
    """Residuals of the untrained twins, (twins, layers, nodes, images); None, with the reason, where there are none."""
    if reason := measurements.model.no_twin:
        for variable in VARIABLES[1:5]:
            measurements.lacking[variable.name] = f"there is no untrained twin to compare with: {reason}"
        return None
    return np.stack([_twin_residual(measurements, truth, regressor, one) for one in range(TWINS)])


def _twin_residual(
    measurements: Measurements, truth: dict[str, Noise], regressor: Regressor, initialisation: int
) -> np.ndarray:
    """Residuals of one untrained twin, (layers, nodes, images); it is let go before the next one is made."""
    twin = measurements.untrained(initialisation)
    facts = {"of": "level_recovery", "version": VERSION, "regressor": asdict(regressor)}

    def compute() -> dict[str, np.ndarray]:
        twin.gather(NEEDS)
        return {"residual": residuals(twin, truth, regressor).test}

    return twin.kept(facts, compute)["residual"]


def labelled(measurements: Measurements, profile: RecoveryProfile) -> dict[str, xr.DataArray]:
    """The arrays of the probe's variables, as far as the profile has them."""
    estimates = (profile.recovery, profile.untrained, profile.gain, profile.amount, profile.height)
    levels = list(range(1, profile.recovery.value.shape[1] + 1))
    out: dict[str, xr.DataArray] = {}
    for variable, estimate in zip(VARIABLES[:5], estimates, strict=True):
        if estimate is None:
            continue
        coords = {"layer": measurements.layers, "level": levels}
        out |= variable.arrays(
            estimate.value, estimate.interval, coords={dim: coords[dim] for dim in variable.dims},
            per_image=estimate.per_image.astype(np.float32),
        )  # fmt: skip
    if profile.height is not None and np.isnan(profile.height.value).any():
        layers = np.asarray(measurements.layers)[np.isnan(profile.height.value)].tolist()
        measurements.lacking["gain_height"] = (
            f"the interval of gain_amount reaches 0 at layer {', '.join(map(str, layers))}: what was gained has no "
            "height where nothing was gained"
        )
    return out
