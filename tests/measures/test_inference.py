"""Tests, intervals and corrections of means against independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from probekit.errors import ProbeError
from probekit.measures import inference


def test_quantiles_and_p_are_those_of_scipy() -> None:
    for freedom in (1, 3, 15):
        assert inference.t_quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom))
        assert inference.t_test(1.3, 0.5, freedom) == pytest.approx(2 * stats.t.sf(2.6, freedom))
    assert inference.t_test([0.0, 1.0, np.nan, 1.0], [0.0, 0.0, 1.0, 1.0], [3, 3, 3, 0]).tolist()[:2] == [1.0, 0.0]
    assert np.isnan(inference.t_test([np.nan, 1.0], [1.0, 1.0], [3, 0])).all()


def test_a_mean_and_its_error_are_those_of_the_t_test() -> None:
    values = np.random.default_rng(0).normal(size=(3, 30))
    values[1, :25] = np.nan
    mean, error, freedom = inference.mean_error(values)
    for i in range(3):
        used = values[i][np.isfinite(values[i])]
        assert (mean[i], error[i], freedom[i]) == pytest.approx((used.mean(), stats.sem(used), len(used) - 1))


def test_welch_is_that_of_scipy_and_variances_that_of_bartlett() -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=4), 3 * rng.normal(size=6), rng.normal(size=3)
    estimate, error, freedom = inference.weighted_means([a, b], [-1, 1])
    wanted = stats.ttest_ind(b, a, equal_var=False)
    assert estimate / error == pytest.approx(wanted.statistic)
    assert freedom == pytest.approx(wanted.df)
    assert inference.equal_variances([a, b, c, [1.0]]) == pytest.approx(stats.bartlett(a, b, c).pvalue)
    assert math.isnan(inference.equal_variances([a, [1.0]]))


def test_corrections_are_those_of_their_authors() -> None:
    p = [0.01, 0.04, 0.03, np.nan]
    np.testing.assert_allclose(inference.adjusted(p, "holm"), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(inference.adjusted(p, "bonferroni"), [0.03, 0.12, 0.09, np.nan])
    np.testing.assert_allclose(inference.adjusted([[0.5, 0.9]], "holm"), [[1.0, 1.0]])
    many = np.random.default_rng(0).random(50) ** 2
    np.testing.assert_allclose(inference.adjusted(many, "bh"), stats.false_discovery_control(many))
    assert inference.corrected_confidence(0.95, 5) == pytest.approx(0.99)
    with pytest.raises(ProbeError, match="comparisons=0"):
        inference.corrected_confidence(0.95, 0)
    with pytest.raises(ProbeError, match="method='none'"):
        inference.adjusted(p, "none")


@pytest.fixture
def images() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(4, 50))
    values[1, :10] = np.nan
    values[3] = np.nan
    return values


def test_all_pairs_is_the_paired_t_interval_over_shared_images(images: np.ndarray) -> None:
    mean, half = inference.all_pairs(images, 0.95)
    for i in range(3):
        for j in range(3):
            difference = (images[i] - images[j])[np.isfinite(images[i] - images[j])]
            assert mean[i, j] == pytest.approx(difference.mean(), abs=1e-12)
            assert half[i, j] == pytest.approx(
                stats.t.ppf(0.975, len(difference) - 1) * stats.sem(difference), abs=1e-12
            )
    assert np.isnan(mean[3]).all()
    assert np.isnan(half[:, 3]).all()


def test_groups_of_one_image_change_nothing_and_copies_widen(images: np.ndarray) -> None:
    alone = inference.all_pairs(images, 0.95)
    for one, other in zip(alone, inference.all_pairs(images, 0.95, np.arange(50)), strict=True):
        np.testing.assert_allclose(one, other)
    copies = np.repeat(images[[0, 2]], 5, axis=1)  # five copies carry no more than one
    mean, half = inference.all_pairs(copies, 0.95, np.repeat(np.arange(50), 5))
    np.testing.assert_allclose(mean, alone[0][np.ix_([0, 2], [0, 2])], atol=1e-12)
    np.testing.assert_allclose(half, alone[1][np.ix_([0, 2], [0, 2])], atol=1e-12)


def test_all_pairs_of_any_pattern_of_missing_images_are_what_each_pair_gives() -> None:
    draw = np.random.default_rng(1)
    values = draw.normal(size=(7, 60)) * draw.uniform(1e-6, 1e3, size=(7, 1))
    values[:3, :20] = np.nan
    values[3, 5:30] = np.nan
    values[6] = values[5]  # no difference: no width either
    for groups in (None, draw.integers(0, 9, 60)):
        mean, half = inference.all_pairs(values, 0.95, groups)
        for i in range(7):
            centre, error, freedom = inference.mean_error(values[i] - values, groups)
            np.testing.assert_allclose(mean[i], centre, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(half[i], inference.t_quantile(0.95, freedom) * error, rtol=1e-12, atol=1e-18)
        assert (mean[5, 6], half[5, 6]) == (0, 0)


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    a, b = [1, 2, 2, 5, 7, 3], [2, 1, 1, 8, 8, 4]
    assert inference.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert math.isnan(inference.rank_correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(inference.rank_correlation([1, 2], [1, 2]))
