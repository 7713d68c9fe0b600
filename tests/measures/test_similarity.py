"""Similarity of representations: known answers and an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.errors import ProbeError
from probekit.measures import resample
from probekit.measures.similarity import debiased_cka, debiased_cka_interval


def features(dims: int, seed: int, n: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dims))


def test_rotation_and_scale_do_not_matter_and_a_permutation_of_images_does() -> None:
    x = features(10, 0)
    rotation = np.linalg.qr(features(10, 1, 10))[0]
    assert debiased_cka(x, 5 * x @ rotation - 3) == pytest.approx(1)
    assert abs(debiased_cka(x, x[np.random.default_rng(0).permutation(120)])) < 0.15


@pytest.mark.parametrize("dims", [4, 64, 1024])
def test_independent_features_score_zero_at_any_width(dims: int) -> None:
    found = [debiased_cka(features(dims, i), features(dims, 100 + i)) for i in range(30)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(30) + 1e-3


def test_equals_the_sum_over_quadruples() -> None:
    """HSIC is the mean over ordered quadruples of different images of k(i,j) [l(i,j) + l(q,r) - 2 l(i,q)]."""
    x, y = features(3, 0, 8), features(3, 1, 8) + features(3, 0, 8)
    k, m = x @ x.T, y @ y.T

    def by_hand(k: np.ndarray, m: np.ndarray) -> float:
        total, count = 0.0, 0
        for i in range(8):
            for j in set(range(8)) - {i}:
                for q in set(range(8)) - {i, j}:
                    for r in set(range(8)) - {i, j, q}:
                        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                        count += 1
        return total / count

    expected = by_hand(k, m) / np.sqrt(by_hand(k, k) * by_hand(m, m))
    assert debiased_cka(x, y) == pytest.approx(expected)


def test_jackknife_surrounds_the_value() -> None:
    x = features(6, 0)
    value, (lower, upper) = debiased_cka_interval(x, x + features(6, 1), resample.blocks(120))
    assert value == pytest.approx(debiased_cka(x, x + features(6, 1)))
    assert lower < value < upper < 1


def test_bad_input_is_named() -> None:
    with pytest.raises(ProbeError, match="same images"):
        debiased_cka(features(3, 0), features(3, 0, 60))
    with pytest.raises(ProbeError, match="of 4 images or more"):
        debiased_cka(features(3, 0, 3), features(3, 0, 3))
