"""The recovery profile: known answers, amount and height of nothing, coverage of its intervals by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.errors import ProbeError
from probekit.measures.recovery_profile import recovery_limit, recovery_profile

LEVELS = np.array([1, 1, 2, 3])


def simulated(rng: np.random.Generator, r2: np.ndarray, images: int, total: np.ndarray) -> np.ndarray:
    """Squared errors (layers, nodes, images) of predictors with these R² (layers, nodes)."""
    return (1 - r2)[..., None] * rng.chisquare(4, size=(*r2.shape, images)) / 4 * total.mean()


def worlds(seed: int, images: int, gain: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals, deviations and residuals of two twins: recovery .5, .3, .6 by level, `gain` of it by training."""
    rng = np.random.default_rng(seed)
    total = rng.chisquare(4, size=(4, images)) / 4
    r2 = np.array([[0.5, 0.5, 0.3, 0.6]])
    twins = np.stack([simulated(rng, r2 - gain, images, np.ones(1)) for _ in range(2)])
    return simulated(rng, r2, images, np.ones(1)), total, twins


def test_it_is_the_mean_over_nodes_and_its_difference() -> None:
    residual, total, twins = worlds(0, 20_000, 0.2)
    found = recovery_profile(residual, total, LEVELS, untrained=twins)
    np.testing.assert_allclose(found.recovery.value[0], [0.5, 0.3, 0.6], atol=0.02)
    np.testing.assert_allclose(found.untrained.value[0], [0.3, 0.1, 0.4], atol=0.02)
    np.testing.assert_allclose(found.gain.value, found.recovery.value - found.untrained.value)
    np.testing.assert_allclose(found.amount.value, found.gain.value.sum())
    np.testing.assert_allclose(found.height.value, (found.gain.value @ [1, 2, 3]) / found.amount.value)
    each = 1 - residual.sum(axis=2) / total.sum(axis=1)
    np.testing.assert_allclose(found.recovery.value[0, 0], each[0, :2].mean())
    for one in (found.recovery, found.untrained, found.gain, found.amount, found.height):
        np.testing.assert_allclose(one.per_image.mean(axis=-1), one.value)
        assert (one.interval[..., 0] < one.value).all()
        assert (one.value < one.interval[..., 1]).all()


def test_only_levels_that_gained_count_and_losses_have_no_height() -> None:
    residual, total, twins = worlds(1, 5000, 0.2)
    twins[..., 3, :] *= 0.1  # the twin is better at level 3
    found = recovery_profile(residual, total, LEVELS, untrained=twins)
    assert found.gain.value[0, 2] < 0
    np.testing.assert_allclose(found.amount.value, found.gain.value[0, :2].sum())
    np.testing.assert_allclose(found.height.value, found.gain.value[0, :2] @ [1, 2] / found.amount.value)
    worse = recovery_profile(residual * 4, total, LEVELS, untrained=twins)
    assert worse.amount.value == 0
    assert np.isnan(worse.height.value).all()
    assert np.isnan(worse.height.interval).all()


def test_without_twins_there_is_a_recovery_and_with_one_image_no_interval() -> None:
    residual, total, twins = worlds(2, 50, 0.2)
    assert recovery_profile(residual, total, LEVELS).gain is None
    one = recovery_profile(residual[..., :1], total[:, :1], LEVELS, untrained=twins[..., :1])
    assert np.isfinite(one.recovery.value).all()
    assert np.isnan(one.recovery.interval).all()
    with pytest.raises(ProbeError, match=r"expected \(layers, nodes, images\)"):
        recovery_profile(residual, total[:2], LEVELS)


def test_intervals_cover_and_no_gain_has_rarely_a_height() -> None:
    """200 simulated test sets of 300 images each."""
    covered, heights = np.zeros(3), 0
    for seed in range(200):
        residual, total, twins = worlds(seed, 300, 0.2)
        found = recovery_profile(residual, total, LEVELS, untrained=twins)
        for i, (one, truth) in enumerate(((found.gain, 0.2), (found.amount, 0.6), (found.height, 2.0))):
            low, high = np.moveaxis(one.interval, -1, 0)
            covered[i] += np.mean((low <= truth) & (truth <= high))
        nothing = recovery_profile(*worlds(seed, 300, 0.0)[:2], LEVELS, untrained=worlds(seed, 300, 0.0)[2])
        heights += bool(np.isfinite(nothing.height.value).all())
    assert ((covered / 200 > 0.9) & (covered / 200 < 0.99)).all(), covered / 200
    assert heights / 200 < 0.15, heights / 200


def test_the_limit_goes_on_where_doubling_led_and_ends_at_one() -> None:
    residual, total, _ = worlds(3, 400, 0.0)
    half = residual * 1.1
    value, interval = recovery_limit(residual, half, total, LEVELS, seed=1)
    full = recovery_profile(residual, total, LEVELS, seed=1).recovery
    left = (1 - full.value) * 0.1 / (2**0.5 - 1)  # half the strength leaves a tenth more
    np.testing.assert_allclose(value, full.value + left)
    assert ((interval[..., 0] < value) & (value < interval[..., 1])).all()
    np.testing.assert_allclose(recovery_limit(residual, residual * 0.9, total, LEVELS)[0], full.value)  # no gain
    assert (recovery_limit(residual, residual * 3, total, LEVELS)[0] == 1).all()
