"""How often the 95 % intervals that probes give hold the truth: 2,000 simulated test sets of 500 images.

The simulations stand where a probe has its layers, so that all are resampled in one matrix product, by the functions
that the probes and `contrast` use.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from probekit import evaluation, schema
from probekit.collect.partners import terms
from probekit.measures import regress
from probekit.probes.intervals import explained, mean_with_interval
from probekit.probes.level_spectrum import spectra

SIMULATIONS, N = 2000, 500


@pytest.fixture
def m() -> SimpleNamespace:
    """What the functions read of measurements."""
    return SimpleNamespace(groups=lambda rows: None, order=lambda rows: None, seed=1, lacking={})


def check(interval: np.ndarray, truth: float) -> None:
    covered = ((interval[..., 0] <= truth) & (truth <= interval[..., 1])).mean()
    assert 0.93 <= covered <= 0.97, covered


@pytest.mark.parametrize("accuracy", [0.3, 0.5, 0.7, 0.9])
def test_accuracies(m, accuracy) -> None:
    correct = np.random.default_rng(0).random((SIMULATIONS, N)) < accuracy
    check(mean_with_interval(m, correct.astype(np.float32))[1], accuracy)


def test_mean_ssim(m) -> None:
    check(mean_with_interval(m, np.random.default_rng(0).beta(6, 2, size=(SIMULATIONS, N)))[1], 0.75)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_r2_of_a_fixed_fit(m, noise) -> None:
    """The predictor 0.9 x of three targets x + noise: 1 - (0.01 + noise²) / (1 + noise²)."""
    x, error = np.random.default_rng(0).standard_normal((2, SIMULATIONS, N, 3))
    found = [regress.r2_terms(a, b) for a, b in zip(x + noise * error, 0.9 * x, strict=True)]
    residual, total = (np.stack(column) for column in zip(*found, strict=True))
    check(explained(m, residual, total)[1], 1 - (0.01 + noise**2) / (1 + noise**2))


def test_level_shares_and_their_mean() -> None:
    """Features that add the noise of levels 0 to 2, and partners that share the levels from 1 and from 2 up."""
    weights, dims = np.array([1.0, 0.6, 0.8]), 3
    rng = np.random.default_rng(0)
    covariance, variance = np.empty((2, N, SIMULATIONS, 1, 1, 2))
    for simulation in range(SIMULATIONS):
        noise = rng.standard_normal((3, N, dims))
        blocks = [np.tensordot(weights, noise, 1)]
        for level in (1, 2):
            fresh = rng.standard_normal(noise.shape)
            fresh[level:] = noise[level:]
            blocks.append(np.tensordot(weights, fresh, 1))
        features = torch.from_numpy(np.stack(blocks))
        found = terms(features) - terms(features.mean(dim=1, keepdim=True))
        covariance[:, simulation, 0, 0], variance[:, simulation, 0, 0] = found.numpy().swapaxes(1, 2)
    _, share, _, mean, _ = spectra(covariance, variance, 1)
    truth = weights**2 / (weights**2).sum()
    for level in range(3):
        check(share[..., level, :], truth[level])
    check(mean, truth @ np.arange(3))


def test_paired_differences() -> None:
    """Two checkpoints that are right where an image's hardness allows: P(u + v < 1) - P(u + v < 0.9)."""
    rng = np.random.default_rng(0)
    chances, hardness = rng.random((2, SIMULATIONS, N)), rng.random((SIMULATIONS, N))
    correct = (chances + hardness < np.array([1.0, 0.9])[:, None, None]).astype(np.float32)
    variable = schema.Variable("accuracy", ("layer",), "Accuracy", "1", "higher", "p", "r", no_interval="simulated")
    arrays = variable.arrays(correct[0].mean(axis=-1), per_image=correct[0])
    stacked = {
        "accuracy": (("checkpoint", "data", "layer"), correct.mean(axis=-1)[:, None], variable.attributes),
        "accuracy_image": (("checkpoint", "data", *arrays["accuracy_image"].dims), correct[:, None]),
    }
    coords = {name: ("checkpoint", [np.nan, np.nan]) for name in schema.CHECKPOINT_COORDS}
    attrs = {"schema_version": 1, "not_applicable": json.dumps({}), "provenance": json.dumps({})}
    ds = xr.Dataset(stacked, coords={"checkpoint": ["a", "b"], "data": ["simulated"], **coords}, attrs=attrs)
    found = evaluation.contrast(ds, baseline="b")
    check(found["accuracy_difference_ci"].transpose(..., "bound").values, 0.5 - 0.9**2 / 2)
