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

    def run(features, untrained: bool = False, inputs: str = "whitened"):
        measurements = Known(sets, features, tmp_path)
        return probes.find("level_recovery").run(measurements, landmarks=256, untrained=untrained, inputs=inputs)

    return run


def root(images) -> np.ndarray:
    return flat(images, 3)


def pixels(images) -> np.ndarray:
    return np.stack([images[i].astype(float).reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)) for i in range(len(images))])


def mapped(seed: int, slope: float):
    """A random invertible map of the latents of level 2, which hold the noise of levels 2 and 3 and nothing of 1.

    Linear, badly conditioned, for a slope of 1; else bent: negative values are multiplied by the slope in between.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 24, 24)) * np.exp((slope == 1) * rng.normal(size=24))

    def features(images) -> np.ndarray:
        mixed = flat(images, 2) @ first
        return np.where(mixed > 0, mixed, slope * mixed) @ second + 100

    return features


def plain(images) -> np.ndarray:
    return flat(images, 2)


def test_latents_and_any_invertible_linear_map_of_them_are_read_alike(recovered) -> None:
    found = recovered(plain)
    low, high = np.moveaxis(found["level_recovery_ci"].values[0], -1, 0)
    assert found["level_recovery"].attrs["whitened"] == [1.0]
    for seed in (0, 1):
        values = recovered(mapped(seed, 1.0))["level_recovery"].values[0]
        assert ((low <= values) & (values <= high))[1:].all(), (low, values, high)
        np.testing.assert_allclose(values, found["level_recovery"].values[0], atol=0.005)
        assert abs(values[0]) < 0.05
        assert values[1:].min() > 0.8


@pytest.mark.parametrize("slope", [0.8, 0.5])
def test_maps_that_bend_are_read_alike_within_the_interval(recovered, slope: float) -> None:
    """The interval reaches to what endless training images would read: there, a bent map reads as the latents do."""
    found = [recovered(one) for one in (plain, mapped(0, slope), mapped(1, slope))]
    values = np.stack([one["level_recovery"].values[0] for one in found])
    low, high = np.moveaxis(np.stack([one["level_recovery_ci"].values[0] for one in found]), -1, 0)
    assert (low.max(axis=0) <= high.min(axis=0)).all(), (low, high)
    assert (high[1:, 1:] >= values[0, 1:]).all()
    assert np.abs(values[:, 0]).max() < 0.05  # nothing of level 1 is in these latents
    assert (high[:, 0] < 0.2).all()
    limit = np.stack([one["level_recovery_limit"].values[0] for one in found])
    assert (np.ptp(limit, axis=0) < np.ptp(values, axis=0) + 0.02)[1:].all()


def test_either_reads_no_less_than_whitened_inputs_and_standardised_ones_depend_on_the_map(recovered) -> None:
    whitened, either, standardised = (
        [recovered(one, inputs=inputs)["level_recovery"].values[0] for one in (plain, mapped(0, 1.0))]
        for inputs in ("whitened", "either", "standardised")
    )
    assert (np.array(either) > np.array(whitened) - 0.01)[:, 1:].all()  # nothing of level 1 is in these latents
    assert standardised[0][1] > standardised[1][1] + 0.02


def test_too_few_images_to_whiten_is_said_and_standardised(sets, tmp_path) -> None:
    few = Splits(SPEC, replace(SEVERAL, train=40))
    measurements = Known(few, plain, tmp_path)
    found = probes.find("level_recovery").run(measurements, landmarks=40, untrained=False, inputs="whitened")
    assert found["level_recovery"].attrs["whitened"] == [0.0]
    assert np.isfinite(found["level_recovery_limit"]).all()
    assert (
        "there are 40 images: at layer 0 the inputs are standardised"
        in measurements.lacking["level_recovery, whitened"]
    )


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
    stands = {"level_recovery", "level_recovery_ci", "level_recovery_image"}
    assert set(found) == stands | {"level_recovery_limit", "level_recovery_limit_ci"}
    assert "drawn anew" in measurements.lacking["gain_amount"]


def test_where_half_the_images_are_too_few_to_whiten_there_is_no_limit(sets, tmp_path) -> None:
    measurements = Known(Splits(SPEC, replace(SEVERAL, train=60)), plain, tmp_path)
    found = probes.find("level_recovery").run(measurements, landmarks=40, untrained=False, inputs="whitened")
    assert np.isnan(found["level_recovery_limit"]).all()
    assert np.isfinite(found["level_recovery_ci"]).all()
    assert "half of 60 are too few at layer 0" in measurements.lacking["level_recovery_limit"]
