"""Identifiability with latents as features: one for permuted and scaled truth, the null for independent noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_known_answers import Given
from tiny_measured import COUNTS, SPEC

from probekit.collect import Splits
from probekit.collect.recorders import chosen_nodes
from probekit.probes import identifiability


@pytest.fixture(scope="module")
def sets() -> Splits:
    return Splits(SPEC, replace(COUNTS, train=600, val=200, test=300))


def measured(sets, features, folder):
    found = identifiability.run(Given(sets, features, folder))
    return {name: found[name].sel(target="noise").isel(layer=0) for name in ("mcc", "sap", "dci_disentanglement",
            "dci_completeness", "block_r2", "mcc_ci", "sap_ci", "block_r2_ci")}  # fmt: skip


def test_permuted_scaled_and_flipped_noise_is_at_one(sets, tmp_path) -> None:
    def features(images) -> np.ndarray:
        """The noise of every level that the probe asks about, in another order, of other scales and signs."""
        levels = [images.noise[level][:, chosen_nodes(images.noise[level].shape[1])] for level in sorted(images.noise)]
        stacked = np.concatenate([one.reshape(len(one), -1) for one in levels], axis=1)
        rng = np.random.default_rng(0)
        return stacked[:, rng.permutation(stacked.shape[1])] * rng.choice([-3, 0.5, 2], stacked.shape[1])

    found = measured(sets, features, tmp_path)
    for name in ("mcc", "block_r2"):
        np.testing.assert_allclose(found[name], 1, atol=1e-3, err_msg=name)
    for name in ("sap", "dci_disentanglement", "dci_completeness"):
        assert (found[name].sel(level=[1, 2]) > 0.9).all(), name  # the top level's dimensions go together by class


def test_independent_features_are_at_their_null(sets, tmp_path) -> None:
    def features(images) -> np.ndarray:
        return np.random.default_rng(len(images)).normal(size=(len(images), 20))

    found = measured(sets, features, tmp_path)
    for name in ("mcc", "sap"):
        low, high = found[f"{name}_ci"].T.values
        assert (np.abs(found[name]) < 0.1).all(), name
        assert (low <= 0.03).all(), name
        assert (high >= -0.03).all(), name
    assert (found["block_r2"] < 0.02).all()
    assert (found["dci_disentanglement"] < 0.4).all()
