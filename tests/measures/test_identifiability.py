"""Identifiability measures: known answers for permuted, rotated and independent codes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from probekit.errors import ProbeError
from probekit.measures import regress
from probekit.measures.identifiability import correlations, dci, match, mcc, sap


def halves(codes, latents):
    return codes[::2], latents[::2], codes[1::2], latents[1::2]


def measured(codes, latents):
    fit_codes, fit_latents, codes, latents = halves(codes, latents)
    chosen = match(fit_codes, fit_latents)
    weights = regress.ridge(fit_codes, fit_latents, codes, latents).weights
    return {"mcc": mcc(codes, latents, chosen), "sap": sap(codes, latents, chosen), "dci": dci(weights)}


@pytest.fixture
def latents():
    return np.random.default_rng(0).normal(size=(4000, 6))


def test_permuted_scaled_and_flipped_truth_is_at_one(latents) -> None:
    scale = np.array([2.0, -1, 0.1, -5, 3, 1])
    codes = (latents * scale)[:, [3, 0, 5, 1, 4, 2]]
    codes = np.concatenate([codes, np.random.default_rng(1).normal(size=(4000, 10))], axis=1)
    found = measured(codes, latents)
    assert found["mcc"] == pytest.approx(1, abs=1e-9)
    assert found["sap"] == pytest.approx(1, abs=0.01)
    assert min(found["dci"]) > 0.97


def test_a_rotation_is_read_but_not_identified(latents) -> None:
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0]
    found = measured(latents @ rotation, latents)
    assert found["mcc"] < 0.9
    assert found["sap"] < 0.5
    assert max(found["dci"]) < 0.6


def test_independent_codes_are_at_their_null() -> None:
    """MCC with the best match on the same images would be far from 0: 0.2 here."""
    rng = np.random.default_rng(3)
    values = [measured(rng.normal(size=(600, 100)), rng.normal(size=(600, 6))) for _ in range(5)]
    assert abs(np.mean([one["mcc"] for one in values])) < 0.03
    assert abs(np.mean([one["sap"] for one in values])) < 0.01
    assert max(max(one["dci"]) for one in values) < 0.35
    codes, known = rng.normal(size=(300, 100)), rng.normal(size=(300, 6))
    assert mcc(codes, known, match(codes, known)) > 0.12


def test_dci_equals_the_entropies_written_out() -> None:
    importance = np.random.default_rng(4).random((5, 3))
    importance /= importance.sum(axis=0)
    disentanglement, completeness = dci(importance)
    rows = importance.sum(1) / importance.sum()
    assert disentanglement == pytest.approx(
        sum(w * (1 - entropy(r, base=3)) for w, r in zip(rows, importance, strict=True))
    )
    columns = importance.sum(0) / importance.sum()
    expected = sum(w * (1 - entropy(c, base=5)) for w, c in zip(columns, importance.T, strict=True))
    assert completeness == pytest.approx(expected)
    assert np.isnan(dci(np.zeros((3, 2)))[0])


def test_correlations_equal_numpys_and_refuse_what_does_not_fit(latents) -> None:
    codes = latents[:, :3] + 1
    expected = np.corrcoef(codes.T, latents.T)[:3, 3:]
    np.testing.assert_allclose(correlations(codes, latents), expected, atol=1e-12)
    with pytest.raises(ProbeError, match="expected"):
        correlations(codes[:5], latents)
    with pytest.raises(ProbeError, match="two or more"):
        match(codes[:, :1], latents)
