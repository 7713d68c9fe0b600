"""Intervals and correlations against independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from probekit.report import statistics


def test_quantiles_are_those_of_scipy() -> None:
    for freedom in (1, 3, 15):
        assert statistics.t_quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom))
    assert statistics.normal_quantile(0.95) == pytest.approx(stats.norm.ppf(0.975))


def test_between_seeds_pools_squares_and_degrees_of_freedom() -> None:
    seeds = statistics.between_seeds([[1.0, 3.0], [5.0, 5.0, 8.0], [4.0]])
    assert seeds.freedom == 3
    assert seeds.deviation == pytest.approx(math.sqrt((2 + 6) / 3))
    wanted = stats.t.ppf(0.975, 3) * seeds.deviation * math.sqrt(1 / 2 + 1 / 3)
    assert seeds.least_difference(2, 3) == pytest.approx(wanted)
    assert seeds.least_difference(2, 3, comparisons=10) > wanted


def test_one_run_per_setting_separates_nothing() -> None:
    seeds = statistics.between_seeds([[1.0], [2.0]])
    assert seeds.freedom == 0
    assert seeds.least_difference(1, 1) == math.inf


def test_two_settings_of_two_seeds_give_the_interval_of_the_t_test() -> None:
    a, b = [1.0, 1.4], [2.0, 2.1]
    interval = stats.ttest_ind(b, a).confidence_interval(0.95)
    half = statistics.between_seeds([a, b]).least_difference(2, 2)
    assert half == pytest.approx((interval.high - interval.low) / 2)


@pytest.fixture
def images() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(4, 50))
    values[1, :10] = np.nan
    values[3] = np.nan
    return values


def test_all_pairs_is_the_paired_normal_interval_over_shared_images(images: np.ndarray) -> None:
    mean, half = statistics.all_pairs(images)
    for i in range(3):
        for j in range(3):
            difference = (images[i] - images[j])[np.isfinite(images[i] - images[j])]
            assert mean[i, j] == pytest.approx(difference.mean(), abs=1e-12)
            assert half[i, j] == pytest.approx(stats.norm.ppf(0.975) * stats.sem(difference), abs=1e-12)
    assert np.isnan(mean[3]).all()
    assert np.isnan(half[:, 3]).all()


def test_groups_of_one_image_change_nothing_and_copies_widen(images: np.ndarray) -> None:
    alone = statistics.all_pairs(images)
    for one, other in zip(alone, statistics.all_pairs(images, np.arange(50)), strict=True):
        np.testing.assert_allclose(one, other)
    copies = np.repeat(images[[0, 2]], 5, axis=1)  # five copies carry no more than one
    mean, half = statistics.all_pairs(copies, np.repeat(np.arange(50), 5))
    np.testing.assert_allclose(mean, alone[0][np.ix_([0, 2], [0, 2])], atol=1e-12)
    np.testing.assert_allclose(half, alone[1][np.ix_([0, 2], [0, 2])], atol=1e-12)


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    a, b = [1, 2, 2, 5, 7, 3], [2, 1, 1, 8, 8, 4]
    assert statistics.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert math.isnan(statistics.rank_correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(statistics.rank_correlation([1, 2], [1, 2]))
