"""The level spectrum: known answers of a linear world, moments batch by batch, positions, scalings."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.errors import ProbeError
from probekit.measures import level_shares

HEIGHT = 3


def pairs(weights: list[float], n: int = 4000, dims: int = 6) -> tuple[np.ndarray, list[np.ndarray]]:
    """f(x) = sum of independent noise of levels 0..H with given weights; partners that share levels >= h, h = 1..H."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((len(weights), n, dims))
    features = np.tensordot(weights, noise, 1)
    partners = []
    for level in range(1, len(weights)):
        fresh = rng.standard_normal(noise.shape)
        fresh[level:] = noise[level:]
        partners.append(np.tensordot(weights, fresh, 1))
    return features, partners


@pytest.mark.parametrize("level", range(HEIGHT + 1))
def test_noise_of_one_level_is_one_step(level: int) -> None:
    weights = [0.0] * (HEIGHT + 1)
    weights[level] = 1.0
    features, partners = pairs(weights)
    shares = level_shares.spectrum([level_shares.level_share(features, p) for p in partners])
    np.testing.assert_allclose(shares, np.eye(HEIGHT + 1)[level], atol=0.03)
    assert level_shares.representation_level(shares) == pytest.approx(level, abs=0.05)


def test_latents_of_a_level_give_nothing_below_it() -> None:
    features, partners = pairs([0.0, 0.0, 1.0, 2.0])
    shares = level_shares.spectrum([level_shares.level_share(features, p) for p in partners])
    np.testing.assert_allclose(shares, [0, 0, 0.2, 0.8], atol=0.03)
    assert shares.sum() == pytest.approx(1)


def test_shuffled_partners_share_nothing() -> None:
    features, partners = pairs([1.0, 1.0, 1.0, 1.0])
    mixed = np.random.default_rng(1).permutation(partners[0])
    assert abs(level_shares.level_share(features, mixed)) < 0.03


def test_share_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 30, 4)) * [1, 2, 3, 4] + 5
    covariance = sum(np.cov(a[:, i], b[:, i])[0, 1] for i in range(4))
    variance = 0.5 * (a.var(axis=0, ddof=1) + b.var(axis=0, ddof=1)).sum()
    assert level_shares.level_share(a, b) == pytest.approx(covariance / variance)
    each = [2 * np.cov(a[:, i], b[:, i])[0, 1] / (a[:, i].var(ddof=1) + b[:, i].var(ddof=1)) for i in range(4)]
    assert level_shares.level_share(a, b, scaling="standardised") == pytest.approx(np.mean(each))


def test_positions_do_not_count_as_content() -> None:
    rng = np.random.default_rng(0)
    offset = 100 * rng.standard_normal((1, 9, 4))
    a, b = rng.standard_normal((2, 500, 9, 4))
    assert abs(level_shares.level_share(a + offset, b + offset)) < 0.05


def test_standardised_is_not_ruled_by_an_outlier_nor_by_constants() -> None:
    features, partners = pairs([1.0, 0.0, 0.0, 1.0])
    features[:, 0] = 1000 * np.random.default_rng(2).standard_normal(len(features))
    partner = partners[-1].copy()
    partner[:, 0] = features[:, 0]
    with_constant = [np.concatenate([x, np.full((len(x), 2), 3.0)], axis=1) for x in (features, partner)]
    assert level_shares.level_share(*with_constant) > 0.99
    assert level_shares.level_share(*with_constant, scaling="standardised") == pytest.approx(
        (5 * 0.5 + 1) / 6, abs=0.03
    )


def test_terms_sum_to_the_shares() -> None:
    features, partners = pairs([1.0, 0.5, 0.7, 1.0], n=200)
    terms = [level_shares.level_terms(features, p) for p in partners]
    nested = [a.sum() / b.sum() for a, b in terms]
    assert nested == pytest.approx([level_shares.level_share(features, p) for p in partners])


@pytest.mark.parametrize("scaling", level_shares.SCALINGS)
def test_terms_of_a_few_pairs_at_a_time_are_those_of_all(scaling: str) -> None:
    features, partners = pairs([1.0, 0.5, 0.7, 1.0], n=50)
    features[:, 2] = partners[0][:, 2] = 3.0  # constant: counts for nothing, in every part
    moments = level_shares.Moments(), level_shares.Moments()
    parts = np.split(np.arange(50), [20, 21])
    for part in parts:
        for one, array in zip(moments, (features, partners[0]), strict=True):
            one.update(array[part])
    found = [level_shares.terms_about(features[p], partners[0][p], moments, scaling=scaling) for p in parts]
    np.testing.assert_allclose(
        np.concatenate(found, axis=1), level_shares.level_terms(features, partners[0], scaling=scaling), rtol=1e-10
    )


def tokens(n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    common = rng.standard_normal((n, 5, 3))
    own = rng.standard_normal((2, n, 5, 3))
    return tuple(1e3 + (common + x) * [1, 10, 0.1] for x in own)  # type: ignore[return-value]


def test_moments_are_exact_for_large_means() -> None:
    a, _ = tokens()
    moments = level_shares.Moments()
    for part in np.array_split(a + 1e6, 13):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, (a + 1e6).mean(axis=0))
    np.testing.assert_allclose(moments.variance, a.var(axis=0), rtol=1e-4)
    assert moments.count == len(a)


def test_bad_input_is_named() -> None:
    a, b = tokens()
    with pytest.raises(ProbeError, match="representation is constant"):
        level_shares.level_share(np.ones((5, 2)), np.ones((5, 2)))
    with pytest.raises(ProbeError, match="come in pairs"):
        level_shares.level_share(a, b[:5])
    with pytest.raises(ProbeError, match="Did you mean 'standardised'"):
        level_shares.level_share(a, b, scaling="standardized")
    with pytest.raises(ProbeError, match="NaN"):
        level_shares.level_share(a * np.nan, b)
