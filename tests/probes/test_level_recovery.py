"""The recovery profile on representations whose answers are known: maps of latents, and what fooled other readings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_known_answers import Given, flat
from tiny_measured import COUNTS, SPEC

from probekit import probes
from probekit.collect import Splits

SEVERAL = replace(COUNTS, train=700, val=200, test=500)


class Known(Given):
    """As `Given`; its untrained twins are the tiny model's, at their last layer."""

    def untrained(self, initialisation: int = 0):
        twin = super().untrained(initialisation)
        twin.__dict__["layers"] = [2]
        return twin


@pytest.fixture(scope="module")
def sets() -> Splits:
    return Splits(SPEC, SEVERAL)


@pytest.fixture
def recovered(sets, tmp_path):
    """The probe's arrays for features given as a function of an image set."""

    def run(features, untrained: bool = False, inputs: str = "either"):
        measurements = Known(sets, features, tmp_path)
        return probes.find("level_recovery").run(measurements, landmarks=256, untrained=untrained, inputs=inputs)

    return run


def root(images) -> np.ndarray:
    return flat(images, 3)


def pixels(images) -> np.ndarray:
    return np.stack([images[i].astype(float).reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)) for i in range(len(images))])


def mapped(seed: int, bent: bool):
    """A random invertible map of the latents of level 2, which hold the noise of levels 2 and 3 and nothing of 1."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 24, 24)) * np.exp(rng.normal(size=24))

    def features(images) -> np.ndarray:
        mixed = flat(images, 2) @ first
        return (np.where(mixed > 0, mixed, 0.5 * mixed) if bent else mixed) @ second + 100

    return features


def test_any_invertible_linear_map_of_the_same_latents_is_read_alike(recovered) -> None:
    first, other = (recovered(mapped(seed, bent=False)) for seed in (0, 1))
    low, high = np.moveaxis(first["level_recovery_ci"].values[0], -1, 0)
    values = other["level_recovery"].values[0]
    assert ((low <= values) & (values <= high))[1:].all(), (low, values, high)
    np.testing.assert_allclose(values, first["level_recovery"].values[0], atol=0.02)
    assert abs(values[0]) < 0.05
    assert values[1:].min() > 0.8


def test_a_map_that_bends_is_read_as_far_as_the_regressor_bends(recovered) -> None:
    values = recovered(mapped(2, bent=True))["level_recovery"].values[0]
    assert abs(values[0]) < 0.05
    assert values[1] > 0.65
    assert values[2] > 0.9


def test_whitened_inputs_are_the_same_for_every_linear_map_and_either_reads_no_less(recovered) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(24, 24))
    maps = (lambda images: flat(images, 2), lambda images: flat(images, 2) @ mixing * np.logspace(-3, 3, 24))
    plain, mapped = (recovered(one, inputs="whitened")["level_recovery"] for one in maps)
    np.testing.assert_allclose(mapped, plain, atol=0.005)
    both = [recovered(one)["level_recovery"] for one in maps]
    assert (both[0] > plain - 0.01).all()
    np.testing.assert_allclose(*both, atol=0.04)


@pytest.mark.parametrize(
    "features",
    [lambda images: 1 + 1e-5 * root(images), lambda images: np.sign(root(images)[:, :1]) * np.ones(4)],
    ids=["1 + 1e-5 root", "one bit of the root"],
)
def test_a_trace_of_the_root_gains_at_the_root_alone(recovered, features) -> None:
    found = recovered(features, untrained=True)
    recovery, gain = found["level_recovery"].values[0], found["recovery_gain"].values[0]
    assert np.abs(recovery[:2]).max() < 0.05
    assert (gain[:2] < 0).all()
    assert float(found["gain_amount"][0]) <= 1 - float(found["level_recovery_untrained"][0, 2]) + 0.01


def test_pixels_with_a_loud_root_keep_their_pixels(recovered) -> None:
    quiet = recovered(lambda images: pixels(images).reshape(len(images), -1))["level_recovery"].values[0]
    loud = recovered(
        lambda images: pixels(images).reshape(len(images), -1) / 255 + 100 * root(images)[:, :1] * np.ones(48)
    )["level_recovery"].values[0]
    assert loud[2] > quiet[2]
    np.testing.assert_allclose(loud[:2], quiet[:2], atol=0.06)


def test_features_that_never_vary_recover_nothing(recovered) -> None:
    found = recovered(lambda images: np.ones((len(images), 6)))
    np.testing.assert_allclose(found["level_recovery"], 0, atol=0.02)


def test_without_a_twin_the_recovery_stands_alone(sets, tmp_path, monkeypatch) -> None:
    measurements = Known(sets, lambda images: flat(images, 2), tmp_path)
    monkeypatch.setattr(type(measurements.model), "no_twin", "its weights cannot be drawn anew")
    found = probes.find("level_recovery").run(measurements, landmarks=64, untrained=True, inputs="either")
    assert set(found) == {"level_recovery", "level_recovery_ci", "level_recovery_image"}
    assert "drawn anew" in measurements.lacking["gain_amount"]
