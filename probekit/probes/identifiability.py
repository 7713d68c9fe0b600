"""Whether single features stand for single latents of a level (MCC, DCI, SAP), and how well the level is read."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.measures import identifiability, regress, resample
from probekit.measures.identifiability import Match
from probekit.probes.intervals import OVER_IMAGES, explained
from probekit.probes.latent_recovery import TARGETS, Truth, targets
from probekit.schema import Variable

_CODES = (
    "mean-pooled features against the dimensions of a level's latents (the nodes on the diagonal); target noise: the "
    "level's own noise, which is independent of the other levels'"
)
_JACKKNIFE = "delete-a-block jackknife over test images; the match is held fixed"
_DIMS = ("target", "layer", "level")
_FIT = "a property of the fit on train: no test image enters"

VARIABLES = (
    Variable(
        "mcc", _DIMS, "Mean correlation coefficient", "1", "higher",
        f"{_CODES}; features matched one to one on train (Hungarian algorithm), mean correlation on test with the "
        "signs of the match; 0 for independent features", "Hyvärinen and Morioka 2016; Khemakhem et al. 2020",
        interval=_JACKKNIFE,
    ),
    Variable(
        "sap", _DIMS, "Separated attribute predictability", "1", "higher",
        f"{_CODES}; R² on test of the best single feature less that of the second best, both chosen on train, mean "
        "over latents", "Kumar et al. 2018", interval=_JACKKNIFE,
    ),
    Variable(
        "dci_disentanglement", _DIMS, "DCI disentanglement", "1", "higher",
        f"{_CODES}; importance: |weights| of ridge regression on standardised features, strength chosen on val; 1 - "
        "entropy over latents", "Eastwood and Williams 2018", no_interval=_FIT,
    ),
    Variable(
        "dci_completeness", _DIMS, "DCI completeness", "1", "higher",
        f"{_CODES}; importance as for disentanglement; 1 - entropy over features", "Eastwood and Williams 2018",
        no_interval=_FIT,
    ),
    Variable(
        "block_r2", _DIMS, "R² of a level's latents together", "1", "higher",
        f"{_CODES}; ridge regression from all features, strength chosen on val, R² on test: identifiability up to a "
        "linear map of the block (DCI's informativeness)", "von Kügelgen et al. 2021", interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test")
REQUIRES = ("latents", "splits")
OPTIONS: dict[str, object] = {}


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    truth = {split: targets(measurements, split) for split in ("train", "val", "test")}
    height = max(level for _, level, _ in truth["test"])
    rows = measurements.size("test")
    shape = (len(TARGETS), len(measurements.layers), height)
    found = {variable.name: np.full(shape, np.nan) for variable in VARIABLES[:4]}
    ends = {name: np.full((*shape, 2), np.nan) for name in ("mcc", "sap")}
    residual, total = np.zeros((*shape, rows)), np.zeros((*shape, rows))
    blocks = resample.blocks(
        rows, groups=measurements.groups(rows), order=measurements.order(rows), seed=measurements.seed
    )
    for position, layer in enumerate(measurements.layers):
        codes = {split: measurements.pooled(split, layer, "mean").astype(np.float64) for split in truth}
        for t, level in np.ndindex(len(TARGETS), height):
            cell = (t, position, level)
            known = {split: block(truth[split], TARGETS[t], level + 1) for split in truth}
            fit = regress.ridge(codes["train"], known["train"], codes["val"], known["val"])
            residual[cell], total[cell] = regress.r2_terms(known["test"], fit.predict(codes["test"]))
            found["dci_disentanglement"][cell], found["dci_completeness"][cell] = identifiability.dci(fit.weights)
            chosen = identifiability.match(codes["train"], known["train"])
            for name, (value, interval) in matched(codes["test"], known["test"], chosen, blocks).items():
                found[name][cell], ends[name][cell] = value, interval
    coords = {"target": list(TARGETS), "layer": measurements.layers, "level": list(range(1, height + 1))}
    out: dict[str, xr.DataArray] = {}
    for variable in VARIABLES[:4]:
        out |= variable.arrays(found[variable.name], ends.get(variable.name), coords=coords)
    values, interval, per_image = explained(measurements, residual, total)
    return out | VARIABLES[4].arrays(values, interval, coords=coords, per_image=per_image)


def block(truth: Truth, target: str, level: int) -> np.ndarray:
    """All dimensions of a level's chosen nodes: (images, dimensions)."""
    return np.concatenate([values for name, values in truth.items() if name[:2] == (target, level)], axis=1)


def matched(
    codes: np.ndarray, latents: np.ndarray, chosen: Match, blocks: resample.Blocks
) -> dict[str, tuple[float, np.ndarray]]:
    """MCC and SAP with their jackknife intervals."""
    kept = [blocks.of_image != number for number in range(blocks.count)]
    out = {}
    for name, measure in (("mcc", identifiability.mcc), ("sap", identifiability.sap)):
        value = measure(codes, latents, chosen)
        left = np.array([measure(codes[part], latents[part], chosen) for part in kept])
        out[name] = value, resample.jackknife_ends(np.asarray(value), left)
    return out
