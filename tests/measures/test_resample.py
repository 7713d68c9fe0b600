"""Intervals: coverage in simulations, invariance to order, groups, the jackknife against known errors, corrections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from probekit.errors import ProbeError
from probekit.measures import level_shares, regress, resample

N = 500
SLOPE, NOISE = 1.0, 1.0
WEIGHTS = (0.8, 0.6, 1.0)


def accuracy(p: float) -> Callable[[np.random.Generator, int], tuple[np.ndarray, float]]:
    return lambda rng, sets: ((rng.random((sets, N)) < p).astype(float), p)


def mean_ssim(rng: np.random.Generator, sets: int) -> tuple[np.ndarray, float]:
    return rng.beta(6, 2, size=(sets, N)), 0.75


def paired(rng: np.random.Generator, sets: int) -> tuple[np.ndarray, float]:
    hardness = rng.random((sets, N))
    first, second = (rng.random((2, sets, N)) + hardness < np.array([1.0, 0.9])[:, None, None]).astype(float)
    # P(u + v < 1) - P(u + v < 0.9)
    return first - second, 0.5 - 0.9**2 / 2


def r2_of_fixed_fit(rng: np.random.Generator, sets: int) -> tuple[np.ndarray, float]:
    """Contributions to R² of the fixed predictor 0.9 x of y = x + noise: 1 - (0.01 + 1) / 2."""
    x, noise = rng.standard_normal((2, sets, N))
    y = SLOPE * x + NOISE * noise
    return np.stack(
        [1 - resample.ratio_influence(*regress.r2_terms(a, b)) for a, b in zip(y, 0.9 * x, strict=True)]
    ), 1 - 1.01 / 2


def level_share(rng: np.random.Generator, sets: int) -> tuple[np.ndarray, float]:
    """Contributions to S_1 of 3-dim features with noise at three levels."""
    pixel, low, high = WEIGHTS
    out = []
    for _ in range(sets):
        ours, theirs, middle, top = rng.standard_normal((4, N, 3))
        shared = low * middle + high * top
        terms = level_shares.level_terms(shared + pixel * ours, shared + pixel * theirs)
        out.append(resample.ratio_influence(*terms))
    return np.stack(out), (low**2 + high**2) / (pixel**2 + low**2 + high**2)


CASES = {
    "accuracy 0.3": accuracy(0.3),
    "accuracy 0.5": accuracy(0.5),
    "accuracy 0.9": accuracy(0.9),
    "mean ssim": mean_ssim,
    "paired difference": paired,
    "r2": r2_of_fixed_fit,
    "level share": level_share,
}


@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_the_truth_in_93_to_97_percent_of_2000_simulations(case: str) -> None:
    """All 2,000 simulated sets are resampled with the same counts, as rows of one product: it takes a second."""
    values, truth = CASES[case](np.random.default_rng(0), 2000)
    low, high = resample.mean_interval(values, draws=1000, seed=1).T
    covered = ((low <= truth) & (truth <= high)).mean()
    assert 0.93 <= covered <= 0.97


def test_order_of_images_does_not_matter_where_it_is_given() -> None:
    rng = np.random.default_rng(0)
    values, order = rng.random((3, 50)), rng.permutation(500)[:50]
    shuffled = rng.permutation(50)
    first = resample.mean_interval(values, order=order, seed=3)
    np.testing.assert_allclose(resample.mean_interval(values[:, shuffled], order=order[shuffled], seed=3), first)
    groups = order % 7
    first = resample.mean_interval(values, groups=groups, seed=3)
    np.testing.assert_allclose(resample.mean_interval(values[:, shuffled], groups=groups[shuffled], seed=3), first)


def test_seeds_repeat_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(100)
    first = resample.mean_interval(values, seed=5)
    np.testing.assert_array_equal(resample.mean_interval(values, seed=5), first)
    assert not np.array_equal(resample.mean_interval(values, seed=6), first)
    monkeypatch.setattr(resample, "CHUNK", 1700)
    np.testing.assert_allclose(resample.mean_interval(values, seed=5), first, rtol=1e-12)


def test_groups_widen_where_members_repeat() -> None:
    values = np.repeat(np.random.default_rng(0).random(40), 10)
    alone = resample.mean_interval(values)
    together = resample.mean_interval(values, groups=np.repeat(np.arange(40), 10))
    assert np.diff(together) / np.diff(alone) == pytest.approx(np.sqrt(10), rel=0.1)
    plain = resample.mean_interval(values[::10])
    np.testing.assert_allclose(together, plain, atol=0.01)


def test_unused_images_are_left_out() -> None:
    values = np.random.default_rng(0).random(60)
    with_gaps = np.concatenate([values, np.full(60, np.nan)])
    found = resample.mean_interval(with_gaps)
    assert found[0] < values.mean() < found[1]
    assert np.isnan(resample.mean_interval(np.full((2, 9), np.nan))).all()


def test_an_interval_of_a_ratio_holds_it() -> None:
    rng = np.random.default_rng(0)
    below = rng.random(400) + 1
    above = 0.5 * below + 0.1 * rng.standard_normal(400)
    low, high = resample.ratio_interval(above, below)
    assert low < above.sum() / below.sum() < high
    assert high - low < 0.05
    assert resample.ratio_influence(above, below).mean() == pytest.approx(above.sum() / below.sum())
    np.testing.assert_allclose(resample.mean_interval(resample.ratio_influence(above, below)), [low, high], atol=2e-3)


def test_the_influence_is_the_derivative_of_the_ratio_in_an_images_weight() -> None:
    rng = np.random.default_rng(1)
    above, below = rng.random((2, 3, 50))
    step = 1e-6
    for image in (0, 17):
        weights = np.ones(50)
        weights[image] += step
        slope = (resample.ratio(weights * above, weights * below) - resample.ratio(above, below)) / step * 50
        found = resample.ratio_influence(above, below)[:, image] - resample.ratio(above, below)
        np.testing.assert_allclose(found, slope, rtol=1e-4)
    assert np.isnan(resample.ratio_influence(np.ones(4), np.zeros(4))).all()


def test_outcomes_that_all_agree_have_wilsons_interval() -> None:
    z = stats.norm.ppf(0.975)
    for value in (0.0, 1.0):
        low, high = resample.mean_interval(np.full(40, value))
        wanted = stats.binomtest(int(40 * value), 40).proportion_ci(0.95, method="wilson")
        assert (low, high) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    grouped = resample.mean_interval(np.ones(40), groups=np.arange(40) // 4)
    assert grouped[0] == pytest.approx(10 / (10 + z**2))
    some = np.array([[1.0] * 40, [1.0] * 39 + [0.0], [np.nan] * 40])
    found = resample.mean_interval(some)
    np.testing.assert_allclose(found[0], [40 / (40 + z**2), 1])
    np.testing.assert_array_equal(found[1], resample.mean_interval(some[1]))
    assert np.isnan(found[2]).all()
    np.testing.assert_array_equal(resample.mean_interval(np.full(9, 0.5)), [0.5, 0.5])


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).standard_normal(100)
    split = resample.blocks(100, count=100)
    value, interval = resample.jackknife(lambda kept: float(values[kept[split.of_image]].mean()), split.count)
    assert value == pytest.approx(values.mean())
    reach = stats.t.ppf(0.975, 99) * values.std(ddof=1) / 10
    np.testing.assert_allclose(interval, [value - reach, value + reach])


def jackknifed(statistic: Callable[[np.ndarray], float], n: int, *, seed: int) -> tuple[float, np.ndarray]:
    split = resample.blocks(n, seed=seed)
    return resample.jackknife(lambda kept: statistic(np.flatnonzero(kept[split.of_image])), split.count)


@pytest.mark.parametrize("method", [jackknifed, resample.subsample_interval])
def test_subsets_cover_a_smooth_statistic(method: Callable[..., tuple[float, np.ndarray]]) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for i in range(200):
        values = rng.gamma(2, size=100)
        _, (low, high) = method(lambda kept, v=values: float(np.log(v[kept].mean())), 100, seed=i)
        covered += low <= np.log(2) <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_blocks_are_even_and_keep_groups_together() -> None:
    split = resample.blocks(103, count=10)
    assert np.ptp(np.bincount(split.of_image)) == 1
    groups = np.repeat(np.arange(30), 3)
    split = resample.blocks(90, count=10, groups=groups)
    assert all(len(set(split.of_image[groups == g])) == 1 for g in range(30))
    assert resample.blocks(5, count=20).count == 5


def test_bad_input_is_named() -> None:
    with pytest.raises(ProbeError, match="two or more to resample"):
        resample.mean_interval([1.0])
    with pytest.raises(ProbeError, match="nothing to resample"):
        resample.mean_interval([])
    with pytest.raises(ProbeError, match="each must have its own index"):
        resample.mean_interval([1.0, 2.0], order=[3, 3])
    with pytest.raises(ProbeError, match="groups of shape"):
        resample.mean_interval([1.0, 2.0], groups=[1])
    with pytest.raises(ProbeError, match="between 0 and 1"):
        resample.mean_interval([1.0, 2.0], confidence=95)
    with pytest.raises(ProbeError, match="leaves some in"):
        resample.subsample_interval(lambda i: 0.0, 10, fraction=1.0)
    with pytest.raises(ProbeError, match="two or more to leave out"):
        resample.blocks(1)


def test_wilson_is_scipys() -> None:
    from scipy.stats import binomtest

    for hits, count in ((0, 12), (5, 12), (12, 12), (1, 1)):
        expected = binomtest(hits, count).proportion_ci(method="wilson")
        np.testing.assert_allclose(resample.wilson(hits, count), [expected.low, expected.high], atol=1e-12)
    assert np.isnan(resample.wilson(0, 0)).all()
