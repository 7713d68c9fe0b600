"""Similarity between representations: against independent implementations, known answers, and the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

from probekit.errors import ProbeError
from probekit.measures import resample
from probekit.measures.similarity import METRICS, mutual_knn, procrustes, rsa, similarity


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(80, 6))
    return shared @ rng.normal(size=(6, 20)), shared @ rng.normal(size=(6, 35)) + 0.5 * rng.normal(size=(80, 35))


def test_mutual_neighbours_equal_scikit_learns(pair) -> None:
    found = []
    for features in pair:
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        found.append(NearestNeighbors(n_neighbors=6).fit(unit).kneighbors(unit, return_distance=False)[:, 1:])
    expected = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(*found, strict=True)])
    assert mutual_knn(*pair, k=5) == pytest.approx(expected, abs=1e-12)


def test_procrustes_equals_scipys(pair) -> None:
    padded = np.pad(pair[0], [(0, 0), (0, 15)])
    _, _, disparity = scipy_procrustes(pair[1], padded)  # 1 - s squared, with the best scale
    assert procrustes(*pair) == pytest.approx(np.sqrt(1 - disparity), abs=1e-9)
    wide = np.random.default_rng(1).normal(size=(80, 300))
    assert procrustes(pair[0], wide) == pytest.approx(
        np.linalg.norm((pair[0] - pair[0].mean(0)).T @ (wide - wide.mean(0)), "nuc")
        / np.linalg.norm(pair[0] - pair[0].mean(0)) / np.linalg.norm(wide - wide.mean(0)), abs=1e-9,
    )  # fmt: skip


def test_rsa_equals_scipys_correlation_of_ranks(pair) -> None:
    above = np.triu_indices(80, 1)
    ours, theirs = (1 - np.corrcoef(features)[above] for features in pair)
    assert rsa(*pair) == pytest.approx(spearmanr(ours, theirs).statistic, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_representation_is_at_one(pair, metric) -> None:
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(20, 20)))[0]
    moved = pair[0] if metric == "rsa" else pair[0] @ rotation  # Pearson's correlation is not kept by rotations
    found = similarity(pair[0], 3 * moved, metric, resample.blocks(80))
    assert found.value == pytest.approx(1, abs=1e-9)
    assert found.interval[0] <= 1 == found.interval[1]
    related = similarity(*pair, metric, resample.blocks(80))
    assert 0.2 < related.value < 1
    assert related.interval[0] > 0


@pytest.mark.parametrize("width", [64, 512, 4096])
@pytest.mark.parametrize("metric", METRICS)
def test_independent_pairs_are_at_zero_at_every_width(metric, width) -> None:
    """The raw metrics are not: Procrustes is 0.9 and more at 512."""
    rng = np.random.default_rng(width)
    for seed in range(2):
        found = similarity(
            rng.normal(size=(60, width)), rng.normal(size=(60, width)), metric, resample.blocks(60), seed=seed
        )
        assert found.interval[0] <= 0 <= found.interval[1]
        if metric == "procrustes" and width > 64:
            assert found.raw > 0.8


def test_what_cannot_be_compared(pair) -> None:
    blocks = resample.blocks(80)
    assert np.isnan(similarity(np.ones((80, 3)), pair[0], "cka", blocks).value)
    with pytest.raises(ProbeError, match="Did you mean 'procrustes'"):
        similarity(*pair, "procrusts", blocks)
    with pytest.raises(ProbeError, match="80 and 40 images"):
        similarity(pair[0], pair[1][:40], "cka", blocks)
